package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/rowhouse/rowhouse/store"
)

// counts are what the server did for one call. They are exact, and the same on any machine.
type counts struct {
	buffers int // pages of tables and indexes that it looked at, in memory or not
	rows    int // that it fetched from tables

	updated, hot int // rows, and those of them that no index had to be told of

	relations map[string]relation
}

// relation is a table's or an index's part.
type relation struct {
	buffers, scans, updated, hot int
}

// errUndone rolls a transaction back on purpose.
var errUndone = errors.New("undone on purpose")

// undone rolls a call back.
func undone(c call) call {
	return func(ctx context.Context, st *store.Store) error {
		err := st.InTx(ctx, func(tx *store.Store) error {
			if err := c(ctx, tx); err != nil {
				return err
			}
			return errUndone
		})
		if errors.Is(err, errUndone) {
			return nil
		}
		return err
	}
}

// count makes a call in a transaction, where the server counts what it does before it tells
// everybody.
func count(ctx context.Context, st *store.Store, c call) (n counts, err error) {
	err = st.InTx(ctx, func(tx *store.Store) error {
		before, err := countsOf(ctx, tx)
		if err != nil {
			return err
		}
		if err := c(ctx, tx); err != nil {
			return err
		}
		after, err := countsOf(ctx, tx)
		n = after.minus(before)
		return err
	})
	return n, err
}

func countsOf(ctx context.Context, tx *store.Store) (counts, error) {
	n := counts{relations: map[string]relation{}}
	rows, err := tx.Conn().Query(ctx, `SELECT relname::text, relkind = 'r', pg_stat_get_xact_blocks_fetched(oid), pg_stat_get_xact_numscans(oid),
			pg_stat_get_xact_tuples_fetched(oid) + CASE WHEN relkind = 'r' THEN pg_stat_get_xact_tuples_returned(oid) ELSE 0 END,
			pg_stat_get_xact_tuples_updated(oid), pg_stat_get_xact_tuples_hot_updated(oid)
		FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i')`)
	if err != nil {
		return n, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var table bool
		var read int
		var r relation
		if err := rows.Scan(&name, &table, &r.buffers, &r.scans, &read, &r.updated, &r.hot); err != nil {
			return n, err
		}
		n.relations[name] = r
		n.buffers += r.buffers
		n.rows += read // of a table by no index, or by this one
		if table {
			n.updated += r.updated
			n.hot += r.hot
		}
	}
	return n, rows.Err()
}

func (n counts) minus(before counts) counts {
	d := counts{
		buffers: n.buffers - before.buffers, rows: n.rows - before.rows,
		updated: n.updated - before.updated, hot: n.hot - before.hot,
		relations: map[string]relation{},
	}
	for name, r := range n.relations {
		b := before.relations[name]
		r = relation{r.buffers - b.buffers, r.scans - b.scans, r.updated - b.updated, r.hot - b.hot}
		if r != (relation{}) {
			d.relations[name] = r
		}
	}
	return d
}

// scans are searches in indexes, and of tables from end to end.
func (n counts) scans() (scans int) {
	for _, r := range n.relations {
		scans += r.scans
	}
	return scans
}

// point is what a call of an operation costs at one size.
type point struct {
	counts
	// Microseconds in each round: a call's time, its CPU, of that the server's, and its time
	// with a millisecond of network.
	p10, cpu, server, away []float64
	calls                  int // in each round
}

// subject is an operation on a dataset.
type subject struct {
	*dataset
	growing
}

// pace is how much is measured.
type pace struct {
	rounds  int
	segment time.Duration // about how long an operation is timed in a round
}

const (
	countedCalls = 11
	slowRounds   = 3
	mostReads    = 400 // of a round
	mostWrites   = 40  // so that the data stays about as large as it is said to be
)

// measure counts first, and then times all subjects in turns.
func (p pace) measure(ctx context.Context, subjects []subject) ([]point, error) {
	points := make([]point, len(subjects))
	for i, s := range subjects {
		if err := s.warm(ctx, &points[i], p.segment); err != nil {
			return nil, fmt.Errorf("%s: %w", s.growing.name, err)
		}
	}
	for round := range p.rounds {
		for i, s := range subjects {
			if s.slow && round >= slowRounds {
				continue
			}
			if err := s.time(ctx, &points[i]); err != nil {
				return nil, fmt.Errorf("%s: %w", s.growing.name, err)
			}
		}
	}
	return points, nil
}

// warm has the statements planned for good, counts, and sees how many calls fit in a segment.
func (s subject) warm(ctx context.Context, p *point, segment time.Duration) error {
	warming, counting, fewest := 8, countedCalls, fewestCalls // more than the five plans after which the server may keep one
	if s.slow {
		warming, counting, fewest = 1, 1, 1
	}
	calls, err := s.calls(ctx, s.dataset, warming+counting)
	if err != nil {
		return err
	}
	fastest := time.Hour
	for _, c := range calls[:warming] {
		started := time.Now()
		if err := c(ctx, s.st); err != nil {
			return err
		}
		fastest = min(fastest, time.Since(started)+time.Microsecond)
	}
	most := mostReads
	if s.writes {
		most = mostWrites
	}
	p.calls = min(max(int(segment/fastest), fewest), most)
	p.counts, err = s.counted(ctx, calls[warming:])
	return err
}

// counted is the call in the middle: one may be the first on a new page.
func (d *dataset) counted(ctx context.Context, calls []call) (counts, error) {
	all := make([]counts, len(calls))
	for i, c := range calls {
		var err error
		if all[i], err = count(ctx, d.st, c); err != nil {
			return counts{}, err
		}
	}
	slices.SortFunc(all, func(a, b counts) int { return a.buffers - b.buffers })
	return all[len(all)/2], d.restore(ctx)
}

func (s subject) time(ctx context.Context, p *point) error {
	awaking, distant := 10, 20
	if s.slow {
		awaking, distant = 0, 1
	}
	calls, err := s.calls(ctx, s.dataset, awaking+p.calls+distant)
	if err != nil {
		return err
	}
	// The others have had the processor meanwhile.
	if _, err := inTurn(ctx, s.st, calls[:awaking]); err != nil {
		return err
	}
	calls = calls[awaking:]
	runtime.GC()
	client, server := clientCPU(), backendCPU(s.server)
	samples, err := inTurn(ctx, s.st, calls[:p.calls])
	if err != nil {
		return err
	}
	client, server = clientCPU()-client, backendCPU(s.server)-server
	each := func(cpu time.Duration) float64 { return float64(cpu) / 1e3 / float64(p.calls) }
	p.p10 = append(p.p10, float64(quantile(samples, 0.1))/1e3)
	p.cpu = append(p.cpu, each(client+server))
	p.server = append(p.server, each(server))
	if samples, err = inTurn(ctx, s.away, calls[p.calls:]); err != nil {
		return err
	}
	p.away = append(p.away, float64(quantile(samples, 0.5))/1e3)
	if !s.writes {
		return nil
	}
	return s.restore(ctx)
}

// inTurn makes calls one after the other, and returns how long they took, in ascending order.
func inTurn(ctx context.Context, st *store.Store, calls []call) ([]time.Duration, error) {
	samples := make([]time.Duration, len(calls))
	for i, c := range calls {
		started := time.Now()
		err := c(ctx, st)
		samples[i] = time.Since(started)
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(samples)
	return samples, nil
}
