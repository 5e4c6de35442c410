//go:build unix

package throwaway

import (
	"context"
	"runtime"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// What was committed is there after every ending, the sessions are not, and the server
// has the settings that it had before.
func TestHaltAndResume(t *testing.T) {
	t.Parallel()
	server, err := Start(t.Context(), Options{Provider: Local, Settings: []string{"synchronous_commit=on", "full_page_writes=on"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop(context.Background())) })

	session, err := pgx.Connect(t.Context(), server.URL)
	require.NoError(t, err)
	_, err = session.Exec(t.Context(), "CREATE TABLE endings (how text)")
	require.NoError(t, err)
	endings := []Ending{Fast, Immediate}
	if runtime.GOOS == "linux" {
		endings = append(endings, Killed)
	}
	for i, how := range endings {
		_, err = session.Exec(t.Context(), "INSERT INTO endings VALUES ($1)", how)
		require.NoError(t, err)
		require.NoError(t, server.Halt(t.Context(), how))
		require.Error(t, session.Ping(t.Context()), how)
		_, err = pgx.Connect(t.Context(), server.URL)
		require.Error(t, err, how)
		require.Error(t, server.Halt(t.Context(), how), "it is halted")
		_, err = server.Keep()
		require.Error(t, err, "it is halted")

		require.NoError(t, server.Resume(t.Context()), how)
		require.Error(t, server.Resume(t.Context()), "it runs")
		session, err = pgx.Connect(t.Context(), server.URL)
		require.NoError(t, err)
		var rows int
		var commit string
		require.NoError(t, session.QueryRow(t.Context(), "SELECT count(*), current_setting('synchronous_commit') FROM endings").Scan(&rows, &commit))
		require.Equal(t, i+1, rows, how)
		require.Equal(t, "on", commit)
	}
	require.NoError(t, session.Close(t.Context()))
	require.Error(t, server.Halt(t.Context(), "gently"))
}

func TestStopWhileHalted(t *testing.T) {
	t.Parallel()
	server := startHere(t)
	require.NoError(t, server.Halt(t.Context(), Immediate))
	require.NoError(t, server.Stop(t.Context()))
	require.NoDirExists(t, server.host.(*cluster).dir)
	require.Error(t, server.Resume(t.Context()))
}

// Docker's server can't be restarted, and says so.
func TestHaltIsNotForEveryProvider(t *testing.T) {
	t.Parallel()
	server := &Server{Provider: "PostgreSQL in a container", host: &containerHost{}}
	require.ErrorContains(t, server.Halt(t.Context(), Fast), "PostgreSQL in a container can't be restarted")
	require.ErrorContains(t, server.Resume(t.Context()), "PostgreSQL in a container can't be restarted")
}
