package store_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/internal/throwaway"
	"github.com/rowhouse/rowhouse/store"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// opened is the pool of a Store that Open makes of a URL with these parameters.
func opened(t *testing.T, target string, parameters map[string]string) (*store.Store, *pgxpool.Config) {
	t.Helper()
	u, err := url.Parse(target)
	require.NoError(t, err)
	for name, value := range parameters {
		query(u, name, value)
	}
	st, err := store.Open(t.Context(), u.String())
	require.NoError(t, err)
	t.Cleanup(st.Close)
	return st, st.Conn().(*pgxpool.Pool).Config()
}

// requireSettings asks the server.
func requireSettings(t *testing.T, st *store.Store, want map[string]string) {
	t.Helper()
	for name, value := range want {
		var got string
		require.NoError(t, st.Conn().QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&got))
		require.Equal(t, value, got, name)
	}
}

func TestOpenHasDefaults(t *testing.T) {
	t.Parallel()
	st, config := opened(t, storetest.URL(t), nil)
	require.EqualValues(t, 10, config.MaxConns)
	require.Equal(t, 30*time.Minute, config.MaxConnLifetime)
	require.Equal(t, 5*time.Minute, config.MaxConnLifetimeJitter)
	require.Equal(t, 5*time.Minute, config.MaxConnIdleTime)
	require.Equal(t, 2*time.Second, config.PingTimeout)
	require.Equal(t, 5*time.Second, config.ConnConfig.ConnectTimeout)
	require.Equal(t, pgx.QueryExecModeCacheStatement, config.ConnConfig.DefaultQueryExecMode)
	requireSettings(t, st, map[string]string{
		"statement_timeout":                   "30s",
		"lock_timeout":                        "10s",
		"idle_in_transaction_session_timeout": "1min",
		"default_transaction_isolation":       "read committed",
		"application_name":                    filepath.Base(os.Args[0]),
	})
	var style string
	require.NoError(t, st.Conn().QueryRow(t.Context(), "SHOW datestyle").Scan(&style))
	require.Contains(t, style, "ISO")
}

func TestOpenTakesWhatTheURLSays(t *testing.T) {
	t.Parallel()
	databaseSetting(t, "idle_in_transaction_session_timeout", "7s")
	st, config := opened(t, storetest.URL(t), map[string]string{
		"pool_max_conns": "3", "pool_max_conn_lifetime": "1h", "pool_max_conn_lifetime_jitter": "0s", "pool_max_conn_idle_time": "30m",
		"pool_ping_timeout": "0s", "connect_timeout": "17", "default_query_exec_mode": "exec",
		"statement_timeout": "0", "lock_timeout": "250ms", "default_transaction_isolation": "serializable", "application_name": "billing",
		"datestyle":                           "ISO, DMY",
		"idle_in_transaction_session_timeout": "", // as the database has it
	})
	require.EqualValues(t, 3, config.MaxConns)
	require.Equal(t, time.Hour, config.MaxConnLifetime)
	require.Zero(t, config.MaxConnLifetimeJitter)
	require.Equal(t, 30*time.Minute, config.MaxConnIdleTime)
	require.Zero(t, config.PingTimeout)
	require.Equal(t, 17*time.Second, config.ConnConfig.ConnectTimeout)
	require.Equal(t, pgx.QueryExecModeExec, config.ConnConfig.DefaultQueryExecMode)
	requireSettings(t, st, map[string]string{
		"statement_timeout": "0", "lock_timeout": "250ms", "idle_in_transaction_session_timeout": "7s",
		"default_transaction_isolation": "serializable", "application_name": "billing", "datestyle": "ISO, DMY",
	})

	st, _ = opened(t, storetest.URL(t), map[string]string{"options": "-c statement_timeout=1234ms -c lock_timeout=1s"})
	requireSettings(t, st, map[string]string{
		"statement_timeout": "1234ms", "lock_timeout": "1s", "idle_in_transaction_session_timeout": "1min",
	})
}

// Times come as text in the modes that describe nothing, and pgx reads them in one style.
func TestOpenReadsTimesWhateverTheStyleOfTheDatabase(t *testing.T) {
	t.Parallel()
	databaseSetting(t, "datestyle", "German, DMY")
	for _, mode := range []string{"cache_statement", "exec", "simple_protocol"} {
		st, _ := opened(t, storetest.URL(t), map[string]string{"default_query_exec_mode": mode})
		h := newHouse(t, st)
		user, err := st.User(t.Context(), h.owner.ID)
		require.NoError(t, err, mode)
		require.Equal(t, h.owner.CreatedAt, user.CreatedAt, mode)
	}
}

// A proxy refuses what Open sets: it is left out then, and nothing is prepared. Many
// callers at once go from one session of the server to another.
func TestOpenThroughPgBouncer(t *testing.T) {
	t.Parallel()
	direct, err := url.Parse(storetest.URL(t))
	require.NoError(t, err)
	proxy, err := pgbouncer(direct)
	if errors.Is(err, throwaway.ErrNoPgBouncer) { // CI installs it, and its variants need it
		t.Skip(err)
	}
	require.NoError(t, err)
	through := proxy.URL(direct.Path[1:])
	st, config := opened(t, through, nil)
	require.Equal(t, pgx.QueryExecModeExec, config.ConnConfig.DefaultQueryExecMode)
	require.EqualValues(t, 10, config.MaxConns)
	requireSettings(t, st, map[string]string{"lock_timeout": "0", "statement_timeout": "0", "application_name": filepath.Base(os.Args[0])})
	errs := race(crowdOf(30, func(int) error {
		for range 10 {
			su, err := st.SignUp(t.Context(), store.SignUp{Email: newEmail(), PasswordHash: "hash"})
			if err != nil {
				return err
			}
			if _, err := st.TeamWithMembers(t.Context(), su.Team.ID); err != nil {
				return err
			}
		}
		return nil
	})...)
	require.Equal(t, 30, allBut(t, errs))

	_, config = opened(t, through, map[string]string{"default_query_exec_mode": "simple_protocol"})
	require.Equal(t, pgx.QueryExecModeSimpleProtocol, config.ConnConfig.DefaultQueryExecMode)

	_, err = store.Open(t.Context(), through+"&statement_timeout=1s") // whoever asks for it is told
	pgErr := new(pgconn.PgError)
	require.ErrorAs(t, err, &pgErr)
	require.Equal(t, "08P01", pgErr.Code)
}

// A server that is not there takes no longer than connect_timeout to say so.
func TestOpenGivesUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	// It accepts, and never answers.
	silent := listenSilently(t)
	_, err := store.Open(ctx, "postgres://app@"+silent+"/app?sslmode=disable&connect_timeout=1")
	require.Error(t, err)
	require.NoError(t, ctx.Err())
}
