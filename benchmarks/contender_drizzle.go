package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rowhouse/rowhouse/store"
)

// withDrizzle is what the TypeScript starter does, by its own libraries, in a node of its
// own: drizzle/queries.mjs has its queries.
var withDrizzle = contender{
	name: "Drizzle",
	what: "the TypeScript starter's own queries: Drizzle on postgres.js, in node, which is one thread",
	differs: "nothing is atomic: sign-up is 6 autocommit statements, invite 5, accept 4, remove 3, an event 2, and their checks look first; " +
		"accept is what its sign-up does with an invitation; it keeps few of the Store's rules",
	omissions: []omission{
		{table: "invitations", drop: columns("token_hash", "expires_at"), why: "an invitation has no secret and no end"},
		{kind: invite, drop: columns("TokenLength", "ExpiresAt"), why: "an invitation comes without its secret and its end"},
		{table: "activity_logs", drop: columns("metadata"), why: "a log row does not say what was acted on"},
		{table: "activity_logs", drop: func(row map[string]any) bool { return row["action"] == "UPDATE_SUBSCRIPTION" }, why: "a change of a subscription is not logged"},
		{table: "subscriptions", drop: wholly, why: "a subscription has no row, only its team's columns"},
		{table: "subscription_events", drop: wholly, why: "it is not kept which events were applied"},
		{kind: teamWithMembers, drop: inNoOrder, mayHide: true, why: "a team's members come in no order"},
		{kind: teamWithMembers, drop: whoIsDeleted, why: "a deleted user who was left in a team is shown there"},
		{kind: activityPage, drop: func(page map[string]any) bool {
			rows, _ := page["Rows"].([]any)
			for _, row := range rows {
				columns("TeamID", "UserID", "Metadata")(row.(map[string]any))
			}
			return columns("More")(page)
		}, why: "a page has neither its rows' team, user and metadata, nor whether there is more"},
	},
	departures: []departure{
		{"an e-mail in another case", "is another e-mail"},
		{"a deleted user's credentials", "are found by an e-mail that was left as it was"},
		{"a deleted team", "is shown"},
		{"sign-up trims and lowers", "keeps the e-mail as it was typed"},
		{"sign-up with a team name that is cut", "fails, and leaves a user without a team"},
		{"sign-up with no e-mail", "is taken"},
		{"invite whose invitation is over", "is refused"},
		{"invite whom an owner of before invited", "is refused"},
		{"invite by a member", "is taken"},
		{"invite by another team's owner", "invites to the owner's own team"},
		{"invite a member", "whose e-mail is typed in another case, is taken"},
		{"accept an invitation that is full", "exceeds the seats"},
		{"accept an invitation that is over", "is taken"},
		{"accept an invitation that is inviter", "is taken, from who is no owner any more"},
		{"accept by a deleted user", "is taken"},
		{"accept by who is in the team", "fails, and leaves an accepted invitation"},
		{"remove by a member", "is taken"},
		{"remove another team's member", "removes nobody, and logs that it did"},
		{"remove the last owner", "is taken"},
		{"remove one of two owners", "by who is in two teams, removes nobody, and logs that it did"},
		{"log in a deleted team", "is taken"},
		{"the same event", "is applied again"},
		{"an older event", "is applied"},
		{"a better event of that second", "comes after the older one's status"},
		{"an event that changes nothing in the team", "writes the team's row"},
		{"a second subscription, which is not as good", "replaces the first"},
		{"the end", "is that of the second subscription, which the team has, too"},
		{"after the end", "it begins again"},
	},
	outside: nodePackages,
	open: func(ctx context.Context, config *pgx.ConnConfig, conns int) (*session, error) {
		d, err := startDrizzle(ctx, config, conns)
		if err != nil {
			return nil, err
		}
		return &session{actions: d.actions(), noCursor: true, elsewhere: d.time, close: d.close}, nil
	},
}

// wholly drops a row.
func wholly(map[string]any) bool { return true }

// whoIsDeleted drops the deleted user of a team.
func whoIsDeleted(team map[string]any) bool {
	if members, ok := team["Members"].([]any); ok {
		team["Members"] = slices.DeleteFunc(members, func(m any) bool { return m.(map[string]any)["Email"] == deletedEmail })
	}
	return false
}

// inNoOrder puts a team's members in one.
func inNoOrder(team map[string]any) bool {
	if members, ok := team["Members"].([]any); ok {
		slices.SortFunc(members, func(a, b any) int { return strings.Compare(text(a), text(b)) })
	}
	return false
}

// drizzleQueries are the names in queries.mjs.
var drizzleQueries = map[kind]string{
	userByID: "userByID", credentials: "credentials", teamWithMembers: "teamWithMembers", activityPage: "activityPage",
	signUp: "signUp", invite: "invite", accept: "accept", remove: "remove", logRow: "logRow", subscriptionEvent: "subscriptionEvent",
}

