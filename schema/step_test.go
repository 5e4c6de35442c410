package schema_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/schema"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// fixtures are rows for what a migration has made, put in right after it: of each
// table several, one with every column set, and one with NULL wherever that may
// be. A migration that adds a table or a column needs some here.
var fixtures = map[int64]string{
	1: `
INSERT INTO users (name, email, password_hash, role, created_at, updated_at, deleted_at) VALUES
	('Ada', 'Ada@Example.com', '$2b$10$a', 'owner', '2024-02-29 23:59:59.999999', '0001-01-01', 'infinity'),
	(NULL, 'böb@example.com', '', 'member', '2024-01-01', '2024-01-01', NULL),
	('', 'ada@example.com', E'\\x"', 'a role of ours', '2024-03-31 02:30:00', '9999-12-31', NULL);
INSERT INTO teams (name, created_at, updated_at, stripe_customer_id, stripe_subscription_id, stripe_product_id, plan_name, subscription_status) VALUES
	('Ada''s Team', '2024-01-01', '2024-01-02', 'cus_1', 'sub_1', 'prod_1', 'Plus', 'trialing'),
	('', '2024-01-01', '2024-01-02', NULL, NULL, NULL, NULL, NULL),
	('Third', '2024-01-01', '2024-01-02', 'cus_3', NULL, NULL, '', 'a status of ours');
INSERT INTO team_members (user_id, team_id, role, joined_at) VALUES
	(1, 1, 'owner', '2024-01-01'), (2, 1, 'member', '2024-01-02 00:00:00.000001'), (3, 2, 'other', '2024-01-03');
INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address) VALUES
	(1, 1, 'SIGN_UP', '2024-01-01', '2001:db8::1'), (2, NULL, 'ANYTHING', '2024-01-01', NULL), (1, 2, '', '2024-01-01', '');
INSERT INTO invitations (team_id, email, role, invited_by, invited_at, status) VALUES
	(1, 'Zoe@example.com', 'member', 1, '2024-01-01', 'pending'),
	(2, 'zoe@example.com', 'owner', 3, '2024-01-01', 'pending'),
	(1, 'zoe@example.com', 'member', 2, '2024-01-01', 'canceled');`,
	3: `
UPDATE teams SET seat_limit = 2147483647, deleted_at = '2024-05-05 05:05:05.5' WHERE id = 1;
UPDATE invitations SET token_hash = '\x00ff', expires_at = '2024-05-05' WHERE id = 1;
UPDATE activity_logs SET metadata = '{"b": [1, null], "a": "\u00e9"}' WHERE id = 1;`,
	5: `
INSERT INTO subscriptions (id, team_id, stripe_customer_id, status, stripe_product_id, stripe_price_id, plan_name, quantity,
	trial_end, current_period_end, cancel_at, cancel_at_period_end, created_at, event_created_at, event_id) VALUES
	('sub_1', 1, 'cus_1', 'active', 'prod_1', 'price_1', 'Plus', 3, '2024-01-15', '2024-02-01', '2024-03-01', true, '2024-01-01', '2024-01-02', 'evt_1'),
	('sub_2', 1, 'cus_1', 'canceled', NULL, NULL, NULL, NULL, NULL, NULL, NULL, false, '2024-01-01', '2024-01-02', NULL);
INSERT INTO subscription_events (id, type, created_at, received_at) VALUES
	('evt_1', 'customer.subscription.updated', '2024-01-01', '2024-01-02'), ('evt_2', '', '2024-01-01', '2024-01-02');`,
}

// ladder is a database that goes up one migration at a time, with the fixtures of
// each put in.
type ladder struct {
	pool     *pgxpool.Pool
	provider *goose.Provider
}

func newLadder(t *testing.T) ladder {
	t.Helper()
	pool := open(t, storetest.EmptyURL(t))
	db := stdlib.OpenDBFromPool(pool)
	t.Cleanup(func() { _ = db.Close() })
	provider, err := goose.NewProvider(goose.DialectPostgres, db, schema.Files, goose.WithDisableGlobalRegistry(true), goose.WithTableName("rowhouse_db_version"))
	require.NoError(t, err)
	return ladder{pool, provider}
}

