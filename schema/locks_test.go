package schema_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/schema"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// reports keeps what a run tells.
type reports struct {
	mu  sync.Mutex
	all []schema.Progress
}

func (r *reports) option() schema.Option {
	return schema.WithProgress(func(p schema.Progress) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.all = append(r.all, p)
	})
}

func (r *reports) retries() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.all {
		if p.Retry > 0 {
			n++
		}
	}
	return n
}

// A migration that gets no lock lets those go that wait behind it, and comes again.
func TestLockThatIsHeldForAWhile(t *testing.T) {
	t.Parallel()
	url := storetest.EmptyURL(t)
	pool := open(t, url)
	migrateTo(t, pool, 2)
	exec(t, pool, `INSERT INTO teams (name) VALUES ('before')`)
	tx := begin(t, url, `SELECT FROM teams`)
	var told reports
	outcomes := make(chan outcome, 1)
	go func() {
		results, err := schema.Migrate(t.Context(), pool, schema.WithLockTimeout(50*time.Millisecond), told.option())
		outcomes <- outcome{results, err}
	}()
	// Writers go on all the time, though the migration wants the table to itself.
	for told.retries() < 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		_, err := pool.Exec(ctx, `INSERT INTO teams (name) VALUES ('meanwhile')`)
		cancel()
		require.NoError(t, err)
	}
	require.NoError(t, tx.Rollback(t.Context()))
	o := <-outcomes
	require.NoError(t, o.err)
	require.Equal(t, names[2:], namesOf(o.results))
	require.NoError(t, schema.Verify(t.Context(), pool))
	first := told.all[0]
	require.Equal(t, "00003_columns.sql", first.Migration)
	require.Equal(t, lineOf(t, "00003_columns.sql", "ALTER TABLE teams"), first.Line)
	require.GreaterOrEqual(t, first.Retry, 50*time.Millisecond)
	require.Less(t, first.Retry, 100*time.Millisecond)
	require.Regexp(t, `^00003_columns.sql line \d+: ALTER TABLE teams: no lock, trying again in \d+ms$`, first.String())
}

