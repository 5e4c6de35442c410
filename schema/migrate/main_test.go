package main

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/store/storetest"
)

// ran is what one run of the command did.
type ran struct {
	status         int
	stdout, stderr string
}

// invoke runs the command with DATABASE_URL as given.
func invoke(t *testing.T, databaseURL string, args ...string) ran {
	t.Helper()
	getenv := func(name string) string {
		require.Equal(t, "DATABASE_URL", name, "the environment holds no other setting")
		return databaseURL
	}
	var stdout, stderr bytes.Buffer
	status := run(t.Context(), args, getenv, &stdout, &stderr)
	return ran{status, stdout.String(), stderr.String()}
}

// dial returns a connection that ends with the test.
func dial(t *testing.T, databaseURL string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), databaseURL)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func TestLifeOfADatabase(t *testing.T) {
	t.Parallel()
	databaseURL := storetest.EmptyURL(t)
	for _, step := range []struct {
		command string
		status  int
		stdout  string // a regular expression
		stderr  string
	}{
		{"version", 0, `^0\n$`, ""},
		{"status", 0, `^VERSION +NAME +APPLIED\n1 +00001_baseline.sql +pending\n2 +00002_unique_rules.sql +pending\n3 +00003_columns.sql +pending\n4 +00004_indexes.sql +pending\n5 +00005_subscriptions.sql +pending\n$`, ""},
		{"down", 1, `^$`, "migrate: no migration is applied: there is nothing to roll back\n"},
		{"up", 0, `^applied 00001_baseline.sql in [0-9.]+m?s\napplied 00002_unique_rules.sql in [0-9.]+m?s\napplied 00003_columns.sql in [0-9.]+m?s\napplied 00004_indexes.sql in [0-9.]+m?s\napplied 00005_subscriptions.sql in [0-9.]+m?s\n$`, ""},
		{"up", 0, `^already at version 5\n$`, ""},
		{"version", 0, `^5\n$`, ""},
		{"down", 0, `^rolled back 00005_subscriptions.sql in [0-9.]+m?s\n$`, ""},
		{"version", 0, `^4\n$`, ""},
		{"status", 0, `\n4 +00004_indexes.sql +20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ\n5 +00005_subscriptions.sql +pending\n$`, ""},
		{"up", 0, `^applied 00005_subscriptions.sql in [0-9.]+m?s\n$`, ""},
	} {
		got := invoke(t, databaseURL, step.command)
		require.Equal(t, step.status, got.status, "%s: %s", step.command, got.stderr)
		require.Regexp(t, step.stdout, got.stdout, step.command)
		require.Equal(t, step.stderr, got.stderr, step.command)
	}

	conn := dial(t, databaseURL)
	_, err := conn.Exec(t.Context(), `INSERT INTO rowhouse_db_version (version_id, is_applied) VALUES (99, true)`)
	require.NoError(t, err)
	require.Regexp(t, `\n99 +\(of a newer build\) +20`, invoke(t, databaseURL, "status").stdout)
	require.Equal(t, "already at version 99\n", invoke(t, databaseURL, "up").stdout)
}

