package store_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// life is what Stripe tells of a team: a subscription from its trial to its end; the one
// that replaces it, bought the day before; a third, newer one that was never paid; and an
// add-on, older than the second. Where several events are of one second, their ids are in
// another order than they happened.
func (h *house) life() []store.ApplySubscription {
	first, second, third, addOn := h.event(db.SubscriptionTrialing), h.event(db.SubscriptionIncomplete), h.event(db.SubscriptionIncomplete), h.event(db.SubscriptionActive)
	customer := h.linkCustomer()
	for i, e := range []*store.ApplySubscription{&first, &second, &third, &addOn} {
		e.Subscription.ID, e.Subscription.CustomerID = fmt.Sprintf("%s_%d", customer, i+1), customer
	}
	var events []store.ApplySubscription
	then := func(e *store.ApplySubscription, after time.Duration, id int, change func(*store.StripeSubscription)) {
		e.EventID = fmt.Sprintf("%s_%02d", customer, id)
		e.Created = e.Created.Add(after)
		change(&e.Subscription)
		events = append(events, *e)
	}
	is := func(status db.SubscriptionStatus) func(*store.StripeSubscription) {
		return func(s *store.StripeSubscription) { s.Status = status }
	}
	const day = 24 * time.Hour
	then(&first, 0, 90, func(s *store.StripeSubscription) {
		s.TrialEnd = stripeEpoch.Add(14 * day)
		s.CurrentPeriodEnd = s.TrialEnd
	})
	then(&first, 14*day, 80, func(s *store.StripeSubscription) {
		s.Status, s.CurrentPeriodEnd = db.SubscriptionActive, s.CurrentPeriodEnd.Add(30*day)
	})
	then(&first, 30*day, 70, is(db.SubscriptionPastDue))
	then(&first, day, 60, is(db.SubscriptionActive))
	then(&first, day, 50, func(s *store.StripeSubscription) { s.ProductID, s.PriceID, s.PlanName = "prod_2", "price_2", "" })
	then(&first, day, 40, func(s *store.StripeSubscription) { s.CancelAtPeriodEnd = true })
	then(&first, 27*day, 39, func(s *store.StripeSubscription) { s.Quantity = 6 })
	then(&first, 0, 38, is(db.SubscriptionCanceled))

	second.Created = first.Created.Add(-day)
	second.Subscription.Created = second.Created
	then(&second, 0, 20, func(*store.StripeSubscription) {})
	then(&second, 0, 19, func(s *store.StripeSubscription) {
		s.Status, s.CurrentPeriodEnd = db.SubscriptionActive, second.Created.Add(30*day)
	})
	// It is renewed, while its quantity and then its plan are changed.
	then(&second, 30*day, 17, func(s *store.StripeSubscription) { s.Quantity = 9 })
	then(&second, 0, 18, func(s *store.StripeSubscription) {
		s.Status, s.CurrentPeriodEnd = db.SubscriptionPastDue, s.CurrentPeriodEnd.Add(30*day)
	})
	then(&second, 0, 15, is(db.SubscriptionActive))
	then(&second, 0, 16, func(s *store.StripeSubscription) { s.PlanName = "Pro" })

	third.Created = second.Created.Add(-day)
	third.Subscription.Created = third.Created
	then(&third, 0, 10, func(*store.StripeSubscription) {})
	then(&third, day, 11, is(db.SubscriptionIncompleteExpired))

	then(&addOn, 10*day, 30, func(s *store.StripeSubscription) { s.PlanName = "Add-on" })
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
	const connections = 8
	orders := repeats(500)
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
	require.Contains(t, want, events[8].Subscription.ID+" prod_1 Pro active", "the team shows the second")
	require.Equal(t, []string{"canceled", "active", "incomplete_expired", "active"},
		column[string](t, st, "SELECT status FROM subscriptions WHERE team_id = $1 ORDER BY id", h.team.ID))

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
		if got := h.subscriptionState(); !slices.Equal(got, want) {
			different++
		}
	}
	require.Zero(t, different, "of %d orders ended in another state", orders)
	require.Zero(t, wrong, "events were not exactly once something else than a duplicate")
}

// apply applies an event, and returns what became of it with the team's columns.
func (h *house) apply(e store.ApplySubscription) (store.SubscriptionOutcome, db.Team) {
	h.t.Helper()
	outcome, team, err := h.st.ApplySubscription(h.t.Context(), e)
	require.NoError(h.t, err)
	return outcome, team
}

func TestSubscriptionEventsOfOneSecond(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	for _, backwards := range []bool{false, true} {
		h := newHouse(t, st)
		events := []store.ApplySubscription{h.event(db.SubscriptionIncomplete)}
		for _, status := range []db.SubscriptionStatus{db.SubscriptionActive, db.SubscriptionCanceled} {
			e := events[0]
			e.EventID, e.Subscription.Status = newEmail(), status
			events = append(events, e)
		}
		if backwards {
			slices.Reverse(events)
		}
		var team db.Team
		for _, e := range events {
			_, team = h.apply(e)
		}
		require.Equal(t, new(db.SubscriptionCanceled), team.SubscriptionStatus)
	}
}

