package store_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// writesNothing requires that op answers want, with every table as it was.
func writesNothing(t *testing.T, st *store.Store, want error, op func() error) {
	t.Helper()
	before := snapshot(t, st)
	require.ErrorIs(t, op(), want)
	require.Equal(t, before, snapshot(t, st))
}

// lastLog is the newest row of the team's log.
func (h *house) lastLog() string {
	h.t.Helper()
	log := h.log()
	return log[len(log)-1]
}

// member signs up a new member, and is the house as that one sees it.
func (h *house) member(role db.Role) *house {
	h.t.Helper()
	su := h.join(role)
	return &house{h.t, h.st, su.User, store.Actor{UserID: su.User.ID, IP: anIP}, su.Team, su.TeamMember}
}

func (h *house) leave() error {
	return h.st.LeaveTeam(h.t.Context(), store.LeaveTeam{Actor: h.actor, TeamID: h.team.ID})
}

func (h *house) changeRole(of *house, role db.Role) error {
	return h.st.ChangeRole(h.t.Context(), store.ChangeRole{Actor: h.actor, TeamID: h.team.ID, MemberID: of.seat.ID, Role: role})
}

func (h *house) transfer(to *house) error {
	return h.st.TransferOwnership(h.t.Context(), store.TransferOwnership{Actor: h.actor, TeamID: h.team.ID, MemberID: to.seat.ID})
}

func (h *house) rename(name string) error {
	return h.st.RenameTeam(h.t.Context(), store.RenameTeam{Actor: h.actor, TeamID: h.team.ID, Name: name})
}

func (h *house) deleteTeam(force bool) error {
	return h.st.DeleteTeam(h.t.Context(), store.DeleteTeam{Actor: h.actor, TeamID: h.team.ID, Force: force})
}

func (h *house) limitSeats(limit *int) error {
	return h.st.SetSeatLimit(h.t.Context(), store.SetSeatLimit{Actor: h.actor, TeamID: h.team.ID, Limit: limit})
}

func (h *house) resend(id db.InvitationID, ttl time.Duration) (db.Invitation, store.Token, error) {
	return h.st.ResendInvitation(h.t.Context(), store.ResendInvitation{Actor: h.actor, TeamID: h.team.ID, InvitationID: id, TTL: ttl})
}

func (h *house) inviteAll(invitees ...store.Invitee) ([]store.Invited, error) {
	return h.st.InviteMembers(h.t.Context(), store.InviteMembers{Actor: h.actor, TeamID: h.team.ID, Invitees: invitees})
}

func (h *house) accept(token store.Token) error {
	_, _, err := h.st.AcceptInvitation(h.t.Context(), store.AcceptInvitation{Actor: h.actor, Token: token})
	return err
}

// roles is the team's members with their roles, in the order of their accounts.
func (h *house) roles() []string {
	h.t.Helper()
	return column[string](h.t, h.st, "SELECT user_id || ' ' || role FROM team_members WHERE team_id = $1 ORDER BY user_id", h.team.ID)
}

func (h *house) with(role db.Role) string { return fmt.Sprint(h.owner.ID, " ", role) }

// deleteByHand is what a writer beside the Store may do: the membership stands.
func (h *house) deleteByHand() {
	h.t.Helper()
	exec(h.t, h.st, "UPDATE users SET deleted_at = timezone('utc', now()) WHERE id = $1", h.owner.ID)
}

func requireLastOwner(t *testing.T, h *house, op func() error) {
	t.Helper()
	var err error
	writesNothing(t, h.st, store.ErrLastOwner, func() error { err = op(); return err })
	var last *store.LastOwnerError
	require.ErrorAs(t, err, &last)
	require.Equal(t, []db.TeamID{h.team.ID}, last.TeamIDs)
}

func TestLeaveTeam(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h, other := newHouse(t, st), newHouse(t, st)
	member, second := h.member(db.RoleMember), h.member(db.RoleOwner)

	require.NoError(t, member.leave())
	require.Equal(t, fmt.Sprintf(`LEAVE_TEAM by %d {"role": "member", "memberId": %d}`, member.owner.ID, member.seat.ID), h.lastLog())
	require.Equal(t, []string{"203.0.113.7"}, column[string](t, st, "SELECT ip_address FROM activity_logs WHERE action = 'LEAVE_TEAM'"))
	require.Equal(t, []string{h.with(db.RoleOwner), second.with(db.RoleOwner)}, h.roles())
	writesNothing(t, st, store.ErrNotFound, member.leave)

	require.NoError(t, h.leave())
	require.Equal(t, fmt.Sprintf(`LEAVE_TEAM by %d {"role": "owner", "memberId": %d}`, h.owner.ID, h.seat.ID), h.lastLog())
	requireLastOwner(t, second, second.leave) // nobody else is there, and yet

	third := second.member(db.RoleOwner)
	third.deleteByHand()
	requireLastOwner(t, second, second.leave) // a deleted account is no owner
	writesNothing(t, st, store.ErrNotFound, third.leave)

	for _, actor := range []store.Actor{other.actor, {}, {UserID: 12345}} {
		writesNothing(t, st, store.ErrNotFound, func() error {
			return st.LeaveTeam(t.Context(), store.LeaveTeam{Actor: actor, TeamID: h.team.ID})
		})
	}
	writesNothing(t, st, store.ErrNotFound, func() error {
		return st.LeaveTeam(t.Context(), store.LeaveTeam{Actor: second.actor, TeamID: 12345})
	})

	// A plain member is not held back, whatever another writer made of the team.
	stuck := second.member(db.RoleMember)
	exec(t, st, "UPDATE team_members SET role = 'member' WHERE team_id = $1", h.team.ID)
	require.NoError(t, stuck.leave())
}