func TestWhereTheURLComesFrom(t *testing.T) {
	t.Parallel()
	migrated, empty := storetest.URL(t), storetest.EmptyURL(t)
	for name, test := range map[string]struct {
		env  string
		args []string
		want string
	}{
		"environment":         {migrated, []string{"version"}, "5\n"},
		"flag before":         {"", []string{"-database-url", migrated, "version"}, "5\n"},
		"flag after":          {"", []string{"version", "-database-url", migrated}, "5\n"},
		"two dashes, equals":  {"", []string{"version", "--database-url=" + migrated}, "5\n"},
		"the flag wins":       {migrated, []string{"version", "-database-url", empty}, "0\n"},
		"the flag wins first": {migrated, []string{"-database-url", empty, "version"}, "0\n"},
		"also over nonsense":  {"nonsense", []string{"version", "-database-url", migrated}, "5\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, ran{0, test.want, ""}, invoke(t, test.env, test.args...))
		})
	}
}

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	const valid = "postgres://user@127.0.0.1:1/db"
	for name, test := range map[string]struct {
		env  string
		args []string
		want string
	}{
		"nothing":            {valid, nil, "want a command: check, up, verify, status, version, grant, down, down-to, redo or create"},
		"two commands":       {valid, []string{"up", "down"}, "up takes no argument, got 1"},
		"unknown command":    {valid, []string{"sideways"}, "unknown command: want check, up, verify, status, version, grant, down, down-to, redo or create"},
		"no version":         {valid, []string{"down-to"}, "down-to takes one argument, VERSION, got 0"},
		"two versions":       {valid, []string{"down-to", "1", "2"}, "down-to takes one argument, VERSION, got 2"},
		"no number":          {valid, []string{"down-to", "baseline"}, "down-to takes the number of a version, 0 for none"},
		"no name":            {"", []string{"create"}, "create takes one argument, NAME, got 0"},
		"a bad name":         {"", []string{"create", "Add-Locale"}, "lower-case letters, digits and underscores"},
		"a path as a name":   {"", []string{"create", "../x"}, "lower-case letters, digits and underscores"},
		"a URL as a name":    {"", []string{"create", "postgres://user:s3cret@host/db"}, "lower-case letters, digits and underscores"},
		"a dry run of check": {valid, []string{"check", "-dry-run"}, "-dry-run is for up, grant, down, down-to and redo"},
		"no role":            {valid, []string{"grant"}, "grant wants -application ROLE, -purge ROLE, or both"},
		"a role as argument": {valid, []string{"grant", "app"}, "grant takes no argument, got 1"},
		"a role for up":      {valid, []string{"up", "-application", "app"}, "-application and -purge are for grant"},
		"no duration":        {valid, []string{"up", "-lock-timeout", "soon"}, "invalid value \"soon\" for flag -lock-timeout"},
		"before now":         {valid, []string{"up", "-lock-timeout", "-1s"}, "-lock-timeout must not be negative"},
		"unknown flag":       {valid, []string{"up", "-verbose"}, "flag provided but not defined: -verbose"},
		"flag without URL":   {valid, []string{"up", "-database-url"}, "flag needs an argument: -database-url"},
		"no URL":             {"", []string{"up"}, "Set DATABASE_URL, or give -database-url"},
		"an empty flag":      {valid, []string{"up", "-database-url", ""}, "Set DATABASE_URL, or give -database-url"},
		"not a URL":          {"nonsense", []string{"up"}, "the database URL can't be read"},
		"another database":   {"mysql://user:s3cret@host/db", []string{"up"}, "the database URL can't be read"},
		"no such file":       {"postgres://user:s3cret@host/db?sslmode=verify-ca&sslrootcert=nowhere.pem", []string{"up"}, "nowhere.pem"},
		"URL as an argument": {"", []string{"up", "postgres://user:s3cret@host/db"}, "up takes no argument, got 1"},
		"URL as a command":   {"", []string{"postgres://user:s3cret@host/db"}, "unknown command"},
		"URL as a flag":      {"", []string{"-postgres://user:s3cret@host/db"}, "not a flag of this command"},
		"URL after dashes":   {"", []string{"---database-url=postgres://user:s3cret@host/db"}, "not a flag of this command"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := invoke(t, test.env, test.args...)
			require.Equal(t, exitUsage, got.status)
			require.Empty(t, got.stdout)
			require.Contains(t, got.stderr, test.want)
			require.Contains(t, got.stderr, "-h for help")
			require.NotContains(t, got.stderr, "s3cret")
		})
	}
}

// A password with the characters that end a part of a URL, written as they are.
// The port refuses connections, and its error names the host and the database.
func TestNoPartOfThePasswordIsPrinted(t *testing.T) {
	t.Parallel()
	for _, databaseURL := range []string{
		"postgres://user:77s3@cret@127.0.0.1:1/db",
		"postgres://user:77/s3cret@127.0.0.1:1/db",
		"postgres://user:s3/cret@127.0.0.1:1/db",
		"postgres://user:77#s3cret@127.0.0.1:1/db",
		"postgres://user:77?s3cret@127.0.0.1:1/db",
		"postgres://user:s3%cret@127.0.0.1:1/db",
		"postgres://user:s3 cret@127.0.0.1:1/db",
		"postgres://user:s3[cret@127.0.0.1:1/db",
		"postgres://user:s3:cret@127.0.0.1:1/db",
		"postgres://user:s3cret@127.0.0.1:1/db",
		"postgres://127.0.0.1:1/db?user=user&password=s3cret",
		`host=127.0.0.1 port=1 user=user password='s3\'cret' connect_timeout`,
		`host=127.0.0.1 port=x user=user password = s3cret`,
		`host=127.0.0.1 port=1 user=user password=s3 cret`,
		`host=127.0.0.1 port=1 user=user password=s3cret`,
	} {
		got := invoke(t, databaseURL, "up")
		require.NotZero(t, got.status)
		require.Empty(t, got.stdout)
		require.NotContains(t, got.stderr, "cret", databaseURL)
		require.NotContains(t, got.stderr, "s3", databaseURL)
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-h"}, {"--help"}, {"up", "-h"}} {
		require.Equal(t, ran{0, usage, ""}, invoke(t, "", args...))
	}
	for _, said := range []string{"-database-url", "-lock-timeout", "-dry-run", "-json", "-application", "-purge", "-dir", "DATABASE_URL", "exit status", "In CI"} {
		require.Contains(t, usage, said)
	}
	for _, c := range commands {
		require.Contains(t, usage, "\n  "+strings.TrimSpace(c.name+" "+c.argument)+" ")
	}
}

