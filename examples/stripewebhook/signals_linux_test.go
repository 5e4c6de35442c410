package main

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/rowhouse/rowhouse/store"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// asProgram makes this binary the program, for a test that sends it signals.
const asProgram = "STRIPEWEBHOOK_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

var listening = regexp.MustCompile(`msg=listening url=(http://\S+)`)

// The whole program, stopped while an event waits for a lock that this test holds: it is
// answered, and no other one is taken.
func TestStopsWhenItsWorkIsDone(t *testing.T) {
	t.Parallel()
	for name, signal := range map[string]syscall.Signal{"interrupt": syscall.SIGINT, "terminated": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := storetest.Pool(t)
			st := store.New(pool)
			e := &endpoint{t: t, st: st}
			team := e.newTeam("ada", "cus_1")
			program, lines := startProgram(t, e)

			tx, err := pool.Begin(t.Context())
			require.NoError(t, err)
			defer tx.Rollback(context.Background())
			_, err = tx.Exec(t.Context(), "SELECT FROM teams FOR UPDATE")
			require.NoError(t, err)
			answered := make(chan error, 1)
			go func() {
				status, err := e.trySend(event(t, subscriptionEvent))
				if err == nil && status != http.StatusOK {
					err = errors.New(http.StatusText(status))
				}
				answered <- err
			}()
			requireWaiting(t, pool)
			require.NoError(t, program.Process.Signal(signal))
			require.True(t, lines.Scan())
			require.Contains(t, lines.Text(), `msg=stopping reason="`+name)
			require.Eventually(t, func() bool {
				resp, err := http.Get(e.url)
				if err == nil {
					resp.Body.Close()
				}
				return errors.Is(err, syscall.ECONNREFUSED)
			}, 10*time.Second, time.Millisecond)
			require.NoError(t, tx.Rollback(t.Context()))

			require.NoError(t, <-answered)
			require.True(t, lines.Scan())
			require.Contains(t, lines.Text(), "outcome=applied")
			require.False(t, lines.Scan(), "%s", lines.Text())
			require.NoError(t, program.Wait(), "it exits with 0")
			require.Len(t, e.subscriptions(team), 1)
		})
	}
}

// startProgram starts this binary as the program, and waits until it listens.
func startProgram(t *testing.T, e *endpoint) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), asProgram+"=1", urlVariable+"="+storetest.URL(t), secretVariable+"="+secret+"\n", addrVariable+"=127.0.0.1:0")
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(stderr)
	require.True(t, lines.Scan(), "it ended")
	match := listening.FindStringSubmatch(lines.Text())
	require.NotNil(t, match, lines.Text())
	require.True(t, strings.HasSuffix(match[1], path))
	e.url = match[1]
	return cmd, lines
}

func requireWaiting(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	require.Eventually(t, func() bool {
		var waiting bool
		err := pool.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock')`).Scan(&waiting)
		return err == nil && waiting
	}, 10*time.Second, time.Millisecond)
}
