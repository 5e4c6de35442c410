package store

import (
	"context"
	"math"
	"time"

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
// any before. A customer never moves: while a team has it, or subscriptions of it, no
// other team can. It logs LINK_BILLING from, to; linking the customer that the team has
// writes nothing: repeating it after an unknown outcome is safe.
//
// Errors: [ErrNotFound], also when there is no such actor, [ErrInvalidInput];
// [ErrStripeIDTaken], after which a transaction can only be rolled back.
func (s *Store) LinkStripeCustomer(ctx context.Context, p LinkStripeCustomer) error {
	var in input
	in.required("CustomerID", p.CustomerID, maxStripeID)
	if in.err != nil {
		return in.err
	}
	taken, err := queries.LinkStripeCustomer(ctx, s.pipeline(), db.LinkStripeCustomerParams{
		TeamID: p.TeamID, StripeCustomerID: p.CustomerID, ActorID: p.Actor.UserID, BySystem: p.Actor.UserID == 0, IPAddress: p.Actor.ip(),
	})
	if err == nil && taken {
		return ErrStripeIDTaken
	}
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
// UPDATE_SUBSCRIPTION from, to; when nothing would change it writes nothing: repeating it
// after an unknown outcome is safe, unless another one came between.
//
// It knows no order: of two calls the later one wins, whichever Stripe meant last. Prefer
// [Store.ApplySubscription], which does: what it applies replaces these columns, so what
// is written here lasts until then. A duplicate or stale event leaves it.
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

// StripeSubscription is a Stripe subscription as an event or the API has it. What is left
// empty is not known, and is NULL.
type StripeSubscription struct {
	ID                string // sub_…
	CustomerID        string // cus_…
	Status            db.SubscriptionStatus
	ProductID         string // prod_…
	PriceID           string // price_…
	PlanName          string // cut to 50 characters
	Quantity          int64  // seats; 0 is not known
	TrialEnd          time.Time
	CurrentPeriodEnd  time.Time // of the subscription's item
	CancelAt          time.Time
	CancelAtPeriodEnd bool
	Created           time.Time
}

// ApplySubscription is the input of [Store.ApplySubscription].
type ApplySubscription struct {
	EventID      string    // evt_…
	EventType    string    // customer.subscription.updated, say
	Created      time.Time // of the event, by Stripe, in whole seconds
	Subscription StripeSubscription
}

// SubscriptionOutcome is what became of an event. Each of them is an answer of 2xx.
type SubscriptionOutcome string

const (
	SubscriptionApplied   SubscriptionOutcome = "applied"   // the subscription is as the event has it
	SubscriptionDuplicate SubscriptionOutcome = "duplicate" // the event has been seen: nothing was written
	SubscriptionStale     SubscriptionOutcome = "stale"     // the subscription is as a later event had it
)

// ApplySubscription applies a Stripe event about a subscription to the team of its
// customer, and returns what became of it and the team. Events may come in any order, any
// number of times, on any number of connections at once: the same ones end in the same
// state. So repeating it is always safe, also after an unknown outcome, and answers
// [SubscriptionDuplicate] when it had happened. A webhook answers 5xx, and Stripe repeats it.
//
//   - An event is applied once, by its id.
//   - Of two events the later one counts. Stripe stamps whole seconds; of one second an
//     end counts, then the later end of the paid period, then active, trialing, past_due,
//     unpaid, paused, incomplete, in this order of preference, then the greater event id.
//   - Nothing leads out of canceled and incomplete_expired.
//   - The team's columns, which the TypeScript app reads, show the team's best
//     subscription: by the same preference, of several the newest. When all have ended
//     they show the status alone. The end of an old subscription leaves a new one alone.
//
// A deleted team's subscriptions go on being recorded. It logs UPDATE_SUBSCRIPTION from,
// to, when the team's columns change.
//
// Errors: [ErrUnknownCustomer], after which Stripe should send the event again;
// [ErrInvalidInput]; [ErrStripeIDTaken] when another team's columns have the
// subscription, after which a transaction can only be rolled back.
func (s *Store) ApplySubscription(ctx context.Context, p ApplySubscription) (SubscriptionOutcome, db.Team, error) {
	var in input
	in.required("EventID", p.EventID, maxStripeID)
	in.required("EventType", p.EventType, maxStripeID)
	arg := in.subscription("Created", p.Created, &p.Subscription)
	arg.EventID, arg.EventType = &p.EventID, p.EventType
	if in.err != nil {
		return "", db.Team{}, in.err
	}
	return s.applySubscription(ctx, arg)
}

// ReconcileSubscription is the input of [Store.ReconcileSubscription].
type ReconcileSubscription struct {
	Fetched      time.Time // when Stripe's API was asked, by a clock that is right to the second
	Subscription StripeSubscription
}

// ReconcileSubscription records a subscription as Stripe's API has it now. It wins over
// whatever events said until that second, an end included; only what came later stays,
// and is [SubscriptionStale]. The team's columns follow as in [Store.ApplySubscription].
// It logs UPDATE_SUBSCRIPTION from, to, when they change. Repeating it is safe, also after
// an unknown outcome.
//
// Errors: [ErrUnknownCustomer]; [ErrInvalidInput]; [ErrStripeIDTaken] as in
// [Store.ApplySubscription].
func (s *Store) ReconcileSubscription(ctx context.Context, p ReconcileSubscription) (SubscriptionOutcome, db.Team, error) {
	var in input
	// In Stripe's seconds: an event of the same one may be about a later change.
	arg := in.subscription("Fetched", p.Fetched.Truncate(time.Second), &p.Subscription)
	arg.Fetched = true
	if in.err != nil {
		return "", db.Team{}, in.err
	}
	return s.applySubscription(ctx, arg)
}

func (s *Store) applySubscription(ctx context.Context, arg db.ApplySubscriptionParams) (SubscriptionOutcome, db.Team, error) {
	p := s.pipeline()
	if err := queries.LockTeamOfCustomer(ctx, p, db.LockTeamOfCustomerParams{SubscriptionID: arg.SubscriptionID, StripeCustomerID: arg.StripeCustomerID}); err != nil {
		return "", db.Team{}, err
	}
	row, err := queries.ApplySubscription(ctx, p, arg)
	if err != nil {
		return "", db.Team{}, explain(err, ErrUnknownCustomer)
	}
	switch {
	case row.Duplicate:
		return SubscriptionDuplicate, row.Team, nil
	case !row.Applied:
		return SubscriptionStale, row.Team, nil
	}
	return SubscriptionApplied, row.Team, nil
}

// subscription checks a subscription, and the time that says how new it is.
func (in *input) subscription(asOf string, at time.Time, sub *StripeSubscription) db.ApplySubscriptionParams {
	field := func(name string) string { return "Subscription." + name }
	in.required(field("ID"), sub.ID, maxStripeID)
	in.required(field("CustomerID"), sub.CustomerID, maxStripeID)
	if !sub.Status.Valid() {
		in.refuse(field("Status"), "must be one of Stripe's subscription statuses")
	}
	for name, t := range map[string]time.Time{asOf: at, field("Created"): sub.Created} {
		if t.IsZero() {
			in.refuse(name, "must not be zero")
		}
	}
	arg := db.ApplySubscriptionParams{
		SubscriptionID: sub.ID, StripeCustomerID: sub.CustomerID, Status: sub.Status,
		EventCreatedAt: *in.time(asOf, at), CreatedAt: *in.time(field("Created"), sub.Created),
		StripeProductID:   in.optional(field("ProductID"), sub.ProductID, maxStripeID),
		StripePriceID:     in.optional(field("PriceID"), sub.PriceID, maxStripeID),
		PlanName:          in.optional(field("PlanName"), cutChars(sub.PlanName, maxPlanName), maxPlanName),
		CancelAtPeriodEnd: sub.CancelAtPeriodEnd,
	}
	for _, t := range []struct {
		name string
		time time.Time
		to   **time.Time
	}{{"TrialEnd", sub.TrialEnd, &arg.TrialEnd}, {"CurrentPeriodEnd", sub.CurrentPeriodEnd, &arg.CurrentPeriodEnd}, {"CancelAt", sub.CancelAt, &arg.CancelAt}} {
		if !t.time.IsZero() {
			*t.to = in.time(field(t.name), t.time)
		}
	}
	if sub.Quantity < 0 || sub.Quantity > math.MaxInt32 {
		in.refuse(field("Quantity"), "must be from 0 to 2147483647")
	} else if sub.Quantity > 0 {
		arg.Quantity = new(int32(sub.Quantity))
	}
	return arg
}

// maxSubscriptions bounds what is read of a team. One or two are live, as a rule.
const maxSubscriptions = 100

// Subscriptions returns a team's subscriptions, the one that the team's columns show
// first, 100 at most; none when there is no such team.
//
// Errors: none of the Store's.
func (s *Store) Subscriptions(ctx context.Context, team db.TeamID) ([]db.Subscription, error) {
	return readAll(ctx, s.conn, (*db.Queries).ListSubscriptions, db.ListSubscriptionsParams{TeamID: team, PageLimit: maxSubscriptions})
}

// HadTrial reports whether a subscription of the team has, or had, a trial.
//
// Errors: none of the Store's.
func (s *Store) HadTrial(ctx context.Context, team db.TeamID) (bool, error) {
	return queries.HadTrial(ctx, s.conn, team)
}

// Access is what a subscription entitles a team to.
type Access string

const (
	AccessFull  Access = "full"
	AccessGrace Access = "grace" // as full; tell the team that its payment or renewal is due
	AccessNone  Access = "none"
)

// Entitlement is the access that a team has paid for.
type Entitlement struct {
	Access Access
	Until  time.Time // when Access changes if nothing else is heard of Stripe; zero is never
	Seats  int       // the subscription's quantity; 0 when it has none, or without access
}

// RenewalGrace is for how long the end of a period is waited out for the event that says
// what came of it: as long as Stripe goes on sending one that was not taken
// (https://docs.stripe.com/webhooks#automatic-retries).
const RenewalGrace = 3 * 24 * time.Hour

// EntitlementOf is what a subscription entitles to at a time. "End" is the earliest that is
// known of CancelAt, and TrialEnd while trialing, else CurrentPeriodEnd.
//
//	status              before the end           after it
//	trialing, active    full, until the end      grace for RenewalGrace, then none;
//	                                             none at once where it was to be canceled
//	past_due            grace, until the end     none
//	unpaid, paused      none                     none
//	incomplete          none                     none
//	incomplete_expired  none                     none
//	canceled            none                     none
//
// A status that is none of these is none.
func EntitlementOf(sub db.Subscription, now time.Time) Entitlement {
	end, canceling := sub.CurrentPeriodEnd, sub.CancelAtPeriodEnd
	if sub.Status == db.SubscriptionTrialing && sub.TrialEnd != nil {
		end = sub.TrialEnd
	}
	if sub.CancelAt != nil && (end == nil || !sub.CancelAt.After(*end)) {
		end, canceling = sub.CancelAt, true
	}
	given := Entitlement{Access: AccessNone}
	if sub.Quantity != nil {
		given.Seats = int(*sub.Quantity)
	}
	if end != nil {
		given.Until = *end
	}
	before := end == nil || now.Before(*end)
	switch sub.Status {
	case db.SubscriptionTrialing, db.SubscriptionActive:
		if before {
			given.Access = AccessFull
			return given
		}
		if given.Until = end.Add(RenewalGrace); !canceling && now.Before(given.Until) {
			given.Access = AccessGrace
			return given
		}
	case db.SubscriptionPastDue:
		if before {
			given.Access = AccessGrace
			return given
		}
	}
	return Entitlement{Access: AccessNone}
}

// Entitlement returns what a team has at a time: the best that [EntitlementOf] says of its
// subscriptions, full before grace, then whichever lasts longer. It is [AccessNone] when
// it has no subscription, or there is no such team.
//
// Errors: none of the Store's.
func (s *Store) Entitlement(ctx context.Context, team db.TeamID, now time.Time) (Entitlement, error) {
	best := Entitlement{Access: AccessNone}
	subscriptions, err := s.Subscriptions(ctx, team)
	for _, sub := range subscriptions {
		if given := EntitlementOf(sub, now); given.better(best) {
			best = given
		}
	}
	return best, err
}

func (e Entitlement) better(than Entitlement) bool {
	rank := map[Access]int{AccessFull: 2, AccessGrace: 1}
	if e.Access != than.Access {
		return rank[e.Access] > rank[than.Access]
	}
	return !than.Until.IsZero() && (e.Until.IsZero() || e.Until.After(than.Until))
}

// PurgeSubscriptionEvents forgets the ids of events that were received before a time, as
// [Store.PurgeActivity] removes log rows, and returns how many. Stripe sends an event for
// three days; one that comes after it was forgotten is [SubscriptionStale]. Repeating it
// is safe, as there.
//
// Errors: [ErrInvalidInput].
func (s *Store) PurgeSubscriptionEvents(ctx context.Context, before time.Time, batch int) (removed int64, err error) {
	return purge(before, batch, func(since, before time.Time, batch int32) (int64, time.Time, error) {
		row, err := queries.PurgeSubscriptionEvents(ctx, s.pipeline(), db.PurgeSubscriptionEventsParams{Since: since, Before: before, BatchSize: batch})
		return row.Removed, row.Until, err
	})
}
