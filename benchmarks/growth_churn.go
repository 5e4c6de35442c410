package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/internal/throwaway"
	"github.com/rowhouse/rowhouse/store"
)

// relationSize is a table with its indexes, or an index.
type relationSize struct {
	table, index string // index is empty for the table itself
	rows, bytes  int
}

// relationSizes are after a VACUUM ANALYZE, which counts the rows.
func (d *dataset) relationSizes(ctx context.Context) (sizes []relationSize, err error) {
	rows, err := d.admin.Query(ctx, `SELECT t.relname::text, coalesce(i.relname::text, ''), (coalesce(i.reltuples, t.reltuples))::bigint, pg_relation_size(coalesce(i.oid, t.oid))
		FROM pg_class AS t
		CROSS JOIN LATERAL (
			SELECT NULL::oid AS indexrelid
			UNION ALL
			SELECT pg_index.indexrelid FROM pg_index WHERE pg_index.indrelid = t.oid
		) AS of_table
		LEFT JOIN pg_class AS i ON i.oid = of_table.indexrelid
		WHERE t.relnamespace = 'public'::regnamespace AND t.relkind = 'r' AND t.reltuples > 0 AND t.relname NOT LIKE '%\_db\_version'
		ORDER BY 1, i.relname NULLS FIRST`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s relationSize
		if err := rows.Scan(&s.table, &s.index, &s.rows, &s.bytes); err != nil {
			return nil, err
		}
		sizes = append(sizes, s)
	}
	return sizes, rows.Err()
}