func TestAnOldSubscriptionEndsAfterANewOneBegan(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	old := h.event(db.SubscriptionActive)
	h.apply(old)
	renewed := h.event(db.SubscriptionActive)
	renewed.Subscription.CustomerID = old.Subscription.CustomerID
	exec(t, st, "UPDATE teams SET stripe_customer_id = $2 WHERE id = $1", h.team.ID, old.Subscription.CustomerID)
	renewed.Subscription.Created = stripeEpoch.Add(time.Hour)
	h.apply(renewed)
	end := old
	end.EventID, end.Created, end.Subscription.Status = newEmail(), stripeEpoch.Add(2*time.Hour), db.SubscriptionCanceled
	logged := len(h.log())
	outcome, team := h.apply(end)
	require.Equal(t, store.SubscriptionApplied, outcome)
	require.Equal(t, &renewed.Subscription.ID, team.StripeSubscriptionID)
	require.Equal(t, new(db.SubscriptionActive), team.SubscriptionStatus)
	require.Len(t, h.log(), logged, "the team's columns did not change")

	// Nothing leads out of the end.
	again := end
	again.EventID, again.Created, again.Subscription.Status = newEmail(), stripeEpoch.Add(3*time.Hour), db.SubscriptionActive
	outcome, _ = h.apply(again)
	require.Equal(t, store.SubscriptionStale, outcome)
}

func TestASubscriptionOfACustomerWhoIsLinkedLater(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h, other := newHouse(t, st), newHouse(t, st)
	e := h.event(db.SubscriptionActive)
	e.Subscription.CustomerID = "cus_later"
	before := snapshot(t, st)
	_, _, err := st.ApplySubscription(t.Context(), e)
	require.ErrorIs(t, err, store.ErrUnknownCustomer)
	require.Equal(t, before, snapshot(t, st))
	link := func(h *house, customer string) error {
		return st.LinkStripeCustomer(t.Context(), store.LinkStripeCustomer{TeamID: h.team.ID, CustomerID: customer})
	}
	require.NoError(t, link(h, "cus_later"))
	outcome, team := h.apply(e)
	require.Equal(t, store.SubscriptionApplied, outcome)
	require.Equal(t, h.team.ID, team.ID)
	outcome, _ = h.apply(e)
	require.Equal(t, store.SubscriptionDuplicate, outcome)

	// The team gets another customer, and is deleted: what the first one pays for is still its.
	require.NoError(t, link(h, "cus_after"))
	require.ErrorIs(t, link(other, "cus_later"), store.ErrStripeIDTaken)
	require.NoError(t, st.DeleteTeam(t.Context(), store.DeleteTeam{Actor: h.actor, TeamID: h.team.ID, Force: true}))
	e.EventID, e.Created, e.Subscription.Status = newEmail(), e.Created.Add(time.Hour), db.SubscriptionCanceled
	outcome, team = h.apply(e)
	require.Equal(t, store.SubscriptionApplied, outcome)
	require.Equal(t, h.team.ID, team.ID)
	require.Nil(t, team.StripeSubscriptionID)
	require.Nil(t, team.PlanName)
	require.Equal(t, new(db.SubscriptionCanceled), team.SubscriptionStatus)
}

// What UpdateSubscription writes lasts until the next event that is applied.
func TestUpdateSubscriptionBesideEvents(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	e := h.event(db.SubscriptionActive)
	h.apply(e)
	require.NoError(t, st.UpdateSubscription(t.Context(), store.UpdateSubscription{TeamID: h.team.ID, PlanName: "By hand", Status: db.SubscriptionPaused}))
	outcome, team := h.apply(e)
	require.Equal(t, store.SubscriptionDuplicate, outcome)
	require.Equal(t, new("By hand"), team.PlanName)
	stale := e
	stale.EventID, stale.Created = newEmail(), e.Created.Add(-time.Second)
	outcome, team = h.apply(stale)
	require.Equal(t, store.SubscriptionStale, outcome)
	require.Equal(t, new("By hand"), team.PlanName)
	e.EventID, e.Created = newEmail(), e.Created.Add(time.Second)
	_, team = h.apply(e)
	require.Equal(t, new("Plus"), team.PlanName)
	require.Equal(t, new(db.SubscriptionActive), team.SubscriptionStatus)
}

