package store_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// repeated is what becomes of an operation that is done again, with the same arguments,
// after an unknown outcome that was a success: what it answers, and what it writes then.
// A refusal writes nothing.
var repeated = map[string]struct {
	answer error
	effect map[string][2]int
}{
	// Safe to repeat, their docs say: the tables are as after once.
	"RenameTeam":              {nil, nothing},
	"SetSeatLimit":            {nil, nothing},
	"ChangeRole":              {nil, nothing},
	"LinkStripeCustomer":      {nil, nothing},
	"UpdateSubscription":      {nil, nothing},
	"ApplySubscription":       {nil, nothing},
	"ReconcileSubscription":   {nil, nothing},
	"PurgeActivity":           {nil, nothing},
	"PurgeSubscriptionEvents": {nil, nothing},

	// The refusal tells that it had happened.
	"SignUp":               {store.ErrEmailTaken, nothing},
	"SignUpWithInvitation": {store.ErrInvitationNotPending, nothing},
	"AcceptInvitation":     {store.ErrInvitationNotPending, nothing},
	"DeclineInvitation":    {store.ErrInvitationNotPending, nothing},
	"CancelInvitation":     {store.ErrInvitationNotPending, nothing},
	"InviteMember":         {store.ErrAlreadyInvited, nothing},
	"InviteMembers":        {nil, nothing}, // in each result
	"UpdatePassword":       {store.ErrConflict, nothing},
	"DeleteAccount":        {store.ErrNotFound, nothing},
	"RemoveMember":         {store.ErrNotFound, nothing},
	"LeaveTeam":            {store.ErrNotFound, nothing},
	"DeleteTeam":           {store.ErrForbidden, nothing},
	"TransferOwnership":    {store.ErrForbidden, nothing},

	// The same again, with a log row of its own.
	"UpdateAccount":    {nil, map[string][2]int{users: {1, 1}, activityLogs: {0, 1}}},
	"ResendInvitation": {nil, map[string][2]int{invitations: {1, 1}, activityLogs: {0, 1}}},

	// Another one.
	"CreateTeam":       {nil, map[string][2]int{teams: {0, 1}, teamMembers: {0, 1}, activityLogs: {0, 1}}},
	"RecordSignIn":     {nil, map[string][2]int{activityLogs: {0, 1}}},
	"RecordSignOut":    {nil, map[string][2]int{activityLogs: {0, 1}}},
	"RecordActivity":   {nil, map[string][2]int{activityLogs: {0, 1}}},
	"RecordActivities": {nil, map[string][2]int{activityLogs: {0, 2}}},
}

func TestEachOperationRepeated(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	listed := 0
	for _, op := range operations {
		again, ok := repeated[op.name]
		require.Equal(t, op.writes != nil, ok, "%s must be in the table if it writes", op.name)
		if !ok {
			continue
		}
		listed++
		run := op.prepare(t, st)
		require.NoError(t, run(st), op.name)
		before := snapshot(t, st)
		if err := run(st); again.answer == nil {
			require.NoError(t, err, op.name)
		} else {
			require.ErrorIs(t, err, again.answer, op.name)
		}
		require.Equal(t, again.effect, effect(before, snapshot(t, st)), op.name)
	}
	require.Len(t, repeated, listed)
}

// An owner who becomes a plain member can't ask for it again, and loses nothing by it.
func TestChangeRoleOfOneselfRepeated(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	h.join(db.RoleOwner)
	p := store.ChangeRole{Actor: h.actor, TeamID: h.team.ID, MemberID: h.seat.ID, Role: db.RoleMember}
	require.NoError(t, st.ChangeRole(t.Context(), p))
	before := snapshot(t, st)
	require.ErrorIs(t, st.ChangeRole(t.Context(), p), store.ErrForbidden)
	require.Equal(t, before, snapshot(t, st))
}
