package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/store"
)

// Each lie of a Store is found, by the check that is there for it. So a run without a
// problem says something.
func TestPlantedBugsAreFound(t *testing.T) {
	honest := func(ctx context.Context, st *store.Store, op *operation) error { return op.run(ctx, st) }
	var calls atomic.Int64 // that went well
	for _, bug := range []struct {
		name string
		call func(context.Context, *store.Store, *operation) error
		says string
	}{
		{"none", honest, ""},
		{"sent again after an answer was lost", func(ctx context.Context, st *store.Store, op *operation) error {
			err := op.run(ctx, st)
			if errors.Is(err, store.ErrOutcomeUnknown) || err == nil && calls.Add(1)%50 == 0 {
				return op.run(context.WithoutCancel(ctx), st)
			}
			return err
		}, "is there"},
		{"happened, and said to have failed", func(ctx context.Context, st *store.Store, op *operation) error {
			err := op.run(ctx, st)
			if errors.Is(err, store.ErrOutcomeUnknown) || err == nil && calls.Add(1)%50 == 0 {
				return errors.New("lost")
			}
			return err
		}, ", failed) is there"},
		{"acknowledged, and rolled back", func(ctx context.Context, st *store.Store, op *operation) error {
			if op.name != "RenameTeam" {
				return op.run(ctx, st)
			}
			var err error
			_ = st.InTx(ctx, func(tx *store.Store) error {
				err = op.run(ctx, tx)
				return errOnPurpose
			})
			return err
		}, "acknowledged) is not there"},
		{"several transactions", func(ctx context.Context, st *store.Store, op *operation) error {
			if op.name != "InTx in opposite order" && op.name != "RecordActivities" {
				return op.run(ctx, st)
			}
			return errors.Join(op.run(ctx, st), op.run(ctx, st))
		}, "in part, or more than once"},
		{"a state without its log row", func(ctx context.Context, st *store.Store, op *operation) error {
			if op.name == "SetSeatLimit" {
				_, err := st.Conn().Exec(ctx, "UPDATE teams SET seat_limit = 1000 WHERE id = $1", op.team)
				return err
			}
			return op.run(ctx, st)
		}, "seats 1000"},
		{"a connection that is never given back", func(ctx context.Context, st *store.Store, op *operation) error {
			if op.name == "DeclineInvitation" {
				_, err := st.Conn().Begin(ctx)
				return err
			}
			return op.run(ctx, st)
		}, "never given back"},
		{"a goroutine that is left", func(ctx context.Context, st *store.Store, op *operation) error {
			if op.name == "LeaveTeam" {
				go time.Sleep(10 * time.Second) // longer than goroutines are waited for
			}
			return op.run(ctx, st)
		}, "goroutines are left"},
	} {
		t.Run(bug.name, func(t *testing.T) {
			r, err := run(t.Context(), config{duration: 2 * time.Second, seed: 1, workers: 24, connections: 10, patience: 5 * time.Second, call: bug.call})
			require.NotNil(t, r, "%v", err)
			if bug.says == "" {
				r.print(os.Stdout)
				require.NoError(t, err)
				require.Empty(t, r.problems)
				return
			}
			problems := strings.Join(r.problems, "\n")
			require.Contains(t, problems, bug.says)
			t.Logf("%d problems, the first one: %.200s", len(r.problems)+r.omitted, r.problems[0])
		})
	}
}
