package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/internal/throwaway"
	"github.com/rowhouse/rowhouse/store"
)

// Two seconds after the server is back, or the network is, every connection of a full pool
// serves again, and no operation that arrives from then on has an error: whether its
// connections were idle meanwhile, and nothing has told the pool, or were all in use.
func TestPoolRecovers(t *testing.T) {
	t.Parallel()
	const (
		connections = 20
		down        = 300 * time.Millisecond
		watched     = time.Second
	)
	restart := func(how throwaway.Ending) func(context.Context, *throwaway.Server, *proxy) error {
		return func(ctx context.Context, server *throwaway.Server, _ *proxy) error {
			if err := server.Halt(ctx, how); err != nil {
				return err
			}
			time.Sleep(down) // long enough for those who work to fail
			return server.Resume(ctx)
		}
	}
	breakdowns := map[string]func(context.Context, *throwaway.Server, *proxy) error{
		"connections forgotten by the network": func(_ context.Context, _ *throwaway.Server, p *proxy) error {
			p.forget()
			return nil
		},
	}
	for _, how := range endings {
		breakdowns["server down, "+string(how)] = restart(how)
	}
	for name, breakDown := range breakdowns {
		for _, busy := range []bool{false, true} {
			name := name + ", the pool idle"
			if busy {
				name = strings.Replace(name, "idle", "busy", 1)
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				server, err := startServer(ctx)
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, stopServer(server)) })
				p, err := startProxy(server.URL)
				require.NoError(t, err)
				t.Cleanup(p.close)
				st, err := store.Open(ctx, p.url()+fmt.Sprintf("&pool_max_conns=%d", connections))
				require.NoError(t, err)
				t.Cleanup(st.Close)

				require.NoError(t, onAll(ctx, st, connections))
				type call struct {
					began time.Time
					err   error
				}
				var mu sync.Mutex
				var calls []call
				var workers sync.WaitGroup
				working, stop := context.WithCancel(ctx)
				var patience atomic.Int64 // of those whose connection may be a dead one
				patience.Store(int64(time.Second))
				work := func() {
					for range connections {
						workers.Go(func() {
							for working.Err() == nil {
								began := time.Now()
								ctx, cancel := context.WithTimeout(ctx, time.Duration(patience.Load()))
								err := st.RecordActivity(ctx, store.RecordActivity{TeamID: 1, Action: chaosActivity})
								cancel()
								mu.Lock()
								calls = append(calls, call{began, err})
								mu.Unlock()
								time.Sleep(time.Millisecond) // or what fails at once would fill the list
							}
						})
					}
				}
				if busy {
					work()
				}
				require.NoError(t, breakDown(ctx, server, p))
				time.Sleep(recovery) // what is promised is of the time from here on
				patience.Store(int64(20 * time.Second))
				recovered := time.Now()
				require.NoError(t, onAll(ctx, st, connections))
				if !busy {
					work()
				}
				time.Sleep(watched) // while they work
				stop()
				workers.Wait()

				before, after := 0, 0
				for _, c := range calls {
					if c.began.Before(recovered) {
						if c.err != nil {
							before++
						}
						continue
					}
					after++
					require.NoError(t, c.err, "%s after it was back", c.began.Sub(recovered)+recovery)
				}
				require.Equal(t, busy, before > 0, "%d errors before", before)
				require.NotZero(t, after)
				t.Logf("%d errors of %d operations before, 0 of %d from %s after it was back", before, len(calls)-after, after, recovery)
			})
		}
	}
}

// onAll runs a transaction on each of a pool's connections at once.
func onAll(ctx context.Context, st *store.Store, connections int) error {
	var here, done sync.WaitGroup
	here.Add(connections)
	errs := make([]error, connections)
	for i := range connections {
		done.Go(func() {
			first := true
			errs[i] = st.InTx(ctx, func(tx *store.Store) error {
				if first {
					first = false
					here.Done()
				}
				if err := wait(ctx, &here); err != nil {
					return err
				}
				_, err := tx.SignUp(ctx, store.SignUp{Email: fmt.Sprintf("%d-%d@chaos.example", time.Now().UnixNano(), i), PasswordHash: "a hash"})
				return err
			})
			if first { // it has not begun: let the others end
				here.Done()
			}
		})
	}
	done.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// wait waits for everybody, but not for ever.
func wait(ctx context.Context, everybody *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() {
		everybody.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
