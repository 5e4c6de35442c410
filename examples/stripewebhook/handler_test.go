package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"github.com/stripe/stripe-go/v85/webhook"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
	"github.com/rowhouse/rowhouse/store/storetest"
)

func TestSignatures(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t)
	team := e.newTeam("ada", "cus_1")
	body := event(t, subscriptionEvent)
	before := e.snapshot()
	sign := func(secret string, at time.Time, scheme string) string {
		return webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: body, Secret: secret, Timestamp: at, Scheme: scheme}).Header
	}
	now := time.Now()
	right := sign(secret, now, "v1")
	inBounds := webhook.DefaultTolerance - time.Minute
	for name, c := range map[string]struct {
		body      []byte
		signature string
		says      error
	}{
		"missing":       {body, "", webhook.ErrNotSigned},
		"no signature":  {body, "gibberish", webhook.ErrInvalidHeader},
		"of another":    {body, sign("whsec_another", now, "v1"), webhook.ErrNoValidSignature},
		"without key":   {body, sign("", now, "v1"), webhook.ErrNoValidSignature},
		"older scheme":  {body, sign(secret, now, "v0"), webhook.ErrNoValidSignature},
		"too old":       {body, sign(secret, now.Add(-webhook.DefaultTolerance-time.Minute), "v1"), webhook.ErrTooOld},
		"changed after": {bytes.Replace(body, []byte(`"quantity":3`), []byte(`"quantity":9`), 1), right, webhook.ErrNoValidSignature},
		"time changed":  {body, "t=" + "1" + right[len("t="):], webhook.ErrNoValidSignature},
	} {
		status, err := e.post(c.body, c.signature)
		require.NoError(t, err, name)
		require.Equal(t, http.StatusBadRequest, status, name)
		require.Equal(t, line{Level: "WARN", Outcome: unsigned, Error: c.says.Error()}, e.lastLine(), name)
	}
	require.Equal(t, before, e.snapshot())

	// The right one, that of a while ago, and one of two while the secret is rolled.
	for _, signature := range []string{right, sign(secret, now.Add(-inBounds), "v1"), sign("whsec_another", now, "v1") + "," + strings.SplitN(right, ",", 2)[1]} {
		status, err := e.post(body, signature)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
	}
	require.Len(t, e.subscriptions(team), 1)
}

// With an empty secret everybody could sign.
func TestNoSecret(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t)
	e.newTeam("ada", "cus_1")
	e.handler.Secret = ""
	body := event(t, subscriptionEvent)
	before := e.snapshot()
	status, err := e.post(body, webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: body}).Header)
	require.NoError(t, err)
	require.Equal(t, http.StatusInternalServerError, status)
	require.Equal(t, before, e.snapshot())
}

func TestMethods(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t)
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions} {
		req, err := http.NewRequestWithContext(t.Context(), method, e.url, nil)
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode, method)
		require.Equal(t, "POST", resp.Header.Get("Allow"))
	}
}

func TestBodyLimit(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t)
	team := e.newTeam("ada", "cus_1")
	sized := func(size int) []byte {
		short := event(t, subscriptionEvent, "data.object.description", "")
		body := event(t, subscriptionEvent, "data.object.description", strings.Repeat("x", size-len(short)))
		require.Len(t, body, size)
		return body
	}
	require.Equal(t, http.StatusRequestEntityTooLarge, e.send(sized(maxBody+1)))
	require.Equal(t, line{Level: "WARN", Outcome: tooLarge}, e.lastLine())
	require.Empty(t, e.subscriptions(team))
	require.Equal(t, http.StatusOK, e.send(sized(maxBody)))
	require.Len(t, e.subscriptions(team), 1)
}

// A body that ends before its length is no event, whatever it is signed with.
func TestIncompleteBody(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/", iotest.ErrReader(io.ErrUnexpectedEOF))
	require.NoError(t, err)
	e.posts.Add(1)
	w := httptest.NewRecorder()
	e.handler.ServeHTTP(w, req)
	require.Equal(t, http.StatusBadRequest, w.Code)
	require.Equal(t, line{Level: "WARN", Outcome: incomplete, Error: io.ErrUnexpectedEOF.Error()}, e.lastLine())
}

