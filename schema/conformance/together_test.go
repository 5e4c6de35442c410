package conformance_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
	"github.com/rowhouse/rowhouse/store/storetest"
)

func (h *house) storeSignUp(email, name string) store.SignedUp {
	h.t.Helper()
	account, err := h.store.SignUp(h.t.Context(), store.SignUp{Email: email, Name: name, PasswordHash: "a hash"})
	require.NoError(h.t, err)
	return account
}

func (h *house) status(id db.InvitationID) string {
	h.t.Helper()
	return line(h.t, h.pool, "SELECT status FROM invitations WHERE id = $1", id)
}

// requireSound: what both wrote breaks no rule of the house.
func (h *house) requireSound() {
	h.t.Helper()
	broken, err := h.store.CheckInvariants(h.t.Context())
	require.NoError(h.t, err)
	require.Empty(h.t, broken)
}

func TestAccountsOfTheOther(t *testing.T) {
	t.Parallel()
	needNode(t)
	h := newHouse(t, storetest.URL(t))
	ctx := t.Context()

	// The app's account is the Store's.
	ada := h.signUp("Ada@Example.com")
	credentials, err := h.store.Credentials(ctx, "ada@example.com")
	require.NoError(t, err)
	require.Equal(t, store.Credentials{UserID: ada.User.ID, PasswordHash: "hash of Ada@Example.com"}, credentials)
	_, err = h.store.SignUp(ctx, store.SignUp{Email: "ADA@example.com", PasswordHash: "x"})
	require.ErrorIs(t, err, store.ErrEmailTaken)
	actor := store.Actor{UserID: ada.User.ID}
	require.NoError(t, h.store.UpdatePassword(ctx, store.UpdatePassword{Actor: actor, PasswordHash: "new", Expected: credentials.PasswordHash}))
	require.Equal(t, "new", h.signIn("Ada@Example.com").User.PasswordHash)
	membership, err := h.store.Membership(ctx, ada.Member.TeamID, ada.User.ID)
	require.NoError(t, err)
	require.Equal(t, ada.Member.ID, membership.ID)

	// The Store's account is the app's, which looks for an e-mail as it is typed.
	zoe := h.storeSignUp("Zoe@Example.com", "Zoë")
	require.Nil(t, h.signIn("Zoe@Example.com"))
	account := h.signIn("zoe@example.com")
	require.Equal(t, zoe.User.ID, account.User.ID)
	require.Equal(t, "a hash", account.User.PasswordHash)
	require.Equal(t, zoe.Team.ID, account.Team.ID)
	require.Equal(t, new("Zoë"), h.user(zoe.User.ID).Name)
	require.Equal(t, "Error: the e-mail has an account", h.refuse("signUp", args{"email": "zoe@example.com", "passwordHash": "x"}).Error)

	// What the app's look did not find, the index does.
	refused := h.refuse("signUp", args{"email": "ZOE@example.com", "passwordHash": "x"})
	require.Equal(t, string(db.UsersLowerEmailUnique), refused.Constraint)
	require.Equal(t, "2", line(t, h.pool, "SELECT count(*)::text FROM users"))
	h.requireSound()
}

func TestDeletedAccountsOfTheOther(t *testing.T) {
	t.Parallel()
	needNode(t)
	h := newHouse(t, storetest.URL(t))
	ctx := t.Context()
	owner := h.signUp("owner@example.com")

	// The app deletes; the Store finds nobody, and the e-mail is free, on both sides.
	gone := h.join(h.invite(owner.User.ID, "gone@example.com"))
	h.call("deleteAccount", args{"userId": gone.User.ID}, nil)
	rewritten := fmt.Sprintf("gone@example.com-%d-deleted", gone.User.ID)
	_, err := h.store.User(ctx, gone.User.ID)
	require.ErrorIs(t, err, store.ErrNotFound)
	h.insert("users", args{"email": "kept@example.com", "passwordHash": "x", "deletedAt": "2024-01-01T00:00:00.000Z"})
	for _, email := range []string{"gone@example.com", rewritten, "kept@example.com"} {
		_, err = h.store.UserByEmail(ctx, email)
		require.ErrorIs(t, err, store.ErrNotFound)
		_, err = h.store.Credentials(ctx, email)
		require.ErrorIs(t, err, store.ErrNotFound)
	}
	team, err := h.store.TeamWithMembers(ctx, owner.Member.TeamID)
	require.NoError(t, err)
	require.Len(t, team.TeamMembers, 1)
	again := h.storeSignUp("gone@example.com", "")
	require.NotEqual(t, gone.User.ID, again.User.ID)

	// The Store deletes, in the same way.
	require.NoError(t, h.store.DeleteAccount(ctx, store.Actor{UserID: again.User.ID}))
	require.Nil(t, h.user(again.User.ID))
	require.Nil(t, h.signIn("gone@example.com"))
	require.Equal(t, fmt.Sprintf("gone@example.com-%d-deleted", again.User.ID), line(t, h.pool, "SELECT email FROM users WHERE id = $1", again.User.ID))
	third := h.signUp("gone@example.com")
	h.requireSameAnswers(third.User.ID, 1)
	h.call("deleteAccount", args{"userId": third.User.ID}, nil)
	h.requireSound()
}

