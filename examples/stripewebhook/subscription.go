package main

import (
	"cmp"
	"context"
	"encoding/json"
	"time"

	"github.com/stripe/stripe-go/v85"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// subscription is what is read of Stripe's
// (https://docs.stripe.com/api/subscriptions/object). It is not [stripe.Subscription],
// which is that of one API version: a field of another form in another version, and be it
// of no interest here, would make the event unreadable.
type subscription struct {
	ID       string                `json:"id"`
	Customer *stripe.Customer      `json:"customer"`
	Status   db.SubscriptionStatus `json:"status"`
	Items    struct {
		Data []item `json:"data"`
	} `json:"items"`
	TrialEnd          int64 `json:"trial_end"`
	CurrentPeriodEnd  int64 `json:"current_period_end"` // the items', since 2025-03-31.basil
	CancelAt          int64 `json:"cancel_at"`
	CancelAtPeriodEnd bool  `json:"cancel_at_period_end"`
	Created           int64 `json:"created"`
}

type item struct {
	Price struct {
		ID       string          `json:"id"`
		Nickname string          `json:"nickname"`
		Product  *stripe.Product `json:"product"`
	} `json:"price"`
	Quantity         int64 `json:"quantity"` // a metered price has none
	CurrentPeriodEnd int64 `json:"current_period_end"`
}

// apply applies an event that has a subscription.
func (h *Handler) apply(ctx context.Context, event stripe.Event) result {
	var sub subscription
	if err := json.Unmarshal(event.Data.Raw, &sub); err != nil {
		return result{outcome: unreadable} // the error may quote the body
	}
	became, team, err := h.Store.ApplySubscription(ctx, store.ApplySubscription{
		EventID:      event.ID,
		EventType:    string(event.Type),
		Created:      unixTime(event.Created),
		Subscription: h.snapshot(sub),
	})
	if err != nil {
		return result{outcome: refused(err), err: err}
	}
	return result{outcome: outcome(became), team: team.ID}
}

// snapshot is a subscription as the Store takes it. The plan's name is the product's where
// that is expanded, which it is not in what Stripe sends by itself; else what PlanName
// says; else the price's nickname; else unknown.
func (h *Handler) snapshot(sub subscription) store.StripeSubscription {
	plan := h.plan(sub.Items.Data)
	s := store.StripeSubscription{
		ID:                sub.ID,
		Status:            sub.Status,
		PriceID:           plan.Price.ID,
		Quantity:          plan.Quantity,
		TrialEnd:          unixTime(sub.TrialEnd),
		CurrentPeriodEnd:  unixTime(cmp.Or(plan.CurrentPeriodEnd, sub.CurrentPeriodEnd)),
		CancelAt:          unixTime(sub.CancelAt),
		CancelAtPeriodEnd: sub.CancelAtPeriodEnd,
		Created:           unixTime(sub.Created),
	}
	if sub.Customer != nil {
		s.CustomerID = sub.Customer.ID
	}
	if product := plan.Price.Product; product != nil {
		s.ProductID, s.PlanName = product.ID, product.Name
	}
	s.PlanName = cmp.Or(s.PlanName, h.planName(plan), plan.Price.Nickname)
	return s
}

// plan returns which of several items is the plan: the first one that PlanName knows, so
// that the service tells plans and add-ons apart; else the first, as in the TypeScript
// app. Of a subscription without items nothing is known but its status.
func (h *Handler) plan(items []item) item {
	for _, i := range items {
		if h.planName(i) != "" {
			return i
		}
	}
	if len(items) == 0 {
		return item{}
	}
	return items[0]
}

func (h *Handler) planName(i item) string {
	if h.PlanName == nil || i.Price.Product == nil {
		return ""
	}
	return h.PlanName(i.Price.Product.ID)
}

// unixTime is a time of Stripe's, the zero one when it is not known.
func unixTime(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}
