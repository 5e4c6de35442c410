package store_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

func TestSignUp(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	su, err := st.SignUp(t.Context(), store.SignUp{Email: "  Ada@Example.COM ", PasswordHash: "hash", Name: "Ada", IP: anIP})
	require.NoError(t, err)
	require.Equal(t, "ada@example.com", su.User.Email)
	require.Equal(t, new("Ada"), su.User.Name)
	require.Equal(t, db.RoleOwner, su.User.Role)
	require.Empty(t, su.User.PasswordHash)
	require.Equal(t, "ada@example.com's Team", su.Team.Name)
	require.Equal(t, db.RoleOwner, su.TeamMember.Role)
	require.Equal(t, su.User.ID, su.TeamMember.UserID)
	require.Equal(t, su.Team.ID, su.TeamMember.TeamID)

	h := &house{t: t, st: st, team: su.Team}
	require.Equal(t, []string{
		fmt.Sprintf(`CREATE_TEAM by %d {"name": "ada@example.com's Team"}`, su.User.ID),
		fmt.Sprintf(`SIGN_UP by %d`, su.User.ID),
	}, h.log())
	require.Equal(t, []string{"203.0.113.7"}, column[string](t, st, "SELECT DISTINCT ip_address FROM activity_logs"))

	stored, err := st.User(t.Context(), su.User.ID)
	require.NoError(t, err)
	require.Equal(t, su.User, stored)
	byEmail, err := st.UserByEmail(t.Context(), " ADA@example.com")
	require.NoError(t, err)
	require.Equal(t, su.User, byEmail)
}

// A name that is not given is NULL, and so is an address.
func TestSignUpWithoutNameAndAddress(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	su, err := st.SignUp(t.Context(), store.SignUp{Email: newEmail(), PasswordHash: "hash", TeamName: "Engines"})
	require.NoError(t, err)
	require.Nil(t, su.User.Name)
	require.Equal(t, "Engines", su.Team.Name)
	require.Equal(t, []*string{nil, nil}, column[*string](t, st, "SELECT ip_address FROM activity_logs"))
}

// In the TypeScript app an e-mail of 94 characters or more leaves a user without a team.
func TestSignUpCutsTheDefaultTeamName(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	for _, n := range []int{80, 81, 82, 94, 243} { // and 12 for @example.com
		email := strings.Repeat("ä", n) + "@example.com"
		su, err := st.SignUp(t.Context(), store.SignUp{Email: email, PasswordHash: "hash"})
		require.NoError(t, err)
		want := []rune(email + "'s Team")
		require.Equal(t, string(want[:min(100, len(want))]), su.Team.Name)
	}
}

// An address that the TypeScript app stored as it was typed is one address here.
func TestAnEmailIsOneAccountInAnyCase(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	id, err := db.NewUser{Email: "Grace@Example.com", PasswordHash: "theirs"}.Insert(t.Context(), admin(st))
	require.NoError(t, err)

	_, err = st.SignUp(t.Context(), store.SignUp{Email: "grace@example.com", PasswordHash: "hash"})
	require.ErrorIs(t, err, store.ErrEmailTaken)
	c, err := st.Credentials(t.Context(), "GRACE@example.com")
	require.NoError(t, err)
	require.Equal(t, store.Credentials{UserID: id, PasswordHash: "theirs"}, c)
}

// An id that is in use, because rows were inserted with ids of their own, is no taken
// e-mail; the next attempt has the next id.
func TestSignUpOverATakenID(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	_, err := db.NewUser{ID: new(db.UserID(1)), Email: newEmail(), PasswordHash: "hash"}.Insert(t.Context(), admin(st))
	require.NoError(t, err)
	p := store.SignUp{Email: newEmail(), PasswordHash: "hash", Name: " \t"}
	_, err = st.SignUp(t.Context(), p)
	require.ErrorIs(t, err, store.ErrConflict)
	su, err := st.SignUp(t.Context(), p)
	require.NoError(t, err)
	require.Nil(t, su.User.Name, "white space is no name")

	// A deleted account whose e-mail was not rewritten holds it.
	exec(t, st, "UPDATE users SET deleted_at = now() WHERE id = $1", su.User.ID)
	_, err = st.SignUp(t.Context(), p)
	require.ErrorIs(t, err, store.ErrEmailTaken)
}

