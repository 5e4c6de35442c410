package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rowhouse/rowhouse/internal/throwaway"
)

// injector breaks things, one after the other.
type injector struct {
	server *throwaway.Server
	proxy  *proxy
	world  *world
	random *rand.Rand
	counts *counter
	locks  sync.WaitGroup // sessions that hold rows
}

// fault is something that the injector does, so often in so many.
type fault struct {
	weight int
	do     func(*injector, context.Context) error
}

var faults = []fault{
	{4, func(i *injector, ctx context.Context) error {
		return i.signal(ctx, "backend terminated", "pg_terminate_backend", "")
	}},
	{4, func(i *injector, ctx context.Context) error {
		return i.signal(ctx, "statement canceled", "pg_cancel_backend", "AND state = 'active'")
	}},
	{3, wire(cutNow)},
	{3, wire(loseRequest)},
	{3, wire(halveRequest)},
	{4, wire(loseAnswer)},
	{3, wire(halveAnswer)},
	{3, wire(delay)},
	{2, wire(blackHole)},
	{3, func(i *injector, ctx context.Context) error {
		return i.lock("team locked", "SELECT FROM teams WHERE id = $1 FOR UPDATE", i.world.someTeam(i.random))
	}},
	{2, func(i *injector, ctx context.Context) error {
		return i.lock("user locked", "SELECT FROM users WHERE id = $1 FOR UPDATE", i.world.someUser(i.random))
	}},
}

// The server goes down now and then, for a while, in one of these ways.
var endings = func() []throwaway.Ending {
	if runtime.GOOS != "linux" {
		return []throwaway.Ending{throwaway.Fast, throwaway.Immediate}
	}
	return []throwaway.Ending{throwaway.Fast, throwaway.Immediate, throwaway.Killed}
}()

func (i *injector) run(ctx context.Context, until time.Time) error {
	defer i.locks.Wait()
	total := 0
	for _, f := range faults {
		total += f.weight
	}
	restart := time.Now().Add(i.between(2*time.Second, 6*time.Second))
	for time.Now().Before(until) && ctx.Err() == nil {
		if time.Now().After(restart) {
			if err := i.restart(ctx); err != nil {
				return err
			}
			restart = time.Now().Add(i.between(3*time.Second, 9*time.Second))
		}
		n := i.random.IntN(total)
		for _, f := range faults {
			if n -= f.weight; n < 0 {
				if err := f.do(i, ctx); err != nil {
					return err
				}
				break
			}
		}
		select {
		case <-time.After(i.between(5*time.Millisecond, 60*time.Millisecond)):
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

func (i *injector) between(least, most time.Duration) time.Duration {
	return least + time.Duration(i.random.Int64N(int64(most-least)))
}

func (i *injector) restart(ctx context.Context) error {
	how := endings[i.random.IntN(len(endings))]
	down := i.between(0, 600*time.Millisecond)
	if err := i.server.Halt(ctx, how); err != nil {
		return err
	}
	i.counts.add(fmt.Sprintf("server down, %s", how))
	time.Sleep(down) // the fault itself
	return i.server.Resume(ctx)
}

func wire(kind wireFault) func(*injector, context.Context) error {
	return func(i *injector, _ context.Context) error {
		if i.proxy.strike(kind, i.random) {
			i.counts.add(string(kind))
		}
		return nil
	}
}

// signal calls one of the server's functions for one of the pool's sessions.
func (i *injector) signal(ctx context.Context, name, function, which string) error {
	number := i.random.Int()
	return direct(ctx, i.server, func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, "SELECT pid FROM pg_stat_activity WHERE application_name = $1 "+which, poolName)
		if err != nil {
			return err
		}
		pids, err := pgx.CollectRows(rows, pgx.RowTo[int32])
		if err != nil || len(pids) == 0 {
			return err
		}
		slices.Sort(pids)
		var done bool
		err = conn.QueryRow(ctx, "SELECT "+function+"($1)", pids[number%len(pids)]).Scan(&done)
		if done {
			i.counts.add(name)
		}
		return err
	})
}

// lock holds a row for a while, beside everything else. It may outlive the server.
func (i *injector) lock(name, sql string, id int64) error {
	if id == 0 {
		return nil
	}
	hold := i.between(50*time.Millisecond, 800*time.Millisecond)
	i.locks.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = direct(ctx, i.server, func(conn *pgx.Conn) error {
			tx, err := conn.Begin(ctx)
			if err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, sql, id); err != nil {
				return err
			}
			i.counts.add(name)
			time.Sleep(hold) // the fault itself: others wait
			return tx.Rollback(ctx)
		})
	})
	return nil
}
