package schema

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// versionTable has the versions that the database has. It is not goose's default, which
// is the service's own, should it use goose for its tables.
const versionTable = "rowhouse_db_version"

// session is the one connection on which a function of this package works.
//
// It is not one of the pool's: its settings are the session's, and the advisory
// lock must go when the run ends, whatever state the connection is in. Goose
// uses a single connection at a time, for a migration without a transaction the
// one that holds the lock, so one is enough.
type session struct {
	db   *sql.DB
	conn *pgx.Conn // what db is connected by; nil before

	options    options
	statements *statements
}

// open connects as the pool does. The caller closes the session.
func open(ctx context.Context, pool *pgxpool.Pool, with ...Option) (*session, error) {
	config := pool.Config()
	s := &session{statements: &statements{}}
	for _, option := range with {
		option(&s.options)
	}
	tracers := []pgx.QueryTracer{s.statements}
	if config.ConnConfig.Tracer != nil {
		tracers = append(tracers, config.ConnConfig.Tracer)
	}
	config.ConnConfig.Tracer = multitracer.New(tracers...)

	hooks := []stdlib.OptionOpenDB{stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		s.conn = conn
		err := prepare(ctx, conn, config.AfterConnect)
		if err != nil {
			// database/sql never sees this connection, and nobody else closes it.
			_ = conn.Close(context.WithoutCancel(ctx))
		}
		return err
	})}
	if config.BeforeConnect != nil {
		hooks = append(hooks, stdlib.OptionBeforeConnect(config.BeforeConnect))
	}
	s.db = stdlib.OpenDB(*config.ConnConfig, hooks...)
	s.db.SetMaxOpenConns(1)
	if err := s.db.PingContext(ctx); err != nil {
		s.close()
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	return s, nil
}

// close ends the connection, and with it the lock.
func (s *session) close() {
	_ = s.db.Close()
	if s.conn == nil {
		return
	}
	// When ctx ended, pgx tells the server to stop, but in the background. A
	// command that exits before that leaves the server building its index, under
	// the lock, for as long as that takes.
	select {
	case <-s.conn.PgConn().CleanupDone():
	case <-time.After(5 * time.Second): // the server can't be reached any more
	}
}

// prepare makes a new connection ready: the pool's own preparation, if any, and
// then ours, which must have the last word.
func prepare(ctx context.Context, conn *pgx.Conn, afterConnect func(context.Context, *pgx.Conn) error) error {
	if afterConnect != nil {
		if err := afterConnect(ctx, conn); err != nil {
			return err
		}
	}
	// One schema only: DROP INDEX IF EXISTS would go on to the next one of the
	// path, and drop the index of another copy of the tables there. UTC, because
	// the table of versions takes the session's time without its zone.
	tag, err := conn.Exec(ctx, `
		SELECT set_config('search_path', quote_ident(current_schema()), false),
			set_config('TimeZone', 'UTC', false),
			(SELECT count(set_config(name, '0', false)) FROM pg_settings WHERE name IN (
				'statement_timeout', 'transaction_timeout', 'idle_session_timeout', 'idle_in_transaction_session_timeout'))
		WHERE current_schema() IS NOT NULL`)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return errors.New("the search_path of the connection names no schema that exists: create one, or set search_path")
	}
	// A server whose client was killed goes on with the statement, under the migration
	// lock, unless it looks. Before 14, and on some systems, it can't.
	_, err = conn.Exec(ctx, `
		SELECT set_config(name, '1000', false) FROM pg_settings
		WHERE name = 'client_connection_check_interval' AND setting = '0'`)
	if _, ok := errors.AsType[*pgconn.PgError](err); ok {
		return nil
	}
	return err
}

