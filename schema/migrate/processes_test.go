package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/schema"
	"github.com/rowhouse/rowhouse/store/storetest"
)

const (
	processes = 8
	// within is how long the processes may take together: without any trouble, and
	// from the death of one of them to the exit of the last.
	within = 10 * time.Second
)

// process is a run of "migrate up".
type process struct {
	name           string // its application_name
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	err            error         // of the exit
	exited         chan struct{} // closed when it has, and err and the outputs are there
}

// launch starts the processes on one database, as fast as that goes.
func launch(ctx context.Context, t *testing.T, binary, databaseURL string) []*process {
	t.Helper()
	var all []*process
	for i := range processes {
		u, err := url.Parse(databaseURL)
		require.NoError(t, err)
		p := &process{name: fmt.Sprintf("migrator-%d", i), exited: make(chan struct{})}
		query := u.Query()
		query.Set("application_name", p.name)
		u.RawQuery = query.Encode()
		p.cmd = exec.CommandContext(ctx, binary, "up")
		p.cmd.Env = append(os.Environ(), "DATABASE_URL="+u.String())
		p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
		all = append(all, p)
	}
	for _, p := range all {
		require.NoError(t, p.cmd.Start())
		go func() {
			p.err = p.cmd.Wait()
			close(p.exited)
		}()
		t.Cleanup(func() {
			_ = p.cmd.Process.Kill()
			<-p.exited
		})
	}
	return all
}

// awaitAll returns when all have exited, with the names of the migrations that they
// say they applied.
func awaitAll(t *testing.T, all []*process) []string {
	t.Helper()
	var applied []string
	for _, p := range all {
		<-p.exited
		require.NoError(t, p.err, "%s: %s%s", p.name, &p.stdout, &p.stderr)
		for _, match := range regexp.MustCompile(`(?m)^applied (\S+) in `).FindAllStringSubmatch(p.stdout.String(), -1) {
			applied = append(applied, match[1])
		}
	}
	return applied
}

// catalog describes the schema, and the versions that the database has.
func catalog(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	return strings.Join(selectColumn(t, conn, `
		WITH relations AS (
			SELECT oid AS relation, relname, relkind FROM pg_class WHERE relnamespace = 'public'::regnamespace
		)
		SELECT format('%s %s', relkind, relname) FROM relations
		UNION ALL
		SELECT format('%s.%s %s not null %s default %s', relname, attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid))
		FROM relations
		JOIN pg_attribute ON attrelid = relation AND attnum > 0 AND NOT attisdropped
		LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
		WHERE relkind = 'r'
		UNION ALL
		SELECT format('%s: %s %s valid %s', relname, conname, pg_get_constraintdef(pg_constraint.oid), convalidated)
		FROM relations
		JOIN pg_constraint ON conrelid = relation
		UNION ALL
		SELECT format('%s valid %s ready %s', pg_get_indexdef(indexrelid), indisvalid, indisready)
		FROM relations
		JOIN pg_index ON indexrelid = relation
		UNION ALL
		SELECT format('version %s: %s', version_id, count(*)) FROM public.rowhouse_db_version GROUP BY version_id
		ORDER BY 1`), "\n")
}

func selectColumn(t *testing.T, conn *pgx.Conn, sql string, args ...any) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, args...)
	require.NoError(t, err)
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return all
}

func runSQL(t *testing.T, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	_, err := conn.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}

// countDDL makes the database write down each statement that changes its schema,
// and the version that it has then.
const countDDL = `
	CREATE SCHEMA watch;
	CREATE TABLE watch.statements (version bigint NOT NULL, tag text NOT NULL);
	CREATE FUNCTION watch.note() RETURNS event_trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF to_regclass('public.rowhouse_db_version') IS NOT NULL THEN
			INSERT INTO watch.statements SELECT max(version_id), tg_tag FROM public.rowhouse_db_version;
		END IF;
	END
	$$;
	CREATE EVENT TRIGGER note_statements ON ddl_command_start EXECUTE FUNCTION watch.note()`

// stopAt makes a session wait for the advisory lock (stopClass, 0) before it runs
// the given statement, counted from 1, of those that bring the database from the
// version to the next. Every session counts its own, for as long as the lock is
// held; the one that waits has not locked a table for the statement yet.
//
// It does not notice while it waits that its client is gone: then it goes on, and
// the statement is done, which the next process has to cope with.
const stopAt = `
	CREATE SCHEMA watch;
	CREATE FUNCTION watch.stop() RETURNS event_trigger LANGUAGE plpgsql AS $$
	DECLARE
		version bigint;
		nth integer := coalesce(nullif(current_setting('watch.nth', true), ''), '0')::integer + 1;
	BEGIN
		IF to_regclass('public.rowhouse_db_version') IS NULL THEN
			RETURN;
		END IF;
		SELECT max(version_id) INTO version FROM public.rowhouse_db_version;
		IF version = %[1]d THEN
			PERFORM set_config('watch.nth', nth::text, false);
			IF nth = %[2]d THEN
				PERFORM set_config(name, '0', false) FROM pg_settings WHERE name = 'client_connection_check_interval';
				PERFORM pg_advisory_xact_lock_shared(%[3]d, 0);
			END IF;
		END IF;
	END
	$$;
	CREATE EVENT TRIGGER stop_statement ON ddl_command_start EXECUTE FUNCTION watch.stop()`

