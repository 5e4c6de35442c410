package store_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

func TestInviteMember(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	inv, token, err := st.InviteMember(t.Context(), store.InviteMember{Actor: h.actor, TeamID: h.team.ID, Email: " Bo@Example.com", Role: db.RoleMember})
	require.NoError(t, err)
	require.Equal(t, "bo@example.com", inv.Email)
	require.Equal(t, db.InvitationPending, inv.Status)
	require.Equal(t, h.owner.ID, inv.InvitedBy)
	require.Equal(t, inv.InvitedAt.Add(7*24*time.Hour), *inv.ExpiresAt)
	require.Nil(t, inv.TokenHash)

	// The token is 32 bytes, and what is stored is its SHA-256.
	secret, err := base64.RawURLEncoding.DecodeString(string(token))
	require.NoError(t, err)
	require.Len(t, secret, 32)
	hash := sha256.Sum256(secret)
	require.Equal(t, [][]byte{hash[:]}, column[[]byte](t, st, "SELECT token_hash FROM invitations WHERE id = $1", inv.ID))

	log := h.log()
	require.Equal(t, fmt.Sprintf(`INVITE_TEAM_MEMBER by %d {"role": "member", "email": "bo@example.com", "invitationId": %d}`, h.owner.ID, inv.ID), log[len(log)-1])
}

func TestInviteMemberRefuses(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h, other := newHouse(t, st), newHouse(t, st)
	member := h.join(db.RoleMember)
	pending, _ := h.invite(newEmail(), db.RoleMember)
	invite := func(by store.Actor, team db.TeamID, email string) error {
		before := snapshot(t, st)
		_, token, err := st.InviteMember(t.Context(), store.InviteMember{Actor: by, TeamID: team, Email: email, Role: db.RoleOwner})
		require.Empty(t, token)
		require.Equal(t, before, snapshot(t, st))
		return err
	}
	require.ErrorIs(t, invite(store.Actor{UserID: member.User.ID}, h.team.ID, newEmail()), store.ErrForbidden)
	require.ErrorIs(t, invite(other.actor, h.team.ID, newEmail()), store.ErrForbidden)
	require.ErrorIs(t, invite(h.actor, 12345, newEmail()), store.ErrForbidden)
	require.ErrorIs(t, invite(store.Actor{}, h.team.ID, newEmail()), store.ErrForbidden)
	require.ErrorIs(t, invite(h.actor, h.team.ID, strings.ToUpper(member.User.Email)), store.ErrAlreadyMember)
	require.ErrorIs(t, invite(h.actor, h.team.ID, strings.ToUpper(pending.Email)), store.ErrAlreadyInvited)

	// Nor does a refusal put an expired invitation away.
	_, err := db.NewInvitation{TeamID: h.team.ID, Email: member.User.Email, Role: db.RoleMember, InvitedBy: h.owner.ID}.Insert(t.Context(), admin(st))
	require.NoError(t, err)
	exec(t, st, "UPDATE invitations SET expires_at = '2001-01-01' WHERE email = $1 AND status = 'pending'", member.User.Email)
	require.ErrorIs(t, invite(h.actor, h.team.ID, member.User.Email), store.ErrAlreadyMember)
}

// An invitation that nobody can accept makes room for another one.
func TestInviteMemberAgain(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	owners := newOwners(t, st, 2)
	h := owners[0]
	again := func(email, want string) {
		t.Helper()
		h.invite(email, db.RoleMember)
		require.Equal(t, []string{want, "pending"}, column[string](t, st, "SELECT status FROM invitations WHERE email = $1 ORDER BY id", email))
	}
	expired, oldToken := h.invite(newEmail(), db.RoleMember)
	h.expire(expired.ID)
	again(expired.Email, "expired")
	_, err := st.SignUpWithInvitation(t.Context(), store.SignUpWithInvitation{Token: oldToken, Email: expired.Email, PasswordHash: "hash"})
	require.ErrorIs(t, err, store.ErrInvitationExpired)

	orphan, _ := owners[1].invite(newEmail(), db.RoleMember)
	require.NoError(t, h.remove(owners[1]))
	again(orphan.Email, "canceled")
}