// applied returns the migrations that the database has, by ascending version.
func (s *session) applied(ctx context.Context) ([]MigrationStatus, error) {
	var exists bool
	err := s.db.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, versionTable).Scan(&exists)
	if err != nil || !exists {
		return nil, wrapRead(err)
	}
	rows, err := s.db.QueryContext(ctx, `
		SELECT version_id, max(tstamp)
		FROM rowhouse_db_version
		WHERE version_id > 0
		GROUP BY version_id
		ORDER BY version_id`)
	if err != nil {
		return nil, wrapRead(err)
	}
	defer rows.Close()
	var applied []MigrationStatus
	for rows.Next() {
		m := MigrationStatus{Applied: true}
		if err := rows.Scan(&m.Version, &m.AppliedAt); err != nil {
			return nil, wrapRead(err)
		}
		applied = append(applied, m)
	}
	return applied, wrapRead(rows.Err())
}

func wrapRead(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("read the applied migrations: %w", err)
}

// up applies what is pending.
func (s *session) up(ctx context.Context) ([]Result, error) {
	return s.run(ctx, false, func(provider *goose.Provider) ([]*goose.MigrationResult, error) {
		return provider.Up(ctx)
	})
}

// upTo applies what is pending up to a version.
func (s *session) upTo(ctx context.Context, version int64) ([]Result, error) {
	return s.run(ctx, false, func(provider *goose.Provider) ([]*goose.MigrationResult, error) {
		return provider.UpTo(ctx, version)
	})
}

// down rolls the latest migration back.
func (s *session) down(ctx context.Context) (Result, error) {
	done, err := s.run(ctx, true, func(provider *goose.Provider) ([]*goose.MigrationResult, error) {
		done, err := provider.Down(ctx)
		if err != nil {
			return nil, err
		}
		return []*goose.MigrationResult{done}, nil
	})
	if err != nil {
		return Result{}, err
	}
	return done[0], nil
}

// downTo rolls back every migration above a version.
func (s *session) downTo(ctx context.Context, version int64) ([]Result, error) {
	return s.run(ctx, true, func(provider *goose.Provider) ([]*goose.MigrationResult, error) {
		return provider.DownTo(ctx, version)
	})
}

// run has goose migrate, again where a lock was not to be had, and returns what was done.
func (s *session) run(ctx context.Context, rollback bool, migrate func(*goose.Provider) ([]*goose.MigrationResult, error)) ([]Result, error) {
	lockTimeout, err := s.lockTimeout(ctx)
	if err != nil {
		return nil, err
	}
	provider, err := s.provider(ctx)
	if err != nil {
		return nil, err
	}
	s.statements.watch(rollback, lockTimeout, s.options.report)
	var all []Result
	for try := 1; ; try++ {
		done, err := migrate(provider)
		all = append(all, results(done)...)
		if err == nil {
			return all, nil
		}
		partial, err := s.failure(err, rollback)
		all = append(all, partial...)
		failed, ok := errors.AsType[*MigrationError](err)
		if !ok || !gotNoLock(failed.Err) {
			return all, err
		}
		if failed.tries = try; try == lockTries {
			return all, err
		}
		// For as long as it waited, at least: those whom that held up have half of the time.
		pause := max(lockTimeout, lockPause)
		pause += rand.N(pause)
		s.statements.retry(failed.Name, failed.Line, pause)
		select {
		case <-ctx.Done():
			failed.Err = ctx.Err()
			return all, failed
		case <-time.After(pause):
		}
	}
}

// lockPause is the shortest pause between two tries.
const lockPause = 10 * time.Millisecond

// lockTimeout is for how long a statement of the run may wait for a lock.
func (s *session) lockTimeout(ctx context.Context) (time.Duration, error) {
	if s.options.lockTimeout != nil {
		return *s.options.lockTimeout, nil
	}
	var milliseconds int64
	err := s.db.QueryRowContext(ctx, `SELECT setting::bigint FROM pg_settings WHERE name = 'lock_timeout'`).Scan(&milliseconds)
	if err != nil {
		return 0, fmt.Errorf("read the lock_timeout: %w", err)
	}
	if milliseconds == 0 {
		return DefaultLockTimeout, nil
	}
	return time.Duration(milliseconds) * time.Millisecond, nil
}

