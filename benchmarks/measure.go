package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	workers     = 16
	fewestCalls = 3 // of one contender in a round
)

// effort is how much is measured.
type effort struct {
	rounds  int           // of all contenders, one after the other
	segment time.Duration // about how long one contender is timed in a round, by the Store's pace
}

// entrant is a contender with its connections.
type entrant struct {
	contender
	alone, counted, distant, many *session
	wire                          *wire
	backends                      []int // the server's processes behind alone
}

// round is what one contender did in one round: of one call.
type round struct {
	p10, p50       time.Duration
	client, server time.Duration // CPU
	allocs, bytes  float64       // 0 where they can't be counted
	throughput     float64       // calls a second with all workers
	distant        time.Duration
}

// figures are one contender's in one operation.
type figures struct {
	rounds        []round
	p10, p50, p99 time.Duration // of all calls
	roundTrips    float64
}

// measured is an operation with its figures by contender, nil where it takes no part.
type measured struct {
	operation
	calls   // a round
	figures []*figures
}

// calls are how many one contender makes in a round, by the Store's pace: so many that the
// Store is timed for about a segment alone, and for one with all workers. The first ones are
// not counted, since the others have had the caches meanwhile.
type calls struct {
	firstAlone, alone int
	firstMany, many   int // shared by all workers
	distant           int
}

// race measures the contenders on a house.
type race struct {
	h        *house
	far      *proxy
	entrants []*entrant
	effort   effort
	order    *rand.Rand // the same in every run
	log      io.Writer
}

