package schema_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/schema"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// seedColumns are the columns as lib/db/schema.ts of the TypeScript app declares
// them, in its order; a line is read off its pgTable, never off our SQL.
var seedColumns = map[string][]string{
	"users": {
		"id integer not null default nextval('users_id_seq'::regclass)",
		"name character varying(100)",
		"email character varying(255) not null",
		"password_hash text not null",
		"role character varying(20) not null default 'member'::character varying",
		"created_at timestamp without time zone not null default now()",
		"updated_at timestamp without time zone not null default now()",
		"deleted_at timestamp without time zone",
	},
	"teams": {
		"id integer not null default nextval('teams_id_seq'::regclass)",
		"name character varying(100) not null",
		"created_at timestamp without time zone not null default now()",
		"updated_at timestamp without time zone not null default now()",
		"stripe_customer_id text",
		"stripe_subscription_id text",
		"stripe_product_id text",
		"plan_name character varying(50)",
		"subscription_status character varying(20)",
	},
	"team_members": {
		"id integer not null default nextval('team_members_id_seq'::regclass)",
		"user_id integer not null",
		"team_id integer not null",
		"role character varying(50) not null",
		"joined_at timestamp without time zone not null default now()",
	},
	"activity_logs": {
		"id integer not null default nextval('activity_logs_id_seq'::regclass)",
		"team_id integer not null",
		"user_id integer",
		"action text not null",
		"timestamp timestamp without time zone not null default now()",
		"ip_address character varying(45)",
	},
	"invitations": {
		"id integer not null default nextval('invitations_id_seq'::regclass)",
		"team_id integer not null",
		"email character varying(255) not null",
		"role character varying(50) not null",
		"invited_by integer not null",
		"invited_at timestamp without time zone not null default now()",
		"status character varying(20) not null default 'pending'::character varying",
	},
}

// addedColumns are ours; they follow the seed's.
var addedColumns = map[string][]string{
	"teams": {
		"seat_limit integer",
		"deleted_at timestamp without time zone",
	},
	"invitations": {
		"token_hash bytea",
		"expires_at timestamp without time zone",
	},
	"activity_logs": {
		"metadata jsonb",
	},
}

// seedConstraints are what the seed declares, by the names that Drizzle gives.
var seedConstraints = []string{
	"activity_logs: activity_logs_pkey primary key (id)",
	"activity_logs: activity_logs_team_id_teams_id_fk foreign key (team_id) to teams (id) on delete no action on update no action",
	"activity_logs: activity_logs_user_id_users_id_fk foreign key (user_id) to users (id) on delete no action on update no action",
	"invitations: invitations_invited_by_users_id_fk foreign key (invited_by) to users (id) on delete no action on update no action",
	"invitations: invitations_pkey primary key (id)",
	"invitations: invitations_team_id_teams_id_fk foreign key (team_id) to teams (id) on delete no action on update no action",
	"team_members: team_members_pkey primary key (id)",
	"team_members: team_members_team_id_teams_id_fk foreign key (team_id) to teams (id) on delete no action on update no action",
	"team_members: team_members_user_id_users_id_fk foreign key (user_id) to users (id) on delete no action on update no action",
	"teams: teams_pkey primary key (id)",
	"teams: teams_stripe_customer_id_unique unique (stripe_customer_id)",
	"teams: teams_stripe_subscription_id_unique unique (stripe_subscription_id)",
	"users: users_email_unique unique (email)",
	"users: users_pkey primary key (id)",
}

// addedConstraints are those of our tables.
var addedConstraints = []string{
	"subscription_events: subscription_events_pkey primary key (id)",
	"subscriptions: subscriptions_pkey primary key (id)",
	"subscriptions: subscriptions_team_id_teams_id_fk foreign key (team_id) to teams (id) on delete no action on update no action",
}

