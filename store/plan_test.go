package store_test

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/store"
)

// No operation reads a table from end to end, nor more rows than it is about, with the
// plan that it keeps once it is warm. Nor does it when it was planned on empty tables,
// where reading everything costs least: the next ANALYZE (autovacuum's, a minute after a
// new service's first rows) has it planned again.
func TestEachOperationReadsFewRows(t *testing.T) {
	t.Parallel()
	for name, plannedEmpty := range map[string]bool{"planned on full, analyzed tables": false, "planned on empty tables, which were then filled and analyzed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !plannedEmpty {
				databaseSetting(t, "plan_cache_mode", "force_generic_plan")
			}
			st := newStore(t, func(config *pgxpool.Config) { config.MaxConns = 1 })
			if plannedEmpty {
				for range 8 { // the sixth run may get a generic plan
					for _, op := range operations {
						require.NoError(t, op.prepare(t, st)(st))
					}
				}
			}
			fill(t, st, 20000)
			exec(t, st, "ANALYZE")
			for _, op := range operations {
				run := op.prepare(t, st)
				require.NoError(t, st.InTx(t.Context(), func(tx *store.Store) error {
					scanned, fetched := rowsRead(t, tx)
					require.NoError(t, run(tx), op.name)
					scannedAfter, fetchedAfter := rowsRead(t, tx)
					assert.Zero(t, scannedAfter-scanned, "%s: rows of tables read from end to end", op.name)
					assert.LessOrEqual(t, fetchedAfter-fetched, 60, "%s: rows read by an index", op.name)
					return nil
				}))
			}
		})
	}
}

func rowsRead(t *testing.T, tx *store.Store) (scanned, fetched int) {
	t.Helper()
	require.NoError(t, tx.Conn().QueryRow(t.Context(), `SELECT sum(seq_tup_read)::int, sum(idx_tup_fetch)::int
		FROM pg_stat_xact_user_tables WHERE relname = ANY ($1)`, tables).Scan(&scanned, &fetched))
	return scanned, fetched
}

// fill makes n teams, each with an owner, a member, an invitation and four log rows.
func fill(t *testing.T, st *store.Store, n int) {
	t.Helper()
	for _, sql := range []string{
		`INSERT INTO teams (name) SELECT 'team ' || i FROM generate_series(1, $1::int) AS i`,
		`INSERT INTO subscriptions (id, team_id, stripe_customer_id, status, cancel_at_period_end, created_at, event_created_at)
			SELECT 'sub_filler' || i, i, 'cus_filler' || i, 'active', false, '2026-01-01', '2026-01-01' FROM generate_series(1, $1::int) AS i`,
		`INSERT INTO subscription_events (id, type, created_at, received_at) SELECT 'evt_filler' || i, 'type', '2026-01-01', '2026-01-01' FROM generate_series(1, $1::int) AS i`,
		`INSERT INTO users (email, password_hash) SELECT 'filler' || i || '@example.com', 'hash' FROM generate_series(1, 2 * $1::int) AS i`,
		`INSERT INTO team_members (user_id, team_id, role) SELECT i, 1 + i % $1::int, CASE WHEN i <= $1 THEN 'owner' ELSE 'member' END FROM generate_series((SELECT 1 + coalesce(max(user_id), 0) FROM team_members), 2 * $1::int) AS i`,
		`INSERT INTO invitations (team_id, email, role, invited_by) SELECT i, 'guest' || i || '@example.com', 'member', i FROM generate_series(1, $1::int) AS i`,
		`INSERT INTO activity_logs (team_id, user_id, action) SELECT 1 + i % $1::int, 1 + i % $1::int, 'FILLER' FROM generate_series(1, 4 * $1::int) AS i`,
	} {
		exec(t, st, sql, n)
	}
}

// A plan is kept also where some teams are far larger than most. A plan for one of the
// small ones alone looks cheaper than the kept one, and Postgres would make it at every
// call, which takes longer than to read the team.
func TestPlansAreKeptWhereTeamsDiffer(t *testing.T) {
	t.Parallel()
	st := newStore(t, func(config *pgxpool.Config) { config.MaxConns = 1 })
	var version int
	require.NoError(t, st.Conn().QueryRow(t.Context(), "SELECT current_setting('server_version_num')::integer").Scan(&version))
	if version < 140000 {
		t.Skip("the server does not count its plans")
	}
	h := newHouse(t, st)
	fill(t, st, 2000)
	exec(t, st, "INSERT INTO team_members (user_id, team_id, role) SELECT id, 7, 'member' FROM users WHERE id NOT IN (SELECT user_id FROM team_members WHERE team_id = 7)")
	exec(t, st, "ANALYZE")
	planned := func() (plans int) {
		require.NoError(t, st.Conn().QueryRow(t.Context(), "SELECT sum(custom_plans)::integer FROM pg_prepared_statements WHERE statement LIKE '%name: ListTeamMembers%'").Scan(&plans))
		return plans
	}
	read := func() {
		_, err := st.TeamWithMembers(t.Context(), h.team.ID)
		require.NoError(t, err)
	}
	for range 10 {
		read()
	}
	warm := planned()
	require.Positive(t, warm, "the statement is counted")
	for range 10 {
		read()
	}
	require.Equal(t, warm, planned(), "plans for one call")
}