func newRace(ctx context.Context, h *house, contenders []contender, e effort, log io.Writer) (_ *race, err error) {
	config, err := h.config()
	if err != nil {
		return nil, err
	}
	r := &race{h: h, effort: e, order: rand.New(rand.NewPCG(1, 1)), log: log}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if r.far, err = newFar(config); err != nil {
		return nil, err
	}
	for i, c := range contenders {
		n := &entrant{contender: c}
		r.entrants = append(r.entrants, n)
		if n.wire, err = newWire(config); err != nil {
			return nil, err
		}
		named := config.Copy()
		named.RuntimeParams["application_name"] = fmt.Sprintf("contender %d", i)
		if n.alone, err = c.open(ctx, named, 1); err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		if err = n.alone.connect(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		if n.backends, err = h.backends(ctx, named.RuntimeParams["application_name"]); err != nil {
			return nil, err
		}
		for _, one := range []struct {
			to     **session
			config *pgx.ConnConfig
			conns  int
		}{{&n.counted, n.wire.on(config), 1}, {&n.distant, r.far.on(config), 1}, {&n.many, config, workers}} {
			if *one.to, err = c.open(ctx, one.config, one.conns); err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	return r, nil
}

func (r *race) close() {
	for _, n := range r.entrants {
		for _, s := range []*session{n.alone, n.counted, n.distant, n.many} {
			if s != nil {
				s.close()
			}
		}
		if n.wire != nil {
			n.wire.close()
		}
	}
	if r.far != nil {
		r.far.close()
	}
}

func (r *race) measure(ctx context.Context, op operation) (measured, error) {
	m := measured{operation: op, figures: make([]*figures, len(r.entrants))}
	if err := r.h.exec(ctx, "VACUUM ANALYZE"); err != nil {
		return m, err
	}
	started := time.Now()
	for i, n := range r.entrants {
		if n.alone.action(op.kind).run == nil {
			continue
		}
		m.figures[i] = &figures{rounds: make([]round, r.effort.rounds)}
		if err := r.warm(ctx, op, n, m.figures[i]); err != nil {
			return m, fmt.Errorf("%s: %s: %w", op.name, n.name, err)
		}
	}
	var err error
	if m.calls, err = r.calls(ctx, op); err != nil {
		return m, err
	}
	turns := r.effort.rounds
	if m.alone == fewestCalls { // of what is slow
		turns = max(turns/4, 1)
	}
	samples := make([][]time.Duration, len(r.entrants))
	for turn := range turns {
		// Nobody is always the first, or always follows the one that leaves the least in the caches.
		for _, i := range r.order.Perm(len(r.entrants)) {
			if m.figures[i] == nil {
				continue
			}
			taken, err := r.runRound(ctx, op, r.entrants[i], m.calls, &m.figures[i].rounds[turn])
			if err != nil {
				return m, fmt.Errorf("%s: %s: %w", op.name, r.entrants[i].name, err)
			}
			samples[i] = append(samples[i], taken...)
		}
	}
	for i, f := range m.figures {
		if f != nil {
			f.rounds = f.rounds[:turns]
			slices.Sort(samples[i])
			f.p10, f.p50, f.p99 = quantile(samples[i], 0.10), quantile(samples[i], 0.50), quantile(samples[i], 0.99)
		}
	}
	fmt.Fprintf(r.log, "%-28s %4d calls × %d rounds  %v\n", op.name, m.alone, turns, time.Since(started).Round(100*time.Millisecond))
	return m, nil
}

// warm lets a contender prepare its statements, on every connection and for longer than
// the five plans after which the server may keep one; and counts its round trips.
func (r *race) warm(ctx context.Context, op operation, n *entrant, f *figures) error {
	calls, many := 8, 8*workers
	if op.kind == logRows { // its one statement is planned by its first call
		calls, many = 2, 0
	}
	if n.alone.elsewhere != nil { // a compiler to warm as well
		calls = 50
	}
	inputs, err := op.inputs(r.h, ctx, 4*calls+many)
	if err != nil {
		return err
	}
	take := func(count int) []input {
		taken := inputs[:count]
		inputs = inputs[count:]
		return taken
	}
	for _, s := range []*session{n.alone, n.distant, n.counted} {
		if err := s.all(ctx, op.kind, take(calls)); err != nil {
			return err
		}
	}
	before := n.wire.roundTrips.Load()
	if err := n.counted.all(ctx, op.kind, take(calls)); err != nil {
		return err
	}
	f.roundTrips = float64(n.wire.roundTrips.Load()-before) / float64(calls)
	_, err = n.many.atOnce(ctx, op.kind, inputs)
	return err
}

// calls times the Store.
func (r *race) calls(ctx context.Context, op operation) (calls, error) {
	const alone, many = 5, 2 * workers
	inputs, err := op.inputs(r.h, ctx, alone+many)
	if err != nil {
		return calls{}, err
	}
	// within is how many calls fit in a segment.
	within := func(elapsed time.Duration, calls int) int {
		return int(r.effort.segment * time.Duration(calls) / elapsed)
	}
	st := r.entrants[0]
	started := time.Now()
	if err := st.alone.all(ctx, op.kind, inputs[:alone]); err != nil {
		return calls{}, err
	}
	elapsed := time.Since(started)
	if elapsed > alone*50*time.Millisecond {
		return calls{alone: fewestCalls, many: workers, distant: 1}, nil
	}
	c := calls{firstAlone: 10, alone: min(max(within(elapsed, alone), fewestCalls+1), 2000), distant: 20}
	elapsed, err = st.many.atOnce(ctx, op.kind, inputs[alone:])
	c.many = min(max(within(elapsed, many), many), 20_000)
	c.firstMany = min(4*workers, c.many/2)
	return c, err
}

func (r *race) runRound(ctx context.Context, op operation, n *entrant, c calls, to *round) ([]time.Duration, error) {
	inputs, err := op.inputs(r.h, ctx, c.firstAlone+c.alone+c.firstMany+c.many+c.distant)
	if err != nil {
		return nil, err
	}
	take := func(count int) []input {
		taken := inputs[:count]
		inputs = inputs[count:]
		return taken
	}
	if err := n.alone.all(ctx, op.kind, take(c.firstAlone)); err != nil {
		return nil, err
	}
	samples := make([]time.Duration, c.alone)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	server := n.backendCPU()
	client, err := n.alone.inTurn(ctx, op.kind, take(c.alone), samples)
	if err != nil {
		return nil, err
	}
	server = n.backendCPU() - server
	runtime.ReadMemStats(&after)
	to.client, to.server = client/time.Duration(c.alone), server/time.Duration(c.alone)
	if n.alone.elsewhere == nil {
		to.allocs = float64(after.Mallocs-before.Mallocs) / float64(c.alone)
		to.bytes = float64(after.TotalAlloc-before.TotalAlloc) / float64(c.alone)
	}

	if _, err := n.many.atOnce(ctx, op.kind, take(c.firstMany)); err != nil {
		return nil, err
	}
	elapsed, err := n.many.atOnce(ctx, op.kind, take(c.many))
	if err != nil {
		return nil, err
	}
	to.throughput = float64(c.many) / elapsed.Seconds()

	away := make([]time.Duration, c.distant)
	if _, err := n.distant.inTurn(ctx, op.kind, take(c.distant), away); err != nil {
		return nil, err
	}
	slices.Sort(away)
	to.distant = quantile(away, 0.5)
	sorted := slices.Sorted(slices.Values(samples))
	to.p10, to.p50 = quantile(sorted, 0.1), quantile(sorted, 0.5)
	return samples, nil
}

// backendCPU is what the server has used for alone.
func (n *entrant) backendCPU() (sum time.Duration) {
	for _, pid := range n.backends {
		sum += backendCPU(pid)
	}
	return sum
}

// all makes calls one after the other.
func (s *session) all(ctx context.Context, k kind, inputs []input) error {
	_, err := s.inTurn(ctx, k, inputs, make([]time.Duration, len(inputs)))
	return err
}

// inTurn makes calls one after the other, sets how long each took, and returns the CPU
// that the client used for them.
func (s *session) inTurn(ctx context.Context, k kind, inputs []input, samples []time.Duration) (time.Duration, error) {
	if s.elsewhere != nil {
		t, err := s.elsewhere(ctx, k, inputs, 1)
		copy(samples, t.calls)
		return t.client, err
	}
	run, client := s.action(k).run, clientCPU()
	for i := range inputs {
		started := time.Now()
		err := run(ctx, &inputs[i])
		samples[i] = time.Since(started)
		if err != nil {
			return 0, err
		}
	}
	return clientCPU() - client, nil
}

// atOnce shares calls among the workers and returns how long they took.
func (s *session) atOnce(ctx context.Context, k kind, inputs []input) (time.Duration, error) {
	if s.elsewhere != nil {
		t, err := s.elsewhere(ctx, k, inputs, workers)
		return t.elapsed, err
	}
	run := s.action(k).run
	errs := make([]error, workers)
	start := make(chan struct{})
	var next atomic.Int64
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			<-start
			for errs[w] == nil {
				i := int(next.Add(1)) - 1
				if i >= len(inputs) {
					return
				}
				errs[w] = run(ctx, &inputs[i])
			}
		})
	}
	started := time.Now()
	close(start)
	group.Wait()
	return time.Since(started), errors.Join(errs...)
}

// quantile is of values in ascending order.
func quantile[T any](sorted []T, q float64) T {
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// connect makes a session's first call.
func (s *session) connect(ctx context.Context) error {
	if run := s.actions[userByID].run; run != nil {
		return run(ctx, &input{userID: 1})
	}
	return s.actions[teamWithMembers].run(ctx, &input{teamID: 1})
}
