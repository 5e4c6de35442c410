package store

import (
	"context"

	"github.com/rowhouse/rowhouse/db"
)

// TeamByStripeCustomerID returns the team that a Stripe customer is linked to.
//
// Errors: [ErrNotFound], also for what is no Stripe id.
func (s *Store) TeamByStripeCustomerID(ctx context.Context, customer string) (db.Team, error) {
	var in input
	in.required("", customer, maxStripeID)
	if in.err != nil {
		return db.Team{}, ErrNotFound
	}
	team, err := queries.GetTeamByStripeCustomerID(ctx, s.conn, customer)
	return team, explain(err, ErrNotFound)
}

// LinkStripeCustomer is the input of [Store.LinkStripeCustomer].
type LinkStripeCustomer struct {
	Actor      Actor // whoever went through the checkout, or the system; not checked
	TeamID     db.TeamID
	CustomerID string // Stripe's, cus_…
}

// LinkStripeCustomer links a team to the Stripe customer that pays for it, instead of
// any before. A customer never moves: while a team has it, no other team can. It logs
// LINK_BILLING from, to; linking the customer that the team has writes nothing.
//
// Errors: [ErrNotFound], also when there is no such actor, [ErrInvalidInput];
// [ErrStripeIDTaken], after which a transaction can only be rolled back.
func (s *Store) LinkStripeCustomer(ctx context.Context, p LinkStripeCustomer) error {
	var in input
	in.required("CustomerID", p.CustomerID, maxStripeID)
	if in.err != nil {
		return in.err
	}
	_, err := queries.LinkStripeCustomer(ctx, s.pipeline(), db.LinkStripeCustomerParams{
		TeamID: p.TeamID, StripeCustomerID: p.CustomerID, ActorID: p.Actor.UserID, BySystem: p.Actor.UserID == 0, IPAddress: p.Actor.ip(),
	})
	return explain(err, ErrNotFound)
}

// UpdateSubscription is the input of [Store.UpdateSubscription]: the four columns as
// they shall be. An empty one is NULL.
type UpdateSubscription struct {
	Actor          Actor // the system, mostly; not checked
	TeamID         db.TeamID
	SubscriptionID string // Stripe's, sub_…
	ProductID      string // Stripe's, prod_…
	PlanName       string // 50 characters at most
	Status         db.SubscriptionStatus
}

// UpdateSubscription overwrites what a team's row says of its subscription. It logs
// UPDATE_SUBSCRIPTION from, to; when nothing would change it writes nothing.
//
// It knows no order: of two calls the later one wins, whichever Stripe meant last.
//
// Errors: [ErrNotFound], also when there is no such actor, [ErrInvalidInput];
// [ErrStripeIDTaken], after which a transaction can only be rolled back.
func (s *Store) UpdateSubscription(ctx context.Context, p UpdateSubscription) error {
	var in input
	arg := db.UpdateSubscriptionParams{
		TeamID:               p.TeamID,
		StripeSubscriptionID: in.optional("SubscriptionID", p.SubscriptionID, maxStripeID),
		StripeProductID:      in.optional("ProductID", p.ProductID, maxStripeID),
		PlanName:             in.optional("PlanName", p.PlanName, maxPlanName),
		ActorID:              p.Actor.UserID,
		BySystem:             p.Actor.UserID == 0,
		IPAddress:            p.Actor.ip(),
	}
	if p.Status != "" {
		if !p.Status.Valid() {
			in.refuse("Status", "must be one of Stripe's subscription statuses")
		}
		arg.SubscriptionStatus = &p.Status
	}
	if in.err != nil {
		return in.err
	}
	_, err := queries.UpdateSubscription(ctx, s.pipeline(), arg)
	return explain(err, ErrNotFound)
}
