package schema_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/schema"
	"github.com/rowhouse/rowhouse/store/storetest"
)

var update = flag.Bool("update", false, "write catalog.txt anew from what the migrations make")

// Each line begins with the version that makes it.
func TestCatalogText(t *testing.T) {
	t.Parallel()
	made := make(map[string]int64)
	var latest []string
	for version := schema.Latest(); version > 0; version-- {
		pool := open(t, storetest.EmptyURL(t))
		migrateTo(t, pool, version)
		conn, err := pgx.Connect(t.Context(), pool.Config().ConnString())
		require.NoError(t, err)
		defer conn.Close(t.Context())
		catalog, err := schema.ReadCatalog(t.Context(), conn, lines(t, conn, `
			SELECT relname::text FROM pg_class
			WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'rowhouse_db_version'`))
		require.NoError(t, err)
		if latest == nil {
			latest = catalog
		}
		require.Subset(t, latest, catalog, "migrations only add")
		for _, line := range catalog {
			made[line] = version
		}
	}
	var text strings.Builder
	for _, line := range latest {
		fmt.Fprintf(&text, "%05d %s\n", made[line], line)
	}
	if *update {
		require.NoError(t, os.WriteFile("catalog.txt", []byte(text.String()), 0o644))
		return
	}
	require.Equal(t, schema.CatalogText, text.String(), "run go test ./schema -run TestCatalogText -update, and look at what has changed")
}