// The address is stored as the column can hold it and as others can use it.
func TestAddressesAreStoredPlain(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	for _, ip := range []string{"::ffff:198.51.100.1", "fe80::1%a-zone-with-a-long-long-long-long-long-name", "2001:db8::1"} {
		require.NoError(t, st.RecordSignIn(t.Context(), store.Actor{UserID: h.owner.ID, IP: netip.MustParseAddr(ip)}))
	}
	require.Equal(t, []string{"198.51.100.1", "fe80::1", "2001:db8::1"},
		column[string](t, st, "SELECT ip_address FROM activity_logs WHERE action = 'SIGN_IN' ORDER BY id"))
}

func TestRecordSignInLogsInTheEarliestTeam(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	_, _, err := st.CreateTeam(t.Context(), store.CreateTeam{Actor: h.actor, Name: "Second"})
	require.NoError(t, err)
	require.NoError(t, st.RecordSignIn(t.Context(), h.actor))
	require.NoError(t, st.RecordSignOut(t.Context(), h.actor))
	require.Equal(t, []string{"SIGN_IN", "SIGN_OUT"}, column[string](t, st, "SELECT action FROM activity_logs WHERE action LIKE 'SIGN\\__%' AND action <> 'SIGN_UP' AND team_id = $1 ORDER BY id", h.team.ID))

	// Without a team there is nowhere to log, and nothing wrong.
	exec(t, st, "DELETE FROM team_members WHERE user_id = $1", h.owner.ID)
	before := snapshot(t, st)
	require.NoError(t, st.RecordSignIn(t.Context(), h.actor))
	require.Equal(t, before, snapshot(t, st))
}

func TestUpdateAccount(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	email := newEmail()

	u, err := st.UpdateAccount(t.Context(), store.UpdateAccount{Actor: h.actor, Email: new(strings.ToUpper(email))})
	require.NoError(t, err)
	require.Equal(t, email, u.Email)
	require.Equal(t, new("Owner"), u.Name, "an unset field stays")

	u, err = st.UpdateAccount(t.Context(), store.UpdateAccount{Actor: h.actor, Name: new("")})
	require.NoError(t, err)
	require.Nil(t, u.Name)
	require.Equal(t, email, u.Email)
	require.False(t, u.UpdatedAt.Before(h.owner.UpdatedAt))

	require.Equal(t, []string{
		fmt.Sprintf(`UPDATE_ACCOUNT by %d {"fields": ["email"]}`, h.owner.ID),
		fmt.Sprintf(`UPDATE_ACCOUNT by %d {"fields": ["name"]}`, h.owner.ID),
	}, h.log()[2:])

	other := newHouse(t, st)
	_, err = st.UpdateAccount(t.Context(), store.UpdateAccount{Actor: h.actor, Email: new(strings.ToUpper(other.owner.Email))})
	require.ErrorIs(t, err, store.ErrEmailTaken)
}

func TestUpdatePassword(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	require.NoError(t, st.UpdatePassword(t.Context(), store.UpdatePassword{Actor: h.actor, PasswordHash: "second", Expected: "hash"}))
	require.ErrorIs(t, st.UpdatePassword(t.Context(), store.UpdatePassword{Actor: h.actor, PasswordHash: "third", Expected: "hash"}), store.ErrConflict)
	require.NoError(t, st.UpdatePassword(t.Context(), store.UpdatePassword{Actor: h.actor, PasswordHash: "fourth"}))
	c, err := st.Credentials(t.Context(), h.owner.Email)
	require.NoError(t, err)
	require.EqualValues(t, "fourth", c.PasswordHash)
	require.Equal(t, []string{fmt.Sprintf("UPDATE_PASSWORD by %d", h.owner.ID), fmt.Sprintf("UPDATE_PASSWORD by %d", h.owner.ID)}, h.log()[2:])
}

