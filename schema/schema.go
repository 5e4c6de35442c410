// Package schema holds the database schema as goose migrations and brings a
// database to it: an empty one, one that an earlier version of this package
// made, or one that the TypeScript app made with Drizzle, which is adopted with
// its rows as they are.
//
// # Connection
//
// Each function works on one connection of its own, opened as the pool opens
// its connections (its ConnConfig, BeforeConnect and AfterConnect; not
// PrepareConn or BeforeAcquire) and closed before the function returns. It
// takes nothing from the pool, so a pool of one connection, or a busy one, is
// enough. On that connection
//
//   - the schema is the first of the search_path that exists, and the only one
//     that is looked at or changed;
//   - TimeZone is UTC;
//   - the timeouts of statements, transactions and idle sessions are off, since
//     building an index, and waiting for who builds it, may take long: ctx
//     limits a run;
//   - lock_timeout is what [WithLockTimeout] says, else what it is, else
//     [DefaultLockTimeout], because a migration that waits for a lock makes
//     others wait behind it;
//   - client_connection_check_interval is a second, where the server can do
//     that: the server does not go on with an index for a process that was
//     killed.
//
// It must be a direct connection, not one through a proxy that pools by
// transaction (PgBouncer in that mode, for one): there neither these settings
// nor the advisory lock by which migrators exclude each other are the session's
// own.
//
// The versions that a database has stand in its table rowhouse_db_version, apart
// from those of a service that uses goose for its own tables.
//
// # Concurrency
//
// Any number of processes may call [Migrate] at once, also on an empty
// database: one applies, the others wait and then find it done. The lock is
// goose's own, so that its command line with locking on is held off, too.
// Services may go on reading and writing meanwhile: indexes are built
// CONCURRENTLY, and the rest takes its locks for moments, one table at a time.
// [Status], [Version], and Migrate with nothing pending take no lock and wait
// for nobody. [Check] and [Verify] only read.
//
// # Roles
//
// Who migrates owns the tables, and may do everything to them. A service works as a role
// that may run its operations and nothing more: [Grant].
package schema

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pressly/goose/v3"
)

// Files are the migrations, *.sql at the root, in goose's format. They are the
// only source of the schema; sqlc reads the same ones.
//
//go:embed *.sql
var Files embed.FS

// ErrNothingToRollBack is returned by [Rollback] when no migration is applied.
var ErrNothingToRollBack = errors.New("no migration is applied: there is nothing to roll back")

// Result is one migration that a run applied or rolled back.
type Result struct {
	Version  int64
	Name     string // the file's name in Files
	Duration time.Duration
}

// MigrationStatus is one migration, and whether the database has it.
type MigrationStatus struct {
	Version int64
	// Name is the file's name in Files. It is empty for a version that a newer
	// build applied and this one does not know.
	Name    string
	Applied bool
	// AppliedAt is UTC, and zero for a pending migration.
	AppliedAt time.Time
}

// Migrate applies every pending migration in order and returns those that it
// applied: none, and no error, when the database has them all. A database that
// is ahead of this build is left as it is.
//
// First it checks, as [Check] does and for as long as that takes, also where a table is
// locked. It is idempotent and may be run by many processes at once; see the package's
// documentation for what it locks. When ctx ends it stops at once, and so it
// does when a migration fails: what was applied before is returned beside the
// error and stays; of the failed migration either nothing is left, or an
// unfinished index that the next run drops and builds again.
//
// It returns a [*ProblemError], and has changed nothing, when [Check] finds what would
// stop it, and a [*MigrationError] when a migration fails. Other
// errors say that the database can't be reached, that the connection's
// search_path names no schema, that this build lacks a migration between two
// that the database has, or that ctx ended while another process migrated.
func Migrate(ctx context.Context, pool *pgxpool.Pool, with ...Option) ([]Result, error) {
	s, err := open(ctx, pool, with...)
	if err != nil {
		return nil, err
	}
	defer s.close()

	// Goose would create its table to find out, and take the lock.
	applied, err := s.applied(ctx)
	if err != nil {
		return nil, err
	}
	todo := pending(applied)
	if len(todo) == 0 {
		return nil, nil
	}
	problems, err := s.check(ctx, todo)
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return nil, &ProblemError{Problems: problems}
	}
	return s.up(ctx)
}

// Rollback rolls back the latest migration, one step, and returns it. It drops
// what the migration added, with the data in it; only the first migration,
// which made the tables, refuses as long as they hold rows. Stop what uses the
// newer schema first.
//
// It excludes Migrate and other Rollbacks, stops with ctx and repairs as
// Migrate does. It returns [ErrNothingToRollBack] when no migration is applied,
// a [*MigrationError] when the rollback fails, and another error when the
// latest migration is one that this build does not know, or the database can't
// be reached.
func Rollback(ctx context.Context, pool *pgxpool.Pool, with ...Option) (Result, error) {
	s, err := openMigrated(ctx, pool, with...)
	if err != nil {
		return Result{}, err
	}
	defer s.close()
	return s.down(ctx)
}