// indexes are all indexes: the constraints' and ours.
var indexes = []string{
	"CREATE INDEX activity_logs_team_id_action_timestamp_id_idx ON activity_logs USING btree (team_id, action, \"timestamp\", id)",
	"CREATE INDEX activity_logs_team_id_timestamp_id_idx ON activity_logs USING btree (team_id, \"timestamp\", id)",
	"CREATE INDEX activity_logs_timestamp_id_idx ON activity_logs USING btree (\"timestamp\", id)",
	"CREATE INDEX activity_logs_user_id_timestamp_id_idx ON activity_logs USING btree (user_id, \"timestamp\", id)",
	"CREATE INDEX invitations_invited_by_invited_at_id_idx ON invitations USING btree (invited_by, invited_at, id)",
	"CREATE INDEX invitations_lower_email_pending_idx ON invitations USING btree (lower((email)::text), invited_at, id) WHERE ((status)::text = 'pending'::text)",
	"CREATE INDEX invitations_team_id_invited_at_id_idx ON invitations USING btree (team_id, invited_at, id)",
	"CREATE INDEX subscription_events_received_at_id_idx ON subscription_events USING btree (received_at, id)",
	"CREATE INDEX subscriptions_stripe_customer_id_idx ON subscriptions USING btree (stripe_customer_id)",
	"CREATE INDEX subscriptions_team_id_standing_created_at_id_idx ON subscriptions USING btree (team_id, standing, created_at, id)",
	"CREATE UNIQUE INDEX subscription_events_pkey ON subscription_events USING btree (id)",
	"CREATE UNIQUE INDEX subscriptions_pkey ON subscriptions USING btree (id)",
	"CREATE INDEX team_members_team_id_joined_at_id_idx ON team_members USING btree (team_id, joined_at, id)",
	"CREATE INDEX team_members_team_id_owner_idx ON team_members USING btree (team_id) WHERE ((role)::text = 'owner'::text)",
	"CREATE INDEX team_members_user_id_joined_at_id_idx ON team_members USING btree (user_id, joined_at, id)",
	"CREATE UNIQUE INDEX activity_logs_pkey ON activity_logs USING btree (id)",
	"CREATE UNIQUE INDEX invitations_pkey ON invitations USING btree (id)",
	"CREATE UNIQUE INDEX invitations_team_id_lower_email_pending_unique ON invitations USING btree (team_id, lower((email)::text)) WHERE ((status)::text = 'pending'::text)",
	"CREATE UNIQUE INDEX invitations_token_hash_unique ON invitations USING btree (token_hash) WHERE (token_hash IS NOT NULL)",
	"CREATE UNIQUE INDEX team_members_pkey ON team_members USING btree (id)",
	"CREATE UNIQUE INDEX team_members_team_id_user_id_unique ON team_members USING btree (team_id, user_id)",
	"CREATE UNIQUE INDEX teams_pkey ON teams USING btree (id)",
	"CREATE UNIQUE INDEX teams_stripe_customer_id_unique ON teams USING btree (stripe_customer_id)",
	"CREATE UNIQUE INDEX teams_stripe_subscription_id_unique ON teams USING btree (stripe_subscription_id)",
	"CREATE UNIQUE INDEX users_email_unique ON users USING btree (email)",
	"CREATE UNIQUE INDEX users_lower_email_unique ON users USING btree (lower((email)::text)) WHERE (deleted_at IS NULL)",
	"CREATE UNIQUE INDEX users_pkey ON users USING btree (id)",
}

func TestTables(t *testing.T) {
	t.Parallel()
	pool := open(t, storetest.URL(t))
	var want []string
	for table := range seedColumns {
		want = append(want, table)
	}
	want = append(want, "subscriptions", "subscription_events") // ours
	got := lines(t, pool, `
		SELECT relname FROM pg_class
		WHERE relnamespace = 'public'::regnamespace AND relkind NOT IN ('i', 'S') AND relname <> 'rowhouse_db_version'`)
	require.ElementsMatch(t, want, got)
	require.Empty(t, lines(t, pool, `
		SELECT tgname FROM pg_trigger WHERE NOT tgisinternal`), "triggers stand in the way of a distributed log")
}

func TestColumns(t *testing.T) {
	t.Parallel()
	pool := open(t, storetest.URL(t))
	for table, seed := range seedColumns {
		got := lines(t, pool, `
			SELECT attname || ' ' || format_type(atttypid, atttypmod)
				|| CASE WHEN attnotnull THEN ' not null' ELSE '' END
				|| coalesce(' default ' || pg_get_expr(adbin, adrelid), '')
			FROM pg_attribute
			LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
			WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped
			ORDER BY attnum`, table)
		require.Equal(t, append(seed[:len(seed):len(seed)], addedColumns[table]...), got, table)
	}
}

// The TypeScript app names its own columns only, and a default that is computed
// would rewrite every row when the column is added.
func TestAddedColumnsMayBeLeftOut(t *testing.T) {
	t.Parallel()
	constant := regexp.MustCompile(` default ('[^']*'(::[a-z ]+)?|-?[0-9.]+|true|false)$`)
	for table, columns := range addedColumns {
		for _, column := range columns {
			require.True(t, constant.MatchString(column) || !strings.Contains(column, "not null") && !strings.Contains(column, "default"),
				"%s.%s is neither nullable nor has it a constant default", table, column)
		}
	}
}

