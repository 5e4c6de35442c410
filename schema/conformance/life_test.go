package conformance_test

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// signedUp is what the app answers to a sign-up. Our types read its JSON.
type signedUp struct {
	User   db.User
	Member db.TeamMember
}

func (h *house) signUp(email string) signedUp {
	h.t.Helper()
	var account signedUp
	h.call("signUp", args{"email": email, "passwordHash": "hash of " + email, "ipAddress": "203.0.113.7"}, &account)
	return account
}

func (h *house) invite(userID db.UserID, email string) db.Invitation {
	h.t.Helper()
	var invitation db.Invitation
	h.call("inviteTeamMember", args{"userId": userID, "email": email, "role": "member"}, &invitation)
	return invitation
}

func (h *house) join(invitation db.Invitation) signedUp {
	h.t.Helper()
	var account signedUp
	h.call("signUp", args{"email": invitation.Email, "passwordHash": "hash", "inviteId": invitation.ID}, &account)
	return account
}

func (h *house) team(userID db.UserID) (team *store.TeamWithMembers) {
	h.t.Helper()
	h.call("getTeamForUser", args{"userId": userID}, &team)
	return team
}

// user is the user of a session, nil when the app finds none.
func (h *house) user(userID db.UserID) (user *db.User) {
	h.t.Helper()
	h.call("getUser", args{"userId": userID}, &user)
	return user
}

// found is what the app's sign-in reads before it compares the password.
type found struct {
	User struct {
		ID           db.UserID
		PasswordHash string
	}
	Team *db.Team
}

func (h *house) signIn(email string) (account *found) {
	h.t.Helper()
	h.call("signIn", args{"email": email}, &account)
	return account
}

func (h *house) activity(userID db.UserID) (feed []store.Activity) {
	h.t.Helper()
	h.call("getActivityLogs", args{"userId": userID}, &feed)
	return feed
}

// sinceNow returns what requires of times that they are from now on, and not from the
// future: by the server's clock, in UTC, to the millisecond.
func (h *house) sinceNow() func(moments ...time.Time) {
	h.t.Helper()
	clock := func() (now time.Time) {
		require.NoError(h.t, h.pool.QueryRow(h.t.Context(), "SELECT clock_timestamp()").Scan(&now))
		return now.Truncate(time.Millisecond)
	}
	begun := clock()
	return func(moments ...time.Time) {
		h.t.Helper()
		ended := clock()
		for _, moment := range moments {
			moment = moment.Truncate(time.Millisecond)
			require.False(h.t, moment.Before(begun) || moment.After(ended), "%s is not from %s to %s", moment, begun, ended)
		}
	}
}

