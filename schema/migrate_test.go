package schema_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/schema"
	"github.com/rowhouse/rowhouse/store/storetest"
)

func TestInvalidIndexIsBuiltAgain(t *testing.T) {
	t.Parallel()
	pool := open(t, storetest.EmptyURL(t))
	migrateTo(t, pool, 1)
	exec(t, pool, `INSERT INTO users (email, password_hash) VALUES ('a@example.com', 'x'), ('A@example.com', 'x')`)
	_, err := pool.Exec(t.Context(), `CREATE UNIQUE INDEX CONCURRENTLY users_lower_email_unique ON users (lower(email)) WHERE deleted_at IS NULL`)
	require.ErrorContains(t, err, "could not create unique index")
	require.Equal(t, []string{"users_lower_email_unique"}, lines(t, pool, `SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid`))
	exec(t, pool, `DELETE FROM users`)

	migrate(t, pool)
	require.Equal(t, freshSnapshot(t), snapshot(t, pool, "public"))
}

// A file without a transaction may stop after any of its statements.
func TestEveryMigrationMayRunTwice(t *testing.T) {
	t.Parallel()
	pool := open(t, storetest.URL(t))
	want := snapshot(t, pool, "public")
	for version := schema.Latest(); version > 0; version-- {
		exec(t, pool, fmt.Sprintf(`DELETE FROM rowhouse_db_version WHERE version_id >= %d`, version))
		migrate(t, pool)
		require.Equal(t, want, snapshot(t, pool, "public"))
	}
}

func TestFailureSaysWhereAndWhatNext(t *testing.T) {
	t.Parallel()
	pool := open(t, storetest.EmptyURL(t))
	const statement = "CREATE UNIQUE INDEX CONCURRENTLY invitations_token_hash_unique"
	repair := failAt(t, pool, statement)
	results, err := schema.Migrate(t.Context(), pool)
	require.Equal(t, names[:3], namesOf(results), "what went well is told beside the error")
	require.Equal(t, int64(3), versionOf(t, pool))
	var failed *schema.MigrationError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, int64(4), failed.Version)
	require.Equal(t, "00004_indexes.sql", failed.Name)
	require.Equal(t, lineOf(t, failed.Name, statement), failed.Line)
	var pgErr *pgconn.PgError
	require.ErrorAs(t, err, &pgErr)
	require.EqualError(t, err, fmt.Sprintf("migration 00004_indexes.sql failed at line %d: refused (SQLSTATE RH001); detail: by the test; hint: let it go; repair that and migrate again", failed.Line))

	repair()
	results, err = schema.Migrate(t.Context(), pool)
	require.NoError(t, err)
	require.Equal(t, names[3:], namesOf(results))
	require.Equal(t, freshSnapshot(t), snapshot(t, pool, "public"))
}

// The way down repeats statements of the way up, and it is its line that counts.
func TestFailedRollbackSaysWhere(t *testing.T) {
	t.Parallel()
	pool := open(t, storetest.URL(t))
	_, err := schema.Rollback(t.Context(), pool)
	require.NoError(t, err)
	repair := failAt(t, pool, "DROP INDEX CONCURRENTLY IF EXISTS team_members_team_id_owner_idx")
	_, err = schema.Rollback(t.Context(), pool)
	var failed *schema.MigrationError
	require.ErrorAs(t, err, &failed)
	require.Greater(t, failed.Line, lineOf(t, failed.Name, "-- +goose Down"))
	require.ErrorContains(t, err, "rollback of migration 00004_indexes.sql failed at line ")

	repair()
	result, err := schema.Rollback(t.Context(), pool)
	require.NoError(t, err)
	require.Equal(t, int64(4), result.Version)
}

func TestNoPasswordInErrors(t *testing.T) {
	t.Parallel()
	pool := open(t, "postgres://someone:s3cret@127.0.0.1:1/nowhere")
	_, migrateErr := schema.Migrate(t.Context(), pool)
	_, rollbackErr := schema.Rollback(t.Context(), pool)
	_, statusErr := schema.Status(t.Context(), pool)
	_, versionErr := schema.Version(t.Context(), pool)
	for _, err := range []error{migrateErr, rollbackErr, statusErr, versionErr} {
		require.ErrorContains(t, err, "connect to the database: ")
		require.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, errors.Unwrap(err)), "s3cret")
	}
}

func TestReadingChangesNothing(t *testing.T) {
	t.Parallel()
	pool := open(t, storetest.EmptyURL(t), func(config *pgxpool.Config) {
		config.ConnConfig.RuntimeParams["default_transaction_read_only"] = "on"
	})
	status, err := schema.Status(t.Context(), pool)
	require.NoError(t, err)
	require.Len(t, status, len(names))
	for i, m := range status {
		require.Equal(t, schema.MigrationStatus{Version: int64(i + 1), Name: names[i]}, m)
	}
	require.Zero(t, versionOf(t, pool))
	_, err = schema.Rollback(t.Context(), pool)
	require.ErrorIs(t, err, schema.ErrNothingToRollBack)
	require.Empty(t, lines(t, pool, `SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace`))
}

