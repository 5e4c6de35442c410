package schema

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Problem is something in the database that stops a pending migration, or that the
// migration would leave as it is and must not.
type Problem struct {
	Migration string // the file's name in Files
	What      string // names the rows by their ids, or the column
	// Show is a statement that returns the rows. It is empty for a problem of a column.
	Show string
	// Repair is a statement that solves the problem in one way. It is empty where only
	// you can know. Read it, and what Show returns, before you run it: of rows that may
	// not be there twice it keeps one as it is.
	Repair string
}

// String is the problem in one to three lines.
func (p Problem) String() string {
	text := p.Migration + ": " + p.What
	if p.Show != "" {
		text += "\n  show:   " + p.Show
	}
	if p.Repair != "" {
		text += "\n  repair: " + p.Repair
	}
	return text
}

// ProblemError is returned by [Migrate] when [Check] finds a problem.
type ProblemError struct {
	Problems []Problem // at least one
}

// Error has the problems as Check found them.
func (e *ProblemError) Error() string {
	var b strings.Builder
	b.WriteString("the database is not ready to be migrated, and nothing was changed:")
	for _, p := range e.Problems {
		b.WriteString("\n" + p.String())
	}
	return b.String()
}

// Check returns what in the database would stop a pending migration, in the order of the
// migrations: tables of these names that have other columns, rows that break a constraint
// or a unique index which is about to be made, values that are too long. It returns
// nothing for an empty database, and when no migration is pending.
//
// It only reads, on one snapshot, and takes no lock that anybody waits for; it waits, within
// ctx, for whoever has a table to itself. Before the first migrations it reads every row of
// the tables once.
//
// [Migrate] does the same first. A row that comes in between can still stop it: then a
// unique index is not made, the migration fails, and the next Check names the rows.
func Check(ctx context.Context, pool *pgxpool.Pool) ([]Problem, error) {
	s, err := open(ctx, pool)
	if err != nil {
		return nil, err
	}
	defer s.close()

	applied, err := s.applied(ctx)
	if err != nil {
		return nil, err
	}
	return s.check(ctx, pending(applied))
}

func (s *session) check(ctx context.Context, pending []MigrationStatus) ([]Problem, error) {
	var problems []Problem
	err := pgx.BeginTxFunc(ctx, s.conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		live, err := readCatalog(ctx, tx.Conn(), tableNames())
		if err != nil {
			return err
		}
		c := checker{tx: tx, live: make(map[string]object, len(live))}
		for _, o := range live {
			c.live[o.String()] = o
		}
		if c.taken, err = readNames(ctx, tx); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, `SELECT current_schema()::text`).Scan(&c.schema); err != nil {
			return err
		}
		if len(pending) > 0 {
			if err := c.owner(ctx, pending[0]); err != nil {
				return err
			}
		}
		for _, m := range pending {
			if err := c.migration(ctx, m); err != nil {
				return err
			}
		}
		problems = c.problems
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("check the database: %w", err)
	}
	return problems, nil
}

// checker looks for the problems of one database.
type checker struct {
	tx       pgx.Tx
	schema   string
	live     map[string]object
	taken    map[string]holder // by name, who has one of ours
	problems []Problem
	columns  bool // has found a problem with one, and can't rely on them
}

func (c *checker) has(kind, table, name string) bool {
	_, found := c.live[object{kind: kind, table: table, name: name}.String()]
	return found
}

// problem adds one that no rows are to be shown for.
func (c *checker) problem(m MigrationStatus, what, repair string) {
	c.problems = append(c.problems, Problem{Migration: m.Name, What: what, Repair: c.here(repair)})
}

// here makes a statement one for the schema that was looked at, wherever it is run.
func (c *checker) here(statement string) string {
	if statement == "" || c.schema == "public" {
		return statement
	}
	return "SET search_path = " + quote(c.schema) + "; " + statement
}

// migration checks what one pending migration makes against what is there.
func (c *checker) migration(ctx context.Context, m MigrationStatus) error {
	for _, o := range catalog() {
		if o.version == m.Version && o.kind == "table" {
			c.table(m, o)
		}
	}
	before := len(c.problems)
	for _, o := range catalog() {
		if o.version != m.Version || o.kind != "column" || !c.has("table", o.table, "") {
			continue
		}
		if err := c.column(ctx, m, o); err != nil {
			return err
		}
	}
	c.columns = c.columns || len(c.problems) > before
	if c.columns {
		return nil
	}
	for _, o := range catalog() {
		if o.version == m.Version && o.kind == "index" {
			c.name(m, o)
		}
	}
	for _, o := range catalog() {
		if o.version != m.Version || o.kind != "constraint" || !c.has("table", o.table, "") {
			continue
		}
		if err := c.constraint(ctx, m, o); err != nil {
			return err
		}
	}
	for _, r := range rowRules {
		if r.version != m.Version || !c.has("table", r.table, "") {
			continue
		}
		if err := c.rows(ctx, m, r); err != nil {
			return err
		}
	}
	return nil
}

var lengthOf = regexp.MustCompile(`^character varying\((\d+)\)$`)

