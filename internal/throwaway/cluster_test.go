//go:build unix

package throwaway

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func startHere(t *testing.T) *Server {
	t.Helper()
	server, err := Start(t.Context(), Options{Provider: Local})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop(context.Background())) })
	return server
}

func TestProviderLocal(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	server := startHere(t)
	t.Logf("%s, ready after %s", server.Provider, time.Since(begin).Round(time.Millisecond))
	require.Regexp(t, `^PostgreSQL [0-9.]+\S* from /`, server.Provider)
	require.GreaterOrEqual(t, server.Version, oldest*10000)

	conn, err := pgx.Connect(t.Context(), server.DatabaseURL("template1"))
	require.NoError(t, err)
	defer conn.Close(context.Background())
	for setting, want := range map[string]string{
		"TimeZone":                   zone(),
		"listen_addresses":           "",
		"max_connections":            "1000",
		"fsync":                      "off",
		"synchronous_commit":         "off",
		"full_page_writes":           "off",
		"server_encoding":            "UTF8",
		"dynamic_shared_memory_type": "mmap",
	} {
		var have string
		require.NoError(t, conn.QueryRow(t.Context(), "SELECT current_setting($1)", setting).Scan(&have))
		require.Equal(t, want, have, setting)
	}
	var database string
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT current_database()").Scan(&database))
	require.Equal(t, "template1", database)
}

func TestSocketIsPrivate(t *testing.T) {
	t.Parallel()
	server := startHere(t)
	info, err := os.Stat(server.host.(*cluster).socket)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}

func TestStop(t *testing.T) {
	t.Parallel()
	server := startHere(t)
	conn, err := pgx.Connect(t.Context(), server.URL) // an open session does not hold it up
	require.NoError(t, err)
	defer conn.Close(context.Background())

	begin := time.Now()
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			if err := server.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	t.Logf("stopped after %s", time.Since(begin).Round(100*time.Microsecond))
	require.NoError(t, server.Stop(t.Context()), "again")
	require.NoDirExists(t, server.host.(*cluster).dir)
	_, err = server.Keep()
	require.ErrorContains(t, err, "stopped")
}

func TestStopGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	server := startHere(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, server.Stop(ended), context.Canceled)
	require.NoError(t, server.Stop(t.Context()))
	require.NoDirExists(t, server.host.(*cluster).dir)
}

// A start that is given up, at whatever moment, ends at once and leaves nothing. The
// moments are spread over the time that a whole start takes.
func TestStartGivenUp(t *testing.T) {
	t.Parallel()
	began := time.Now()
	startHere(t)
	whole := time.Since(began)
	const moments = 40
	for i := range moments {
		l := here(t)
		l.bases = []string{ownedDir(t, l.as)}
		ctx, cancel := context.WithTimeout(t.Context(), whole*time.Duration(i)/moments)
		server, err := startCluster(ctx, l)
		cancel()
		if err == nil {
			require.NoError(t, server.Stop(t.Context()))
		} else {
			require.Error(t, ctx.Err(), "%v", err)
			require.NotContains(t, err.Error(), "still stopping")
		}
		left, err := os.ReadDir(l.bases[0])
		require.NoError(t, err)
		require.Empty(t, left)
	}
}

func TestStopLeavesNoGoroutine(t *testing.T) {
	t.Parallel()
	c := startChild(t, childOptions{Provider: Local}, account{})
	require.Empty(t, c.Err)
	c.order(t, "stop")
	require.Equal(t, "<nil>", c.report(t).Err)
	c.requireGone(t)
}

func TestServerEndsWithItsProcess(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*testing.T, *child){
		"SIGKILL": func(t *testing.T, c *child) { require.NoError(t, c.process.Process.Kill()) },
		"SIGINT of the group, as by Ctrl-C": func(t *testing.T, c *child) {
			require.NoError(t, syscall.Kill(-c.process.Process.Pid, syscall.SIGINT))
		},
		"SIGQUIT, as by go test": func(t *testing.T, c *child) {
			require.NoError(t, c.process.Process.Signal(syscall.SIGQUIT))
		},
		"os.Exit": func(t *testing.T, c *child) { c.order(t, "exit") },
		"panic":   func(t *testing.T, c *child) { c.order(t, "panic") },
		"goexit":  func(t *testing.T, c *child) { c.order(t, "goexit") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := startChild(t, childOptions{Provider: Local}, account{})
			require.Empty(t, c.Err)
			requireServes(t, c.URL)
			conn, err := pgx.Connect(t.Context(), c.URL)
			require.NoError(t, err)
			defer conn.Close(context.Background())
			end(t, c)
			require.Error(t, c.process.Wait())
			c.requireGone(t)
		})
	}
}

func TestNothingInPath(t *testing.T) {
	t.Parallel()
	l := here(t)
	if installed, err := findBinaries(t.Context(), "", installations, l.as); err != nil || installed != l.binaries {
		t.Skip("PostgreSQL is found by PATH only")
	}
	c := startChild(t, childOptions{Provider: Local}, account{}, "PATH=")
	require.Empty(t, c.Err)
	require.NoError(t, c.process.Process.Kill())
	c.requireGone(t)
}

// The signals that a service manager or an impatient person sends to all there is.
func TestSupervisorOutlivesSignals(t *testing.T) {
	t.Parallel()
	c := startChild(t, childOptions{Provider: Local}, account{})
	require.Empty(t, c.Err)
	for _, signal := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT} {
		require.NoError(t, syscall.Kill(c.Supervisor, signal))
	}
	requireServes(t, c.URL)
	require.NoError(t, syscall.Kill(-c.Supervisor, syscall.SIGTERM)) // and the server ends by itself
	require.NoError(t, c.process.Process.Kill())
	c.requireGone(t)
}

