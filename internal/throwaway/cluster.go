//go:build unix

package throwaway

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:embed supervisor.sh
var supervisor string

// startTimeout bounds the start of a server, which takes a fraction of a second.
const startTimeout = 60 * time.Second

// serverOptions trade all safety for speed. Autovacuum is off because its workers
// hold up CREATE DATABASE and DROP DATABASE for 100 ms at a time.
var serverOptions = []string{
	"listen_addresses=",
	"unix_socket_permissions=0700",
	"max_connections=1000",
	"fsync=off",
	"synchronous_commit=off",
	"full_page_writes=off",
	"autovacuum=off",
	"dynamic_shared_memory_type=mmap", // in the data directory, so that nothing can stay behind in /dev/shm
}

// zone is half an hour off every full one. The first name is a link that some
// systems leave out of their time zones, and with it their PostgreSQL.
func zone() string {
	const name = "Canada/Newfoundland"
	if _, err := os.Stat("/usr/share/zoneinfo/" + name); err != nil {
		return "America/St_Johns"
	}
	return name
}

// stopTimeout bounds the clean-up of a server that did not start.
const stopTimeout = 10 * time.Second

// cluster is a server of local binaries and its supervisor.
type cluster struct {
	dir    string // all that the cluster has, but for the socket when dir is too long a name for it
	socket string

	process *exec.Cmd
	orders  *os.File // its end is the supervisor's signal, also when this process is killed
	report  *os.File

	mu    sync.Mutex
	kept  bool
	ended chan struct{} // made by the first stop, closed when the supervisor is gone
	err   error         // of the supervisor, once ended is closed

	from   string // where the binaries are from, for people
	halted bool
}

// held keeps clusters from the garbage collector, which would close their orders,
// as long as nobody stops them.
var held sync.Map

func startLocal(ctx context.Context, o Options) (*Server, error) {
	as, err := serverAccount()
	if err != nil {
		return nil, err
	}
	b, err := findBinaries(ctx, os.Getenv("PATH"), installations, as)
	if err != nil {
		return nil, err
	}
	return startCluster(ctx, launch{binaries: b, as: as, from: "from " + b.dir, bases: bases(), settings: o.Settings})
}

// launch is what a cluster is made from.
type launch struct {
	binaries
	as       account
	from     string   // where the binaries are from, for people
	bases    []string // directories to put the cluster in, the first one that serves
	settings []string // name=value, after the ones of all throwaway servers
}

// startCluster starts a server, from the cached initdb when there is one.
func startCluster(ctx context.Context, l launch) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return startWith(ctx, l, openCache(l.binaries))
}

// startWith replaces a cached initdb that does not start.
func startWith(ctx context.Context, l launch, cache *initdbCache) (*Server, error) {
	server, err := startData(ctx, l, cache)
	if err != nil && cache.used && ctx.Err() == nil {
		cache.forget()
		server, err = startData(ctx, l, cache)
	}
	return server, err
}

func startData(ctx context.Context, l launch, cache *initdbCache) (*Server, error) {
	c, err := newCluster(l)
	if err != nil {
		return nil, err
	}
	server, err := c.start(ctx, l, cache)
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		return nil, errors.Join(err, c.stop(ctx))
	}
	held.Store(c, nil)
	return server, nil
}

// newCluster makes the directories and starts the supervisor, which removes them.
func newCluster(l launch) (c *cluster, err error) {
	dir, err := l.makeDirectory(l.bases)
	if err != nil {
		return nil, err
	}
	c = &cluster{dir: dir, socket: dir, from: l.from}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(c.dir)
			_ = os.RemoveAll(c.socket)
		}
	}()
	// A socket's address holds 104 bytes on macOS, 108 on Linux, and ends with a zero.
	if len(filepath.Join(dir, socketFile)) > 103 {
		if c.socket, err = l.makeDirectory([]string{"/tmp"}); err != nil {
			return nil, err
		}
	}

	ordersIn, orders, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ordersIn.Close()
	report, reportOut, err := os.Pipe()
	if err != nil {
		orders.Close()
		return nil, err
	}
	defer reportOut.Close()

	args := []string{"-c", supervisor, "rowhouse-throwaway", l.dir, c.dir, c.socket}
	for _, option := range slices.Concat(serverOptions, []string{"TimeZone=" + zone()}, l.settings) {
		args = append(args, "-c", option)
	}
	c.process = exec.Command("/bin/sh", args...)
	c.process.Dir = "/"
	c.process.Env = serverEnvironment()
	c.process.SysProcAttr = l.as.attributes()
	// Never this process's own: go test waits until nobody holds them any more.
	c.process.Stdin, c.process.Stdout = ordersIn, reportOut
	if err := c.process.Start(); err != nil {
		orders.Close()
		report.Close()
		return nil, fmt.Errorf("cannot run /bin/sh as %s: %w", l.as.name, err)
	}
	c.orders, c.report = orders, report
	return c, nil
}

