package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/stripe/stripe-go/v85"
	"github.com/stripe/stripe-go/v85/webhook"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

const (
	// defaultTimeout is far from where Stripe gives an answer up, which it does not
	// document; it asks for a quick one (https://docs.stripe.com/webhooks). An event takes
	// the Store one round trip.
	defaultTimeout = 5 * time.Second

	// maxBody bounds what anyone can make the service hold in memory. An event of a
	// subscription has 4 to 10 kB. It grows with the items, 20 at most
	// (https://docs.stripe.com/api/subscriptions/create), and the metadata of each, its
	// plan and its price, all that twice when the event tells what the items were. 1 MiB
	// leaves each of them 26 kB.
	maxBody = 1 << 20
)

// Handler is a webhook endpoint for Stripe. Events of subscriptions go to
// [store.Store.ApplySubscription]; a completed checkout links its customer to the team.
// Stripe sends an event again, for three days, until the answer is 2xx
// (https://docs.stripe.com/webhooks#automatic-retries); a repetition is harmless.
//
// The account is the service's alone: a subscription that another one sells on it is of an
// unknown customer, and refused until Stripe gives up.
type Handler struct {
	Store  *store.Store
	Secret string // the endpoint's, whsec_…; while it is rolled Stripe signs with both, so one is enough

	// PlanName returns what the plan that a product is, is called; empty when it is not
	// known, or the product is no plan but an add-on to one. It may be nil.
	PlanName func(productID string) string

	Log     *slog.Logger  // slog.Default() when nil
	Timeout time.Duration // for the database, 5 s when 0
}

// outcome is what became of a request. It is logged, and is the body of a refusal.
type outcome string

const (
	applied   = outcome(store.SubscriptionApplied)
	duplicate = outcome(store.SubscriptionDuplicate)
	stale     = outcome(store.SubscriptionStale)
	linked    = outcome("linked")
	ignored   = outcome("ignored") // a type of event that is none of ours

	// notOurs is a checkout that names no team. It is not refused, because other things
	// may be sold on the account. Should it have been for a team, its subscription's
	// events are refused, and that is seen.
	notOurs = outcome("checkout of no team")

	// unknownCustomer ends once the checkout's event has come, which may be the later one.
	unknownCustomer = outcome("unknown customer")

	tooLarge   = outcome("body too large")
	incomplete = outcome("incomplete body")
	unsigned   = outcome("invalid signature")
	unreadable = outcome("not an event")
	invalid    = outcome("invalid event")
	noTeam     = outcome("no such team")
	taken      = outcome("customer or subscription of another team")
	failed     = outcome("internal error")
)

// To Stripe each status but 2xx is the same; they tell people what to look for. Sending
// an event of 4xx again does not help, unless somebody mends what is wrong meanwhile.
var statuses = map[outcome]int{
	applied:         http.StatusOK,
	duplicate:       http.StatusOK,
	stale:           http.StatusOK,
	linked:          http.StatusOK,
	ignored:         http.StatusOK,
	notOurs:         http.StatusOK,
	unknownCustomer: http.StatusServiceUnavailable,
	tooLarge:        http.StatusRequestEntityTooLarge,
	incomplete:      http.StatusBadRequest,
	unsigned:        http.StatusBadRequest,
	unreadable:      http.StatusBadRequest,
	invalid:         http.StatusUnprocessableEntity,
	noTeam:          http.StatusUnprocessableEntity,
	taken:           http.StatusConflict,
	failed:          http.StatusInternalServerError,
}

// result is an outcome, and what the log says of it.
type result struct {
	outcome outcome
	team    db.TeamID // 0 when it is not known
	err     error
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "POST alone is allowed", http.StatusMethodNotAllowed)
		return
	}
	start := time.Now()
	event, res := h.read(w, r)
	if res.outcome == "" {
		timeout := h.Timeout
		if timeout == 0 {
			timeout = defaultTimeout
		}
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		res = h.handle(ctx, event)
	}
	h.log(r.Context(), event, res, time.Since(start))
	if status := statuses[res.outcome]; status != http.StatusOK {
		http.Error(w, string(res.outcome), status)
	}
}

// read returns the event of a request, or why it is none.
func (h *Handler) read(w http.ResponseWriter, r *http.Request) (stripe.Event, result) {
	if h.Secret == "" { // anybody could sign with it
		return stripe.Event{}, result{outcome: failed, err: errors.New("the handler has no secret")}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return stripe.Event{}, result{outcome: tooLarge}
	}
	if err != nil {
		return stripe.Event{}, result{outcome: incomplete, err: err}
	}
	// Not strict about the API version: events keep that of their creation, so for days a
	// change of it would refuse some, and what is read here is read of every version.
	event, err := webhook.ConstructEventWithOptions(body, r.Header.Get("Stripe-Signature"), h.Secret,
		webhook.ConstructEventOptions{IgnoreAPIVersionMismatch: true})
	for _, refusal := range []error{webhook.ErrNotSigned, webhook.ErrInvalidHeader, webhook.ErrNoValidSignature, webhook.ErrTooOld} {
		if errors.Is(err, refusal) {
			return stripe.Event{}, result{outcome: unsigned, err: refusal}
		}
	}
	if err != nil || event.Data == nil {
		return stripe.Event{}, result{outcome: unreadable} // the error may quote the body
	}
	return event, result{}
}

// handle does what a signed event is about.
func (h *Handler) handle(ctx context.Context, event stripe.Event) result {
	switch event.Type {
	case stripe.EventTypeCustomerSubscriptionCreated,
		stripe.EventTypeCustomerSubscriptionUpdated,
		stripe.EventTypeCustomerSubscriptionDeleted,
		stripe.EventTypeCustomerSubscriptionPaused,
		stripe.EventTypeCustomerSubscriptionResumed,
		stripe.EventTypeCustomerSubscriptionPendingUpdateApplied,
		stripe.EventTypeCustomerSubscriptionPendingUpdateExpired,
		stripe.EventTypeCustomerSubscriptionTrialWillEnd:
		return h.apply(ctx, event)
	case stripe.EventTypeCheckoutSessionCompleted:
		return h.link(ctx, event)
	}
	return result{outcome: ignored}
}

// refused is the outcome of an error of the Store.
func refused(err error) outcome {
	switch {
	case errors.Is(err, store.ErrUnknownCustomer):
		return unknownCustomer
	case errors.Is(err, store.ErrInvalidInput):
		return invalid
	case errors.Is(err, store.ErrNotFound):
		return noTeam
	case errors.Is(err, store.ErrStripeIDTaken):
		return taken
	}
	return failed
}

// log writes the one line of a request.
func (h *Handler) log(ctx context.Context, event stripe.Event, res result, took time.Duration) {
	log := h.Log
	if log == nil {
		log = slog.Default()
	}
	level := slog.LevelInfo
	switch {
	case res.outcome == failed:
		level = slog.LevelError
	case res.outcome == notOurs || statuses[res.outcome] != http.StatusOK:
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{slog.String("outcome", string(res.outcome)), slog.Duration("duration", took)}
	if event.ID != "" {
		attrs = append(attrs, slog.String("event", event.ID), slog.String("type", string(event.Type)))
	}
	if res.team != 0 {
		attrs = append(attrs, slog.Int64("team", int64(res.team)))
	}
	if res.err != nil { // its text: the error itself may have the row that failed
		attrs = append(attrs, slog.String("error", res.err.Error()))
	}
	log.LogAttrs(ctx, level, "stripe webhook", attrs...)
}