// Killed before the server is there, while initdb or the copy of it runs.
func TestKilledWhileStarting(t *testing.T) {
	t.Parallel()
	l := here(t)
	for _, order := range []string{"", "init", "start"} {
		c, err := newCluster(l)
		require.NoError(t, err)
		if order != "" {
			require.NoError(t, c.order(order))
		}
		require.NoError(t, c.stop(t.Context())) // closes the pipe, as the end of the process does
		require.NoDirExists(t, c.dir)
	}
}

func TestServerWithoutHandleGoesOn(t *testing.T) {
	t.Parallel()
	c := startChild(t, childOptions{Provider: Local}, account{})
	require.Empty(t, c.Err)
	c.order(t, "collect")
	c.report(t)
	requireServes(t, c.URL)
}

func TestKeep(t *testing.T) {
	t.Parallel()
	c := startChild(t, childOptions{Provider: Local}, account{})
	require.Empty(t, c.Err)
	c.order(t, "keep")
	kept := c.report(t)
	require.Equal(t, "<nil>", kept.Err)
	postmaster := postmasterOf(t, kept.Provider)
	t.Cleanup(func() { _ = syscall.Kill(postmaster, syscall.SIGQUIT) })
	c.order(t, "stop") // without effect now
	require.Equal(t, "<nil>", c.report(t).Err)
	require.NoError(t, c.process.Process.Kill())
	_ = c.process.Wait()

	requireServes(t, c.URL)
	require.NoError(t, syscall.Kill(postmaster, syscall.SIGINT))
	c.requireGone(t)
}

func TestPlainUser(t *testing.T) {
	t.Parallel()
	as := plainUser(t)
	home := ownedDir(t, as)
	env := append(cacheAt(home), "TMPDIR="+home)
	for _, from := range []string{"initdb", "cache"} {
		begin := time.Now()
		c := startChild(t, childOptions{Provider: Local}, as, env...)
		require.Empty(t, c.Err)
		t.Logf("from %s: %s after %s", from, c.Provider, time.Since(begin).Round(time.Millisecond))
		require.Len(t, cached(t, home), 1)
		require.NoError(t, c.process.Process.Kill())
		c.requireGone(t)
	}
}

// here is what startLocal would launch.
func here(t *testing.T) launch {
	t.Helper()
	as, err := serverAccount()
	require.NoError(t, err)
	b, err := findBinaries(t.Context(), os.Getenv("PATH"), installations, as)
	require.NoError(t, err)
	return launch{binaries: b, as: as, from: "here", bases: bases()}
}

func TestDirectories(t *testing.T) {
	t.Parallel()
	t.Run("a long name", func(t *testing.T) {
		t.Parallel()
		l := here(t)
		long := filepath.Join(ownedDir(t, l.as), strings.Repeat("d", 100))
		require.NoError(t, os.Mkdir(long, 0o700))
		require.NoError(t, l.as.own(long))
		l.bases = []string{long}
		server, err := startCluster(t.Context(), l)
		require.NoError(t, err)
		c := server.host.(*cluster)
		require.True(t, strings.HasPrefix(c.dir, long))
		require.NotEqual(t, c.dir, c.socket)
		requireServes(t, server.URL)
		require.NoError(t, server.Stop(t.Context()))
		require.NoDirExists(t, c.dir)
		require.NoDirExists(t, c.socket)
	})
	t.Run("out of reach", func(t *testing.T) {
		t.Parallel()
		l := here(t)
		l.bases = []string{filepath.Join(t.TempDir(), "missing"), ownedDir(t, l.as)}
		server, err := startCluster(t.Context(), l)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(server.host.(*cluster).dir, l.bases[1]))
		require.NoError(t, server.Stop(t.Context()))

		l.bases = l.bases[:1]
		_, err = startCluster(t.Context(), l)
		require.ErrorContains(t, err, "no directory for a throwaway cluster")
	})
	t.Run("of root alone", func(t *testing.T) {
		t.Parallel()
		l := here(t)
		if !l.as.other {
			t.Skip("not root")
		}
		l.bases = []string{t.TempDir()}
		_, err := startCluster(t.Context(), l)
		require.ErrorContains(t, err, "cannot enter")
		dir := ownedDir(t, account{})
		require.NoError(t, os.Chmod(dir, 0o755))
		l.bases = []string{dir}
		_, err = startCluster(t.Context(), l)
		require.ErrorContains(t, err, "cannot write to")
	})
}

func TestServerThatCannotStart(t *testing.T) {
	t.Parallel()
	good := here(t)
	for name, want := range map[string]struct{ initdb, postgres, err string }{
		"initdb fails":   {"echo no room >&2; exit 1", "", "initdb failed; the end of its log:\nno room"},
		"postgres fails": {"", "echo no memory >&2; exit 1", "the server did not start; the end of its log:\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := good
			l.dir = ownedDir(t, l.as)
			writeScript(t, l.initdb(), cmp.Or(want.initdb, "exec "+good.initdb()+` "$@"`))
			writeScript(t, l.postgres(), cmp.Or(want.postgres, "exec "+good.postgres()+` "$@"`))
			l.bases = []string{ownedDir(t, l.as)}
			_, err := startData(t.Context(), l, &initdbCache{})
			require.ErrorContains(t, err, want.err)
			left, err := os.ReadDir(l.bases[0])
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

func writeScript(t *testing.T, file, script string) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, []byte("#!/bin/sh\n"+script+"\n"), 0o755))
}
