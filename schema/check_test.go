package schema_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/schema"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// dump is all that the database has: what is defined in any schema, every row of every
// table with where it lies and who wrote it, and where each sequence stands.
func dump(t *testing.T, pool *pgxpool.Pool) string {
	t.Helper()
	var all []string
	for _, namespace := range lines(t, pool, `SELECT nspname::text FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY 1`) {
		all = append(all, "schema "+namespace, snapshot(t, pool, namespace))
	}
	for _, read := range lines(t, pool, `
		SELECT format(CASE relkind WHEN 'S' THEN 'SELECT concat_ws('' '', %L, last_value, is_called) FROM %s'
			ELSE 'SELECT concat_ws('' '', %L, ctid, xmin, r) FROM %s AS r ORDER BY ctid' END, oid::regclass, oid::regclass)
		FROM pg_class WHERE relkind IN ('r', 'S') AND oid >= 16384 ORDER BY oid`) {
		all = append(all, lines(t, pool, read)...)
	}
	return strings.Join(all, "\n")
}

// dirt is each thing that stops a migration of a database which the TypeScript app made.
var dirt = map[string]struct {
	make string
	// says begins each problem, in order; the migration comes first.
	says []string
	// shows are the ids that the statements show, by problem.
	shows []string
	// byHand is what has to be done first, where no statement is offered.
	byHand string
}{
	"mixed-case e-mails": {
		make:  `INSERT INTO users (email, password_hash) VALUES ('aDA@example.com', 'x'), ('ADA@EXAMPLE.COM', 'x'), ('BöB@example.com', 'x')`,
		says:  []string{"00002_unique_rules.sql: users 1, 6, 7; 2, 8 are live and have one e-mail"},
		shows: []string{"1 6 7 2 8"},
	},
	"a long e-mail twice": {
		make:  `INSERT INTO users (email, password_hash) VALUES (repeat('a', 255), 'x'), (repeat('A', 255), 'x')`,
		says:  []string{"00002_unique_rules.sql: users 6, 7 are live and have one e-mail"},
		shows: []string{"6 7"},
	},
	"memberships": {
		make:  `INSERT INTO team_members (user_id, team_id, role) VALUES (2, 1, 'owner'), (2, 1, 'member'), (1, 2, 'owner')`,
		says:  []string{"00002_unique_rules.sql: team_members 2, 5, 6; 3, 7 are one user in one team"},
		shows: []string{"2 5 6 3 7"},
	},
	"pending invitations": {
		make:  `INSERT INTO invitations (team_id, email, role, invited_by) VALUES (1, 'ZOE@example.com', 'owner', 1), (2, 'zoe@example.com', 'owner', 1)`,
		says:  []string{"00002_unique_rules.sql: invitations 1, 7; 2, 8 are pending, of one team, for one e-mail"},
		shows: []string{"1 7 2 8"},
	},
	"actions too long for an index": {
		make:  `INSERT INTO activity_logs (team_id, action) SELECT 1, string_agg(md5(i::text), '') FROM generate_series(1, 200) AS i`,
		says:  []string{"00004_indexes.sql: activity_logs 4 have an action that is too long for an index"},
		shows: []string{"4"},
	},
	"more than can be named": {
		make:  `INSERT INTO team_members (user_id, team_id, role) SELECT user_id, team_id, 'member' FROM generate_series(1, 11), (VALUES (1, 1), (2, 1), (1, 2)) AS v (user_id, team_id); INSERT INTO users (email, password_hash) SELECT format(f, i), 'x' FROM generate_series(1, 25) AS i, (VALUES ('u%s@example.com'), ('U%s@example.com')) AS v (f) ORDER BY f = 'u%s@example.com', i`,
		says:  []string{"00002_unique_rules.sql: users 6, 31; 7, 32; 8, 33; 9, 34; 10, 35; 11, 36; 12, 37; 13, 38; 14, 39; 15, 40; 16, 41; 17, 42; 18, 43; 19, 44; 20, 45; 21, 46; 22, 47; 23, 48; 24, 49; 25, 50; and more are live", "00002_unique_rules.sql: team_members "},
		shows: nil,
	},
	"a wider column with a longer value": {
		make: `ALTER TABLE users ALTER COLUMN name TYPE text; UPDATE users SET name = repeat('ß', 101) WHERE id = 2`,
		says: []string{
			"00001_baseline.sql: users 2 have a name of more than 100 characters",
			"00001_baseline.sql: users.name is text, must be character varying(100)",
		},
		shows: []string{"2", ""},
	},
	"times with a zone": {
		make:  `ALTER TABLE teams ALTER COLUMN created_at TYPE timestamptz`,
		says:  []string{"00001_baseline.sql: teams.created_at is timestamp with time zone, must be timestamp without time zone"},
		shows: []string{""},
	},
	"NULL where none may be": {
		make: `ALTER TABLE users ALTER COLUMN role DROP NOT NULL; UPDATE users SET role = NULL WHERE id IN (1, 3)`,
		says: []string{
			"00001_baseline.sql: users 1, 3 have no role",
			"00001_baseline.sql: users.role may be NULL, must be NOT NULL",
		},
		shows: []string{"1 3", ""},
	},
	"no NULL where one may be": {
		make:  `UPDATE users SET name = ''; ALTER TABLE users ALTER COLUMN name SET NOT NULL`,
		says:  []string{"00001_baseline.sql: users.name is NOT NULL, must allow NULL"},
		shows: []string{""},
	},
	"a column is missing": {
		make:  `ALTER TABLE teams DROP COLUMN plan_name; ALTER TABLE team_members DROP COLUMN joined_at`,
		says:  []string{"00001_baseline.sql: team_members.joined_at is missing from a table that exists", "00001_baseline.sql: teams.plan_name is missing"},
		shows: []string{"", ""},
	},
	"another application's table": {
		make:   `CREATE TABLE subscriptions (id uuid PRIMARY KEY, plan text)`,
		says:   []string{"00005_subscriptions.sql: subscriptions.id is uuid, must be text", "00005_subscriptions.sql: subscriptions.team_id is missing"},
		byHand: `ALTER TABLE subscriptions RENAME TO plans; ALTER INDEX subscriptions_pkey RENAME TO plans_pkey`,
	},
	"a name of ours is taken": {
		make: `CREATE TABLE plans (id text CONSTRAINT subscriptions_pkey PRIMARY KEY); CREATE VIEW team_members_team_id_owner_idx AS SELECT 1`,
		says: []string{
			"00004_indexes.sql: the name team_members_team_id_owner_idx is taken by a view",
			"00005_subscriptions.sql: the name subscriptions_pkey is taken by an index of plans",
		},
		shows: []string{"", ""},
	},
	"a column of ours is there, of another type": {
		make:   `ALTER TABLE teams ADD COLUMN seat_limit text`,
		says:   []string{"00003_columns.sql: teams.seat_limit is text, must be integer"},
		byHand: `ALTER TABLE teams RENAME COLUMN seat_limit TO seats`,
	},
	"one e-mail twice, for want of the constraint": {
		make:  `ALTER TABLE users DROP CONSTRAINT users_email_unique; INSERT INTO users (email, password_hash) VALUES ('Ada@Example.com', 'x')`,
		says:  []string{"00001_baseline.sql: users 1, 6 have one email", "00002_unique_rules.sql: users 1, 6 are live"},
		shows: []string{"1 6", "1 6"},
	},
	"one Stripe id twice": {
		make:  `ALTER TABLE teams DROP CONSTRAINT teams_stripe_customer_id_unique; UPDATE teams SET stripe_customer_id = 'cus_1'`,
		says:  []string{"00001_baseline.sql: teams 1, 2, 3 have one stripe_customer_id"},
		shows: []string{"1 2 3"},
	},
	"rows that refer to none": {
		make: `ALTER TABLE activity_logs DROP CONSTRAINT activity_logs_user_id_users_id_fk; ALTER TABLE team_members DROP CONSTRAINT team_members_team_id_teams_id_fk;
			INSERT INTO activity_logs (team_id, user_id, action) VALUES (1, 77, 'x'); INSERT INTO team_members (team_id, user_id, role) VALUES (77, 1, 'owner')`,
		says: []string{
			"00001_baseline.sql: activity_logs 4 have a user_id that is not in users",
			"00001_baseline.sql: team_members 5 have a team_id that is not in teams",
		},
		shows: []string{"4", "5"},
	},
	"a primary key of another name": {
		make:  `ALTER TABLE teams RENAME CONSTRAINT teams_pkey TO "teams PK"`,
		says:  []string{"00001_baseline.sql: teams has no constraint teams_pkey"},
		shows: []string{""},
	},
	"a unique constraint in place of our index": {
		make:  `ALTER TABLE team_members ADD CONSTRAINT team_members_team_id_user_id_unique UNIQUE (team_id, user_id)`,
		says:  []string{"00002_unique_rules.sql: the index team_members_team_id_user_id_unique is a constraint's, and has to be an index by itself"},
		shows: []string{""},
	},
	"a unique index in place of a constraint": {
		make:  `ALTER TABLE users DROP CONSTRAINT users_email_unique; CREATE UNIQUE INDEX users_email_unique ON users (email)`,
		says:  []string{"00001_baseline.sql: the index users_email_unique is no constraint's, and has to be one's"},
		shows: []string{""},
	},
	"an index in place of a constraint": {
		make:  `ALTER TABLE users DROP CONSTRAINT users_email_unique; CREATE INDEX users_email_unique ON users (email)`,
		says:  []string{"00001_baseline.sql: the index users_email_unique is no constraint's, and has to be one's"},
		shows: []string{""},
	},
	"constraints that do something else": {
		make: `ALTER TABLE activity_logs DROP CONSTRAINT activity_logs_team_id_teams_id_fk; ALTER TABLE activity_logs ADD CONSTRAINT activity_logs_team_id_teams_id_fk CHECK (team_id > 0);
			ALTER TABLE team_members DROP CONSTRAINT team_members_team_id_teams_id_fk; ALTER TABLE team_members ADD CONSTRAINT team_members_team_id_teams_id_fk FOREIGN KEY (team_id) REFERENCES teams ON DELETE CASCADE`,
		says: []string{
			"00001_baseline.sql: constraint activity_logs.activity_logs_team_id_teams_id_fk is CHECK ((team_id > 0)), must be FOREIGN KEY (team_id) REFERENCES teams(id)",
			"00001_baseline.sql: constraint team_members.team_members_team_id_teams_id_fk is FOREIGN KEY (team_id) REFERENCES teams(id) ON DELETE CASCADE, must be FOREIGN KEY (team_id) REFERENCES teams(id)",
		},
		shows: []string{"", ""},
	},
	"no default": {
		make:  `ALTER TABLE users ALTER role DROP DEFAULT`,
		says:  []string{"00001_baseline.sql: users.role has no default, must have default 'member'::character varying"},
		shows: []string{""},
	},
	"other defaults": {
		make: `ALTER TABLE users ALTER role SET DEFAULT 'owner', ALTER name SET DEFAULT ''; ALTER TABLE teams ADD COLUMN deleted_at timestamp DEFAULT now()`,
		says: []string{
			"00001_baseline.sql: users.name has default ''::character varying, must have no default",
			"00001_baseline.sql: users.role has default 'owner'::character varying, must have default 'member'::character varying",
			"00003_columns.sql: teams.deleted_at has default now(), must have no default",
		},
		shows: []string{"", "", ""},
	},
	"a key that comes from nowhere": {
		make:   `ALTER TABLE users ALTER id DROP DEFAULT`,
		says:   []string{"00001_baseline.sql: users.id has no default, must have default nextval('users_id_seq'::regclass)"},
		byHand: `ALTER TABLE users ALTER id ADD GENERATED BY DEFAULT AS IDENTITY (START 100)`,
	},
	"a column that can't be written": {
		make:  `ALTER TABLE teams DROP COLUMN plan_name; ALTER TABLE teams ADD plan_name varchar(50) GENERATED ALWAYS AS (left(name, 50)) STORED`,
		says:  []string{"00001_baseline.sql: teams.plan_name has generated always as "},
		shows: []string{""},
	},
	"a partitioned log": {
		make: `ALTER TABLE activity_logs RENAME TO log; ALTER TABLE log DROP CONSTRAINT activity_logs_pkey; ALTER SEQUENCE activity_logs_id_seq OWNED BY NONE;
			CREATE TABLE activity_logs (LIKE log INCLUDING DEFAULTS, PRIMARY KEY (id, "timestamp")) PARTITION BY RANGE ("timestamp")`,
		says:   []string{"00001_baseline.sql: activity_logs is partitioned, must be an ordinary table: its indexes can't be built concurrently"},
		byHand: `DROP TABLE activity_logs; ALTER TABLE log RENAME TO activity_logs; ALTER TABLE activity_logs ADD CONSTRAINT activity_logs_pkey PRIMARY KEY (id)`,
	},
	"an unlogged table": {
		make:  `ALTER TABLE activity_logs SET UNLOGGED`,
		says:  []string{"00001_baseline.sql: activity_logs is unlogged, must be an ordinary table"},
		shows: []string{""},
	},
	"a view of our table's name": {
		make:  `CREATE VIEW subscriptions AS SELECT id::text AS id, id AS team_id FROM teams`,
		says:  []string{"00005_subscriptions.sql: the name subscriptions is taken by a view"},
		shows: []string{""},
	},
	"a sequence of our table's name": {
		make:  `CREATE SEQUENCE subscriptions`,
		says:  []string{"00005_subscriptions.sql: the name subscriptions is taken by a sequence"},
		shows: []string{""},
	},
	"types of our tables' names": {
		make: `CREATE TYPE subscriptions AS ENUM ('a'); CREATE TYPE subscription_events AS (a integer)`,
		says: []string{
			"00005_subscriptions.sql: the name subscription_events is taken by a type",
			"00005_subscriptions.sql: the name subscriptions is taken by a type",
		},
		shows: []string{"", ""},
	},
	"an index of our table's name": {
		make:  `CREATE INDEX subscriptions ON users (name)`,
		says:  []string{"00005_subscriptions.sql: the name subscriptions is taken by an index of users"},
		shows: []string{""},
	},
	"a table is missing": {
		make: `ALTER TABLE users RENAME TO people; ALTER TABLE people RENAME CONSTRAINT users_pkey TO people_pkey; ALTER TABLE people RENAME CONSTRAINT users_email_unique TO people_email_unique;
			ALTER TABLE invitations DROP CONSTRAINT invitations_invited_by_users_id_fk; ALTER TABLE activity_logs DROP CONSTRAINT activity_logs_user_id_users_id_fk;
			ALTER TABLE team_members DROP CONSTRAINT team_members_user_id_users_id_fk; TRUNCATE invitations, activity_logs`,
		says:   []string{"00001_baseline.sql: team_members 1, 2, 3, 4 have a user_id that is not in users"},
		shows:  []string{"1 2 3 4"},
		byHand: `ALTER TABLE people RENAME TO users; ALTER TABLE users RENAME CONSTRAINT people_pkey TO users_pkey; ALTER TABLE users RENAME CONSTRAINT people_email_unique TO users_email_unique`,
	},
	"keys that are NULL": {
		make: `ALTER TABLE activity_logs DROP CONSTRAINT activity_logs_pkey; ALTER TABLE activity_logs ALTER id DROP NOT NULL; UPDATE activity_logs SET id = NULL WHERE id = 2`,
		says: []string{"00001_baseline.sql: activity_logs NULL have no id", "00001_baseline.sql: activity_logs.id may be NULL, must be NOT NULL"},
	},
	"a type of our index's name": {
		make:  `CREATE TYPE team_members_team_id_owner_idx AS (a integer)`,
		says:  []string{"00004_indexes.sql: the name team_members_team_id_owner_idx is taken by a type"},
		shows: []string{""},
	},
	"times to the millisecond": {
		make:  `ALTER TABLE users ALTER created_at TYPE timestamp(3)`,
		says:  []string{"00001_baseline.sql: users.created_at is timestamp(3) without time zone, must be timestamp without time zone"},
		shows: []string{""},
	},
	"no primary key": {
		make:  `ALTER TABLE activity_logs DROP CONSTRAINT activity_logs_pkey`,
		says:  []string{"00001_baseline.sql: activity_logs has no constraint activity_logs_pkey"},
		shows: []string{""},
	},
}

