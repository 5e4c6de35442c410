package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/schema"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// change runs statements that take no arguments.
func change(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	_, err := conn.Exec(t.Context(), sql)
	require.NoError(t, err)
}

// dirty is a database that the TypeScript app may have left: two live accounts with one
// e-mail, and one membership twice.
func dirty(t *testing.T) (databaseURL string, conn *pgx.Conn) {
	t.Helper()
	databaseURL = storetest.EmptyURL(t)
	require.Zero(t, invoke(t, databaseURL, "up").status)
	require.Zero(t, invoke(t, databaseURL, "down-to", "1").status)
	conn = dial(t, databaseURL)
	change(t, conn, `
		INSERT INTO users (email, password_hash) VALUES ('ada@example.com', 'x'), ('Ada@example.com', 'x');
		INSERT INTO teams (name) VALUES ('a');
		INSERT INTO team_members (team_id, user_id, role) VALUES (1, 1, 'owner'), (1, 1, 'member')`)
	return databaseURL, conn
}

func TestCheck(t *testing.T) {
	t.Parallel()
	require.Equal(t, ran{0, "nothing stands in the way of a migration\n", ""}, invoke(t, storetest.EmptyURL(t), "check"))

	databaseURL, conn := dirty(t)
	got := invoke(t, databaseURL, "check")
	require.Equal(t, exitFound, got.status)
	require.Equal(t, "migrate: 2 problems stop the migration\n", got.stderr)
	require.Regexp(t, `(?s)^00002_unique_rules.sql: users 1, 2 are live and have one e-mail\n  show:   SELECT [^\n]*;\n  repair: UPDATE [^\n]*;\n`+
		`00002_unique_rules.sql: team_members 1, 2 are one user in one team\n  show:   SELECT [^\n]*;\n  repair: DELETE [^\n]*;\n$`, got.stdout)

	refused := invoke(t, databaseURL, "up")
	require.Equal(t, exitFound, refused.status)
	require.Equal(t, got.stdout, refused.stdout, "the same text")
	require.Equal(t, "migrate: nothing was changed: 2 problems stop the migration\n", refused.stderr)
	require.Equal(t, "1\n", invoke(t, databaseURL, "version").stdout)

	for line := range strings.Lines(got.stdout) {
		if repair, ok := strings.CutPrefix(line, "  repair: "); ok {
			change(t, conn, repair)
		}
	}
	require.Zero(t, invoke(t, databaseURL, "check").status)
	require.Zero(t, invoke(t, databaseURL, "up").status)
}

func TestVerify(t *testing.T) {
	t.Parallel()
	databaseURL := storetest.URL(t)
	require.Equal(t, ran{0, "version 5, as the migrations make it\n", ""}, invoke(t, databaseURL, "verify"))
	conn := dial(t, databaseURL)
	change(t, conn, `ALTER TABLE teams DROP COLUMN seat_limit; ALTER TABLE users ALTER COLUMN name TYPE text`)
	require.Equal(t, ran{
		exitFound,
		"column teams.seat_limit is missing: integer\ncolumn users.name is text, must be character varying(100)\n",
		"migrate: the database is not what the migrations make\n",
	}, invoke(t, databaseURL, "verify"))

	change(t, conn, `INSERT INTO rowhouse_db_version (version_id, is_applied) VALUES (99, true)`)
	require.Equal(t, ran{exitFound, "", "migrate: the database is newer than this build: it is at version 99, the build at 5; deploy the build that migrated it\n"},
		invoke(t, databaseURL, "verify"))
	empty := invoke(t, storetest.EmptyURL(t), "verify")
	require.Equal(t, exitFound, empty.status)
	require.Contains(t, empty.stderr, "the database is older than this build: it lacks 00001_baseline.sql, ")
}