func TestFailure(t *testing.T) {
	t.Parallel()
	databaseURL := storetest.EmptyURL(t)
	conn := dial(t, databaseURL)
	_, err := conn.Exec(t.Context(), `
		CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF current_query() LIKE '%invitations_token_hash_unique%' THEN
				RAISE 'refused';
			END IF;
		END $$;
		CREATE EVENT TRIGGER refuse ON ddl_command_start EXECUTE FUNCTION refuse()`)
	require.NoError(t, err)
	got := invoke(t, databaseURL, "up")
	require.Equal(t, exitFailure, got.status)
	require.Equal(t, 3, strings.Count(got.stdout, "applied "), "what was applied is told")
	require.Regexp(t, `^migrate: migration 00004_indexes.sql failed at line \d+: .*; repair that and migrate again\n$`, got.stderr)
}

// brokenWriter is a standard output that is full or closed.
type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestResultThatNobodyGets(t *testing.T) {
	t.Parallel()
	databaseURL := storetest.URL(t)
	for _, arg := range []string{"status", "version", "up", "-h"} {
		var stderr bytes.Buffer
		status := run(t.Context(), []string{arg}, func(string) string { return databaseURL }, brokenWriter{}, &stderr)
		require.Equal(t, exitFailure, status, arg)
		require.Contains(t, stderr.String(), "no space left")
	}
}

// TestBinary runs the command as an operator does.
func TestBinary(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "migrate")
	built, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, "%s", built)
	databaseURL := storetest.EmptyURL(t)
	conn := dial(t, databaseURL)

	start := func(args ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
		cmd := exec.CommandContext(t.Context(), binary, args...)
		cmd.Env = append(os.Environ(), "DATABASE_URL="+databaseURL)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		require.NoError(t, cmd.Start())
		return cmd, &stdout, &stderr
	}
	for _, step := range []struct {
		arg            string
		status         int
		stdout, stderr string
	}{
		{"version", 0, "0\n", ""},
		{"up", 0, "applied 00001_baseline.sql in ", ""},
		{"up", 0, "already at version 5\n", ""},
		{"version", 0, "5\n", ""},
		{"sideways", exitUsage, "", "unknown command"},
	} {
		cmd, stdout, stderr := start(step.arg)
		_ = cmd.Wait()
		require.Equal(t, step.status, cmd.ProcessState.ExitCode(), step.arg)
		require.Contains(t, stdout.String(), step.stdout)
		require.Contains(t, stderr.String(), step.stderr)
	}

	if runtime.GOOS == "windows" {
		return // os.Process can't send an interrupt there
	}
	for range 4 /* down to 00001 */ {
		require.Zero(t, invoke(t, databaseURL, "down").status)
	}
	blocker := dial(t, databaseURL)
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		// An open transaction makes the building of an index wait, and the second
		// time the dropping of what the first has left.
		tx, err := blocker.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), `LOCK TABLE users IN ROW EXCLUSIVE MODE`)
		require.NoError(t, err)
		cmd, stdout, stderr := start("up")
		for end, waiting := time.Now().Add(20*time.Second), false; !waiting; {
			require.True(t, time.Now().Before(end), "the migration never waited: %s", stderr)
			require.NoError(t, conn.QueryRow(t.Context(), `
				SELECT EXISTS (
					SELECT FROM pg_stat_activity
					WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INDEX CONCURRENTLY%'
				)`).Scan(&waiting))
		}
		sent := time.Now()
		require.NoError(t, cmd.Process.Signal(signal))
		require.Error(t, cmd.Wait())
		require.Less(t, time.Since(sent), 3*time.Second)
		require.Equal(t, exitFailure, cmd.ProcessState.ExitCode(), "%s: %s %s", signal, cmd.ProcessState, stderr)
		require.Empty(t, stdout.String())
		require.Regexp(t, `^migrate: migration 00002_unique_rules.sql was stopped at line \d+: context canceled; migrate again to finish it\n$`, stderr.String())
		require.NoError(t, tx.Rollback(t.Context()))
	}
	require.Zero(t, invoke(t, databaseURL, "up").status)
	require.Equal(t, "5\n", invoke(t, databaseURL, "version").stdout)
}

// The connection's own errors are the command's, too.
func TestNoSuchDatabase(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(storetest.EmptyURL(t))
	require.NoError(t, err)
	u.Path = "/rowhouse_test_no_such_database"
	got := invoke(t, u.String(), "up")
	require.Equal(t, exitFailure, got.status)
	require.Regexp(t, `^migrate: connect to the database: .*rowhouse_test_no_such_database`, got.stderr)
}
