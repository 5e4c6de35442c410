package store_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/store"
)

var errGivenUp = errors.New("given up")

func TestInTxCommitsTogether(t *testing.T) {
	t.Parallel()
	st, other := newStore(t), newStore(t)
	exec(t, st, "CREATE TABLE note (text text)")
	email := newEmail()
	require.NoError(t, st.InTx(t.Context(), func(tx *store.Store) error {
		if _, err := tx.SignUp(t.Context(), store.SignUp{Email: email, PasswordHash: "hash"}); err != nil {
			return err
		}
		if _, err := tx.Conn().Exec(t.Context(), "INSERT INTO note VALUES ('mine')"); err != nil {
			return err
		}
		_, err := other.UserByEmail(t.Context(), email)
		require.ErrorIs(t, err, store.ErrNotFound, "seen before the commit")
		return nil
	}))
	_, err := st.UserByEmail(t.Context(), email)
	require.NoError(t, err)
	require.Equal(t, []string{"mine"}, column[string](t, st, "SELECT text FROM note"))
}

func TestInTxRollsBackOnErrorAndPanic(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	before := snapshot(t, st)
	require.ErrorIs(t, st.InTx(t.Context(), func(tx *store.Store) error {
		require.NoError(t, tx.RecordSignIn(t.Context(), h.actor))
		return errGivenUp
	}), errGivenUp)
	require.PanicsWithValue(t, "thrown", func() {
		_ = st.InTx(t.Context(), func(tx *store.Store) error {
			require.NoError(t, tx.RecordSignIn(t.Context(), h.actor))
			panic("thrown")
		})
	})
	require.Equal(t, before, snapshot(t, st))
}

func TestInTxNestedIsASavepoint(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	require.NoError(t, st.InTx(t.Context(), func(tx *store.Store) error {
		require.NoError(t, tx.RecordSignIn(t.Context(), h.actor))
		err := tx.InTx(t.Context(), func(inner *store.Store) error {
			require.NoError(t, inner.RecordSignOut(t.Context(), h.actor))
			_, err := inner.Conn().Exec(t.Context(), "SELECT 1/0") // leaves the savepoint unusable
			return err
		})
		require.ErrorContains(t, err, "division by zero")
		return tx.RecordActivity(t.Context(), store.RecordActivity{TeamID: h.team.ID, Action: "AFTER"})
	}))
	require.Equal(t, []string{"CREATE_TEAM", "SIGN_UP", "SIGN_IN", "AFTER"},
		column[string](t, st, "SELECT action FROM activity_logs WHERE team_id = $1 ORDER BY id", h.team.ID))
}

// A closure that hides the error of a statement can't commit what is left.
func TestInTxDoesNotCommitAnAbortedTransaction(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	before := snapshot(t, st)
	require.ErrorIs(t, st.InTx(t.Context(), func(tx *store.Store) error {
		require.NoError(t, tx.RecordSignIn(t.Context(), h.actor))
		_, err := tx.Conn().Exec(t.Context(), "SELECT 1/0")
		require.Error(t, err)
		return nil
	}), pgx.ErrTxCommitRollback)
	require.Equal(t, before, snapshot(t, st))
}

// Two transactions that update two rows in opposite order deadlock once: Postgres ends
// one of them, InTx runs it again, and both succeed.
func TestInTxRetriesADeadlock(t *testing.T) {
	t.Parallel()
	st, other := newStore(t), newStore(t)
	exec(t, st, "CREATE TABLE tally (id int PRIMARY KEY, n int NOT NULL)")
	exec(t, st, "INSERT INTO tally VALUES (1, 0), (2, 0)")
	both := make(chan struct{}, 2)
	runs := make(chan int, 10)
	add := func(st *store.Store, first, second int) error {
		run := 0
		return st.InTx(t.Context(), func(tx *store.Store) error {
			run++
			runs <- run
			if _, err := tx.Conn().Exec(t.Context(), "UPDATE tally SET n = n + 1 WHERE id = $1", first); err != nil {
				return err
			}
			if run == 1 { // each waits until the other has its first row
				both <- struct{}{}
				for len(both) < 2 {
					if t.Context().Err() != nil {
						return t.Context().Err()
					}
				}
			}
			_, err := tx.Conn().Exec(t.Context(), "UPDATE tally SET n = n + 1 WHERE id = $1", second)
			return err
		})
	}
	for _, err := range race(func() error { return add(st, 1, 2) }, func() error { return add(other, 2, 1) }) {
		require.NoError(t, err)
	}
	require.Equal(t, []int{2, 2}, column[int](t, st, "SELECT n FROM tally ORDER BY id"))
	require.Greater(t, len(runs), 2, "runs of the two closures: one more at least")
}

// Only what Postgres ended for the sake of another transaction runs again, and only at
// the outermost level, five times at most.
func TestInTxRetriesNothingElse(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	fail := func(code string) error { return &pgconn.PgError{Code: code, Message: "injected"} }
	for code, want := range map[string]int{"40001": 5, "40P01": 5, "23505": 1, "57014": 1, "40003": 1} {
		runs := 0
		err := st.InTx(t.Context(), func(*store.Store) error { runs++; return fail(code) })
		require.ErrorContains(t, err, "injected")
		require.Equal(t, want, runs, code)
	}
	outer, inner := 0, 0
	require.Error(t, st.InTx(t.Context(), func(tx *store.Store) error {
		outer++
		return tx.InTx(t.Context(), func(*store.Store) error { inner++; return fail("40001") })
	}))
	require.Equal(t, []int{5, 5}, []int{outer, inner})
}

// A context that ends in the middle of the closure ends the transaction, gives the
// connection back, and stops the retries.
func TestInTxEndsWithItsContext(t *testing.T) {
	t.Parallel()
	pool := newPool(t)
	st := store.New(pool)
	h := newHouse(t, st)
	before := snapshot(t, st)
	ctx, cancel := context.WithCancel(t.Context())
	runs := 0
	err := st.InTx(ctx, func(tx *store.Store) error {
		runs++
		require.NoError(t, tx.RecordSignIn(ctx, h.actor))
		cancel()
		return tx.RecordSignOut(ctx, h.actor)
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, runs)
	require.Zero(t, pool.Stat().AcquiredConns())
	require.Equal(t, before, snapshot(t, st))

	ctx, cancel = context.WithCancel(t.Context())
	err = st.InTx(ctx, func(*store.Store) error { cancel(); return &pgconn.PgError{Code: "40001", Message: "injected"} })
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "injected")
}

// Whatever the session's default, InTx reads what was committed while it waited.
func TestInTxIsReadCommitted(t *testing.T) {
	t.Parallel()
	databaseSetting(t, "default_transaction_isolation", "repeatable read")
	st := newStore(t)
	var outside string
	require.NoError(t, st.Conn().QueryRow(t.Context(), "SHOW transaction_isolation").Scan(&outside))
	require.Equal(t, "repeatable read", outside)
	require.NoError(t, st.InTx(t.Context(), func(tx *store.Store) error {
		require.Equal(t, []string{"read committed"}, column[string](t, tx, "SHOW transaction_isolation"))
		return nil
	}))
}