func TestAcceptInvitation(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h, guest := newHouse(t, st), newHouse(t, st)
	inv, token := h.invite(guest.owner.Email, db.RoleMember)
	member, joined, err := st.AcceptInvitation(t.Context(), store.AcceptInvitation{Actor: guest.actor, Token: token})
	require.NoError(t, err)
	require.True(t, joined)
	require.Equal(t, db.RoleMember, member.Role)
	require.Equal(t, guest.owner.ID, member.UserID)
	require.Equal(t, h.team.ID, member.TeamID)
	log := h.log()
	require.Equal(t, fmt.Sprintf(`ACCEPT_INVITATION by %d {"role": "member", "joined": true, "invitationId": %d}`, guest.owner.ID, inv.ID), log[len(log)-1])

	// A member who accepts keeps the role that stands. Such an invitation is the
	// TypeScript app's: this Store would not send it.
	id, err := db.NewInvitation{TeamID: h.team.ID, Email: guest.owner.Email, Role: db.RoleOwner, InvitedBy: h.owner.ID}.Insert(t.Context(), admin(st))
	require.NoError(t, err)
	again, joined, err := st.AcceptInvitation(t.Context(), store.AcceptInvitation{Actor: guest.actor, InvitationID: id})
	require.NoError(t, err)
	require.False(t, joined)
	require.Equal(t, member, again)
	require.Equal(t, []string{"accepted"}, column[string](t, st, "SELECT status FROM invitations WHERE id = $1", id))
	requireSound(t, st)
}

// An invitation is used in four ways; each refuses for the same reasons, and leaves
// nothing behind when it does.
func TestAnInvitationThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	for _, c := range []struct {
		name  string
		spoil func(h, guest *house, inv db.Invitation)
		join  error // of AcceptInvitation and SignUpWithInvitation
		end   error // of DeclineInvitation
	}{
		{"accepted", func(h, _ *house, inv db.Invitation) {
			exec(t, st, "UPDATE invitations SET status = 'accepted' WHERE id = $1", inv.ID)
		}, store.ErrInvitationNotPending, store.ErrInvitationNotPending},
		{"canceled", func(h, _ *house, inv db.Invitation) {
			require.NoError(t, st.CancelInvitation(t.Context(), store.CancelInvitation{Actor: h.actor, TeamID: h.team.ID, InvitationID: inv.ID}))
		}, store.ErrInvitationNotPending, store.ErrInvitationNotPending},
		{"expired", func(h, _ *house, inv db.Invitation) { h.expire(inv.ID) }, store.ErrInvitationExpired, nil},
		{"flipped to expired", func(h, _ *house, inv db.Invitation) {
			exec(t, st, "UPDATE invitations SET status = 'expired' WHERE id = $1", inv.ID)
		}, store.ErrInvitationExpired, store.ErrInvitationNotPending},
		{"for somebody else", func(h, _ *house, inv db.Invitation) {
			exec(t, st, "UPDATE invitations SET email = 'else' || id || '@example.com' WHERE id = $1", inv.ID)
		}, store.ErrInvitationEmailMismatch, store.ErrInvitationEmailMismatch},
		{"by who is no owner any more", func(h, _ *house, inv db.Invitation) {
			exec(t, st, "UPDATE team_members SET role = 'member' WHERE id = $1", h.seat.ID)
		}, store.ErrInvitationNotPending, nil},
		{"by who is deleted", func(h, _ *house, inv db.Invitation) {
			exec(t, st, "UPDATE users SET deleted_at = now() WHERE id = $1", h.owner.ID)
		}, store.ErrInvitationNotPending, nil},
		{"to a full team", func(h, _ *house, inv db.Invitation) {
			exec(t, st, "UPDATE teams SET seat_limit = 1 WHERE id = $1", h.team.ID)
		}, store.ErrSeatLimit, nil},
		{"to a team without a seat", func(h, _ *house, inv db.Invitation) {
			exec(t, st, "UPDATE teams SET seat_limit = 0 WHERE id = $1", h.team.ID)
		}, store.ErrSeatLimit, nil},
		{"to a team with fewer than none, as the Store sets it for nobody", func(h, _ *house, inv db.Invitation) {
			exec(t, st, "UPDATE teams SET seat_limit = -1 WHERE id = $1", h.team.ID)
		}, store.ErrSeatLimit, nil},
	} {
		h, guest := newHouse(t, st), newHouse(t, st)
		inv, token := h.invite(guest.owner.Email, db.RoleMember)
		c.spoil(h, guest, inv)
		before := snapshot(t, st)
		_, _, err := st.AcceptInvitation(t.Context(), store.AcceptInvitation{Actor: guest.actor, Token: token})
		require.ErrorIs(t, err, c.join, c.name)
		require.Equal(t, before, snapshot(t, st), c.name)
		if err := st.DeclineInvitation(t.Context(), store.DeclineInvitation{Actor: guest.actor, Token: token}); c.end != nil {
			require.ErrorIs(t, err, c.end, c.name)
			require.Equal(t, before, snapshot(t, st), c.name)
		} else {
			require.NoError(t, err, c.name)
			require.Equal(t, []string{"declined"}, column[string](t, st, "SELECT status FROM invitations WHERE id = $1", inv.ID), c.name)
		}

		h = newHouse(t, st)
		inv, token = h.invite(newEmail(), db.RoleMember)
		c.spoil(h, nil, inv)
		before = snapshot(t, st)
		_, err = st.SignUpWithInvitation(t.Context(), store.SignUpWithInvitation{Token: token, Email: inv.Email, PasswordHash: "hash"})
		require.ErrorIs(t, err, c.join, c.name)
		require.Equal(t, before, snapshot(t, st), c.name)
	}
}

