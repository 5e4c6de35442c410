package schema_test

import (
	"context"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/schema"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// A log of five million rows, or of a few, is migrated from the baseline while eight
// writers insert. One that waited a second for a lock would fail, by its lock_timeout.
//
//	ROWHOUSE_SCALE=1 go test ./schema -run TestMigrationBesideWriters -v -timeout 30m
func TestMigrationBesideWriters(t *testing.T) {
	t.Parallel()
	const writers, teams = 8, 1000
	rows := 20_000
	if os.Getenv("ROWHOUSE_SCALE") == "1" {
		rows = 5_000_000
	}
	url := storetest.EmptyURL(t)
	pool := open(t, url)
	migrateTo(t, pool, 1)
	_, err := pool.Exec(t.Context(), `INSERT INTO teams (name) SELECT i::text FROM generate_series(1, $1) AS i`, teams)
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), `INSERT INTO users (email, password_hash) SELECT i || '@example.com', 'x' FROM generate_series(1, $1) AS i`, teams)
	require.NoError(t, err)
	load := open(t, url, setting("session_replication_role", "replica")) // without five million looks at teams
	_, err = load.Exec(t.Context(), `
		INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address)
		SELECT 1 + i % $2, 1 + i % $2, (ARRAY['SIGN_IN', 'SIGN_OUT', 'UPDATE_ACCOUNT'])[1 + i % 3], '2024-01-01'::timestamp + i * interval '1 second', '203.0.113.7'
		FROM generate_series(1, $1) AS i`, rows, teams)
	require.NoError(t, err)

	service := open(t, url, setting("lock_timeout", "1000"), func(config *pgxpool.Config) { config.MaxConns = writers })
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	failed := make(chan error, writers)
	var mu sync.Mutex
	var took []time.Duration
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			var mine []time.Duration
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				took = append(took, mine...)
			}()
			for n := i; ctx.Err() == nil; n += writers {
				started := time.Now()
				_, err := service.Exec(t.Context(), `INSERT INTO activity_logs (team_id, user_id, action, ip_address) VALUES ($1, $1, 'SIGN_IN', '203.0.113.7')`, 1+n%teams)
				if err != nil {
					failed <- err
					return
				}
				mine = append(mine, time.Since(started))
			}
		})
	}
	started := time.Now()
	results, err := schema.Migrate(t.Context(), pool)
	migrated := time.Since(started)
	stop()
	all.Wait()
	require.NoError(t, err)
	close(failed)
	for err := range failed {
		require.NoError(t, err)
	}
	require.NoError(t, schema.Verify(t.Context(), pool))
	var kept int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM activity_logs`).Scan(&kept))
	require.Equal(t, rows+len(took), kept)

	slices.Sort(took)
	require.NotEmpty(t, took)
	for _, r := range results {
		t.Logf("%s: %s", r.Name, r.Duration.Round(time.Millisecond))
	}
	t.Logf("%d rows migrated in %s beside %d writers, who inserted %d: p50 %s, p99 %s, max %s", rows, migrated.Round(time.Millisecond), writers, len(took),
		took[len(took)/2].Round(time.Microsecond), took[len(took)*99/100].Round(time.Microsecond), took[len(took)-1].Round(time.Microsecond))
}
