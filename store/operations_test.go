package store_test

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// operation is one of the Store's, as the tests of what all of them promise need it.
type operation struct {
	name   string
	writes []string // the tables that it changes; none for a read

	// prepare makes the rows that the operation needs, and returns it, on its happy path.
	prepare func(t testing.TB, st *store.Store) func(*store.Store) error
}

const (
	users        = "users"
	teams        = "teams"
	teamMembers  = "team_members"
	invitations  = "invitations"
	activityLogs = "activity_logs"

	subscriptions      = "subscriptions"
	subscriptionEvents = "subscription_events"
)

var tables = []string{users, teams, teamMembers, invitations, activityLogs, subscriptions, subscriptionEvents}

// operations has every operation of the Store: TestOperationsAreAllListed sees to that.
var operations = []operation{
	{"SignUp", []string{users, teams, teamMembers, activityLogs}, func(t testing.TB, _ *store.Store) func(*store.Store) error {
		p := store.SignUp{Email: newEmail(), PasswordHash: "hash", Name: "Ada", IP: anIP}
		return func(st *store.Store) error { _, err := st.SignUp(t.Context(), p); return err }
	}},
	{"SignUpWithInvitation", []string{users, teamMembers, invitations, activityLogs}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		inv, token := h.invite(newEmail(), db.RoleMember)
		p := store.SignUpWithInvitation{Token: token, Email: inv.Email, PasswordHash: "hash", Name: "Bo", IP: anIP}
		return func(st *store.Store) error { _, err := st.SignUpWithInvitation(t.Context(), p); return err }
	}},
	{"Credentials", nil, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		return func(st *store.Store) error { _, err := st.Credentials(t.Context(), h.owner.Email); return err }
	}},
	{"RecordSignIn", []string{activityLogs}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		return func(st *store.Store) error { return st.RecordSignIn(t.Context(), h.actor) }
	}},
	{"RecordSignOut", []string{activityLogs}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		return func(st *store.Store) error { return st.RecordSignOut(t.Context(), h.actor) }
	}},
	{"User", nil, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		return func(st *store.Store) error { _, err := st.User(t.Context(), h.owner.ID); return err }
	}},
	{"UserByEmail", nil, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		return func(st *store.Store) error { _, err := st.UserByEmail(t.Context(), h.owner.Email); return err }
	}},
	{"Users", nil, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		return func(st *store.Store) error { _, err := st.Users(t.Context(), []db.UserID{h.owner.ID}); return err }
	}},
	{"UpdateAccount", []string{users, activityLogs}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		p := store.UpdateAccount{Actor: h.actor, Name: new("Grace"), Email: new(newEmail())}
		return func(st *store.Store) error { _, err := st.UpdateAccount(t.Context(), p); return err }
	}},
	{"UpdatePassword", []string{users, activityLogs}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		p := store.UpdatePassword{Actor: h.actor, PasswordHash: "new", Expected: "hash"}
		return func(st *store.Store) error { return st.UpdatePassword(t.Context(), p) }
	}},
	{"DeleteAccount", []string{users, teamMembers, invitations, activityLogs}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		h.invite(newEmail(), db.RoleMember)
		return func(st *store.Store) error { return st.DeleteAccount(t.Context(), h.actor) }
	}},
	{"Team", nil, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		return func(st *store.Store) error { _, err := st.Team(t.Context(), h.team.ID); return err }
	}},
	{"Teams", nil, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		return func(st *store.Store) error { _, err := st.Teams(t.Context(), []db.TeamID{h.team.ID}); return err }
	}},
	{"TeamWithMembers", nil, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		h.join(db.RoleMember)
		return func(st *store.Store) error { _, err := st.TeamWithMembers(t.Context(), h.team.ID); return err }
	}},
	{"TeamForUser", nil, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		h.join(db.RoleMember)
		return func(st *store.Store) error { _, err := st.TeamForUser(t.Context(), h.owner.ID); return err }
	}},
	{"CreateTeam", []string{teams, teamMembers, activityLogs}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		p := store.CreateTeam{Actor: h.actor, Name: "Second"}
		return func(st *store.Store) error { _, _, err := st.CreateTeam(t.Context(), p); return err }
	}},
	{"Members", nil, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		return func(st *store.Store) error {
			_, _, err := st.Members(t.Context(), h.team.ID, store.Page{})
			return err
		}
	}},
	{"Memberships", nil, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		return func(st *store.Store) error {
			_, _, err := st.Memberships(t.Context(), h.owner.ID, store.Page{})
			return err
		}
	}},
	{"MembersOfTeams", nil, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		return func(st *store.Store) error {
			_, err := st.MembersOfTeams(t.Context(), []db.TeamID{h.team.ID}, 0)
			return err
		}
	}},
	{"MembershipsOfUsers", nil, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		return func(st *store.Store) error {
			_, err := st.MembershipsOfUsers(t.Context(), []db.UserID{h.owner.ID}, 0)
			return err
		}
	}},
	{"RemoveMember", []string{teamMembers, activityLogs}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		p := store.RemoveMember{Actor: h.actor, TeamID: h.team.ID, MemberID: h.join(db.RoleMember).TeamMember.ID}
		return func(st *store.Store) error { return st.RemoveMember(t.Context(), p) }
	}},
	{"InviteMember", []string{invitations, activityLogs}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		p := store.InviteMember{Actor: h.actor, TeamID: h.team.ID, Email: newEmail(), Role: db.RoleMember}
		return func(st *store.Store) error { _, _, err := st.InviteMember(t.Context(), p); return err }
	}},
	{"AcceptInvitation", []string{teamMembers, invitations, activityLogs}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h, guest := newHouse(t, st), newHouse(t, st)
		_, token := h.invite(guest.owner.Email, db.RoleMember)
		p := store.AcceptInvitation{Actor: guest.actor, Token: token}
		return func(st *store.Store) error { _, _, err := st.AcceptInvitation(t.Context(), p); return err }
	}},
	{"DeclineInvitation", []string{invitations, activityLogs}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h, guest := newHouse(t, st), newHouse(t, st)
		_, token := h.invite(guest.owner.Email, db.RoleMember)
		p := store.DeclineInvitation{Actor: guest.actor, Token: token}
		return func(st *store.Store) error { return st.DeclineInvitation(t.Context(), p) }
	}},
	{"CancelInvitation", []string{invitations, activityLogs}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		inv, _ := h.invite(newEmail(), db.RoleMember)
		p := store.CancelInvitation{Actor: h.actor, TeamID: h.team.ID, InvitationID: inv.ID}
		return func(st *store.Store) error { return st.CancelInvitation(t.Context(), p) }
	}},
	{"Invitations", nil, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		h.invite(newEmail(), db.RoleMember)
		return func(st *store.Store) error {
			_, _, err := st.Invitations(t.Context(), h.team.ID, store.Page{})
			return err
		}
	}},
	{"InvitationsSent", nil, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		h.invite(newEmail(), db.RoleMember)
		return func(st *store.Store) error {
			_, _, err := st.InvitationsSent(t.Context(), h.owner.ID, store.Page{})
			return err
		}
	}},
	{"InvitationsOfTeams", nil, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		return func(st *store.Store) error {
			_, err := st.InvitationsOfTeams(t.Context(), []db.TeamID{h.team.ID}, 0)
			return err
		}
	}},
	{"InvitationsSentByUsers", nil, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		return func(st *store.Store) error {
			_, err := st.InvitationsSentByUsers(t.Context(), []db.UserID{h.owner.ID}, 0)
			return err
		}
	}},
	{"RecordActivity", []string{activityLogs}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		p := store.RecordActivity{TeamID: h.team.ID, UserID: h.owner.ID, Action: "EXPORT", IP: anIP, Metadata: map[string]any{"rows": 7}}
		return func(st *store.Store) error { return st.RecordActivity(t.Context(), p) }
	}},
	{"TeamActivity", nil, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		return func(st *store.Store) error {
			_, _, err := st.TeamActivity(t.Context(), h.team.ID, store.ActivityPage{})
			return err
		}
	}},
	{"UserActivity", nil, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		return func(st *store.Store) error {
			_, _, err := st.UserActivity(t.Context(), h.owner.ID, store.ActivityPage{})
			return err
		}
	}},
	{"ActivityOfTeams", nil, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		return func(st *store.Store) error {
			_, err := st.ActivityOfTeams(t.Context(), []db.TeamID{h.team.ID}, 0)
			return err
		}
	}},
	{"TeamsForUser", nil, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		return func(st *store.Store) error {
			_, _, err := st.TeamsForUser(t.Context(), h.owner.ID, store.Page{})
			return err
		}
	}},
	{"Membership", nil, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		return func(st *store.Store) error {
			_, err := st.Membership(t.Context(), h.team.ID, h.owner.ID)
			return err
		}
	}},
	{"RenameTeam", []string{teams, activityLogs}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		p := store.RenameTeam{Actor: h.actor, TeamID: h.team.ID, Name: "Renamed"}
		return func(st *store.Store) error { return st.RenameTeam(t.Context(), p) }
	}},
	{"DeleteTeam", []string{teams, teamMembers, invitations, activityLogs}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		h.join(db.RoleMember)
		h.invite(newEmail(), db.RoleMember)
		p := store.DeleteTeam{Actor: h.actor, TeamID: h.team.ID}
		return func(st *store.Store) error { return st.DeleteTeam(t.Context(), p) }
	}},
	{"SetSeatLimit", []string{teams, activityLogs}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		p := store.SetSeatLimit{TeamID: h.team.ID, Limit: new(5)}
		return func(st *store.Store) error { return st.SetSeatLimit(t.Context(), p) }
	}},
	{"LeaveTeam", []string{teamMembers, activityLogs}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		p := store.LeaveTeam{Actor: store.Actor{UserID: h.join(db.RoleMember).User.ID}, TeamID: h.team.ID}
		return func(st *store.Store) error { return st.LeaveTeam(t.Context(), p) }
	}},
	{"ChangeRole", []string{teamMembers, activityLogs}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		p := store.ChangeRole{Actor: h.actor, TeamID: h.team.ID, MemberID: h.join(db.RoleMember).TeamMember.ID, Role: db.RoleOwner}
		return func(st *store.Store) error { return st.ChangeRole(t.Context(), p) }
	}},
	{"TransferOwnership", []string{teamMembers, activityLogs}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		p := store.TransferOwnership{Actor: h.actor, TeamID: h.team.ID, MemberID: h.join(db.RoleMember).TeamMember.ID}
		return func(st *store.Store) error { return st.TransferOwnership(t.Context(), p) }
	}},
	{"InviteMembers", []string{invitations, activityLogs}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		p := store.InviteMembers{Actor: h.actor, TeamID: h.team.ID, Invitees: []store.Invitee{{newEmail(), db.RoleMember}, {newEmail(), db.RoleOwner}}}
		return func(st *store.Store) error { _, err := st.InviteMembers(t.Context(), p); return err }
	}},
	{"ResendInvitation", []string{invitations, activityLogs}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		inv, _ := h.invite(newEmail(), db.RoleMember)
		p := store.ResendInvitation{Actor: h.actor, TeamID: h.team.ID, InvitationID: inv.ID}
		return func(st *store.Store) error { _, _, err := st.ResendInvitation(t.Context(), p); return err }
	}},
	{"InvitationByToken", nil, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		_, token := h.invite(newEmail(), db.RoleMember)
		return func(st *store.Store) error { _, err := st.InvitationByToken(t.Context(), token); return err }
	}},
	{"InvitationsForEmail", nil, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		inv, _ := h.invite(newEmail(), db.RoleMember)
		return func(st *store.Store) error {
			_, _, err := st.InvitationsForEmail(t.Context(), inv.Email, store.Page{})
			return err
		}
	}},
	{"RecordActivities", []string{activityLogs}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		p := []store.RecordActivity{{TeamID: h.team.ID, Action: "EXPORT"}, {TeamID: h.team.ID, UserID: h.owner.ID, Action: "IMPORT", IP: anIP, Metadata: map[string]any{"rows": 7}}}
		return func(st *store.Store) error { return st.RecordActivities(t.Context(), p) }
	}},
	{"PurgeActivity", []string{activityLogs}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		exec(t, st, `UPDATE activity_logs SET "timestamp" = '2001-01-01' WHERE team_id = $1`, h.team.ID)
		return func(st *store.Store) error {
			_, err := st.PurgeActivity(t.Context(), time.Date(2002, 1, 1, 0, 0, 0, 0, time.UTC), 0)
			return err
		}
	}},
	{"TeamByStripeCustomerID", nil, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		customer := h.linkCustomer()
		return func(st *store.Store) error {
			_, err := st.TeamByStripeCustomerID(t.Context(), customer)
			return err
		}
	}},
	{"LinkStripeCustomer", []string{teams, activityLogs}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		p := store.LinkStripeCustomer{Actor: h.actor, TeamID: h.team.ID, CustomerID: fmt.Sprintf("cus_%d", serial.Add(1))}
		return func(st *store.Store) error { return st.LinkStripeCustomer(t.Context(), p) }
	}},
	{"UpdateSubscription", []string{teams, activityLogs}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		h := newHouse(t, st)
		p := store.UpdateSubscription{TeamID: h.team.ID, SubscriptionID: fmt.Sprintf("sub_%d", serial.Add(1)),
			ProductID: "prod_1", PlanName: "Plus", Status: db.SubscriptionActive}
		return func(st *store.Store) error { return st.UpdateSubscription(t.Context(), p) }
	}},
	{"ApplySubscription", []string{teams, subscriptions, subscriptionEvents, activityLogs}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		e := newHouse(t, st).event(db.SubscriptionActive)
		return func(st *store.Store) error { _, _, err := st.ApplySubscription(t.Context(), e); return err }
	}},
	{"ReconcileSubscription", []string{teams, subscriptions, activityLogs}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		e := newHouse(t, st).event(db.SubscriptionActive)
		p := store.ReconcileSubscription{Fetched: e.Created, Subscription: e.Subscription}
		return func(st *store.Store) error { _, _, err := st.ReconcileSubscription(t.Context(), p); return err }
	}},
	{"Subscriptions", nil, func(t testing.TB, st *store.Store) func(*store.Store) error {
		team := newHouse(t, st).subscribed().ID
		return func(st *store.Store) error { _, err := st.Subscriptions(t.Context(), team); return err }
	}},
	{"HadTrial", nil, func(t testing.TB, st *store.Store) func(*store.Store) error {
		team := newHouse(t, st).subscribed().ID
		return func(st *store.Store) error { _, err := st.HadTrial(t.Context(), team); return err }
	}},
	{"Entitlement", nil, func(t testing.TB, st *store.Store) func(*store.Store) error {
		team := newHouse(t, st).subscribed().ID
		return func(st *store.Store) error { _, err := st.Entitlement(t.Context(), team, time.Now()); return err }
	}},
	{"PurgeSubscriptionEvents", []string{subscriptionEvents}, func(t testing.TB, st *store.Store) func(*store.Store) error {
		newHouse(t, st).subscribed()
		exec(t, st, "UPDATE subscription_events SET received_at = '2001-01-01' WHERE id NOT LIKE 'evt_filler%'")
		return func(st *store.Store) error {
			_, err := st.PurgeSubscriptionEvents(t.Context(), time.Date(2002, 1, 1, 0, 0, 0, 0, time.UTC), 0)
			return err
		}
	}},
}

