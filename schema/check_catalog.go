package schema

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// What Check looks for in the server's catalog, and in the rows that a difference there
// concerns.

var lengthOf = regexp.MustCompile(`^character varying\((\d+)\)$`)

// column checks a column of a table that is there already, which the migration leaves as
// it is.
func (c *checker) column(ctx context.Context, m MigrationStatus, want object) error {
	problem := func(what, repair string) { c.problem(m, want.table+"."+want.name+" "+what, repair) }
	name := quote(want.name)
	alter := "ALTER TABLE " + want.table + " ALTER COLUMN " + name
	wantType, wantNotNull, wantValue := want.column()
	live, found := c.live[want.String()]
	if !found {
		if !madeWithItsTable(want) {
			return nil // the migration adds it
		}
		repair := ""
		if !wantNotNull || strings.HasPrefix(wantValue, "default ") && !strings.Contains(wantValue, "nextval") {
			repair = "ALTER TABLE " + want.table + " ADD COLUMN " + name + " " + want.definition + ";"
		}
		problem("is missing from a table that exists; if that table is not the TypeScript app's, rename it", repair)
		return nil
	}
	isType, isNotNull, isValue := live.asWanted(want).column()
	if isValue != wantValue {
		repair := alter + " SET DEFAULT " + strings.TrimPrefix(wantValue, "default ") + ";"
		switch {
		case strings.HasPrefix(isValue, "generated") && !strings.HasPrefix(wantValue, "generated"):
			repair = alter + " DROP EXPRESSION;"
		case wantValue == "":
			repair = alter + " DROP DEFAULT;"
		case strings.HasPrefix(wantValue, "generated"), strings.Contains(wantValue, "nextval"):
			repair = ""
		}
		problem("has "+orNoDefault(isValue)+", must have "+orNoDefault(wantValue), repair)
	}
	if isType != wantType {
		if length := lengthOf.FindStringSubmatch(wantType); length != nil && isText(isType) {
			err := c.rows(ctx, m, rowRule{
				table: want.table, where: "length(" + name + ") > " + length[1],
				what:   "have a " + want.name + " of more than " + length[1] + " characters",
				show:   "id, length(" + name + ")",
				repair: "UPDATE " + want.table + " SET " + name + " = left(" + name + ", " + length[1] + ")",
			})
			if err != nil {
				return err
			}
		}
		repair := ""
		switch {
		case isText(isType) && isText(wantType), strings.HasPrefix(isType, "timestamp("):
			repair = alter + " TYPE " + wantType + ";"
		case isType == "timestamp with time zone" && wantType == "timestamp without time zone":
			repair = alter + " TYPE " + wantType + " USING " + name + " AT TIME ZONE 'UTC';"
		}
		problem(fmt.Sprintf("is %s, must be %s", isType, wantType), repair)
	}
	switch {
	case wantNotNull && !isNotNull:
		r := rowRule{table: want.table, where: name + " IS NULL", what: "have no " + want.name, show: "id"}
		if value, found := strings.CutPrefix(wantValue, "default "); found {
			r.repair = "UPDATE " + want.table + " SET " + name + " = " + value
		}
		if err := c.rows(ctx, m, r); err != nil {
			return err
		}
		problem("may be NULL, must be NOT NULL", alter+" SET NOT NULL;")
	case !wantNotNull && isNotNull:
		problem("is NOT NULL, must allow NULL", alter+" DROP NOT NULL;")
	}
	return nil
}

func orNoDefault(value string) string {
	if value == "" {
		return "no default"
	}
	return value
}

// name checks that the name of an index is free, or its own: then the migration drops it
// and builds it anew, which it can't where a constraint rests on it.
func (c *checker) name(m MigrationStatus, want object) {
	is, taken := c.taken[want.name]
	switch {
	case !taken:
	case is.table != want.table:
		c.problem(m, "the name "+want.name+" is taken by "+is.definition, is.rename())
	case is.name != "" && !isConstraint(want.name):
		c.problem(m, "the index "+want.name+" is a constraint's, and has to be an index by itself",
			"ALTER TABLE "+want.table+" DROP CONSTRAINT "+quote(is.name)+";")
	}
}

