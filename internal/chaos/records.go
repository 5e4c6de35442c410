package main

import (
	"context"
	"fmt"
	"time"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

const chaosActivity db.ActivityType = "CHAOS"

func (d *draw) recordActivity() *operation {
	t, u := d.team(), d.user()
	if t == nil || u == nil {
		return nil
	}
	p := store.RecordActivity{TeamID: t.id, UserID: u.id, Action: chaosActivity, IP: address(d.number), Metadata: map[string]any{"number": d.number}}
	return &operation{
		entry: d.logs(t.id, one(chaosActivity)),
		run:   func(ctx context.Context, st *store.Store) error { return st.RecordActivity(ctx, p) },
		learn: func() {},
	}
}

func (d *draw) recordActivities() *operation {
	t := d.team()
	if t == nil {
		return nil
	}
	list := make([]store.RecordActivity, 2+d.IntN(60))
	for i := range list {
		list[i] = store.RecordActivity{TeamID: t.id, Action: chaosActivity, IP: address(d.number), Metadata: map[string]any{"nth": i}}
	}
	return &operation{
		entry: d.logs(t.id, rows{action: chaosActivity, least: len(list), most: len(list)}),
		run:   func(ctx context.Context, st *store.Store) error { return st.RecordActivities(ctx, list) },
		learn: func() {},
	}
}

func (d *draw) linkStripeCustomer() *operation {
	t := d.team()
	if t == nil {
		return nil
	}
	p := store.LinkStripeCustomer{Actor: store.Actor{IP: address(d.number)}, TeamID: t.id, CustomerID: customerOf(d.number)}
	return &operation{
		entry: d.logs(t.id, one(db.ActivityLinkBilling)),
		run:   func(ctx context.Context, st *store.Store) error { return st.LinkStripeCustomer(ctx, p) },
		learn: func() { t.customer = p.CustomerID },
	}
}

// stripeEpoch is when the first event was.
var stripeEpoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// statuses are those that an event brings, by their standing. Few end a subscription, or
// most events would be about one that has ended.
var statuses = []db.SubscriptionStatus{
	db.SubscriptionCanceled, db.SubscriptionIncomplete, db.SubscriptionPaused, db.SubscriptionUnpaid,
	db.SubscriptionPastDue, db.SubscriptionTrialing, db.SubscriptionActive,
}

func (d *draw) applySubscription() *operation {
	t := d.team()
	if t == nil || t.customer == "" {
		return nil
	}
	standing := 1 + d.IntN(len(statuses)-1)
	if d.IntN(20) == 0 {
		standing = 0
	}
	subscription := fmt.Sprintf("sub_%s_%d", t.customer, d.IntN(3))
	p := store.ApplySubscription{
		EventID: eventOf(d.number), EventType: "customer.subscription.updated", Created: stripeEpoch.Add(time.Duration(d.IntN(100_000)) * time.Second),
		Subscription: store.StripeSubscription{
			ID: subscription, CustomerID: t.customer, Status: statuses[standing], ProductID: "prod_1", PlanName: fmt.Sprintf("plan %d", d.number),
			Created: stripeEpoch,
		},
	}
	return &operation{
		entry: entry{event: &stripeEvent{p.EventID, subscription, p.Created, standing}},
		run: func(ctx context.Context, st *store.Store) error {
			_, _, err := st.ApplySubscription(ctx, p)
			return err
		},
		learn: func() {},
	}
}
