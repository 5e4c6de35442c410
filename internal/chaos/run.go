package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/pprof"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/rowhouse/rowhouse/internal/throwaway"
	"github.com/rowhouse/rowhouse/store"
)

type config struct {
	duration    time.Duration
	seed        uint64
	workers     int
	connections int
	calm        time.Duration                                         // the workers go on for so long when all works again; not checked when 0
	patience    time.Duration                                         // with what has to end
	call        func(context.Context, *store.Store, *operation) error // nil is what the operation does
}

const (
	recovery     = 2 * time.Second // after the last fault: then nothing may fail any more
	verification = 3 * time.Minute
)

// run does all of it. The report is nil when it could not begin.
func run(ctx context.Context, c config) (r *report, err error) {
	before := goleak.IgnoreCurrent()
	server, err := startServer(ctx)
	if err != nil {
		return nil, err
	}
	r = newReport(server.Provider)
	err = r.chaos(ctx, c, server)
	if err = errors.Join(err, stopServer(server)); err == nil && len(r.problems) == 0 { // which may be why some are left
		if leak := eventually(ctx, c.patience, func() error { return goleak.Find(before) }); leak != nil {
			r.problem("goroutines are left: %v", leak)
		}
		r.check("goroutines left")
	}
	return r, err
}

func (r *report) chaos(ctx context.Context, c config, server *throwaway.Server) error {
	p, err := startProxy(server.URL)
	if err != nil {
		return err
	}
	defer p.close()
	poolConfig, err := pgxpool.ParseConfig(p.url())
	if err != nil {
		return err
	}
	poolConfig.MaxConns = int32(c.connections)
	poolConfig.ConnConfig.ConnectTimeout = 2 * time.Second
	poolConfig.PingTimeout = time.Second
	poolConfig.ConnConfig.Tracer = tracer{}
	pool, err := pgxpool.NewWithConfig(ctx, poolConfig)
	if err != nil {
		return err
	}

	team := &crew{st: store.New(pool), world: &world{}, ledger: newLedger(), report: r, call: c.call}
	if team.call == nil {
		team.call = func(ctx context.Context, st *store.Store, op *operation) error { return op.run(ctx, st) }
	}
	var workers sync.WaitGroup
	for n := range c.workers {
		random := rand.New(rand.NewPCG(c.seed, uint64(n)+1))
		workers.Go(func() { team.work(ctx, random) })
	}
	begin := time.Now()
	i := &injector{server: server, proxy: p, world: team.world, random: rand.New(rand.NewPCG(c.seed, 0)), counts: r.faults}
	err = i.run(ctx, begin.Add(c.duration))
	p.settle()
	r.duration = time.Since(begin)
	if err == nil && c.calm > 0 {
		time.Sleep(recovery) // the time that the pool is promised to need at most
		team.settled.Store(true)
		time.Sleep(c.calm) // while the workers go on
		r.check("no failure from %s after the last fault on", recovery)
	}
	team.done.Store(true)
	if err := within(c.patience+patience, workers.Wait); err != nil {
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		return fmt.Errorf("workers hang: %w", err)
	}
	if err != nil { // or an interrupt
		return errors.Join(err, within(c.patience, pool.Close))
	}
	r.checkPool(ctx, c.patience, pool, server)
	ctx, cancel := context.WithTimeout(ctx, verification)
	defer cancel()
	return r.verify(ctx, server, team.ledger)
}

// checkPool proves that every connection came back, to the pool and to the server.
func (r *report) checkPool(ctx context.Context, patience time.Duration, pool *pgxpool.Pool, server *throwaway.Server) {
	if err := eventually(ctx, patience, func() error { // a broken one is given back behind the operation's back
		if n := pool.Stat().AcquiredConns(); n != 0 {
			return fmt.Errorf("%d connections were never given back to the pool", n)
		}
		return nil
	}); err != nil {
		r.problem("%v", err)
		return // it can't be closed
	}
	r.check("connections given back to the pool")
	if n, err := sessions(ctx, server); err != nil || n == 0 {
		r.problem("no session of the pool is on the server before it is closed, %v: what comes next proves nothing", err)
	}
	if err := within(patience, pool.Close); err != nil {
		r.problem("the pool can't be closed: %v", err)
	}
	if err := eventually(ctx, patience, func() error {
		n, err := sessions(ctx, server)
		if err == nil && n > 0 {
			err = fmt.Errorf("%d sessions of the closed pool are on the server", n)
		}
		return err
	}); err != nil {
		r.problem("%v", err)
	}
	r.check("sessions left on the server")
}

// within waits for f, but not for ever.
func within(limit time.Duration, f func()) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
		return nil
	case <-time.After(limit):
		return fmt.Errorf("not after %s", limit)
	}
}

// eventually calls f until it succeeds, and returns its error when it never does.
func eventually(ctx context.Context, limit time.Duration, f func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := f()
		if err == nil || time.Now().After(deadline) || ctx.Err() != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}
