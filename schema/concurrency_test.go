package schema_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/schema"
	"github.com/rowhouse/rowhouse/store/storetest"
)

func TestManyMigratorsAtOnce(t *testing.T) {
	t.Parallel()
	url := storetest.EmptyURL(t)
	const n = 8
	outcomes := start(t.Context(), t, url, n)
	var applied []string
	for range n {
		o := <-outcomes
		require.NoError(t, o.err)
		applied = append(applied, namesOf(o.results)...)
	}
	require.ElementsMatch(t, names, applied, "each migration is applied by one of them")
	pool := open(t, url)
	require.Equal(t, freshSnapshot(t), snapshot(t, pool, "public"))
	require.Equal(t, []string{"0 1", "1 1", "2 1", "3 1", "4 1", "5 1"},
		lines(t, pool, `SELECT format('%s %s', version_id, count(*)) FROM rowhouse_db_version GROUP BY version_id ORDER BY version_id`))
}

// writeUsers is a transaction that CREATE INDEX CONCURRENTLY on users waits for.
const writeUsers = `LOCK TABLE users IN ROW EXCLUSIVE MODE`

// indexWaits is true while CREATE INDEX CONCURRENTLY waits for a transaction.
const indexWaits = `
	SELECT EXISTS (
		SELECT FROM pg_stat_activity
		WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'CREATE UNIQUE INDEX CONCURRENTLY%'
	)`

// A migrator that waited inside the server would deadlock with the index that
// the one before it builds.
func TestIndexIsBuiltWhileOthersWait(t *testing.T) {
	t.Parallel()
	url := storetest.EmptyURL(t)
	pool := open(t, url)
	migrateTo(t, pool, 1)
	tx := begin(t, url, writeUsers)
	const n = 5
	outcomes := start(t.Context(), t, url, n)
	eventually(t, pool, indexWaits)
	eventually(t, pool, fmt.Sprintf(`
		SELECT count(*) = %d FROM pg_stat_activity
		WHERE datname = current_database() AND state = 'idle' AND query LIKE '%%pg_try_advisory_lock%%'`, n-1))
	require.NoError(t, tx.Rollback(t.Context()))
	for range n {
		require.NoError(t, (<-outcomes).err)
	}
	require.Equal(t, freshSnapshot(t), snapshot(t, pool, "public"))
}

func TestCancelAndRunAgain(t *testing.T) {
	t.Parallel()
	url := storetest.EmptyURL(t)
	pool := open(t, url)
	migrateTo(t, pool, 1)
	tx := begin(t, url, writeUsers)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	outcomes := start(ctx, t, url, 1)
	eventually(t, pool, indexWaits)
	cancelled := time.Now()
	cancel()
	o := <-outcomes
	require.Less(t, time.Since(cancelled), 3*time.Second)
	require.ErrorIs(t, o.err, context.Canceled)
	var failed *schema.MigrationError
	require.ErrorAs(t, o.err, &failed)
	require.Equal(t, lineOf(t, failed.Name, "CREATE UNIQUE INDEX CONCURRENTLY users_lower_email_unique"), failed.Line)
	require.Equal(t, fmt.Sprintf("migration 00002_unique_rules.sql was stopped at line %d: context canceled; migrate again to finish it", failed.Line), failed.Error())

	// The server has stopped, too, let go of the lock, and left what the next run
	// has to repair.
	require.Empty(t, lines(t, pool, `
		SELECT query FROM pg_stat_activity
		WHERE datname = current_database() AND wait_event_type = 'Lock'`))
	require.Empty(t, lines(t, pool, `
		SELECT pid::text FROM pg_locks
		WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`))
	require.Equal(t, []string{"users_lower_email_unique"}, lines(t, pool, `SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid`))
	require.NoError(t, tx.Rollback(t.Context()))
	migrate(t, pool)
	require.Equal(t, freshSnapshot(t), snapshot(t, pool, "public"))
}