// isConstraint reports whether an index of ours is a constraint's.
func isConstraint(index string) bool {
	return slices.ContainsFunc(catalog(), func(o object) bool { return o.kind == "constraint" && o.name == index })
}

// holder is what has a name of ours.
type holder struct {
	kind       string // relation or type
	table      string // the index's; empty for what is no index
	name       string // the constraint's that an index is for; empty without one
	definition string // for people
	was        string // the name
}

// rename frees the name.
func (h holder) rename() string {
	alter := "TABLE" // for views, sequences and the like, too
	switch {
	case h.kind == "type":
		alter = "TYPE"
	case h.table != "":
		alter = "INDEX"
	}
	return "ALTER " + alter + " " + h.was + " RENAME TO " + h.was + "_old;"
}

// readNames reads who has the names of our tables and indexes. Types are in the way of
// tables alone, whose row types have their names; those of the tables themselves are not.
func readNames(ctx context.Context, tx pgx.Tx) (map[string]holder, error) {
	var relations []string
	for _, o := range catalog() {
		if o.kind == "index" {
			relations = append(relations, o.name)
		}
	}
	rows, err := tx.Query(ctx, `
		SELECT CASE relkind WHEN 'c' THEN 'type' ELSE 'relation' END, relname::text, coalesce(indexed.name, ''), coalesce(conname::text, ''),
			CASE WHEN indexed.name IS NOT NULL THEN 'an index of ' || indexed.name
				ELSE 'a ' || CASE relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence'
					WHEN 'm' THEN 'materialized view' WHEN 'c' THEN 'type' WHEN 'f' THEN 'foreign table' ELSE 'relation of kind ' || relkind::text END END
		FROM pg_class AS named
		LEFT JOIN LATERAL (
			SELECT relname::text AS name FROM pg_index JOIN pg_class ON pg_class.oid = indrelid WHERE indexrelid = named.oid
		) AS indexed ON true
		LEFT JOIN pg_constraint ON conindid = named.oid AND contype IN ('p', 'u', 'x')
		WHERE named.relnamespace = quote_ident(current_schema())::regnamespace
			AND (relname = ANY ($1) OR relname = ANY ($2) AND relkind NOT IN ('r', 'p', 'c'))
		UNION ALL
		SELECT 'type', typname::text, '', '', 'a type'
		FROM pg_type
		LEFT JOIN pg_class ON pg_class.oid = typrelid
		WHERE typnamespace = quote_ident(current_schema())::regnamespace AND typname = ANY ($2) AND coalesce(relkind = 'c', true)`,
		relations, tableNames())
	if err != nil {
		return nil, err
	}
	taken := make(map[string]holder)
	var h holder
	_, err = pgx.ForEachRow(rows, []any{&h.kind, &h.was, &h.table, &h.name, &h.definition}, func() error {
		taken[h.was] = h
		return nil
	})
	return taken, err
}

// owner checks that the role may alter the tables, and build indexes on them: only their
// owner may.
func (c *checker) owner(ctx context.Context, m MigrationStatus) error {
	rows, err := c.tx.Query(ctx, `
		SELECT relname::text, relowner::regrole::text, quote_ident(current_user)
		FROM pg_class
		WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relname = ANY ($1) AND relkind IN ('r', 'p')
			AND NOT pg_has_role(relowner, 'USAGE')
		ORDER BY relname`, tableNames())
	if err != nil {
		return err
	}
	var table, owner, role string
	_, err = pgx.ForEachRow(rows, []any{&table, &owner, &role}, func() error {
		c.problem(m, table+" belongs to "+owner+", and "+role+" is not one: migrate as "+owner, "GRANT "+owner+" TO "+role+";")
		return nil
	})
	return err
}