// climb takes the steps up to the latest version. Before each it calls step, and
// after it what that returned, with the name of the migration.
func (l ladder) climb(t *testing.T, step func() (done func(name string))) {
	t.Helper()
	for version := int64(1); version <= schema.Latest(); version++ {
		done := step()
		result, err := l.provider.UpByOne(t.Context())
		require.NoError(t, err)
		require.Equal(t, version, result.Source.Version)
		done(result.Source.Path)
		exec(t, l.pool, fixtures[version])
		require.Empty(t, unfilled(t, l.pool), "nothing is shown for these: add fixtures of %s", result.Source.Path)
	}
}

// shape is the columns of each table.
type shape map[string][]string

func shapeOf(t *testing.T, pool *pgxpool.Pool) shape {
	t.Helper()
	return columnsOf(t, pool, false)
}

func columnsOf(t *testing.T, pool *pgxpool.Pool, nullable bool) shape {
	t.Helper()
	all := shape{}
	for _, line := range lines(t, pool, `
		SELECT format('%s.%I', relname, attname)
		FROM pg_class
		JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
		WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relname <> 'rowhouse_db_version'
			AND NOT (attnotnull AND $1)
		ORDER BY attnum`, nullable) {
		table, column, _ := strings.Cut(line, ".")
		all[table] = append(all[table], column)
	}
	return all
}

// rowsOf returns every row of the tables, its columns as text.
func rowsOf(t *testing.T, pool *pgxpool.Pool, of shape) []string {
	t.Helper()
	var all []string
	for _, table := range slices.Sorted(maps.Keys(of)) {
		all = append(all, lines(t, pool, fmt.Sprintf(`SELECT '%[1]s ' || ARRAY[%[2]s::text]::text FROM %[1]s ORDER BY 1`,
			table, strings.Join(of[table], "::text, ")))...)
	}
	return all
}

// unfilled names the tables whose rows are not what fixtures promise.
func unfilled(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()
	var all []string
	nullable := columnsOf(t, pool, true)
	for table, columns := range shapeOf(t, pool) {
		bare := "true"
		if len(nullable[table]) > 0 {
			bare = fmt.Sprintf("num_nonnulls(%s) = 0", strings.Join(nullable[table], ", "))
		}
		all = append(all, lines(t, pool, fmt.Sprintf(`
			SELECT format('%[1]s: %%s rows, %%s with every column, %%s without any that may be NULL', n, full_ones, bare_ones)
			FROM (
				SELECT count(*) AS n,
					count(*) FILTER (WHERE num_nulls(%[2]s) = 0) AS full_ones,
					count(*) FILTER (WHERE %[3]s) AS bare_ones
				FROM %[1]s
			) AS counted
			WHERE n < 2 OR full_ones = 0 OR bare_ones = 0`, table, strings.Join(columns, ", "), bare))...)
	}
	return all
}

func TestEachStepUpKeepsEveryRow(t *testing.T) {
	t.Parallel()
	l := newLadder(t)
	l.climb(t, func() func(string) {
		before := shapeOf(t, l.pool)
		rows := rowsOf(t, l.pool, before)
		return func(name string) { require.Equal(t, rows, rowsOf(t, l.pool, before), name) }
	})
}

// What a step added may go with it, and only that. Down to each version from the
// latest, and up again.
func TestStepsDownKeepTheRowsOfEarlierSteps(t *testing.T) {
	t.Parallel()
	l := newLadder(t)
	var shapes []shape // by version
	l.climb(t, func() func(string) {
		shapes = append(shapes, shapeOf(t, l.pool))
		return func(string) {}
	})
	rows := make([][]string, len(shapes))
	for version, of := range shapes {
		rows[version] = rowsOf(t, l.pool, of)
	}
	for version := schema.Latest() - 1; version > 0; version-- {
		for at := schema.Latest() - 1; at >= version; at-- {
			_, err := schema.Rollback(t.Context(), l.pool)
			require.NoError(t, err)
			require.Equal(t, shapes[at], shapeOf(t, l.pool), "down to %d", at)
			require.Equal(t, rows[version], rowsOf(t, l.pool, shapes[version]), "down to %d", at)
		}
		migrate(t, l.pool)
		require.Equal(t, rows[version], rowsOf(t, l.pool, shapes[version]), "down to %d and up again", version)
	}
}

