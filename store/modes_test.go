package store_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/store"
)

var execModes = []pgx.QueryExecMode{
	pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
	pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
}

// Services behind a pooler choose a mode that prepares nothing: every operation works in
// each, alone and in a transaction.
func TestOperationsInEachExecMode(t *testing.T) {
	t.Parallel()
	for _, mode := range execModes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			st := newStore(t, func(config *pgxpool.Config) { config.ConnConfig.DefaultQueryExecMode = mode })
			for _, op := range operations {
				t.Run(op.name, func(t *testing.T) {
					require.NoError(t, op.prepare(t, st)(st))
					require.NoError(t, st.InTx(t.Context(), op.prepare(t, st)))
				})
			}
		})
	}
}

// An id that no row has is not found in each mode, and leaves a transaction usable.
func TestUnknownIDsInEachExecMode(t *testing.T) {
	t.Parallel()
	for _, mode := range execModes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			st := newStore(t, func(config *pgxpool.Config) { config.ConnConfig.DefaultQueryExecMode = mode })
			h := newHouse(t, st)
			for _, id := range unknown(h.team.ID) {
				t.Run(id.is, func(t *testing.T) {
					require.NoError(t, st.InTx(t.Context(), func(tx *store.Store) error {
						_, err := tx.Team(t.Context(), id.value)
						require.ErrorIs(t, err, store.ErrNotFound)
						members, _, err := tx.Members(t.Context(), id.value, store.Page{})
						require.NoError(t, err)
						require.Empty(t, members)
						return nil
					}))
				})
			}
		})
	}
}