func TestChangeRole(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h, other := newHouse(t, st), newHouse(t, st)
	member := h.member(db.RoleMember)

	writesNothing(t, st, nil, func() error { return h.changeRole(member, db.RoleMember) })
	writesNothing(t, st, nil, func() error { return h.changeRole(h, db.RoleOwner) })
	requireLastOwner(t, h, func() error { return h.changeRole(h, db.RoleMember) })
	writesNothing(t, st, store.ErrForbidden, func() error { return member.changeRole(h, db.RoleMember) })
	writesNothing(t, st, store.ErrForbidden, func() error { return member.changeRole(member, db.RoleOwner) })
	writesNothing(t, st, store.ErrNotFound, func() error { return h.changeRole(other, db.RoleMember) })
	writesNothing(t, st, store.ErrInvalidInput, func() error { return h.changeRole(member, "admin") })

	require.NoError(t, h.changeRole(member, db.RoleOwner))
	require.Equal(t, fmt.Sprintf(`CHANGE_ROLE by %d {"to": "owner", "from": "member", "userId": %d, "memberId": %d}`, h.owner.ID, member.owner.ID, member.seat.ID), h.lastLog())
	require.Equal(t, []string{h.with(db.RoleOwner), member.with(db.RoleOwner)}, h.roles())

	require.NoError(t, h.changeRole(h, db.RoleMember), "of two owners one may step down")
	require.Equal(t, fmt.Sprintf(`CHANGE_ROLE by %d {"to": "member", "from": "owner", "userId": %d, "memberId": %d}`, h.owner.ID, h.owner.ID, h.seat.ID), h.lastLog())
	writesNothing(t, st, store.ErrForbidden, func() error { return h.changeRole(h, db.RoleOwner) })

	h.deleteByHand()
	writesNothing(t, st, store.ErrNotFound, func() error { return member.changeRole(h, db.RoleOwner) })
	member.deleteByHand()
	writesNothing(t, st, store.ErrForbidden, func() error { return member.changeRole(h, db.RoleOwner) })
}

func TestTransferOwnership(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h, other := newHouse(t, st), newHouse(t, st)
	member, third := h.member(db.RoleMember), h.member(db.RoleOwner)

	writesNothing(t, st, store.ErrNotFound, func() error { return h.transfer(h) })
	writesNothing(t, st, store.ErrNotFound, func() error { return h.transfer(other) })
	writesNothing(t, st, store.ErrForbidden, func() error { return member.transfer(h) })
	writesNothing(t, st, store.ErrForbidden, func() error {
		return st.TransferOwnership(t.Context(), store.TransferOwnership{Actor: other.actor, TeamID: h.team.ID, MemberID: member.seat.ID})
	})

	require.NoError(t, h.transfer(member))
	require.Equal(t, fmt.Sprintf(`TRANSFER_OWNERSHIP by %d {"from": "member", "userId": %d, "memberId": %d}`, h.owner.ID, member.owner.ID, member.seat.ID), h.lastLog())
	require.Equal(t, []string{h.with(db.RoleMember), member.with(db.RoleOwner), third.with(db.RoleOwner)}, h.roles())
	writesNothing(t, st, store.ErrForbidden, func() error { return h.transfer(member) })

	require.NoError(t, third.transfer(member), "to who is an owner already")
	require.Equal(t, fmt.Sprintf(`TRANSFER_OWNERSHIP by %d {"from": "owner", "userId": %d, "memberId": %d}`, third.owner.ID, member.owner.ID, member.seat.ID), h.lastLog())
	require.Equal(t, []string{h.with(db.RoleMember), member.with(db.RoleOwner), third.with(db.RoleMember)}, h.roles())

	third.deleteByHand()
	writesNothing(t, st, store.ErrNotFound, func() error { return member.transfer(third) })
}

func TestRenameTeam(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h, other := newHouse(t, st), newHouse(t, st)
	member := h.member(db.RoleMember)
	require.NoError(t, h.rename(`The "Löwen"`))
	require.Equal(t, fmt.Sprintf(`UPDATE_TEAM by %d {"name": {"to": "The \"Löwen\"", "from": %q}}`, h.owner.ID, h.team.Name), h.lastLog())
	team, err := st.Team(t.Context(), h.team.ID)
	require.NoError(t, err)
	require.Equal(t, `The "Löwen"`, team.Name)
	require.True(t, team.UpdatedAt.After(h.team.UpdatedAt))

	writesNothing(t, st, nil, func() error { return h.rename(`The "Löwen"`) })
	writesNothing(t, st, store.ErrForbidden, func() error { return member.rename("Mine") })
	writesNothing(t, st, store.ErrForbidden, func() error { return member.rename(team.Name) })
	writesNothing(t, st, store.ErrForbidden, func() error {
		return st.RenameTeam(t.Context(), store.RenameTeam{Actor: other.actor, TeamID: h.team.ID, Name: "Mine"})
	})
	require.NoError(t, h.rename(strings.ToUpper(team.Name)), "another case is another name")
}

