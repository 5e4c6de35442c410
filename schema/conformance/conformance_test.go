// Package conformance_test runs the TypeScript app's schema and queries, on the real
// drizzle-orm and drizzle-kit, against the databases that rowhouse makes and adopts.
// Whatever rowhouse adds, the app must not notice.
package conformance_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/schema"
	"github.com/rowhouse/rowhouse/store"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// The versions are exact, and the lock file fits every registry. It needs no node.
func TestPackagesAreLocked(t *testing.T) {
	t.Parallel()
	var manifest struct {
		Dependencies, DevDependencies map[string]string
	}
	require.NoError(t, json.Unmarshal(read(t, "package.json"), &manifest))
	locked := packages(t, read(t, "package-lock.json"))
	for _, dependencies := range []map[string]string{manifest.Dependencies, manifest.DevDependencies} {
		require.NotEmpty(t, dependencies)
		for name, version := range dependencies {
			require.Equal(t, version, locked["node_modules/"+name], name)
		}
	}
	require.NotContains(t, string(read(t, "package-lock.json")), `"resolved"`, "npm must ask the registry that it is set up for")
}

// open returns a pool for url, with the session's time zone as far from the app's as
// from any full hour.
func open(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	config.ConnConfig.RuntimeParams["timezone"] = "America/St_Johns"
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(t.Context()), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

// house is a database with both of its users: the app, and the Store or SQL on a pool.
type house struct {
	*app
	pool  *pgxpool.Pool
	store *store.Store
}

// newHouse opens a database for both. The app takes times from the session, so its role
// has the time zone that they are read in.
func newHouse(t *testing.T, url string) *house {
	t.Helper()
	pool := open(t, url)
	execute(t, pool, `DO $$ BEGIN EXECUTE format('ALTER ROLE CURRENT_USER IN DATABASE %I SET TimeZone TO ''UTC''', current_database()); END $$`)
	return &house{app: startApp(t, url), pool: pool, store: store.New(pool)}
}

func execute(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	_, err := pool.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}

// lines returns the query's only column.
func lines(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) []string {
	t.Helper()
	rows, err := pool.Query(t.Context(), sql, args...)
	require.NoError(t, err)
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return all
}

// line returns the query's only value.
func line(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) string {
	t.Helper()
	all := lines(t, pool, sql, args...)
	require.Len(t, all, 1)
	return all[0]
}

// appColumns are the columns of the app's five tables, by table.
func appColumns(t *testing.T, pool *pgxpool.Pool) map[string]string {
	t.Helper()
	columns := make(map[string]string)
	for _, column := range lines(t, pool, `
		SELECT table_name || '.' || quote_ident(column_name) FROM information_schema.columns
		WHERE table_schema = 'public' AND table_name IN ('users', 'teams', 'team_members', 'activity_logs', 'invitations')
		ORDER BY table_name, ordinal_position`) {
		table, name, _ := strings.Cut(column, ".")
		columns[table] += "," + name
	}
	require.Len(t, columns, 5)
	return columns
}

// rows returns every row as text, and its place, which an UPDATE would change.
func rows(t *testing.T, pool *pgxpool.Pool, columns map[string]string) []string {
	t.Helper()
	all := []string{}
	for table, names := range columns {
		of := lines(t, pool, fmt.Sprintf(`SELECT '%[1]s ' || r::text FROM (SELECT ctid, xmin%[2]s FROM %[1]s) AS r`, table, names))
		require.NotEmpty(t, of, "%s is empty: nothing is shown for it", table)
		all = append(all, of...)
	}
	return all
}

// ledger is what drizzle's migrator has noted.
func ledger(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()
	return lines(t, pool, `SELECT (ctid, m)::text FROM drizzle.__drizzle_migrations AS m ORDER BY id`)
}

// catalog describes the tables of both, column for column, constraint for constraint.
func catalog(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()
	return lines(t, pool, `
		WITH tables AS (
			SELECT oid AS id, relname AS name FROM pg_class
			WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'rowhouse_db_version'
		)
		SELECT format('%s column %s %s: %s, not null %s, default %s, identity %s, generated %s, collation %s', name,
			row_number() OVER (PARTITION BY name ORDER BY attnum), attname, format_type(atttypid, atttypmod), attnotnull,
			pg_get_expr(adbin, adrelid), attidentity, attgenerated, attcollation::regcollation)
		FROM tables
		JOIN pg_attribute ON attrelid = id AND attnum > 0 AND NOT attisdropped
		LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
		UNION ALL
		SELECT format('%s constraint %s: %s, validated %s', name, conname, pg_get_constraintdef(pg_constraint.oid), convalidated)
		FROM tables
		JOIN pg_constraint ON conrelid = id
		UNION ALL
		SELECT format('%s index %s, valid %s', name, pg_get_indexdef(indexrelid), indisvalid)
		FROM tables
		JOIN pg_index ON indrelid = id
		UNION ALL
		SELECT format('%s.%s sequence %s', name, attname, objid::regclass)
		FROM tables
		JOIN pg_depend ON refobjid = id AND classid = 'pg_class'::regclass AND deptype = 'a' AND refobjsubid > 0
		JOIN pg_attribute ON attrelid = id AND attnum = refobjsubid
		JOIN pg_class AS sequences ON sequences.oid = objid AND relkind = 'S'
		UNION ALL
		SELECT format('%s trigger %s', name, tgname)
		FROM tables
		JOIN pg_trigger ON tgrelid = id AND NOT tgisinternal
		ORDER BY 1`)
}

// files are the tables' files on the disk: a rewritten table has another one.
func files(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()
	return lines(t, pool, `
		SELECT format('%s %s', relname, relfilenode) FROM pg_class
		WHERE relkind = 'r' AND relnamespace IN ('public'::regnamespace, 'drizzle'::regnamespace)`)
}

// Drizzle made the database and the app has filled it; rowhouse adopts it, and the app,
// which has stayed connected, goes on.
func TestAdoption(t *testing.T) {
	t.Parallel()
	needNode(t)
	folder := baseline(t)
	h := newHouse(t, storetest.EmptyURL(t))
	h.call("migrate", args{"folder": folder}, nil)
	h.requireTheAppWorks("before.example.com")
	h.insertEveryKindOfRow()

	columns := appColumns(t, h.pool)
	rowsBefore, ledgerBefore, filesBefore := rows(t, h.pool, columns), ledger(t, h.pool), files(t, h.pool)
	require.Len(t, ledgerBefore, 1)
	require.Len(t, filesBefore, 6)
	results, err := schema.Migrate(t.Context(), h.pool)
	require.NoError(t, err)
	require.Len(t, results, int(schema.Latest()))
	require.ElementsMatch(t, rowsBefore, rows(t, h.pool, columns))
	require.Equal(t, ledgerBefore, ledger(t, h.pool))
	require.Subset(t, files(t, h.pool), filesBefore, "a table was rewritten")
	require.Equal(t, catalog(t, open(t, storetest.URL(t))), catalog(t, h.pool))

	h.requireTheAppWorks("after.example.com")
	h.insertEveryKindOfRow()

	rowsBefore, catalogBefore := rows(t, h.pool, columns), catalog(t, h.pool)
	h.call("migrate", args{"folder": folder}, nil)
	require.Equal(t, ledgerBefore, ledger(t, h.pool))
	require.ElementsMatch(t, rowsBefore, rows(t, h.pool, columns))
	require.Equal(t, catalogBefore, catalog(t, h.pool))

	// The app's schema grows by a migration, which has the growth and nothing of ours.
	require.Equal(t, `ALTER TABLE "users" ADD COLUMN "nickname" text DEFAULT 'none' NOT NULL;`, generate(t, folder, grownSchema(t), "nickname"))
	h.call("migrate", args{"folder": folder}, nil)
	require.Len(t, ledger(t, h.pool), 2)
	results, err = schema.Migrate(t.Context(), h.pool)
	require.NoError(t, err)
	require.Empty(t, results)
	account := h.storeSignUp("grown@example.com", "")
	require.Equal(t, "none", line(t, h.pool, "SELECT nickname FROM users WHERE id = $1", account.User.ID))
	h.requireSameAnswers(account.User.ID, 1)
	h.requireTheAppWorks("grown.example.com")
}

// grownSchema is a later version of the app's schema, with a column more.
func grownSchema(t *testing.T) string {
	t.Helper()
	const after = "deletedAt: timestamp('deleted_at'),\n"
	text := string(read(t, "schema.ts"))
	require.Equal(t, 1, strings.Count(text, after))
	dir := t.TempDir()
	modules, err := filepath.Abs("node_modules")
	require.NoError(t, err)
	require.NoError(t, os.Symlink(modules, filepath.Join(dir, "node_modules")))
	file := filepath.Join(dir, "schema.ts")
	text = strings.Replace(text, after, after+"nickname: text('nickname').notNull().default('none'),\n", 1)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// rowhouse made the database, and the app comes to it.
func TestAppOnOurDatabase(t *testing.T) {
	t.Parallel()
	needNode(t)
	folder := baseline(t)
	h := newHouse(t, storetest.URL(t))
	h.requireTheAppWorks("example.com")
	h.insertEveryKindOfRow()

	columns := appColumns(t, h.pool)
	rowsBefore, catalogBefore := rows(t, h.pool, columns), catalog(t, h.pool)
	requireUntouched := func() {
		t.Helper()
		require.ElementsMatch(t, rowsBefore, rows(t, h.pool, columns))
		require.Equal(t, catalogBefore, catalog(t, h.pool))
	}

	// Its first migration creates the tables, and so is refused, all of it.
	refused := h.refuse("migrate", args{"folder": folder})
	require.Equal(t, "42P07", refused.Code, "duplicate_table: %s", refused.Error)
	require.Empty(t, ledger(t, h.pool))
	requireUntouched()

	// Drizzle's migrator passes it over once it stands in its table.
	file := filepath.Join(folder, "0000_baseline.sql")
	var journal struct{ Entries []struct{ When int64 } }
	require.NoError(t, json.Unmarshal(read(t, filepath.Join(folder, "meta", "_journal.json")), &journal))
	hash := sha256.Sum256(read(t, file))
	execute(t, h.pool, "INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES ($1, $2)", hex.EncodeToString(hash[:]), journal.Entries[0].When)
	h.call("migrate", args{"folder": folder}, nil)
	require.Len(t, ledger(t, h.pool), 1)
	requireUntouched()

	// As earlier versions of drizzle-kit wrote it, it creates what is not there, and is applied.
	text := strings.ReplaceAll(string(read(t, file)), "CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ")
	text = regexp.MustCompile(`ALTER TABLE [^;]*;`).ReplaceAllString(text, "DO $$$$ BEGIN\n $0\nEXCEPTION\n WHEN duplicate_object THEN null;\nEND $$$$;\n")
	require.Contains(t, text, "DO $$ BEGIN\n ALTER TABLE")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	execute(t, h.pool, "TRUNCATE drizzle.__drizzle_migrations")
	h.call("migrate", args{"folder": folder}, nil)
	require.Len(t, ledger(t, h.pool), 1)
	requireUntouched()
}

// drizzle-kit compares the app's schema with the database itself. What it would change is
// what rowhouse added, and nothing else: which is also why nobody must let it.
func TestPushWouldOnlyDropWhatIsOurs(t *testing.T) {
	t.Parallel()
	needNode(t)
	theirs := newHouse(t, storetest.EmptyURL(t))
	theirs.call("migrate", args{"folder": baseline(t)}, nil)
	var statements []string
	theirs.call("push", nil, &statements)
	require.Empty(t, statements)

	const drops = `
		SELECT unnest(ARRAY[format('ALTER TABLE "%1$s" DISABLE ROW LEVEL SECURITY;', relname), format('DROP TABLE "%1$s" CASCADE;', relname)])
		FROM pg_class
		WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
		UNION ALL
		SELECT format('ALTER TABLE "%s" DROP COLUMN "%s";', table_name, column_name)
		FROM information_schema.columns
		WHERE table_schema = 'public' AND table_name = ANY($1)
		UNION ALL
		SELECT format('DROP INDEX "%s";', indexname)
		FROM pg_indexes
		WHERE schemaname = 'public' AND tablename = ANY($1)`
	tables := slices.Collect(maps.Keys(appColumns(t, theirs.pool)))
	ours := newHouse(t, storetest.URL(t))
	kept := lines(t, theirs.pool, drops, tables)
	added := slices.DeleteFunc(lines(t, ours.pool, drops, tables), func(drop string) bool { return slices.Contains(kept, drop) })
	require.Contains(t, added, `ALTER TABLE "teams" DROP COLUMN "seat_limit";`)
	ours.call("push", nil, &statements)
	require.ElementsMatch(t, added, statements)
}
