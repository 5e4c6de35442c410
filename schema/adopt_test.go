package schema_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/schema"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// drizzleTables is the seed as drizzle-kit generates it.
const drizzleTables = `
CREATE TABLE IF NOT EXISTS "activity_logs" (
	"id" serial PRIMARY KEY NOT NULL,
	"team_id" integer NOT NULL,
	"user_id" integer,
	"action" text NOT NULL,
	"timestamp" timestamp DEFAULT now() NOT NULL,
	"ip_address" varchar(45)
);
--> statement-breakpoint
CREATE TABLE IF NOT EXISTS "invitations" (
	"id" serial PRIMARY KEY NOT NULL,
	"team_id" integer NOT NULL,
	"email" varchar(255) NOT NULL,
	"role" varchar(50) NOT NULL,
	"invited_by" integer NOT NULL,
	"invited_at" timestamp DEFAULT now() NOT NULL,
	"status" varchar(20) DEFAULT 'pending' NOT NULL
);
--> statement-breakpoint
CREATE TABLE IF NOT EXISTS "team_members" (
	"id" serial PRIMARY KEY NOT NULL,
	"user_id" integer NOT NULL,
	"team_id" integer NOT NULL,
	"role" varchar(50) NOT NULL,
	"joined_at" timestamp DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE IF NOT EXISTS "teams" (
	"id" serial PRIMARY KEY NOT NULL,
	"name" varchar(100) NOT NULL,
	"created_at" timestamp DEFAULT now() NOT NULL,
	"updated_at" timestamp DEFAULT now() NOT NULL,
	"stripe_customer_id" text,
	"stripe_subscription_id" text,
	"stripe_product_id" text,
	"plan_name" varchar(50),
	"subscription_status" varchar(20),
	CONSTRAINT "teams_stripe_customer_id_unique" UNIQUE("stripe_customer_id"),
	CONSTRAINT "teams_stripe_subscription_id_unique" UNIQUE("stripe_subscription_id")
);
--> statement-breakpoint
CREATE TABLE IF NOT EXISTS "users" (
	"id" serial PRIMARY KEY NOT NULL,
	"name" varchar(100),
	"email" varchar(255) NOT NULL,
	"password_hash" text NOT NULL,
	"role" varchar(20) DEFAULT 'member' NOT NULL,
	"created_at" timestamp DEFAULT now() NOT NULL,
	"updated_at" timestamp DEFAULT now() NOT NULL,
	"deleted_at" timestamp,
	CONSTRAINT "users_email_unique" UNIQUE("email")
);
`

// drizzleForeignKeys follow the tables, in the form that format gives them.
func drizzleForeignKeys(format string) string {
	var b strings.Builder
	for _, fk := range []struct{ table, column, referenced string }{
		{"activity_logs", "team_id", "teams"},
		{"activity_logs", "user_id", "users"},
		{"invitations", "team_id", "teams"},
		{"invitations", "invited_by", "users"},
		{"team_members", "user_id", "users"},
		{"team_members", "team_id", "teams"},
	} {
		add := fmt.Sprintf(`ALTER TABLE "%[1]s" ADD CONSTRAINT "%[1]s_%[2]s_%[3]s_id_fk" FOREIGN KEY ("%[2]s") REFERENCES "public"."%[3]s"("id") ON DELETE no action ON UPDATE no action;`,
			fk.table, fk.column, fk.referenced)
		fmt.Fprintf(&b, format, add)
	}
	return b.String()
}

const (
	drizzlePlain   = "--> statement-breakpoint\n%s\n"
	drizzleGuarded = "--> statement-breakpoint\nDO $$ BEGIN\n %s\nEXCEPTION\n WHEN duplicate_object THEN null;\nEND $$;\n"
)

