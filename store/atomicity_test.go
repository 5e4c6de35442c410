package store_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/store"
)

// For each operation, a failure at each table that it writes leaves every table as it
// was. A trigger fails it, because a CHECK would let a DELETE pass.
func TestEachOperationIsAtomic(t *testing.T) {
	t.Parallel()
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			st := newStore(t)
			exec(t, st, `CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'injected'; END $$`)
			for _, table := range op.writes {
				run := op.prepare(t, st)
				exec(t, st, `CREATE TRIGGER injected AFTER INSERT OR UPDATE OR DELETE ON `+table+` FOR EACH ROW EXECUTE FUNCTION fail()`)
				before := snapshot(t, st)
				require.ErrorContains(t, run(st), "injected", table)
				require.Equal(t, before, snapshot(t, st), table)

				// In a transaction, what came before the operation goes with it.
				require.ErrorContains(t, st.InTx(t.Context(), func(tx *store.Store) error {
					if table != activityLogs {
						exec(t, tx, `INSERT INTO activity_logs (team_id, action) SELECT min(id), 'BEFORE' FROM teams HAVING min(id) IS NOT NULL`)
					}
					return run(tx)
				}), "injected", table)
				require.Equal(t, before, snapshot(t, st), table)
				exec(t, st, `DROP TRIGGER injected ON `+table)
			}

			// What it is said to write is what it writes, so that no table is left out above.
			run := op.prepare(t, st)
			before := snapshot(t, st)
			require.NoError(t, run(st))
			after := snapshot(t, st)
			var changed []string
			for _, table := range tables {
				if !slices.Equal(before[table], after[table]) {
					changed = append(changed, table)
				}
			}
			require.ElementsMatch(t, op.writes, changed)
		})
	}
}

// A transaction can still fail when it commits. The rows that a statement returned are no
// success until then.
func TestEachOperationFailsWhenItsCommitDoes(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	exec(t, st, `CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'injected'; END $$`)
	for _, op := range operations {
		run := op.prepare(t, st)
		for _, table := range op.writes {
			exec(t, st, `CREATE CONSTRAINT TRIGGER injected AFTER INSERT OR UPDATE OR DELETE ON `+table+`
				DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail()`)
		}
		before := snapshot(t, st)
		if err := run(st); op.writes == nil {
			require.NoError(t, err, op.name)
		} else {
			require.ErrorContains(t, err, "injected", op.name)
		}
		require.Equal(t, before, snapshot(t, st), op.name)
		for _, table := range op.writes {
			exec(t, st, `DROP TRIGGER injected ON `+table)
		}
	}
}

// An operation whose client is gone before the commit leaves nothing: the same, seen
// from a transaction that the caller gives up.
func TestEachOperationIsUndoneByRollback(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	for _, op := range operations {
		run := op.prepare(t, st)
		before := snapshot(t, st)
		require.ErrorIs(t, st.InTx(t.Context(), func(tx *store.Store) error {
			require.NoError(t, run(tx), op.name)
			return errGivenUp
		}), errGivenUp)
		require.Equal(t, before, snapshot(t, st), op.name)
	}
}
