// Command chaos runs the Store's operations from many workers while it breaks what they
// run on, and then proves from the tables that the Store's promises held:
//
//	go run ./internal/chaos -duration 10m
//
// It starts a PostgreSQL server of its own, as the tests do. Backends are terminated,
// statements canceled, the server is restarted or killed, connections are cut, delayed
// and black-holed, rows are locked, clients give up. Every choice of the workers and of
// the faults comes from the seed that is printed first; in which order they meet is up
// to the machine.
//
// It ends with status 1 when a promise was broken, and names the operations.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	c := config{calm: 2 * time.Second, patience: 20 * time.Second}
	flag.DurationVar(&c.duration, "duration", 45*time.Second, "how long the faults go on; the checks come after that")
	flag.Uint64Var(&c.seed, "seed", rand.Uint64N(1_000_000_000), "of all choices")
	flag.IntVar(&c.workers, "workers", 32, "how many run operations at the same time")
	flag.IntVar(&c.connections, "connections", 12, "of the pool that they share")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	fmt.Printf("chaos: %s with %d workers on %d connections, -seed %d\n", c.duration, c.workers, c.connections, c.seed)
	r, err := run(ctx, c)
	if r != nil && !errors.Is(err, context.Canceled) { // else nothing was checked
		r.print(os.Stdout)
	}
	switch {
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "chaos: interrupted")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	case len(r.problems) > 0:
		os.Exit(1)
	}
}