func TestGrant(t *testing.T) {
	t.Parallel()
	databaseURL := storetest.URL(t)
	conn := dial(t, databaseURL)
	change(t, conn, `GRANT CREATE ON SCHEMA public TO PUBLIC`) // as it is before PostgreSQL 15
	n := time.Now().UnixNano()
	app, purge := fmt.Sprintf("app_%d", n), fmt.Sprintf("purge_%d", n)
	t.Cleanup(func() { // before the connection is closed
		_, err := conn.Exec(context.WithoutCancel(t.Context()), fmt.Sprintf(`DROP OWNED BY %[1]s, %[2]s; DROP ROLE %[1]s, %[2]s`, app, purge))
		require.NoError(t, err)
	})

	plan := invoke(t, databaseURL, "grant", "-application", app, "-purge", purge, "-dry-run")
	require.Equal(t, exitFound, plan.status)
	require.Equal(t, "migrate: a role may do more than its operations, by rights that grant does not take\n", plan.stderr)
	require.True(t, strings.HasPrefix(plan.stdout, `CREATE ROLE "`+app+"\" NOLOGIN;\nGRANT "), "%s", plan.stdout)
	require.True(t, strings.HasSuffix(plan.stdout, ";\n-- "+app+": has CREATE ON SCHEMA public by PUBLIC\n--   repair: REVOKE CREATE ON SCHEMA public FROM PUBLIC;\n"+
		"-- "+purge+": has CREATE ON SCHEMA public by PUBLIC\n--   repair: REVOKE CREATE ON SCHEMA public FROM PUBLIC;\n"), "%s", plan.stdout)
	require.Equal(t, plan, invoke(t, databaseURL, "grant", "-application", app, "-purge", purge), "what the dry run says")
	require.Equal(t, ran{exitFound, plan.stdout[strings.Index(plan.stdout, "-- "):], plan.stderr},
		invoke(t, databaseURL, "grant", "-application", app, "-purge", purge), "granted already")
	change(t, conn, plan.stdout[strings.LastIndex(plan.stdout, "REVOKE"):])
	require.Equal(t, ran{0, "the roles may do what they need to, and no more\n", ""}, invoke(t, databaseURL, "grant", "-application", app, "-purge", purge))

	change(t, conn, `GRANT DELETE ON activity_logs TO `+app)
	got := invoke(t, databaseURL, "grant", "-application", app, "-json")
	require.Equal(t, 0, got.status, got.stderr)
	var is map[string]any
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &is))
	require.Equal(t, map[string]any{
		"command": "grant", "excess": []any{},
		"statements": []any{`REVOKE DELETE ON TABLE public.activity_logs FROM "` + app + `";`},
	}, is)

	got = invoke(t, databaseURL, "grant", "-application", "postgres")
	require.Equal(t, exitFailure, got.status)
	require.Regexp(t, `^migrate: postgres owns activity_logs: `, got.stderr)
	require.Empty(t, got.stdout)
}

func TestDownToAndRedo(t *testing.T) {
	t.Parallel()
	databaseURL := storetest.URL(t)
	got := invoke(t, databaseURL, "redo")
	require.Regexp(t, `^rolled back and applied 00005_subscriptions.sql in [0-9.]+m?s\n$`, got.stdout)
	require.Equal(t, ran{0, "already at version 5\n", ""}, invoke(t, databaseURL, "down-to", "5"))
	got = invoke(t, databaseURL, "down-to", "3")
	require.Zero(t, got.status)
	require.Regexp(t, `^rolled back 00005_subscriptions.sql in [0-9.]+m?s\nrolled back 00004_indexes.sql in [0-9.]+m?s\n$`, got.stdout)

	change(t, dial(t, databaseURL), `INSERT INTO teams (name) VALUES ('a')`)
	got = invoke(t, databaseURL, "redo")
	require.Equal(t, exitFailure, got.status)
	require.Equal(t, "migrate: teams has rows: redo drops what a migration made, and is for a throwaway database without any\n", got.stderr)

	got = invoke(t, databaseURL, "down-to", "0")
	require.Equal(t, exitFailure, got.status)
	require.Equal(t, 2, strings.Count(got.stdout, "rolled back "), "what was done is told beside the error")
	require.Contains(t, got.stderr, "hold rows")
}