// house is a team with its owner: what most tests start from.
type house struct {
	t     testing.TB
	st    *store.Store
	owner db.User
	actor store.Actor // the owner
	team  db.Team
	seat  db.TeamMember // the owner's
}

var (
	serial atomic.Int64
	anIP   = netip.MustParseAddr("203.0.113.7")
)

func newEmail() string { return fmt.Sprintf("user%d@example.com", serial.Add(1)) }

func newHouse(t testing.TB, st *store.Store) *house {
	t.Helper()
	su, err := st.SignUp(t.Context(), store.SignUp{Email: newEmail(), PasswordHash: "hash", Name: "Owner", IP: anIP})
	require.NoError(t, err)
	return &house{t, st, su.User, store.Actor{UserID: su.User.ID, IP: anIP}, su.Team, su.TeamMember}
}

func (h *house) invite(email string, role db.Role) (db.Invitation, store.Token) {
	h.t.Helper()
	inv, token, err := h.st.InviteMember(h.t.Context(), store.InviteMember{Actor: h.actor, TeamID: h.team.ID, Email: email, Role: role})
	require.NoError(h.t, err)
	return inv, token
}

// join signs up a new member.
func (h *house) join(role db.Role) store.SignedUp {
	h.t.Helper()
	inv, token := h.invite(newEmail(), role)
	su, err := h.st.SignUpWithInvitation(h.t.Context(), store.SignUpWithInvitation{Token: token, Email: inv.Email, PasswordHash: "hash"})
	require.NoError(h.t, err)
	return su
}