func TestDirt(t *testing.T) {
	t.Parallel()
	for name, test := range dirt {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app := openApp(t, drizzlePlain)
			exec(t, app, test.make)
			before := dump(t, app)

			problems, err := schema.Check(t.Context(), app)
			require.NoError(t, err)
			for i, says := range test.says {
				require.Greater(t, len(problems), i, "%v", problems)
				require.Equal(t, says, problems[i].String()[:min(len(says), len(problems[i].String()))])
			}
			for i, ids := range test.shows {
				if ids == "" {
					require.Empty(t, problems[i].Show)
					continue
				}
				require.Equal(t, ids, strings.Join(lines(t, app, "SELECT id::text FROM ("+strings.TrimSuffix(problems[i].Show, ";")+") AS shown"), " "))
			}

			for range 2 { // It stands as firm the second time.
				results, err := schema.Migrate(t.Context(), app)
				require.Empty(t, results)
				var refused *schema.ProblemError
				require.ErrorAs(t, err, &refused)
				require.Equal(t, problems, refused.Problems)
				for _, p := range problems {
					require.ErrorContains(t, err, p.String())
				}
			}
			require.Equal(t, before, dump(t, app), "something was changed")

			if test.byHand != "" {
				require.True(t, slices.ContainsFunc(problems, func(p schema.Problem) bool { return p.Repair == "" }), "every problem has a repair: do those")
				exec(t, app, test.byHand)
				problems, err = schema.Check(t.Context(), app)
				require.NoError(t, err)
			} else {
				require.Len(t, problems, len(test.says))
			}
			for range 2 { // A repaired column may uncover a problem of its constraint.
				for _, p := range problems {
					require.NotEmpty(t, p.Repair, p.What)
					exec(t, app, p.Repair)
				}
				problems, err = schema.Check(t.Context(), app)
				require.NoError(t, err)
			}
			require.Empty(t, problems)
			migrate(t, app)
			require.NoError(t, schema.Verify(t.Context(), app))
		})
	}
}