func TestDeleteTeam(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h, other, guest := newHouse(t, st), newHouse(t, st), newHouse(t, st)
	customer := h.linkCustomer()
	member := h.member(db.RoleMember)
	h.member(db.RoleOwner)
	declined, declinedToken := h.invite(newEmail(), db.RoleMember)
	exec(t, st, "UPDATE invitations SET status = 'declined' WHERE id = $1", declined.ID)
	_, token := h.invite(guest.owner.Email, db.RoleMember)
	expired, _ := h.invite(newEmail(), db.RoleMember)
	h.expire(expired.ID)
	kept, _ := other.invite(newEmail(), db.RoleMember)

	writesNothing(t, st, store.ErrForbidden, func() error { return member.deleteTeam(true) })
	writesNothing(t, st, store.ErrForbidden, func() error {
		return st.DeleteTeam(t.Context(), store.DeleteTeam{Actor: other.actor, TeamID: h.team.ID, Force: true})
	})

	log := h.log()
	require.NoError(t, h.deleteTeam(false))
	require.Equal(t, append(log, fmt.Sprintf(`DELETE_TEAM by %d {"name": %q, "members": 3, "invitations": 2}`, h.owner.ID, h.team.Name)), h.log())
	require.Empty(t, h.roles())
	require.Equal(t, []string{"accepted", "accepted", "canceled", "canceled", "declined"}, column[string](t, st, "SELECT status FROM invitations WHERE team_id = $1 ORDER BY status", h.team.ID))
	require.Equal(t, []string{"pending"}, column[string](t, st, "SELECT status FROM invitations WHERE id = $1", kept.ID))
	require.Equal(t, []string{other.with(db.RoleOwner)}, other.roles())
	requireNoViolations(t, st)

	// Nothing leads to it any more but its log, and what refers to it.
	ctx := t.Context()
	all, err := st.Teams(ctx, []db.TeamID{h.team.ID})
	require.NoError(t, err)
	require.NotNil(t, all[h.team.ID].DeletedAt)
	details, err := st.InvitationByToken(ctx, declinedToken)
	require.NoError(t, err)
	require.Equal(t, h.team.Name, details.TeamName)
	entries, _, err := st.TeamActivity(ctx, h.team.ID, store.ActivityPage{Page: store.Page{Limit: 1}})
	require.NoError(t, err)
	require.Equal(t, db.ActivityDeleteTeam, entries[0].Action)
	for name, op := range map[string]struct {
		want error
		run  func() error
	}{
		"Team":                   {store.ErrNotFound, func() error { _, err := st.Team(ctx, h.team.ID); return err }},
		"TeamWithMembers":        {store.ErrNotFound, func() error { _, err := st.TeamWithMembers(ctx, h.team.ID); return err }},
		"TeamForUser":            {store.ErrNotFound, func() error { _, err := st.TeamForUser(ctx, h.owner.ID); return err }},
		"Membership":             {store.ErrNotFound, func() error { _, err := st.Membership(ctx, h.team.ID, h.owner.ID); return err }},
		"TeamByStripeCustomerID": {store.ErrNotFound, func() error { _, err := st.TeamByStripeCustomerID(ctx, customer); return err }},
		"RecordActivity":         {store.ErrNotFound, func() error { return st.RecordActivity(ctx, store.RecordActivity{TeamID: h.team.ID, Action: "EXPORT"}) }},
		"RecordActivities": {store.ErrNotFound, func() error {
			return st.RecordActivities(ctx, []store.RecordActivity{{TeamID: h.team.ID, Action: "EXPORT"}})
		}},
		"SetSeatLimit":       {store.ErrNotFound, func() error { return h.limitSeats(new(5)) }},
		"UpdateSubscription": {store.ErrNotFound, func() error { return st.UpdateSubscription(ctx, store.UpdateSubscription{TeamID: h.team.ID}) }},
		"LinkStripeCustomer": {store.ErrNotFound, func() error {
			return st.LinkStripeCustomer(ctx, store.LinkStripeCustomer{TeamID: h.team.ID, CustomerID: "cus_x"})
		}},
		"LeaveTeam":         {store.ErrNotFound, member.leave},
		"RenameTeam":        {store.ErrForbidden, func() error { return h.rename("Again") }},
		"DeleteTeam":        {store.ErrForbidden, func() error { return h.deleteTeam(true) }},
		"RemoveMember":      {store.ErrForbidden, func() error { return h.remove(member) }},
		"ChangeRole":        {store.ErrForbidden, func() error { return h.changeRole(member, db.RoleOwner) }},
		"TransferOwnership": {store.ErrForbidden, func() error { return h.transfer(member) }},
		"InviteMembers":     {store.ErrForbidden, func() error { _, err := h.inviteAll(store.Invitee{newEmail(), db.RoleMember}); return err }},
		"ResendInvitation":  {store.ErrForbidden, func() error { _, _, err := h.resend(expired.ID, 0); return err }},
		"AcceptInvitation":  {store.ErrInvitationNotPending, func() error { return guest.accept(token) }},
		"DeclineInvitation": {store.ErrInvitationNotPending, func() error {
			return st.DeclineInvitation(ctx, store.DeclineInvitation{Actor: guest.actor, Token: token})
		}},
	} {
		before := snapshot(t, st)
		require.ErrorIs(t, op.run(), op.want, name)
		require.Equal(t, before, snapshot(t, st), name)
	}
	_, _, err = st.CreateTeam(ctx, store.CreateTeam{Actor: h.actor, Name: "Anew"})
	require.NoError(t, err, "the accounts live on")
}

// While Stripe may still bill the team it is deleted by force alone.
func TestDeleteTeamWithASubscription(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	for status, live := range map[db.SubscriptionStatus]bool{
		"": false, db.SubscriptionCanceled: false, db.SubscriptionIncompleteExpired: false,
		db.SubscriptionActive: true, db.SubscriptionTrialing: true, db.SubscriptionPastDue: true,
		db.SubscriptionUnpaid: true, db.SubscriptionPaused: true, db.SubscriptionIncomplete: true,
	} {
		h := newHouse(t, st)
		member := h.member(db.RoleMember)
		require.NoError(t, st.UpdateSubscription(t.Context(), store.UpdateSubscription{TeamID: h.team.ID, Status: status}))
		if live {
			writesNothing(t, st, store.ErrForbidden, func() error { return member.deleteTeam(false) })
			writesNothing(t, st, store.ErrActiveSubscription, func() error { return h.deleteTeam(false) })
			require.NoError(t, h.deleteTeam(true), status)
		} else {
			require.NoError(t, h.deleteTeam(false), status)
		}
		require.Equal(t, []string{string(status)}, column[string](t, st, "SELECT coalesce(subscription_status, '') FROM teams WHERE id = $1 AND deleted_at IS NOT NULL", h.team.ID))
	}
}

func TestSetSeatLimit(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h, guest := newHouse(t, st), newHouse(t, st)
	h.member(db.RoleMember)
	_, token := h.invite(guest.owner.Email, db.RoleMember)

	writesNothing(t, st, nil, func() error { return h.limitSeats(nil) })
	for _, step := range []struct {
		limit *int
		meta  string
	}{
		{new(1), `{"to": 1, "from": null}`}, {new(0), `{"to": 0, "from": 1}`}, {new(2), `{"to": 2, "from": 0}`},
	} {
		require.NoError(t, h.limitSeats(step.limit))
		require.Equal(t, fmt.Sprintf(`UPDATE_TEAM by %d {"seatLimit": %s}`, h.owner.ID, step.meta), h.lastLog())
		require.Len(t, h.roles(), 2, "a limit removes nobody")
		writesNothing(t, st, nil, func() error { return h.limitSeats(step.limit) })
		writesNothing(t, st, store.ErrSeatLimit, func() error { return guest.accept(token) })
	}
	require.NoError(t, h.limitSeats(new(3)))
	require.NoError(t, guest.accept(token))
	_, stranger := h.invite("stranger@example.com", db.RoleMember)
	signUp := store.SignUpWithInvitation{Token: stranger, Email: "stranger@example.com", PasswordHash: "hash"}
	writesNothing(t, st, store.ErrSeatLimit, func() error { _, err := st.SignUpWithInvitation(t.Context(), signUp); return err })

	require.NoError(t, st.SetSeatLimit(t.Context(), store.SetSeatLimit{TeamID: h.team.ID}))
	require.Equal(t, `UPDATE_TEAM by nobody {"seatLimit": {"to": null, "from": 3}}`, h.lastLog())
	_, err := st.SignUpWithInvitation(t.Context(), signUp)
	require.NoError(t, err)

	writesNothing(t, st, store.ErrNotFound, func() error {
		return st.SetSeatLimit(t.Context(), store.SetSeatLimit{TeamID: 12345, Limit: new(1)})
	})
	writesNothing(t, st, store.ErrInvalidInput, func() error { return h.limitSeats(new(-1)) })
}

