package main

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/stripe/stripe-go/v85"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// session is what is read of Stripe's checkout session
// (https://docs.stripe.com/api/checkout/sessions/object).
type session struct {
	ClientReferenceID string                     `json:"client_reference_id"`
	Customer          *stripe.Customer           `json:"customer"`
	Mode              stripe.CheckoutSessionMode `json:"mode"`
	PaymentLink       *stripe.PaymentLink        `json:"payment_link"`
}

// link links the customer of a completed checkout to the team whose id the service has
// set as client_reference_id when it created the session. So it may be trusted, unlike
// that of a payment link or a pricing table, where the buyer can write any team's into
// the page's address (https://docs.stripe.com/payment-links/url-parameters). A payment
// link's session says so and is not followed; one of a pricing table looks like the
// service's own, so have none on the account.
//
// For a team that has a customer, create the session with it: a session without one makes
// a new customer, which takes the place of the team's.
//
// A session for anything but a subscription has no part in this: its customer need not be
// the one who pays for the plan. A missing or malformed reference is answered with 200
// (notOurs), a team that is not there, or not any more, with 422: somebody has paid for
// nothing, and should be paid back. A customer of another team is answered with 409.
func (h *Handler) link(ctx context.Context, event stripe.Event) result {
	var s session
	if err := json.Unmarshal(event.Data.Raw, &s); err != nil {
		return result{outcome: unreadable} // the error may quote the body
	}
	if s.Mode != stripe.CheckoutSessionModeSubscription {
		return result{outcome: ignored}
	}
	team, err := strconv.ParseInt(s.ClientReferenceID, 10, 64)
	if err != nil || team <= 0 || s.PaymentLink != nil {
		return result{outcome: notOurs}
	}
	p := store.LinkStripeCustomer{TeamID: db.TeamID(team)} // the system's: Stripe says so, no user does
	if s.Customer != nil {
		p.CustomerID = s.Customer.ID
	}
	if err := h.Store.LinkStripeCustomer(ctx, p); err != nil {
		return result{outcome: refused(err), team: p.TeamID, err: err}
	}
	return result{outcome: linked, team: p.TeamID}
}