// RollbackTo rolls back every migration above a version, the latest first, and returns
// those that it rolled back: none when the database is at that version, or below it. 0
// rolls all of them back. Otherwise it is as [Rollback]; what it rolled back before an
// error is returned beside that, and stays so.
func RollbackTo(ctx context.Context, pool *pgxpool.Pool, version int64, with ...Option) ([]Result, error) {
	if version < 0 {
		return nil, fmt.Errorf("there is no version %d: the lowest is 0, without any migration", version)
	}
	s, err := openMigrated(ctx, pool, with...)
	if errors.Is(err, ErrNothingToRollBack) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer s.close()
	return s.downTo(ctx, version)
}

// Redo rolls the latest migration back and applies it again, and returns it. It is for
// the development of a migration, on a throwaway database: with a row in any of the
// tables it refuses, and changes nothing.
//
// Its errors are those of [Rollback] and of [Migrate].
func Redo(ctx context.Context, pool *pgxpool.Pool, with ...Option) (Result, error) {
	s, err := openMigrated(ctx, pool, with...)
	if err != nil {
		return Result{}, err
	}
	defer s.close()
	table, err := s.tableWithRows(ctx)
	if err != nil {
		return Result{}, err
	}
	if table != "" {
		return Result{}, fmt.Errorf("%s has rows: redo drops what a migration made, and is for a throwaway database without any", table)
	}
	rolledBack, err := s.down(ctx)
	if err != nil {
		return Result{}, err
	}
	done, err := s.upTo(ctx, rolledBack.Version)
	if err != nil {
		return Result{}, err
	}
	return done[0], nil
}

// openMigrated opens a session on a database that has a migration, else it returns
// ErrNothingToRollBack: goose would create its table in a database that has none.
func openMigrated(ctx context.Context, pool *pgxpool.Pool, with ...Option) (*session, error) {
	s, err := open(ctx, pool, with...)
	if err != nil {
		return nil, err
	}
	applied, err := s.applied(ctx)
	if err == nil && len(applied) == 0 {
		err = ErrNothingToRollBack
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// Status returns every migration by ascending version, the pending ones and
// those of a newer build, too. It only reads: a database that was never
// migrated stays empty, and a read-only role is enough.
func Status(ctx context.Context, pool *pgxpool.Pool) ([]MigrationStatus, error) {
	s, err := open(ctx, pool)
	if err != nil {
		return nil, err
	}
	defer s.close()

	applied, err := s.applied(ctx)
	if err != nil {
		return nil, err
	}
	return merge(known(), applied), nil
}

// Version returns the highest version that the database has, 0 when it was
// never migrated. It only reads. Compare it with [Latest]: a lower one has
// migrations pending, a higher one was migrated by a newer build.
func Version(ctx context.Context, pool *pgxpool.Pool) (int64, error) {
	s, err := open(ctx, pool)
	if err != nil {
		return 0, err
	}
	defer s.close()

	applied, err := s.applied(ctx)
	if err != nil || len(applied) == 0 {
		return 0, err
	}
	return applied[len(applied)-1].Version, nil
}

// Latest returns the version of the newest migration in [Files].
func Latest() int64 {
	all := known()
	return all[len(all)-1].Version
}

// known lists the migrations in Files, by ascending version, as pending.
func known() []MigrationStatus {
	names, err := fs.Glob(Files, "*.sql")
	if err != nil {
		panic(fmt.Sprintf("schema: %v", err)) // only a malformed pattern can fail
	}
	var all []MigrationStatus
	for _, name := range names {
		version, err := goose.NumericComponent(name)
		if err != nil {
			continue // goose passes over it, too
		}
		all = append(all, MigrationStatus{Version: version, Name: name})
	}
	slices.SortFunc(all, byVersion)
	return all
}

// pending lists the known migrations that are not among the applied ones.
func pending(applied []MigrationStatus) []MigrationStatus {
	return slices.DeleteFunc(merge(known(), applied), func(m MigrationStatus) bool { return m.Applied })
}

// merge returns the known migrations with the state of the applied ones, and
// the applied ones that are not known.
func merge(known, applied []MigrationStatus) []MigrationStatus {
	all := slices.Clone(known)
	for _, a := range applied {
		i, found := slices.BinarySearchFunc(all, a, byVersion)
		if !found {
			all = slices.Insert(all, i, a)
			continue
		}
		all[i].Applied, all[i].AppliedAt = true, a.AppliedAt
	}
	return all
}

func byVersion(a, b MigrationStatus) int {
	return cmp.Compare(a.Version, b.Version)
}