func TestMembershipAndTeamsForUser(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h, guest := newHouse(t, st), newHouse(t, st)
	_, token := h.invite(guest.owner.Email, db.RoleMember)
	require.NoError(t, guest.accept(token))

	seat, err := st.Membership(t.Context(), guest.team.ID, guest.owner.ID)
	require.NoError(t, err)
	require.Equal(t, guest.seat, seat)
	joined, err := st.Membership(t.Context(), h.team.ID, guest.owner.ID)
	require.NoError(t, err)
	require.Equal(t, db.RoleMember, joined.Role)
	_, err = st.Membership(t.Context(), guest.team.ID, h.owner.ID)
	require.ErrorIs(t, err, store.ErrNotFound)

	both, next, err := st.TeamsForUser(t.Context(), guest.owner.ID, store.Page{})
	require.NoError(t, err)
	require.Empty(t, next)
	require.Equal(t, []store.UserTeam{
		{Team: guest.team, Role: db.RoleOwner, JoinedAt: guest.seat.JoinedAt},
		{Team: h.team, Role: db.RoleMember, JoinedAt: joined.JoinedAt},
	}, both)

	// Of what another writer left, nothing is shown for a deleted account.
	guest.deleteByHand()
	_, err = st.Membership(t.Context(), h.team.ID, guest.owner.ID)
	require.ErrorIs(t, err, store.ErrNotFound)
	none, _, err := st.TeamsForUser(t.Context(), guest.owner.ID, store.Page{})
	require.NoError(t, err)
	require.NotNil(t, none)
	require.Empty(t, none)
	_, err = st.TeamForUser(t.Context(), guest.owner.ID)
	require.ErrorIs(t, err, store.ErrNotFound)
}

func TestInviteMembers(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h, guest := newHouse(t, st), newHouse(t, st)
	member, second := h.member(db.RoleMember), h.member(db.RoleOwner)
	pending, _ := h.invite(newEmail(), db.RoleMember)
	expired, _ := h.invite(newEmail(), db.RoleMember)
	h.expire(expired.ID)
	orphan, _ := second.invite(newEmail(), db.RoleMember)
	require.NoError(t, second.leave())
	log := h.log()

	results, err := h.inviteAll(
		store.Invitee{" New@Example.com", db.RoleOwner},
		store.Invitee{strings.ToUpper(member.owner.Email), db.RoleMember},
		store.Invitee{"no address", db.RoleMember},
		store.Invitee{pending.Email, db.RoleMember},
		store.Invitee{"NEW@example.com ", db.RoleMember}, // again
		store.Invitee{"role@example.com", "admin"},
		store.Invitee{"mended@example.com", "admin"}, // the first valid one counts
		store.Invitee{"mended@example.com", db.RoleOwner},
		store.Invitee{expired.Email, db.RoleMember},
		store.Invitee{orphan.Email, db.RoleMember},
		store.Invitee{guest.owner.Email, db.RoleMember},
		store.Invitee{second.owner.Email, db.RoleOwner}, // has left
		store.Invitee{"NO ADDRESS", db.RoleMember},      // again
	)
	require.NoError(t, err)
	want := []struct {
		email string
		err   error
	}{
		{"new@example.com", nil},
		{member.owner.Email, store.ErrAlreadyMember},
		{"no address", &store.InvalidInputError{Field: "Email"}},
		{pending.Email, store.ErrAlreadyInvited},
		{"role@example.com", &store.InvalidInputError{Field: "Role"}},
		{"mended@example.com", nil},
		{expired.Email, nil},
		{orphan.Email, nil},
		{guest.owner.Email, nil},
		{second.owner.Email, nil},
	}
	require.Len(t, results, len(want))
	for i, r := range results {
		require.Equal(t, want[i].email, r.Email)
		if want[i].err != nil {
			requireRefused(t, want[i].err, r.Err)
			require.Empty(t, r.Token)
			require.Zero(t, r.Invitation)
			continue
		}
		require.NoError(t, r.Err)
		log = append(log, fmt.Sprintf(`INVITE_TEAM_MEMBER by %d {"role": %q, "email": %q, "invitationId": %d}`, h.owner.ID, r.Invitation.Role, r.Email, r.Invitation.ID))
		details, err := st.InvitationByToken(t.Context(), r.Token)
		require.NoError(t, err)
		require.Equal(t, r.Invitation, details.Invitation)
		require.Equal(t, db.InvitationPending, details.Status)
		require.Equal(t, details.InvitedAt.Add(7*24*time.Hour), *details.ExpiresAt)
	}
	require.Equal(t, db.RoleOwner, results[0].Invitation.Role, "the first one's")
	require.ElementsMatch(t, log, h.log())
	require.Equal(t, []string{"expired", "pending"}, column[string](t, st, "SELECT status FROM invitations WHERE email = $1 ORDER BY id", expired.Email))
	require.Equal(t, []string{"canceled", "pending"}, column[string](t, st, "SELECT status FROM invitations WHERE email = $1 ORDER BY id", orphan.Email))
	require.NoError(t, guest.accept(results[8].Token))
	requireNoViolations(t, st)

	// Who may is asked first, of an empty list too.
	for _, list := range [][]store.Invitee{nil, {{"no address", "admin"}}, {{newEmail(), db.RoleMember}}, {{pending.Email, db.RoleMember}}} {
		writesNothing(t, st, store.ErrForbidden, func() error { _, err := member.inviteAll(list...); return err })
	}
	writesNothing(t, st, nil, func() error {
		results, err := h.inviteAll()
		require.NotNil(t, results)
		require.Empty(t, results)
		return err
	})
	// All of them at once, when nobody can be invited.
	writesNothing(t, st, nil, func() error {
		results, err := h.inviteAll(store.Invitee{pending.Email, db.RoleMember}, store.Invitee{"", db.RoleMember})
		require.ErrorIs(t, results[0].Err, store.ErrAlreadyInvited)
		require.ErrorIs(t, results[1].Err, store.ErrInvalidInput)
		return err
	})

	thousand := make([]store.Invitee, 1000)
	for i := range thousand {
		thousand[i] = store.Invitee{newEmail(), db.RoleMember}
	}
	results, err = h.inviteAll(thousand...)
	require.NoError(t, err)
	require.Len(t, results, 1000)
	for i, r := range results {
		require.NoError(t, r.Err)
		require.Equal(t, thousand[i].Email, r.Invitation.Email)
	}
}

