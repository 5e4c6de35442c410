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
)

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