// What decides on an invitation looks at the one whose team is locked, and at no other that
// it could find when its turn comes: whoever joined by that could exceed the seats.
func TestAnInvitationIsUsedUnderTheLockOfItsTeam(t *testing.T) {
	t.Parallel()
	st, beside := newStore(t), newStore(t)
	h := newHouse(t, st)
	guest, hash := newHouse(t, st), sha256.Sum256([]byte("a token"))
	q := db.New()
	lock := func(tx *store.Store, actor db.UserID) error {
		return q.LockInvitation(t.Context(), tx.Conn(), db.LockInvitationParams{TokenHash: hash[:], ActorID: int64(actor)})
	}
	lockByID := func(tx *store.Store, id db.InvitationID, actor db.UserID) error {
		return q.LockInvitationByID(t.Context(), tx.Conn(), db.LockInvitationByIDParams{InvitationID: id, ActorID: int64(actor)})
	}
	accept := func(tx *store.Store, hash []byte) error {
		_, err := q.AcceptInvitation(t.Context(), tx.Conn(), db.AcceptInvitationParams{ActorID: guest.owner.ID, TokenHash: hash})
		return err
	}
	// insert is an invitation of the guest, or of somebody who has no account, that commits at once.
	insert := func(email string, hash []byte) db.InvitationID {
		return column[db.InvitationID](t, beside, `INSERT INTO invitations (team_id, invited_by, email, role, token_hash, expires_at)
			VALUES ($1, $2, $3, 'member', $4, timezone('utc', now()) + interval '1 day') RETURNING id`, h.team.ID, h.owner.ID, email, hash)[0]
	}
	drop := func() { exec(t, beside, "DELETE FROM invitations") }
	inTx := func(f func(tx *store.Store) error) error {
		defer drop()
		return st.InTx(t.Context(), f)
	}

	for name, f := range map[string]func(tx *store.Store) error{
		"accepted by a token that was there too late": func(tx *store.Store) error {
			require.NoError(t, lock(tx, guest.owner.ID))
			insert(guest.owner.Email, hash[:])
			return accept(tx, hash[:])
		},
		"accepted by an id that was there too late": func(tx *store.Store) error {
			require.NoError(t, lockByID(tx, 1_000_000, guest.owner.ID))
			insert(guest.owner.Email, nil)
			return accept(tx, nil)
		},
		"accepted by a token that was replaced": func(tx *store.Store) error {
			id := insert(guest.owner.Email, hash[:])
			require.NoError(t, lock(tx, guest.owner.ID))
			exec(t, beside, "UPDATE invitations SET token_hash = 'another' WHERE id = $1", id)
			return accept(tx, hash[:])
		},
		"accepted by the id of one that got a token": func(tx *store.Store) error {
			id := insert(guest.owner.Email, nil)
			require.NoError(t, lockByID(tx, id, guest.owner.ID))
			exec(t, beside, "UPDATE invitations SET token_hash = 'another' WHERE id = $1", id)
			return accept(tx, nil)
		},
		"accepted for another that was locked before in the transaction": func(tx *store.Store) error {
			require.NoError(t, lockByID(tx, insert(guest.owner.Email, nil), guest.owner.ID))
			require.NoError(t, lockByID(tx, 1_000_000, guest.owner.ID))
			return accept(tx, nil)
		},
		"accepted by who is no live user": func(tx *store.Store) error {
			insert(guest.owner.Email, hash[:])
			require.NoError(t, lock(tx, 1_000_000))
			return accept(tx, hash[:])
		},
		"signed up with, when it was there too late": func(tx *store.Store) error {
			require.NoError(t, lock(tx, 0))
			insert("new@example.com", hash[:])
			_, err := q.SignUpWithInvitation(t.Context(), tx.Conn(), db.SignUpWithInvitationParams{Email: "new@example.com", PasswordHash: "hash", TokenHash: hash[:]})
			return err
		},
		"declined, when it was there too late": func(tx *store.Store) error {
			require.NoError(t, lock(tx, guest.owner.ID))
			insert(guest.owner.Email, hash[:])
			row, err := q.DeclineInvitation(t.Context(), tx.Conn(), db.DeclineInvitationParams{ActorID: guest.owner.ID, TokenHash: hash[:]})
			if err == nil && !row.Found && !row.Declined {
				return pgx.ErrNoRows
			}
			return err
		},
	} {
		require.ErrorIs(t, inTx(f), pgx.ErrNoRows, name)
	}

	require.NoError(t, inTx(func(tx *store.Store) error {
		id := insert(guest.owner.Email, nil)
		require.NoError(t, lockByID(tx, id, guest.owner.ID))
		return accept(tx, nil)
	}))
}