func TestResendInvitation(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h, guest := newHouse(t, st), newHouse(t, st)
	second, member := h.member(db.RoleOwner), h.member(db.RoleMember)
	inv, old := second.invite(guest.owner.Email, db.RoleMember)

	again, token, err := h.resend(inv.ID, time.Hour)
	require.NoError(t, err)
	require.NotEqual(t, old, token)
	require.Equal(t, fmt.Sprintf(`RESEND_INVITATION by %d {"role": "member", "email": %q, "invitationId": %d}`, h.owner.ID, inv.Email, inv.ID), h.lastLog())
	require.Equal(t, inv.ID, again.ID)
	require.Equal(t, inv.InvitedAt, again.InvitedAt)
	require.Equal(t, h.owner.ID, again.InvitedBy, "from now on it is his")
	require.Nil(t, again.TokenHash)
	require.WithinDuration(t, inv.InvitedAt.Add(time.Hour), *again.ExpiresAt, time.Minute)

	_, err = st.InvitationByToken(t.Context(), old)
	require.ErrorIs(t, err, store.ErrNotFound)
	writesNothing(t, st, store.ErrNotFound, func() error { return guest.accept(old) })
	require.NoError(t, second.leave(), "who sent it first")
	h.expire(inv.ID)
	writesNothing(t, st, store.ErrInvitationExpired, func() error { return guest.accept(token) })
	again, token, err = h.resend(inv.ID, 0)
	require.NoError(t, err)
	require.Equal(t, db.InvitationPending, again.Status)
	require.WithinDuration(t, inv.InvitedAt.Add(7*24*time.Hour), *again.ExpiresAt, time.Minute)

	// One of the TypeScript app's, which has no token and no end, gets them.
	bare, err := db.NewInvitation{TeamID: h.team.ID, Email: newEmail(), Role: db.RoleOwner, InvitedBy: member.owner.ID}.Insert(t.Context(), admin(st))
	require.NoError(t, err)
	_, bareToken, err := h.resend(bare, 0)
	require.NoError(t, err)
	details, err := st.InvitationByToken(t.Context(), bareToken)
	require.NoError(t, err)
	require.Equal(t, bare, details.ID)

	refused := func(by *house, id db.InvitationID, want error) {
		t.Helper()
		writesNothing(t, st, want, func() error {
			inv, token, err := by.resend(id, 0)
			require.Zero(t, inv)
			require.Empty(t, token)
			return err
		})
	}
	theirs, _ := guest.invite(newEmail(), db.RoleMember)
	refused(member, inv.ID, store.ErrForbidden)
	refused(second, inv.ID, store.ErrForbidden)
	refused(h, theirs.ID, store.ErrNotFound)
	refused(h, 12345, store.ErrNotFound)
	for _, status := range []db.InvitationStatus{db.InvitationCanceled, db.InvitationDeclined, db.InvitationExpired} {
		exec(t, st, "UPDATE invitations SET status = $2 WHERE id = $1", bare, status)
		refused(h, bare, store.ErrInvitationNotPending)
	}
	require.NoError(t, guest.accept(token))
	refused(h, inv.ID, store.ErrInvitationNotPending)
	requireNoViolations(t, st)
}

func TestInvitationByToken(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	inv, token := h.invite(newEmail(), db.RoleOwner)
	read := func() store.InvitationDetails {
		t.Helper()
		details, err := st.InvitationByToken(t.Context(), token)
		require.NoError(t, err)
		return details
	}
	want := store.InvitationDetails{Invitation: inv, TeamName: h.team.Name, InviterName: new("Owner"), InviterEmail: new(h.owner.Email), ExpiresAt: inv.ExpiresAt}
	require.Equal(t, want, read())
	require.Nil(t, read().TokenHash)
	for _, status := range []db.InvitationStatus{db.InvitationAccepted, db.InvitationDeclined, db.InvitationCanceled, db.InvitationExpired} {
		exec(t, st, "UPDATE invitations SET status = $2 WHERE id = $1", inv.ID, status)
		require.Equal(t, status, read().Status)
	}
	exec(t, st, "UPDATE invitations SET status = 'pending' WHERE id = $1", inv.ID)
	h.expire(inv.ID)
	require.Equal(t, db.InvitationExpired, read().Status)
	require.Equal(t, []string{"pending"}, column[string](t, st, "SELECT status FROM invitations WHERE id = $1", inv.ID), "a read writes nothing")
	exec(t, st, "UPDATE invitations SET status = 'accepted' WHERE id = $1", inv.ID)
	require.Equal(t, db.InvitationAccepted, read().Status, "what was accepted in time never expires")
	_, err := st.InvitationByToken(t.Context(), "")
	require.ErrorIs(t, err, store.ErrNotFound)
}

func TestInvitationsForEmail(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	a, b, c, d, guest := newHouse(t, st), newHouse(t, st), newHouse(t, st), newHouse(t, st), newHouse(t, st)
	email := guest.owner.Email
	first, _ := a.invite(email, db.RoleMember)
	a.invite(newEmail(), db.RoleMember)
	canceled, _ := b.invite(email, db.RoleMember)
	require.NoError(t, st.CancelInvitation(t.Context(), store.CancelInvitation{Actor: b.actor, TeamID: b.team.ID, InvitationID: canceled.ID}))
	typed, err := db.NewInvitation{TeamID: c.team.ID, Email: strings.ToUpper(email), Role: db.RoleOwner, InvitedBy: c.owner.ID}.Insert(t.Context(), admin(st))
	require.NoError(t, err)
	_, token := d.invite(email, db.RoleMember)

	ids := func() (ids []db.InvitationID) {
		t.Helper()
		for inv, err := range store.All(store.Page{Limit: 1}, func(p store.Page) ([]store.InvitationDetails, store.Cursor, error) {
			return st.InvitationsForEmail(t.Context(), " "+strings.ToUpper(email), p)
		}) {
			require.NoError(t, err)
			require.Nil(t, inv.TokenHash)
			ids = append(ids, inv.ID)
		}
		return ids
	}
	require.Len(t, ids(), 3)
	require.NoError(t, guest.accept(token))
	require.Equal(t, []db.InvitationID{typed, first.ID}, ids(), "newest first")

	a.expire(first.ID)
	list, _, err := st.InvitationsForEmail(t.Context(), email, store.Page{})
	require.NoError(t, err)
	first.Status, first.ExpiresAt = db.InvitationExpired, list[1].ExpiresAt
	require.Equal(t, store.InvitationDetails{Invitation: first, TeamName: a.team.Name, InviterName: new("Owner"), InviterEmail: new(a.owner.Email), ExpiresAt: list[1].ExpiresAt}, list[1])

	for _, nobody := range append(badEmails(), input[string]{"unknown", "nobody@example.com"}) {
		list, next, err := st.InvitationsForEmail(t.Context(), nobody.value, store.Page{})
		require.NoError(t, err, nobody.is)
		require.NotNil(t, list, nobody.is)
		require.Empty(t, list, nobody.is)
		require.Empty(t, next, nobody.is)
	}
}

