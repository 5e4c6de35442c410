package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// An event decides on the team that it has locked, and on no other that it could find
// when its turn comes: that one's subscriptions may be changing.
func TestAnEventIsOfTheTeamThatItLocked(t *testing.T) {
	t.Parallel()
	st, beside := newStore(t), newStore(t)
	h, other := newHouse(t, st), newHouse(t, st)
	event := db.ApplySubscriptionParams{
		SubscriptionID: "sub_1", StripeCustomerID: "cus_1", Status: db.SubscriptionActive,
		EventID: new("evt_1"), EventType: "customer.subscription.created", CreatedAt: stripeEpoch, EventCreatedAt: stripeEpoch,
	}
	// between is run, and has committed, between the two statements of the operation.
	apply := func(between func()) (row db.ApplySubscriptionRow, err error) {
		err = st.InTx(t.Context(), func(tx *store.Store) error {
			require.NoError(t, db.New().LockTeamOfCustomer(t.Context(), tx.Conn(), db.LockTeamOfCustomerParams{
				SubscriptionID: event.SubscriptionID, StripeCustomerID: event.StripeCustomerID,
			}))
			between()
			row, err = db.New().ApplySubscription(t.Context(), tx.Conn(), event)
			return err
		})
		return row, err
	}

	_, err := apply(func() {
		require.NoError(t, beside.LinkStripeCustomer(t.Context(), store.LinkStripeCustomer{TeamID: h.team.ID, CustomerID: "cus_1"}))
	})
	require.ErrorIs(t, err, pgx.ErrNoRows, "the customer had no team")
	require.Empty(t, column[string](t, st, "SELECT id FROM subscription_events"))

	row, err := apply(func() {
		exec(t, st, `INSERT INTO subscriptions (id, team_id, stripe_customer_id, status, cancel_at_period_end, created_at, event_created_at)
			VALUES ('sub_1', $1, 'cus_1', 'incomplete', false, '2020-01-01', '2020-01-01')`, other.team.ID)
	})
	require.NoError(t, err)
	require.False(t, row.Applied, "the subscription is another team's")
	require.Nil(t, row.Team.StripeSubscriptionID)
	require.Equal(t, []string{"incomplete"}, column[string](t, st, "SELECT status FROM subscriptions"))
}

// Two events come while their customer is linked, and come again, as Stripe sends them,
// until they are taken: both are, and the team shows the better one.
func TestEventsRaceWithTheLinkOfTheirCustomer(t *testing.T) {
	t.Parallel()
	st := racers(t, 3)
	const rounds = 300 // in every variant: what it waits for is up to chance
	unknown := 0
	for round := range rounds {
		h := newHouse(t, st)
		active, unpaid := h.event(db.SubscriptionActive), h.event(db.SubscriptionIncomplete)
		customer := fmt.Sprintf("cus_%d", serial.Add(1))
		var refusals [2]int
		deliver := func(i int, e store.ApplySubscription) func() error {
			e.Subscription.CustomerID = customer
			return func() error {
				for {
					_, _, err := st.ApplySubscription(t.Context(), e)
					if !errors.Is(err, store.ErrUnknownCustomer) {
						return err
					}
					refusals[i]++
				}
			}
		}
		starters := []func() error{deliver(0, active), deliver(1, unpaid), func() error {
			return st.LinkStripeCustomer(t.Context(), store.LinkStripeCustomer{TeamID: h.team.ID, CustomerID: customer})
		}}
		turn := round % len(starters) // of one connection, who is started last may be the first to have it
		errs := race(append(starters[turn:], starters[:turn]...)...)
		require.Equal(t, 3, allBut(t, errs), "round %d", round)
		unknown += refusals[0] + refusals[1]
		team, err := st.Team(t.Context(), h.team.ID)
		require.NoError(t, err)
		require.Equal(t, &active.Subscription.ID, team.StripeSubscriptionID, "round %d", round)
		require.Equal(t, []int{2}, column[int](t, st, "SELECT count(*) FROM subscriptions WHERE team_id = $1", h.team.ID))
	}
	require.Positive(t, unknown, "no event came before the link")
	t.Logf("%d events of %d rounds came before the link", unknown, rounds)
}

// Events change Stripe ids, which are unique, of a team that others lock, refer to and
// delete meanwhile. Nobody sees a deadlock, and no event is lost.
func TestEventsRaceWithTheLifeOfTheirTeam(t *testing.T) {
	t.Parallel()
	detectDeadlocksSoon(t)
	st := newStore(t)
	for name, rival := range map[string]func(h *house) error{
		"UpdateAccount": func(h *house) error {
			_, err := st.UpdateAccount(t.Context(), store.UpdateAccount{Actor: h.actor, Email: new(newEmail())})
			return err
		},
		"DeleteAccount": func(h *house) error { return st.DeleteAccount(t.Context(), h.actor) },
		"DeleteTeam": func(h *house) error {
			return st.DeleteTeam(t.Context(), store.DeleteTeam{Actor: h.actor, TeamID: h.team.ID, Force: true})
		},
		"a log row, then an invitation": func(h *house) error {
			return st.InTx(t.Context(), func(tx *store.Store) error {
				if err := tx.RecordSignIn(t.Context(), h.actor); err != nil {
					return err
				}
				_, _, err := tx.InviteMember(t.Context(), store.InviteMember{Actor: h.actor, TeamID: h.team.ID, Email: newEmail(), Role: db.RoleMember})
				return err
			})
		},
		"another customer": func(h *house) error {
			return st.LinkStripeCustomer(t.Context(), store.LinkStripeCustomer{Actor: h.actor, TeamID: h.team.ID, CustomerID: fmt.Sprintf("cus_%d", serial.Add(1))})
		},
		"UpdateSubscription": func(h *house) error {
			return st.UpdateSubscription(t.Context(), store.UpdateSubscription{Actor: h.actor, TeamID: h.team.ID, SubscriptionID: fmt.Sprintf("sub_%d", serial.Add(1))})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for round := range lifeRounds / 3 {
				h := newHouse(t, st)
				first := h.event(db.SubscriptionActive)
				h.apply(first)
				// The one that it gets now is of a customer that it may no longer have.
				second, third := first, first
				for i, e := range []*store.ApplySubscription{&second, &third} {
					e.EventID, e.Subscription.ID = newEmail(), newEmail()
					e.Created = stripeEpoch.Add(time.Duration(i+1) * time.Hour)
					e.Subscription.Created = e.Created
				}
				apply := func(e store.ApplySubscription) func() error {
					return func() error { _, _, err := st.ApplySubscription(t.Context(), e); return err }
				}
				errs := race(apply(second), func() error { return rival(h) }, apply(third))
				require.Equal(t, 3, allBut(t, errs), "round %d", round)
				require.Equal(t, []string{third.Subscription.ID, second.Subscription.ID, first.Subscription.ID},
					column[string](t, st, "SELECT id FROM subscriptions WHERE team_id = $1 ORDER BY created_at DESC", h.team.ID))
				if name != "UpdateSubscription" { // its call may have been the last
					require.Equal(t, []string{third.Subscription.ID}, column[string](t, st, "SELECT stripe_subscription_id FROM teams WHERE id = $1", h.team.ID))
				}
			}
			requireNoViolations(t, st)
		})
	}
}