func TestDeleteAccount(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h, guest := newHouse(t, st), newHouse(t, st)
	_, token := h.invite(guest.owner.Email, db.RoleOwner)
	_, _, err := st.AcceptInvitation(t.Context(), store.AcceptInvitation{Actor: guest.actor, Token: token})
	require.NoError(t, err)
	sent, sentToken := h.invite(newEmail(), db.RoleMember)

	require.NoError(t, st.DeleteAccount(t.Context(), h.actor))

	// Nowhere to be found, but in the log.
	_, err = st.User(t.Context(), h.owner.ID)
	require.ErrorIs(t, err, store.ErrNotFound)
	_, err = st.Credentials(t.Context(), h.owner.Email)
	require.ErrorIs(t, err, store.ErrNotFound)
	team, err := st.TeamWithMembers(t.Context(), h.team.ID)
	require.NoError(t, err)
	require.Len(t, team.TeamMembers, 1)
	require.Equal(t, guest.owner.ID, team.TeamMembers[0].UserID)
	require.Equal(t, fmt.Sprintf(`DELETE_ACCOUNT by %d {"role": "owner"}`, h.owner.ID), h.log()[len(h.log())-1])
	activity, _, err := st.UserActivity(t.Context(), h.owner.ID, store.ActivityPage{Page: store.Page{Limit: 1}})
	require.NoError(t, err)
	require.Equal(t, new("Owner"), activity[0].UserName)

	// What the user sent can't be used.
	require.Equal(t, []string{"canceled"}, column[string](t, st, "SELECT status FROM invitations WHERE id = $1", sent.ID))
	_, err = st.SignUpWithInvitation(t.Context(), store.SignUpWithInvitation{Token: sentToken, Email: sent.Email, PasswordHash: "hash"})
	require.ErrorIs(t, err, store.ErrInvitationNotPending)

	// The e-mail signs up again, and is deleted again.
	require.Equal(t, []string{fmt.Sprintf("%s-%d-deleted", h.owner.Email, h.owner.ID)}, column[string](t, st, "SELECT email FROM users WHERE id = $1", h.owner.ID))
	again, err := st.SignUp(t.Context(), store.SignUp{Email: h.owner.Email, PasswordHash: "hash"})
	require.NoError(t, err)
	require.NoError(t, st.DeleteAccount(t.Context(), store.Actor{UserID: again.User.ID}))
	require.ErrorIs(t, st.DeleteAccount(t.Context(), store.Actor{UserID: again.User.ID}), store.ErrNotFound)
	requireSound(t, st)
}

// In the TypeScript app a long e-mail makes the account undeletable.
func TestDeleteAccountCutsALongEmail(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	email := strings.Repeat("ö", 243) + "@example.com"
	for range 2 {
		su, err := st.SignUp(t.Context(), store.SignUp{Email: email, PasswordHash: "hash"})
		require.NoError(t, err)
		require.NoError(t, st.DeleteAccount(t.Context(), store.Actor{UserID: su.User.ID}))
		suffix := fmt.Sprintf("-%d-deleted", su.User.ID)
		require.Equal(t, []string{string([]rune(email)[:255-len(suffix)]) + suffix}, column[string](t, st, "SELECT email FROM users WHERE id = $1", su.User.ID))
	}
}

func TestDeleteAccountOfALastOwner(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	h.join(db.RoleMember)
	second, _, err := st.CreateTeam(t.Context(), store.CreateTeam{Actor: h.actor, Name: "Second"})
	require.NoError(t, err)
	_, _, err = st.CreateTeam(t.Context(), store.CreateTeam{Actor: h.actor, Name: "Nobody else in it"})
	require.NoError(t, err)
	other := newHouse(t, st)
	_, err = db.NewTeamMember{UserID: other.owner.ID, TeamID: second.ID, Role: db.RoleMember}.Insert(t.Context(), admin(st))
	require.NoError(t, err)
	before := snapshot(t, st)

	err = st.DeleteAccount(t.Context(), h.actor)
	require.ErrorIs(t, err, store.ErrLastOwner)
	var last *store.LastOwnerError
	require.ErrorAs(t, err, &last)
	require.Equal(t, []db.TeamID{h.team.ID, second.ID}, last.TeamIDs)
	require.Equal(t, before, snapshot(t, st))

	// A deleted user is no other member: the TypeScript app leaves such memberships.
	exec(t, st, "UPDATE users SET deleted_at = now() WHERE id IN (SELECT user_id FROM team_members WHERE role = 'member')")
	require.NoError(t, st.DeleteAccount(t.Context(), h.actor))
	require.Equal(t, []int{3}, column[int](t, st, "SELECT count(*) FROM activity_logs WHERE action = 'DELETE_ACCOUNT'"), "one in each team")
}
