package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/store/storetest"
)

// Not parallel, so that the server which it finds is its own.
func TestInterruptedThrowawayIsGone(t *testing.T) {
	others := serverDirectories(t)
	var directories []string
	ctx, cancel := context.WithCancel(t.Context())
	out := &watcher{line: story[3], do: func() error {
		for _, d := range serverDirectories(t) {
			if !slices.Contains(others, d) {
				require.DirExists(t, d)
				directories = append(directories, d)
			}
		}
		cancel()
		return nil
	}}
	require.EqualError(t, run(ctx, environment(""), out), story[4]+": context canceled")
	if strings.Contains(out.String(), " in a container of ") {
		return // package throwaway's own tests look into the engine
	}
	require.NotEmpty(t, directories, "no server was found")
	for _, d := range directories {
		require.NoDirExists(t, d)
	}
	require.ElementsMatch(t, others, serverDirectories(t), "its supervisor is still there")
}

// serverDirectories reads, from the arguments of this process's children, what the
// supervisors of its throwaway servers are to remove at the end.
func serverDirectories(t *testing.T) []string {
	t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(t, err)
	var directories []string
	for _, p := range processes {
		status, _ := os.ReadFile(filepath.Join(p, "status")) // a process may end meanwhile
		if !strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", os.Getpid())) {
			continue
		}
		arguments, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		for argument := range strings.SplitSeq(string(arguments), "\x00") {
			if strings.HasPrefix(filepath.Base(argument), "rowhouse-pg-") {
				directories = append(directories, argument)
			}
		}
	}
	return directories
}

// The whole program, while it waits for a lock that this test holds: it can't be done
// before the signal comes.
func TestSignals(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "quickstart")
	built, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, "%s", built)
	for signal, name := range map[syscall.Signal]string{syscall.SIGINT: "interrupt", syscall.SIGTERM: "terminated"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tx, err := storetest.Pool(t).Begin(t.Context())
			require.NoError(t, err)
			defer tx.Rollback(context.Background())
			_, err = tx.Exec(t.Context(), "LOCK TABLE team_members IN ACCESS EXCLUSIVE MODE")
			require.NoError(t, err)

			cmd := exec.CommandContext(t.Context(), program)
			cmd.Env = append(os.Environ(), urlVariable+"="+storetest.URL(t))
			stdout, err := cmd.StdoutPipe()
			require.NoError(t, err)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			require.NoError(t, cmd.Start())
			lines := bufio.NewScanner(stdout)
			for lines.Scan() && !strings.Contains(lines.Text(), "every migration") {
			}
			require.NoError(t, cmd.Process.Signal(signal))
			require.False(t, lines.Scan(), "%s", lines.Text())
			require.Error(t, cmd.Wait())
			require.Equal(t, 1, cmd.ProcessState.ExitCode())
			require.Equal(t, "quickstart: "+story[0]+": "+name+" signal received\n", stderr.String())

			var users int
			require.NoError(t, tx.QueryRow(t.Context(), "SELECT count(*) FROM users").Scan(&users))
			require.Zero(t, users)
		})
	}
}
