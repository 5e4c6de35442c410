package schema

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

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
