package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
)

// at is a time as the files of testdata have it.
func at(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }

func TestEveryTypeIsApplied(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t)
	team := e.newTeam("ada", "cus_1")
	for i, typ := range []string{
		"customer.subscription.created",
		"customer.subscription.updated",
		"customer.subscription.pending_update_applied",
		"customer.subscription.pending_update_expired",
		"customer.subscription.trial_will_end",
		"customer.subscription.paused",
		"customer.subscription.resumed",
		"customer.subscription.deleted",
	} {
		require.Equal(t, http.StatusOK, e.send(event(t, subscriptionEvent, "type", typ, "id", "evt_"+typ,
			"created", 1774950000+i, "data.object.items.data.0.quantity", i+1)))
		require.Equal(t, line{Level: "INFO", Outcome: applied, Event: "evt_" + typ, Type: typ, Team: team}, e.lastLine())
		require.Equal(t, new(int32(i+1)), e.subscriptions(team)[0].Quantity)
	}
}

// Each field comes from where Stripe's API has it.
func TestFields(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t)
	team := e.newTeam("ada", "cus_1")
	require.Equal(t, http.StatusOK, e.send(event(t, subscriptionEvent,
		"created", 1774950009,
		"data.object.status", "trialing",
		"data.object.trial_end", 1776159600,
		"data.object.cancel_at", 1777000000,
		"data.object.cancel_at_period_end", true,
	)))
	want := db.Subscription{
		ID: "sub_1", TeamID: team, StripeCustomerID: "cus_1", Status: db.SubscriptionTrialing,
		StripeProductID: new("prod_1"), StripePriceID: new("price_1"), PlanName: new("Plus, monthly"), Quantity: new(int32(3)),
		TrialEnd: new(at(1776159600)), CurrentPeriodEnd: new(at(1777542000)), CancelAt: new(at(1777000000)), CancelAtPeriodEnd: true,
		CreatedAt: at(1774950000), EventCreatedAt: at(1774950009), EventID: new("evt_1TestSubscription"),
	}
	require.Equal(t, []db.Subscription{want}, e.subscriptions(team))
	require.Equal(t, []string{"cus_1", "sub_1", "prod_1", "Plus, monthly", "trialing"}, e.columns(team))

	// What is null is not known, and not what it was.
	require.Equal(t, http.StatusOK, e.send(event(t, subscriptionEvent, "id", "evt_2", "created", 1774950010, "data.object.items.data.0.price.nickname", nil)))
	want.Status, want.TrialEnd, want.CancelAt, want.CancelAtPeriodEnd = db.SubscriptionActive, nil, nil, false
	want.PlanName, want.EventCreatedAt, want.EventID = nil, at(1774950010), new("evt_2")
	require.Equal(t, []db.Subscription{want}, e.subscriptions(team))
}

func TestDuplicateAndStale(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t)
	team := e.newTeam("ada", "cus_1")
	send := func(id string, created int, status string, want outcome) {
		t.Helper()
		require.Equal(t, http.StatusOK, e.send(event(t, subscriptionEvent, "id", id, "created", created, "data.object.status", status)))
		require.Equal(t, line{Level: "INFO", Outcome: want, Event: id, Type: "customer.subscription.updated", Team: team}, e.lastLine())
	}
	send("evt_2", 1774950020, "past_due", applied)
	before := e.snapshot()
	send("evt_2", 1774950020, "past_due", duplicate)
	require.Equal(t, before, e.snapshot())

	row := e.subscriptions(team)
	send("evt_1", 1774950010, "active", stale)
	require.Equal(t, row, e.subscriptions(team))
	require.Equal(t, []string{"cus_1", "sub_1", "prod_1", "Plus, monthly", "past_due"}, e.columns(team))

	send("evt_3", 1774950030, "canceled", applied)
	require.Equal(t, []string{"cus_1", "-", "-", "-", "canceled"}, e.columns(team))
	send("evt_4", 1774950040, "active", stale)
	require.Equal(t, []string{"cus_1", "-", "-", "-", "canceled"}, e.columns(team))
}

func TestPlanName(t *testing.T) {
	t.Parallel()
	const price = "data.object.items.data.0.price."
	expanded := map[string]any{"id": "prod_1", "object": "product", "active": true, "name": "Expanded", "metadata": map[string]any{}}
	known := func(product string) string { return map[string]string{"prod_1": "Known"}[product] }
	long := strings.Repeat("ä", 51)
	for name, c := range map[string]struct {
		planName func(string) string
		changes  []any
		want     *string
	}{
		"the expanded product's": {known, []any{price + "product", expanded}, new("Expanded")},
		"PlanName's":             {known, nil, new("Known")},
		"the nickname":           {nil, nil, new("Plus, monthly")},
		"the nickname, as PlanName knows no such product": {known, []any{price + "product", "prod_2"}, new("Plus, monthly")},
		"none":                       {nil, []any{price + "nickname", nil}, nil},
		"none, of spaces":            {nil, []any{price + "nickname", "  "}, nil},
		"a long one":                 {func(string) string { return long }, nil, new(strings.Repeat("ä", 50))},
		"a deleted product has none": {nil, []any{price + "nickname", nil, price + "product", map[string]any{"id": "prod_1", "object": "product", "deleted": true}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEndpoint(t)
			team := e.newTeam("ada", "cus_1")
			e.handler.PlanName = c.planName
			require.Equal(t, http.StatusOK, e.send(event(t, subscriptionEvent, c.changes...)))
			require.Equal(t, c.want, e.subscriptions(team)[0].PlanName)
			require.NotNil(t, e.subscriptions(team)[0].StripeProductID)
		})
	}
}