// indexedColumns are, for each table, those that are in an index, its expression or its
// predicate: an update that changes one of them can't be HOT.
func (d *dataset) indexedColumns(ctx context.Context) (map[string]string, error) {
	rows, err := d.admin.Query(ctx, `SELECT c.relname::text, string_agg(DISTINCT a.attname::text, ', ')
		FROM pg_index AS i
		JOIN pg_class AS c ON c.oid = i.indrelid
		JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND (
			a.attnum = ANY (i.indkey)
			OR EXISTS (
				SELECT FROM pg_depend AS d
				WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND d.refobjid = c.oid AND d.refobjsubid = a.attnum
			))
		WHERE c.relnamespace = 'public'::regnamespace
		GROUP BY c.relname`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns := map[string]string{}
	for rows.Next() {
		var table, list string
		if err := rows.Scan(&table, &list); err != nil {
			return nil, err
		}
		columns[table] = list
	}
	return columns, rows.Err()
}

// churn is what updates, and rows that come and go, do to tables and indexes.
type churn struct {
	fillfactor            int // of users and teams
	users, teams          []float64
	before, after, packed []relationSize
}

const (
	churnPasses  = 10 // updates of each user and of each team
	churnWorkers = 4
	churnCounted = 20 // of so many updates one is looked at
)

func (r *grown) churn(ctx context.Context, server *throwaway.Server) error {
	for _, fillfactor := range []int{100, 90} {
		r.progress("churn, fillfactor %d", fillfactor)
		d, err := newDataset(ctx, server, fmt.Sprintf("churned_%d", fillfactor))
		if err != nil {
			return err
		}
		defer d.close()
		if err := d.exec(ctx, fmt.Sprintf("ALTER TABLE users SET (fillfactor = %d); ALTER TABLE teams SET (fillfactor = %[1]d)", fillfactor)); err != nil {
			return err
		}
		c := churn{fillfactor: fillfactor}
		if err := d.growTo(ctx, r.churned, 0); err != nil {
			return err
		}
		if c.before, err = d.relationSizes(ctx); err != nil {
			return err
		}
		if err := d.churn(ctx, &c); err != nil {
			return err
		}
		if fillfactor == 100 {
			if r.updates, err = d.updates(ctx); err != nil {
				return err
			}
			if r.indexed, err = d.indexedColumns(ctx); err != nil {
				return err
			}
		}
		if err := d.exec(ctx, "VACUUM (ANALYZE)"); err != nil {
			return err
		}
		if c.after, err = d.relationSizes(ctx); err != nil {
			return err
		}
		if err := d.exec(ctx, "VACUUM (FULL, ANALYZE)"); err != nil {
			return err
		}
		if c.packed, err = d.relationSizes(ctx); err != nil {
			return err
		}
		r.churns = append(r.churns, c)
	}
	return nil
}

// churn updates every user and every team churnPasses times, in turns name and password,
// name and subscription; and lets an invitation of each team live and end, one in two by
// a member who then is removed, with every second pass.
func (d *dataset) churn(ctx context.Context, c *churn) error {
	config, err := d.config()
	if err != nil {
		return err
	}
	pool, err := openPool(ctx, config, churnWorkers)
	if err != nil {
		return err
	}
	defer pool.Close()
	st := store.New(pool)
	for pass := range churnPasses {
		var users, teams share
		// A fifth at a time: then a table is due for autovacuum, by its default.
		for part := range 5 {
			from, to := d.teams*part/5, d.teams*(part+1)/5
			err := inParallel(to-from, func(i int) error {
				id := from + i + 1
				if err := users.update(ctx, st, i, "users", updateUser(pass, id)); err != nil {
					return err
				}
				if err := teams.update(ctx, st, i, "teams", updateTeam(pass, id)); err != nil {
					return err
				}
				if pass%2 == 0 || c.fillfactor < 100 {
					return nil
				}
				return d.liveInvitation(ctx, st, id, 1+(id-1+pass)%d.teams)
			})
			if err != nil {
				return err
			}
			if err := d.exec(ctx, "VACUUM users, teams, team_members, invitations"); err != nil {
				return err
			}
		}
		c.users, c.teams = append(c.users, users.hot()), append(c.teams, teams.hot())
	}
	return nil
}

// share is how many of some updates were HOT.
type share struct {
	mu           sync.Mutex
	updated, all int
}

func (s *share) hot() float64 { return float64(s.updated) / float64(max(s.all, 1)) }

// update makes a call, the i-th, and counts some of them.
func (s *share) update(ctx context.Context, st *store.Store, i int, table string, c call) error {
	if i%churnCounted > 0 {
		return c(ctx, st)
	}
	n, err := count(ctx, st, c)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all += n.relations[table].updated
	s.updated += n.relations[table].hot
	return err
}

func updateUser(pass, id int) call {
	return func(ctx context.Context, st *store.Store) error {
		if pass%2 == 0 {
			name := fmt.Sprintf("User %d of pass %d", id, pass)
			_, err := st.UpdateAccount(ctx, store.UpdateAccount{Actor: actor(db.UserID(id)), Name: &name})
			return err
		}
		return st.UpdatePassword(ctx, store.UpdatePassword{Actor: actor(db.UserID(id)), PasswordHash: hash})
	}
}

func updateTeam(pass, id int) call {
	return func(ctx context.Context, st *store.Store) error {
		if pass%2 == 0 {
			return st.RenameTeam(ctx, store.RenameTeam{Actor: actor(db.UserID(id)), TeamID: db.TeamID(id), Name: fmt.Sprintf("Team %d of pass %d", id, pass)})
		}
		status := db.SubscriptionPastDue
		if pass%4 == 3 {
			status = db.SubscriptionActive
		}
		return st.UpdateSubscription(ctx, store.UpdateSubscription{
			TeamID: db.TeamID(id), SubscriptionID: fmt.Sprintf("sub_%d", id), ProductID: "prod_plus", PlanName: "Plus", Status: status,
		})
	}
}

// liveInvitation is what becomes of an invitation of a user to a team.
func (d *dataset) liveInvitation(ctx context.Context, st *store.Store, team, user int) error {
	owner, t := actor(db.UserID(team)), db.TeamID(team)
	email := fmt.Sprintf("user%d@example.com", user)
	if _, err := st.Membership(ctx, t, db.UserID(user)); err == nil {
		email = fmt.Sprintf("nobody%d@example.com", team) // a member already
	}
	invitation, token, err := st.InviteMember(ctx, store.InviteMember{Actor: owner, TeamID: t, Email: email, Role: db.RoleMember})
	if err != nil {
		return err
	}
	invitee := actor(db.UserID(user))
	switch end := team % 4; {
	case email[0] == 'n' || end == 0:
		if _, _, err := st.ResendInvitation(ctx, store.ResendInvitation{Actor: owner, TeamID: t, InvitationID: invitation.ID}); err != nil {
			return err
		}
		return st.CancelInvitation(ctx, store.CancelInvitation{Actor: owner, TeamID: t, InvitationID: invitation.ID})
	case end == 1:
		return st.DeclineInvitation(ctx, store.DeclineInvitation{Actor: invitee, Token: token})
	}
	member, _, err := st.AcceptInvitation(ctx, store.AcceptInvitation{Actor: invitee, Token: token})
	if err != nil {
		return err
	}
	return st.RemoveMember(ctx, store.RemoveMember{Actor: owner, TeamID: t, MemberID: member.ID})
}

// inParallel makes n calls.
func inParallel(n int, one func(i int) error) error {
	errs := make(chan error, churnWorkers)
	for w := range churnWorkers {
		go func() {
			for i := w; i < n; i += churnWorkers {
				if err := one(i); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	var first error
	for range churnWorkers {
		if err := <-errs; first == nil {
			first = err
		}
	}
	return first
}

// updating is an operation that updates rows.
type updating struct {
	name, table, changes string
	calls                func(ctx context.Context, d *dataset, n int) ([]call, error)

	updated, hot int // found
}

const updateCalls = 300

// updates counts how many of the rows that an operation updates are HOT, on tables that
// have been churned: on new ones pages are full.
func (d *dataset) updates(ctx context.Context) ([]updating, error) {
	spread := func(one func(serial int, team int) call) func(context.Context, *dataset, int) ([]call, error) {
		return reading(func(d *dataset, i int) call { return one(d.next(), 1+i*max(d.teams/updateCalls, 1)) })
	}
	invited := func(end func(ctx context.Context, st *store.Store, team int, id db.InvitationID) error) func(context.Context, *dataset, int) ([]call, error) {
		return func(ctx context.Context, d *dataset, n int) ([]call, error) {
			calls := make([]call, n)
			for i := range calls {
				team := 1 + i*max(d.teams/updateCalls, 1)
				invitation, _, err := d.st.InviteMember(ctx, store.InviteMember{
					Actor: actor(db.UserID(team)), TeamID: db.TeamID(team), Email: fmt.Sprintf("guest%d@example.com", d.next()), Role: db.RoleMember,
				})
				if err != nil {
					return nil, err
				}
				calls[i] = func(ctx context.Context, st *store.Store) error { return end(ctx, st, team, invitation.ID) }
			}
			return calls, nil
		}
	}
	all := []updating{
		{name: "UpdateAccount", table: "users", changes: "name", calls: spread(func(serial, team int) call { return updateUser(2*serial, team) })},
		{name: "UpdateAccount", table: "users", changes: "email", calls: spread(func(serial, team int) call {
			return func(ctx context.Context, st *store.Store) error {
				email := fmt.Sprintf("moved%d@example.com", serial)
				_, err := st.UpdateAccount(ctx, store.UpdateAccount{Actor: actor(db.UserID(team)), Email: &email})
				return err
			}
		})},
		{name: "UpdatePassword", table: "users", changes: "password_hash", calls: spread(func(serial, team int) call { return updateUser(2*serial+1, team) })},
		{name: "RenameTeam", table: "teams", changes: "name", calls: spread(func(serial, team int) call { return updateTeam(2*serial, team) })},
		{name: "SetSeatLimit", table: "teams", changes: "seat_limit", calls: spread(func(serial, team int) call {
			return func(ctx context.Context, st *store.Store) error {
				limit := 1000 + serial
				return st.SetSeatLimit(ctx, store.SetSeatLimit{TeamID: db.TeamID(team), Limit: &limit})
			}
		})},
		{name: "UpdateSubscription", table: "teams", changes: "plan_name", calls: spread(func(serial, team int) call {
			return func(ctx context.Context, st *store.Store) error {
				return st.UpdateSubscription(ctx, store.UpdateSubscription{TeamID: db.TeamID(team), SubscriptionID: fmt.Sprintf("sub_%d", team),
					ProductID: "prod_plus", PlanName: fmt.Sprintf("Plan %d", serial), Status: db.SubscriptionActive})
			}
		})},
		{name: "ApplySubscription", table: "teams", changes: "plan_name", calls: spread(func(serial, team int) call { return d.planChange(serial, team) })},
		{name: "ApplySubscription", table: "subscriptions", changes: "plan_name, event_created_at", calls: spread(func(serial, team int) call { return d.planChange(serial, team) })},
		{name: "UpdateSubscription", table: "teams", changes: "stripe_subscription_id", calls: spread(func(serial, team int) call {
			return func(ctx context.Context, st *store.Store) error {
				return st.UpdateSubscription(ctx, store.UpdateSubscription{TeamID: db.TeamID(team), SubscriptionID: fmt.Sprintf("sub_new%d", serial),
					ProductID: "prod_plus", PlanName: "Plus", Status: db.SubscriptionActive})
			}
		})},
		{name: "LinkStripeCustomer", table: "teams", changes: "stripe_customer_id", calls: spread(func(serial, team int) call {
			return func(ctx context.Context, st *store.Store) error {
				return st.LinkStripeCustomer(ctx, store.LinkStripeCustomer{TeamID: db.TeamID(team), CustomerID: fmt.Sprintf("cus_new%d", serial)})
			}
		})},
		{name: "ChangeRole", table: "team_members", changes: "role", calls: joined(places, db.RoleOwner, func(p place, m newMember) call {
			return func(ctx context.Context, st *store.Store) error {
				return st.ChangeRole(ctx, store.ChangeRole{Actor: actor(p.owner), TeamID: p.team, MemberID: m.id, Role: db.RoleMember})
			}
		})},
		{name: "AcceptInvitation", table: "invitations", changes: "status", calls: accepts(places)},
		{name: "CancelInvitation", table: "invitations", changes: "status", calls: invited(func(ctx context.Context, st *store.Store, team int, id db.InvitationID) error {
			return st.CancelInvitation(ctx, store.CancelInvitation{Actor: actor(db.UserID(team)), TeamID: db.TeamID(team), InvitationID: id})
		})},
		{name: "ResendInvitation", table: "invitations", changes: "token_hash, expires_at", calls: invited(func(ctx context.Context, st *store.Store, team int, id db.InvitationID) error {
			_, _, err := st.ResendInvitation(ctx, store.ResendInvitation{Actor: actor(db.UserID(team)), TeamID: db.TeamID(team), InvitationID: id})
			return err
		})},
		{name: "DeleteTeam", table: "teams", changes: "deleted_at", calls: spread(func(_, team int) call {
			return func(ctx context.Context, st *store.Store) error {
				return st.DeleteTeam(ctx, store.DeleteTeam{Actor: actor(db.UserID(team)), TeamID: db.TeamID(team), Force: true})
			}
		})},
		{name: "DeleteAccount", table: "users", changes: "email, deleted_at", calls: joined(places, db.RoleMember, func(_ place, m newMember) call {
			return func(ctx context.Context, st *store.Store) error { return st.DeleteAccount(ctx, actor(m.user)) }
		})},
	}
	for i, u := range all {
		calls, err := u.calls(ctx, d, min(updateCalls, d.teams))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", u.name, err)
		}
		for _, c := range calls {
			n, err := count(ctx, d.st, c)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", u.name, err)
			}
			all[i].updated += n.relations[u.table].updated
			all[i].hot += n.relations[u.table].hot
		}
	}
	return all, nil
}

func (d *dataset) planChange(serial, team int) call {
	e := d.event(int64(team), fmt.Sprintf("evt_%d", serial), serial, db.SubscriptionActive)
	e.Subscription.PlanName = fmt.Sprintf("Plan %d", serial)
	return func(ctx context.Context, st *store.Store) error {
		_, _, err := st.ApplySubscription(ctx, e)
		return err
	}
}
