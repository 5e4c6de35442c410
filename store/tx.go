package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	txAttempts      = 5                    // the first one included
	txRetryPause    = 5 * time.Millisecond // doubles with each attempt, half of it random
	rollbackTimeout = 5 * time.Second
)

// InTx runs fn in a transaction: its operations, and the caller's own queries through
// [Store.Conn], commit together when fn returns nil, and leave nothing behind when it
// returns an error or panics. The *Store that fn is handed is valid until it returns.
//
// fn may run again: a transaction that Postgres ended by a serialization failure or to
// break a deadlock is rolled back and run from its start, five times at most, within
// ctx. So fn does nothing outside the database that it can't do twice; e-mail is sent
// after InTx has returned.
//
// Inside fn, InTx makes a savepoint: an error of the inner closure undoes the inner
// part alone. Savepoints are not retried, the outermost transaction is.
//
// An operation that a rule refuses ([ErrEmailTaken] of SignUp, say) or whose input is
// invalid leaves the transaction usable, unless its doc says otherwise; after any other
// error, and after one that has a [pgconn.PgError] in its chain, only a rollback is left.
//
// InTx returns fn's error as it is. The transaction is READ COMMITTED.
func (s *Store) InTx(ctx context.Context, fn func(tx *Store) error) error {
	return s.retry(ctx, func() error { return s.runTx(ctx, fn) })
}

// retry runs f, which is one transaction, again when Postgres ended it for the sake of
// another one: it left nothing behind. Inside InTx f is a part of one, and runs once.
func (s *Store) retry(ctx context.Context, f func() error) error {
	pause := txRetryPause
	for attempt := 1; ; attempt++ {
		err := f()
		if err == nil || s.inTx || attempt == txAttempts || !retryable(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w, and no time is left to try again: %w", err, context.Cause(ctx))
		case <-time.After(pause/2 + rand.N(pause/2)):
		}
		pause *= 2
	}
}

func (s *Store) runTx(ctx context.Context, fn func(tx *Store) error) (err error) {
	tx, err := s.begin(ctx)
	if err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	committed := false
	defer func() { // deferred, for a panic as well
		if committed {
			return
		}
		// Not under ctx: its end may be why we are here, and the rollback is still owed.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
		defer cancel()
		rollbackErr := tx.Rollback(ctx)
		if rollbackErr != nil && !errors.Is(rollbackErr, pgx.ErrTxClosed) && !errors.Is(rollbackErr, pgconn.ErrConnClosed) {
			err = errors.Join(err, fmt.Errorf("roll back: %w", rollbackErr))
		}
	}()
	if err := fn(&Store{conn: tx, begin: tx.Begin, inTx: true}); err != nil {
		return err
	}
	if s.inTx && tx.Conn().PgConn().TxStatus() == 'E' {
		// fn hid a statement's error. RELEASE would fail and end the savepoint for pgx,
		// and the outer transaction could not go on.
		return fmt.Errorf("commit: %w", pgx.ErrTxCommitRollback)
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	committed = true
	return nil
}

// retryable reports whether Postgres ended a transaction for the sake of another one.
func retryable(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && (pgErr.Code == serializationFailure || pgErr.Code == deadlockDetected)
}