func (h *house) linkCustomer() string {
	h.t.Helper()
	customer := fmt.Sprintf("cus_%d", serial.Add(1))
	require.NoError(h.t, h.st.LinkStripeCustomer(h.t.Context(), store.LinkStripeCustomer{TeamID: h.team.ID, CustomerID: customer}))
	return customer
}

// event is a new one, of a new subscription of the team's new customer.
func (h *house) event(status db.SubscriptionStatus) store.ApplySubscription {
	n := serial.Add(1)
	return store.ApplySubscription{
		EventID: fmt.Sprintf("evt_%d", n), EventType: "customer.subscription.updated", Created: stripeEpoch,
		Subscription: store.StripeSubscription{ID: fmt.Sprintf("sub_%d", n), CustomerID: h.linkCustomer(), Status: status,
			ProductID: "prod_1", PriceID: "price_1", PlanName: "Plus", Quantity: 5, Created: stripeEpoch},
	}
}

var stripeEpoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// subscribed applies a first event, and returns the team.
func (h *house) subscribed() db.Team {
	h.t.Helper()
	outcome, team, err := h.st.ApplySubscription(h.t.Context(), h.event(db.SubscriptionActive))
	require.NoError(h.t, err)
	require.Equal(h.t, store.SubscriptionApplied, outcome)
	return team
}

