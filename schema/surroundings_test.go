package schema_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/schema"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// setting makes a configuration with a setting of the session.
func setting(name, value string) func(*pgxpool.Config) {
	return func(config *pgxpool.Config) { config.ConnConfig.RuntimeParams[name] = value }
}

func TestPoolThatIsUsedUp(t *testing.T) {
	t.Parallel()
	pool := open(t, storetest.EmptyURL(t), func(config *pgxpool.Config) { config.MaxConns = 1 })
	conn, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	migrate(t, pool)
	status, err := schema.Status(t.Context(), pool)
	require.NoError(t, err)
	require.True(t, status[len(status)-1].Applied)
	_, err = schema.Rollback(t.Context(), pool)
	require.NoError(t, err)
	require.Equal(t, schema.Latest()-1, versionOf(t, pool))
	conn.Release()
}

func TestEveryExecMode(t *testing.T) {
	t.Parallel()
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement,
		pgx.QueryExecModeCacheDescribe,
		pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec,
		pgx.QueryExecModeSimpleProtocol,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			url := storetest.EmptyURL(t)
			pool := open(t, url, func(config *pgxpool.Config) { config.ConnConfig.DefaultQueryExecMode = mode })
			migrateTo(t, pool, 1)
			migrate(t, pool)
			status, err := schema.Status(t.Context(), pool)
			require.NoError(t, err)
			require.WithinDuration(t, serverTime(t, pool), status[3].AppliedAt, time.Minute)
			require.Equal(t, freshSnapshot(t), snapshot(t, open(t, url), "public"))
		})
	}
}

func TestTimeZone(t *testing.T) {
	t.Parallel()
	url := storetest.EmptyURL(t)
	pool := open(t, url, setting("timezone", "Asia/Kathmandu"))
	migrate(t, pool)
	for _, zone := range []string{"Asia/Kathmandu", "America/Caracas"} {
		status, err := schema.Status(t.Context(), open(t, url, setting("timezone", zone)))
		require.NoError(t, err)
		require.WithinDuration(t, serverTime(t, pool), status[0].AppliedAt, time.Minute)
	}
}

// Two copies of the tables in one database: the second is made and taken away
// again beside the first, which is next in the search_path.
func TestSearchPath(t *testing.T) {
	t.Parallel()
	url := storetest.URL(t)
	public := open(t, url)
	want := snapshot(t, public, "public")
	exec(t, public, `CREATE SCHEMA "Tenant ""1"""`)

	tenant := open(t, url, setting("search_path", `nowhere, "Tenant ""1""", public`))
	require.Zero(t, versionOf(t, tenant))
	results, err := schema.Migrate(t.Context(), tenant)
	require.NoError(t, err)
	require.Equal(t, names, namesOf(results))
	require.Equal(t, want, snapshot(t, public, "public"))
	require.Equal(t, []string{"7"}, lines(t, public, `
		SELECT count(*)::text FROM pg_class
		WHERE relnamespace = '"Tenant ""1"""'::regnamespace AND relkind = 'r' AND relname <> 'rowhouse_db_version'`))
	require.Equal(t,
		lines(t, public, `SELECT indexname FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1`),
		lines(t, public, `SELECT indexname FROM pg_indexes WHERE schemaname LIKE 'Tenant%' ORDER BY 1`))

	for range names {
		_, err := schema.Rollback(t.Context(), tenant)
		require.NoError(t, err)
	}
	_, err = schema.Rollback(t.Context(), tenant)
	require.ErrorIs(t, err, schema.ErrNothingToRollBack)
	require.Equal(t, want, snapshot(t, public, "public"))
	require.Equal(t, schema.Latest(), versionOf(t, public))
}

func TestNoSchema(t *testing.T) {
	t.Parallel()
	pool := open(t, storetest.EmptyURL(t), setting("search_path", "nowhere"))
	_, err := schema.Migrate(t.Context(), pool)
	require.ErrorContains(t, err, "names no schema that exists: create one, or set search_path")
}

// The time that a statement may take is ctx's to say.
func TestStatementTimeoutIsLifted(t *testing.T) {
	t.Parallel()
	url := storetest.EmptyURL(t)
	pool := open(t, url)
	migrateTo(t, pool, 1)
	tx := begin(t, url, writeUsers)

	limited := open(t, url, setting("statement_timeout", "200"))
	failed := make(chan error, 1)
	go func() {
		_, err := schema.Migrate(t.Context(), limited)
		failed <- err
	}()
	eventually(t, pool, `
		SELECT EXISTS (
			SELECT FROM pg_stat_activity
			WHERE datname = current_database() AND query LIKE 'CREATE UNIQUE INDEX CONCURRENTLY%'
				AND clock_timestamp() - query_start > interval '400 ms'
		)`)
	require.NoError(t, tx.Rollback(t.Context()))
	require.NoError(t, <-failed)
}

