package schema

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// session is the one connection on which a function of this package works.
//
// It is not one of the pool's: its settings are the session's, and the advisory
// lock must go when the run ends, whatever state the connection is in. Goose
// uses a single connection at a time, for a migration without a transaction the
// one that holds the lock, so one is enough.
type session struct {
	db   *sql.DB
	conn *pgx.Conn // what db is connected by; nil before
	// failed records the statement that failed, which goose does not tell.
	failed *failedStatement
}

// open connects as the pool does. The caller closes the session.
func open(ctx context.Context, pool *pgxpool.Pool) (*session, error) {
	config := pool.Config()
	s := &session{failed: &failedStatement{}}
	tracers := []pgx.QueryTracer{s.failed}
	if config.ConnConfig.Tracer != nil {
		tracers = append(tracers, config.ConnConfig.Tracer)
	}
	config.ConnConfig.Tracer = multitracer.New(tracers...)

	options := []stdlib.OptionOpenDB{stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		s.conn = conn
		err := prepare(ctx, conn, config.AfterConnect)
		if err != nil {
			// database/sql never sees this connection, and nobody else closes it.
			_ = conn.Close(context.WithoutCancel(ctx))
		}
		return err
	})}
	if config.BeforeConnect != nil {
		options = append(options, stdlib.OptionBeforeConnect(config.BeforeConnect))
	}
	s.db = stdlib.OpenDB(*config.ConnConfig, options...)
	s.db.SetMaxOpenConns(1)
	if err := s.db.PingContext(ctx); err != nil {
		s.close()
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	s.failed.reset() // a hook of the pool's may try things
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
	// goose's table takes the session's time without its zone.
	tag, err := conn.Exec(ctx, `
		SELECT set_config('search_path', quote_ident(current_schema()), false),
			set_config('TimeZone', 'UTC', false),
			set_config('statement_timeout', '0', false)
		WHERE current_schema() IS NOT NULL`)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return errors.New("the search_path of the connection names no schema that exists: create one, or set search_path")
	}
	return nil
}

// applied returns the migrations that the database has, by ascending version.
func (s *session) applied(ctx context.Context) ([]MigrationStatus, error) {
	var exists bool
	err := s.db.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, goose.DefaultTablename).Scan(&exists)
	if err != nil || !exists {
		return nil, wrapRead(err)
	}
	rows, err := s.db.QueryContext(ctx, `
		SELECT version_id, max(tstamp)
		FROM goose_db_version
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
	provider, err := s.provider(ctx)
	if err != nil {
		return nil, err
	}
	done, err := provider.Up(ctx)
	if err != nil {
		partial, err := s.failure(err, false)
		return partial, err
	}
	return results(done), nil
}

// down rolls the latest migration back.
func (s *session) down(ctx context.Context) (Result, error) {
	provider, err := s.provider(ctx)
	if err != nil {
		return Result{}, err
	}
	done, err := provider.Down(ctx)
	switch {
	case errors.Is(err, goose.ErrNoNextVersion):
		return Result{}, ErrNothingToRollBack
	case errors.Is(err, goose.ErrVersionNotFound):
		return Result{}, errors.New("the database has a migration that this build does not know: roll back with the build that applied it")
	case err != nil:
		_, err := s.failure(err, true)
		return Result{}, err
	}
	return results([]*goose.MigrationResult{done})[0], nil
}

// provider returns goose's view of Files and the database, which has goose's
// table from here on.
func (s *session) provider(ctx context.Context) (*goose.Provider, error) {
	provider, err := goose.NewProvider(goose.DialectPostgres, s.db, Files,
		goose.WithDisableGlobalRegistry(true),
		goose.WithSessionLocker(locker{}),
		goose.WithLogger(goose.NopLogger()),
	)
	if err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	// This creates goose's table under the lock. Up would do it before it takes
	// the lock, and a hundred processes at once would collide in there.
	if _, err := provider.GetDBVersion(ctx); err != nil {
		return nil, fmt.Errorf("prepare to migrate: %w", err)
	}
	return provider, nil
}

// failure returns what was applied before goose's err, and err as this package
// tells it.
func (s *session) failure(err error, rollback bool) ([]Result, error) {
	partial, ok := errors.AsType[*goose.PartialError](err)
	if !ok {
		return nil, err
	}
	name := partial.Failed.Source.Path
	return results(partial.Applied), &MigrationError{
		Version:  partial.Failed.Source.Version,
		Name:     name,
		Line:     lineOf(name, s.failed.statement(), rollback),
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
func (locker) SessionLock(ctx context.Context, conn *sql.Conn) error {
	pause := 20 * time.Millisecond
	for {
		var locked bool
		row := conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1)`, lock.DefaultLockID)
		if err := row.Scan(&locked); err != nil {
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

// failedStatement is a tracer that keeps the first statement that failed. It
// locks, because database/sql rolls a transaction back in a goroutine of its own
// when ctx ends.
type failedStatement struct {
	mu           sync.Mutex
	running, sql string
}

// TraceQueryStart implements [pgx.QueryTracer].
func (f *failedStatement) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running = data.SQL
	return ctx
}

// TraceQueryEnd implements [pgx.QueryTracer].
func (f *failedStatement) TraceQueryEnd(_ context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if data.Err != nil && f.sql == "" {
		f.sql = f.running
	}
}

func (f *failedStatement) statement() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sql
}

func (f *failedStatement) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running, f.sql = "", ""
}