// SQLSTATEs (https://www.postgresql.org/docs/current/errcodes-appendix.html).
const (
	lockNotAvailable = "55P03"
	deadlockDetected = "40P01"
)

// gotNoLock reports whether a migration failed for the sake of others, not by itself.
func gotNoLock(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pgErr.Code == lockNotAvailable || pgErr.Code == deadlockDetected)
}

// provider returns goose's view of Files and the database, which has goose's
// table from here on.
func (s *session) provider(ctx context.Context) (*goose.Provider, error) {
	provider, err := goose.NewProvider(goose.DialectPostgres, s.db, Files,
		goose.WithDisableGlobalRegistry(true),
		goose.WithTableName(versionTable),
		goose.WithSessionLocker(locker{}),
		goose.WithLogger(goose.NopLogger()),
	)
	if err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	// This creates the table of versions under the lock. Up would do it before it takes
	// the lock, and a hundred processes at once would collide in there.
	if _, err := provider.GetDBVersion(ctx); err != nil {
		return nil, fmt.Errorf("prepare to migrate: %w", err)
	}
	return provider, nil
}

// failure returns what was done before goose's err, and err as this package
// tells it.
func (s *session) failure(err error, rollback bool) ([]Result, error) {
	switch {
	case errors.Is(err, goose.ErrNoNextVersion):
		return nil, ErrNothingToRollBack
	case errors.Is(err, goose.ErrVersionNotFound):
		return nil, errors.New("the database has a migration that this build does not know: roll back with the build that applied it")
	}
	partial, ok := errors.AsType[*goose.PartialError](err)
	if !ok {
		return nil, err
	}
	name := partial.Failed.Source.Path
	return results(partial.Applied), &MigrationError{
		Version:  partial.Failed.Source.Version,
		Name:     name,
		Line:     lineOf(name, s.statements.failure(), rollback),
		Err:      partial.Err,
		rollback: rollback,
	}
}

func results(done []*goose.MigrationResult) []Result {
	var all []Result
	for _, d := range done {
		all = append(all, Result{Version: d.Source.Version, Name: d.Source.Path, Duration: d.Duration})
	}
	return all
}

// locker is goose's advisory lock with another wait. Goose's own asks once a
// second at best and gives up after a number of times; a migrator has to wait
// as long as an index takes to build, and ctx says how long that may be.
type locker struct{}

// SessionLock asks again and again rather than waits in the server: a waiting
// statement holds a snapshot, CREATE INDEX CONCURRENTLY waits for that to go,
// and the two would be a deadlock.
func (l locker) SessionLock(ctx context.Context, conn *sql.Conn) error {
	return l.lock(ctx, func(locked *bool) error {
		return conn.QueryRowContext(ctx, tryLock, lock.DefaultLockID).Scan(locked)
	})
}

const tryLock = `SELECT pg_try_advisory_lock($1)`

// lock asks until it is told that the lock is had.
func (locker) lock(ctx context.Context, ask func(locked *bool) error) error {
	pause := 20 * time.Millisecond
	for {
		var locked bool
		if err := ask(&locked); err != nil {
			return fmt.Errorf("take the migration lock: %w", err)
		}
		if locked {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("another process is migrating the database, let it finish and try again: %w", ctx.Err())
		case <-time.After(pause/2 + rand.N(pause/2)):
		}
		pause = min(2*pause, time.Second)
	}
}

// SessionUnlock leaves the lock to the end of the session, which is the end of
// the run: its next step takes it once more, and nobody gets in between. The end
// also frees it where a statement can't, on a connection that ctx has broken.
func (locker) SessionUnlock(context.Context, *sql.Conn) error { return nil }

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
