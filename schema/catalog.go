package schema

import (
	"bufio"
	"context"
	_ "embed"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
)

// catalogText is what the migrations make, an object a line, behind the version that
// makes it. A test holds it equal to what they really make, and writes it anew:
//
//	go test ./schema -run TestCatalogText -update
//
//go:embed catalog.txt
var catalogText string

// object is a table, or a part of one that the server's catalog has by name.
type object struct {
	version int64 // of the migration that makes it; 0 when it was read from a database

	kind       string // table, column, constraint, index, trigger, rule
	table      string
	name       string // empty for a table
	definition string // as SQL has it, without the names; empty for an ordinary table
}

// String is the object's name, which no other has.
func (o object) String() string {
	if o.name == "" {
		return o.kind + " " + o.table
	}
	return o.kind + " " + o.table + "." + o.name
}

var columnDefinition = regexp.MustCompile(`^(.*?)( not null)?( (?:default|generated) .*)?$`)

// column takes a column's definition apart. The value is "default …", "generated …" or empty.
func (o object) column() (typ string, notNull bool, value string) {
	parts := columnDefinition.FindStringSubmatch(o.definition)
	return parts[1], parts[2] != "", strings.TrimPrefix(parts[3], " ")
}

// asWanted takes for the wanted column one that does the same: an integer that was widened
// to bigint, which the Go types hold, and a key that comes from another sequence, or is an
// identity.
func (o object) asWanted(want object) object {
	if o.kind != "column" {
		return o
	}
	// What PostgreSQL takes for the same, but writes as it was written.
	o.definition = strings.Replace(o.definition, "timestamp(6) without", "timestamp without", 1)
	o.definition = strings.Replace(o.definition, " default CURRENT_TIMESTAMP", " default now()", 1)
	if rest, wide := strings.CutPrefix(o.definition, "bigint"); wide && strings.HasPrefix(want.definition, "integer") {
		o.definition = "integer" + rest
	}
	typ, notNull, value := o.column()
	_, _, wantValue := want.column()
	const sequence = "default nextval("
	if strings.HasPrefix(wantValue, sequence) && (strings.HasPrefix(value, sequence) || strings.HasSuffix(value, " as identity")) {
		o.definition = typ
		if notNull {
			o.definition += " not null"
		}
		o.definition += " " + wantValue
	}
	return o
}

// How the definition of an index ends that the server does not use, yet or at all. Whoever
// builds one concurrently holds a lock on its table that nothing else holds for long.
const (
	building = " BUILDING"
	invalid  = " INVALID"
)

// catalog is what the migrations make, in the order of the file. It is not to be changed.
var catalog = sync.OnceValue(func() (all []object) {
	lines := bufio.NewScanner(strings.NewReader(catalogText))
	for lines.Scan() {
		version, rest, _ := strings.Cut(lines.Text(), " ")
		kind, rest, _ := strings.Cut(rest, " ")
		path, definition, _ := strings.Cut(rest, " ")
		table, name, _ := strings.Cut(path, ".")
		number, err := strconv.ParseInt(version, 10, 64)
		if err != nil {
			panic(fmt.Sprintf("schema: catalog.txt: %v", err)) // the test would have failed
		}
		all = append(all, object{number, kind, table, name, definition})
	}
	return all
})

// made is what one migration makes of a kind.
func made(version int64, kind string) (all []object) {
	for _, o := range catalog() {
		if o.version == version && o.kind == kind {
			all = append(all, o)
		}
	}
	return all
}

// tableNames are the tables that the migrations make.
func tableNames() []string {
	var names []string
	for _, o := range catalog() {
		if o.kind == "table" {
			names = append(names, o.table)
		}
	}
	return names
}

// readCatalog reads those of the tables that the connection's schema has, with all that is
// on them, in the order of catalog.txt.
//
// PostgreSQL 18 has constraints for NOT NULL, of type n; they are seen as the columns'.
// What is set to tune an index (WITH) is nobody's business but the operator's.
func readCatalog(ctx context.Context, conn *pgx.Conn, tables []string) ([]object, error) {
	rows, err := conn.Query(ctx, `
		WITH tables AS (
			SELECT oid AS relation, relname AS name, relkind, relpersistence, relrowsecurity
			FROM pg_class
			WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relkind NOT IN ('i', 'I', 'S', 't', 'c')
				AND relname = ANY ($1)
		),
		objects (place, number, kind, table_name, name, definition) AS (
			SELECT 1, 0, 'table', name, '',
				concat_ws(', ',
					CASE relkind WHEN 'r' THEN NULL WHEN 'p' THEN 'partitioned' WHEN 'v' THEN 'a view' ELSE 'of kind ' || relkind::text END,
					CASE relpersistence WHEN 'p' THEN NULL WHEN 'u' THEN 'unlogged' ELSE 'temporary' END,
					CASE WHEN relrowsecurity THEN 'with row level security' END
				)
			FROM tables
			UNION ALL
			SELECT 2, attnum, 'column', name, attname, format_type(atttypid, atttypmod)
				|| CASE WHEN attcollation <> 0 AND attcollation <> '"default"'::regcollation THEN ' collate ' || attcollation::regcollation ELSE '' END
				|| CASE WHEN attnotnull THEN ' not null' ELSE '' END
				|| CASE attidentity WHEN 'a' THEN ' generated always as identity' WHEN 'd' THEN ' generated by default as identity' ELSE '' END
				|| coalesce(CASE attgenerated WHEN '' THEN ' default ' ELSE ' generated always as ' END || pg_get_expr(adbin, adrelid), '')
			FROM tables
			JOIN pg_attribute ON attrelid = relation AND attnum > 0 AND NOT attisdropped
			LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
			UNION ALL
			SELECT 3, 0, 'constraint', name, conname, pg_get_constraintdef(pg_constraint.oid)
			FROM tables
			JOIN pg_constraint ON conrelid = relation AND contype IN ('p', 'u', 'f', 'c', 'x')
			UNION ALL
			SELECT 4, 0, 'index', tables.name, pg_class.relname, CASE WHEN indisunique THEN 'UNIQUE ' ELSE '' END
				|| regexp_replace(substr(definition, strpos(definition, ' USING ') + 7), ' WITH \([^)]*\)', '')
				|| CASE WHEN indisvalid AND indisready THEN ''
					WHEN EXISTS (SELECT FROM pg_locks WHERE relation = indrelid AND mode = 'ShareUpdateExclusiveLock' AND granted) THEN $2
					ELSE $3 END
			FROM tables
			JOIN pg_index ON indrelid = relation
			JOIN pg_class ON pg_class.oid = indexrelid
			CROSS JOIN pg_get_indexdef(indexrelid) AS definition
			UNION ALL
			SELECT 5, 0, 'trigger', name, tgname, pg_get_triggerdef(pg_trigger.oid)
			FROM tables
			JOIN pg_trigger ON tgrelid = relation AND NOT tgisinternal
			UNION ALL
			SELECT 6, 0, 'rule', name, rulename, pg_get_ruledef(pg_rewrite.oid)
			FROM tables
			JOIN pg_rewrite ON ev_class = relation AND rulename <> '_RETURN'
		)
		SELECT kind, table_name::text, name::text, regexp_replace(definition, '\s+', ' ', 'g')
		FROM objects
		ORDER BY table_name COLLATE "C", place, number, name COLLATE "C"`, tables, building, invalid)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (o object, err error) {
		err = row.Scan(&o.kind, &o.table, &o.name, &o.definition)
		return o, err
	})
}