// What the offered statements keep.
func TestRepairsKeepOneRow(t *testing.T) {
	t.Parallel()
	app := openApp(t, drizzlePlain)
	exec(t, app, dirt["mixed-case e-mails"].make)
	exec(t, app, dirt["memberships"].make)
	exec(t, app, dirt["pending invitations"].make)
	problems, err := schema.Check(t.Context(), app)
	require.NoError(t, err)
	for _, p := range problems {
		exec(t, app, p.Repair)
	}
	require.Equal(t, []string{"Ada@Example.com", "böb@example.com", "aDA@example.com-6-duplicate", "ADA@EXAMPLE.COM-7-duplicate", "BöB@example.com-8-duplicate"},
		lines(t, app, `SELECT email FROM users WHERE deleted_at IS NULL ORDER BY id`))
	require.Equal(t, []string{"1 1 1 owner", "3 2 1 owner", "4 1 3 other", "5 1 2 owner"},
		lines(t, app, `SELECT concat_ws(' ', id, team_id, user_id, role) FROM team_members ORDER BY id`), "of several memberships an owner's stays")
	require.Equal(t, []string{"7", "8"}, lines(t, app, `SELECT id::text FROM invitations WHERE status = 'pending' ORDER BY id`), "of several invitations the latest stays")
}