func TestVerify(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change string
		says   []string // nothing: it is no difference
	}{
		"nothing":                   {"", nil},
		"a table of the service":    {`CREATE TABLE projects (id integer PRIMARY KEY, team_id integer REFERENCES teams)`, nil},
		"a column that may be left": {`ALTER TABLE users ADD COLUMN locale text, ADD COLUMN plan text NOT NULL DEFAULT 'x', ADD COLUMN n integer GENERATED ALWAYS AS IDENTITY`, nil},
		"an index of the service":   {`CREATE INDEX users_name ON users (name)`, nil},
		"a tuned index":             {`ALTER INDEX users_pkey SET (fillfactor = 70)`, nil},
		"a wider id":                {`ALTER TABLE users ALTER COLUMN id TYPE bigint`, nil},

		"a table": {`DROP TABLE subscription_events`, []string{"table subscription_events is missing"}},
		"a view":  {`DROP TABLE subscription_events; CREATE VIEW subscription_events AS SELECT 'a' AS id`, []string{"table subscription_events is a view, must be an ordinary table"}},
		"unlogged": {`ALTER TABLE subscription_events SET UNLOGGED`, []string{
			"table subscription_events is unlogged, must be an ordinary table",
		}},
		"row level security": {`ALTER TABLE teams ENABLE ROW LEVEL SECURITY`, []string{"table teams is with row level security, must be an ordinary table"}},
		"a column":           {`ALTER TABLE teams DROP COLUMN seat_limit`, []string{"column teams.seat_limit is missing: integer"}},
		"a type": {`ALTER TABLE users ALTER COLUMN name TYPE text`, []string{
			"column users.name is text, must be character varying(100)",
		}},
		"NOT NULL": {`ALTER TABLE users ALTER COLUMN role DROP NOT NULL`, []string{
			"column users.role is character varying(20) default 'member'::character varying, must be character varying(20) not null default 'member'::character varying",
		}},
		"a default": {`ALTER TABLE users ALTER COLUMN role SET DEFAULT 'owner'`, []string{
			"column users.role is character varying(20) not null default 'owner'::character varying, must be character varying(20) not null default 'member'::character varying",
		}},
		"a generated column": {`ALTER TABLE subscriptions ALTER COLUMN standing DROP EXPRESSION`, []string{"column subscriptions.standing is smallint not null, must be smallint not null generated always as CASE"}},
		"a collation":        {`ALTER TABLE users ALTER COLUMN name TYPE varchar(100) COLLATE "C"`, []string{`column users.name is character varying(100) collate "C", must be`}},
		"a constraint":       {`ALTER TABLE activity_logs DROP CONSTRAINT activity_logs_team_id_teams_id_fk`, []string{"constraint activity_logs.activity_logs_team_id_teams_id_fk is missing: FOREIGN KEY (team_id) REFERENCES teams(id)"}},
		"what a foreign key does": {`ALTER TABLE activity_logs DROP CONSTRAINT activity_logs_team_id_teams_id_fk;
			ALTER TABLE activity_logs ADD CONSTRAINT activity_logs_team_id_teams_id_fk FOREIGN KEY (team_id) REFERENCES teams (id) ON DELETE CASCADE`, []string{
			"constraint activity_logs.activity_logs_team_id_teams_id_fk is FOREIGN KEY (team_id) REFERENCES teams(id) ON DELETE CASCADE, must be FOREIGN KEY (team_id) REFERENCES teams(id)",
		}},
		"a constraint that is not valid": {`ALTER TABLE activity_logs DROP CONSTRAINT activity_logs_team_id_teams_id_fk;
			ALTER TABLE activity_logs ADD CONSTRAINT activity_logs_team_id_teams_id_fk FOREIGN KEY (team_id) REFERENCES teams (id) NOT VALID`, []string{
			"constraint activity_logs.activity_logs_team_id_teams_id_fk is FOREIGN KEY (team_id) REFERENCES teams(id) NOT VALID, must be",
		}},
		"an index": {`DROP INDEX users_lower_email_unique`, []string{
			"index users.users_lower_email_unique is missing: UNIQUE btree (lower((email)::text)) WHERE (deleted_at IS NULL)",
		}},
		"an index of other columns": {`DROP INDEX team_members_team_id_owner_idx; CREATE INDEX team_members_team_id_owner_idx ON team_members (team_id)`, []string{
			"index team_members.team_members_team_id_owner_idx is btree (team_id), must be btree (team_id) WHERE ((role)::text = 'owner'::text)",
		}},
		"an index that is not unique": {`DROP INDEX team_members_team_id_user_id_unique; CREATE INDEX team_members_team_id_user_id_unique ON team_members (team_id, user_id)`, []string{
			"index team_members.team_members_team_id_user_id_unique is btree (team_id, user_id), must be UNIQUE btree (team_id, user_id)",
		}},
		"an invalid index": {`UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'users_lower_email_unique'::regclass`, []string{
			"index users.users_lower_email_unique is invalid: REINDEX INDEX CONCURRENTLY users_lower_email_unique",
		}},
		"an invalid index of the service": {`CREATE INDEX users_name ON users (name); UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'users_name'::regclass`, []string{
			"index users.users_name is invalid, and not of the migrations: DROP INDEX CONCURRENTLY users_name",
		}},
		"a column that may not be left out": {`ALTER TABLE users ADD COLUMN locale text NOT NULL`, []string{"column users.locale is not of the migrations: text not null"}},
		"a constraint of the service":       {`ALTER TABLE users ADD CONSTRAINT named CHECK (name <> '')`, []string{"constraint users.named is not of the migrations: CHECK (((name)::text <> ''::text))"}},
		"a unique index of the service":     {`CREATE UNIQUE INDEX one_name ON teams (name)`, []string{"index teams.one_name is not of the migrations: UNIQUE btree (name)"}},
		"a trigger": {`CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
			CREATE TRIGGER touch BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch()`, []string{"trigger users.touch is not of the migrations: CREATE TRIGGER touch BEFORE UPDATE ON "}},
		"a rule":  {`CREATE RULE keep AS ON DELETE TO activity_logs DO INSTEAD NOTHING`, []string{"rule activity_logs.keep is not of the migrations: CREATE RULE keep AS ON DELETE TO "}},
		"several": {`DROP INDEX users_lower_email_unique; ALTER TABLE teams DROP COLUMN deleted_at, DROP COLUMN seat_limit`, []string{"column teams.seat_limit is missing", "column teams.deleted_at is missing", "index users.users_lower_email_unique is missing"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := open(t, storetest.URL(t))
			exec(t, pool, test.change)
			err := schema.Verify(t.Context(), open(t, pool.Config().ConnString(), setting("default_transaction_read_only", "on")))
			if test.says == nil {
				require.NoError(t, err)
				return
			}
			var drift *schema.DriftError
			require.ErrorAs(t, err, &drift)
			require.Len(t, drift.Differences, len(test.says), "%v", drift)
			for i, says := range test.says {
				require.True(t, strings.HasPrefix(drift.Differences[i], says), "%s", drift.Differences[i])
			}
			require.Equal(t, "the database is not what the migrations make:\n  "+strings.Join(drift.Differences, "\n  "), err.Error())
		})
	}
}

