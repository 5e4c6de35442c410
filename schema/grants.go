package schema

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
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

// Excess is what a role may do beyond its operations, by a right that [Grant] does not take
// away: of PUBLIC, of a role that it is a member of, or one that reaches beyond the tables.
type Excess struct {
	Role string
	What string
	// Repair is a statement that takes the right away, from everybody who has it in that way.
	Repair string
}

// String is the excess in one or two lines.
func (e Excess) String() string {
	return e.Role + ": " + e.What + "\n  repair: " + e.Repair
}

// ExcessError is returned by [Grant] and [PlanGrant] for a role that may do more than its
// operations.
type ExcessError struct {
	Excess []Excess // at least one
}

// Error has each excess in lines of its own.
func (e *ExcessError) Error() string {
	var b strings.Builder
	b.WriteString("a role may do more than its operations, by rights that are not for this to take away:")
	for _, one := range e.Excess {
		b.WriteString("\n" + one.String())
	}
	return b.String()
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

// right is one privilege of a role, on an object or a column of it.
type right struct {
	kind      string // TABLE, SEQUENCE, SCHEMA, DATABASE
	object    string // qualified and quoted
	privilege string
	column    string // quoted; empty for all
}

func compareRights(a, b right) int {
	return cmp.Or(
		-cmp.Compare(a.kind, b.kind), // tables before sequences, the schema and the database
		cmp.Compare(a.object, b.object),
		cmp.Compare(a.privilege, b.privilege),
		cmp.Compare(a.column, b.column),
	)
}

// held is a right that a role has.
type held struct {
	right
	by        string // the role that has it, or PUBLIC, quoted
	itself    bool   // the role that was asked for has it, rather than another for it
	grantable bool
	own       bool // on a column that is not of the migrations
	wanted    bool // the role needs it
}

// granter works for one database.
type granter struct {
	conn *pgx.Conn
}

// querier is a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// mayGrant returns why these roles can't be granted anything by the connection's.
func (g *granter) mayGrant(ctx context.Context, roles []grantedRole) error {
	rows, err := g.conn.Query(ctx, `
		SELECT relname::text, relowner::regrole::text, quote_ident(current_user), pg_has_role(relowner, 'USAGE'), owner.rolname::text
		FROM pg_class JOIN pg_roles AS owner ON owner.oid = relowner
		WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relname = ANY ($1)
		ORDER BY relname`, grantedTables())
	if err != nil {
		return err
	}
	var table, owner, user, ownerName string
	var ours bool
	_, err = pgx.ForEachRow(rows, []any{&table, &owner, &user, &ours, &ownerName}, func() error {
		if !ours {
			return fmt.Errorf("%s belongs to %s, and %s is not one: grant as %[2]s", table, owner, user)
		}
		for _, role := range roles {
			if role.name == ownerName {
				return fmt.Errorf("%s owns %s: an owner may do everything, name another role", owner, table)
			}
		}
		return nil
	})
	return err
}

func grantedTables() []string { return append(tableNames(), versionTable) }

// grant runs what the role lacks, and returns it.
func (g *granter) grant(ctx context.Context, tx pgx.Tx, role grantedRole) ([]string, error) {
	statements, err := g.plan(ctx, tx, role)
	if err != nil {
		return nil, err
	}
	for _, statement := range statements {
		if err := execGrant(ctx, tx, role, statement); err != nil {
			return nil, err
		}
	}
	left, err := g.plan(ctx, tx, role)
	if err != nil {
		return nil, err
	}
	if len(left) > 0 {
		return nil, fmt.Errorf("what was granted by another role, or belongs to one, is for that one to change: %s", strings.Join(left, " "))
	}
	return statements, nil
}

// SQLSTATEs.
const (
	insufficientPrivilege = "42501"
	duplicateObject       = "42710"
	uniqueViolation       = "23505"
)

func execGrant(ctx context.Context, tx pgx.Tx, role grantedRole, statement string) error {
	// Roles are the whole server's: one for another database may be first.
	err := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, statement)
		return err
	})
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return err
	}
	creates := statement == createRole(role.name)
	switch {
	case creates && (pgErr.Code == duplicateObject || pgErr.Code == uniqueViolation):
		return nil
	case creates && pgErr.Code == insufficientPrivilege:
		return fmt.Errorf("there is no role %s, and this one may not create it: run %s as one that has CREATEROLE, then grant again: %w", role.name, statement, err)
	}
	return fmt.Errorf("%s: %w", statement, err)
}

