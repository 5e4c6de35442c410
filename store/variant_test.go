package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/internal/throwaway"
	"github.com/rowhouse/rowhouse/schema"
	"github.com/rowhouse/rowhouse/store"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// The suite runs in variants of how a service connects: ROWHOUSE_TEST_VARIANT names one,
// and bash .ci/variants runs them all. Every Store of every test comes from newStore,
// newPool or newURL, which are as the variant has it. SQL that a test runs by itself
// (exec, column, snapshot) goes over a pool that is the same in all.
const variantVariable = "ROWHOUSE_TEST_VARIANT"

// variant is one of them.
type variant struct {
	// url is how a test reaches its database, of which it is given the direct URL.
	url func(t *testing.T, direct *url.URL)

	// oneConnection is all that a pool may have.
	oneConnection bool

	// leavesOut are the tests that are about what the variant does not have, and why.
	leavesOut map[string]string
}

var variants = map[string]variant{
	"": {url: func(*testing.T, *url.URL) {}}, // as pgx does it: cache_statement

	"cache_describe":  {url: execMode("cache_describe"), leavesOut: noPlans},
	"describe_exec":   {url: execMode("describe_exec"), leavesOut: left(noPlans, twoTrips)},
	"exec":            {url: execMode("exec"), leavesOut: left(noPlans, texts)},
	"simple_protocol": {url: execMode("simple_protocol"), leavesOut: left(noPlans, texts)},

	"one_connection": {
		url:           func(_ *testing.T, direct *url.URL) { query(direct, "pool_max_conns", "1") },
		oneConnection: true,
	},

	"application_role": {
		url: func(t *testing.T, direct *url.URL) {
			grantRoles(t)
			query(direct, "role", testRole)
		},
		leavesOut: ofRoles,
	},

	"pgbouncer": {
		url: func(t *testing.T, direct *url.URL) {
			proxy, err := pgbouncer(direct)
			require.NoError(t, err)
			through, err := url.Parse(proxy.URL(strings.TrimPrefix(direct.Path, "/")))
			require.NoError(t, err)
			*direct = *through
			query(direct, "default_query_exec_mode", "exec")
		},
		leavesOut: left(noPlans, texts, preparesNothing, ofRoles),
	},
}

// noPlans: each call is planned with its values in sight.
var noPlans = map[string]string{
	"TestPlansAreKeptWhereTeamsDiffer":                                   "the mode keeps no plan",
	"TestPagesAreAsCheapFarDown/auto/TeamActivity_of_both":               joinedByHash,
	"TestPagesAreAsCheapFarDown/force_generic_plan/TeamActivity_of_both": joinedByHash,
}

const joinedByHash = "the mode keeps no plan, and for a page of 1000 all 10,000 users joined by hash are cheapest"

// twoTrips: each call is described before it is run.
var twoTrips = map[string]string{
	"TestEachOperationIsOneRoundTrip":        described,
	"TestRoundTripsAreCounted":               described,
	"TestARefusalIsTwoRoundTripsAtMost":      described,
	"TestEachOutcomeOfAnEventIsOneRoundTrip": described,
}

const described = "the mode has a round trip more for each statement"

// texts: results come as text.
var texts = map[string]string{
	"TestTimesAreUTCInEveryZone/Pacific/Chatham_German,_DMY": "the mode has times as text, which pgx reads in ISO's style only: Open asks for that",
}

// preparesNothing is about PgBouncer 1.18 and modes that it can't have.
var preparesNothing = map[string]string{
	"TestOperationsInEachExecMode/cache_statement": lost,
	"TestOperationsInEachExecMode/cache_describe":  lost,
	"TestOperationsInEachExecMode/describe_exec":   lost,
	"TestUnknownIDsInEachExecMode/cache_statement": lost,
	"TestUnknownIDsInEachExecMode/cache_describe":  lost,
	"TestUnknownIDsInEachExecMode/describe_exec":   lost,
}

// ofRoles: tests that become a role by the connection string.
var ofRoles = map[string]string{
	"TestOperationsUnderTheirRoles": ownRoles,
	"TestStatementsUnderTheirRoles": ownRoles,
	"TestRolesMayDoNothingElse":     ownRoles,
	"TestNoRightIsIdle":             ownRoles,
}

const ownRoles = "the test becomes roles of its own by the connection string"

const lost = "PgBouncer before 1.21 loses what the mode prepares"

// left is what any of the lists leaves out.
func left(out ...map[string]string) map[string]string {
	all := make(map[string]string)
	for _, list := range out {
		maps.Copy(all, list)
	}
	return all
}

func execMode(mode string) func(*testing.T, *url.URL) {
	return func(_ *testing.T, direct *url.URL) { query(direct, "default_query_exec_mode", mode) }
}

func query(u *url.URL, name, value string) {
	values := u.Query()
	values.Set(name, value)
	u.RawQuery = strings.ReplaceAll(values.Encode(), "+", "%20") // pgx, as libpq, takes + for itself
}

// testRole is a member of the application's role and of the one for purges, and so may do
// what the operations need, and no more.
const testRole = "rowhouse_test_service"

