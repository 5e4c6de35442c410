package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

func TestTeamWithMembers(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	member := h.join(db.RoleMember)
	newHouse(t, st) // another team

	team, err := st.TeamWithMembers(t.Context(), h.team.ID)
	require.NoError(t, err)
	require.Equal(t, store.TeamWithMembers{Team: h.team, TeamMembers: []store.Member{
		{TeamMember: h.seat, User: store.MemberUser{ID: h.owner.ID, Name: new("Owner"), Email: h.owner.Email}},
		{TeamMember: member.TeamMember, User: store.MemberUser{ID: member.User.ID, Email: member.User.Email}},
	}}, team)

	exec(t, st, "UPDATE users SET deleted_at = now() WHERE id = $1", member.User.ID)
	team, err = st.TeamWithMembers(t.Context(), h.team.ID)
	require.NoError(t, err)
	require.Len(t, team.TeamMembers, 1, "a deleted user is in no list of members")

	exec(t, st, "DELETE FROM team_members WHERE team_id = $1", h.team.ID)
	team, err = st.TeamWithMembers(t.Context(), h.team.ID)
	require.NoError(t, err)
	require.NotNil(t, team.TeamMembers)
	require.Empty(t, team.TeamMembers)
}

func TestTeamForUser(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h, guest := newHouse(t, st), newHouse(t, st)
	_, token := h.invite(guest.owner.Email, db.RoleMember)
	_, _, err := st.AcceptInvitation(t.Context(), store.AcceptInvitation{Actor: guest.actor, Token: token})
	require.NoError(t, err)

	team, err := st.TeamForUser(t.Context(), guest.owner.ID)
	require.NoError(t, err)
	require.Equal(t, guest.team, team.Team, "the earliest membership's")

	// Of two that were joined at the same time, the one with the lower id.
	exec(t, st, "UPDATE team_members SET joined_at = '2020-01-01' WHERE user_id = $1", guest.owner.ID)
	exec(t, st, "UPDATE team_members SET joined_at = '2019-01-01' WHERE user_id = $1 AND team_id = $2", guest.owner.ID, h.team.ID)
	team, err = st.TeamForUser(t.Context(), guest.owner.ID)
	require.NoError(t, err)
	require.Equal(t, h.team.ID, team.ID)
	require.Len(t, team.TeamMembers, 2)

	exec(t, st, "DELETE FROM team_members WHERE user_id = $1", guest.owner.ID)
	_, err = st.TeamForUser(t.Context(), guest.owner.ID)
	require.ErrorIs(t, err, store.ErrNotFound)
}

// A user who goes back and forth between two teams is never shown one team with the
// other's members, though the two statements have a snapshot each.
func TestTeamForUserIsOneTeam(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	a, b := newHouse(t, st), newHouse(t, st)
	wanderer := newHouse(t, st)
	seat := []any{wanderer.owner.ID, a.team.ID, b.team.ID}
	ctx, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer stop()
	moved := make(chan error)
	go func() {
		for ctx.Err() == nil {
			if _, err := admin(st).Exec(t.Context(), "UPDATE team_members SET team_id = CASE team_id WHEN $2 THEN $3 ELSE $2 END WHERE user_id = $1", seat...); err != nil {
				moved <- err
				return
			}
		}
		moved <- nil
	}()
	for ctx.Err() == nil {
		team, err := st.TeamForUser(t.Context(), wanderer.owner.ID)
		if err != nil {
			require.ErrorIs(t, err, store.ErrConflict)
			continue
		}
		for _, m := range team.TeamMembers {
			require.Equal(t, team.ID, m.TeamID)
		}
	}
	require.NoError(t, <-moved)
}

func TestCreateTeam(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	team, member, err := st.CreateTeam(t.Context(), store.CreateTeam{Actor: h.actor, Name: "Second"})
	require.NoError(t, err)
	require.Equal(t, "Second", team.Name)
	require.Equal(t, db.RoleOwner, member.Role)
	require.Equal(t, h.owner.ID, member.UserID)
	require.Equal(t, team.ID, member.TeamID)
	stored, err := st.Team(t.Context(), team.ID)
	require.NoError(t, err)
	require.Equal(t, team, stored)

	exec(t, st, "UPDATE teams SET deleted_at = now() WHERE id = $1", team.ID)
	_, err = st.Team(t.Context(), team.ID)
	require.ErrorIs(t, err, store.ErrNotFound)
	both, err := st.Teams(t.Context(), []db.TeamID{team.ID, h.team.ID, h.team.ID, 12345})
	require.NoError(t, err)
	require.Len(t, both, 2)
	require.NotNil(t, both[team.ID].DeletedAt)
}

func TestRemoveMember(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	member, other := h.join(db.RoleMember), newHouse(t, st)
	remove := func(by store.Actor, id db.TeamMemberID) error {
		return st.RemoveMember(t.Context(), store.RemoveMember{Actor: by, TeamID: h.team.ID, MemberID: id})
	}
	require.ErrorIs(t, remove(store.Actor{UserID: member.User.ID}, h.seat.ID), store.ErrForbidden, "a plain member")
	require.ErrorIs(t, remove(other.actor, member.TeamMember.ID), store.ErrForbidden, "another team's owner")
	require.ErrorIs(t, remove(store.Actor{}, member.TeamMember.ID), store.ErrForbidden, "nobody")
	require.ErrorIs(t, remove(h.actor, other.seat.ID), store.ErrNotFound, "another team's member")
	require.ErrorIs(t, remove(h.actor, h.seat.ID), store.ErrLastOwner)

	// users.role says owner of everybody who signed up; it gives no right here.
	require.Equal(t, []string{"owner"}, column[string](t, st, "SELECT role FROM users WHERE id = $1", other.owner.ID))

	require.NoError(t, remove(h.actor, member.TeamMember.ID))
	require.ErrorIs(t, remove(h.actor, member.TeamMember.ID), store.ErrNotFound)
	log := h.log()
	require.Regexp(t, `^REMOVE_TEAM_MEMBER by \d+ \{"role": "member", "userId": \d+, "memberId": \d+\}$`, log[len(log)-1])

	// An owner may remove another one, or himself, while one stays. A deleted owner does
	// not count.
	second := h.join(db.RoleOwner)
	exec(t, st, "UPDATE users SET deleted_at = now() WHERE id = $1", second.User.ID)
	require.ErrorIs(t, remove(h.actor, h.seat.ID), store.ErrLastOwner)
	exec(t, st, "UPDATE users SET deleted_at = NULL WHERE id = $1", second.User.ID)
	require.NoError(t, remove(h.actor, h.seat.ID))
	require.ErrorIs(t, remove(h.actor, second.TeamMember.ID), store.ErrForbidden)
}