// appRows are what the app may have left in its tables, also what looks wrong
// and isn't: the e-mails of deleted users, and invitations that are no longer
// pending, repeat.
const appRows = `
INSERT INTO users (name, email, password_hash, role, created_at, updated_at, deleted_at) VALUES
	('Ada', 'Ada@Example.com', '$2b$10$a', 'owner', '2024-02-29 23:59:59.999999', '2024-03-01', NULL),
	(NULL, 'böb@example.com', '$2b$10$b', 'member', '2024-01-01', '2024-01-01', NULL),
	('Gone', 'ada@example.com', '$2b$10$c', 'member', '2023-01-01', '2023-01-01', '2023-06-01'),
	('Gone too', 'ADA@example.com', '$2b$10$d', 'member', '2023-01-01', '2023-01-01', '2023-07-01'),
	('', 'eve@example.com-5-deleted', 'x', 'member', '2023-01-01', '2023-01-01', '2023-08-01');
INSERT INTO teams (name, created_at, updated_at, stripe_customer_id, stripe_subscription_id, stripe_product_id, plan_name, subscription_status) VALUES
	('Ada''s Team', '2024-01-01', '2024-01-02', 'cus_1', 'sub_1', 'prod_1', 'Plus', 'trialing'),
	('Second', '2024-01-01', '2024-01-02', NULL, NULL, NULL, NULL, NULL),
	('Third', '2024-01-01', '2024-01-02', NULL, NULL, NULL, NULL, 'a status of ours');
INSERT INTO team_members (user_id, team_id, role, joined_at) VALUES
	(1, 1, 'owner', '2024-01-01'), (2, 1, 'member', '2024-01-02'), (1, 2, 'owner', '2024-01-03'), (3, 1, 'other', '2024-01-03');
INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address) VALUES
	(1, 1, 'SIGN_UP', '2024-01-01', '2001:db8::1'), (1, NULL, 'ANYTHING', '2024-01-01', ''), (2, 1, 'SIGN_IN', '2024-01-01', NULL);
INSERT INTO invitations (team_id, email, role, invited_by, invited_at, status) VALUES
	(1, 'Zoe@example.com', 'member', 1, '2024-01-01', 'pending'),
	(2, 'zoe@example.com', 'owner', 1, '2024-01-01', 'pending'),
	(1, 'zoe@example.com', 'member', 1, '2024-01-01', 'canceled'),
	(1, 'zoe@example.com', 'member', 1, '2024-01-01', 'canceled'),
	(1, 'böb@example.com', 'member', 1, '2024-01-01', 'accepted'),
	(1, 'böb@example.com', 'member', 1, '2024-01-01', 'accepted');
`

// openApp returns a database as the TypeScript app has it.
func openApp(t *testing.T, foreignKeys string) *pgxpool.Pool {
	t.Helper()
	pool := open(t, storetest.EmptyURL(t))
	exec(t, pool, drizzleTables+drizzleForeignKeys(foreignKeys))
	exec(t, pool, appRows)
	return pool
}

// seedRows returns every row of the five tables, by the seed's columns only.
func seedRows(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()
	var all []string
	for table, columns := range seedColumns {
		var names []string
		for _, column := range columns {
			name, _, _ := strings.Cut(column, " ")
			names = append(names, `"`+name+`"`)
		}
		rows := lines(t, pool, fmt.Sprintf(`SELECT '%[1]s ' || r::text FROM (SELECT %[2]s FROM %[1]s) AS r ORDER BY r.id`, table, strings.Join(names, ", ")))
		require.NotEmpty(t, rows, "%s is empty: nothing is shown for it", table)
		all = append(all, rows...)
	}
	return all
}

func TestAdoption(t *testing.T) {
	t.Parallel()
	for name, foreignKeys := range map[string]string{"plain": drizzlePlain, "guarded": drizzleGuarded} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app := openApp(t, foreignKeys)
			before := seedRows(t, app)
			files := lines(t, app, `SELECT format('%s %s', relname, relfilenode) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace`)

			results, err := schema.Migrate(t.Context(), app)
			require.NoError(t, err)
			require.Equal(t, names, namesOf(results))

			require.ElementsMatch(t, before, seedRows(t, app))
			require.Subset(t, lines(t, app, `SELECT format('%s %s', relname, relfilenode) FROM pg_class`), files, "a table was rewritten")
			require.Equal(t, snapshot(t, open(t, storetest.URL(t)), "public"), snapshot(t, app, "public"))

			// As Drizzle inserts: each of its own columns by name, default for the
			// ones that were not given.
			exec(t, app, `
				insert into "users" ("id", "name", "email", "password_hash", "role", "created_at", "updated_at", "deleted_at")
				values (default, default, 'new@example.com', 'x', default, default, default, default);
				insert into "teams" ("id", "name", "created_at", "updated_at", "stripe_customer_id", "stripe_subscription_id", "stripe_product_id", "plan_name", "subscription_status")
				values (default, 'New', default, default, default, default, default, default, default);
				insert into "team_members" ("id", "user_id", "team_id", "role", "joined_at") values (default, 6, 4, 'owner', default);
				insert into "activity_logs" ("id", "team_id", "user_id", "action", "timestamp", "ip_address") values (default, 4, 6, 'SIGN_UP', default, '');
				insert into "invitations" ("id", "team_id", "email", "role", "invited_by", "invited_at", "status")
				values (default, 4, 'a@example.com', 'member', 6, default, default)`)
			require.Len(t, seedRows(t, app), len(before)+5)
		})
	}
}

// The app's own database may have been made by other means, without a rule.
func TestAdoptionAddsMissingConstraints(t *testing.T) {
	t.Parallel()
	app := openApp(t, drizzlePlain)
	exec(t, app, `
		ALTER TABLE users DROP CONSTRAINT users_email_unique;
		ALTER TABLE invitations DROP CONSTRAINT invitations_invited_by_users_id_fk`)
	migrate(t, app)
	require.Equal(t, snapshot(t, open(t, storetest.URL(t)), "public"), snapshot(t, app, "public"))
}