// The fixtures are no proof where they leave something out.
func TestMissingFixturesAreFound(t *testing.T) {
	t.Parallel()
	l := newLadder(t)
	l.climb(t, func() func(string) { return func(string) {} })
	exec(t, l.pool, `CREATE TABLE added (id integer NOT NULL, note text)`)
	for _, step := range []struct{ insert, want string }{
		{``, "added: 0 rows, 0 with every column, 0 without any that may be NULL"},
		{`INSERT INTO added VALUES (1, 'a')`, "added: 1 rows, 1 with every column, 0 without any that may be NULL"},
		{`INSERT INTO added VALUES (2, 'b')`, "added: 2 rows, 2 with every column, 0 without any that may be NULL"},
		{`UPDATE added SET note = NULL`, "added: 2 rows, 0 with every column, 2 without any that may be NULL"},
	} {
		exec(t, l.pool, step.insert)
		require.Equal(t, []string{step.want}, unfilled(t, l.pool))
	}
	exec(t, l.pool, `UPDATE added SET note = '' WHERE id = 1`)
	require.Empty(t, unfilled(t, l.pool))
	exec(t, l.pool, `ALTER TABLE users ADD COLUMN added text`)
	require.Equal(t, []string{"users: 3 rows, 0 with every column, 1 without any that may be NULL"}, unfilled(t, l.pool))
}

// refuseRewrites makes the server fail a statement that rewrites a table.
func refuseRewrites(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	exec(t, pool, `
		CREATE SCHEMA guard;
		CREATE FUNCTION guard.refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$
		BEGIN
			RAISE EXCEPTION 'rewrites %', pg_event_trigger_table_rewrite_oid()::regclass;
		END
		$$;
		CREATE EVENT TRIGGER refuse_rewrites ON table_rewrite EXECUTE FUNCTION guard.refuse()`)
}

// storage returns the file of each table and index. A rewrite makes another one.
// The trigger does not see VACUUM FULL or CLUSTER, and this one does.
func storage(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()
	return lines(t, pool, `
		SELECT format('%s %s', relname, pg_relation_filenode(oid)) FROM pg_class
		WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i') ORDER BY 1`)
}

// replaced returns what was there before and is no more.
func replaced(before, after []string) []string {
	return slices.DeleteFunc(slices.Clone(before), func(one string) bool { return slices.Contains(after, one) })
}

func TestNoStepRewritesATable(t *testing.T) {
	t.Parallel()
	l := newLadder(t)
	refuseRewrites(t, l.pool)
	l.climb(t, func() func(string) {
		before := storage(t, l.pool)
		return func(name string) { require.Empty(t, replaced(before, storage(t, l.pool)), "%s rewrites these", name) }
	})
}

func TestRewritesAreFound(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		statement string
		table     string // what the trigger tells, "" when it doesn't
		replaced  []string
	}{
		"retype": {
			statement: `ALTER TABLE activity_logs ALTER COLUMN id TYPE bigint`,
			table:     "activity_logs",
			replaced:  []string{"activity_logs", "activity_logs_pkey"},
		},
		"computed default": {
			statement: `ALTER TABLE activity_logs ADD COLUMN at timestamp DEFAULT clock_timestamp()`,
			table:     "activity_logs",
			replaced:  []string{"activity_logs", "activity_logs_pkey"},
		},
		"serial":       {statement: `ALTER TABLE teams ADD COLUMN n serial`, table: "teams", replaced: []string{"teams", "teams_pkey"}},
		"vacuum":       {statement: `VACUUM FULL teams`, replaced: []string{"teams", "teams_pkey"}},
		"reindex":      {statement: `REINDEX INDEX teams_pkey`, replaced: []string{"teams_pkey"}},
		"widen":        {statement: `ALTER TABLE teams ALTER COLUMN name TYPE varchar(200)`},
		"constant":     {statement: `ALTER TABLE teams ADD COLUMN n integer NOT NULL DEFAULT 1`},
		"a new column": {statement: `ALTER TABLE teams ADD COLUMN n integer`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := open(t, storetest.URL(t))
			for _, version := range slices.Sorted(maps.Keys(fixtures)) {
				exec(t, pool, fixtures[version])
			}
			before := storage(t, pool)
			refuseRewrites(t, pool)
			_, err := pool.Exec(t.Context(), test.statement)
			if test.table == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, "rewrites "+test.table)
				require.Empty(t, replaced(before, storage(t, pool)), "the statement was refused too late")
				exec(t, pool, `DROP EVENT TRIGGER refuse_rewrites`)
				exec(t, pool, test.statement)
			}
			var relations []string
			for _, line := range replaced(before, storage(t, pool)) {
				relation, _, _ := strings.Cut(line, " ")
				relations = append(relations, relation)
			}
			require.Subset(t, relations, test.replaced)
			require.Equal(t, len(test.replaced) == 0, len(relations) == 0, "%s", relations)
		})
	}
}
