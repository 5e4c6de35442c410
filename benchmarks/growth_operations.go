package main

import (
	"context"
	"fmt"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// call is one call of an operation, its arguments made before the clock starts.
type call func(ctx context.Context, st *store.Store) error

// growing is an operation whose cost is measured at several sizes.
type growing struct {
	name   string
	writes bool
	calls  func(ctx context.Context, d *dataset, n int) ([]call, error)
	slow   bool // takes as long as all the others
}

// ofData are the operations whose cost should not follow the amount of data. logRows is
// how many rows the one that logs many has.
func ofData(logRows int) []growing {
	return []growing{
		{name: "user by id", calls: reading(func(d *dataset, _ int) call { return userOf(d.anyDrawn(d.random())) })},
		{name: "user by id, any of all", calls: reading(func(d *dataset, _ int) call { return userOf(1 + d.random().Int64N(int64(d.teams))) })},
		{name: "credentials", calls: reading(func(d *dataset, _ int) call {
			email := fmt.Sprintf("user%d@example.com", d.anyDrawn(d.random()))
			return func(ctx context.Context, st *store.Store) error {
				_, err := st.Credentials(ctx, email)
				return err
			}
		})},
		{name: "team of 5", calls: reading(func(d *dataset, _ int) call { return teamOf(d.anyDrawn(d.random())) })},
		{name: fmt.Sprintf("%d teams of a user", teamsOf), calls: reading(func(*dataset, int) call {
			return func(ctx context.Context, st *store.Store) error {
				_, _, err := st.TeamsForUser(ctx, crowdedUser, store.Page{Limit: pageSize})
				return err
			}
		})},
		{name: firstPage, calls: reading(func(*dataset, int) call { return pageOf(store.ActivityPage{Page: store.Page{Limit: pageSize}}) })},
		{name: depthPage, calls: reading(func(d *dataset, _ int) call { return pageOf(d.deepPage) })},
		{name: "sign-up", writes: true, calls: reading(func(d *dataset, _ int) call {
			email := fmt.Sprintf("newcomer%d@example.com", d.next())
			return func(ctx context.Context, st *store.Store) error {
				_, err := st.SignUp(ctx, store.SignUp{Email: email, PasswordHash: hash, Name: "Ada", IP: address})
				return err
			}
		})},
		{name: "invite", writes: true, calls: invites(places)},
		{name: "accept", writes: true, calls: accepts(places)},
		{name: "remove", writes: true, calls: removes(places)},
		{name: "one log row", writes: true, calls: reading(func(d *dataset, _ int) call {
			entry := d.logged(d.drawn(d.next()))
			return func(ctx context.Context, st *store.Store) error { return st.RecordActivity(ctx, entry) }
		})},
		{name: thousands(logRows) + " log rows", writes: true, slow: true, calls: func(_ context.Context, d *dataset, n int) ([]call, error) {
			entries := make([]store.RecordActivity, logRows)
			for i := range entries {
				entries[i] = d.logged(d.drawn(d.next()))
			}
			calls := make([]call, n)
			for i := range calls {
				// Undone, or the log would grow by what is measured.
				calls[i] = undone(func(ctx context.Context, st *store.Store) error { return st.RecordActivities(ctx, entries) })
			}
			return calls, nil
		}},
		{name: "subscription event", writes: true, calls: reading(func(d *dataset, _ int) call {
			serial := d.next()
			e := d.event(d.drawn(serial), fmt.Sprintf("evt_%d", serial), serial, db.SubscriptionActive)
			e.Subscription.PlanName = fmt.Sprintf("Plan %d", serial) // so that the team's row changes each time
			return func(ctx context.Context, st *store.Store) error {
				_, _, err := st.ApplySubscription(ctx, e)
				return err
			}
		})},
	}
}

const (
	firstPage = "first page of the log"
	depthPage = "deep page of the log"
	wholeTeam = "team with its members"
)

// ofTeam are the operations in the i-th of addSized's teams.
func ofTeam(i int) []growing {
	team := sizedTeams + i
	return []growing{
		{name: wholeTeam, calls: reading(func(*dataset, int) call { return teamOf(int64(team)) })},
		{name: fmt.Sprintf("page of %d members", pageSize), calls: reading(func(*dataset, int) call {
			return func(ctx context.Context, st *store.Store) error {
				_, _, err := st.Members(ctx, db.TeamID(team), store.Page{Limit: pageSize})
				return err
			}
		})},
		{name: "invite", writes: true, calls: invites(in(team))},
		{name: "accept", writes: true, calls: accepts(in(team))},
		{name: "accept, with a seat limit", writes: true, calls: accepts(in(seatsTeams + i))},
		{name: "remove", writes: true, calls: removes(in(team))},
		{name: "change an owner's role", writes: true, calls: joined(in(team), db.RoleOwner, func(p place, m newMember) call {
			return func(ctx context.Context, st *store.Store) error {
				return st.ChangeRole(ctx, store.ChangeRole{Actor: actor(p.owner), TeamID: p.team, MemberID: m.id, Role: db.RoleMember})
			}
		})},
		{name: "an owner leaves", writes: true, calls: joined(in(team), db.RoleOwner, func(p place, m newMember) call {
			return func(ctx context.Context, st *store.Store) error {
				return st.LeaveTeam(ctx, store.LeaveTeam{Actor: actor(m.user), TeamID: p.team})
			}
		})},
		{name: "transfer ownership", writes: true, calls: transfers(in(team))},
		{name: "delete an owner's account", writes: true, calls: joined(in(team), db.RoleOwner, func(_ place, m newMember) call {
			return func(ctx context.Context, st *store.Store) error { return st.DeleteAccount(ctx, actor(m.user)) }
		})},
	}
}

func actor(id db.UserID) store.Actor { return store.Actor{UserID: id, IP: address} }

// reading makes each call from nothing but the dataset.
func reading(one func(d *dataset, i int) call) func(context.Context, *dataset, int) ([]call, error) {
	return func(_ context.Context, d *dataset, n int) ([]call, error) {
		calls := make([]call, n)
		for i := range calls {
			calls[i] = one(d, i)
		}
		return calls, nil
	}
}

func userOf(id int64) call {
	return func(ctx context.Context, st *store.Store) error {
		_, err := st.User(ctx, db.UserID(id))
		return err
	}
}

func teamOf(id int64) call {
	return func(ctx context.Context, st *store.Store) error {
		_, err := st.TeamWithMembers(ctx, db.TeamID(id))
		return err
	}
}

func pageOf(page store.ActivityPage) call {
	return func(ctx context.Context, st *store.Store) error {
		_, _, err := st.TeamActivity(ctx, deepTeam, page)
		return err
	}
}

func (d *dataset) logged(team int64) store.RecordActivity {
	return store.RecordActivity{
		TeamID: db.TeamID(team), UserID: db.UserID(team), Action: "EXPORT_REPORT", IP: address,
		Metadata: map[string]any{"report": "monthly", "rows": 1200},
	}
}

func invites(where func(*dataset, int) []place) func(context.Context, *dataset, int) ([]call, error) {
	return func(_ context.Context, d *dataset, n int) ([]call, error) {
		calls := make([]call, n)
		for i, p := range where(d, n) {
			email := fmt.Sprintf("guest%d@example.com", d.next())
			calls[i] = func(ctx context.Context, st *store.Store) error {
				_, _, err := st.InviteMember(ctx, store.InviteMember{Actor: actor(p.owner), TeamID: p.team, Email: email, Role: db.RoleMember})
				return err
			}
		}
		return calls, nil
	}
}

// accepts are by new users, with an invitation each.
func accepts(where func(*dataset, int) []place) func(context.Context, *dataset, int) ([]call, error) {
	return func(ctx context.Context, d *dataset, n int) ([]call, error) {
		at := where(d, n)
		emails, tokens, hashes, teams, owners := make([]string, n), make([]string, n), make([][]byte, n), make([]int64, n), make([]int64, n)
		for i, p := range at {
			serial := d.next()
			emails[i] = fmt.Sprintf("joiner%d@example.com", serial)
			tokens[i], hashes[i] = tokenOf(serial)
			teams[i], owners[i] = int64(p.team), int64(p.owner)
		}
		users, err := d.insertUsers(ctx, emails)
		if err != nil {
			return nil, err
		}
		calls := make([]call, n)
		for i, user := range users {
			calls[i] = func(ctx context.Context, st *store.Store) error {
				_, _, err := st.AcceptInvitation(ctx, store.AcceptInvitation{Actor: actor(db.UserID(user)), Token: store.Token(tokens[i])})
				return err
			}
		}
		return calls, d.exec(ctx, `INSERT INTO invitations (team_id, email, role, invited_by, invited_at, status, token_hash, expires_at)
			SELECT team, email, 'member', owner, timezone('utc', now()), 'pending', token_hash, timezone('utc', now()) + interval '7 days'
			FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bytea[]) AS asked (team, owner, email, token_hash)`, teams, owners, emails, hashes)
	}
}

type newMember struct {
	id   db.TeamMemberID
	user db.UserID
}

// join makes a new user a member of each place's team.
func (d *dataset) join(ctx context.Context, at []place, role db.Role) ([]newMember, error) {
	teams, emails := make([]int64, len(at)), make([]string, len(at))
	for i, p := range at {
		teams[i], emails[i] = int64(p.team), fmt.Sprintf("member%d@example.com", d.next())
	}
	users, err := d.insertUsers(ctx, emails)
	if err != nil {
		return nil, err
	}
	ids, err := d.ids(ctx, `INSERT INTO team_members (user_id, team_id, role, joined_at)
		SELECT user_id, team_id, $3, timezone('utc', now()) FROM unnest($1::bigint[], $2::bigint[]) AS joined (user_id, team_id) RETURNING id`, users, teams, role)
	members := make([]newMember, len(ids))
	for i, id := range ids {
		members[i] = newMember{db.TeamMemberID(id), db.UserID(users[i])}
	}
	return members, err
}

// joined makes each call about a new member.
func joined(where func(*dataset, int) []place, role db.Role, one func(place, newMember) call) func(context.Context, *dataset, int) ([]call, error) {
	return func(ctx context.Context, d *dataset, n int) ([]call, error) {
		at := where(d, n)
		members, err := d.join(ctx, at, role)
		if err != nil {
			return nil, err
		}
		calls := make([]call, n)
		for i, m := range members {
			calls[i] = one(at[i], m)
		}
		return calls, nil
	}
}

func removes(where func(*dataset, int) []place) func(context.Context, *dataset, int) ([]call, error) {
	return joined(where, db.RoleMember, func(p place, m newMember) call {
		return func(ctx context.Context, st *store.Store) error {
			return st.RemoveMember(ctx, store.RemoveMember{Actor: actor(p.owner), TeamID: p.team, MemberID: m.id})
		}
	})
}

// transfers are from one new owner to one new member, each time.
func transfers(where func(*dataset, int) []place) func(context.Context, *dataset, int) ([]call, error) {
	return func(ctx context.Context, d *dataset, n int) ([]call, error) {
		at := where(d, n)
		from, err := d.join(ctx, at, db.RoleOwner)
		if err != nil {
			return nil, err
		}
		to, err := d.join(ctx, at, db.RoleMember)
		if err != nil {
			return nil, err
		}
		calls := make([]call, n)
		for i, p := range at {
			calls[i] = func(ctx context.Context, st *store.Store) error {
				return st.TransferOwnership(ctx, store.TransferOwnership{Actor: actor(from[i].user), TeamID: p.team, MemberID: to[i].id})
			}
		}
		return calls, nil
	}
}
