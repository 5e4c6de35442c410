package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"
)

// report is what a run did, and what is wrong after it.
type report struct {
	server   string
	duration time.Duration

	operations *counter // by kind and outcome
	refusals   *counter
	failures   *counter // by what they come from
	faults     *counter
	retries    *counter
	happened   *counter // unknown outcomes, by what became of them
	repeated   atomic.Int64

	mu       sync.Mutex
	slowest  time.Duration // to return after the client had given up
	checks   []string
	problems []string
	omitted  int
}

// maxProblems is how many are kept: the first ones tell the most.
const maxProblems = 50

func newReport(server string) *report {
	return &report{
		server: server, operations: newCounter(), refusals: newCounter(), failures: newCounter(),
		faults: newCounter(), retries: newCounter(), happened: newCounter(),
	}
}

func (r *report) problem(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.problems) == maxProblems {
		r.omitted++
		return
	}
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// check notes what was looked at.
func (r *report) check(what string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checks = append(r.checks, fmt.Sprintf(what, args...))
}

const separator = "\x00"

func (r *report) operation(op *operation, told outcome, refusal string, err error) {
	r.operations.add(op.name + separator + string(told))
	switch told {
	case refused:
		r.refusals.add(refusal)
	case failed, unknown:
		r.failures.add(string(told) + separator + cmp.Or(kindOf(err), "else"))
	}
}

func (r *report) gaveUp(err error, late time.Duration) {
	name := "client canceled"
	if errors.Is(err, context.DeadlineExceeded) {
		name = "client's deadline passed"
	}
	r.faults.add(name)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slowest = max(r.slowest, late)
}

func (r *report) retried(a *attempts) {
	for reason, n := range a.retries {
		r.retries.addN("after "+reason, n)
	}
}

func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "%s, %s of faults\n", r.server, r.duration.Round(100*time.Millisecond))

	told := []outcome{acknowledged, refused, rolledBack, failed, unknown}
	byKind := make(map[string]map[outcome]int)
	for _, name := range r.operations.names() {
		kind, outcomeName, _ := strings.Cut(name, separator)
		if byKind[kind] == nil {
			byKind[kind] = make(map[outcome]int)
		}
		byKind[kind][outcome(outcomeName)] = r.operations.get(name)
	}
	fmt.Fprintf(w, "\n%d operations\n", r.operations.total())
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(name string, counts map[outcome]int) {
		fmt.Fprintf(table, "%s\t", name)
		for _, o := range told {
			fmt.Fprintf(table, "%d\t", counts[o])
		}
		fmt.Fprintln(table)
	}
	fmt.Fprint(table, "\t")
	for _, o := range told {
		fmt.Fprintf(table, "%s\t", o)
	}
	fmt.Fprintln(table)
	sum := make(map[outcome]int)
	for _, kind := range slices.Sorted(maps.Keys(byKind)) {
		line(kind, byKind[kind])
		for o, n := range byKind[kind] {
			sum[o] += n
		}
	}
	line("all", sum)
	_ = table.Flush()

	list := func(title string, c *counter) {
		fmt.Fprintf(w, "\n%d %s\n", c.total(), title)
		for _, name := range c.names() {
			fmt.Fprintf(w, "%9d  %s\n", c.get(name), strings.ReplaceAll(name, separator, ": "))
		}
	}
	list("faults", r.faults)
	list("retries by the Store", r.retries)
	list("refusals", r.refusals)
	list("failures, by what came first", r.failures)
	list("unknown outcomes, by what the tables say became of them", r.happened)
	fmt.Fprintf(w, "\n%d repeats of events whose outcome was unknown\n", r.repeated.Load())
	fmt.Fprintf(w, "%s at most from a client's end to the return of its operation\n", r.slowest.Round(time.Millisecond))

	fmt.Fprintln(w, "\nchecked")
	for _, c := range r.checks {
		fmt.Fprintf(w, "  %s\n", c)
	}
	if len(r.problems) == 0 {
		fmt.Fprintln(w, "every promise was kept")
		return
	}
	fmt.Fprintf(w, "\n%d PROBLEMS\n", len(r.problems)+r.omitted)
	for _, p := range r.problems {
		fmt.Fprintf(w, "  %s\n", p)
	}
}
