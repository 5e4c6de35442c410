package main

import (
	"context"
	"encoding/xml"
	"os"
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

// here are the contenders that can be run. That one can't is an error where CI has
// installed what it needs.
func here(t *testing.T) []contender {
	t.Helper()
	field, versions, absent := present(contenders)
	required := os.Getenv("ROWHOUSE_CONFORMANCE") == "required"
	for _, reason := range absent {
		if required {
			t.Fatal(reason)
		}
		t.Log(reason)
	}
	for _, v := range versions {
		t.Log(v)
	}
	return field
}

func TestContendersDoTheSame(t *testing.T) {
	if err := check(t.Context(), stagedHouse(t), here(t)); err != nil {
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

// What is declared is allowed, and must be there.
func TestTheCheckHoldsWhatIsDeclared(t *testing.T) {
	h := stagedHouse(t)
	loose := plainly
	loose.name = "loose"
	loose.open = func(ctx context.Context, config *pgx.ConnConfig, conns int) (*session, error) {
		s, err := plainly.open(ctx, config, conns)
		if err == nil {
			refused := s.actions[logRow].result
			s.actions[logRow].result = func(ctx context.Context, in *input) (any, error) {
				if in.rows[0].TeamID < 12 {
					return "done", nil // and nothing is
				}
				return refused(ctx, in)
			}
			s.actions[remove].result = func(context.Context, *input) (any, error) { return nil, errRefused }
		}
		return s, err
	}
	declared := func(edit func(*contender)) error {
		c := loose
		c.omissions = []omission{{table: "activity_logs", drop: wholly, why: "no log is kept"}}
		c.departures = []departure{{"remove", "is refused"}, {"remove one of two owners", "is refused"}}
		edit(&c)
		return check(t.Context(), h, []contender{rowhouse, c})
	}
	if err := declared(func(*contender) {}); err != nil {
		t.Errorf("what is declared is found: %v", err)
	}
	for finds, edit := range map[string]func(*contender){
		"one log row: nothing more": func(c *contender) { c.omissions = nil },
		"leaves nothing out by which a user has no role": func(c *contender) {
			c.omissions = append(c.omissions, omission{table: "users", drop: columns("role"), why: "a user has no role"})
		},
		"remove: failed":                     func(c *contender) { c.departures = c.departures[1:] },
		"accept: does the same as the Store": func(c *contender) { c.departures = append(c.departures, departure{"accept", "is refused"}) },
	} {
		if err := declared(edit); err == nil || !strings.Contains(err.Error(), "loose: "+finds) {
			t.Errorf("found %v, wanted %q", err, finds)
		}
	}
}

// However this process ends, what node reads ends with it.
func TestNodeEndsInTheMiddleOfACall(t *testing.T) {
	here(t)
	if _, err := nodePackages(); err != nil { // here has failed where it must not be so
		t.Skip(err)
	}
	h := smallHouse(t)
	config, err := h.config()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // by when it is killed
	defer cancel()
	d, err := startDrizzle(ctx, config, 1)
	if err != nil {
		t.Fatal(err)
	}
	// A read that waits for a lock which nobody gives up.
	tx, err := h.admin.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.WithoutCancel(t.Context()))
	if _, err := tx.Exec(t.Context(), "LOCK TABLE users"); err != nil {
		t.Fatal(err)
	}
	if err := d.asks.Encode(map[string]any{"command": "answer", "query": "userByID", "input": map[string]any{"userId": 1}}); err != nil {
		t.Fatal(err)
	}
	for waits := false; !waits; {
		if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)").Scan(&waits); err != nil {
			t.Fatal(err)
		}
	}
	d.close()
	if d.cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("node ended with %v: %s", d.cmd.ProcessState, &d.stderr)
	}
}

// A round of all: everything that is measured is, and the counts are what they must be.
func TestARound(t *testing.T) {
	h := smallHouse(t)
	contenders := here(t)
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
			// Drizzle prepares each statement anew, so that even its reads make two.
			if one := i <= 4; one != (f.roundTrips == 1) && (one || op.writes || c.name == withDrizzle.name) {
				t.Errorf("%s: %s makes %v round trips", op.name, c.name, f.roundTrips)
			}
			elsewhere := r.entrants[i].alone.elsewhere != nil
			if x := f.rounds[0]; x.p50 <= 0 || x.distant < 2*oneWay || x.throughput <= 0 || x.client <= 0 && elsewhere || (x.allocs > 0) == elsewhere {
				t.Errorf("%s: %s: %+v", op.name, c.name, x)
			}
		}
	}
	var b strings.Builder
	rep := report{&b, contenders, all}
	rep.summary()
	rep.departures()
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