func TestItems(t *testing.T) {
	t.Parallel()
	// Of a customer's seats and two add-ons, one of them metered.
	item := func(product string, quantity any, periodEnd int64) map[string]any {
		i := map[string]any{
			"id": "si_" + product, "object": "subscription_item", "current_period_end": periodEnd,
			"price": map[string]any{"id": "price_" + product, "object": "price", "nickname": nil, "product": product},
		}
		if quantity != nil {
			i["quantity"] = quantity
		}
		return i
	}
	several := []any{item("prod_storage", nil, 1777542001), item("prod_plus", 5, 1777542002), item("prod_support", 1, 1777542003)}
	plans := func(product string) string { return map[string]string{"prod_plus": "Plus"}[product] }
	for name, c := range map[string]struct {
		items    any
		planName func(string) string
		want     db.Subscription
	}{
		"the plan": {several, plans, db.Subscription{
			StripeProductID: new("prod_plus"), StripePriceID: new("price_prod_plus"), PlanName: new("Plus"), Quantity: new(int32(5)), CurrentPeriodEnd: new(at(1777542002)),
		}},
		"the first, as none is known": {several, nil, db.Subscription{
			StripeProductID: new("prod_storage"), StripePriceID: new("price_prod_storage"), CurrentPeriodEnd: new(at(1777542001)),
		}},
		"none":              {[]any{}, plans, db.Subscription{}},
		"null":              {nil, plans, db.Subscription{}},
		"null, of null":     {[]any{nil}, plans, db.Subscription{}},
		"without a price":   {[]any{map[string]any{"id": "si_1", "price": nil, "quantity": 2}}, plans, db.Subscription{Quantity: new(int32(2))}},
		"of a null product": {[]any{map[string]any{"id": "si_1", "price": map[string]any{"id": "price_1", "product": nil}}}, plans, db.Subscription{StripePriceID: new("price_1")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEndpoint(t)
			team := e.newTeam("ada", "cus_1")
			e.handler.PlanName = c.planName
			require.Equal(t, http.StatusOK, e.send(event(t, subscriptionEvent, "data.object.items.data", c.items)))
			got := e.subscriptions(team)
			require.Len(t, got, 1)
			require.Equal(t, db.SubscriptionActive, got[0].Status)
			require.Equal(t, c.want, db.Subscription{
				StripeProductID: got[0].StripeProductID, StripePriceID: got[0].StripePriceID, PlanName: got[0].PlanName,
				Quantity: got[0].Quantity, CurrentPeriodEnd: got[0].CurrentPeriodEnd,
			})
		})
	}
}

// Neither the version nor a field that another one has in another form stops an event.
func TestOtherVersions(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t)
	team := e.newTeam("ada", "cus_1")
	require.Equal(t, http.StatusOK, e.send(event(t, oldVersionEvent)))
	want := db.Subscription{
		ID: "sub_1", TeamID: team, StripeCustomerID: "cus_1", Status: db.SubscriptionActive,
		StripeProductID: new("prod_1"), StripePriceID: new("price_1"), PlanName: new("Plus, monthly"), Quantity: new(int32(3)),
		CurrentPeriodEnd: new(at(1777542000)), CancelAt: new(at(1777542000)), CancelAtPeriodEnd: true,
		CreatedAt: at(1774950000), EventCreatedAt: at(1774950000), EventID: new("evt_1TestOldVersion"),
	}
	require.Equal(t, []db.Subscription{want}, e.subscriptions(team))

	for i, version := range []any{"2099-01-01.zebra", nil} {
		id := []string{"evt_future", "evt_unknown"}[i]
		require.Equal(t, http.StatusOK, e.send(event(t, subscriptionEvent, "id", id, "api_version", version, "created", 1774950001+i,
			"data.object.metadata", []any{"another form"}, "data.object.items.data.0.price.unit_amount_decimal", 12.5)))
		require.Equal(t, applied, e.lastLine().Outcome)
	}
}

func TestInvalidEvents(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t)
	e.newTeam("ada", "cus_1")
	before := e.snapshot()
	for field, changes := range map[string][]any{
		"EventID":                   {"id", ""},
		"Created":                   {"created", 0},
		"Subscription.ID":           {"data.object.id", nil},
		"Subscription.CustomerID":   {"data.object.customer", nil},
		"Subscription.Status":       {"data.object.status", bodyMark},
		"Subscription.Created":      {"data.object.created", 0},
		"Subscription.Quantity":     {"data.object.items.data.0.quantity", int64(1) << 40},
		"Subscription.ProductID":    {"data.object.items.data.0.price.product", strings.Repeat("p", 256)},
		"CurrentPeriodEnd":          {"data.object.items.data.0.current_period_end", int64(1) << 50},
		"Subscription.PriceID must": {"data.object.items.data.0.price.id", "price\x00"},
	} {
		require.Equal(t, http.StatusUnprocessableEntity, e.send(event(t, subscriptionEvent, changes...)), field)
		got := e.lastLine()
		require.Equal(t, invalid, got.Outcome)
		require.Equal(t, "WARN", got.Level)
		require.Contains(t, got.Error, field)
	}
	require.Equal(t, before, e.snapshot())
}

// The TypeScript app, which knows no order, wrote the subscription to another team.
func TestSubscriptionOfAnotherTeam(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t)
	e.newTeam("ada", "cus_1")
	other := e.newTeam("grace", "")
	_, err := e.st.Conn().Exec(t.Context(), "UPDATE teams SET stripe_subscription_id = 'sub_1' WHERE id = $1", other)
	require.NoError(t, err)
	before := e.snapshot()
	require.Equal(t, http.StatusConflict, e.send(event(t, subscriptionEvent)))
	got := e.lastLine()
	require.Equal(t, taken, got.Outcome)
	require.Equal(t, "the Stripe id belongs to another team", got.Error)
	require.Equal(t, before, e.snapshot())
}