// The longest action that an index takes, to the byte, is what Check lets through.
func TestTheLongestAction(t *testing.T) {
	t.Parallel()
	app := openApp(t, drizzlePlain)
	exec(t, app, `ALTER TABLE activity_logs ALTER COLUMN action SET STORAGE EXTERNAL`) // as it is, so that each byte counts
	longest := 0
	for length := 2600; length <= 2720; length++ {
		exec(t, app, `TRUNCATE activity_logs`)
		exec(t, app, fmt.Sprintf(`INSERT INTO activity_logs (team_id, action) SELECT 1, left(string_agg(md5(i::text), ''), %d) FROM generate_series(1, 100) AS i`, length))
		problems, err := schema.Check(t.Context(), app)
		require.NoError(t, err)
		_, err = app.Exec(t.Context(), `CREATE INDEX probe ON activity_logs (team_id, action, "timestamp", id); DROP INDEX probe`)
		require.Equal(t, err == nil, len(problems) == 0, "%d bytes: %v, %v", length, err, problems)
		if err == nil {
			longest = length
		}
	}
	require.Positive(t, longest)
	require.Less(t, longest, 2720)
}

// An application that never had a problem has none, and neither has an empty database.
func TestNothingToRepair(t *testing.T) {
	t.Parallel()
	for name, pool := range map[string]*pgxpool.Pool{
		"empty":                  open(t, storetest.EmptyURL(t)),
		"migrated":               open(t, storetest.URL(t)),
		"the app's":              openApp(t, drizzlePlain),
		"read only":              open(t, storetest.EmptyURL(t), setting("default_transaction_read_only", "on")),
		"under another timezone": open(t, storetest.EmptyURL(t), setting("timezone", "Asia/Kathmandu")),
	} {
		before := dump(t, pool)
		problems, err := schema.Check(t.Context(), pool)
		require.NoError(t, err, name)
		require.Empty(t, problems, name)
		require.Equal(t, before, dump(t, pool), name)
	}
	app := openApp(t, drizzlePlain)
	exec(t, app, `ALTER TABLE users ALTER COLUMN id TYPE bigint; ALTER TABLE users ADD COLUMN locale text NOT NULL DEFAULT 'en';
		ALTER TABLE teams ALTER id DROP DEFAULT; ALTER TABLE teams ALTER id ADD GENERATED ALWAYS AS IDENTITY (START 100);
		ALTER SEQUENCE invitations_id_seq RENAME TO invitations_numbers;
		ALTER TABLE teams ALTER created_at SET DEFAULT CURRENT_TIMESTAMP, ALTER updated_at TYPE timestamp(6)`)
	problems, err := schema.Check(t.Context(), app)
	require.NoError(t, err)
	require.Empty(t, problems, "a wider id, a column of the app's own, an identity, another sequence, times written otherwise")
	migrate(t, app)
	require.NoError(t, schema.Verify(t.Context(), app))
}