// log is what the team's log says, oldest first, as "ACTION by USER metadata".
func (h *house) log() []string {
	h.t.Helper()
	return column[string](h.t, h.st, `SELECT action || ' by ' || coalesce(user_id::text, 'nobody') || coalesce(' ' || metadata::text, '')
		FROM activity_logs WHERE team_id = $1 ORDER BY "timestamp", id`, h.team.ID)
}

// column reads a one-column result.
func column[T any](t testing.TB, st *store.Store, sql string, args ...any) []T {
	t.Helper()
	rows, err := admin(st).Query(t.Context(), sql, args...)
	require.NoError(t, err)
	defer rows.Close()
	var values []T
	for rows.Next() {
		var v T
		require.NoError(t, rows.Scan(&v))
		values = append(values, v)
	}
	require.NoError(t, rows.Err())
	return values
}

func exec(t testing.TB, st *store.Store, sql string, args ...any) {
	t.Helper()
	_, err := admin(st).Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}

// snapshot is every row of every table, as text, under the table's name.
func snapshot(t testing.TB, st *store.Store) map[string][]string {
	t.Helper()
	rows := make(map[string][]string)
	for _, table := range tables {
		rows[table] = column[string](t, st, "SELECT r::text FROM "+table+" AS r ORDER BY id")
	}
	return rows
}
