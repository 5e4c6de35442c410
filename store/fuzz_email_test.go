package store_test

import (
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// address is the e-mail that a text is written as; ok is false where it is refused.
func address(typed string) (email string, ok bool) {
	if !utf8.ValidString(typed) {
		return typed, false
	}
	email = normal(typed)
	local, domain, at := strings.Cut(email, "@")
	id, deleted := strings.CutSuffix(email, "-deleted")
	digits := strings.TrimRight(id, "0123456789")
	deleted = deleted && digits != id && strings.HasSuffix(digits, "-")
	return email, !strings.Contains(email, "\x00") && utf8.RuneCountInString(email) <= 255 &&
		at && local != "" && domain != "" && !strings.Contains(domain, "@") && !deleted
}

// shouted is an e-mail in white space, and in upper case as far as the way back is known.
func shouted(email string) string {
	return "\t\u2003" + strings.Map(func(r rune) rune {
		if upper := unicode.ToUpper(r); unicode.ToLower(upper) == r {
			return upper
		}
		return r
	}, email) + "\u0085\n"
}

// FuzzEmail: of two texts each is refused everywhere, or is one account's e-mail and one
// team's invitation in any case and white space, however it is asked for, and so is a row
// that the TypeScript app wrote as it was typed. Go's idea of lower case is Postgres' then.
func FuzzEmail(f *testing.F) {
	const owners = "owner@example.com"
	for scenario := range byte(len(emailScenarios)) {
		for _, pair := range [][2]string{
			{"Ada@Example.com", " ADA@EXAMPLE.COM"},
			{owners, "OWNER@example.com"},
			{"\u212aelvin@example.com", "kelvin@example.com"},
			{"İstanbul@example.com", "i\u0307stanbul@example.com"},
			{"ΑΣ@example.com", "ας@example.com"},
			{"straße@example.com", "STRASSE@example.com"},
			{"e\u0301@example.com", "é@example.com"},
			{"\u0085ada@example.com\u3000", "\u200bada@example.com"},
			{strings.Repeat("𝄞", 243) + "@example.com", strings.Repeat("Ⱥ", 244) + "@example.com"},
			{"ada@example.com-1-DELETED", "ada@example.com--deleted"},
			{"a\xff@example.com", "a\ufffd@example.com"},
			{"a@b@c", "@"},
		} {
			f.Add(scenario, pair[0], pair[1])
		}
	}
	st := storetest.New(f)
	su, err := st.SignUp(f.Context(), store.SignUp{Email: owners, PasswordHash: "hash"})
	require.NoError(f, err)
	h := &house{f, st, su.User, store.Actor{UserID: su.User.ID}, su.Team, su.TeamMember}
	// lower() knows ASCII alone where the database has the locale C, as the tests' has.
	unicodeLower := column[*string](f, st, "SELECT min(quote_ident(collname)) FROM pg_collation WHERE collname IN ('C.utf8', 'C.UTF-8', 'pg_c_utf8')")[0]
	if unicodeLower != nil {
		for _, table := range []string{users, invitations} {
			exec(f, st, "ALTER TABLE "+table+" ALTER COLUMN email TYPE varchar(255) COLLATE "+*unicodeLower)
		}
	}
	f.Fuzz(func(t *testing.T, scenario byte, typed, other string) {
		rolledBack(t, st, func(tx *store.Store) {
			s := emails{T: t, house: h, tx: tx, typed: typed, other: other, unicodeLower: unicodeLower != nil}
			emailScenarios[int(scenario)%len(emailScenarios)](&s)
		})
	})
}

// emails is an execution of FuzzEmail.
type emails struct {
	*testing.T
	*house
	tx           *store.Store
	typed, other string
	unicodeLower bool
}

var emailScenarios = []func(*emails){(*emails).account, (*emails).asTyped, (*emails).changed, (*emails).deletedAgain, (*emails).invited}

func (s *emails) signUp(email string) (db.User, error) {
	su, err := s.tx.SignUp(s.Context(), store.SignUp{Email: email, PasswordHash: "new"})
	return su.User, err
}

// requireFound: a text finds the user with an e-mail or, where it is no e-mail or
// another's, nobody or the owner.
func (s *emails) requireFound(text string, user db.User) {
	s.Helper()
	got, err := s.tx.UserByEmail(s.Context(), text)
	credentials, credentialsErr := s.tx.Credentials(s.Context(), text)
	switch email, ok := address(text); {
	case ok && email == normal(user.Email):
		require.NoError(s, err)
		require.Equal(s, user, got)
		require.NoError(s, credentialsErr)
		require.Equal(s, store.Credentials{UserID: user.ID, PasswordHash: "new"}, credentials)
	case ok && email == s.owner.Email:
		require.NoError(s, err)
		require.Equal(s, s.owner.ID, got.ID)
		require.NoError(s, credentialsErr)
		require.Equal(s, s.owner.ID, credentials.UserID)
	default:
		require.ErrorIs(s, err, store.ErrNotFound, "%q", text)
		require.ErrorIs(s, credentialsErr, store.ErrNotFound, "%q", text)
		requireUsable(s.T, s.tx)
	}
}

// account is a sign-up.
func (s *emails) account() {
	email, ok := address(s.typed)
	user, err := s.signUp(s.typed)
	switch {
	case !ok:
		requireInvalid(s.T, s.tx, err, "Email")
		_, err := s.tx.UpdateAccount(s.Context(), store.UpdateAccount{Actor: s.actor, Email: &s.typed})
		requireInvalid(s.T, s.tx, err, "Email")
		_, _, err = s.tx.InviteMember(s.Context(), store.InviteMember{Actor: s.actor, TeamID: s.team.ID, Email: s.typed, Role: db.RoleMember})
		requireInvalid(s.T, s.tx, err, "Email")
		invited, next, err := s.tx.InvitationsForEmail(s.Context(), s.typed, store.Page{})
		require.NoError(s, err)
		require.Empty(s, invited)
		require.Empty(s, next)
		s.requireFound(s.typed, s.owner)
		return
	case email == s.owner.Email:
		require.ErrorIs(s, err, store.ErrEmailTaken)
		return
	}
	require.NoError(s, err, "%q", s.typed)
	require.Equal(s, email, user.Email)
	var stored string
	var chars int
	var lower bool
	require.NoError(s, s.tx.Conn().QueryRow(s.Context(), "SELECT email, char_length(email), lower(email) = email FROM users WHERE id = $1", user.ID).Scan(&stored, &chars, &lower))
	require.Equal(s, email, stored)
	require.Equal(s, utf8.RuneCountInString(email), chars)
	require.True(s, lower, "to Postgres %q is not in lower case", email)

	s.requireFound(s.typed, user)
	s.requireFound(shouted(email), user)
	s.requireFound(s.other, user)
	_, err = s.signUp(shouted(email))
	require.ErrorIs(s, err, store.ErrEmailTaken)
	requireUsable(s.T, s.tx)
}

// asTyped is a row that the TypeScript app wrote.
func (s *emails) asTyped() {
	email, ok := address(s.typed)
	typed := strings.TrimSpace(s.typed) // it takes no e-mail with white space
	if !ok || email == s.owner.Email || !s.unicodeLower && strings.ContainsFunc(email, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return
	}
	id, err := db.NewUser{Email: typed, PasswordHash: "new"}.Insert(s.Context(), s.tx.Conn())
	require.NoError(s, err)
	user, err := s.tx.User(s.Context(), id)
	require.NoError(s, err)
	require.Equal(s, typed, user.Email)
	s.requireFound(s.typed, user)
	s.requireFound(shouted(email), user)
	s.requireFound(s.other, user)
	_, err = s.signUp(email)
	require.ErrorIs(s, err, store.ErrEmailTaken)
}

// changed is an account that takes another e-mail.
func (s *emails) changed() {
	email, ok := address(s.typed)
	to, toOK := address(s.other)
	user, err := s.signUp(s.typed)
	if !ok || !toOK || email == s.owner.Email {
		require.Equal(s, ok && email != s.owner.Email, err == nil)
		return
	}
	require.NoError(s, err)
	changed, err := s.tx.UpdateAccount(s.Context(), store.UpdateAccount{Actor: store.Actor{UserID: user.ID}, Email: &s.other})
	if to == s.owner.Email {
		require.ErrorIs(s, err, store.ErrEmailTaken) // and the transaction is over
		return
	}
	require.NoError(s, err)
	require.Equal(s, user.ID, changed.ID)
	require.Equal(s, to, changed.Email)
	s.requireFound(s.other, changed)
	s.requireFound(s.typed, changed)
	_, err = s.signUp(s.typed)
	require.Equal(s, email == to, errors.Is(err, store.ErrEmailTaken), err)
}

// deletedAgain is an account that is deleted and made again, twice.
func (s *emails) deletedAgain() {
	email, ok := address(s.typed)
	if !ok || email == s.owner.Email {
		return
	}
	for range 2 {
		user, err := s.signUp(s.typed)
		require.NoError(s, err)
		require.NoError(s, s.tx.DeleteAccount(s.Context(), store.Actor{UserID: user.ID}))
		var rewritten string
		var chars int
		require.NoError(s, s.tx.Conn().QueryRow(s.Context(), "SELECT email, char_length(email) FROM users WHERE id = $1", user.ID).Scan(&rewritten, &chars))
		require.LessOrEqual(s, chars, 255)
		_, ok := address(rewritten)
		require.False(s, ok, "%q can sign up", rewritten)
		user.ID = 0
		user.Email = "" // of nobody
		s.requireFound(s.typed, user)
		s.requireFound(rewritten, user)
	}
}

// invited is a list of invitations that has both texts, in a second role the other way
// round, and in other spellings.
func (s *emails) invited() {
	list := []store.Invitee{
		{Email: s.typed, Role: "admin"}, {Email: s.typed, Role: db.RoleMember}, {Email: s.other, Role: db.RoleOwner},
		{Email: shouted(normal(s.typed)), Role: db.RoleOwner}, {Email: s.other, Role: db.RoleMember}, {Email: s.other + "\x00", Role: db.RoleMember},
	}
	results, err := s.tx.InviteMembers(s.Context(), store.InviteMembers{Actor: s.actor, TeamID: s.team.ID, Invitees: list})
	require.NoError(s, err)

	// An answer for each text that is not a repetition, in the order of the list.
	type answer struct {
		email string
		ok    bool
		role  db.Role
	}
	var want []answer
	for _, invitee := range list {
		email, ok := address(invitee.Email)
		ok = ok && invitee.Role.Valid()
		role := invitee.Role
		if !ok {
			role = ""
		}
		i := 0
		for i < len(want) && want[i].email != email {
			i++
		}
		switch {
		case i == len(want):
			want = append(want, answer{email, ok, role})
		case !want[i].ok && ok:
			want[i] = answer{email, ok, role}
		}
	}
	require.Len(s, results, len(want))
	var made int
	for i, r := range results {
		require.Equal(s, want[i].email, r.Email)
		switch {
		case !want[i].ok:
			require.ErrorIs(s, r.Err, store.ErrInvalidInput)
			require.Empty(s, r.Token)
			require.Zero(s, r.Invitation)
		case r.Email == s.owner.Email:
			require.ErrorIs(s, r.Err, store.ErrAlreadyMember)
			require.Empty(s, r.Token)
		default:
			require.NoError(s, r.Err)
			require.Equal(s, want[i].email, r.Invitation.Email)
			require.Equal(s, want[i].role, r.Invitation.Role)
			details, err := s.tx.InvitationByToken(s.Context(), r.Token)
			require.NoError(s, err)
			require.Equal(s, r.Invitation, details.Invitation)
			list, _, err := s.tx.InvitationsForEmail(s.Context(), shouted(r.Email), store.Page{})
			require.NoError(s, err)
			require.Equal(s, []store.InvitationDetails{details}, list)
			made++
		}
	}
	if made > 0 {
		again, err := s.tx.InviteMembers(s.Context(), store.InviteMembers{Actor: s.actor, TeamID: s.team.ID, Invitees: list})
		require.NoError(s, err)
		require.Len(s, again, len(want))
		for i, r := range again {
			if results[i].Err == nil {
				require.ErrorIs(s, r.Err, store.ErrAlreadyInvited)
			} else {
				require.Equal(s, results[i], r)
			}
		}
	}
}