// A connection that was lost in a pause is replaced, and the new one waits no longer.
func TestConnectionLostBetweenTries(t *testing.T) {
	t.Parallel()
	url := storetest.EmptyURL(t)
	pool := open(t, url)
	migrateTo(t, pool, 2)
	begin(t, url, `SELECT FROM teams`)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	lost := false
	migrating := open(t, url, setting("application_name", "migrating"))
	_, err := schema.Migrate(ctx, migrating, schema.WithLockTimeout(1100*time.Millisecond), schema.WithProgress(func(p schema.Progress) {
		switch {
		case p.Retry > 0 && !lost:
			lost = true
			exec(t, pool, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'migrating' AND datname = current_database()`)
		case p.Retry > 0: // the new connection got no lock either, and let go
			cancel()
		}
	}))
	require.True(t, lost)
	require.ErrorIs(t, err, context.Canceled, "it waited without end")
}

// It ends with the tries, and says so; in the database is what was there.
func TestLockThatIsNeverLetGo(t *testing.T) {
	t.Parallel()
	url := storetest.EmptyURL(t)
	pool := open(t, url)
	migrateTo(t, pool, 4)
	before := dump(t, pool)
	begin(t, url, `LOCK TABLE teams IN ROW EXCLUSIVE MODE`)
	var told reports
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := schema.Migrate(ctx, pool, schema.WithLockTimeout(time.Millisecond), told.option())
	var failed *schema.MigrationError
	require.ErrorAs(t, err, &failed)
	var pgErr *pgconn.PgError
	require.ErrorAs(t, err, &pgErr)
	require.Equal(t, "55P03", pgErr.Code)
	require.Regexp(t, `^migration 00005_subscriptions.sql failed at line \d+: canceling statement due to lock timeout \(SQLSTATE 55P03\), in 10 tries; see in pg_locks and pg_stat_activity who holds it, or allow more time, and migrate again$`, err.Error())
	require.Equal(t, 9, told.retries())
	require.Equal(t, before, dump(t, pool))
}

// The pause between two tries ends with ctx.
func TestCancelBetweenTries(t *testing.T) {
	t.Parallel()
	url := storetest.EmptyURL(t)
	pool := open(t, url)
	migrateTo(t, pool, 2)
	begin(t, url, `SELECT FROM teams`)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := schema.Migrate(ctx, pool, schema.WithLockTimeout(200*time.Millisecond), schema.WithProgress(func(p schema.Progress) {
		if p.Retry > 0 {
			cancel()
		}
	}))
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "migration 00003_columns.sql was stopped at line ")
}

// Who asks for nothing waits for five seconds, or as long as the connection says.
func TestLockTimeoutOfASession(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		connection string
		with       []schema.Option
		ordinary   string
	}{
		"by default":        {"", nil, "5s"},
		"of the connection": {"700", nil, "700ms"},
		"by option":         {"700", []schema.Option{schema.WithLockTimeout(2 * time.Second)}, "2s"},
		"without end":       {"700", []schema.Option{schema.WithLockTimeout(0)}, "0"},
		"the shortest":      {"", []schema.Option{schema.WithLockTimeout(time.Nanosecond)}, "1ms"},
		"the longest":       {"", []schema.Option{schema.WithLockTimeout(1000 * 24 * time.Hour)}, "2147483647ms"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := storetest.EmptyURL(t)
			exec(t, open(t, url), `
				CREATE FUNCTION tell() RETURNS event_trigger LANGUAGE plpgsql AS $$
				BEGIN
					RAISE NOTICE 'waits % for %', current_setting('lock_timeout'), current_query();
				END $$;
				CREATE EVENT TRIGGER tell ON ddl_command_start EXECUTE FUNCTION tell()`)
			ordinary, concurrent := make(map[string]int), make(map[string]int)
			pool := open(t, url, func(config *pgxpool.Config) {
				if test.connection != "" {
					setting("lock_timeout", test.connection)(config)
				}
				config.ConnConfig.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) {
					waits, ok := strings.CutPrefix(notice.Message, "waits ")
					timeout, statement, _ := strings.Cut(waits, " for ")
					switch {
					case !ok, strings.Contains(statement, "rowhouse_db_version"): // its table, which nobody else uses
					case strings.Contains(statement, " INDEX CONCURRENTLY "):
						concurrent[timeout]++
					default:
						ordinary[timeout]++
					}
				}
			})
			_, err := schema.Migrate(t.Context(), pool, test.with...)
			require.NoError(t, err)
			_, err = schema.RollbackTo(t.Context(), pool, 1, test.with...)
			require.NoError(t, err)
			require.Len(t, ordinary, 1)
			require.Greater(t, ordinary[test.ordinary], 20, "%v", ordinary)
			require.Len(t, concurrent, 1, "nobody waits for these")
			require.Greater(t, concurrent["0"], 20, "%v", concurrent)
		})
	}
}

// A step that takes long tells so, and when it has ended.
func TestProgress(t *testing.T) {
	t.Parallel()
	url := storetest.EmptyURL(t)
	pool := open(t, url)
	migrateTo(t, pool, 1)
	tx := begin(t, url, writeUsers)
	told := make(chan schema.Progress, 10)
	failed := make(chan error, 1)
	go func() {
		_, err := schema.Migrate(t.Context(), pool, schema.WithProgress(func(p schema.Progress) { told <- p }))
		failed <- err
	}()
	running := <-told
	require.Equal(t, "00002_unique_rules.sql", running.Migration)
	require.Equal(t, lineOf(t, "00002_unique_rules.sql", "CREATE UNIQUE INDEX CONCURRENTLY users_lower_email_unique"), running.Line)
	require.GreaterOrEqual(t, running.Elapsed, 2*time.Second)
	require.False(t, running.Done)
	require.Regexp(t, `^00002_unique_rules.sql line \d+: CREATE UNIQUE INDEX CONCURRENTLY users_lower_email_unique .*: running for \d+s$`, running.String())
	require.NoError(t, tx.Rollback(t.Context()))
	require.NoError(t, <-failed)
	for ended := range told {
		if ended.Done {
			require.Equal(t, running.Line, ended.Line)
			require.Regexp(t, `: ended after [\d.]+s$`, ended.String())
			break
		}
	}
	require.Empty(t, told, "what is quick tells nothing")
}

func TestRollbackTo(t *testing.T) {
	t.Parallel()
	pool := open(t, storetest.EmptyURL(t))
	for _, version := range []int64{0, 3} {
		results, err := schema.RollbackTo(t.Context(), pool, version)
		require.NoError(t, err)
		require.Empty(t, results, "there is nothing to roll back")
	}
	require.Empty(t, snapshot(t, pool, "public"))
	migrate(t, pool)
	_, err := schema.RollbackTo(t.Context(), pool, -1)
	require.ErrorContains(t, err, "there is no version -1")
	results, err := schema.RollbackTo(t.Context(), pool, 3)
	require.NoError(t, err)
	require.Equal(t, []string{"00005_subscriptions.sql", "00004_indexes.sql"}, namesOf(results))
	require.Equal(t, snapshotAt(t, 3), snapshot(t, pool, "public"))
	results, err = schema.RollbackTo(t.Context(), pool, 3)
	require.NoError(t, err)
	require.Empty(t, results)
	exec(t, pool, `INSERT INTO teams (name) VALUES ('a')`)
	results, err = schema.RollbackTo(t.Context(), pool, 0)
	require.ErrorContains(t, err, "hold rows")
	require.Equal(t, []string{"00003_columns.sql", "00002_unique_rules.sql"}, namesOf(results), "what was rolled back is told beside the error")
	require.Equal(t, int64(1), versionOf(t, pool))

	exec(t, pool, `INSERT INTO rowhouse_db_version (version_id, is_applied) VALUES (99, true)`)
	_, err = schema.RollbackTo(t.Context(), pool, 0)
	require.ErrorContains(t, err, "roll back with the build that applied it")
	require.Equal(t, int64(99), versionOf(t, pool))
}

func TestRedo(t *testing.T) {
	t.Parallel()
	pool := open(t, storetest.EmptyURL(t))
	_, err := schema.Redo(t.Context(), pool)
	require.ErrorIs(t, err, schema.ErrNothingToRollBack)
	migrate(t, pool)
	result, err := schema.Redo(t.Context(), pool)
	require.NoError(t, err)
	require.Equal(t, "00005_subscriptions.sql", result.Name)
	require.NoError(t, schema.Verify(t.Context(), pool))

	migrateTo(t, pool, 3)
	result, err = schema.Redo(t.Context(), pool)
	require.NoError(t, err)
	require.Equal(t, "00003_columns.sql", result.Name)
	require.Equal(t, int64(3), versionOf(t, pool), "what was pending is none of its business")
	migrate(t, pool)

	for table, insert := range map[string]string{
		"teams":               `INSERT INTO teams (name) VALUES ('a')`,
		"subscription_events": `INSERT INTO subscription_events (id, type, created_at, received_at) VALUES ('evt_1', 'x', now(), now())`,
	} {
		exec(t, pool, insert)
		before := dump(t, pool)
		_, err = schema.Redo(t.Context(), pool)
		require.ErrorContains(t, err, table+" has rows: redo drops what a migration made")
		require.True(t, before == dump(t, pool))
		exec(t, pool, strings.Replace("DELETE FROM it", "it", table, 1))
	}
}

// A server whose client was killed looks, and does not go on with the index.
func TestServerLooksForItsClient(t *testing.T) {
	t.Parallel()
	told := make(map[string]bool)
	pool := open(t, storetest.EmptyURL(t), func(config *pgxpool.Config) {
		config.ConnConfig.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) { told[notice.Message] = true }
	})
	exec(t, pool, `
		CREATE FUNCTION tell() RETURNS event_trigger LANGUAGE plpgsql AS $$
		BEGIN
			RAISE NOTICE '%', coalesce(current_setting('client_connection_check_interval', true), 'before 14');
		END $$;
		CREATE EVENT TRIGGER tell ON ddl_command_start EXECUTE FUNCTION tell()`)
	migrate(t, pool)
	require.True(t, told["1s"] || told["before 14"], "%v", told)
	require.NotContains(t, told, "0")
}