func TestRecordActivities(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h, other := newHouse(t, st), newHouse(t, st)
	require.NoError(t, st.RecordActivities(t.Context(), nil))
	require.NoError(t, st.RecordActivities(t.Context(), []store.RecordActivity{
		{TeamID: h.team.ID, UserID: h.owner.ID, Action: "EXPORT", IP: anIP, Metadata: map[string]any{"rows": 7, "note": `C:\u0000`}},
		{TeamID: other.team.ID, Action: "NIGHTLY"},
		{TeamID: h.team.ID, UserID: other.owner.ID, Action: "IMPORT", Metadata: map[string]any{}},
	}))
	require.Equal(t, []string{
		fmt.Sprintf(`EXPORT by %d {"note": "C:\\u0000", "rows": 7}`, h.owner.ID),
		fmt.Sprintf(`IMPORT by %d {}`, other.owner.ID),
	}, h.log()[2:])
	require.Equal(t, "NIGHTLY by nobody", other.lastLog())
	require.Equal(t, []string{"203.0.113.7"}, column[string](t, st, "SELECT ip_address FROM activity_logs WHERE action IN ('EXPORT', 'NIGHTLY', 'IMPORT') AND ip_address IS NOT NULL"))
}

// More than one statement carries is still all or nothing, in order and at one time.
func TestRecordManyActivities(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	const many = 25_000
	list := make([]store.RecordActivity, many)
	last := &list[many-1]
	for i := range list {
		list[i] = store.RecordActivity{TeamID: h.team.ID, UserID: h.owner.ID, Action: "EXPORT", Metadata: map[string]any{"n": i}}
	}
	good := *last
	before := snapshot(t, st)
	for _, c := range []struct {
		spoil func()
		want  error
	}{
		{func() { last.Action = "" }, invalid("[24999].Action")},
		{func() { last.Metadata = map[string]any{"a": "\x00"} }, invalid("[24999].Metadata")},
		{func() { last.TeamID = 12345 }, store.ErrNotFound},
		{func() { last.UserID = 12345 }, store.ErrNotFound},
	} {
		c.spoil()
		requireRefused(t, c.want, st.RecordActivities(t.Context(), list))
		require.Equal(t, before, snapshot(t, st))
		*last = good
	}

	require.NoError(t, st.RecordActivities(t.Context(), list))
	require.Equal(t, []int{many}, column[int](t, st, "SELECT count(*) FROM activity_logs WHERE action = 'EXPORT'"))
	require.Equal(t, []int{1}, column[int](t, st, `SELECT count(DISTINCT "timestamp") FROM activity_logs WHERE action = 'EXPORT'`))
	require.Empty(t, column[int](t, st, "SELECT id FROM (SELECT id, (metadata->>'n')::integer AS n, row_number() OVER (ORDER BY id) - 1 AS place FROM activity_logs WHERE action = 'EXPORT') AS r WHERE n <> place"))

	// In a transaction of the caller's it is a part of that one.
	before = snapshot(t, st)
	require.ErrorIs(t, st.InTx(t.Context(), func(tx *store.Store) error {
		require.NoError(t, tx.RecordActivities(t.Context(), list))
		last.Action = ""
		require.ErrorIs(t, tx.RecordActivities(t.Context(), list), store.ErrInvalidInput)
		require.Equal(t, []int{2 * many}, column[int](t, tx, "SELECT count(*) FROM activity_logs WHERE action = 'EXPORT'"))
		return errRollBack
	}), errRollBack)
	require.Equal(t, before, snapshot(t, st))
}