func TestInvitationsOfTheOther(t *testing.T) {
	t.Parallel()
	needNode(t)
	h := newHouse(t, storetest.URL(t))
	ctx := t.Context()
	ada := h.signUp("ada@example.com")
	actor := store.Actor{UserID: ada.User.ID}

	// The app's have no token: the Store takes them by id and e-mail.
	zoe := h.storeSignUp("zoe@example.com", "")
	invitation := h.invite(ada.User.ID, "Zoe@example.com")
	member, joined, err := h.store.AcceptInvitation(ctx, store.AcceptInvitation{Actor: store.Actor{UserID: zoe.User.ID}, InvitationID: invitation.ID})
	require.NoError(t, err)
	require.True(t, joined)
	require.Equal(t, ada.Member.TeamID, member.TeamID)
	require.Equal(t, "accepted", h.status(invitation.ID))
	require.Contains(t, membersOf(h.team(ada.User.ID)), zoe.User.ID)

	invitation = h.invite(ada.User.ID, "new@example.com")
	_, _, err = h.store.InviteMember(ctx, store.InviteMember{Actor: actor, TeamID: ada.Member.TeamID, Email: "NEW@example.com", Role: db.RoleMember})
	require.ErrorIs(t, err, store.ErrAlreadyInvited)
	newcomer, err := h.store.SignUpWithInvitation(ctx, store.SignUpWithInvitation{InvitationID: invitation.ID, Email: "new@example.com", PasswordHash: "x"})
	require.NoError(t, err)
	require.Equal(t, ada.Member.TeamID, newcomer.Team.ID)
	require.Equal(t, ada.Member.TeamID, h.signIn("new@example.com").Team.ID)

	invitation = h.invite(ada.User.ID, "no@example.com")
	no := h.storeSignUp("no@example.com", "")
	require.NoError(t, h.store.DeclineInvitation(ctx, store.DeclineInvitation{Actor: store.Actor{UserID: no.User.ID}, InvitationID: invitation.ID}))
	require.Equal(t, "declined", h.status(invitation.ID))

	// The Store's have one, which the app does not ask for: it takes them by id and
	// e-mail, and from then on the token is of no use.
	invitation, token, err := h.store.InviteMember(ctx, store.InviteMember{Actor: actor, TeamID: ada.Member.TeamID, Email: "Alan@example.com", Role: db.RoleMember})
	require.NoError(t, err)
	pending := args{"userId": ada.User.ID, "email": "alan@example.com", "role": "member"}
	require.Equal(t, "Error: the e-mail is invited", h.refuse("inviteTeamMember", pending).Error)
	alan := h.join(invitation)
	require.Equal(t, ada.Member.TeamID, alan.Member.TeamID)
	require.Equal(t, "accepted", h.status(invitation.ID))
	_, _, err = h.store.AcceptInvitation(ctx, store.AcceptInvitation{Actor: store.Actor{UserID: alan.User.ID}, Token: token})
	require.ErrorIs(t, err, store.ErrInvitationNotPending)

	// In the app any member may invite. What a plain member sent, the Store does not take.
	invitation = h.invite(newcomer.User.ID, "bob@example.com")
	bob := store.SignUpWithInvitation{InvitationID: invitation.ID, Email: "bob@example.com", PasswordHash: "x"}
	_, err = h.store.SignUpWithInvitation(ctx, bob)
	require.ErrorIs(t, err, store.ErrInvitationNotPending)
	require.Equal(t, ada.Member.TeamID, h.join(invitation).Member.TeamID)

	// Another case passes the app's look, and not the index.
	h.invite(ada.User.ID, "eve@example.com")
	refused := h.refuse("inviteTeamMember", args{"userId": ada.User.ID, "email": "Eve@example.com", "role": "owner"})
	require.Equal(t, string(db.InvitationsPendingUnique), refused.Constraint)

	// Who is removed on one side is gone on the other.
	h.call("removeTeamMember", args{"userId": ada.User.ID, "memberId": alan.Member.ID}, nil)
	_, err = h.store.Membership(ctx, ada.Member.TeamID, alan.User.ID)
	require.ErrorIs(t, err, store.ErrNotFound)
	require.NoError(t, h.store.RemoveMember(ctx, store.RemoveMember{Actor: actor, TeamID: ada.Member.TeamID, MemberID: newcomer.TeamMember.ID}))
	require.NotContains(t, membersOf(h.team(ada.User.ID)), newcomer.User.ID)
	h.requireSameAnswers(ada.User.ID, 3)
	h.requireSound()
}

func TestSubscriptionsOfTheOther(t *testing.T) {
	t.Parallel()
	needNode(t)
	h := newHouse(t, storetest.URL(t))
	ctx := t.Context()
	ada := h.signUp("ada@example.com")
	teamID := ada.Member.TeamID

	// The app's checkout links the customer; the Store takes Stripe's events; the app
	// shows what came of them.
	h.call("linkCustomer", args{"teamId": teamID, "customerId": "cus_1"}, nil)
	outcome, _, err := h.store.ApplySubscription(ctx, store.ApplySubscription{
		EventID: "evt_1", EventType: "customer.subscription.created", Created: time.Now(),
		Subscription: store.StripeSubscription{ID: "sub_1", CustomerID: "cus_1", Status: db.SubscriptionTrialing, ProductID: "prod_1", PlanName: "Plus", Created: time.Now()},
	})
	require.NoError(t, err)
	require.Equal(t, store.SubscriptionApplied, outcome)
	require.Equal(t, new(db.SubscriptionTrialing), h.team(ada.User.ID).SubscriptionStatus)
	h.requireSameAnswers(ada.User.ID, 1)
	h.requireSound()

	// What the app's own webhook writes is in the team's row alone, where the next event
	// that the Store takes writes over it.
	h.call("updateTeamSubscription", args{"teamId": teamID, "stripeSubscriptionId": "sub_1", "stripeProductId": "prod_2", "planName": "Base", "subscriptionStatus": "active"}, nil)
	h.requireSameAnswers(ada.User.ID, 1)
	subscriptions, err := h.store.Subscriptions(ctx, teamID)
	require.NoError(t, err)
	require.Len(t, subscriptions, 1)
	require.Equal(t, db.SubscriptionTrialing, subscriptions[0].Status)
}
