package conformance_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// requireSameJSON compares what the app's route answers with the JSON of what the Store
// returned, field by field.
func requireSameJSON(t *testing.T, theirs json.RawMessage, ours any) {
	t.Helper()
	text, err := json.Marshal(ours)
	require.NoError(t, err)
	require.Equal(t, decode(t, theirs, nil), decode(t, text, toMilliseconds))
}

// toMilliseconds makes of a time of ours what JavaScript's Date makes of it.
func toMilliseconds(t *testing.T, text string) string {
	t.Helper()
	moment, err := time.Parse(time.RFC3339Nano, text)
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(text, "Z"), "%s is not in UTC", text)
	return moment.Truncate(time.Millisecond).Format("2006-01-02T15:04:05.000Z")
}

// decode is a JSON text as a value, its times converted. The app's query asks for no order
// of a team's members.
func decode(t *testing.T, text json.RawMessage, convert func(*testing.T, string) string) any {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var v any
	require.NoError(t, decoder.Decode(&v))
	return walk(t, v, convert)
}

func walk(t *testing.T, v any, convert func(*testing.T, string) string) any {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			v[key] = walk(t, value, convert)
			switch key {
			case "createdAt", "updatedAt", "deletedAt", "joinedAt", "timestamp":
				if text, ok := value.(string); ok && convert != nil {
					v[key] = convert(t, text)
				}
			case "teamMembers":
				slices.SortFunc(value.([]any), func(a, b any) int {
					return cmp.Compare(fmt.Sprint(a.(map[string]any)["id"]), fmt.Sprint(b.(map[string]any)["id"]))
				})
			}
		}
	case []any:
		for i, element := range v {
			v[i] = walk(t, element, convert)
		}
	}
	return v
}

// requireSameAnswers compares, for a user, every answer that both sides have.
func (h *house) requireSameAnswers(id db.UserID, members int) {
	h.t.Helper()
	ctx := h.t.Context()
	theirs, refused := h.answer("getTeamForUser", args{"userId": id})
	require.Nil(h.t, refused)
	team, err := h.store.TeamForUser(ctx, id)
	require.NoError(h.t, err)
	require.Len(h.t, team.TeamMembers, members)
	requireSameJSON(h.t, theirs, team)

	var withHash map[string]json.RawMessage
	h.call("getUser", args{"userId": id}, &withHash)
	require.Contains(h.t, withHash, "passwordHash", "the app's route shows it; ours must not")
	delete(withHash, "passwordHash")
	theirs, err = json.Marshal(withHash)
	require.NoError(h.t, err)
	user, err := h.store.User(ctx, id)
	require.NoError(h.t, err)
	requireSameJSON(h.t, theirs, user)

	// Of a log row ours has the team and the user as well. What one operation of the Store
	// logs has one time, and those rows the app reads in any order.
	theirs, refused = h.answer("getActivityLogs", args{"userId": id})
	require.Nil(h.t, refused)
	feed, _, err := h.store.UserActivity(ctx, id, store.ActivityPage{})
	require.NoError(h.t, err)
	require.NotEmpty(h.t, feed)
	text, err := json.Marshal(feed)
	require.NoError(h.t, err)
	var entries []map[string]any
	require.NoError(h.t, json.Unmarshal(text, &entries))
	for _, entry := range entries {
		require.EqualValues(h.t, id, entry["userId"])
		require.Contains(h.t, entry, "teamId")
		delete(entry, "userId")
		delete(entry, "teamId")
	}
	requireSameJSON(h.t, byTimeAndID(h.t, theirs), entries)

	if team.StripeCustomerID != nil {
		theirs, refused = h.answer("getTeamByStripeCustomerId", args{"customerId": team.StripeCustomerID})
		require.Nil(h.t, refused)
		paying, err := h.store.TeamByStripeCustomerID(ctx, *team.StripeCustomerID)
		require.NoError(h.t, err)
		requireSameJSON(h.t, theirs, paying)
	}
}

// byTimeAndID puts a log that is ordered by time, newest first, in the order of its ids
// where times are the same.
func byTimeAndID(t *testing.T, text json.RawMessage) json.RawMessage {
	t.Helper()
	var entries []map[string]any
	require.NoError(t, json.Unmarshal(text, &entries))
	byTime := func(a, b map[string]any) int { return cmp.Compare(b["timestamp"].(string), a["timestamp"].(string)) }
	require.True(t, slices.IsSortedFunc(entries, byTime), "%s", text)
	slices.SortFunc(entries, func(a, b map[string]any) int {
		return cmp.Or(byTime(a, b), cmp.Compare(b["id"].(float64), a["id"].(float64)))
	})
	text, err := json.Marshal(entries)
	require.NoError(t, err)
	return text
}

