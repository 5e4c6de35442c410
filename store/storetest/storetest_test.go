package storetest

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// probe is a testing.TB whose cleanups run when the test says so, and whose
// failures are only noted.
type probe struct {
	testing.TB // nil: for the method that only testing can write
	ctx        context.Context

	mu       sync.Mutex
	failed   bool
	log      strings.Builder
	cleanups []func()
}

func newProbe(t *testing.T) *probe {
	p := &probe{ctx: t.Context()}
	t.Cleanup(p.end)
	return p
}

func (p *probe) Cleanup(f func()) { p.cleanups = append(p.cleanups, f) }
func (p *probe) Failed() bool     { return p.failed }
func (p *probe) Name() string     { return "TestProbe" }
func (p *probe) Helper()          {}

func (p *probe) Context() context.Context { return p.ctx }

func (p *probe) Logf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(&p.log, format+"\n", args...)
}

func (p *probe) Errorf(format string, args ...any) {
	p.Logf(format, args...)
	p.failed = true
}

func (p *probe) Fatalf(format string, args ...any) {
	p.Errorf(format, args...)
	runtime.Goexit()
}

// run runs what may call Fatalf.
func (p *probe) run(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

func (p *probe) end() {
	for len(p.cleanups) > 0 {
		last := p.cleanups[len(p.cleanups)-1]
		p.cleanups = p.cleanups[:len(p.cleanups)-1]
		last()
	}
}

func query[T any](t *testing.T, url, sql string, args ...any) (value T) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	require.NoError(t, conn.QueryRow(t.Context(), sql, args...).Scan(&value))
	return value
}

const hasUsers = `SELECT to_regclass('users') IS NOT NULL`

func TestOneDatabasePerTest(t *testing.T) {
	t.Parallel()
	require.NotNil(t, New(t))
	require.Same(t, Pool(t), Pool(t))
	require.Equal(t, URL(t), Pool(t).Config().ConnString())
	require.Equal(t, URL(t), URL(t))
	require.True(t, query[bool](t, URL(t), hasUsers))
	mine := URL(t)
	t.Run("subtest", func(t *testing.T) {
		t.Parallel()
		require.NotEqual(t, mine, URL(t))
		require.True(t, query[bool](t, URL(t), hasUsers))
	})
}

func TestEmptyURL(t *testing.T) {
	t.Parallel()
	one, two := EmptyURL(t), EmptyURL(t)
	require.NotEqual(t, one, two)
	require.NotEqual(t, one, URL(t))
	require.Zero(t, query[int](t, one, `SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace`))
}

func TestSameTestManyGoroutines(t *testing.T) {
	t.Parallel()
	var group sync.WaitGroup
	urls := make([]string, 50)
	for i := range urls {
		group.Go(func() {
			conn, err := Pool(t).Acquire(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			conn.Release()
			urls[i] = URL(t)
		})
	}
	group.Wait()
	for _, url := range urls {
		require.Equal(t, urls[0], url)
	}
}

func TestDatabaseGoesWithItsTest(t *testing.T) {
	t.Parallel()
	server, err := sharedServer()
	require.NoError(t, err)
	p := newProbe(t)
	_, err = Pool(p).Exec(t.Context(), "SELECT")
	require.NoError(t, err)
	urls := []string{URL(p), EmptyURL(p)}
	stray, err := pgx.Connect(t.Context(), URL(p)) // of a service that was not stopped
	require.NoError(t, err)
	defer stray.Close(context.Background())
	p.end()
	require.False(t, p.failed, p.log.String())
	for _, url := range urls {
		require.False(t, exists(t, server, url))
	}
	_, there := fixtures.Load(p)
	require.False(t, there)
}

func exists(t *testing.T, s *server, url string) bool {
	t.Helper()
	u, err := parseURL(url)
	require.NoError(t, err)
	return query[bool](t, s.admin.String(), `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, u.Path[1:])
}

func TestLeakedConnectionFailsTheTest(t *testing.T) {
	t.Parallel()
	server, err := sharedServer()
	require.NoError(t, err)
	p := newProbe(t)
	leaked, err := Pool(p).Acquire(t.Context())
	require.NoError(t, err)
	url := URL(p)
	begin := time.Now()
	p.end()
	require.Less(t, time.Since(begin), 3*closeTimeout)
	require.True(t, p.failed)
	require.Contains(t, p.log.String(), "1 connections of the test's pool are still in use")
	require.False(t, exists(t, server, url), "dropped all the same")
	leaked.Release() // lets the pool's Close end
}

func TestFailureNamesTheDatabase(t *testing.T) {
	t.Parallel()
	p := newProbe(t)
	url := URL(p)
	p.failed = true
	p.end()
	require.Equal(t, "storetest: the database was "+redact(url)+" (STORETEST_KEEP=1 keeps it)\n", p.log.String())
}

func TestRedact(t *testing.T) {
	t.Parallel()
	require.Equal(t, "postgres://u@h:1/d?sslmode=disable",
		redact("postgres://u:secret@h:1/d?sslmode=disable&password=secret&sslpassword=secret"))
}

func TestBadURL(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{"host=localhost password=secret", "postgres://u:secret@h:port/d", "mysql://u:secret@h/d", "%secret"} {
		_, err := openServer(t.Context(), raw, nil)
		require.ErrorContains(t, err, "not a URL such as postgres://user:password@localhost:5432/postgres")
		require.NotContains(t, err.Error(), "secret")
	}
	_, err := openServer(t.Context(), "postgres://u:secret@127.0.0.1:9/d", nil)
	require.ErrorContains(t, err, "cannot connect")
	require.NotContains(t, err.Error(), "secret")
	named, err := parseURL("postgres://u@h/?dbname=other&sslmode=disable")
	require.NoError(t, err)
	require.Equal(t, "postgres://u@h/other?sslmode=disable", named.String())
}

func TestHundredDatabases(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	var mu sync.Mutex
	var created time.Duration
	seen := map[string]bool{}
	t.Run("all", func(t *testing.T) {
		for i := range 100 {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				begin := time.Now()
				url := URL(t)
				took := time.Since(begin)
				_, err := Pool(t).Exec(t.Context(), `INSERT INTO teams (name) VALUES ('one')`)
				require.NoError(t, err)
				var teams int
				require.NoError(t, Pool(t).QueryRow(t.Context(), `SELECT count(*) FROM teams`).Scan(&teams))
				require.Equal(t, 1, teams)
				mu.Lock()
				defer mu.Unlock()
				created += took
				seen[url] = true
			})
		}
	})
	require.Len(t, seen, 100)
	t.Logf("100 databases in %s, created in %s each", time.Since(begin).Round(time.Millisecond), (created / 100).Round(10*time.Microsecond))
}

// A service may check for leaked goroutines in its own tests.
func TestNoGoroutineOutlivesATest(t *testing.T) {
	// Not parallel: it counts goroutines.
	before := goleak.IgnoreCurrent()
	t.Run("a test", func(t *testing.T) {
		_, err := Pool(t).Exec(t.Context(), "SELECT")
		require.NoError(t, err)
	})
	require.NoError(t, goleak.Find(before))
}