func createRole(name string) string { return "CREATE ROLE " + quote(name) + " NOLOGIN;" }

// plan returns the statements after which the role has what it needs, and no more, on the
// tables and their sequences.
func (g *granter) plan(ctx context.Context, q querier, role grantedRole) ([]string, error) {
	has, wanted, err := g.rights(ctx, q, role)
	if err != nil {
		return nil, err
	}
	var exists bool
	if err := q.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)`, role.name).Scan(&exists); err != nil {
		return nil, err
	}
	var statements []string
	if !exists {
		statements = append(statements, createRole(role.name))
	}

	direct := make(map[right]bool)
	var excess, grantable []right
	for _, h := range has {
		if !h.itself || h.kind == "SCHEMA" || h.kind == "DATABASE" {
			continue
		}
		direct[h.right] = true
		switch {
		case h.own:
			wanted[h.right] = true
		case !h.wanted:
			excess = append(excess, h.right)
		case h.grantable:
			grantable = append(grantable, h.right)
		}
	}
	for _, r := range excess {
		// From the table is from its columns, too.
		maps.DeleteFunc(direct, func(d right, _ bool) bool {
			return d == r || r.column == "" && d.object == r.object && d.privilege == r.privilege
		})
	}
	var missing []right
	for r := range wanted {
		if !direct[r] {
			missing = append(missing, r)
		}
	}
	statements = append(statements, statementsOf("REVOKE ", excess, " FROM "+quote(role.name))...)
	statements = append(statements, statementsOf("REVOKE GRANT OPTION FOR ", grantable, " FROM "+quote(role.name))...)
	return append(statements, statementsOf("GRANT ", missing, " TO "+quote(role.name))...), nil
}

// statementsOf makes one statement for each object.
func statementsOf(verb string, rights []right, role string) []string {
	slices.SortFunc(rights, compareRights)
	rights = slices.Compact(rights)
	var statements []string
	for len(rights) > 0 {
		first := rights[0]
		n := 0
		var privileges []string
		for n < len(rights) && rights[n].object == first.object && rights[n].kind == first.kind {
			privilege := rights[n].privilege
			var columns []string
			for ; n < len(rights) && rights[n].object == first.object && rights[n].privilege == privilege; n++ {
				if rights[n].column == "" { // the table: sorted before its columns
					privileges = append(privileges, privilege)
					continue
				}
				columns = append(columns, rights[n].column)
			}
			if len(columns) > 0 {
				privileges = append(privileges, privilege+" ("+strings.Join(columns, ", ")+")")
			}
		}
		statements = append(statements, verb+strings.Join(privileges, ", ")+" ON "+first.kind+" "+first.object+role+";")
		rights = rights[n:]
	}
	return statements
}

// rights returns what the role has, by itself and by others, and what it is to have. Of the
// schema and the database, where PUBLIC usually gives it, it is to have only what it lacks.
func (g *granter) rights(ctx context.Context, q querier, role grantedRole) ([]held, map[right]bool, error) {
	rows, err := q.Query(ctx, `
		WITH relation AS (
			SELECT oid, relname, relowner, relacl, 'TABLE' AS kind
			FROM pg_class
			WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relname = ANY ($2) AND relkind IN ('r', 'p')
		),
		sequence AS (
			-- Of a key: by its default, or owned by it.
			SELECT DISTINCT ON (pg_class.oid) pg_class.oid, pg_class.relnamespace, pg_class.relname, pg_class.relowner, pg_class.relacl, relation.relname AS of_table
			FROM relation
			JOIN pg_attribute ON attrelid = relation.oid AND attname = 'id'
			LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
			JOIN pg_depend ON (classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid AND refclassid = 'pg_class'::regclass)
				OR (classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass AND refobjid = attrelid AND refobjsubid = attnum)
			JOIN pg_class ON pg_class.relkind = 'S' AND pg_class.oid = CASE classid WHEN 'pg_class'::regclass THEN objid ELSE refobjid END
		),
		object AS (
			SELECT kind, quote_ident(current_schema()) || '.' || quote_ident(relname) AS name, relname AS of_table, NULL AS attname, relowner AS owner, relacl AS acl
			FROM relation
			UNION ALL
			SELECT kind, quote_ident(current_schema()) || '.' || quote_ident(relname), relname, attname, relowner, attacl
			FROM relation JOIN pg_attribute ON attrelid = oid AND attnum > 0 AND NOT attisdropped
			UNION ALL
			SELECT 'SEQUENCE', relnamespace::regnamespace || '.' || quote_ident(relname), of_table, NULL, relowner, relacl
			FROM sequence
			UNION ALL
			SELECT 'SCHEMA', quote_ident(nspname), NULL, NULL, nspowner, nspacl
			FROM pg_namespace WHERE nspname = current_schema()
			UNION ALL
			SELECT 'DATABASE', quote_ident(datname), NULL, NULL, datdba, datacl
			FROM pg_database WHERE datname = current_database()
		),
		role AS (SELECT oid FROM pg_roles WHERE rolname = $1)
		SELECT kind, name, coalesce(of_table, ''), coalesce(attname, ''), coalesce(quote_ident(attname), ''),
			coalesce(privilege_type, ''), coalesce(is_grantable, false),
			CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE coalesce(grantee::regrole::text, '') END,
			coalesce(grantee = (SELECT oid FROM role), false)
		FROM object
		LEFT JOIN LATERAL (
			SELECT entry.*
			FROM aclexplode(acl) AS entry
			WHERE entry.grantee = 0 OR entry.grantee <> owner AND pg_has_role((SELECT oid FROM role), entry.grantee, 'MEMBER')
		) AS entry ON true`, role.name, grantedTables())
	if err != nil {
		return nil, nil, err
	}
	ours := make(map[string]bool) // columns, as table.column
	for _, o := range catalog() {
		if o.kind == "column" {
			ours[o.table+"."+o.name] = true
		}
	}
	wanted := make(map[right]bool)
	var has []held
	var h held
	var table, column string
	_, err = pgx.ForEachRow(rows, []any{&h.kind, &h.object, &table, &column, &h.right.column, &h.privilege, &h.grantable, &h.by, &h.itself}, func() error {
		for _, n := range role.needs {
			switch {
			case n.table != table:
			case h.kind == "TABLE" && (column == "" && n.columns == nil || slices.Contains(n.columns, column)):
				wanted[right{"TABLE", h.object, n.privilege, h.right.column}] = true
			case h.kind == "SEQUENCE" && n.privilege == "INSERT":
				wanted[right{"SEQUENCE", h.object, "USAGE", ""}] = true
			}
		}
		if h.privilege != "" {
			h.own = column != "" && table != versionTable && !ours[table+"."+column]
			h.wanted = wanted[h.right]
			has = append(has, h)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}

	var usesSchema, connects bool
	var schemaName, database string
	err = q.QueryRow(ctx, `
		SELECT has_schema_privilege(role.name, current_schema(), 'USAGE'), quote_ident(current_schema()),
			has_database_privilege(role.name, current_database(), 'CONNECT'), quote_ident(current_database())
		FROM (SELECT coalesce((SELECT rolname FROM pg_roles WHERE rolname = $1), 'public')::name AS name) AS role`, role.name).
		Scan(&usesSchema, &schemaName, &connects, &database)
	if err != nil {
		return nil, nil, err
	}
	if !usesSchema {
		wanted[right{"SCHEMA", schemaName, "USAGE", ""}] = true
	}
	if !connects {
		wanted[right{"DATABASE", database, "CONNECT", ""}] = true
	}
	return has, wanted, nil
}

// excess returns what the role may do beyond what it needs, otherwise than by rights of its
// own on the tables.
func (g *granter) excess(ctx context.Context, role grantedRole) ([]Excess, error) {
	var super, createsRoles bool
	err := g.conn.QueryRow(ctx, `SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = $1`, role.name).Scan(&super, &createsRoles)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) { // none: it is only planned
		return nil, err
	}
	if super {
		return []Excess{{role.name, "is a superuser", "ALTER ROLE " + quote(role.name) + " NOSUPERUSER;"}}, nil
	}
	var all []Excess
	if createsRoles {
		all = append(all, Excess{role.name, "may create roles and become them", "ALTER ROLE " + quote(role.name) + " NOCREATEROLE;"})
	}

	rows, err := g.conn.Query(ctx, `
		WITH owned AS (
			SELECT DISTINCT relowner AS owner, 'tables' AS what, NULL AS alter
			FROM pg_class
			WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relname = ANY ($2)
			UNION ALL
			SELECT nspowner, 'the schema', 'ALTER SCHEMA ' || quote_ident(nspname) FROM pg_namespace WHERE nspname = current_schema()
			UNION ALL
			SELECT datdba, 'the database', 'ALTER DATABASE ' || quote_ident(datname) FROM pg_database WHERE datname = current_database()
		)
		SELECT 'owns ' || what, alter || ' OWNER TO ' || quote_ident(current_user)
		FROM owned JOIN pg_roles ON pg_roles.oid = owner
		WHERE rolname = $1
		UNION ALL
		SELECT 'is a member of ' || quote_ident(other.rolname) || coalesce(', which owns ' || string_agg(owned.what, ' and ' ORDER BY owned.what), ''),
			'REVOKE ' || quote_ident(other.rolname) || ' FROM ' || quote_ident(role.rolname)
		FROM pg_roles AS role
		JOIN pg_roles AS other ON other.oid <> role.oid AND pg_has_role(role.oid, other.oid, 'MEMBER')
		LEFT JOIN owned ON owned.owner = other.oid
		WHERE role.rolname = $1 AND other.rolname <> 'pg_database_owner' AND (owned.owner IS NOT NULL OR other.rolsuper OR other.rolcreaterole OR other.rolname IN (
			'pg_read_all_data', 'pg_write_all_data', 'pg_maintain', 'pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program'))
		GROUP BY other.rolname, role.rolname
		ORDER BY 1`, role.name, grantedTables())
	if err != nil {
		return nil, err
	}
	var what, repair string
	_, err = pgx.ForEachRow(rows, []any{&what, &repair}, func() error {
		all = append(all, Excess{role.name, what, repair + ";"})
		return nil
	})
	if err != nil {
		return nil, err
	}

	has, wanted, err := g.rights(ctx, g.conn, role)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(has, func(a, b held) int { return compareRights(a.right, b.right) })
	for _, h := range has {
		whole := h.right
		whole.column = ""
		switch {
		case h.kind == "SCHEMA" || h.kind == "DATABASE":
			if h.privilege != "CREATE" {
				continue
			}
		case h.itself || h.own || wanted[h.right] || wanted[whole]:
			continue
		}
		privilege := h.privilege
		if h.right.column != "" {
			privilege += " (" + h.right.column + ")"
		}
		on := " ON " + h.kind + " " + h.object
		what = "has " + privilege + on
		if !h.itself {
			what += " by " + h.by
		}
		all = append(all, Excess{role.name, what, "REVOKE " + privilege + on + " FROM " + h.by + ";"})
	}
	return all, nil
}
