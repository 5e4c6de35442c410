package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
)

// lifeOf is what Stripe tells of a team's subscription from the checkout to its end, in
// order; two events are of one second.
func lifeOf(t *testing.T, team db.TeamID) [][]byte {
	const second = 1774950000
	name := strconv.Itoa(int(team))
	of := func(i int, typ, status string, after int, changes ...any) []byte {
		return event(t, subscriptionEvent, append([]any{
			"id", fmt.Sprintf("evt_%s_%d", name, i), "type", "customer.subscription." + typ, "created", second + after,
			"data.object.id", "sub_" + name, "data.object.customer", "cus_" + name, "data.object.status", status,
		}, changes...)...)
	}
	const items = "data.object.items.data.0."
	return [][]byte{
		event(t, checkoutEvent, "id", "evt_"+name, "data.object.client_reference_id", name, "data.object.customer", "cus_"+name),
		of(0, "created", "incomplete", 0),
		of(1, "updated", "active", 0),
		of(2, "updated", "past_due", 2600000, items+"current_period_end", 1780134000),
		of(3, "updated", "active", 2700000, items+"current_period_end", 1780134000),
		of(4, "updated", "active", 2800000, items+"current_period_end", 1780134000, items+"quantity", 9),
		of(5, "deleted", "canceled", 5200000, items+"current_period_end", 1780134000, items+"quantity", 9, items+"price.nickname", "Plus, at its end"),
	}
}

// Stripe promises no order, and may send an event more than once
// (https://docs.stripe.com/webhooks). Each of these is sent thrice at least, by senders of
// their own, until it is taken: those that come before the checkout are refused at first.
func TestLivesEndInOneState(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t)
	const lives, senders = 12, 4
	teams := make([]db.TeamID, lives)
	for i := range teams {
		teams[i] = e.newTeam(fmt.Sprint("team", i), "")
	}

	// The first one in order.
	for _, body := range lifeOf(t, teams[0]) {
		require.Equal(t, http.StatusOK, e.send(body))
	}
	want := db.Subscription{
		Status: db.SubscriptionCanceled, StripeProductID: new("prod_1"), StripePriceID: new("price_1"), PlanName: new("Plus, at its end"),
		Quantity: new(int32(9)), CurrentPeriodEnd: new(at(1780134000)), CreatedAt: at(1774950000), EventCreatedAt: at(1774950000 + 5200000),
	}
	requireEnd := func(team db.TeamID) {
		want, name := want, strconv.Itoa(int(team))
		want.ID, want.TeamID, want.StripeCustomerID, want.EventID = "sub_"+name, team, "cus_"+name, new("evt_"+name+"_5")
		require.Equal(t, []db.Subscription{want}, e.subscriptions(team))
		require.Equal(t, []string{"cus_" + name, "-", "-", "-", "canceled"}, e.columns(team))
	}
	requireEnd(teams[0])

	for _, team := range teams[1:] {
		var bodies [][]byte
		for range 3 {
			bodies = append(bodies, lifeOf(t, team)...)
		}
		rand.Shuffle(len(bodies), func(i, j int) { bodies[i], bodies[j] = bodies[j], bodies[i] })
		start, queue := make(chan struct{}), make(chan []byte, len(bodies))
		for _, body := range bodies {
			queue <- body
		}
		var all sync.WaitGroup
		errs := make(chan error, len(bodies))
		for range senders {
			all.Go(func() {
				<-start
				for {
					select {
					case body := <-queue:
						status, err := e.trySend(body)
						switch {
						case err != nil:
							errs <- err
						case status == http.StatusServiceUnavailable:
							queue <- body // there is room: it was taken out
						case status != http.StatusOK:
							errs <- fmt.Errorf("status %d", status)
						}
					default:
						return
					}
				}
			})
		}
		close(start)
		all.Wait()
		close(errs)
		for err := range errs {
			require.NoError(t, err)
		}
		requireEnd(team)
	}
	for _, o := range []outcome{linked, unknownCustomer, applied, duplicate, stale} {
		require.Contains(t, e.log.String(), `"outcome":"`+string(o)+`"`, "the orders were too tame")
	}
}