// What a dry run prints is what the run does: run by hand, statement by statement, it ends
// in the same tables.
func TestDryRun(t *testing.T) {
	t.Parallel()
	databaseURL := storetest.EmptyURL(t)
	conn := dial(t, databaseURL)
	relations := func(conn *pgx.Conn) (n int) {
		require.NoError(t, conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname NOT LIKE 'rowhouse%'`).Scan(&n))
		return n
	}
	plan := invoke(t, databaseURL, "up", "-dry-run")
	require.Zero(t, plan.status)
	require.Empty(t, plan.stderr)
	require.Zero(t, relations(conn), "it changed something")
	for _, says := range []string{"-- 00001_baseline.sql, up, in a transaction\n", "-- 00002_unique_rules.sql, up, without a transaction\nDROP INDEX CONCURRENTLY IF EXISTS users_lower_email_unique;\n"} {
		require.Contains(t, plan.stdout, says)
	}
	require.NotContains(t, plan.stdout, "DROP TABLE")

	require.Equal(t, ran{0, "already at version 0\n", ""}, invoke(t, databaseURL, "down", "-dry-run"))
	require.Zero(t, invoke(t, databaseURL, "up").status)
	migrated := relations(conn)
	require.Equal(t, ran{0, "already at version 5\n", ""}, invoke(t, databaseURL, "up", "-dry-run"))
	require.Equal(t, "-- 00005_subscriptions.sql, down, in a transaction\nDROP TABLE IF EXISTS subscription_events;\nDROP TABLE IF EXISTS subscriptions;\n\n",
		invoke(t, databaseURL, "down", "-dry-run").stdout)
	redo := invoke(t, databaseURL, "redo", "-dry-run").stdout
	require.Less(t, strings.Index(redo, "00005_subscriptions.sql, down"), strings.Index(redo, "00005_subscriptions.sql, up"))
	back := invoke(t, databaseURL, "down-to", "2", "-dry-run").stdout
	require.Equal(t, 3, strings.Count(back, ", down, "))
	require.Less(t, strings.Index(back, "00005_"), strings.Index(back, "00003_"), "the latest first")
	require.Equal(t, migrated, relations(conn), "it changed something")

	// By hand.
	byHand := dial(t, storetest.EmptyURL(t))
	for _, part := range strings.Split("\n"+plan.stdout, "\n-- 0")[1:] {
		_, sql, _ := strings.Cut(part, "\n")
		if !strings.Contains(part, ", up, without") {
			change(t, byHand, sql)
			continue
		}
		for _, statement := range strings.SplitAfter(sql, ";\n") {
			change(t, byHand, statement)
		}
	}
	require.Equal(t, migrated, relations(byHand))
}

func TestJSON(t *testing.T) {
	t.Parallel()
	decode := func(got ran) (document map[string]any) {
		t.Helper()
		require.NoError(t, json.Unmarshal([]byte(got.stdout), &document), "%s", got.stdout)
		return document
	}
	databaseURL, _ := dirty(t)
	got := invoke(t, databaseURL, "check", "-json")
	require.Contains(t, got.stdout, "count(*) > 1", "SQL can be copied")
	check := decode(got)
	require.Equal(t, "check", check["command"])
	require.Equal(t, "2 problems stop the migration", check["error"])
	require.Len(t, check["problems"], 2)
	first := check["problems"].([]any)[0].(map[string]any)
	require.Equal(t, "00002_unique_rules.sql", first["migration"])
	require.Equal(t, "users 1, 2 are live and have one e-mail", first["what"])
	require.Contains(t, first["show"], "SELECT id, email, created_at FROM users WHERE (lower(email)) IN (SELECT lower(email) FROM users WHERE deleted_at IS NULL GROUP BY lower(email) HAVING count(*) > 1)")
	require.Equal(t, check["problems"], decode(invoke(t, databaseURL, "-json", "up"))["problems"])

	databaseURL = storetest.EmptyURL(t)
	require.Equal(t, map[string]any{"command": "check", "problems": []any{}}, decode(invoke(t, databaseURL, "check", "-json")))
	require.Equal(t, map[string]any{"command": "version", "version": 0.0}, decode(invoke(t, databaseURL, "version", "-json")))
	plan := decode(invoke(t, databaseURL, "up", "-json", "-dry-run"))["plan"].([]any)
	require.Len(t, plan, 5)
	require.Equal(t, false, plan[1].(map[string]any)["transaction"])
	require.Equal(t, "up", plan[1].(map[string]any)["direction"])
	up := decode(invoke(t, databaseURL, "up", "-json"))
	require.Equal(t, 5.0, up["version"])
	require.Len(t, up["applied"], 5)
	require.Equal(t, "00003_columns.sql", up["applied"].([]any)[2].(map[string]any)["name"])
	require.Positive(t, up["applied"].([]any)[2].(map[string]any)["milliseconds"])
	require.Equal(t, map[string]any{"command": "up", "version": 5.0, "applied": []any{}}, decode(invoke(t, databaseURL, "up", "-json")))
	require.Equal(t, map[string]any{"command": "verify", "version": 5.0, "differences": []any{}}, decode(invoke(t, databaseURL, "verify", "-json")))
	require.Len(t, decode(invoke(t, databaseURL, "redo", "-json"))["redone"], 1)
	require.Len(t, decode(invoke(t, databaseURL, "down", "-json"))["rolledBack"], 1)
	status := decode(invoke(t, databaseURL, "status", "-json"))
	require.Equal(t, 4.0, status["version"])
	require.Equal(t, map[string]any{"version": 5.0, "name": "00005_subscriptions.sql", "applied": false}, status["migrations"].([]any)[4])
	require.Regexp(t, `^20\d\d-\d\d-\d\dT[\d:.]+Z$`, status["migrations"].([]any)[0].(map[string]any)["appliedAt"])
	require.Len(t, decode(invoke(t, databaseURL, "down-to", "2", "-json"))["rolledBack"], 2)

	failed := invoke(t, "postgres://someone:s3cret@127.0.0.1:1/nowhere", "up", "-json")
	require.Equal(t, exitFailure, failed.status)
	require.Contains(t, decode(failed)["error"], "connect to the database: ")
	require.NotContains(t, failed.stdout+failed.stderr, "s3cret")
}

func TestCreate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	got := invoke(t, "", "create", "add_locale", "-dir", dir)
	require.Equal(t, exitFailure, got.status)
	require.Equal(t, "migrate: there are no migrations in "+dir+": run it in the root of the repository, or give -dir\n", got.stderr)

	require.NoError(t, os.CopyFS(dir, schema.Files))
	first := filepath.Join(dir, fmt.Sprintf("%05d_add_locale.sql", schema.Latest()+1))
	require.Equal(t, ran{0, "created " + first + "\n", ""}, invoke(t, "", "create", "add_locale", "-dir", dir))
	content, err := os.ReadFile(first)
	require.NoError(t, err)
	require.Equal(t, emptyMigration, string(content))
	second := filepath.Join(dir, fmt.Sprintf("%05d_add_locale.sql", schema.Latest()+2))
	require.Equal(t, "created "+second+"\n", invoke(t, "", "create", "add_locale", "-dir", dir).stdout, "the next number")
}

// Progress and retries go to standard error.
func TestLockTimeout(t *testing.T) {
	t.Parallel()
	databaseURL := storetest.EmptyURL(t)
	require.Zero(t, invoke(t, databaseURL, "up").status)
	require.Zero(t, invoke(t, databaseURL, "down-to", "2").status)
	tx, err := dial(t, databaseURL).Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `SELECT FROM teams`)
	require.NoError(t, err)
	got := invoke(t, databaseURL, "up", "-lock-timeout", "5ms")
	require.Equal(t, exitFailure, got.status)
	require.Empty(t, got.stdout)
	require.Equal(t, 9, strings.Count(got.stderr, ": no lock, trying again in "))
	require.Regexp(t, `^migrate: 00003_columns.sql line \d+: ALTER TABLE teams: no lock, trying again in \d+ms\n`, got.stderr)
	require.Contains(t, got.stderr, "in 10 tries; see in pg_locks")
	require.NoError(t, tx.Rollback(t.Context()))
	require.Zero(t, invoke(t, databaseURL, "up", "-lock-timeout", "5ms").status)
}
