package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// rollbackTimeout is for how long a server that is gone can hold up what has failed
// already. Where it runs out the connection is closed, which is a rollback as well.
const rollbackTimeout = time.Second

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
// InTx returns fn's error as it is: nothing was committed, also when the connection was
// lost or ctx ended. The one error after which it may have been is [ErrOutcomeUnknown],
// when that happened while the COMMIT was on its way. A transaction that could not begin
// is begun once more, as "Faults" in the package's doc has it; fn has not run by then.
//
// The transaction is READ COMMITTED.
func (s *Store) InTx(ctx context.Context, fn func(tx *Store) error) error {
	if s.tx != nil {
		savepoint, err := s.tx.Begin(ctx)
		if err != nil {
			return fmt.Errorf("begin a savepoint: %w", err)
		}
		err, _ = runTx(ctx, savepoint, true, fn)
		return err
	}
	return s.retry(ctx, func(again bool) (fault, error) {
		conn, err := s.acquire(ctx, again)
		if err != nil {
			return lost, fmt.Errorf("begin a transaction: %w", err)
		}
		defer conn.Release()
		tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
		if err != nil {
			became := outcome(err)
			if became == unknown { // and empty
				became = lost
			}
			return became, fmt.Errorf("begin a transaction: %w", err)
		}
		err, ended := runTx(ctx, tx, false, fn)
		switch {
		case ended:
			became := outcome(err)
			if became == lost { // fn has run, and is run again for the sake of others alone
				became = final
			}
			return became, err
		case retryable(err):
			return contended, err
		}
		return final, err
	})
}

// runTx runs fn in a transaction or savepoint and ends it. It reports whether err is that
// of the COMMIT.
func runTx(ctx context.Context, tx pgx.Tx, savepoint bool, fn func(tx *Store) error) (err error, committing bool) {
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
	if err := fn(&Store{conn: tx, tx: tx}); err != nil {
		return err, false
	}
	if savepoint && tx.Conn().PgConn().TxStatus() == 'E' {
		// fn hid a statement's error. RELEASE would fail and end the savepoint for pgx,
		// and the outer transaction could not go on.
		return fmt.Errorf("commit: %w", pgx.ErrTxCommitRollback), false
	}
	if tx.Conn().IsClosed() {
		return fmt.Errorf("commit: %w", pgconn.ErrConnClosed), false
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit: %w", err), true
	}
	committed = true
	return nil, true
}
