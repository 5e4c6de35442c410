package store_test

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// FuzzToken: a text is the token of the invitation whose hash its 32 bytes have, or of none
// at all: never an error of the server, and never found because it is like a token. An id
// names an invitation without a token, and no other.
func FuzzToken(f *testing.F) {
	const secret = "the secret of the one invitation" // 32 bytes
	token := base64.RawURLEncoding.EncodeToString([]byte(secret))
	hash := sha256.Sum256([]byte(secret))
	tokenHash := sha256.Sum256([]byte(token))

	st := storetest.New(f)
	h, guest := newHouse(f, st), newHouse(f, st)
	invited, _, err := st.InviteMember(f.Context(), store.InviteMember{Actor: h.actor, TeamID: h.team.ID, Email: guest.owner.Email, Role: db.RoleMember})
	require.NoError(f, err)
	exec(f, st, "UPDATE invitations SET token_hash = $2 WHERE id = $1", invited.ID, hash[:])
	another := newHouse(f, st)
	bare, err := db.NewInvitation{TeamID: another.team.ID, Email: guest.owner.Email, Role: db.RoleOwner, InvitedBy: another.owner.ID}.Insert(f.Context(), st.Conn())
	require.NoError(f, err)

	for _, text := range []string{
		token, secret, string(hash[:]), string(tokenHash[:]), token + "\n", token[:20] + "\r\n" + token[20:], " " + token, token + "=", token + "A",
		token[:42], strings.ToLower(token), token[:42] + "R", "\x00", "\xff", "[redacted]", "", strings.Repeat("A", 43), "____", "++//",
	} {
		f.Add(text, int64(0))
		f.Add(text, int64(bare))
	}
	f.Add("", int64(invited.ID))
	f.Add("", int64(bare)+1<<32)
	f.Fuzz(func(t *testing.T, text string, id int64) {
		ctx := t.Context()
		decoded, err := base64.RawURLEncoding.Strict().DecodeString(text) // which passes over line ends
		isToken := err == nil && string(decoded) == secret
		details, err := st.InvitationByToken(ctx, store.Token(text))
		if isToken {
			require.NoError(t, err)
			require.Equal(t, invited, details.Invitation)
		} else {
			require.ErrorIs(t, err, store.ErrNotFound)
		}

		named, role := db.TeamID(0), db.Role("")
		switch {
		case id == 0 && isToken:
			named, role = h.team.ID, db.RoleMember
		case text == "" && id == int64(bare):
			named, role = another.team.ID, db.RoleOwner
		}
		for name, take := range map[string]func(*store.Store) (db.TeamMember, error){
			"AcceptInvitation": func(tx *store.Store) (db.TeamMember, error) {
				member, joined, err := tx.AcceptInvitation(ctx, store.AcceptInvitation{Actor: guest.actor, Token: store.Token(text), InvitationID: db.InvitationID(id)})
				require.Equal(t, err == nil, joined)
				return member, err
			},
			"DeclineInvitation": func(tx *store.Store) (db.TeamMember, error) {
				err := tx.DeclineInvitation(ctx, store.DeclineInvitation{Actor: guest.actor, Token: store.Token(text), InvitationID: db.InvitationID(id)})
				return db.TeamMember{TeamID: named, Role: role}, err
			},
			"SignUpWithInvitation": func(tx *store.Store) (db.TeamMember, error) {
				su, err := tx.SignUpWithInvitation(ctx, store.SignUpWithInvitation{
					Token: store.Token(text), InvitationID: db.InvitationID(id), Email: "new@example.com", PasswordHash: "hash",
				})
				if named != 0 {
					require.ErrorIs(t, err, store.ErrInvitationEmailMismatch)
					return db.TeamMember{TeamID: named, Role: role}, nil
				}
				return su.TeamMember, err
			},
		} {
			rolledBack(t, st, func(tx *store.Store) {
				member, err := take(tx)
				switch {
				case (text == "") == (id == 0):
					require.ErrorIs(t, err, store.ErrInvalidInput, name)
				case named == 0:
					require.ErrorIs(t, err, store.ErrNotFound, name)
				default:
					require.NoError(t, err, name)
					require.Equal(t, named, member.TeamID, name)
					require.Equal(t, role, member.Role, name)
				}
				requireUsable(t, tx)
			})
		}
	})
}
