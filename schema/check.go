package schema

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Problem is something in the database that stops a pending migration, or that the
// migration would leave as it is and must not.
type Problem struct {
	Migration string // the file's name in Files
	What      string // names the rows by their ids, or the object that differs
	// Show is a statement that returns the rows. It is empty for a problem without rows.
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
// migrations: tables of these names that have other columns or constraints, or another
// owner; names that are taken; rows that break a constraint or a unique index which is
// about to be made; values that are too long. It returns nothing for an empty database,
// and when no migration is pending.
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
	for _, o := range made(m.Version, "table") {
		c.table(m, o)
	}
	before := len(c.problems)
	for _, o := range made(m.Version, "column") {
		if !c.has("table", o.table, "") {
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
	for _, o := range made(m.Version, "index") {
		c.name(m, o)
	}
	for _, o := range made(m.Version, "constraint") {
		if !c.has("table", o.table, "") {
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