func TestPurgeActivity(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h, other := newHouse(t, st), newHouse(t, st)
	end := time.Date(2020, 1, 1, 0, 0, 0, 0, time.FixedZone("", -3600)) // the zone does not matter
	fill := func() {
		exec(t, st, "DELETE FROM activity_logs WHERE action IN ('OLD', 'NEW')")
		exec(t, st, `INSERT INTO activity_logs (team_id, action, "timestamp") SELECT id, 'OLD', $1::timestamp - i * interval '1 microsecond' FROM teams, generate_series(1, 5) AS i`, end.UTC())
		exec(t, st, `INSERT INTO activity_logs (team_id, action, "timestamp") SELECT id, 'NEW', $1::timestamp FROM teams`, end.UTC())
	}
	for _, batch := range []int{0, 1, 3, 5, 10, 11, 100_000} {
		fill()
		removed, err := st.PurgeActivity(t.Context(), end, batch)
		require.NoError(t, err)
		require.EqualValues(t, 10, removed, batch)
		require.Equal(t, []string{"CREATE_TEAM", "NEW", "SIGN_UP"}, column[string](t, st, "SELECT DISTINCT action FROM activity_logs ORDER BY 1"))
	}
	writesNothing(t, st, nil, func() error {
		removed, err := st.PurgeActivity(t.Context(), end, 0)
		require.Zero(t, removed)
		return err
	})

	// What was removed before ctx ended stays removed: the oldest.
	fill()
	ctx, cancel := context.WithCancel(t.Context())
	exec(t, st, `CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3600); RETURN OLD; END $$`)
	exec(t, st, `CREATE TRIGGER slow BEFORE DELETE ON activity_logs FOR EACH ROW WHEN (OLD."timestamp" = '`+end.UTC().Add(-2*time.Microsecond).Format("2006-01-02 15:04:05.000000")+`') EXECUTE FUNCTION slow()`)
	ended := make(chan error)
	var removed int64
	go func() {
		var err error
		removed, err = st.PurgeActivity(ctx, end, 2)
		ended <- err
	}()
	require.Eventually(t, func() bool {
		// In the fourth batch. Before the server has begun that one it would let the cancel
		// request pass, and then sleep.
		var sleeps bool
		return admin(st).QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep')").Scan(&sleeps) == nil && sleeps
	}, 10*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	require.EqualValues(t, 6, removed)
	require.Equal(t, []string{"1", "1", "2", "2"}, column[string](t, st, `SELECT extract(microseconds FROM $1::timestamp - "timestamp")::integer::text FROM activity_logs WHERE action = 'OLD' ORDER BY "timestamp" DESC`, end.UTC()))
	require.Equal(t, "OLD by nobody", h.log()[0])
	require.NotEmpty(t, other.log())
}

// All reads a page when the one before it is used up, and no other.
func TestAll(t *testing.T) {
	t.Parallel()
	errBroken := errors.New("broken")
	type reads struct{ pages []store.Page }
	// list has pages of 3 of the numbers from 0, and fails at page broken.
	list := func(pages, broken int, r *reads) func(store.Page) ([]int, store.Cursor, error) {
		return func(p store.Page) ([]int, store.Cursor, error) {
			n := 0
			if _, after, ok := strings.Cut(string(p.After), "after page "); ok {
				last, err := strconv.Atoi(after)
				require.NoError(t, err)
				n = last + 1
			}
			r.pages = append(r.pages, p)
			if n == broken {
				return nil, "", errBroken
			}
			next := store.Cursor(fmt.Sprint("after page ", n))
			if n == pages-1 {
				next = ""
			}
			return []int{3 * n, 3*n + 1, 3*n + 2}, next, nil
		}
	}
	walk := func(seq iter.Seq2[int, error], breakAt int, r *reads) (items []int, errs []error) {
		for item, err := range seq {
			if err != nil {
				errs = append(errs, err)
				require.Zero(t, item)
				continue
			}
			require.Len(t, r.pages, item/3+1, "no page is read before it is needed")
			items = append(items, item)
			if item == breakAt {
				break
			}
		}
		return items, errs
	}
	for _, c := range []struct {
		name                   string
		pages, broken, breakAt int
		items, reads           int
		err                    error
	}{
		{"one page", 1, -1, -1, 3, 1, nil},
		{"four pages", 4, -1, -1, 12, 4, nil},
		{"a break within a page", 4, -1, 4, 5, 2, nil},
		{"a break at a page's end", 4, -1, 5, 6, 2, nil},
		{"a break at the first row", 4, -1, 0, 1, 1, nil},
		{"an error at once", 4, 0, -1, 0, 1, errBroken},
		{"an error further down", 4, 2, -1, 6, 3, errBroken},
	} {
		var r reads
		seq := store.All(store.Page{Limit: 3, After: "begin"}, list(c.pages, c.broken, &r))
		require.Empty(t, r.pages, "%s: nothing is read before the loop", c.name)
		items, errs := walk(seq, c.breakAt, &r)
		require.Len(t, items, c.items, c.name)
		for i, item := range items {
			require.Equal(t, i, item, c.name)
		}
		require.Len(t, r.pages, c.reads, c.name)
		require.Equal(t, store.Page{Limit: 3, After: "begin"}, r.pages[0], c.name)
		for i, p := range r.pages[1:] {
			require.Equal(t, store.Page{Limit: 3, After: store.Cursor(fmt.Sprint("after page ", i))}, p, c.name)
		}
		if c.err == nil {
			require.Empty(t, errs, c.name)
		} else {
			require.Equal(t, []error{c.err}, errs, "%s: once, and last", c.name)
		}
	}

	// A second walk begins where the first one did.
	var r reads
	seq := store.All(store.Page{Limit: 3}, list(2, -1, &r))
	walk(seq, -1, &r)
	first := r.pages
	r.pages = nil
	walk(seq, -1, &r)
	require.Equal(t, []store.Page{{Limit: 3}, {Limit: 3, After: "after page 0"}}, first)
	require.Equal(t, first, r.pages)

	// An empty list, and errors of the Store itself.
	st := newStore(t)
	members := func(p store.Page) ([]store.Member, store.Cursor, error) { return st.Members(t.Context(), 12345, p) }
	for range store.All(store.Page{}, members) {
		t.Error("a team that is not there has a member")
	}
	for _, err := range store.All(store.Page{After: "nonsense"}, members) {
		require.ErrorIs(t, err, store.ErrInvalidCursor)
	}
}

// The filters of a log, against the same filters in Go: alone, together, and with a
// cursor of the whole list.
func TestActivityIsFiltered(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	exec(t, st, "DELETE FROM activity_logs")
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	exec(t, st, `INSERT INTO activity_logs (team_id, user_id, action, "timestamp") SELECT $1, $2, a, $3::timestamp + n / 2 * interval '1 microsecond'
		FROM generate_series(0, 3) AS n, unnest(ARRAY['A', 'B', 'C']) AS a ORDER BY n, a`, h.team.ID, h.owner.ID, begin)

	type read = func(store.ActivityPage) ([]store.Activity, store.Cursor, error)
	byTeam := func(p store.ActivityPage) ([]store.Activity, store.Cursor, error) {
		return st.TeamActivity(t.Context(), h.team.ID, p)
	}
	byUser := func(p store.ActivityPage) ([]store.Activity, store.Cursor, error) {
		return st.UserActivity(t.Context(), h.owner.ID, p)
	}
	times := []time.Time{{}}
	for n := range 3 {
		times = append(times, begin.Add(time.Duration(n)*time.Microsecond).In(time.FixedZone("", 3600*n)))
	}
	times = append(times, time.Date(-5000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC))
	actions := [][]db.ActivityType{nil, {"A"}, {"C", "A"}, {"B", "B"}, {"A", "B", "C", "D"}, {"D"}}

	for name, list := range map[string]read{"TeamActivity": byTeam, "UserActivity": byUser} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole, end, err := list(store.ActivityPage{Page: store.Page{Limit: 1000}})
			require.NoError(t, err)
			require.Empty(t, end)
			require.Len(t, whole, 12)
			matching := func(rows []store.Activity, p store.ActivityPage) (ids []db.ActivityLogID) {
				for _, a := range rows {
					if (p.Actions == nil || slices.Contains(p.Actions, a.Action)) && !a.Timestamp.Before(p.Since) && (p.Until.IsZero() || a.Timestamp.Before(p.Until)) {
						ids = append(ids, a.ID)
					}
				}
				return ids
			}
			cursors := make([]store.Cursor, len(whole)) // after so many rows of the whole list
			for i := range cursors[1:] {
				_, cursors[i+1], err = list(store.ActivityPage{Page: store.Page{Limit: i + 1}})
				require.NoError(t, err)
			}
			for _, since := range times {
				for _, until := range times {
					for i, of := range actions {
						p := store.ActivityPage{Actions: of, Since: since, Until: until}
						for read, after := range cursors {
							if i > 1 && read%5 > 0 {
								continue // enough of them
							}
							var got []db.ActivityLogID
							for a, err := range store.All(store.Page{Limit: 2 + (read+i)%6, After: after}, func(page store.Page) ([]store.Activity, store.Cursor, error) {
								p.Page = page
								return list(p)
							}) {
								require.NoError(t, err)
								got = append(got, a.ID)
							}
							require.Equal(t, matching(whole[read:], p), got, "after %d rows: %v since %v until %v", read, of, since, until)
						}
					}
				}
			}
		})
	}
}

