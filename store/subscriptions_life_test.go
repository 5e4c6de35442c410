package store_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// life is what Stripe tells of a subscription from its trial to its end, and of the one
// that the team bought the day before the end. Two of its events are of one second.
func (h *house) life() []store.ApplySubscription {
	first, second := h.event(db.SubscriptionTrialing), h.event(db.SubscriptionIncomplete)
	second.Subscription.CustomerID = first.Subscription.CustomerID
	exec(h.t, h.st, "UPDATE teams SET stripe_customer_id = $2 WHERE id = $1", h.team.ID, first.Subscription.CustomerID)
	var events []store.ApplySubscription
	then := func(e *store.ApplySubscription, after time.Duration, change func(*store.StripeSubscription)) {
		e.EventID = newEmail() // any new text
		e.Created = e.Created.Add(after)
		change(&e.Subscription)
		events = append(events, *e)
	}
	is := func(status db.SubscriptionStatus) func(*store.StripeSubscription) {
		return func(s *store.StripeSubscription) { s.Status = status }
	}
	const day = 24 * time.Hour
	then(&first, 0, func(s *store.StripeSubscription) {
		s.TrialEnd = stripeEpoch.Add(14 * day)
		s.CurrentPeriodEnd = s.TrialEnd
	})
	then(&first, 14*day, func(s *store.StripeSubscription) {
		s.Status, s.CurrentPeriodEnd = db.SubscriptionActive, s.CurrentPeriodEnd.Add(30*day)
	})
	then(&first, 30*day, is(db.SubscriptionPastDue))
	then(&first, day, is(db.SubscriptionActive))
	then(&first, day, func(s *store.StripeSubscription) { s.ProductID, s.PriceID, s.PlanName = "prod_2", "price_2", "" })
	then(&first, day, func(s *store.StripeSubscription) { s.CancelAtPeriodEnd = true })
	then(&first, 27*day, is(db.SubscriptionCanceled))
	second.Created = first.Created.Add(-day)
	second.Subscription.Created = second.Created
	then(&second, 0, func(s *store.StripeSubscription) {})
	then(&second, 0, func(s *store.StripeSubscription) { s.Status, s.Quantity = db.SubscriptionActive, 9 })
	return events
}

// state is what is left of a life: the subscriptions, and the team's columns.
func (h *house) subscriptionState() []string {
	return column[string](h.t, h.st, `
		SELECT to_jsonb(s)::text FROM subscriptions AS s WHERE team_id = $1
		UNION ALL SELECT format('%s %s %s %s', stripe_subscription_id, stripe_product_id, plan_name, subscription_status) FROM teams WHERE id = $1
		ORDER BY 1`, h.team.ID)
}

// 500 orders with duplicates, over 8 connections, end as the order in which it happened.
func TestSubscriptionEventsInAnyOrder(t *testing.T) {
	t.Parallel()
	const orders, connections = 500, 8
	st := racers(t, connections)
	h := newHouse(t, st)
	events := h.life()
	deliver := func(e store.ApplySubscription) store.SubscriptionOutcome {
		outcome, _, err := st.ApplySubscription(t.Context(), e)
		require.NoError(t, err)
		return outcome
	}
	for _, e := range events {
		require.Equal(t, store.SubscriptionApplied, deliver(e))
	}
	want := h.subscriptionState()
	require.Contains(t, want[0], events[8].Subscription.ID+" prod_1 Plus active")

	different, wrong := 0, 0
	for range orders {
		exec(t, st, "DELETE FROM subscription_events")
		exec(t, st, "DELETE FROM subscriptions WHERE team_id = $1", h.team.ID)
		exec(t, st, "UPDATE teams SET stripe_subscription_id = NULL, stripe_product_id = NULL, plan_name = NULL, subscription_status = NULL WHERE id = $1", h.team.ID)
		deliveries := append([]store.ApplySubscription(nil), events...)
		for range rand.N(6) {
			deliveries = append(deliveries, events[rand.N(len(events))])
		}
		rand.Shuffle(len(deliveries), func(i, j int) { deliveries[i], deliveries[j] = deliveries[j], deliveries[i] })
		queue := make(chan store.ApplySubscription, len(deliveries))
		for _, e := range deliveries {
			queue <- e
		}
		close(queue)
		var mu sync.Mutex
		first := make(map[string]int) // deliveries that were no duplicates
		var all sync.WaitGroup
		for range connections {
			all.Go(func() {
				for e := range queue {
					if outcome := deliver(e); outcome != store.SubscriptionDuplicate {
						mu.Lock()
						first[e.EventID]++
						mu.Unlock()
					}
				}
			})
		}
		all.Wait()
		for _, e := range events {
			if first[e.EventID] != 1 {
				wrong++
			}
		}
		if got := h.subscriptionState(); !equalText(got, want) {
			different++
		}
	}
	require.Zero(t, different, "of %d orders ended in another state", orders)
	require.Zero(t, wrong, "events were not exactly once something else than a duplicate")
}

func equalText(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
