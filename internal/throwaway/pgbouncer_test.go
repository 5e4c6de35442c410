//go:build unix

package throwaway

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func requirePgBouncer(t *testing.T) {
	t.Helper()
	if _, err := pgbouncerBinary(); err != nil {
		t.Skip(err)
	}
}

// Two clients share one session of the server, a transaction at a time.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	requirePgBouncer(t)
	server := startHere(t)
	proxy, err := StartPgBouncer(t.Context(), server.URL)
	require.NoError(t, err)
	backend := func(conn *pgx.Conn) (pid int) {
		require.NoError(t, conn.QueryRow(t.Context(), "SELECT pg_backend_pid()", pgx.QueryExecModeExec).Scan(&pid))
		return pid
	}
	one, err := pgx.Connect(t.Context(), proxy.URL("template1"))
	require.NoError(t, err)
	defer one.Close(context.Background())
	two, err := pgx.Connect(t.Context(), proxy.URL("template1"))
	require.NoError(t, err)
	defer two.Close(context.Background())
	require.Equal(t, backend(one), backend(two))
	tx, err := one.Begin(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, backend(tx.Conn()), backend(two))
	require.NoError(t, tx.Rollback(t.Context()))

	require.NoError(t, proxy.Stop())
	require.NoError(t, proxy.Stop())
	require.NoDirExists(t, proxy.dir)
}

func TestPgBouncerThatCannotStart(t *testing.T) {
	t.Parallel()
	requirePgBouncer(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := StartPgBouncer(ctx, "postgres://nobody@127.0.0.1:1/none?sslmode=disable")
	require.ErrorContains(t, err, "takes no connections")
}

func TestPgBouncerEndsWithItsProcess(t *testing.T) {
	t.Parallel()
	requirePgBouncer(t)
	c := startChild(t, childOptions{Provider: Local, PgBouncer: true}, account{})
	require.NoError(t, c.process.Process.Kill())
	_ = c.process.Wait()
	require.Len(t, c.Dirs, 3, "the server's two, and the proxy's")
	c.requireGone(t)
	c.Dirs = c.Dirs[2:]
	c.requireGone(t)
}