// table checks what has the name of a table that a migration makes, if it is there.
func (c *checker) table(m MigrationStatus, want object) {
	live, found := c.live[want.String()]
	if is, taken := c.taken[want.table]; taken {
		c.problem(m, "the name "+want.table+" is taken by "+is.definition, is.rename())
		delete(c.live, want.String())
		return
	}
	switch {
	case !found:
	case strings.HasPrefix(live.definition, "partitioned"):
		c.problem(m, want.table+" is partitioned, must be an ordinary table: its indexes can't be built concurrently", "")
	case strings.HasPrefix(live.definition, "unlogged"):
		c.problem(m, want.table+" is unlogged, must be an ordinary table", "ALTER TABLE "+want.table+" SET LOGGED;")
	}
}

// madeWithItsTable reports whether one migration makes a column and its table: then a table
// that is there already never gets the column.
func madeWithItsTable(column object) bool {
	return slices.ContainsFunc(made(column.version, "table"), func(o object) bool { return o.table == column.table })
}

func isText(typ string) bool {
	return typ == "text" || strings.HasPrefix(typ, "character")
}

var (
	uniqueOn   = regexp.MustCompile(`^UNIQUE \((\w+)\)$`)
	refersTo   = regexp.MustCompile(`^FOREIGN KEY \((\w+)\) REFERENCES (\w+)\((\w+)\)$`)
	primaryKey = regexp.MustCompile(`^PRIMARY KEY `)
)

// constraint checks the rows of a table that is there without a constraint that the
// migration adds.
func (c *checker) constraint(ctx context.Context, m MigrationStatus, want object) error {
	if is, found := c.live[want.String()]; found {
		if is.definition != want.definition {
			c.problem(m, fmt.Sprintf("%s is %s, must be %s", want, is.definition, want.definition), "ALTER TABLE "+want.table+" DROP CONSTRAINT "+want.name+";")
		}
		return nil
	}
	if index, found := c.live[object{kind: "index", table: want.table, name: want.name}.String()]; found {
		repair := "ALTER INDEX " + want.name + " RENAME TO " + want.name + "_old;"
		if columns, unique := strings.CutPrefix(want.definition, "UNIQUE "); unique && index.definition == "UNIQUE btree "+columns {
			repair = "ALTER TABLE " + want.table + " ADD CONSTRAINT " + want.name + " UNIQUE USING INDEX " + want.name + ";"
		}
		c.problem(m, "the index "+want.name+" is no constraint's, and has to be one's", repair)
		return nil
	}
	switch {
	case primaryKey.MatchString(want.definition):
		repair := "ALTER TABLE " + want.table + " ADD CONSTRAINT " + want.name + " " + want.definition + ";"
		for _, o := range c.live {
			if o.kind == want.kind && o.table == want.table && o.definition == want.definition {
				repair = "ALTER TABLE " + want.table + " RENAME CONSTRAINT " + quote(o.name) + " TO " + want.name + ";"
			}
		}
		c.problem(m, want.table+" has no constraint "+want.name, repair)
	case uniqueOn.MatchString(want.definition):
		column := uniqueOn.FindStringSubmatch(want.definition)[1]
		r := rowRule{
			table: want.table, where: column + " IS NOT NULL", group: column, keep: "id",
			what: "have one " + column, show: "id, " + column,
			repair: "UPDATE " + want.table + " SET " + column + " = NULL",
		}
		if column == "email" {
			r.repair = renameEmail
		}
		return c.rows(ctx, m, r)
	case refersTo.MatchString(want.definition):
		to := refersTo.FindStringSubmatch(want.definition)
		column, table, key := to[1], to[2], to[3]
		where := column + " IS NOT NULL"
		if c.has("table", table, "") { // else none of them is
			where += " AND NOT EXISTS (SELECT FROM " + table + " WHERE " + table + "." + key + " = " + want.table + "." + column + ")"
		}
		r := rowRule{
			table: want.table, where: where,
			what: "have a " + column + " that is not in " + table, show: "id, " + column,
			repair: "DELETE FROM " + want.table,
		}
		if !c.has("table", table, "") {
			r.repair = "" // all of them: that is for a person to say
		} else if _, notNull, _ := c.live["column "+want.table+"."+column].column(); !notNull {
			r.repair = "UPDATE " + want.table + " SET " + column + " = NULL"
		}
		return c.rows(ctx, m, r)
	}
	return nil
}
