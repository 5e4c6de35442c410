package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/stripe/stripe-go/v85/webhook"

	"github.com/rowhouse/rowhouse/store"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// FuzzWebhook: whatever is posted has an outcome, which is never a failure of the handler
// or the server; the answer says no more than the outcome, the log is a line without the
// secret. What Stripe has not signed is refused; what is refused or ignored changes no
// table; what is accepted changes nothing when it comes again.
func FuzzWebhook(f *testing.F) {
	for _, file := range []string{subscriptionEvent, oldVersionEvent, checkoutEvent} {
		body, err := os.ReadFile("testdata/" + file + ".json")
		require.NoError(f, err)
		var compact bytes.Buffer
		require.NoError(f, json.Compact(&compact, body))
		f.Add(compact.Bytes(), "")
		f.Add(compact.Bytes(), "t=1774950000,v1=00")
	}
	const subscription = `{"id":"evt_1","object":"event","type":"customer.subscription.updated","created":1774950000,"data":{"object":`
	for _, object := range []string{
		`{"id":"sub_1","customer":"cus_1","status":"active","created":1}`,
		`{"id":"sub_1","customer":{"id":"cus_1"},"status":"canceled","created":1774950000,"cancel_at":9223372036854775807}`,
		`{"id":"sub_1","customer":"cus_1","status":"past_due","created":-62135596801,"items":{"data":[{"quantity":-1}]}}`,
		`{"id":"sub_1","customer":"cus_1","status":"trialing","created":1,"trial_end":253402214401,"items":{"data":[{"price":{"nickname":"\u0000"}}]}}`,
		`{"id":"sub_1","customer":"cus_1","status":"active","created":1,"items":{"data":[{"price":{"id":"price_1","nickname":"` + strings.Repeat("é", 60) + `","product":{"id":"prod_1","name":"\ud800"}},"quantity":2147483648}]}}`,
		`{"id":"sub_1","customer":"cus_1","status":"active","created":1,"items":{"data":[null]}}`,
		`{"id":"sub_1","customer":"cus_1","status":"active","created":1,"items":{"data":[{"price":{"nickname":"\u0000"}}]}}`,
		`{"id":"sub_1","customer":null,"status":"active","created":1}`,
		`{"id":" ","customer":"cus_2","status":"","created":0}`,
		`null`, `[]`, `{}`, `1e400`, `"text"`, strings.Repeat("[", 10001),
	} {
		f.Add([]byte(subscription+object+`}}`), "")
	}
	const checkout = `{"id":"evt_1","object":"event","type":"checkout.session.completed","created":1,"data":{"object":`
	for _, object := range []string{
		`{"mode":"subscription","client_reference_id":"1","customer":"cus_2"}`,
		`{"mode":"subscription","client_reference_id":"2","customer":"cus_1"}`,
		`{"mode":"subscription","client_reference_id":"9223372036854775807","customer":"cus_2"}`,
		`{"mode":"subscription","client_reference_id":"1"}`,
		`{"mode":"subscription","client_reference_id":"1","customer":"cus_2","payment_link":"plink_1"}`,
		`{"mode":"payment","client_reference_id":"1","customer":"cus_2"}`,
	} {
		f.Add([]byte(checkout+object+`}}`), "")
	}
	for _, text := range []string{``, `{`, `{"object":"v2.core.event"}`, `{"object":"event","data":null}`, `{"data":{"object":{}}}`, "\xff",
		`{"id":"evt_1","object":"event","type":"customer.subscription.updated","created":1}`,
		`{"id":"evt_1","object":"event","type":"checkout.session.completed","data":null}`,
		`{"id":"evt_1","type":"invoice.paid","data":{"object":{}}}`} {
		f.Add([]byte(text), "")
	}
	f.Add([]byte(`{}`), "t=9223372036854775808,v1=")
	f.Add([]byte(`{}`), ",=,t=,v1=zz,,")

	st := storetest.New(f)
	for _, name := range []string{"ada", "bo"} {
		_, err := st.SignUp(f.Context(), store.SignUp{Email: name + "@example.com", PasswordHash: password, TeamName: name})
		require.NoError(f, err)
	}
	require.NoError(f, st.LinkStripeCustomer(f.Context(), store.LinkStripeCustomer{TeamID: 1, CustomerID: "cus_1"}))
	errRollBack := errors.New("roll back")
	f.Fuzz(func(t *testing.T, body []byte, signature string) {
		signed := signature == ""
		if signed { // by Stripe
			signature = webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: body, Secret: secret}).Header
		} else if strings.ContainsAny(signature, "\x00\r\n") { // no header is so
			return
		}
		require.ErrorIs(t, st.InTx(t.Context(), func(tx *store.Store) error {
			var log bytes.Buffer
			handler := &Handler{Store: tx, Secret: secret, Log: slog.New(slog.NewJSONHandler(&log, nil))}
			post := func() (outcome, bool) {
				log.Reset()
				req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(body))
				req.Header.Set("Stripe-Signature", signature)
				answer := httptest.NewRecorder()
				handler.ServeHTTP(answer, req)

				require.Equal(t, 1, strings.Count(log.String(), "\n"), "%s", &log)
				var line line
				require.NoError(t, json.Unmarshal(log.Bytes(), &line))
				status, ok := statuses[line.Outcome]
				require.True(t, ok, "outcome %q", line.Outcome)
				require.Equal(t, status, answer.Code)
				said := ""
				if status != http.StatusOK {
					said = string(line.Outcome) + "\n"
				}
				require.Equal(t, said, answer.Body.String())
				require.NotEqual(t, failed, line.Outcome, "%s", line.Error)
				if !bytes.Contains(body, []byte(secret)) {
					require.NotContains(t, log.String(), secret)
				}
				require.NotContains(t, line.Error, "SQLSTATE")
				return line.Outcome, status == http.StatusOK
			}
			state := func() (text string) {
				require.NoError(t, tx.Conn().QueryRow(t.Context(), `SELECT concat_ws(E'\n',
					(SELECT json_agg(t ORDER BY id) FROM teams AS t),
					(SELECT json_agg(s ORDER BY id) FROM subscriptions AS s),
					(SELECT json_agg(e ORDER BY id) FROM subscription_events AS e),
					(SELECT max(id) FROM activity_logs))`).Scan(&text))
				return text
			}
			before := state()
			first, accepted := post()
			if !signed {
				require.Contains(t, []outcome{unsigned, tooLarge}, first)
			}
			switch first {
			case taken: // the transaction is over
				return errRollBack
			case applied, linked:
			default:
				require.Equal(t, before, state(), first)
			}
			after := state()
			again, acceptedAgain := post()
			require.Equal(t, accepted, acceptedAgain)
			if first == applied {
				first = duplicate
			}
			require.Equal(t, first, again)
			require.Equal(t, after, state(), "%s again", first)
			return errRollBack
		}), errRollBack)
	})
}