// requireTheAppWorks lives the life of a team by the app alone: every query that it has.
func (h *house) requireTheAppWorks(domain string) {
	h.t.Helper()
	t := h.t
	mail := func(name string) string { return name + "@" + domain }
	sinceNow := h.sinceNow()

	ada := h.signUp(mail("Ada"))
	require.Equal(t, mail("Ada"), ada.User.Email, "as it was typed")
	require.Equal(t, db.RoleOwner, ada.Member.Role)
	require.Equal(t, ada.User.ID, ada.Member.UserID)
	require.Nil(t, ada.User.Name)
	sinceNow(ada.User.CreatedAt, ada.User.UpdatedAt, ada.Member.JoinedAt)
	require.Equal(t, "Error: the e-mail has an account", h.refuse("signUp", args{"email": mail("Ada"), "passwordHash": "x"}).Error)

	alansInvitation := h.invite(ada.User.ID, mail("alan"))
	require.Equal(t, db.Invitation{ID: alansInvitation.ID, TeamID: ada.Member.TeamID, Email: mail("alan"), Role: db.RoleMember,
		InvitedBy: ada.User.ID, InvitedAt: alansInvitation.InvitedAt, Status: db.InvitationPending}, alansInvitation)
	sinceNow(alansInvitation.InvitedAt)
	again := args{"userId": ada.User.ID, "email": mail("alan"), "role": "owner"}
	require.Equal(t, "Error: the e-mail is invited", h.refuse("inviteTeamMember", again).Error)
	alan := h.join(alansInvitation)
	require.Equal(t, ada.Member.TeamID, alan.Member.TeamID)
	require.Equal(t, db.RoleMember, alan.Member.Role)
	require.Equal(t, "accepted", line(t, h.pool, "SELECT status FROM invitations WHERE id = $1", alansInvitation.ID))
	require.Equal(t, "Error: the e-mail is a member", h.refuse("inviteTeamMember", again).Error)

	// An invitation that is used up. The app has the account by then, without a team.
	used := args{"email": mail("lost"), "passwordHash": "x", "inviteId": alansInvitation.ID}
	require.Equal(t, "Error: the invitation is not valid", h.refuse("signUp", used).Error)
	lost := h.signIn(mail("lost"))
	require.NotNil(t, lost)
	require.Nil(t, lost.Team)
	require.Nil(t, h.team(lost.User.ID))

	h.call("updateAccount", args{"userId": ada.User.ID, "name": "Ada 🏡 Lovelace", "email": mail("ada.lovelace")}, nil)
	h.call("updatePassword", args{"userId": ada.User.ID, "passwordHash": "another hash"}, nil)
	require.Nil(t, h.signIn(mail("Ada")))
	account := h.signIn(mail("ada.lovelace"))
	require.Equal(t, ada.User.ID, account.User.ID)
	require.Equal(t, "another hash", account.User.PasswordHash)
	require.Equal(t, ada.Member.TeamID, account.Team.ID)
	h.call("signOut", args{"userId": ada.User.ID}, nil)

	customer := args{"teamId": ada.Member.TeamID, "customerId": "cus_" + domain}
	h.call("linkCustomer", customer, nil)
	h.call("updateTeamSubscription", args{"teamId": ada.Member.TeamID, "stripeSubscriptionId": "sub_" + domain,
		"stripeProductId": "prod_1", "planName": "Plus", "subscriptionStatus": "active"}, nil)
	var paying db.Team
	h.call("getTeamByStripeCustomerId", customer, &paying)
	require.Equal(t, ada.Member.TeamID, paying.ID)
	require.Equal(t, mail("Ada")+"'s Team", paying.Name)
	require.Equal(t, new("Plus"), paying.PlanName)
	require.Equal(t, new(db.SubscriptionActive), paying.SubscriptionStatus)

	mary := h.join(h.invite(ada.User.ID, mail("mary")))
	require.Equal(t, map[db.UserID]store.MemberUser{
		ada.User.ID:  {ID: ada.User.ID, Name: new("Ada 🏡 Lovelace"), Email: mail("ada.lovelace")},
		alan.User.ID: {ID: alan.User.ID, Email: mail("alan")},
		mary.User.ID: {ID: mary.User.ID, Email: mail("mary")},
	}, membersOf(h.team(ada.User.ID)))

	h.call("deleteAccount", args{"userId": mary.User.ID}, nil)
	require.Nil(t, h.user(mary.User.ID))
	require.Equal(t, fmt.Sprintf("%s-%d-deleted", mail("mary"), mary.User.ID), line(t, h.pool, "SELECT email FROM users WHERE id = $1", mary.User.ID))
	var deletedAt time.Time
	require.NoError(t, h.pool.QueryRow(t.Context(), "SELECT deleted_at FROM users WHERE id = $1", mary.User.ID).Scan(&deletedAt))
	sinceNow(deletedAt)
	require.NotEqual(t, ada.Member.TeamID, h.signUp(mail("mary")).Member.TeamID, "she signs up again, with a team of her own")

	h.call("removeTeamMember", args{"userId": ada.User.ID, "memberId": alan.Member.ID}, nil)
	require.Equal(t, map[db.UserID]store.MemberUser{
		ada.User.ID: {ID: ada.User.ID, Name: new("Ada 🏡 Lovelace"), Email: mail("ada.lovelace")},
	}, membersOf(h.team(ada.User.ID)))
	require.Nil(t, h.team(alan.User.ID))

	// What is the eleventh by now is not shown. The app logs beside what it does, not
	// after it, but each action after the one before.
	h.call("signOut", args{"userId": ada.User.ID}, nil)
	h.call("signOut", args{"userId": ada.User.ID}, nil)
	feed := h.activity(ada.User.ID)
	var actions []db.ActivityType
	for _, entry := range feed {
		actions = append(actions, entry.Action)
		require.Equal(t, new("Ada 🏡 Lovelace"), entry.UserName)
		sinceNow(entry.Timestamp)
	}
	require.Equal(t, []db.ActivityType{
		db.ActivitySignOut, db.ActivitySignOut, db.ActivityRemoveTeamMember, db.ActivityInviteTeamMember, db.ActivitySignOut,
		db.ActivitySignIn, db.ActivityUpdatePassword, db.ActivityUpdateAccount, db.ActivityInviteTeamMember, db.ActivitySignUp,
	}, actions)
	require.Equal(t, new("203.0.113.7"), feed[9].IPAddress)
	require.Equal(t, new(""), feed[0].IPAddress)
}