// A service that uses goose for its own tables has goose's table, with versions of its own.
func TestGooseOfTheService(t *testing.T) {
	t.Parallel()
	pool := openApp(t, drizzlePlain)
	exec(t, pool, `CREATE TABLE goose_db_version (id serial PRIMARY KEY, version_id bigint NOT NULL, is_applied boolean NOT NULL, tstamp timestamp DEFAULT now());
		INSERT INTO goose_db_version (version_id, is_applied) SELECT i, true FROM generate_series(0, 9) AS i`)
	require.Zero(t, versionOf(t, pool))
	require.ErrorIs(t, schema.Verify(t.Context(), pool), schema.ErrDatabaseOlder)
	migrate(t, pool)
	require.NoError(t, schema.Verify(t.Context(), pool))
	require.Equal(t, []string{"10"}, lines(t, pool, `SELECT count(*)::text FROM goose_db_version`))
}

// A problem is named at once, however many rows it has.
func TestManyRowsOfOneGroup(t *testing.T) {
	t.Parallel()
	app := openApp(t, drizzlePlain)
	exec(t, app, `INSERT INTO invitations (team_id, email, role, invited_by) SELECT 2, 'a@example.com', 'member', 1 FROM generate_series(1, 1000)`)
	problems, err := schema.Check(t.Context(), app)
	require.NoError(t, err)
	require.Len(t, problems, 1)
	require.Equal(t, "invitations 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26 and more are pending, of one team, for one e-mail", problems[0].What)
}

