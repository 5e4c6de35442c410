package store_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

func TestLinkStripeCustomer(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h, other := newHouse(t, st), newHouse(t, st)
	link := func(team db.TeamID, customer string) error {
		return st.LinkStripeCustomer(t.Context(), store.LinkStripeCustomer{Actor: h.actor, TeamID: team, CustomerID: customer})
	}
	require.NoError(t, link(h.team.ID, "cus_1"))
	team, err := st.TeamByStripeCustomerID(t.Context(), "cus_1")
	require.NoError(t, err)
	require.Equal(t, h.team.ID, team.ID)
	require.Equal(t, new("cus_1"), team.StripeCustomerID)
	log := h.log()
	require.Equal(t, fmt.Sprintf(`LINK_BILLING by %d {"to": "cus_1", "from": null}`, h.owner.ID), log[len(log)-1])

	// Twice is once.
	before := snapshot(t, st)
	require.NoError(t, link(h.team.ID, "cus_1"))
	require.Equal(t, before, snapshot(t, st))

	// A customer never moves; a team may get another one.
	require.ErrorIs(t, link(other.team.ID, "cus_1"), store.ErrStripeIDTaken)
	require.NoError(t, link(h.team.ID, "cus_2"))
	_, err = st.TeamByStripeCustomerID(t.Context(), "cus_1")
	require.ErrorIs(t, err, store.ErrNotFound)
	require.ErrorIs(t, link(12345, "cus_3"), store.ErrNotFound)
}

func TestUpdateSubscription(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h, other := newHouse(t, st), newHouse(t, st)
	p := store.UpdateSubscription{TeamID: h.team.ID, SubscriptionID: "sub_1", ProductID: "prod_1", PlanName: "Plus", Status: db.SubscriptionActive}
	require.NoError(t, st.UpdateSubscription(t.Context(), p))
	team, err := st.Team(t.Context(), h.team.ID)
	require.NoError(t, err)
	require.Equal(t, []*string{new("sub_1"), new("prod_1"), new("Plus")}, []*string{team.StripeSubscriptionID, team.StripeProductID, team.PlanName})
	require.Equal(t, new(db.SubscriptionActive), team.SubscriptionStatus)
	log := h.log()
	require.Equal(t, `UPDATE_SUBSCRIPTION by nobody {"to": {"status": "active", "planName": "Plus", "productId": "prod_1", "subscriptionId": "sub_1"}, "from": {"status": null, "planName": null, "productId": null, "subscriptionId": null}}`, log[len(log)-1])

	before := snapshot(t, st)
	require.NoError(t, st.UpdateSubscription(t.Context(), p))
	require.Equal(t, before, snapshot(t, st), "nothing would change")
	theirs := p
	theirs.TeamID = other.team.ID
	require.ErrorIs(t, st.UpdateSubscription(t.Context(), theirs), store.ErrStripeIDTaken)
	require.Equal(t, before, snapshot(t, st))

	// What is not given is NULL: the starter ends a subscription so.
	require.NoError(t, st.UpdateSubscription(t.Context(), store.UpdateSubscription{TeamID: h.team.ID, Status: db.SubscriptionCanceled}))
	team, err = st.Team(t.Context(), h.team.ID)
	require.NoError(t, err)
	require.Nil(t, team.StripeSubscriptionID)
	require.Nil(t, team.StripeProductID)
	require.Nil(t, team.PlanName)
}