// As every operation that has both: an order of its own would be a deadlock with DeleteAccount.
func TestAnAcceptLocksItsUserBeforeTheTeam(t *testing.T) {
	t.Parallel()
	st, beside, watching := newStore(t), newStore(t), newStore(t)
	h, guest := newHouse(t, st), newHouse(t, st)
	for name, byID := range map[string]bool{"by a token": false, "by an id": true} {
		inv, token := h.invite(guest.owner.Email, db.RoleMember)
		accept := store.AcceptInvitation{Actor: guest.actor, Token: token}
		if byID {
			exec(t, st, "UPDATE invitations SET token_hash = NULL WHERE id = $1", inv.ID)
			accept.Token, accept.InvitationID = "", inv.ID
		}
		accepted := make(chan error, 1)
		require.NoError(t, beside.InTx(t.Context(), func(tx *store.Store) error {
			exec(t, tx, "SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE", guest.owner.ID)
			go func() {
				_, _, err := st.AcceptInvitation(t.Context(), accept)
				accepted <- err
			}()
			until(t, watching, "SELECT count(*) = 1 "+waiting)
			exec(t, tx, "SELECT FROM teams WHERE id = $1 FOR NO KEY UPDATE NOWAIT", h.team.ID)
			return nil
		}), name)
		require.NoError(t, <-accepted, name)
		exec(t, st, "DELETE FROM team_members WHERE team_id = $1 AND user_id = $2", h.team.ID, guest.owner.ID)
	}
}