const stopClass = 20771

func TestProcesses(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("there is no SIGKILL")
	}
	binary := filepath.Join(t.TempDir(), "migrate")
	built, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, "%s", built)
	names, err := fs.Glob(schema.Files, "*.sql")
	require.NoError(t, err)

	// How one process alone leaves the database, and with how many statements.
	databaseURL := storetest.EmptyURL(t)
	conn := dial(t, databaseURL)
	runSQL(t, conn, countDDL)
	require.Zero(t, invoke(t, databaseURL, "up").status)
	fresh := catalog(t, conn)
	require.Contains(t, fresh, fmt.Sprintf("version %d: 1", len(names)))
	counts := make([]int, len(names))
	for version := range names {
		require.NoError(t, conn.QueryRow(t.Context(), `SELECT count(*) FROM watch.statements WHERE version = $1`, version).Scan(&counts[version]))
		require.Positive(t, counts[version], "no statement of %s was seen", names[version])
	}

	t.Run("at once", func(t *testing.T) {
		t.Parallel()
		databaseURL := storetest.EmptyURL(t)
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		started := time.Now()
		applied := awaitAll(t, launch(ctx, t, binary, databaseURL))
		t.Logf("%d processes took %s", processes, time.Since(started).Round(time.Millisecond))
		require.ElementsMatch(t, names, applied, "each migration is applied by one of them")
		require.Equal(t, fresh, catalog(t, dial(t, databaseURL)))
	})

	for version, name := range names {
		stops := []int{1, (counts[version] + 1) / 2, counts[version]}
		for _, nth := range slices.Compact(stops) {
			t.Run(fmt.Sprintf("killed in %s at statement %d of %d", name, nth, counts[version]), func(t *testing.T) {
				t.Parallel()
				killed(t, binary, version, nth, names, fresh)
			})
		}
	}
}

// killed kills the process that is about to run the nth statement of the migration
// after version, and looks at what the others make of it.
func killed(t *testing.T, binary string, version, nth int, names []string, fresh string) {
	databaseURL := storetest.EmptyURL(t)
	conn := dial(t, databaseURL)
	runSQL(t, conn, fmt.Sprintf(stopAt, version, nth, stopClass))
	runSQL(t, conn, `SELECT pg_advisory_lock($1, 0)`, stopClass)

	all := launch(t.Context(), t, binary, databaseURL)
	var stopped []string
	eventually(t, all, func() bool {
		stopped = selectColumn(t, conn, `
			SELECT application_name
			FROM pg_locks
			JOIN pg_stat_activity USING (pid)
			WHERE locktype = 'advisory' AND NOT granted AND classid = $1
				AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())`, stopClass)
		return len(stopped) > 0
	})
	require.Len(t, stopped, 1, "more than one process is in the migration")
	// The others are all there, and want to migrate.
	eventually(t, all, func() bool {
		return len(selectColumn(t, conn, `
			SELECT application_name FROM pg_stat_activity
			WHERE datname = current_database() AND state = 'idle' AND query LIKE '%advisory_lock%'`)) == processes-1
	})
	at := -1
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT max(version_id) FROM rowhouse_db_version`).Scan(&at))
	require.Equal(t, version, at, "it stopped elsewhere")

	i := slices.IndexFunc(all, func(p *process) bool { return p.name == stopped[0] })
	require.GreaterOrEqual(t, i, 0, "no process of ours: %s", stopped[0])
	victim, others := all[i], slices.Delete(slices.Clone(all), i, i+1)
	require.NoError(t, victim.cmd.Process.Kill())
	<-victim.exited
	require.EqualError(t, victim.err, "signal: killed")
	require.Empty(t, victim.stdout.String())
	for _, p := range others {
		select {
		case <-p.exited:
			require.FailNow(t, "exited before its turn", "%s: %v %s%s", p.name, p.err, &p.stdout, &p.stderr)
		default:
		}
	}

	// The server runs the statement to its end before it sees that nobody is there,
	// and lets go of the migration lock. From here on the others can get on.
	dead := time.Now()
	late := time.AfterFunc(within, func() {
		for _, p := range others {
			_ = p.cmd.Process.Kill()
		}
	})
	defer late.Stop()
	runSQL(t, conn, `SELECT pg_advisory_unlock($1, 0)`, stopClass)
	applied := awaitAll(t, others)
	took := time.Since(dead)
	t.Logf("the others were done after %s", took.Round(time.Millisecond))
	require.Less(t, took, within)
	require.ElementsMatch(t, names[version:], applied, "what the dead one has not finished is applied by one of the others")
	require.Equal(t, fresh, catalog(t, conn))
}

// eventually asks until the answer is yes, or a process has exited.
func eventually(t *testing.T, all []*process, yes func() bool) {
	t.Helper()
	// Asking takes the processor from those that are waited for.
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	for end := time.Now().Add(30 * time.Second); !yes(); <-pace.C {
		require.True(t, time.Now().Before(end), "it never came to that")
		for _, p := range all {
			select {
			case <-p.exited:
				require.FailNow(t, "exited", "%s: %v %s%s", p.name, p.err, &p.stdout, &p.stderr)
			default:
			}
		}
	}
}
