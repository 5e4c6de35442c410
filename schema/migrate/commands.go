package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rowhouse/rowhouse/schema"
)

// command is one that the command line can name. It fills the report also when it fails,
// with what was done before.
type command struct {
	name       string
	argument   string // what it is called in the usage; empty for none
	onDatabase bool
	dryRun     bool // -dry-run is for it
	run        func(ctx context.Context, pool *pgxpool.Pool, in invocation, done *report) error
}

var commands = []command{
	{"check", "", true, false, check},
	{"up", "", true, true, up},
	{"verify", "", true, false, verify},
	{"status", "", true, false, status},
	{"version", "", true, false, version},
	{"grant", "", true, true, grant},
	{"down", "", true, true, down},
	{"down-to", "VERSION", true, true, downTo},
	{"redo", "", true, true, redo},
	{"create", "NAME", false, false, create},
}

func commandNames() string {
	var names []string
	for _, c := range commands {
		names = append(names, c.name)
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

func check(ctx context.Context, pool *pgxpool.Pool, _ invocation, done *report) error {
	problems, err := schema.Check(ctx, pool)
	if err != nil {
		return err
	}
	return found(problems, done)
}

// found reports problems, none also.
func found(problems []schema.Problem, done *report) error {
	done.Problems = []problem{}
	for _, p := range problems {
		done.Problems = append(done.Problems, problem(p))
	}
	switch len(problems) {
	case 0:
		return nil
	case 1:
		return foundError("a problem stops the migration")
	}
	return foundError(fmt.Sprintf("%d problems stop the migration", len(problems)))
}

func up(ctx context.Context, pool *pgxpool.Pool, in invocation, done *report) error {
	if in.dryRun {
		return plan(ctx, pool, done, func(all []schema.MigrationStatus) []step {
			return steps(all, false, func(m schema.MigrationStatus) bool { return !m.Applied })
		})
	}
	results, err := schema.Migrate(ctx, pool, in.options...)
	done.Applied = resultsOf(results)
	if refused, ok := errors.AsType[*schema.ProblemError](err); ok {
		return fmt.Errorf("nothing was changed: %w", found(refused.Problems, done))
	}
	return errors.Join(err, done.readVersion(ctx, pool, err))
}

func verify(ctx context.Context, pool *pgxpool.Pool, _ invocation, done *report) error {
	err := schema.Verify(ctx, pool)
	done.Differences = []string{}
	if drift, ok := errors.AsType[*schema.DriftError](err); ok {
		done.Differences = drift.Differences
		return errors.Join(foundError("the database is not what the migrations make"), done.readVersion(ctx, pool, nil))
	}
	if other, ok := errors.AsType[*schema.VersionError](err); ok {
		done.Version = &other.Database
		done.Differences = nil // it was not compared
		return foundError(other.Error())
	}
	return errors.Join(err, done.readVersion(ctx, pool, err))
}

func status(ctx context.Context, pool *pgxpool.Pool, _ invocation, done *report) error {
	all, err := schema.Status(ctx, pool)
	if err != nil {
		return err
	}
	done.Version = new(int64)
	done.Migrations = []migration{}
	for _, m := range all {
		row := migration{Version: m.Version, Name: m.Name, Applied: m.Applied}
		if m.Applied {
			row.AppliedAt = &m.AppliedAt
			*done.Version = m.Version
		}
		done.Migrations = append(done.Migrations, row)
	}
	return nil
}

func version(ctx context.Context, pool *pgxpool.Pool, _ invocation, done *report) error {
	return done.readVersion(ctx, pool, nil)
}

func grant(ctx context.Context, pool *pgxpool.Pool, in invocation, done *report) error {
	run := schema.Grant
	if in.dryRun {
		run = schema.PlanGrant
	}
	statements, err := run(ctx, pool, in.grants)
	more, ok := errors.AsType[*schema.ExcessError](err)
	if err != nil && !ok {
		return err
	}
	done.Statements = append([]string{}, statements...)
	done.Excess = []excess{}
	if !ok {
		return nil
	}
	for _, e := range more.Excess {
		done.Excess = append(done.Excess, excess(e))
	}
	return foundError("a role may do more than its operations, by rights that grant does not take")
}

func down(ctx context.Context, pool *pgxpool.Pool, in invocation, done *report) error {
	if in.dryRun {
		return plan(ctx, pool, done, func(all []schema.MigrationStatus) []step {
			return latest(steps(all, true, func(m schema.MigrationStatus) bool { return m.Applied }))
		})
	}
	result, err := schema.Rollback(ctx, pool, in.options...)
	if err == nil {
		done.RolledBack = resultsOf([]schema.Result{result})
	}
	return errors.Join(err, done.readVersion(ctx, pool, err))
}

func downTo(ctx context.Context, pool *pgxpool.Pool, in invocation, done *report) error {
	to, err := strconv.ParseInt(in.argument, 10, 64)
	if err != nil || to < 0 {
		return usageError("down-to takes the number of a version, 0 for none")
	}
	if in.dryRun {
		return plan(ctx, pool, done, func(all []schema.MigrationStatus) []step {
			return steps(all, true, func(m schema.MigrationStatus) bool { return m.Applied && m.Version > to })
		})
	}
	results, err := schema.RollbackTo(ctx, pool, to, in.options...)
	done.RolledBack = resultsOf(results)
	return errors.Join(err, done.readVersion(ctx, pool, err))
}

func redo(ctx context.Context, pool *pgxpool.Pool, in invocation, done *report) error {
	if in.dryRun {
		return plan(ctx, pool, done, func(all []schema.MigrationStatus) []step {
			back := latest(steps(all, true, func(m schema.MigrationStatus) bool { return m.Applied }))
			return append(back, steps(all, false, func(m schema.MigrationStatus) bool { return len(back) > 0 && m.Version == back[0].Version })...)
		})
	}
	result, err := schema.Redo(ctx, pool, in.options...)
	if err == nil {
		done.Redone = resultsOf([]schema.Result{result})
	}
	return errors.Join(err, done.readVersion(ctx, pool, err))
}

// plan reports the steps that a run would take.
func plan(ctx context.Context, pool *pgxpool.Pool, done *report, choose func([]schema.MigrationStatus) []step) error {
	all, err := schema.Status(ctx, pool)
	if err != nil {
		return err
	}
	done.Plan = choose(all)
	return done.readVersion(ctx, pool, nil)
}

// steps are the SQL of the migrations that are wanted, in the order in which they run.
func steps(all []schema.MigrationStatus, down bool, wanted func(schema.MigrationStatus) bool) []step {
	chosen := []step{}
	for _, m := range all {
		if wanted(m) {
			chosen = append(chosen, newStep(m, down))
		}
	}
	if down {
		slices.Reverse(chosen)
	}
	return chosen
}

func latest(chosen []step) []step { return chosen[:min(1, len(chosen))] }

// newStep reads a migration's part of the one direction. That of a newer build has none
// here.
func newStep(m schema.MigrationStatus, down bool) step {
	s := step{Version: m.Version, Name: m.Name, Direction: "up", Transaction: true}
	if down {
		s.Direction = "down"
	}
	content, err := schema.Files.ReadFile(m.Name)
	if err != nil {
		return s
	}
	head, rest, _ := strings.Cut(string(content), "-- +goose Up\n")
	upward, downward, _ := strings.Cut(rest, "-- +goose Down\n")
	s.Transaction = !strings.Contains(head, "-- +goose NO TRANSACTION")
	s.SQL = strings.TrimSpace(upward)
	if down {
		s.SQL = strings.TrimSpace(downward)
	}
	return s
}

var migrationName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

const emptyMigration = `-- What it is for, and why it is safe beside a running service.

-- +goose Up

-- +goose Down
`

// create writes the file of the next migration. It never writes over one.
func create(_ context.Context, _ *pgxpool.Pool, in invocation, done *report) error {
	if !migrationName.MatchString(in.argument) {
		return usageError("a migration's name has lower-case letters, digits and underscores, such as add_locale")
	}
	files, err := filepath.Glob(filepath.Join(in.dir, "[0-9]*_*.sql"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("there are no migrations in %s: run it in the root of the repository, or give -dir", in.dir)
	}
	highest := 0
	for _, file := range files {
		digits, _, _ := strings.Cut(filepath.Base(file), "_")
		if n, err := strconv.Atoi(digits); err == nil {
			highest = max(highest, n)
		}
	}
	name := filepath.Join(in.dir, fmt.Sprintf("%05d_%s.sql", highest+1, in.argument))
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	done.File = name
	_, err = file.WriteString(emptyMigration)
	return errors.Join(err, file.Close())
}
