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
	live     map[string]object
	taken    map[string]object // by name, the tables and indexes that have a name of ours
	problems []Problem
	columns  bool // has found a problem with one, and can't rely on them
}

func (c *checker) has(kind, table, name string) bool {
	_, found := c.live[object{kind: kind, table: table, name: name}.String()]
	return found
}

// migration checks what one pending migration makes against what is there.
func (c *checker) migration(ctx context.Context, m MigrationStatus) error {
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
		if o.version != m.Version || o.kind != "constraint" || !c.has("table", o.table, "") || c.has("constraint", o.table, o.name) {
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
	problem := func(what, repair string) {
		c.problems = append(c.problems, Problem{Migration: m.Name, What: want.table + "." + want.name + " " + what, Repair: repair})
	}
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
	isType, isNotNull, _ := live.asWanted(want).column()
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
		case isText(isType) && isText(wantType):
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

// name checks that the name of an index is free, or is its own. Tables and indexes share
// one space of names.
func (c *checker) name(m MigrationStatus, want object) {
	is, taken := c.taken[want.name]
	if !taken || is.kind == "index" && is.table == want.table {
		return
	}
	of, alter := "a table, view or the like", "TABLE"
	if is.kind == "index" {
		of, alter = "an index of "+is.table, "INDEX"
	}
	c.problems = append(c.problems, Problem{
		Migration: m.Name, What: "the name " + want.name + " is taken by " + of,
		Repair: "ALTER " + alter + " " + want.name + " RENAME TO " + want.name + "_old;",
	})
}

// readNames reads whose the names of our indexes are.
func readNames(ctx context.Context, tx pgx.Tx) (map[string]object, error) {
	var names []string
	for _, o := range catalog() {
		if o.kind == "index" {
			names = append(names, o.name)
		}
	}
	rows, err := tx.Query(ctx, `
		SELECT name.relname::text, coalesce(indexed.relname::text, '')
		FROM pg_class AS name
		LEFT JOIN pg_index ON indexrelid = name.oid
		LEFT JOIN pg_class AS indexed ON indexed.oid = indrelid
		WHERE name.relnamespace = quote_ident(current_schema())::regnamespace AND name.relname = ANY ($1)`, names)
	if err != nil {
		return nil, err
	}
	taken := make(map[string]object)
	var name, table string
	_, err = pgx.ForEachRow(rows, []any{&name, &table}, func() error {
		taken[name] = object{kind: "table", name: name}
		if table != "" {
			taken[name] = object{kind: "index", table: table, name: name}
		}
		return nil
	})
	return taken, err
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
	switch {
	case primaryKey.MatchString(want.definition):
		repair := "ALTER TABLE " + want.table + " ADD CONSTRAINT " + want.name + " " + want.definition + ";"
		for _, o := range c.live {
			if o.kind == want.kind && o.table == want.table && o.definition == want.definition {
				repair = "ALTER TABLE " + want.table + " RENAME CONSTRAINT " + quote(o.name) + " TO " + want.name + ";"
			}
		}
		c.problems = append(c.problems, Problem{Migration: m.Name, What: want.table + " has no constraint " + want.name, Repair: repair})
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
		r := rowRule{
			table: want.table, where: column + " IS NOT NULL AND NOT EXISTS (SELECT FROM " + table + " WHERE " + table + "." + key + " = " + want.table + "." + column + ")",
			what: "have a " + column + " that is not in " + table, show: "id, " + column,
			repair: "DELETE FROM " + want.table,
		}
		if _, notNull, _ := c.live["column "+want.table+"."+column].column(); !notNull {
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
	find, separator := "SELECT id::text"+from+" ORDER BY id", ", "
	show := "SELECT " + r.show + from + " ORDER BY id;"
	repair := r.repair + " WHERE " + r.where + ";"
	if r.group != "" {
		groups := from + " GROUP BY " + r.group + " HAVING count(*) > 1"
		find, separator = "SELECT string_agg(id::text, ', ' ORDER BY id)"+groups+" ORDER BY min(id)", "; "
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
		Migration: m.Name, What: r.table + " " + strings.Join(ids, separator) + " " + r.what, Show: show, Repair: repair,
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
