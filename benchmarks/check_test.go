package main

import (
	"context"
	"encoding/xml"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rowhouse/rowhouse/internal/throwaway"
)

func smallHouse(t *testing.T) *house {
	t.Helper()
	server, err := throwaway.Start(t.Context(), throwaway.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	h, err := newHouse(t.Context(), server, "small", small)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func stagedHouse(t *testing.T) *house {
	t.Helper()
	h := smallHouse(t)
	if err := h.stage(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestContendersDoTheSame(t *testing.T) {
	if err := check(t.Context(), stagedHouse(t), contenders); err != nil {
		t.Fatal(err)
	}
}

// A check that finds nothing in what is broken is none.
func TestTheCheckFindsWhatIsBroken(t *testing.T) {
	h := stagedHouse(t)
	for name, broken := range map[string]struct {
		kind   kind
		result func(context.Context, *input) (any, error)
		finds  string
	}{
		"a result that differs":   {userByID, func(context.Context, *input) (any, error) { return canonicalUser{ID: 1}, nil }, "user by id"},
		"an operation that fails": {credentials, func(context.Context, *input) (any, error) { return nil, errNotFound }, "credentials: failed"},
		"a rule that is not kept": {remove, func(context.Context, *input) (any, error) { return "done", nil }, "remove the last owner: not refused"},
		"a write that is left out": {logRow, func(_ context.Context, in *input) (any, error) {
			if in.rows[0].TeamID > 11 {
				return nil, errNotFound
			}
			return "done", nil
		}, "one log row: nothing more"},
		"an event that is let go by": {subscriptionEvent, func(context.Context, *input) (any, error) { return canonicalOutcome{Outcome: "applied"}, nil }, "an event of nobody's customer: not refused"},
	} {
		t.Run(name, func(t *testing.T) {
			wrong := plainly
			wrong.name = "wrong"
			wrong.open = func(ctx context.Context, config *pgx.ConnConfig, conns int) (*session, error) {
				s, err := plainly.open(ctx, config, conns)
				if err == nil {
					s.actions[broken.kind].result = broken.result
				}
				return s, err
			}
			err := check(t.Context(), h, []contender{rowhouse, wrong})
			if err == nil || !strings.Contains(err.Error(), "wrong: "+broken.finds) {
				t.Fatalf("found %v, wanted %q", err, broken.finds)
			}
		})
	}
}

// A round of all: everything that is measured is, and the counts are what they must be.
func TestARound(t *testing.T) {
	h := smallHouse(t)
	if err := checkReads(t.Context(), h, contenders); err != nil {
		t.Fatal(err)
	}
	r, err := newRace(t.Context(), h, contenders, effort{1, time.Millisecond}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	var all []measured
	for _, op := range operationsOn(small) {
		m, err := r.measure(t.Context(), op)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
		for i, c := range contenders {
			f := m.figures[i]
			if f == nil {
				continue
			}
			if one := i <= 4; one != (f.roundTrips == 1) && (one || op.writes) {
				t.Errorf("%s: %s makes %v round trips", op.name, c.name, f.roundTrips)
			}
			if x := f.rounds[0]; x.p50 <= 0 || x.distant < 2*oneWay || x.throughput <= 0 || x.allocs <= 0 {
				t.Errorf("%s: %s: %+v", op.name, c.name, x)
			}
		}
	}
	var b strings.Builder
	rep := report{&b, contenders, all}
	rep.summary()
	rep.againstHand()
	rep.matrix("Throughput", throughput)
	rep.details()
	if err := rep.plans(t.Context(), h, operationsOn(small)); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(b.String(), "\n") {
		if strings.Contains(line, "NaN") || strings.Contains(line, "Inf") {
			t.Errorf("no number: %s", line)
		}
	}
	if err := xml.Unmarshal([]byte(rep.chart()), new(struct{})); err != nil {
		t.Errorf("the chart: %v", err)
	}
}
