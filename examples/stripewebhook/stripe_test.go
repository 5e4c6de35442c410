package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/stripe/stripe-go/v85/webhook"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
	"github.com/rowhouse/rowhouse/store/storetest"
)

const (
	secret   = "whsec_dGhlIHNlY3JldCBvZiB0aGUgdGVzdHM"
	password = "s3cr3t"
	bodyMark = "of-the-body" // it stands in every body of testdata, in places that are not read

	subscriptionEvent = "customer.subscription"
	oldVersionEvent   = "customer.subscription.2020-08-27"
	checkoutEvent     = "checkout.session.completed"
)

// event is the JSON of a file of testdata with other values at some paths:
// "data.object.status", "past_due".
func event(t *testing.T, file string, changes ...any) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file + ".json")
	require.NoError(t, err)
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var root any
	require.NoError(t, decoder.Decode(&root))
	for i := 0; i < len(changes); i += 2 {
		steps := strings.Split(changes[i].(string), ".")
		node := root
		for _, step := range steps[:len(steps)-1] {
			if list, ok := node.([]any); ok {
				index, err := strconv.Atoi(step)
				require.NoError(t, err)
				node = list[index]
				continue
			}
			node = node.(map[string]any)[step]
		}
		fields := node.(map[string]any)
		require.Contains(t, fields, steps[len(steps)-1], "Stripe has no such field")
		fields[steps[len(steps)-1]] = changes[i+1]
	}
	text, err = json.Marshal(root)
	require.NoError(t, err)
	return text
}

// endpoint is a served Handler with a database of its own. It holds each answer and the
// log to what they may say.
type endpoint struct {
	t       *testing.T
	st      *store.Store
	handler *Handler
	url     string
	log     logBuffer
	posts   atomic.Int64
}

func newEndpoint(t *testing.T) *endpoint {
	t.Helper()
	return serveOn(t, storetest.New(t))
}

func serveOn(t *testing.T, st *store.Store) *endpoint {
	t.Helper()
	e := &endpoint{t: t, st: st}
	e.handler = &Handler{Store: st, Secret: secret, Log: slog.New(slog.NewJSONHandler(&e.log, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if err, ok := a.Value.Any().(error); ok {
				t.Errorf("a handler of another kind could log all of %T", err)
			}
			return a
		},
	}))}
	server := httptest.NewServer(e.handler)
	e.url = server.URL
	t.Cleanup(func() {
		server.Close()
		e.requireDiscreet()
	})
	return e
}

// newTeam signs a team up, and links a customer unless it is empty.
func (e *endpoint) newTeam(name, customer string) db.TeamID {
	e.t.Helper()
	su, err := e.st.SignUp(e.t.Context(), store.SignUp{Email: name + "@example.com", PasswordHash: "!", TeamName: name})
	require.NoError(e.t, err)
	if customer != "" {
		require.NoError(e.t, e.st.LinkStripeCustomer(e.t.Context(), store.LinkStripeCustomer{TeamID: su.Team.ID, CustomerID: customer}))
	}
	return su.Team.ID
}

// send signs a body as Stripe does, posts it and returns the status.
func (e *endpoint) send(body []byte) int {
	e.t.Helper()
	status, err := e.trySend(body)
	require.NoError(e.t, err)
	return status
}

func (e *endpoint) trySend(body []byte) (int, error) {
	return e.post(body, webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: body, Secret: secret}).Header)
}

// client gives up on an answer that does not come, long after the handler should have.
var client = &http.Client{Timeout: 20 * time.Second}

// post posts a body with the header of a signature, none when that is empty. An answer
// with a body of its own is an error.
func (e *endpoint) post(body []byte, signature string) (int, error) {
	e.posts.Add(1)
	req, err := http.NewRequestWithContext(e.t.Context(), http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	if signature != "" {
		req.Header.Set("Stripe-Signature", signature)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	if resp.StatusCode == http.StatusOK && len(said) == 0 {
		return resp.StatusCode, nil
	}
	if status, ok := statuses[outcome(strings.TrimSuffix(string(said), "\n"))]; !ok || status != resp.StatusCode {
		return 0, fmt.Errorf("%d says %q", resp.StatusCode, said)
	}
	return resp.StatusCode, nil
}

// requireDiscreet is run at the end of each test: a line a request, and no secret in it.
func (e *endpoint) requireDiscreet() {
	log := e.log.String()
	require.EqualValues(e.t, e.posts.Load(), strings.Count(log, "\n"), "%s", log)
	for _, leak := range []string{secret, secret[len("whsec_"):], "v1=", password, bodyMark, "SELECT", "Key (", "Failing row"} {
		require.NotContains(e.t, log, leak)
	}
}

// line is what the log says of a request.
type line struct {
	Level    string
	Msg      string
	Outcome  outcome
	Event    string
	Type     string
	Team     db.TeamID
	Error    string
	Duration int64
}

func (e *endpoint) lastLine() line {
	e.t.Helper()
	lines := strings.Split(strings.TrimSuffix(e.log.String(), "\n"), "\n")
	var l line
	require.NoError(e.t, json.Unmarshal([]byte(lines[len(lines)-1]), &l))
	require.Positive(e.t, l.Duration)
	require.Equal(e.t, "stripe webhook", l.Msg)
	l.Msg, l.Duration = "", 0
	return l
}

// subscriptions reads a team's, Standing left out.
func (e *endpoint) subscriptions(team db.TeamID) []db.Subscription {
	e.t.Helper()
	subs, err := e.st.Subscriptions(e.t.Context(), team)
	require.NoError(e.t, err)
	for i := range subs {
		subs[i].Standing = 0
	}
	return subs
}

// columns are what the team's row says of Stripe, "-" for NULL: customer, subscription,
// product, plan, status.
func (e *endpoint) columns(team db.TeamID) []string {
	e.t.Helper()
	row, err := e.st.Team(e.t.Context(), team)
	require.NoError(e.t, err)
	var status *string
	if row.SubscriptionStatus != nil {
		status = new(string(*row.SubscriptionStatus))
	}
	var texts []string
	for _, column := range []*string{row.StripeCustomerID, row.StripeSubscriptionID, row.StripeProductID, row.PlanName, status} {
		if column == nil {
			column = new("-")
		}
		texts = append(texts, *column)
	}
	return texts
}

// snapshot is all that the database holds which a webhook may change.
func (e *endpoint) snapshot() string {
	e.t.Helper()
	var text string
	require.NoError(e.t, e.st.Conn().QueryRow(e.t.Context(), `SELECT concat_ws(E'\n',
		(SELECT json_agg(t ORDER BY id) FROM teams AS t),
		(SELECT json_agg(s ORDER BY id) FROM subscriptions AS s),
		(SELECT json_agg(e ORDER BY id) FROM subscription_events AS e),
		(SELECT json_agg(a ORDER BY id) FROM activity_logs AS a))`).Scan(&text))
	return text
}

// logBuffer is a bytes.Buffer for many goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