// drizzleInput is a call's, by the names in queries.mjs.
func drizzleInput(k kind, in *input) map[string]any {
	switch k {
	case userByID:
		return map[string]any{"userId": in.userID}
	case credentials:
		return map[string]any{"email": in.email}
	case teamWithMembers:
		return map[string]any{"teamId": in.teamID}
	case activityPage:
		return map[string]any{"teamId": in.teamID, "limit": pageSize}
	case signUp:
		return map[string]any{"name": "Ada", "email": in.email, "passwordHash": in.hash, "ip": addressText}
	case invite:
		return map[string]any{"userId": in.userID, "email": in.email, "role": "member", "ip": addressText}
	case accept:
		return map[string]any{"userId": in.userID, "email": in.email, "invitationId": in.invitationID, "ip": addressText}
	case remove:
		return map[string]any{"userId": in.userID, "memberId": in.memberID, "ip": addressText}
	case logRow:
		row := &in.rows[0]
		return map[string]any{"teamId": row.TeamID, "userId": userOrNull(row), "action": row.Action, "ip": row.IP}
	default:
		return drizzleSubscription(&in.event)
	}
}

// drizzleSubscription is what the starter's webhook sets for an event: of a subscription
// that has ended nothing but its status.
func drizzleSubscription(e *store.ApplySubscription) map[string]any {
	row := subscriptionOf(e, 0)
	p := projectionOf(row)
	return map[string]any{
		"customerId": row.Customer, "stripeSubscriptionId": p.Subscription, "stripeProductId": p.Product, "planName": p.Plan, "subscriptionStatus": p.Status,
	}
}

func (d *drizzle) actions() (actions [kinds]action) {
	actions[userByID] = answered(d, userByID, func(u plainUser) any { return u.compared() })
	actions[credentials] = answered(d, credentials, func(c plainCredentials) any { return canonicalCredentials{c.ID, c.Hash} })
	actions[teamWithMembers] = answered(d, teamWithMembers, drizzleTeam.canonical)
	actions[activityPage] = answered(d, activityPage, func(rows []drizzleActivity) any {
		return canonicalPage{Rows: each(rows, func(a drizzleActivity) canonicalActivity {
			return canonicalActivity{ID: a.ID, Action: a.Action, Timestamp: when(a.Timestamp), IP: a.IPAddress, UserName: a.UserName}
		})}
	})
	actions[signUp] = answered(d, signUp, func(s drizzleSignUp) any {
		return canonicalSignUp{s.User.compared(), s.Team.compared(), s.Member.compared()}
	})
	actions[invite] = answered(d, invite, func(i plainInvitation) any {
		return canonicalInvitation{ID: i.ID, TeamID: i.TeamID, InvitedBy: i.InvitedBy, Email: i.Email, Role: i.Role, InvitedAt: when(i.InvitedAt), Status: i.Status}
	})
	actions[accept] = answered(d, accept, func(m plainMembership) any { return canonicalAccepted{m.compared(), true} })
	actions[remove] = answered(d, remove, func(any) any { return "done" })
	actions[logRow] = answered(d, logRow, func(any) any { return "done" })
	actions[subscriptionEvent] = answered(d, subscriptionEvent, func(t drizzleTeam) any { return canonicalOutcome{"applied", t.compared()} })
	return actions
}

// answered is act for node: R is what JSON of its answer is read into.
func answered[R any](d *drizzle, k kind, canonical func(R) any) action {
	return act(func(_ context.Context, in *input) (r R, err error) {
		return r, d.ask(map[string]any{"command": "answer", "query": drizzleQueries[k], "input": drizzleInput(k, in)}, &r)
	}, canonical)
}

type drizzleTeam struct {
	ID                   int64
	Name                 string
	CreatedAt, UpdatedAt time.Time
	StripeCustomerID     *string
	StripeSubscriptionID *string
	StripeProductID      *string
	PlanName             *string
	SubscriptionStatus   *string
	TeamMembers          []drizzleMember
}

type drizzleMember struct {
	plainMembership
	User struct {
		Name  *string
		Email string
	}
}

func (t drizzleTeam) compared() canonicalTeam {
	return canonicalTeam{t.ID, t.Name, when(t.CreatedAt), when(t.UpdatedAt), t.StripeCustomerID, t.StripeSubscriptionID,
		t.StripeProductID, t.PlanName, t.SubscriptionStatus, nil}
}

func (t drizzleTeam) canonical() any {
	return canonicalTeamWithMembers{t.compared(), each(t.TeamMembers, func(m drizzleMember) canonicalMember {
		return canonicalMember{m.ID, m.UserID, m.TeamID, m.Role, when(m.JoinedAt), m.User.Name, m.User.Email}
	})}
}

type drizzleSignUp struct {
	User   plainUser
	Team   drizzleTeam
	Member plainMembership
}

type drizzleActivity struct {
	ID        int64
	Action    string
	Timestamp time.Time
	IPAddress *string
	UserName  *string
}