func TestStatus(t *testing.T) {
	t.Parallel()
	pool := open(t, storetest.EmptyURL(t))
	before := serverTime(t, pool)
	migrateTo(t, pool, 3)
	after := serverTime(t, pool)
	status, err := schema.Status(t.Context(), pool)
	require.NoError(t, err)
	require.Len(t, status, 5)
	for _, m := range status[:3] {
		require.True(t, m.Applied)
		require.Equal(t, time.UTC, m.AppliedAt.Location())
		require.False(t, m.AppliedAt.Before(before), "%s is before %s", m.AppliedAt, before)
		require.False(t, m.AppliedAt.After(after), "%s is after %s", m.AppliedAt, after)
	}
	require.Equal(t, schema.MigrationStatus{Version: 4, Name: "00004_indexes.sql"}, status[3])
	require.Equal(t, schema.MigrationStatus{Version: 5, Name: "00005_subscriptions.sql"}, status[4])
	require.Equal(t, int64(5), schema.Latest())
}

func serverTime(t *testing.T, pool *pgxpool.Pool) (now time.Time) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT clock_timestamp()`).Scan(&now))
	return now
}

// An older build meets the database of a newer one, as when a deployment is
// taken back.
func TestDatabaseOfANewerBuild(t *testing.T) {
	t.Parallel()
	pool := open(t, storetest.URL(t))
	exec(t, pool, `INSERT INTO rowhouse_db_version (version_id, is_applied) VALUES (99, true)`)
	want := snapshot(t, pool, "public")
	results, err := schema.Migrate(t.Context(), pool)
	require.NoError(t, err)
	require.Empty(t, results)
	require.Equal(t, int64(99), versionOf(t, pool))
	status, err := schema.Status(t.Context(), pool)
	require.NoError(t, err)
	require.Len(t, status, 6)
	require.Equal(t, int64(99), status[5].Version)
	require.Empty(t, status[5].Name)
	require.True(t, status[5].Applied)
	_, err = schema.Rollback(t.Context(), pool)
	require.ErrorContains(t, err, "roll back with the build that applied it")
	require.Equal(t, want, snapshot(t, pool, "public"))

	exec(t, pool, `DELETE FROM rowhouse_db_version WHERE version_id = 2`)
	_, err = schema.Migrate(t.Context(), pool)
	require.ErrorContains(t, err, "missing", "a gap is no place to migrate in")
}

// The baseline's rollback drops the tables, so it never does with rows in them.
func TestBaselineRollbackKeepsRows(t *testing.T) {
	t.Parallel()
	for table, insert := range map[string]string{
		"users": `INSERT INTO users (email, password_hash) VALUES ('a@example.com', 'x')`,
		"teams": `INSERT INTO teams (name) VALUES ('a')`,
		"team_members": `ALTER TABLE team_members DISABLE TRIGGER ALL;
			INSERT INTO team_members (user_id, team_id, role) VALUES (1, 1, 'owner')`,
		"activity_logs": `ALTER TABLE activity_logs DISABLE TRIGGER ALL;
			INSERT INTO activity_logs (team_id, action) VALUES (1, 'SIGN_UP')`,
		"invitations": `ALTER TABLE invitations DISABLE TRIGGER ALL;
			INSERT INTO invitations (team_id, email, role, invited_by) VALUES (1, 'a@example.com', 'owner', 1)`,
	} {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			pool := open(t, storetest.EmptyURL(t))
			migrateTo(t, pool, 1)
			exec(t, pool, insert)
			_, err := schema.Rollback(t.Context(), pool)
			var failed *schema.MigrationError
			require.ErrorAs(t, err, &failed)
			require.ErrorContains(t, err, "rollback of migration 00001_baseline.sql failed at line ")
			require.ErrorContains(t, err, "hold rows (SQLSTATE 55000); hint: Save what you need, empty ")
			require.ErrorContains(t, err, "repair that and roll back again")
			require.Greater(t, failed.Line, lineOf(t, failed.Name, "LOCK TABLE"))
			require.Equal(t, []string{"1"}, lines(t, pool, `SELECT count(*)::text FROM `+table))
			require.Equal(t, int64(1), versionOf(t, pool))

			exec(t, pool, `DELETE FROM `+table)
			result, err := schema.Rollback(t.Context(), pool)
			require.NoError(t, err)
			require.Equal(t, int64(1), result.Version)
			require.Empty(t, snapshot(t, pool, "public"))
		})
	}
}