func TestSubscriptionInput(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	e := h.event(db.SubscriptionActive)
	e.Subscription.PlanName = strings.Repeat("ß", 51)
	_, team := h.apply(e)
	require.Equal(t, new(strings.Repeat("ß", 50)), team.PlanName)
	for field, change := range map[string]func(*store.ApplySubscription){
		"EventID":                 func(e *store.ApplySubscription) { e.EventID = "" },
		"EventType":               func(e *store.ApplySubscription) { e.EventType = strings.Repeat("t", 256) },
		"Created":                 func(e *store.ApplySubscription) { e.Created = time.Time{} },
		"Subscription.ID":         func(e *store.ApplySubscription) { e.Subscription.ID = strings.Repeat("s", 256) },
		"Subscription.CustomerID": func(e *store.ApplySubscription) { e.Subscription.CustomerID = "a\x00" },
		"Subscription.Status":     func(e *store.ApplySubscription) { e.Subscription.Status = "ended, or something longer" },
		"Subscription.ProductID":  func(e *store.ApplySubscription) { e.Subscription.ProductID = "\xff" },
		"Subscription.PriceID":    func(e *store.ApplySubscription) { e.Subscription.PriceID = strings.Repeat("p", 256) },
		"Subscription.PlanName":   func(e *store.ApplySubscription) { e.Subscription.PlanName = "a\x00b" },
		"Subscription.Quantity":   func(e *store.ApplySubscription) { e.Subscription.Quantity = 1 << 31 },
		"Subscription.Created":    func(e *store.ApplySubscription) { e.Subscription.Created = time.Time{} },
		"Subscription.TrialEnd": func(e *store.ApplySubscription) {
			e.Subscription.TrialEnd = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
		},
	} {
		bad := e
		change(&bad)
		_, _, err := st.ApplySubscription(t.Context(), bad)
		requireRefused(t, invalid(field), err)
	}
}

func TestReconcileSubscription(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	e := h.event(db.SubscriptionCanceled)
	h.apply(e)
	snapshot := e.Subscription
	snapshot.Status = db.SubscriptionActive
	reconcile := func(at time.Time) store.SubscriptionOutcome {
		outcome, _, err := st.ReconcileSubscription(t.Context(), store.ReconcileSubscription{Fetched: at, Subscription: snapshot})
		require.NoError(t, err)
		return outcome
	}
	require.Equal(t, store.SubscriptionStale, reconcile(e.Created.Add(-time.Second)))
	require.Equal(t, store.SubscriptionApplied, reconcile(e.Created.Add(900*time.Millisecond)), "of the same second, as Stripe counts")
	subscriptions, err := st.Subscriptions(t.Context(), h.team.ID)
	require.NoError(t, err)
	require.Len(t, subscriptions, 1)
	require.Equal(t, db.SubscriptionActive, subscriptions[0].Status)
	require.Nil(t, subscriptions[0].EventID)
	trial, err := st.HadTrial(t.Context(), h.team.ID)
	require.NoError(t, err)
	require.False(t, trial)
	snapshot.TrialEnd = stripeEpoch
	reconcile(e.Created)
	trial, err = st.HadTrial(t.Context(), h.team.ID)
	require.NoError(t, err)
	require.True(t, trial)
}

func TestEntitlement(t *testing.T) {
	t.Parallel()
	end := stripeEpoch.Add(24 * time.Hour)
	none := store.Entitlement{Access: store.AccessNone}
	for _, c := range []struct {
		status        db.SubscriptionStatus
		before, after store.Access
	}{
		{db.SubscriptionTrialing, store.AccessFull, store.AccessGrace},
		{db.SubscriptionActive, store.AccessFull, store.AccessGrace},
		{db.SubscriptionPastDue, store.AccessGrace, store.AccessNone},
		{db.SubscriptionUnpaid, store.AccessNone, store.AccessNone},
		{db.SubscriptionPaused, store.AccessNone, store.AccessNone},
		{db.SubscriptionIncomplete, store.AccessNone, store.AccessNone},
		{db.SubscriptionIncompleteExpired, store.AccessNone, store.AccessNone},
		{db.SubscriptionCanceled, store.AccessNone, store.AccessNone},
		{"unheard of", store.AccessNone, store.AccessNone},
	} {
		sub := db.Subscription{Status: c.status, Quantity: new(int32(7)), CurrentPeriodEnd: &end}
		for now, access := range map[time.Time]store.Access{end.Add(-1): c.before, end: c.after} {
			want := store.Entitlement{Access: access, Until: end, Seats: 7}
			switch {
			case access == store.AccessNone:
				want = none
			case now.Equal(end):
				want.Until = end.Add(store.RenewalGrace)
			}
			require.Equal(t, want, store.EntitlementOf(sub, now), "%s at %s", c.status, now)
		}
		require.Equal(t, none, store.EntitlementOf(sub, end.Add(store.RenewalGrace)))
		sub.CancelAtPeriodEnd = true
		require.Equal(t, none, store.EntitlementOf(sub, end))
	}
	open := db.Subscription{Status: db.SubscriptionActive}
	require.Equal(t, store.Entitlement{Access: store.AccessFull}, store.EntitlementOf(open, end))
	open.CancelAt = &end
	require.Equal(t, store.Entitlement{Access: store.AccessFull, Until: end}, store.EntitlementOf(open, end.Add(-1)))
	require.Equal(t, none, store.EntitlementOf(open, end))

	h := newHouse(t, newStore(t))
	given, err := h.st.Entitlement(t.Context(), h.team.ID, stripeEpoch)
	require.NoError(t, err)
	require.Equal(t, none, given)
	h.subscribed()
	given, err = h.st.Entitlement(t.Context(), h.team.ID, stripeEpoch)
	require.NoError(t, err)
	require.Equal(t, store.Entitlement{Access: store.AccessFull, Seats: 5}, given)
}