func TestJSONOfDrizzlesRows(t *testing.T) {
	t.Parallel()
	needNode(t)
	h := newHouse(t, storetest.URL(t))
	ada := h.signUp("Ada@Example.com")
	h.requireSameAnswers(ada.User.ID, 1)

	h.join(h.invite(ada.User.ID, "Zoë@example.com"))
	h.call("updateAccount", args{"userId": ada.User.ID, "name": "\"Ada\" <&> \u2028 𝒜\\\t🏡", "email": "ada@example.com"}, nil)
	h.call("linkCustomer", args{"teamId": ada.Member.TeamID, "customerId": "cus_1"}, nil)
	h.call("updateTeamSubscription", args{"teamId": ada.Member.TeamID, "stripeSubscriptionId": "sub_1", "stripeProductId": "prod_1",
		"planName": "Plus", "subscriptionStatus": "a status of ours"}, nil)
	h.requireSameAnswers(ada.User.ID, 2)

	// What no route of the app writes, at the ends of what the types hold.
	users := h.insert("users",
		args{"email": "first@example.com", "passwordHash": "x", "name": "", "role": "a role of ours", "createdAt": "1970-01-01T00:00:00.000Z", "updatedAt": "9999-12-31T23:59:59.999Z"},
		args{"email": "second@example.com", "passwordHash": "x"})
	team := h.insert("teams", args{"name": strings.Repeat("é", 100), "stripeProductId": "", "planName": "", "subscriptionStatus": "",
		"createdAt": "2024-02-29T23:59:59.001Z", "updatedAt": "2026-03-08T02:30:00.000Z"})[0]
	h.insert("teamMembers",
		args{"userId": users[0], "teamId": team, "role": "", "joinedAt": "2001-09-09T01:46:40.100Z"},
		args{"userId": users[1], "teamId": team, "role": "member"})
	h.insert("activityLogs",
		args{"teamId": team, "userId": users[0], "action": "AN_ACTION_OF_OURS", "ipAddress": nil, "timestamp": "2024-02-29T23:59:59.999Z"},
		args{"teamId": team, "userId": users[1], "action": "SIGN_UP", "ipAddress": "::1"})
	h.requireSameAnswers(db.UserID(users[0]), 2)
	h.requireSameAnswers(db.UserID(users[1]), 2)
}

func TestJSONOfTheStoresRows(t *testing.T) {
	t.Parallel()
	needNode(t)
	h := newHouse(t, storetest.URL(t))
	sinceNow := h.sinceNow()
	ada := h.storeSignUp("ada@example.com", "")
	h.requireSameAnswers(ada.User.ID, 1)

	zoe := h.storeSignUp("zoë@example.com", "Zoë \"<&>\" \u2029 🏡")
	actor := store.Actor{UserID: ada.User.ID}
	_, token, err := h.store.InviteMember(t.Context(), store.InviteMember{Actor: actor, TeamID: ada.Team.ID, Email: zoe.User.Email, Role: db.RoleOwner})
	require.NoError(t, err)
	_, _, err = h.store.AcceptInvitation(t.Context(), store.AcceptInvitation{Actor: store.Actor{UserID: zoe.User.ID}, Token: token})
	require.NoError(t, err)
	require.NoError(t, h.store.RenameTeam(t.Context(), store.RenameTeam{Actor: actor, TeamID: ada.Team.ID, Name: "Analytical \\ Engines"}))
	require.NoError(t, h.store.SetSeatLimit(t.Context(), store.SetSeatLimit{TeamID: ada.Team.ID, Limit: new(5)}))
	require.NoError(t, h.store.LinkStripeCustomer(t.Context(), store.LinkStripeCustomer{TeamID: ada.Team.ID, CustomerID: "cus_1"}))
	require.NoError(t, h.store.UpdateSubscription(t.Context(), store.UpdateSubscription{
		TeamID: ada.Team.ID, SubscriptionID: "sub_1", ProductID: "prod_1", PlanName: "Plus", Status: db.SubscriptionTrialing,
	}))
	h.requireSameAnswers(ada.User.ID, 2)

	// Both may read one wrong time.
	user, team := h.user(ada.User.ID), h.team(ada.User.ID)
	sinceNow(user.CreatedAt, user.UpdatedAt, team.CreatedAt, team.UpdatedAt, team.TeamMembers[0].JoinedAt, team.TeamMembers[1].JoinedAt)
	feed := h.activity(ada.User.ID)
	require.NotEmpty(t, feed)
	for _, entry := range feed {
		sinceNow(entry.Timestamp)
	}
}

