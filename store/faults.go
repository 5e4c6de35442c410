package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rowhouse/rowhouse/db"
)

// What an error says of an attempt is decided here, and here alone is an attempt repeated.

// fault is what became of an attempt that failed.
type fault uint8

const (
	final     fault = iota // nothing was done, and the same would come of trying again
	contended              // nothing was done: Postgres ended it for the sake of another transaction
	lost                   // no harm in trying again: it had no connection, was not sent, or reads
	unknown                // it was sent, and no answer came
)

const (
	txAttempts   = 5                    // the first one included
	txRetryPause = 5 * time.Millisecond // doubles with each attempt, half of it random
)

// retry runs an attempt, which is one transaction, until it is known what became of it:
// again while it is contended, and once more when it is lost, this time on a connection
// that has answered. It is told so by again.
func (s *Store) retry(ctx context.Context, attempt func(again bool) (fault, error)) error {
	pause, again := txRetryPause, false
	for n := 1; ; n++ {
		became, err := attempt(again)
		switch {
		case err == nil:
			return nil
		case became == unknown:
			return &outcomeUnknownError{err}
		case became == lost && !again && ctx.Err() == nil:
			again = true
		case became == contended && n < txAttempts:
			select {
			case <-ctx.Done():
				return fmt.Errorf("%w, and no time is left to try again: %w", err, context.Cause(ctx))
			case <-time.After(pause/2 + rand.N(pause/2)):
			}
			pause *= 2
		default:
			return err
		}
	}
}

// session is where an attempt runs: a connection of the pool, or a transaction.
type session interface {
	db.DBTX
	SendBatch(context.Context, *pgx.Batch) pgx.BatchResults
}

// write runs f, whose statements are one transaction that changes something. Inside InTx
// they are a part of one, which has not committed whatever becomes of them.
//
// f returns what pgx returned: what that is not known to mean is an unknown outcome.
func (s *Store) write(ctx context.Context, f func(session) error) error {
	if s.tx != nil {
		return f(s.tx)
	}
	return s.retry(ctx, func(again bool) (fault, error) { return s.attempt(ctx, again, f) })
}

// read runs f, whose statements change nothing.
func (s *Store) read(ctx context.Context, f func(session) error) error {
	if s.tx != nil {
		return f(s.tx)
	}
	return s.retry(ctx, func(again bool) (fault, error) {
		became, err := s.attempt(ctx, again, f)
		if became == unknown {
			became = lost
		}
		return became, err
	})
}

func (s *Store) attempt(ctx context.Context, again bool, f func(session) error) (fault, error) {
	conn, err := s.acquire(ctx, again)
	if err != nil {
		return lost, err
	}
	defer conn.Release()
	err = f(conn)
	return outcome(err), err
}

// acquire takes a connection from the pool. What broke one has most often broken the idle
// ones beside it: when it is to be alive it is asked, and the dead ones are cleared away.
func (s *Store) acquire(ctx context.Context, alive bool) (conn *pgxpool.Conn, err error) {
	if !alive {
		conn, err = s.pool.Acquire(ctx)
		if err == nil && conn.Conn().IsClosed() { // said here, where it means that nothing was sent
			conn.Release()
			return nil, pgconn.ErrConnClosed
		}
		return conn, err
	}
	for range s.pool.Stat().MaxConns() + 1 {
		conn, err = s.pool.Acquire(ctx)
		if err != nil {
			return nil, err
		}
		if err = conn.Ping(ctx); err == nil {
			return conn, nil
		}
		conn.Release() // which closes it
		if ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

// outcome is what an error of pgx says of the statements that were to run on a
// connection. Certain is only what is proved: pgx's errors are many, and some of them come
// after the commit, such as that of an answer that can't be decoded.
func outcome(err error) fault {
	switch {
	case err == nil,
		errors.Is(err, pgx.ErrNoRows),           // after the whole answer
		errors.Is(err, pgx.ErrTxCommitRollback): // which is an answer
		return final
	case serverRefused(err):
		if retryable(err) {
			return contended
		}
		return final
	}
	// A batch is prepared, and its arguments are encoded, before any of it is sent.
	if _, unsent := errors.AsType[pgx.ErrPreprocessingBatch](err); unsent {
		return lost
	}
	// In the simple protocol pgx says that the connection is closed, which is safe to retry,
	// also where reading the answer has closed it.
	if pgconn.SafeToRetry(err) && !errors.Is(err, pgconn.ErrConnClosed) {
		return lost
	}
	return unknown
}

// serverRefused reports whether the server answered with an error that undid the
// transaction. FATAL and PANIC are the end of the connection, which may come after a
// commit; so may, from a proxy, what is said of a connection at all.
func serverRefused(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || len(e.Code) != 5 {
		return false
	}
	severity := e.SeverityUnlocalized
	if severity == "" { // not from PostgreSQL itself
		severity = e.Severity
	}
	return severity == "ERROR" && e.Code[:2] != connectionException && e.Code[:3] != shutdown && e.Code != completionUnknown
}

// retryable reports whether Postgres ended a transaction for the sake of another one.
func retryable(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == serializationFailure || e.Code == deadlockDetected)
}

// outcomeUnknownError is [ErrOutcomeUnknown], with what became of the connection.
type outcomeUnknownError struct{ cause error }

func (e *outcomeUnknownError) Error() string {
	return fmt.Sprintf("%v: %v", ErrOutcomeUnknown, e.cause)
}
func (e *outcomeUnknownError) Unwrap() []error { return []error{ErrOutcomeUnknown, e.cause} }

// reads is a db.DBTX for queries that change nothing, outside InTx. A QueryRow is
// repeated; the rows of a Query are its caller's, who repeats both by the function of that
// name.
type reads struct{ s *Store }

func (r reads) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	row := readRows.Get().(*readRow)
	*row = readRow{r.s, ctx, sql, args}
	return row
}

func (r reads) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return r.s.pool.Query(ctx, sql, args...)
}

// Exec is here for the interface alone: what has no rows reads nothing.
func (r reads) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return r.s.pool.Exec(ctx, sql, args...)
}

// readRow is scanned once, as sqlc's methods do, and then another read's.
type readRow struct {
	s    *Store
	ctx  context.Context
	sql  string
	args []any
}

var readRows = sync.Pool{New: func() any { return new(readRow) }}

func (r *readRow) Scan(dest ...any) error {
	defer func() {
		*r = readRow{}
		readRows.Put(r)
	}()
	return r.s.read(r.ctx, func(conn session) error {
		return conn.QueryRow(r.ctx, r.sql, r.args...).Scan(into(dest))
	})
}

// repeat runs f, which queries conn and reads all of the rows, as [Store.read] does where
// conn is the Store's own.
func repeat(ctx context.Context, conn db.DBTX, f func(db.DBTX) error) error {
	if r, ok := conn.(reads); ok {
		return r.s.read(ctx, func(conn session) error { return f(conn) })
	}
	return f(conn)
}

// readAll repeats one of the generated methods that return many rows.
func readAll[Arg, Row any](ctx context.Context, conn db.DBTX, query func(*db.Queries, context.Context, db.DBTX, Arg) ([]Row, error), arg Arg) (rows []Row, err error) {
	err = repeat(ctx, conn, func(conn db.DBTX) error {
		rows, err = query(queries, ctx, conn, arg)
		return err
	})
	return rows, err
}