// column checks a column of a table that is there already, which the migration leaves as
// it is. What differs in its default alone works.
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
	switch isGenerated := strings.HasPrefix(isValue, "generated"); {
	case isGenerated && !strings.HasPrefix(wantValue, "generated"):
		problem("is "+isValue+", must take what is written", alter+" DROP EXPRESSION;")
	case wantValue != "" && isValue == "":
		repair := ""
		if strings.HasPrefix(wantValue, "default ") && !strings.Contains(wantValue, "nextval") {
			repair = alter + " SET " + strings.Replace(wantValue, "default", "DEFAULT", 1) + ";"
		}
		problem("has no default, must have "+wantValue, repair)
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
	return slices.ContainsFunc(catalog(), func(o object) bool {
		return o.kind == "table" && o.table == column.table && o.version == column.version
	})
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

// rowRule finds rows that a migration can't take.
type rowRule struct {
	version int64
	table   string
	where   string // the rows that it is about; empty for all
	group   string // what they may not share; empty when each of them is wrong by itself
	keep    string // the order whose first row of a group stays
	what    string // what is wrong with the rows, after the table's name and their ids
	show    string // the columns that a person needs to decide
	repair  string // the statement without its WHERE
}

// renameEmail frees an e-mail, and leaves one that is nobody else's.
const renameEmail = "UPDATE users SET email = left(email, 240 - length(id::text)) || '-' || id || '-duplicate'"

// indexable is the size in bytes that an action may have on disk, for the index by team,
// action, time and id: 2,704 for an entry (PostgreSQL's nbtree.h), less 8 for its head, 4
// for the action's, 4, 8 and 4 for the other columns, and what aligns them.
const indexable = 2672

// rowRules are those of the unique indexes, which the TypeScript app checks in code alone,
// and of the log's.
var rowRules = []rowRule{
	{
		version: 2, table: "users", where: "deleted_at IS NULL", group: "lower(email)", keep: "id",
		what: "are live and have one e-mail", show: "id, email, created_at",
		repair: renameEmail,
	},
	{
		version: 2, table: "team_members", group: "team_id, user_id", keep: "role = 'owner' DESC, joined_at, id",
		what: "are one user in one team", show: "id, team_id, user_id, role, joined_at",
		repair: "DELETE FROM team_members",
	},
	{
		version: 2, table: "invitations", where: "status = 'pending'", group: "team_id, lower(email)", keep: "invited_at DESC, id DESC",
		what: "are pending, of one team, for one e-mail", show: "id, team_id, email, role, invited_at",
		repair: "UPDATE invitations SET status = 'canceled'",
	},
	{
		version: 4, table: "activity_logs", where: fmt.Sprintf("pg_column_size(action) > %d", indexable),
		what: "have an action that is too long for an index", show: "id, team_id, length(action)",
		repair: "UPDATE activity_logs SET action = left(action, 100)",
	},
}

// named is how many groups of rows, or rows, a problem names. Its statement shows all.
const named = 20

// rows looks for the rows of a rule.
func (c *checker) rows(ctx context.Context, m MigrationStatus, r rowRule) error {
	from := " FROM " + r.table
	if r.where != "" {
		from += " WHERE " + r.where
	}
	find, separator := "SELECT coalesce(id::text, 'NULL')"+from+" ORDER BY id", ", "
	show := "SELECT " + r.show + from + " ORDER BY id;"
	repair := r.repair + " WHERE " + r.where + ";"
	if r.group != "" {
		groups := from + " GROUP BY " + r.group + " HAVING count(*) > 1"
		find = fmt.Sprintf("SELECT array_to_string((array_agg(id::text ORDER BY id))[1:%d], ', ') || CASE WHEN count(*) > %[1]d THEN ' and more' ELSE '' END", named) +
			groups + " ORDER BY min(id)"
		separator = "; "
		show = "SELECT " + r.show + " FROM " + r.table + " WHERE (" + r.group + ") IN (SELECT " + r.group + groups + ")"
		if r.where != "" {
			show += " AND " + r.where
		}
		show += " ORDER BY " + r.group + ", id;"
		repair = r.repair + " WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY " + r.group + " ORDER BY " + r.keep + ") AS place" + from + ") AS ranked WHERE place > 1);"
	}
	if r.repair == "" {
		repair = ""
	}
	rows, err := c.tx.Query(ctx, fmt.Sprintf("%s LIMIT %d", find, named+1))
	if err != nil {
		return err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(ids) == 0 {
		return err
	}
	if len(ids) > named {
		ids[named] = "and more"
	}
	c.problems = append(c.problems, Problem{
		Migration: m.Name, What: r.table + " " + strings.Join(ids, separator) + " " + r.what, Show: c.here(show), Repair: c.here(repair),
	})
	return nil
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// tableWithRows returns one of the tables that has rows; none when all are empty.
func (s *session) tableWithRows(ctx context.Context) (string, error) {
	live, err := readCatalog(ctx, s.conn, tableNames())
	if err != nil {
		return "", fmt.Errorf("read the catalog: %w", err)
	}
	for _, o := range live {
		if o.kind != "table" {
			continue
		}
		var rows bool
		if err := s.conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+o.table+")").Scan(&rows); err != nil {
			return "", fmt.Errorf("look for rows in %s: %w", o.table, err)
		}
		if rows {
			return o.table, nil
		}
	}
	return "", nil
}
