package main

import (
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/store"
)

// An event that comes before its customer is known is refused until the checkout's has
// come, and then applied.
func TestCustomerIsKnownLater(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t)
	team := e.newTeam("ada", "")
	before := e.snapshot()
	created := event(t, subscriptionEvent, "type", "customer.subscription.created")
	for range 2 {
		require.Equal(t, http.StatusServiceUnavailable, e.send(created))
		require.Equal(t, line{
			Level: "WARN", Outcome: unknownCustomer, Event: "evt_1TestSubscription", Type: "customer.subscription.created",
			Error: store.ErrUnknownCustomer.Error(),
		}, e.lastLine())
		require.Equal(t, before, e.snapshot())
	}

	checkout := event(t, checkoutEvent, "data.object.client_reference_id", strconv.Itoa(int(team)))
	require.Equal(t, http.StatusOK, e.send(checkout))
	require.Equal(t, line{Level: "INFO", Outcome: linked, Event: "evt_1TestCheckout", Type: "checkout.session.completed", Team: team}, e.lastLine())
	require.Equal(t, []string{"cus_1", "-", "-", "-", "-"}, e.columns(team))
	before = e.snapshot()
	require.Equal(t, http.StatusOK, e.send(checkout))
	require.Equal(t, before, e.snapshot(), "Stripe may send that again, too")

	require.Equal(t, http.StatusOK, e.send(created))
	require.Equal(t, applied, e.lastLine().Outcome)
	require.Equal(t, []string{"cus_1", "sub_1", "prod_1", "Plus, monthly", "active"}, e.columns(team))

	page, _, err := e.st.TeamActivity(t.Context(), team, store.ActivityPage{})
	require.NoError(t, err)
	require.Equal(t, "LINK_BILLING", string(page[1].Action))
	require.Nil(t, page[1].UserID, "it is the system's")
	require.Equal(t, "UPDATE_SUBSCRIPTION", string(page[0].Action))
}

func TestCheckoutsThatLinkNothing(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t)
	team := e.newTeam("ada", "")
	id := strconv.Itoa(int(team))
	const reference = "data.object.client_reference_id"
	deleted := e.newTeam("gone", "")
	_, err := e.st.Conn().Exec(t.Context(), "UPDATE teams SET deleted_at = now() WHERE id = $1", deleted)
	require.NoError(t, err)
	e.newTeam("grace", "cus_graces")
	before := e.snapshot()
	for name, c := range map[string]struct {
		changes []any
		status  int
		outcome outcome
		level   string
	}{
		"no reference":     {[]any{reference, nil}, http.StatusOK, notOurs, "WARN"},
		"empty reference":  {[]any{reference, ""}, http.StatusOK, notOurs, "WARN"},
		"malformed":        {[]any{reference, "team-" + id}, http.StatusOK, notOurs, "WARN"},
		"malformed, after": {[]any{reference, id + " "}, http.StatusOK, notOurs, "WARN"},
		"negative":         {[]any{reference, "-" + id}, http.StatusOK, notOurs, "WARN"},
		"zero":             {[]any{reference, "0"}, http.StatusOK, notOurs, "WARN"},
		"too many digits":  {[]any{reference, "99999999999999999999"}, http.StatusOK, notOurs, "WARN"},
		"payment link":     {[]any{reference, id, "data.object.payment_link", "plink_1"}, http.StatusOK, notOurs, "WARN"},
		"one-off payment":  {[]any{reference, id, "data.object.mode", "payment"}, http.StatusOK, ignored, "INFO"},
		"setup":            {[]any{reference, id, "data.object.mode", "setup"}, http.StatusOK, ignored, "INFO"},
		"no such team":     {[]any{reference, "12345"}, http.StatusUnprocessableEntity, noTeam, "WARN"},
		"wider than an id": {[]any{reference, "99999999999"}, http.StatusUnprocessableEntity, noTeam, "WARN"},
		"deleted team":     {[]any{reference, strconv.Itoa(int(deleted))}, http.StatusUnprocessableEntity, noTeam, "WARN"},
		"no customer":      {[]any{reference, id, "data.object.customer", nil}, http.StatusUnprocessableEntity, invalid, "WARN"},
		"another's":        {[]any{reference, id, "data.object.customer", "cus_graces"}, http.StatusConflict, taken, "WARN"},
	} {
		require.Equal(t, c.status, e.send(event(t, checkoutEvent, c.changes...)), name)
		require.Equal(t, c.outcome, e.lastLine().Outcome, name)
		require.Equal(t, c.level, e.lastLine().Level, name)
		require.Equal(t, before, e.snapshot(), name)
	}
}