func TestConstraints(t *testing.T) {
	t.Parallel()
	pool := open(t, storetest.URL(t))
	// PostgreSQL 18 has a constraint for each NOT NULL, too; TestColumns sees those.
	got := lines(t, pool, `
		WITH actions (code, action) AS (
			VALUES ('a', 'no action'), ('r', 'restrict'), ('c', 'cascade'), ('n', 'set null'), ('d', 'set default')
		), kinds (code, kind) AS (
			VALUES ('p', 'primary key'), ('u', 'unique'), ('f', 'foreign key'), ('c', 'check'), ('x', 'exclude')
		)
		SELECT format('%s: %s %s (%s)', conrelid::regclass, conname, kind, columns.names)
			|| CASE contype WHEN 'f' THEN format(' to %s (%s) on delete %s on update %s',
				confrelid::regclass, referenced.names, deleted.action, updated.action) ELSE '' END
			|| CASE WHEN convalidated AND NOT condeferrable THEN '' ELSE ' not valid or deferrable' END
		FROM pg_constraint
		JOIN kinds ON kinds.code = contype::text
		LEFT JOIN actions AS deleted ON deleted.code = confdeltype::text
		LEFT JOIN actions AS updated ON updated.code = confupdtype::text
		CROSS JOIN LATERAL (
			SELECT string_agg(attname, ', ' ORDER BY position) AS names
			FROM unnest(conkey) WITH ORDINALITY AS key (number, position)
			JOIN pg_attribute ON attrelid = conrelid AND attnum = number
		) AS columns
		CROSS JOIN LATERAL (
			SELECT string_agg(attname, ', ' ORDER BY position) AS names
			FROM unnest(confkey) WITH ORDINALITY AS key (number, position)
			JOIN pg_attribute ON attrelid = confrelid AND attnum = number
		) AS referenced
		WHERE connamespace = 'public'::regnamespace AND conrelid <> 'rowhouse_db_version'::regclass
		ORDER BY 1`)
	require.ElementsMatch(t, append(slices.Clone(seedConstraints), addedConstraints...), got)
}

func TestIndexes(t *testing.T) {
	t.Parallel()
	pool := open(t, storetest.URL(t))
	got := lines(t, pool, `
		SELECT replace(pg_get_indexdef(indexrelid), 'public.', '') || CASE WHEN indisvalid THEN '' ELSE ' INVALID' END
		FROM pg_index
		JOIN pg_class ON oid = indrelid
		WHERE relnamespace = 'public'::regnamespace AND relname <> 'rowhouse_db_version'`)
	require.ElementsMatch(t, indexes, got)
}

func TestSequences(t *testing.T) {
	t.Parallel()
	pool := open(t, storetest.URL(t))
	for table := range seedColumns {
		require.Equal(t, []string{"public." + table + "_id_seq"}, lines(t, pool, `SELECT pg_get_serial_sequence($1, 'id')`, table))
	}
}

// Without one, deleting or locking the row it refers to reads the whole table.
func TestEveryForeignKeyHasAnIndex(t *testing.T) {
	t.Parallel()
	pool := open(t, storetest.URL(t))
	require.Empty(t, lines(t, pool, `
		SELECT conname FROM pg_constraint
		WHERE contype = 'f' AND connamespace = 'public'::regnamespace AND NOT EXISTS (
			SELECT FROM pg_index
			WHERE indrelid = conrelid AND indisvalid AND indpred IS NULL
				AND (indkey::int2[])[0:cardinality(conkey) - 1] = conkey
		)`))
}

func TestDownAndUpAgain(t *testing.T) {
	t.Parallel()
	pool := open(t, storetest.EmptyURL(t))
	results, err := schema.Migrate(t.Context(), pool)
	require.NoError(t, err)
	require.Equal(t, names, namesOf(results))
	first := snapshot(t, pool, "public")
	require.Contains(t, first, "column users.3 email character varying(255) not null t")

	again, err := schema.Migrate(t.Context(), pool)
	require.NoError(t, err)
	require.Empty(t, again)
	require.Equal(t, first, snapshot(t, pool, "public"))

	// Each step is taken back to what stood before it.
	for version := schema.Latest(); version > 0; version-- {
		result, err := schema.Rollback(t.Context(), pool)
		require.NoError(t, err)
		require.Equal(t, version, result.Version)
		require.Equal(t, names[version-1], result.Name)
		require.Positive(t, result.Duration)
		require.Equal(t, version-1, versionOf(t, pool))
		require.Equal(t, snapshotAt(t, version-1), snapshot(t, pool, "public"), "after the rollback of %s", result.Name)
	}
	require.Empty(t, snapshot(t, pool, "public"))
	_, err = schema.Rollback(t.Context(), pool)
	require.ErrorIs(t, err, schema.ErrNothingToRollBack)

	migrate(t, pool)
	require.Equal(t, first, snapshot(t, pool, "public"))
}

// snapshotAt is the schema at a version that was never above it. It is made by
// goose alone, as its command line would from Files.
func snapshotAt(t *testing.T, version int64) string {
	t.Helper()
	pool := open(t, storetest.EmptyURL(t))
	if version > 0 {
		db := stdlib.OpenDBFromPool(pool)
		defer db.Close()
		provider, err := goose.NewProvider(goose.DialectPostgres, db, schema.Files, goose.WithDisableGlobalRegistry(true), goose.WithTableName("rowhouse_db_version"))
		require.NoError(t, err)
		_, err = provider.UpTo(t.Context(), version)
		require.NoError(t, err)
	}
	return snapshot(t, pool, "public")
}