// grantRoles grants the roles what they need in the test's database. Tables that the test
// makes by itself are the role's as well.
func grantRoles(t *testing.T) {
	t.Helper()
	ctx, pool := t.Context(), storetest.Pool(t)
	if _, granted := granted.LoadOrStore(pool, nil); granted {
		return
	}
	t.Cleanup(func() { granted.Delete(pool) })
	grants := schema.Grants{Application: "rowhouse_test_application", Purge: "rowhouse_test_purge"}
	_, err := pool.Exec(ctx, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
	require.NoError(t, err)
	createRoles.Do(func() { // they are the server's, and so all tests'
		if _, err = schema.Grant(ctx, pool, grants); err != nil {
			return
		}
		_, err = pool.Exec(ctx, "CREATE ROLE "+testRole+" IN ROLE "+grants.Application+", "+grants.Purge)
		if pgErr := new(pgconn.PgError); errors.As(err, &pgErr) && pgErr.Code == "42710" {
			err = nil // of a run before this one, on a server that is not of this one
		}
	})
	require.NoError(t, err)
	_, err = schema.Grant(ctx, pool, grants)
	require.NoError(t, err)
	_, err = pool.Exec(ctx, "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO "+testRole)
	require.NoError(t, err)
}

var (
	granted     sync.Map // the pools of databases
	createRoles sync.Once
)

// pgbouncer is the proxy of this process, before the server that the first call names.
func pgbouncer(server *url.URL) (*throwaway.PgBouncer, error) {
	proxy.start.Do(func() { proxy.proxy, proxy.err = throwaway.StartPgBouncer(context.Background(), server.String()) })
	return proxy.proxy, proxy.err
}

var proxy struct {
	start sync.Once
	proxy *throwaway.PgBouncer
	err   error
}

// current is the variant of this run.
var current = func() variant {
	name := os.Getenv(variantVariable)
	v, ok := variants[name]
	if !ok {
		panic(fmt.Sprintf("%s=%s: there is no such variant", variantVariable, name))
	}
	return v
}()

// repeats is how often a test does what it does n times on a direct connection: chance is
// given its chance there.
func repeats(n int) int {
	if os.Getenv(variantVariable) == "" {
		return n
	}
	return max(3, n/100)
}

// newURL is the URL of the test's database.
func newURL(t *testing.T) string {
	t.Helper()
	leaveOut(t)
	u, err := url.Parse(storetest.URL(t))
	require.NoError(t, err)
	current.url(t, u)
	return u.String()
}

// leaveOut ends a test that the variant leaves out.
func leaveOut(t *testing.T) {
	t.Helper()
	for name := t.Name(); name != ""; {
		if why, ok := current.leavesOut[name]; ok {
			t.Skipf("left out: %s", why)
		}
		i := strings.LastIndexByte(name, '/')
		name = name[:max(i, 0)]
	}
}

// newPool is a pool to the test's database, with other settings.
func newPool(t *testing.T, changes ...func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(newURL(t))
	require.NoError(t, err)
	config.MaxConns = 10
	for _, change := range changes {
		change(config)
	}
	if current.oneConnection {
		config.MaxConns = 1
		if config.ConnConfig.Tracer == nil {
			config.ConnConfig.Tracer = acquireSoon{}
		}
	}
	// Not the test's context: it ends before the cleanups that may still use the pool.
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	require.NoError(t, err)
	admins.Store(pool, storetest.Pool(t))
	t.Cleanup(func() {
		admins.Delete(pool)
		closed := make(chan struct{})
		go func() {
			pool.Close()
			close(closed)
		}()
		select {
		case <-closed:
		case <-time.After(closeTimeout):
			t.Errorf("%d connections are in use after the test", pool.Stat().AcquiredConns())
		}
	})
	return pool
}

const closeTimeout = 3 * time.Second

func newStore(t *testing.T, changes ...func(*pgxpool.Config)) *store.Store {
	t.Helper()
	return store.New(newPool(t, changes...))
}

// databaseSetting makes a setting of the sessions that the test's pools open from now on.
// A proxy would refuse most in the connection string.
func databaseSetting(t *testing.T, name, value string) {
	t.Helper()
	var sql string
	admin := storetest.Pool(t)
	require.NoError(t, admin.QueryRow(t.Context(), "SELECT format('ALTER DATABASE %I SET %I TO %L', current_database(), $1::text, $2::text)", name, value).Scan(&sql))
	_, err := admin.Exec(t.Context(), sql)
	require.NoError(t, err)
}

// admins has, for each pool of newPool, the one on which its tests run their own SQL.
var admins sync.Map

// admin is what a test's own SQL runs on: the transaction, inside one.
func admin(st *store.Store) store.Conn {
	if pool, ok := st.Conn().(*pgxpool.Pool); ok {
		if admin, ok := admins.Load(pool); ok {
			return admin.(*pgxpool.Pool)
		}
	}
	return st.Conn()
}

// acquireSoon has who waits for the only connection while holding it fail, not hang.
type acquireSoon struct{}

const acquireTimeout = 20 * time.Second

func (acquireSoon) TraceAcquireStart(ctx context.Context, _ *pgxpool.Pool, _ pgxpool.TraceAcquireStartData) context.Context {
	ctx, cancel := context.WithTimeout(ctx, acquireTimeout)
	return context.WithValue(ctx, acquireSoon{}, cancel)
}

func (acquireSoon) TraceAcquireEnd(ctx context.Context, _ *pgxpool.Pool, _ pgxpool.TraceAcquireEndData) {
	ctx.Value(acquireSoon{}).(context.CancelFunc)()
}

func (acquireSoon) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}
func (acquireSoon) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
