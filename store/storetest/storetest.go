// Package storetest gives each test a PostgreSQL database of its own, with the
// migrations applied, and removes it when the test ends.
//
//	func TestSignUp(t *testing.T) {
//		t.Parallel()
//		st := storetest.New(t)
//		…
//	}
//
// There is nothing to set up and no TestMain. The first call in a test process
// starts a server, the migrations run once, and each database is a copy of the
// result that takes a few milliseconds; so tests run in parallel and see only
// their own rows. [Pool] and [URL] lead to the same database, for SQL of your own
// or for a service under test that connects by itself.
//
// # Where the server comes from
//
//   - TEST_DATABASE_URL, when it is set: a running server, such as
//     postgres://user:password@localhost:5432/postgres. The role needs CREATEDB.
//     Only databases whose names begin with rowhouse_test_ are created and dropped,
//     and DATABASE_URL is never read.
//   - PostgreSQL's own binaries, when the machine has them: a throwaway server in
//     memory that nothing else can reach.
//   - Docker: the image postgres:17-alpine, or TEST_POSTGRES_IMAGE.
//   - Binaries that are downloaded once.
//
// TEST_POSTGRES_PROVIDER=local, docker or download forces one of the last three. A
// setting that cannot be used fails the test, and so does a machine on which none
// can serve: the message says why for each, and what to do.
//
// A throwaway server ends with the test process, however that ends. On a server
// of yours, databases that a killed run left are dropped by the next run.
//
// # When a test fails
//
// Its database's URL is logged. STORETEST_KEEP=1 keeps the database of a test that
// failed, and a throwaway server with it; the log says how to end that one. On a
// server of yours a kept database stays until you drop it. A container that Ryuk
// watches over cannot be kept: set TESTCONTAINERS_RYUK_DISABLED=true as well.
package storetest

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rowhouse/rowhouse/store"
)

const (
	// maxConns leaves room for 100 parallel tests on a throwaway server, which takes 1,000 connections.
	maxConns = 10

	// cleanupTimeout bounds what happens after a test, which has no context any more.
	cleanupTimeout = 30 * time.Second

	// closeTimeout bounds the wait for connections that a test has not given back.
	closeTimeout = 3 * time.Second
)

// New returns a Store on the test's migrated database.
func New(t testing.TB) *store.Store {
	t.Helper()
	return store.New(Pool(t))
}

// Pool returns a pool of up to 10 connections to the test's migrated database. It
// is closed when the test ends. A connection that is still in use then, because
// rows were not closed or a transaction was not ended, fails the test.
func Pool(t testing.TB) *pgxpool.Pool {
	t.Helper()
	f := fixtureOf(t)
	f.openPool.Do(func() { f.pool, f.poolErr = openPool(t, f.database) })
	if f.poolErr != nil {
		t.Fatalf("storetest: %v", f.poolErr)
	}
	return f.pool
}

// URL returns the URL of the test's migrated database. Calls of New, Pool and URL
// with one t share one database; a subtest's t has its own. It is dropped when the
// test ends, with whatever is still connected to it.
func URL(t testing.TB) string {
	t.Helper()
	return fixtureOf(t).database.url()
}

// EmptyURL returns the URL of a new database without any migration. Each call makes
// another one. It is dropped when the test ends.
func EmptyURL(t testing.TB) string {
	t.Helper()
	server, err := sharedServer()
	if err != nil {
		t.Fatalf("storetest: %v", err)
	}
	d, err := createDatabase(t, server, "template0")
	if err != nil {
		t.Fatalf("storetest: %v", err)
	}
	return d.url()
}

// fixture is what one test has been given.
type fixture struct {
	create   sync.Once
	database *database
	err      error

	openPool sync.Once
	pool     *pgxpool.Pool
	poolErr  error
}

var fixtures sync.Map // of testing.TB to *fixture, until the test ends

func fixtureOf(t testing.TB) *fixture {
	t.Helper()
	value, _ := fixtures.LoadOrStore(t, new(fixture))
	f := value.(*fixture)
	f.create.Do(func() {
		t.Cleanup(func() { fixtures.Delete(t) })
		f.database, f.err = createMigrated(t)
	})
	if f.err != nil {
		t.Fatalf("storetest: %v", f.err)
	}
	return f
}

func createMigrated(t testing.TB) (*database, error) {
	server, err := sharedServer()
	if err != nil {
		return nil, err
	}
	template, err := server.template()
	if err != nil {
		return nil, err
	}
	return createDatabase(t, server, template)
}

// createDatabase makes a database that lasts as long as the test.
func createDatabase(t testing.TB, server *server, template string) (*database, error) {
	d, err := server.create(t.Context(), template)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
		defer cancel()
		if t.Failed() {
			if os.Getenv("STORETEST_KEEP") == "1" {
				how, err := d.keep(ctx, t.Name())
				if err == nil {
					t.Logf("storetest: kept %s; %s", redact(d.url()), how)
					return
				}
				t.Errorf("storetest: cannot keep %s: %v", redact(d.url()), err)
			} else {
				t.Logf("storetest: the database was %s (STORETEST_KEEP=1 keeps it)", redact(d.url()))
			}
		}
		if err := d.drop(ctx); err != nil {
			t.Errorf("storetest: cannot drop %s: %v", redact(d.url()), err)
		}
	})
	return d, nil
}

func openPool(t testing.TB, d *database) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(d.url())
	if err != nil {
		return nil, err
	}
	config.MaxConns = maxConns
	// Not the test's context: it ends before the cleanups that may still use the pool.
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		closed := make(chan struct{})
		go func() {
			pool.Close()
			close(closed)
		}()
		timeout := time.NewTimer(closeTimeout)
		defer timeout.Stop()
		select {
		case <-closed:
		case <-timeout.C:
			t.Errorf("storetest: %d connections of the test's pool are still in use %s after its end: close rows, end transactions, release what was acquired, and wait for goroutines",
				pool.Stat().AcquiredConns(), closeTimeout)
		}
	})
	return pool, nil
}
