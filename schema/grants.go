package schema

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pressly/goose/v3/lock"
)

// Grants names the roles that work with the tables. A role that is not named is left as it
// is.
type Grants struct {
	// Application may run every operation of the Store but the two purges, and [Verify],
	// [Status] and [Version]. Of the log it reads and adds rows, no more.
	Application string
	// Purge may run PurgeActivity and PurgeSubscriptionEvents. It reads the columns by which
	// they choose rows, and could renumber rows of the log: to lock one takes the right to
	// update a column.
	Purge string
}

// Grant gives each role the rights on the tables and their sequences that its operations
// need, and takes from it what it has there beyond them, in one transaction. It returns the
// statements that it ran: none, and no error, when nothing was to be done. Call it after
// every [Migrate]: a new table or column is granted then.
//
// A role that does not exist is created, NOLOGIN: let the service's login role be a member
// of it (GRANT app TO service). One that exists keeps its attributes. Rights on columns
// and tables of the service's own are left alone, and so is every other role, PUBLIC
// included. Rights in the schema, and to connect, are given where the role has none.
//
// The connection's role owns the tables, or is a member of their owner; it needs
// CREATEROLE only where a role is to be created. Grant excludes Migrate and other Grants,
// and holds nobody up: it locks no table.
//
// It returns an [*ExcessError] when a role may still do more: on a database that was made
// before PostgreSQL 15, everybody may create in the schema public. What was needed is
// granted then. It returns a [*VersionError], and changes nothing, when the database has
// another version than this build; and changes nothing either when it returns another
// error: a role owns the tables, or its name is not one, or the connection's role may not
// grant.
//
// Temporary tables are no part of this: every role of a database may make them, unless you
// REVOKE TEMPORARY ON DATABASE, and nobody else sees them.
func Grant(ctx context.Context, pool *pgxpool.Pool, grants Grants) ([]string, error) {
	return withGrants(ctx, pool, grants, func(g *granter, roles []grantedRole) ([]string, error) {
		err := locker{}.lock(ctx, func(locked *bool) error {
			return g.conn.QueryRow(ctx, tryLock, lock.DefaultLockID).Scan(locked)
		})
		if err != nil {
			return nil, err
		}
		var done []string
		err = pgx.BeginFunc(ctx, g.conn, func(tx pgx.Tx) error {
			for _, role := range roles {
				statements, err := g.grant(ctx, tx, role)
				if err != nil {
					return err
				}
				done = append(done, statements...)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		return done, nil
	})
}

// PlanGrant returns the statements that [Grant] would run, and the errors that it would
// return, as far as they can be known without running them. It only reads.
func PlanGrant(ctx context.Context, pool *pgxpool.Pool, grants Grants) ([]string, error) {
	return withGrants(ctx, pool, grants, func(g *granter, roles []grantedRole) ([]string, error) {
		var all []string
		for _, role := range roles {
			statements, err := g.plan(ctx, g.conn, role)
			if err != nil {
				return nil, err
			}
			all = append(all, statements...)
		}
		return all, nil
	})
}

// withGrants calls do for the roles on a database of this build's version, and then looks
// for what they may do beyond.
func withGrants(ctx context.Context, pool *pgxpool.Pool, grants Grants, do func(*granter, []grantedRole) ([]string, error)) ([]string, error) {
	roles, err := grants.roles()
	if err != nil {
		return nil, err
	}
	s, err := open(ctx, pool)
	if err != nil {
		return nil, err
	}
	defer s.close()
	applied, err := s.applied(ctx)
	if err != nil {
		return nil, err
	}
	if err := sameVersion(applied); err != nil {
		return nil, err
	}
	g := &granter{conn: s.conn}
	if err := g.mayGrant(ctx, roles); err != nil {
		return nil, err
	}
	statements, err := do(g, roles)
	if err != nil {
		return nil, fmt.Errorf("grant: %w", err)
	}
	var excess []Excess
	for _, role := range roles {
		more, err := g.excess(ctx, role)
		if err != nil {
			return statements, fmt.Errorf("look for what %s may do: %w", role.name, err)
		}
		excess = append(excess, more...)
	}
	if len(excess) > 0 {
		return statements, &ExcessError{Excess: excess}
	}
	return statements, nil
}

// need is a right on a table, on some of its columns where they are named.
type need struct {
	table, privilege string
	columns          []string
}

// applicationNeeds follow from queries/*.sql; tests run every operation with them, and
// find that none works without any one of them.
//
// An UPDATE is of the columns that a statement sets. It also allows to lock a row, which
// takes the right to update any column. An INSERT is of the whole row: the insert types of
// package db set nearly all of it. What subscription_events has is written for people.
var applicationNeeds = []need{
	{"users", "SELECT", nil},
	{"users", "INSERT", nil},
	{"users", "UPDATE", []string{"name", "email", "password_hash", "updated_at", "deleted_at"}},
	{"teams", "SELECT", nil},
	{"teams", "INSERT", nil},
	{"teams", "UPDATE", []string{"name", "updated_at", "deleted_at", "seat_limit",
		"stripe_customer_id", "stripe_subscription_id", "stripe_product_id", "plan_name", "subscription_status"}},
	{"team_members", "SELECT", nil},
	{"team_members", "INSERT", nil},
	{"team_members", "UPDATE", []string{"role"}},
	{"team_members", "DELETE", nil},
	{"invitations", "SELECT", nil},
	{"invitations", "INSERT", nil},
	{"invitations", "UPDATE", []string{"status", "invited_by", "token_hash", "expires_at"}},
	{"activity_logs", "SELECT", nil},
	{"activity_logs", "INSERT", nil},
	{"subscriptions", "SELECT", nil},
	{"subscriptions", "INSERT", nil},
	{"subscriptions", "UPDATE", []string{"status", "stripe_product_id", "stripe_price_id", "plan_name", "quantity", "trial_end",
		"current_period_end", "cancel_at", "cancel_at_period_end", "created_at", "event_created_at", "event_id"}},
	{"subscription_events", "SELECT", []string{"id"}},
	{"subscription_events", "INSERT", nil},
	{versionTable, "SELECT", nil},
}

// purgeNeeds update an id nowhere: FOR UPDATE asks for the right to. Of all columns of the
// log the id says least about what was done.
var purgeNeeds = []need{
	{"activity_logs", "SELECT", []string{"id", "team_id", "timestamp"}},
	{"activity_logs", "UPDATE", []string{"id"}},
	{"activity_logs", "DELETE", nil},
	{"subscription_events", "SELECT", []string{"id", "received_at"}},
	{"subscription_events", "UPDATE", []string{"id"}},
	{"subscription_events", "DELETE", nil},
}

// grantedRole is a role and what it needs.
type grantedRole struct {
	name  string
	needs []need
}

// maxNameBytes is what the server cuts a name to.
const maxNameBytes = 63

func (g Grants) roles() ([]grantedRole, error) {
	var roles []grantedRole
	for _, role := range []grantedRole{{g.Application, applicationNeeds}, {g.Purge, purgeNeeds}} {
		switch {
		case role.name == "":
			continue
		case len(role.name) > maxNameBytes:
			return nil, fmt.Errorf("the role's name %q is longer than %d bytes", role.name, maxNameBytes)
		case role.name == "public" || role.name == "none" || strings.HasPrefix(role.name, "pg_"):
			return nil, fmt.Errorf("%q is PostgreSQL's own: name a role of yours", role.name)
		}
		roles = append(roles, role)
	}
	switch {
	case len(roles) == 0:
		return nil, errors.New("no role is named: there is nothing to grant")
	case len(roles) == 2 && roles[0].name == roles[1].name:
		return nil, fmt.Errorf("%s can't be both roles: the application must not delete from the log", roles[0].name)
	}
	return roles, nil
}