func TestCancelInTransaction(t *testing.T) {
	t.Parallel()
	url := storetest.EmptyURL(t)
	pool := open(t, url)
	// Another transaction makes the same table and does not end.
	tx := begin(t, url, `CREATE TABLE teams (id integer)`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	outcomes := start(ctx, t, url, 1)
	eventually(t, pool, `
		SELECT EXISTS (
			SELECT FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'CREATE TABLE IF NOT EXISTS teams%'
		)`)
	cancel()
	o := <-outcomes
	require.ErrorIs(t, o.err, context.Canceled)
	require.ErrorContains(t, o.err, fmt.Sprintf("migration 00001_baseline.sql was stopped at line %d: ",
		lineOf(t, "00001_baseline.sql", "CREATE TABLE IF NOT EXISTS teams")))
	require.NoError(t, tx.Rollback(t.Context()))
	eventually(t, pool, `SELECT to_regclass('users') IS NULL`)
	migrate(t, pool)
	require.Equal(t, freshSnapshot(t), snapshot(t, pool, "public"))
}

// The wait for another migrator ends with ctx, and says what it waited for.
func TestCancelWhileAnotherMigrates(t *testing.T) {
	t.Parallel()
	url := storetest.EmptyURL(t)
	pool := open(t, url)
	begin(t, url, `SELECT pg_advisory_lock(4097083626)`) // goose's

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	outcomes := start(ctx, t, url, 1)
	eventually(t, pool, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle' AND query LIKE '%pg_try_advisory_lock%')`)
	cancel()
	o := <-outcomes
	require.ErrorIs(t, o.err, context.Canceled)
	require.Empty(t, lines(t, pool, `SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace`), "it wrote without the lock")

	// Readers don't wait.
	status, err := schema.Status(t.Context(), pool)
	require.NoError(t, err)
	require.Len(t, status, len(names))
}

// A service that starts on a database which is up to date waits for nobody.
func TestNothingPendingTakesNoLock(t *testing.T) {
	t.Parallel()
	url := storetest.URL(t)
	begin(t, url, `SELECT pg_advisory_lock(4097083626)`) // goose's
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	results, err := schema.Migrate(ctx, open(t, url))
	require.NoError(t, err)
	require.Empty(t, results)
}

// A row that commits while the rollback runs is kept, too.
func TestBaselineRollbackWaitsForWriters(t *testing.T) {
	t.Parallel()
	url := storetest.EmptyURL(t)
	pool := open(t, url)
	migrateTo(t, pool, 1)
	tx := begin(t, url, `INSERT INTO users (email, password_hash) VALUES ('a@example.com', 'x')`)

	failed := make(chan error, 1)
	go func() {
		_, err := schema.Rollback(t.Context(), pool)
		failed <- err
	}()
	eventually(t, pool, `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'users'::regclass)`)
	require.NoError(t, tx.Commit(t.Context()))
	require.ErrorContains(t, <-failed, "hold rows")
	require.Equal(t, []string{"a@example.com"}, lines(t, pool, `SELECT email FROM users`))
}

// A migration must never lock two tables at once: services take such locks in
// any order, and that would be a deadlock.
func TestColumnsAreAddedBesideWriters(t *testing.T) {
	t.Parallel()
	url := storetest.EmptyURL(t)
	pool := open(t, url)
	migrateTo(t, pool, 2)
	exec(t, pool, `INSERT INTO teams (name) VALUES ('a')`)
	// An insert that is about to check its foreign key: it has its own table, and
	// takes teams next.
	tx := begin(t, url, `LOCK TABLE activity_logs IN ROW EXCLUSIVE MODE`)
	outcomes := start(t.Context(), t, url, 1)
	eventually(t, pool, `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'activity_logs'::regclass)`)
	_, err := tx.Exec(t.Context(), `INSERT INTO activity_logs (team_id, action) VALUES (1, 'SIGN_IN')`)
	require.NoError(t, err)
	require.NoError(t, tx.Commit(t.Context()))
	require.NoError(t, (<-outcomes).err)
	require.Equal(t, []string{"SIGN_IN"}, lines(t, pool, `SELECT action FROM activity_logs`))
}