const socketFile = ".s.PGSQL.5432"

// bases are the directories that a cluster may be put in: in memory where that is
// possible, else in TMPDIR, which another account may not reach, else in /tmp.
func bases() []string {
	var dirs []string
	if dir, err := sharedMemory(); err == nil {
		dirs = append(dirs, dir)
	}
	return append(dirs, os.TempDir(), "/tmp")
}

// makeDirectory makes one that only the account can enter.
func (l launch) makeDirectory(bases []string) (string, error) {
	var why []error
	for _, base := range bases {
		dir, err := filepath.Abs(base)
		if err == nil {
			err = l.as.writes(dir)
		}
		if err == nil {
			dir, err = os.MkdirTemp(dir, "rowhouse-pg-")
		}
		if err == nil {
			if err = l.as.own(dir); err == nil {
				return dir, nil
			}
			_ = os.Remove(dir)
		}
		why = append(why, err)
	}
	return "", fmt.Errorf("no directory for a throwaway cluster: %w", errors.Join(why...))
}

// start fills the data directory, starts the server and waits until it takes
// connections.
func (c *cluster) start(ctx context.Context, l launch, cache *initdbCache) (*Server, error) {
	if !cache.load(c.data(), l.as) {
		if err := c.init(ctx); err != nil {
			return nil, err
		}
		cache.save(c.data())
	}
	if err := c.order("start"); err != nil {
		return nil, err
	}
	query := url.Values{"host": {c.socket}, "sslmode": {"disable"}}
	server := &Server{URL: "postgres://postgres@/postgres?" + query.Encode(), host: c}
	for {
		err := server.identify(ctx, l.from)
		if err == nil {
			return server, nil
		}
		// The wait between two attempts ends at once when the server does.
		if err := c.report.SetReadDeadline(time.Now().Add(5 * time.Millisecond)); err != nil {
			return nil, err
		}
		if _, readErr := c.report.Read(make([]byte, 1)); errors.Is(readErr, io.EOF) {
			return nil, fmt.Errorf("the server did not start%s", c.logged())
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("the server takes no connections: %w%s", err, c.logged())
		}
	}
}

// init runs initdb. The supervisor does that, so that a killed parent leaves no
// initdb behind that fills a directory while it is being removed.
func (c *cluster) init(ctx context.Context) error {
	if err := c.order("init"); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = c.report.SetReadDeadline(time.Now()) })()
	status, err := bufio.NewReader(io.LimitReader(c.report, 8)).ReadString('\n')
	if ctx.Err() != nil {
		return fmt.Errorf("initdb: %w", ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("initdb: the supervisor ended: %w", err)
	}
	if status != "0\n" {
		return fmt.Errorf("initdb failed%s", c.logged())
	}
	return nil
}

func (c *cluster) data() string { return filepath.Join(c.dir, "data") }

func (c *cluster) order(line string) error {
	if _, err := io.WriteString(c.orders, line+"\n"); err != nil {
		return fmt.Errorf("the supervisor of the server is gone: %w", err)
	}
	return nil
}

// logged is the end of the server's log, for an error.
func (c *cluster) logged() string {
	log, err := os.ReadFile(filepath.Join(c.dir, "log"))
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return "; the end of its log:\n" + strings.Join(lines[max(0, len(lines)-12):], "\n")
}

func (c *cluster) stop(ctx context.Context) error {
	c.mu.Lock()
	if c.kept {
		c.mu.Unlock()
		return nil
	}
	if c.ended == nil {
		held.Delete(c)
		c.ended = make(chan struct{})
		c.orders.Close()
		go func() {
			c.err = c.process.Wait()
			c.report.Close()
			close(c.ended)
		}()
	}
	c.mu.Unlock()

	select {
	case <-c.ended:
	case <-ctx.Done():
		return fmt.Errorf("the throwaway server is still stopping: %w", ctx.Err())
	}
	if c.err != nil {
		return fmt.Errorf("the throwaway server's supervisor failed, look for its remains in %s: %w", c.dir, c.err)
	}
	return nil
}

func (c *cluster) keep() (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return "", errors.New("the server is stopped")
	}
	if c.halted {
		return "", errors.New("the server is halted")
	}
	pid, err := c.postmaster()
	if err != nil {
		return "", err
	}
	if !c.kept {
		if err := c.order("keep"); err != nil {
			return "", err
		}
		c.kept = true
	}
	return fmt.Sprintf("kill -INT %d ends the server and removes its files", pid), nil
}

// postmaster is the process id of the server.
func (c *cluster) postmaster() (int, error) {
	file, err := os.ReadFile(filepath.Join(c.data(), "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	pid, _, _ := strings.Cut(string(file), "\n")
	return strconv.Atoi(pid)
}
