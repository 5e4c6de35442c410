package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/rowhouse/rowhouse/store"
)

const (
	patience     = 4 * time.Second // of a client that does not give up early
	calmPatience = 20 * time.Second
	repeats      = 5 // of what is safe to repeat after an unknown outcome
)

// crew is what all workers share.
type crew struct {
	st     *store.Store
	world  *world
	ledger *ledger
	report *report
	// call runs an operation: a test of the checks puts something wrong in its place.
	call func(context.Context, *store.Store, *operation) error

	settled atomic.Bool // no faults any more, and the pool has had its time to recover
	done    atomic.Bool
}

func (c *crew) work(ctx context.Context, random *rand.Rand) {
	for !c.done.Load() && ctx.Err() == nil {
		number := c.ledger.open()
		c.world.mu.Lock()
		op := (&draw{random, c.world, number}).operation()
		c.world.mu.Unlock()
		settled := c.settled.Load()
		told, refusal, err := c.perform(ctx, random, op, settled)
		if op.event != nil {
			told, refusal, err = c.repeat(ctx, random, op, told, refusal, err)
		}
		if told == acknowledged {
			c.world.mu.Lock()
			op.learn()
			c.world.mu.Unlock()
		}
		c.report.operation(op, told, refusal, err)
		if told == failed || told == unknown { // most clients would not be back at once
			time.Sleep(time.Duration(random.Int64N(int64(20 * time.Millisecond))))
		}
		if settled && (told == failed || told == unknown) {
			c.report.problem("operation %d (%s) failed although nothing was broken any more: %v", number, op.name, err)
		}
		if errors.Is(err, errInsane) || op.read && told == unknown {
			c.report.problem("operation %d (%s): %v", number, op.name, err)
		}
		if op.read {
			continue
		}
		e := op.entry
		e.operation, e.outcome = op.name, told
		if err != nil {
			e.err = err.Error()
		}
		c.ledger.enter(number, e)
	}
}

// repeat repeats what the Store says can be repeated. What it did is unknown as long as no
// attempt succeeds, whatever came of the last one.
func (c *crew) repeat(ctx context.Context, random *rand.Rand, op *operation, told outcome, refusal string, err error) (outcome, string, error) {
	for range repeats {
		if told != unknown || ctx.Err() != nil {
			break
		}
		c.report.repeated.Add(1)
		if again, _, _ := c.perform(ctx, random, op, true); again == acknowledged {
			return acknowledged, "", nil
		}
	}
	return told, refusal, err
}

// perform calls the operation as a client does: one that waits, gives up at a moment of
// its own, has a deadline, or has gone before it begins.
func (c *crew) perform(ctx context.Context, random *rand.Rand, op *operation, patiently bool) (outcome, string, error) {
	client := random.IntN(100)
	moment := time.Duration(random.Int64N(int64(40 * time.Millisecond)))
	if client%10 == 0 {
		moment *= 12
	}
	var cancel context.CancelFunc
	switch {
	case patiently:
		ctx, cancel = context.WithTimeout(ctx, calmPatience)
	case client < 10:
		ctx, cancel = context.WithTimeout(ctx, moment)
	case client < 20:
		ctx, cancel = context.WithCancel(ctx)
		defer time.AfterFunc(moment, cancel).Stop()
	case client == 20:
		ctx, cancel = context.WithCancel(ctx)
		cancel()
	default:
		ctx, cancel = context.WithTimeout(ctx, patience)
	}
	defer cancel()
	ctx, sent := withAttempts(ctx)
	var ended atomic.Pointer[time.Time]
	watched := context.AfterFunc(ctx, func() { ended.Store(new(time.Now())) })
	err := c.call(ctx, c.st, op)
	watched()
	if at := ended.Load(); at != nil {
		c.report.gaveUp(ctx.Err(), time.Since(*at))
	}
	c.report.retried(sent)
	told, refusal := classify(err)
	return told, refusal, err
}