func TestSignUpWithInvitation(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	inv, token := h.invite("Bo@Example.com", db.RoleMember)
	su, err := st.SignUpWithInvitation(t.Context(), store.SignUpWithInvitation{Token: token, Email: "BO@example.com", PasswordHash: "hash", Name: "Bo", IP: anIP})
	require.NoError(t, err)
	require.Equal(t, db.RoleMember, su.User.Role, "the TypeScript app leaves owner")
	require.Equal(t, db.RoleMember, su.TeamMember.Role)
	require.Equal(t, h.team, su.Team)
	require.Empty(t, su.User.PasswordHash)
	require.Equal(t, []string{"accepted"}, column[string](t, st, "SELECT status FROM invitations WHERE id = $1", inv.ID))
	require.Equal(t, []string{
		fmt.Sprintf(`ACCEPT_INVITATION by %d {"role": "member", "joined": true, "invitationId": %d}`, su.User.ID, inv.ID),
		fmt.Sprintf(`SIGN_UP by %d`, su.User.ID),
	}, h.log()[3:])

	// An account that exists accepts instead; its sign-up leaves the invitation open.
	inv, token = h.invite(newHouse(t, st).owner.Email, db.RoleMember)
	before := snapshot(t, st)
	_, err = st.SignUpWithInvitation(t.Context(), store.SignUpWithInvitation{Token: token, Email: inv.Email, PasswordHash: "hash"})
	require.ErrorIs(t, err, store.ErrEmailTaken)
	require.Equal(t, before, snapshot(t, st))
}

// The TypeScript app's invitations have no token: its links carry the row's id.
func TestInvitationsOfTheTypeScriptApp(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	id, err := db.NewInvitation{TeamID: h.team.ID, Email: "As.Typed@Example.com", Role: db.RoleMember, InvitedBy: h.owner.ID}.Insert(t.Context(), admin(st))
	require.NoError(t, err)
	su, err := st.SignUpWithInvitation(t.Context(), store.SignUpWithInvitation{InvitationID: id, Email: "as.typed@example.com", PasswordHash: "hash"})
	require.NoError(t, err)
	require.Equal(t, h.team.ID, su.Team.ID)

	// In that app a plain member may invite, an owner even.
	id, err = db.NewInvitation{TeamID: h.team.ID, Email: newEmail(), Role: db.RoleOwner, InvitedBy: su.User.ID}.Insert(t.Context(), admin(st))
	require.NoError(t, err)
	_, err = st.SignUpWithInvitation(t.Context(), store.SignUpWithInvitation{InvitationID: id, Email: column[string](t, st, "SELECT email FROM invitations WHERE id = $1", id)[0], PasswordHash: "hash"})
	require.ErrorIs(t, err, store.ErrInvitationNotPending)
}

func TestCancelInvitation(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h, other := newHouse(t, st), newHouse(t, st)
	member := h.join(db.RoleMember)
	inv, _ := h.invite(newEmail(), db.RoleMember)
	theirs, _ := other.invite(newEmail(), db.RoleMember)
	cancel := func(by store.Actor, id db.InvitationID) error {
		return st.CancelInvitation(t.Context(), store.CancelInvitation{Actor: by, TeamID: h.team.ID, InvitationID: id})
	}
	require.ErrorIs(t, cancel(store.Actor{UserID: member.User.ID}, inv.ID), store.ErrForbidden)
	require.ErrorIs(t, cancel(other.actor, theirs.ID), store.ErrForbidden)
	require.ErrorIs(t, cancel(h.actor, theirs.ID), store.ErrNotFound)
	require.NoError(t, cancel(h.actor, inv.ID))
	require.ErrorIs(t, cancel(h.actor, inv.ID), store.ErrInvitationNotPending)
	log := h.log()
	require.Equal(t, fmt.Sprintf(`CANCEL_INVITATION by %d {"role": "member", "email": "%s", "invitationId": %d}`, h.owner.ID, inv.Email, inv.ID), log[len(log)-1])
}

func TestInvitationsReadAsExpired(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	first, _ := h.invite(newEmail(), db.RoleMember)
	second, _ := h.invite(newEmail(), db.RoleOwner)
	h.expire(first.ID)
	list, next, err := st.Invitations(t.Context(), h.team.ID, store.Page{})
	require.NoError(t, err)
	require.Empty(t, next)
	require.Equal(t, []db.InvitationID{second.ID, first.ID}, []db.InvitationID{list[0].ID, list[1].ID}, "newest first")
	require.Equal(t, []db.InvitationStatus{"pending", "expired"}, []db.InvitationStatus{list[0].Status, list[1].Status})
	require.Nil(t, list[0].TokenHash)
	sent, _, err := st.InvitationsSent(t.Context(), h.owner.ID, store.Page{})
	require.NoError(t, err)
	require.Equal(t, list, sent)
}