// In another schema than public the statements say which.
func TestRepairOfAnotherSchema(t *testing.T) {
	t.Parallel()
	url := storetest.EmptyURL(t)
	public := open(t, url)
	exec(t, public, `CREATE SCHEMA "Ten'ant ""A"`)
	tenant := open(t, url, setting("search_path", `"Ten'ant ""A"`))
	for _, pool := range []*pgxpool.Pool{public, tenant} {
		exec(t, pool, drizzleTables)
		exec(t, pool, `INSERT INTO users (email, password_hash) VALUES ('a@example.com', 'x'), ('A@example.com', 'x')`)
	}
	problems, err := schema.Check(t.Context(), tenant)
	require.NoError(t, err)
	require.Len(t, problems, 1)
	conn, err := public.Acquire(t.Context())
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), problems[0].Repair)
	require.NoError(t, err)
	require.NoError(t, conn.Conn().Close(t.Context()))
	conn.Release()
	require.Equal(t, []string{"A@example.com"}, lines(t, public, `SELECT email FROM users WHERE id = 2`))
	migrate(t, tenant)
}

// Only a table's owner may alter it.
func TestTablesOfAnotherRole(t *testing.T) {
	t.Parallel()
	app := openApp(t, drizzlePlain)
	role := fmt.Sprintf("stranger_%d", time.Now().UnixNano())
	exec(t, app, fmt.Sprintf(`CREATE ROLE %[1]s; GRANT ALL ON SCHEMA public TO %[1]s; GRANT ALL ON ALL TABLES IN SCHEMA public TO %[1]s`, role))
	t.Cleanup(func() {
		_, _ = app.Exec(context.WithoutCancel(t.Context()), fmt.Sprintf(`DROP OWNED BY %[1]s; DROP ROLE %[1]s`, role))
	})
	stranger := open(t, app.Config().ConnString(), setting("role", role))
	before := dump(t, app)
	_, err := schema.Migrate(t.Context(), stranger)
	var refused *schema.ProblemError
	require.ErrorAs(t, err, &refused)
	require.Len(t, refused.Problems, 5)
	require.Equal(t, "activity_logs belongs to postgres, and "+role+" is not one: migrate as postgres", refused.Problems[0].What)
	require.Equal(t, before, dump(t, app))
}