func membersOf(team *store.TeamWithMembers) map[db.UserID]store.MemberUser {
	members := make(map[db.UserID]store.MemberUser)
	for _, m := range team.TeamMembers {
		members[m.UserID] = m.User
	}
	return members
}

// insertEveryKindOfRow fills, of each table, every column in one row, and in another
// one what must not be NULL alone. It may be called again.
func (h *house) insertEveryKindOfRow() {
	h.t.Helper()
	nonce := line(h.t, h.pool, "SELECT gen_random_uuid()::text")
	moment := func(n int) string {
		return time.Date(2024, 2, 29, 23, 59, 59, 999_000_000, time.UTC).AddDate(0, 0, n).Format("2006-01-02T15:04:05.000Z")
	}
	user := args{"email": "A." + nonce + "@Exämple.com", "passwordHash": "$2b$10$a"}
	users := h.insert("users", user.with(args{"name": "N\"'\\ 'ü", "role": "owner",
		"createdAt": "1970-01-01T00:00:00.000Z", "updatedAt": moment(1), "deletedAt": moment(2)}))
	users = append(users, h.insert("users", user.with(args{"email": nonce}))...)
	// A deleted user's e-mail may be that of a live one in another case.
	h.insert("users", user.with(args{"email": "a." + nonce + "@exämple.com", "name": ""}))

	teams := h.insert("teams", args{"name": "Tëam", "createdAt": moment(3), "updatedAt": moment(4), "stripeCustomerId": "cus" + nonce,
		"stripeSubscriptionId": "sub" + nonce, "stripeProductId": "prod", "planName": "Base", "subscriptionStatus": "a text of ours"})
	teams = append(teams, h.insert("teams", args{"name": ""})...)

	member := args{"userId": users[0], "teamId": teams[0], "role": "owner", "joinedAt": moment(5)}
	h.insert("teamMembers", member, member.with(args{"teamId": teams[1], "role": "a role of ours"}))
	h.insert("teamMembers", args{"userId": users[1], "teamId": teams[0], "role": "member"})

	h.insert("activityLogs", args{"teamId": teams[0], "userId": users[0], "action": "SIGN_UP", "timestamp": moment(6), "ipAddress": "2001:db8:ffff:ffff:ffff:ffff:255.255.255.255"})
	h.insert("activityLogs", args{"teamId": teams[0], "action": "AN_ACTION_OF_OURS"})

	invitation := args{"teamId": teams[0], "email": "Zoë." + nonce + "@example.com", "role": "member", "invitedBy": users[0]}
	used := invitation.with(args{"invitedAt": moment(7), "status": "accepted"})
	h.insert("invitations", used, used)
	h.insert("invitations", invitation)
}
