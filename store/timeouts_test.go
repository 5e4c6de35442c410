package store_test

import (
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// listenSilently returns the address of a server that takes connections and says nothing.
func listenSilently(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String() // the backlog takes them
}

func requireCode(t *testing.T, code string, err error) {
	t.Helper()
	pgErr := new(pgconn.PgError)
	require.ErrorAs(t, err, &pgErr)
	require.Equal(t, code, pgErr.Code)
}

// backend is the session of the server that a Store with one connection has.
func backend(t *testing.T, st *store.Store) (pid int) {
	t.Helper()
	require.NoError(t, st.Conn().QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&pid))
	return pid
}

// A statement that takes longer than statement_timeout did nothing, and the connection is
// as good as it was.
func TestAStatementThatTakesTooLong(t *testing.T) {
	t.Parallel()
	databaseSetting(t, "statement_timeout", "1s")
	st := newStore(t, func(config *pgxpool.Config) { config.MaxConns = 1 })
	h := newHouse(t, st)
	exec(t, st, `CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3600); RETURN NEW; END $$`)
	exec(t, st, `CREATE TRIGGER slow BEFORE INSERT ON activity_logs FOR EACH ROW WHEN (NEW.action IN ('INVITE_TEAM_MEMBER', 'SIGN_IN')) EXECUTE FUNCTION slow()`)
	invite := func(st *store.Store) error {
		_, _, err := st.InviteMember(t.Context(), store.InviteMember{Actor: h.actor, TeamID: h.team.ID, Email: newEmail(), Role: db.RoleMember})
		return err
	}
	before, pid := snapshot(t, st), backend(t, st)
	requireCode(t, "57014", invite(st))                                        // a pipeline
	requireCode(t, "57014", st.RecordSignIn(t.Context(), h.actor))             // a statement
	requireCode(t, "57014", st.InTx(t.Context(), func(tx *store.Store) error { // and in a transaction
		require.NoError(t, tx.RecordSignOut(t.Context(), h.actor))
		return invite(tx)
	}))
	require.Equal(t, before, snapshot(t, st))
	require.Equal(t, pid, backend(t, st), "the connection was given up")

	// A savepoint undoes it, and the transaction goes on.
	require.NoError(t, st.InTx(t.Context(), func(tx *store.Store) error {
		requireCode(t, "57014", tx.InTx(t.Context(), invite))
		return tx.RecordSignOut(t.Context(), h.actor)
	}))
	require.Equal(t, []string{"SIGN_OUT"}, column[string](t, st, "SELECT action FROM activity_logs WHERE team_id = $1 AND action NOT IN ('CREATE_TEAM', 'SIGN_UP')", h.team.ID))
}

// A transaction whose closure does nothing for too long is ended by the server: none of it
// is there, InTx says so, and the next operation has another connection.
func TestATransactionThatIsIdleForTooLong(t *testing.T) {
	t.Parallel()
	databaseSetting(t, "idle_in_transaction_session_timeout", "1s")
	st := newStore(t, func(config *pgxpool.Config) { config.MaxConns = 1 })
	h := newHouse(t, st)
	before := snapshot(t, st)
	gone := func(pid int) func() bool {
		return func() bool {
			return len(column[int](t, st, "SELECT pid FROM pg_stat_activity WHERE pid = $1", pid)) == 0
		}
	}
	for name, last := range map[string]func(tx *store.Store) error{
		"an operation": func(tx *store.Store) error { return tx.RecordSignOut(t.Context(), h.actor) },
		"the commit":   func(*store.Store) error { return nil },
	} {
		require.Error(t, st.InTx(t.Context(), func(tx *store.Store) error {
			require.NoError(t, tx.RecordSignIn(t.Context(), h.actor))
			require.Eventually(t, gone(backend(t, tx)), 10*time.Second, 10*time.Millisecond)
			return last(tx)
		}), name)
		require.Equal(t, before, snapshot(t, st), name)
		_, err := st.User(t.Context(), h.owner.ID)
		require.NoError(t, err, name)
	}
}