func TestUnreadable(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t)
	e.newTeam("ada", "cus_1")
	before := e.snapshot()
	whole := event(t, subscriptionEvent)
	for name, body := range map[string][]byte{
		"empty":             nil,
		"no JSON":           []byte(bodyMark),
		"cut":               whole[:len(whole)-1],
		"array":             []byte(`["` + bodyMark + `"]`),
		"thin event":        []byte(`{"id": "evt_1", "object": "v2.core.event", "type": "v1.customer.subscription.updated", "note": "` + bodyMark + `"}`),
		"no data":           []byte(`{"id": "evt_1", "object": "event", "type": "customer.subscription.updated"}`),
		"no object":         []byte(`{"id": "evt_1", "object": "event", "type": "customer.subscription.updated", "data": {}}`),
		"text for a number": event(t, subscriptionEvent, "created", bodyMark),
		"text for a time":   event(t, subscriptionEvent, "data.object.created", bodyMark),
		"text for items":    event(t, subscriptionEvent, "data.object.items", bodyMark),
		"number for a mode": event(t, checkoutEvent, "data.object.mode", 7),
	} {
		require.Equal(t, http.StatusBadRequest, e.send(body), name)
		require.Equal(t, unreadable, e.lastLine().Outcome, name)
	}
	require.Equal(t, before, e.snapshot())
}

func TestOtherTypes(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t)
	e.newTeam("ada", "cus_1")
	before := e.snapshot()
	for _, other := range []string{"invoice.paid", "checkout.session.expired", "customer.updated", "customer.subscription.of_the_future"} {
		require.Equal(t, http.StatusOK, e.send(event(t, subscriptionEvent, "type", other)))
		require.Equal(t, line{Level: "INFO", Outcome: ignored, Event: "evt_1TestSubscription", Type: other}, e.lastLine())
	}
	require.Equal(t, before, e.snapshot())
}

func TestDatabaseDown(t *testing.T) {
	t.Parallel()
	pool, err := pgxpool.New(t.Context(), "postgres://ada:"+password+"@127.0.0.1:1/house?sslmode=disable")
	require.NoError(t, err)
	defer pool.Close()
	e := serveOn(t, store.New(pool))
	for _, body := range [][]byte{event(t, subscriptionEvent), event(t, checkoutEvent)} {
		require.Equal(t, http.StatusInternalServerError, e.send(body))
		require.Equal(t, failed, e.lastLine().Outcome)
		require.Equal(t, "ERROR", e.lastLine().Level)
		require.Contains(t, e.lastLine().Error, "failed to connect")
	}
}

// An error of the server's has more in it than its text: here, the row.
func TestDatabaseBroken(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t)
	team := e.newTeam("ada", "cus_1")
	_, err := e.st.Conn().Exec(t.Context(), "ALTER TABLE subscriptions ADD CONSTRAINT none CHECK (id = '')")
	require.NoError(t, err)
	before := e.snapshot()
	body := event(t, subscriptionEvent, "data.object.items.data.0.price.nickname", password)
	require.Equal(t, http.StatusInternalServerError, e.send(body))
	got := e.lastLine()
	require.Equal(t, failed, got.Outcome)
	require.Contains(t, got.Error, `violates check constraint "none"`)
	require.Equal(t, before, e.snapshot())

	_, _, err = e.st.ApplySubscription(t.Context(), store.ApplySubscription{
		EventID: "evt_2", EventType: "any", Created: time.Now(),
		Subscription: store.StripeSubscription{ID: "sub_1", CustomerID: "cus_1", Status: db.SubscriptionActive, PlanName: password, Created: time.Now()},
	})
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	require.True(t, ok)
	require.Contains(t, pgErr.Detail, password, "what the log must leave out is not there")

	_, err = e.st.Conn().Exec(t.Context(), "ALTER TABLE subscriptions DROP CONSTRAINT none")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, e.send(body), "Stripe sends it again")
	require.Len(t, e.subscriptions(team), 1)
}

// A team's row that is locked for too long must not let Stripe wait.
func TestTimeout(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t)
	team := e.newTeam("ada", "cus_1")
	e.handler.Timeout = 50 * time.Millisecond
	tx, err := storetest.Pool(t).Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(t.Context())
	_, err = tx.Exec(t.Context(), "SELECT FROM teams FOR UPDATE")
	require.NoError(t, err)

	require.Equal(t, http.StatusInternalServerError, e.send(event(t, subscriptionEvent)))
	require.Contains(t, e.lastLine().Error, "deadline exceeded")
	require.Empty(t, e.subscriptions(team))

	require.NoError(t, tx.Rollback(t.Context()))
	e.handler.Timeout = 0
	require.Equal(t, http.StatusOK, e.send(event(t, subscriptionEvent)))
	require.Len(t, e.subscriptions(team), 1)
}