// Each rule, broken by hand as another writer may, is found and nothing else is.
func TestCheckInvariants(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for _, c := range []struct {
		rule, table string
		broken      func(t *testing.T, st *store.Store, h *house) (ids []int64)
	}{
		{"team without an owner", teams, func(t *testing.T, st *store.Store, h *house) []int64 {
			h.member(db.RoleMember)
			exec(t, st, "UPDATE team_members SET role = 'member' WHERE team_id = $1", h.team.ID)
			return []int64{int64(h.team.ID)}
		}},
		{"duplicate membership", teamMembers, func(t *testing.T, st *store.Store, h *house) []int64 {
			exec(t, st, "DROP INDEX team_members_team_id_user_id_unique")
			return append([]int64{int64(h.seat.ID)}, column[int64](t, st, "INSERT INTO team_members (team_id, user_id, role) VALUES ($1, $2, 'owner') RETURNING id", h.team.ID, h.owner.ID)...)
		}},
		{"membership of a deleted user", teamMembers, func(t *testing.T, st *store.Store, h *house) []int64 {
			gone := h.member(db.RoleMember)
			gone.deleteByHand()
			return []int64{int64(gone.seat.ID)}
		}},
		{"membership in a deleted team", teamMembers, func(t *testing.T, st *store.Store, h *house) []int64 {
			exec(t, st, "UPDATE teams SET deleted_at = now() WHERE id = $1", h.team.ID)
			exec(t, st, "UPDATE invitations SET status = 'canceled' WHERE team_id = $1 AND status = 'pending'", h.team.ID)
			return []int64{int64(h.seat.ID)}
		}},
		{"duplicate e-mail", users, func(t *testing.T, st *store.Store, h *house) []int64 {
			exec(t, st, "DROP INDEX users_lower_email_unique")
			twin := newHouse(t, st)
			exec(t, st, "UPDATE users SET email = upper($2) WHERE id = $1", twin.owner.ID, h.owner.Email)
			return []int64{int64(h.owner.ID), int64(twin.owner.ID)}
		}},
		{"several pending invitations", invitations, func(t *testing.T, st *store.Store, h *house) []int64 {
			inv, _ := h.invite(newEmail(), db.RoleMember)
			exec(t, st, "DROP INDEX invitations_team_id_lower_email_pending_unique")
			return append([]int64{int64(inv.ID)}, column[int64](t, st, "INSERT INTO invitations (team_id, email, role, invited_by) SELECT team_id, upper(email), role, invited_by FROM invitations WHERE id = $1 RETURNING id", inv.ID)...)
		}},
		{"pending invitation to a deleted team", invitations, func(t *testing.T, st *store.Store, h *house) []int64 {
			inv, _ := h.invite(newEmail(), db.RoleMember)
			require.NoError(t, h.deleteTeam(false))
			exec(t, st, "UPDATE invitations SET status = 'pending' WHERE id = $1", inv.ID)
			return []int64{int64(inv.ID)}
		}},
		{"pending invitation by a deleted user", invitations, func(t *testing.T, st *store.Store, h *house) []int64 {
			second := h.member(db.RoleOwner)
			inv, _ := second.invite(newEmail(), db.RoleMember)
			require.NoError(t, st.DeleteAccount(ctx, second.actor))
			exec(t, st, "UPDATE invitations SET status = 'pending' WHERE id = $1", inv.ID)
			return []int64{int64(inv.ID)}
		}},
		{"accepted invitation without a membership", invitations, func(t *testing.T, st *store.Store, h *house) []int64 {
			guest := newHouse(t, st)
			inv, token := h.invite(guest.owner.Email, db.RoleMember)
			require.NoError(t, guest.accept(token))
			exec(t, st, "DELETE FROM team_members WHERE team_id = $1 AND user_id = $2", h.team.ID, guest.owner.ID)
			flipped, _ := h.invite(newHouse(t, st).owner.Email, db.RoleMember)
			exec(t, st, "UPDATE invitations SET status = 'accepted' WHERE id = $1", flipped.ID)
			return []int64{int64(inv.ID), int64(flipped.ID)}
		}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			st := newStore(t)
			h := newHouse(t, st)
			h.liveALife()
			clean, err := st.CheckInvariants(ctx)
			require.NoError(t, err)
			require.NotNil(t, clean)
			require.Empty(t, clean)

			var want []store.Violation
			for _, id := range c.broken(t, st, h) {
				v := store.Violation{Rule: c.rule, Table: c.table, ID: id, TeamID: h.team.ID}
				if c.table == users {
					v.TeamID = 0
				}
				want = append(want, v)
			}
			writesNothing(t, st, nil, func() error {
				got, err := st.CheckInvariants(ctx)
				require.Equal(t, want, got)
				return err
			})
		})
	}
}

// A transaction that began before an invitation, and ended its team after it was
// accepted, has an earlier time in the log than both.
func TestCheckInvariantsWhenTheOlderTransactionIsLast(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	st, older := newStore(t), newStore(t) // two, for a pool may have one connection
	h, guest := newHouse(t, st), newHouse(t, st)
	require.NoError(t, older.InTx(ctx, func(tx *store.Store) error {
		_, err := tx.Conn().Exec(ctx, "SELECT now()")
		require.NoError(t, err)
		_, token := h.invite(guest.owner.Email, db.RoleMember)
		require.NoError(t, guest.accept(token))
		return tx.DeleteTeam(ctx, store.DeleteTeam{Actor: h.actor, TeamID: h.team.ID})
	}))
	violations, err := st.CheckInvariants(ctx)
	require.NoError(t, err)
	require.Empty(t, violations)
}

// liveALife leaves a trace of each way in and out of a team.
func (h *house) liveALife() {
	h.t.Helper()
	ctx := h.t.Context()
	require.NoError(h.t, h.member(db.RoleMember).leave())
	require.NoError(h.t, h.remove(h.member(db.RoleMember)))
	require.NoError(h.t, h.st.DeleteAccount(ctx, h.member(db.RoleOwner).actor))
	other := newHouse(h.t, h.st)
	_, token := h.invite(other.owner.Email, db.RoleMember)
	require.NoError(h.t, other.accept(token))
	other.member(db.RoleMember)
	require.NoError(h.t, other.deleteTeam(false))
	require.NoError(h.t, h.st.LeaveTeam(ctx, store.LeaveTeam{Actor: other.actor, TeamID: h.team.ID}))
	declined, token := h.invite(other.owner.Email, db.RoleMember)
	require.NoError(h.t, h.st.DeclineInvitation(ctx, store.DeclineInvitation{Actor: other.actor, Token: token}))
	require.NotZero(h.t, declined.ID)
	inv, _ := h.invite(newEmail(), db.RoleMember)
	h.expire(inv.ID)
	h.invite(inv.Email, db.RoleMember)
}