// A lock_timeout is the operator's: a migration that waits makes others wait.
func TestLockTimeoutIsKept(t *testing.T) {
	t.Parallel()
	url := storetest.EmptyURL(t)
	pool := open(t, url)
	migrateTo(t, pool, 2)
	tx := begin(t, url, `LOCK TABLE invitations IN ACCESS SHARE MODE`)
	limited := open(t, url, setting("lock_timeout", "50"))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := schema.Migrate(ctx, limited)
	require.ErrorContains(t, err, "migration 00003_columns.sql failed at line ")
	require.ErrorContains(t, err, "(SQLSTATE 55P03)")
	require.Equal(t, int64(2), versionOf(t, pool))
	require.NoError(t, tx.Rollback(t.Context()))
	migrate(t, limited)
	require.Equal(t, freshSnapshot(t), snapshot(t, pool, "public"))
}

// queryCounter is a tracer of the service's own.
type queryCounter struct{ n atomic.Int64 }

func (c *queryCounter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.n.Add(1)
	return ctx
}

func (c *queryCounter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// A pool may get its password or its role from a hook.
func TestHooksOfThePool(t *testing.T) {
	t.Parallel()
	counter := &queryCounter{}
	pool := open(t, storetest.EmptyURL(t), func(config *pgxpool.Config) {
		name := config.ConnConfig.Database
		config.ConnConfig.Database = "no such database"
		config.BeforeConnect = func(_ context.Context, config *pgx.ConnConfig) error {
			config.Database = name
			return nil
		}
		config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
			if _, err := conn.Exec(ctx, `SELECT 1 FROM nothing`); err == nil {
				return errors.New("there is such a table")
			}
			_, err := conn.Exec(ctx, `CREATE SCHEMA IF NOT EXISTS hooked; SET search_path = hooked; SET timezone = 'Asia/Tokyo'`)
			return err
		}
		config.ConnConfig.Tracer = counter
	})
	repair := failAt(t, pool, "DO $$\nDECLARE")
	_, err := schema.Migrate(t.Context(), pool)
	var failed *schema.MigrationError
	require.ErrorAs(t, err, &failed)
	require.Positive(t, failed.Line, "what failed in the hook is not what failed")
	repair()

	before := counter.n.Load()
	migrate(t, pool)
	require.Greater(t, counter.n.Load()-before, int64(20))
	require.Equal(t, []string{"hooked"}, lines(t, pool, `SELECT nspname::text FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace WHERE relname = 'users'`))
	status, err := schema.Status(t.Context(), pool)
	require.NoError(t, err)
	require.WithinDuration(t, serverTime(t, pool), status[0].AppliedAt, time.Minute)
}

func TestNoConnectionIsLeft(t *testing.T) {
	t.Parallel()
	url := storetest.EmptyURL(t)
	refuse := errors.New("refused by the hook")
	var refusedConns []*pgx.Conn // held, or the garbage collector would close them
	refused := open(t, url, func(config *pgxpool.Config) {
		config.ConnConfig.RuntimeParams["application_name"] = "counted"
		config.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
			refusedConns = append(refusedConns, conn)
			return refuse
		}
	})
	counted := open(t, url, setting("application_name", "counted"))
	pool := open(t, url)
	for range 3 {
		_, err := schema.Migrate(t.Context(), refused)
		require.ErrorIs(t, err, refuse)
		migrate(t, counted)
		versionOf(t, counted)
		_, err = schema.Rollback(t.Context(), counted)
		require.NoError(t, err)
	}
	require.Len(t, refusedConns, 3)
	for _, conn := range refusedConns {
		require.True(t, conn.IsClosed())
	}
	// A server process takes a moment to end after its connection.
	eventually(t, pool, `SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'counted' AND datname = current_database())`)
}

// A role that may not create anything is told so.
func TestRoleWithoutRights(t *testing.T) {
	t.Parallel()
	url := storetest.EmptyURL(t)
	pool := open(t, url)
	role := fmt.Sprintf("powerless_%d", time.Now().UnixNano())
	exec(t, pool, fmt.Sprintf(`CREATE ROLE %[1]s; REVOKE CREATE ON SCHEMA public FROM PUBLIC`, role))
	t.Cleanup(func() { _, _ = pool.Exec(context.WithoutCancel(t.Context()), `DROP ROLE `+role) })
	limited := open(t, url, setting("role", role))
	_, err := schema.Migrate(t.Context(), limited)
	require.ErrorContains(t, err, "(SQLSTATE 42501)")
	require.Zero(t, versionOf(t, limited))
}