func TestVerifyVersion(t *testing.T) {
	t.Parallel()
	pool := open(t, storetest.EmptyURL(t))
	older := func(says string, version int64, pending ...string) {
		t.Helper()
		err := schema.Verify(t.Context(), pool)
		require.ErrorIs(t, err, schema.ErrDatabaseOlder)
		require.NotErrorIs(t, err, schema.ErrDatabaseNewer)
		require.EqualError(t, err, says)
		var is *schema.VersionError
		require.ErrorAs(t, err, &is)
		require.Equal(t, &schema.VersionError{Database: version, Build: schema.Latest(), Pending: pending}, is)
	}
	older("the database is older than this build: it lacks "+strings.Join(names, ", ")+"; migrate it", 0, names...)
	migrateTo(t, pool, 3)
	older("the database is older than this build: it lacks "+strings.Join(names[3:], ", ")+"; migrate it", 3, names[3:]...)
	migrate(t, pool)
	require.NoError(t, schema.Verify(t.Context(), pool))

	exec(t, pool, `INSERT INTO rowhouse_db_version (version_id, is_applied) VALUES (99, true); ALTER TABLE teams ADD COLUMN of_a_newer_build integer`)
	err := schema.Verify(t.Context(), pool)
	require.ErrorIs(t, err, schema.ErrDatabaseNewer)
	require.NotErrorIs(t, err, schema.ErrDatabaseOlder)
	require.EqualError(t, err, fmt.Sprintf("the database is newer than this build: it is at version 99, the build at %d; deploy the build that migrated it", schema.Latest()))

	exec(t, pool, `DELETE FROM rowhouse_db_version WHERE version_id IN (2, 99)`)
	older("the database is older than this build: it lacks 00002_unique_rules.sql; migrate it", schema.Latest(), "00002_unique_rules.sql")
}

// In a schema of its own, and beside another copy of the tables.
func TestVerifySearchPath(t *testing.T) {
	t.Parallel()
	url := storetest.URL(t)
	public := open(t, url)
	exec(t, public, `CREATE SCHEMA "Tenant ""1"""`)
	tenant := open(t, url, setting("search_path", `"Tenant ""1""", public`))
	require.ErrorIs(t, schema.Verify(t.Context(), tenant), schema.ErrDatabaseOlder)
	migrate(t, tenant)
	require.NoError(t, schema.Verify(t.Context(), tenant))
	exec(t, tenant, `DROP INDEX users_lower_email_unique`)
	require.Error(t, schema.Verify(t.Context(), tenant))
	require.NoError(t, schema.Verify(t.Context(), public))
}

// An index that the operator is building is none of ours, and none that failed.
func TestVerifyWhileAnIndexIsBuilt(t *testing.T) {
	t.Parallel()
	url := storetest.URL(t)
	pool := open(t, url)
	for _, build := range []string{`CREATE UNIQUE INDEX CONCURRENTLY one_name ON users (name)`, `REINDEX INDEX CONCURRENTLY users_lower_email_unique`} {
		tx := begin(t, url, writeUsers)
		built := make(chan error, 1)
		go func() {
			_, err := pool.Exec(t.Context(), build)
			built <- err
		}()
		eventually(t, pool, `SELECT EXISTS (SELECT FROM pg_index WHERE indrelid = 'users'::regclass AND NOT indisvalid)`)
		require.NoError(t, schema.Verify(t.Context(), pool), build)
		require.NoError(t, tx.Rollback(t.Context()))
		require.NoError(t, <-built)
		exec(t, pool, `DROP INDEX IF EXISTS one_name`)
	}
	require.NoError(t, schema.Verify(t.Context(), pool))
}

// The Store's rules rest on what a session's transactions begin with, wherever it is set.
func TestVerifyIsolation(t *testing.T) {
	t.Parallel()
	url := storetest.URL(t)
	for isolation, same := range map[string]bool{"read committed": true, "read uncommitted": true, "repeatable read": false, "serializable": false} {
		err := schema.Verify(t.Context(), open(t, url, setting("default_transaction_isolation", isolation)))
		if same {
			require.NoError(t, err, isolation)
			continue
		}
		var drift *schema.DriftError
		require.ErrorAs(t, err, &drift, isolation)
		require.Equal(t, []string{"setting default_transaction_isolation is " + isolation + ", must be read committed: reset it for this role, database or connection"}, drift.Differences)
	}
	pool := open(t, url)
	exec(t, pool, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = serializable', current_database()); END $$`)
	require.Error(t, schema.Verify(t.Context(), open(t, url)))
}