// TypeScript itself checks our JSON, with every field set and with none: an object of
// each type must have all of the type's keys, no other one, and values of its types.
func TestTypes(t *testing.T) {
	t.Parallel()
	needNode(t)
	output, err := run(t, "node_modules/typescript/bin/tsc", "-p", ".")
	require.NoError(t, err, output)

	const text, hash = "text", db.PasswordHash("hash")
	now := time.Now()
	user := db.User{Name: new(text), PasswordHash: hash, DeletedAt: &now}
	team := db.Team{StripeCustomerID: new(text), StripeSubscriptionID: new(text), StripeProductID: new(text), PlanName: new(text),
		SubscriptionStatus: new(db.SubscriptionActive), SeatLimit: new(int32(1)), DeletedAt: &now}
	log := db.ActivityLog{UserID: new(db.UserID(1)), IPAddress: new(text), Metadata: json.RawMessage("{}")}
	values := []struct {
		typ    string
		values []any
	}{
		{"Omit<User, 'passwordHash'>", []any{user, db.User{}}},
		{"Team", []any{team, db.Team{}}},
		{"TeamMember", []any{db.TeamMember{}}},
		{"ActivityLog", []any{log, db.ActivityLog{}}},
		{"Invitation", []any{db.Invitation{}, db.Invitation{TokenHash: []byte{1}, ExpiresAt: &now}}},
		{"TeamDataWithMembers", []any{
			store.TeamWithMembers{Team: team, TeamMembers: []store.Member{{User: store.MemberUser{Name: new(text)}}, {}}},
			store.TeamWithMembers{TeamMembers: []store.Member{}},
		}},
		{"Omit<NewUser, 'passwordHash'>", []any{db.NewUser{}, db.NewUser{ID: new(db.UserID(1)), Name: new(text), PasswordHash: hash,
			Role: new(db.RoleOwner), CreatedAt: &now, UpdatedAt: &now, DeletedAt: &now}}},
		{"NewTeam", []any{db.NewTeam{}, db.NewTeam{ID: new(db.TeamID(1)), CreatedAt: &now, UpdatedAt: &now, StripeCustomerID: new(text),
			StripeSubscriptionID: new(text), StripeProductID: new(text), PlanName: new(text), SubscriptionStatus: new(db.SubscriptionActive)}}},
		{"NewTeamMember", []any{db.NewTeamMember{}, db.NewTeamMember{ID: new(db.TeamMemberID(1)), JoinedAt: &now}}},
		{"NewActivityLog", []any{db.NewActivityLog{}, db.NewActivityLog{ID: new(db.ActivityLogID(1)), UserID: new(db.UserID(1)), Timestamp: &now, IPAddress: new(text)}}},
		{"NewInvitation", []any{db.NewInvitation{}, db.NewInvitation{ID: new(db.InvitationID(1)), InvitedAt: &now, Status: new(db.InvitationPending)}}},
		{"Record<`${ActivityType}`, true>", []any{map[db.ActivityType]bool{
			db.ActivitySignUp: true, db.ActivitySignIn: true, db.ActivitySignOut: true, db.ActivityUpdatePassword: true,
			db.ActivityDeleteAccount: true, db.ActivityUpdateAccount: true, db.ActivityCreateTeam: true,
			db.ActivityRemoveTeamMember: true, db.ActivityInviteTeamMember: true, db.ActivityAcceptInvitation: true,
		}}},
	}
	var program strings.Builder
	fmt.Fprintf(&program, `import type { ActivityType, ActivityLog, Invitation, NewActivityLog, NewInvitation, NewTeam, NewTeamMember, NewUser, Team, TeamDataWithMembers, TeamMember, User } from %s;
type JSON<T> = T extends Date ? string : T extends (infer E)[] ? JSON<E>[] : T extends object ? { [K in keyof T]: JSON<T[K]> } : T;
`, quotedPath(t, "schema"))
	count := 0
	for _, v := range values {
		for _, value := range v.values {
			text, err := json.Marshal(value)
			require.NoError(t, err)
			count++
			fmt.Fprintf(&program, "export const v%d: JSON<%s> = %s;\n", count, v.typ, text)
		}
	}
	// The compiler is asked for errors, too: where there is none it reports that.
	for _, wrong := range []string{
		`{"id":1,"userId":1,"teamId":1,"role":"owner"}`,
		`{"id":1,"userId":1,"teamId":1,"role":"owner","joinedAt":null}`,
		`{"id":"1","userId":1,"teamId":1,"role":"owner","joinedAt":"2024-01-01T00:00:00Z"}`,
		`{"id":1,"userId":1,"teamId":1,"role":"owner","joinedAt":"2024-01-01T00:00:00Z","more":1}`,
	} {
		count++
		fmt.Fprintf(&program, "// @ts-expect-error\nexport const v%d: JSON<TeamMember> = %s;\n", count, wrong)
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "values.ts"), []byte(program.String()), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tsconfig.json"),
		fmt.Appendf(nil, `{"extends": %s, "include": ["values.ts"]}`, quotedPath(t, "tsconfig.json")), 0o600))
	output, err = run(t, "node_modules/typescript/bin/tsc", "-p", dir)
	require.NoError(t, err, "%s\n%s", output, &program)
}
