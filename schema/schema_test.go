package schema_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/schema"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// names are the migrations, in order.
var names = []string{
	"00001_baseline.sql",
	"00002_unique_rules.sql",
	"00003_columns.sql",
	"00004_indexes.sql",
	"00005_subscriptions.sql",
}

// open returns a pool for url, changed by configure, until the test ends.
func open(t *testing.T, url string, configure ...func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	for _, change := range configure {
		change(config)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

// migrate brings the database to the latest version.
func migrate(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	_, err := schema.Migrate(t.Context(), pool)
	require.NoError(t, err)
}

// migrateTo brings the database to an earlier version.
func migrateTo(t *testing.T, pool *pgxpool.Pool, version int64) {
	t.Helper()
	migrate(t, pool)
	for range schema.Latest() - version {
		_, err := schema.Rollback(t.Context(), pool)
		require.NoError(t, err)
	}
	require.Equal(t, version, versionOf(t, pool))
}

func versionOf(t *testing.T, pool *pgxpool.Pool) int64 {
	t.Helper()
	version, err := schema.Version(t.Context(), pool)
	require.NoError(t, err)
	return version
}

func namesOf(results []schema.Result) []string {
	var all []string
	for _, r := range results {
		all = append(all, r.Name)
	}
	return all
}

// querier is a pool, a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// lines returns the query's only column.
func lines(t *testing.T, db querier, sql string, args ...any) []string {
	t.Helper()
	rows, err := db.Query(t.Context(), sql, args...)
	require.NoError(t, err)
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return all
}

// exec runs statements that take no arguments.
func exec(t *testing.T, pool *pgxpool.Pool, sql string) {
	t.Helper()
	_, err := pool.Exec(t.Context(), sql)
	require.NoError(t, err)
}

// failAt makes the server refuse a migration's statement that begins with the text, until
// the returned function is called.
func failAt(t *testing.T, pool *pgxpool.Pool, statement string) (repair func()) {
	t.Helper()
	exec(t, pool, `CREATE FUNCTION fail_at() RETURNS event_trigger LANGUAGE plpgsql AS $body$
		BEGIN
			IF starts_with(current_query(), '`+statement+`') THEN
				RAISE EXCEPTION USING ERRCODE = 'RH001', MESSAGE = 'refused', DETAIL = 'by the test', HINT = 'let it go';
			END IF;
		END $body$;
		CREATE EVENT TRIGGER fail_at ON ddl_command_start EXECUTE FUNCTION fail_at()`)
	return func() { exec(t, pool, `DROP EVENT TRIGGER fail_at; DROP FUNCTION fail_at`) }
}

// eventually waits until the query answers true.
func eventually(t *testing.T, pool *pgxpool.Pool, query string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		var yes bool
		require.NoError(t, pool.QueryRow(t.Context(), query).Scan(&yes))
		if yes {
			return
		}
		require.True(t, time.Now().Before(end), "never true: %s", query)
	}
}

// begin starts a transaction on a connection of its own and runs the statement
// in it. Both end with the test, also one that fails.
func begin(t *testing.T, url, statement string) pgx.Tx {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), statement)
	require.NoError(t, err)
	return tx
}

// outcome is what a Migrate in a goroutine returned.
type outcome struct {
	results []schema.Result
	err     error
}

// start runs n Migrates at once, each with a pool of its own.
func start(ctx context.Context, t *testing.T, url string, n int) <-chan outcome {
	t.Helper()
	outcomes := make(chan outcome, n)
	var ready sync.WaitGroup
	ready.Add(n)
	for range n {
		pool := open(t, url)
		go func() {
			ready.Done()
			ready.Wait()
			results, err := schema.Migrate(ctx, pool)
			outcomes <- outcome{results, err}
		}()
	}
	return outcomes
}

// lineOf returns the first line of the file that begins with text.
func lineOf(t *testing.T, file, text string) int {
	t.Helper()
	content, err := schema.Files.ReadFile(file)
	require.NoError(t, err)
	for i, line := range strings.Split(string(content), "\n") {
		if strings.HasPrefix(line, text) {
			return i + 1
		}
	}
	require.FailNow(t, "no such line", "%s in %s", text, file)
	return 0
}

// freshSnapshot is what every way to the latest version has to end in.
func freshSnapshot(t *testing.T) string {
	t.Helper()
	return snapshot(t, open(t, storetest.URL(t)), "public")
}

// snapshot describes everything in the schema as text, but for the versions' table.
func snapshot(t *testing.T, db querier, namespace string) string {
	t.Helper()
	all := lines(t, db, `
		WITH relations AS (
			SELECT oid AS relation, relname, relkind
			FROM pg_class
			WHERE relnamespace = to_regnamespace($1) AND relname NOT LIKE 'rowhouse\_db\_version%'
		)
		SELECT format('relation %s %s', relkind, relname) FROM relations
		UNION ALL
		SELECT format('column %s.%s %s %s not null %s default %s identity %s collation %s', relname,
			row_number() OVER (PARTITION BY relname ORDER BY attnum), attname, format_type(atttypid, atttypmod),
			attnotnull, pg_get_expr(adbin, adrelid), attidentity, attcollation::regcollation)
		FROM relations
		JOIN pg_attribute ON attrelid = relation AND attnum > 0 AND NOT attisdropped
		LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
		WHERE relkind = 'r'
		UNION ALL
		SELECT format('constraint %s.%s %s valid %s', relname, conname, pg_get_constraintdef(con.oid), convalidated)
		FROM relations
		JOIN pg_constraint AS con ON conrelid = relation
		UNION ALL
		SELECT format('index %s valid %s', replace(pg_get_indexdef(indexrelid), $1 || '.', ''), indisvalid)
		FROM relations
		JOIN pg_index ON indexrelid = relation
		UNION ALL
		SELECT format('sequence %s of %s', relname, replace(pg_get_serial_sequence(refobjid::regclass::text, attname), $1 || '.', ''))
		FROM relations
		JOIN pg_depend ON objid = relation AND deptype = 'a'
		JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
		WHERE relkind = 'S'
		UNION ALL
		SELECT format('trigger %s on %s', tgname, relname)
		FROM relations
		JOIN pg_trigger ON tgrelid = relation
		WHERE NOT tgisinternal
		UNION ALL
		SELECT format('function %s', proname)
		FROM pg_proc
		WHERE pronamespace = to_regnamespace($1)
		UNION ALL
		SELECT format('type %s %s', typtype, typname)
		FROM pg_type
		WHERE typnamespace = to_regnamespace($1) AND typtype IN ('d', 'e', 'r')
		ORDER BY 1`, namespace)
	return strings.Join(all, "\n")
}
