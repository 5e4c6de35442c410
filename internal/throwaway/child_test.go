//go:build unix

package throwaway

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// What a process leaves behind can only be seen from another one: these tests run
// this test binary again as a child that starts a server.
const childVariable = "THROWAWAY_CHILD"

func TestMain(m *testing.M) {
	if raw := os.Getenv(childVariable); raw != "" {
		var o childOptions
		if err := json.Unmarshal([]byte(raw), &o); err != nil {
			panic(err)
		}
		runChild(o)
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

type childOptions struct {
	Provider   string
	Repository string
	Bare       bool // as on a machine without PostgreSQL
	PgBouncer  bool // before the server
}

// childReport is the line that a child prints once Start has returned.
type childReport struct {
	Err, URL, Provider string
	Version            int
	Container          string
	Supervisor         int
	Dirs               []string
}

func runChild(o childOptions) {
	if o.Bare {
		installations = nil
	}
	server, err := Start(context.Background(), Options{Provider: o.Provider, URLVariable: "TEST_DATABASE_URL", repository: o.Repository})
	say := func(v any) {
		if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
			panic(err)
		}
	}
	if err != nil {
		say(childReport{Err: err.Error()})
		return
	}
	report := childReport{URL: server.URL, Provider: server.Provider, Version: server.Version}
	switch h := server.host.(type) {
	case *cluster:
		report.Dirs = []string{h.dir, h.socket}
		report.Supervisor = h.process.Process.Pid
	case *containerHost:
		report.Container = h.id
	}
	if o.PgBouncer {
		proxy, err := StartPgBouncer(context.Background(), server.URL)
		if err != nil {
			say(childReport{Err: err.Error()})
			return
		}
		report.Dirs = append(report.Dirs, proxy.dir)
	}
	say(report)
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		switch orders.Text() {
		case "exit":
			os.Exit(3)
		case "panic":
			panic("as ordered")
		case "goexit": // as a test binary ends after t.Fatal on its main goroutine
			go os.Exit(1)
			runtime.Goexit()
		case "collect": // a server whose handle nobody holds
			server = nil
			runtime.GC()
			runtime.GC()
			say(childReport{})
		case "keep":
			how, err := server.Keep()
			say(childReport{Provider: how, Err: fmt.Sprint(err)})
		case "stop":
			err := server.Stop(context.Background())
			if err == nil {
				err = goleak.Find()
			}
			say(childReport{Err: fmt.Sprint(err)})
		}
	}
}

// child is a process that has started a server, or failed to.
type child struct {
	childReport
	process *exec.Cmd
	orders  io.WriteCloser
	reports *bufio.Reader
}

// startChild runs a child with env on top of this process's environment, as the
// account if that is another one.
func startChild(t *testing.T, o childOptions, as account, env ...string) *child {
	t.Helper()
	raw, err := json.Marshal(o)
	require.NoError(t, err)
	executable, err := os.Executable()
	require.NoError(t, err)
	if as.other {
		executable = shared(t, executable, as)
	}
	c := &child{process: exec.Command(executable)}
	c.process.Dir = "/"
	c.process.Env = append(os.Environ(), env...)
	c.process.Env = append(c.process.Env, childVariable+"="+string(raw))
	c.process.SysProcAttr = as.attributes()
	c.orders, err = c.process.StdinPipe()
	require.NoError(t, err)
	out, err := c.process.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.process.Start())
	t.Cleanup(func() {
		_ = c.process.Process.Kill()
		_ = c.process.Wait()
	})
	c.reports = bufio.NewReader(out)
	c.childReport = c.report(t)
	return c
}

func (c *child) report(t *testing.T) (r childReport) {
	t.Helper()
	line, err := c.reports.ReadBytes('\n')
	require.NoError(t, err, "the child ended")
	require.NoError(t, json.Unmarshal(line, &r))
	return r
}

func (c *child) order(t *testing.T, line string) {
	t.Helper()
	_, err := io.WriteString(c.orders, line+"\n")
	require.NoError(t, err)
}

// shared copies a file to where the account can run it.
func shared(t *testing.T, file string, as account) string {
	t.Helper()
	target := filepath.Join(ownedDir(t, as), filepath.Base(file))
	// A process that another test forks meanwhile would have the copy open for writing, and
	// what is open so can't be run: text file busy.
	syscall.ForkLock.RLock()
	err := copyFile(target, file)
	syscall.ForkLock.RUnlock()
	require.NoError(t, err)
	require.NoError(t, os.Chmod(target, 0o755))
	return target
}

// ownedDir is a temporary directory of the account. Those of t.TempDir are inside
// one that only this process's user can enter.
func ownedDir(t *testing.T, as account) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "throwaway-test-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, as.own(dir))
	return dir
}

// plainUser is an account that is not root.
func plainUser(t *testing.T) account {
	t.Helper()
	if os.Geteuid() != 0 {
		return account{}
	}
	return account{name: "nobody", uid: 65534, gid: 65534, other: true}
}

// cacheAt makes a directory the user's cache, on Linux and on macOS.
func cacheAt(dir string) []string {
	return []string{"HOME=" + dir, "XDG_CACHE_HOME=" + filepath.Join(dir, "Library", "Caches")}
}

func cached(t *testing.T, home string) []string {
	t.Helper()
	entries, err := filepath.Glob(filepath.Join(home, "Library", "Caches", "rowhouse", "*"))
	require.NoError(t, err)
	return entries
}

// requireServes runs a statement on the server.
func requireServes(t *testing.T, url string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), "CREATE TABLE served (id integer)")
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "DROP TABLE served")
	require.NoError(t, err)
}

// requireGone waits until no directory and no process of the child's server is
// left, and says how long that took.
func (c *child) requireGone(t *testing.T) {
	t.Helper()
	require.NotEmpty(t, c.Dirs)
	begin := time.Now()
	for {
		left := c.remains(t)
		if len(left) == 0 {
			t.Logf("all gone after %s", time.Since(begin).Round(100*time.Microsecond))
			return
		}
		require.Less(t, time.Since(begin), 10*time.Second, "left behind: %q", left)
		time.Sleep(time.Millisecond)
	}
}

func (c *child) remains(t *testing.T) (left []string) {
	t.Helper()
	for _, dir := range c.Dirs {
		if _, err := os.Stat(dir); err == nil {
			left = append(left, dir)
		}
	}
	// A dead process that nobody has waited for yet has no arguments.
	if runtime.GOOS != "linux" {
		out, err := exec.Command("ps", "-A", "-o", "args").Output()
		require.NoError(t, err)
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, c.Dirs[0]) {
				left = append(left, line)
			}
		}
		return left
	}
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, file := range files {
		args, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(args), c.Dirs[0]) {
			left = append(left, file)
		}
	}
	// Background processes of the server have other titles; their directory tells.
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	require.NoError(t, err)
	for _, link := range links {
		dir, err := os.Readlink(link)
		if err == nil && strings.HasPrefix(dir, c.Dirs[0]) {
			left = append(left, link)
		}
	}
	return left
}

func postmasterOf(t *testing.T, how string) int {
	t.Helper()
	var pid int
	_, err := fmt.Sscanf(how, "kill -INT %d", &pid)
	require.NoError(t, err, strconv.Quote(how))
	require.NoError(t, syscall.Kill(pid, 0))
	return pid
}
