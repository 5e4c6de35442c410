package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// report writes what was measured as Markdown. The first contender is the Store.
type report struct {
	w          io.Writer
	contenders []contender
	all        []measured
}

func (r report) line(format string, args ...any) { fmt.Fprintf(r.w, format+"\n", args...) }

func (r report) table(header ...string) {
	r.line("\n| %s |", strings.Join(header, " | "))
	r.line("|%s", strings.Repeat("---|", len(header)))
}

func (r report) row(cells ...string) { r.line("| %s |", strings.Join(cells, " | ")) }

func (r report) index(name string) int {
	return slices.IndexFunc(r.contenders, func(c contender) bool { return c.name == name })
}

// summary has a line for each contender.
func (r report) summary() {
	r.line("\n## All operations\n\nGeometric means over the operations, against the Store: times, CPU (client and server together) and throughput with %d workers. Above 1 the contender takes longer, uses more, or does more a second.", workers)
	r.table("contender", "p50 at 1 ms", "p10", "CPU", "throughput", "round trips", "what it is")
	for i, c := range r.contenders {
		cells := []string{c.name}
		for _, m := range []metric{distantP50, fastPath, cpu, throughput} {
			cell := "–"
			if v, ok := mean(r.all, m, i, 0); ok {
				cell = fmt.Sprintf("%.2f", v)
			}
			cells = append(cells, cell)
		}
		what := c.what
		if c.differs != "" {
			what += ". **" + c.differs + "**"
		}
		r.row(append(cells, r.roundTrips(i), what)...)
	}
}

// departures are what the check allows the contenders.
func (r report) departures() {
	for _, c := range r.contenders {
		if len(c.omissions)+len(c.departures) == 0 {
			continue
		}
		r.line("\n## What %s does not do as the others\n\nThe check holds it to all else, and to each of these. It leaves out:\n", c.name)
		for _, o := range c.omissions {
			r.line("- %s", o.why)
		}
		r.line("\nAt the edges of the rules:\n")
		for _, d := range c.departures {
			r.line("- %s: %s", d.on, d.does)
		}
	}
}

func (r report) roundTrips(i int) string {
	var low, high float64
	for _, op := range r.all {
		if f := op.figures[i]; f != nil {
			if low == 0 || f.roundTrips < low {
				low = f.roundTrips
			}
			high = max(high, f.roundTrips)
		}
	}
	if low == high {
		return fmt.Sprintf("%.0f", low)
	}
	return fmt.Sprintf("%.0f to %.0f", low, high)
}

// againstHand is the Store against hand-written pgx, with the noise beside it.
func (r report) againstHand() {
	hand, again := r.index(byHand.name), r.index(byHandAgain.name)
	if hand < 0 || again < 0 {
		return
	}
	r.line("\n## The Store against hand-written pgx\n\nStore / pgx and, in brackets, pgx again / pgx: the same code twice, which is what chance makes of this machine. Allocations are counted.")
	r.table("operation", "p50 at 1 ms", "p10", "CPU", "throughput", "allocations", "bytes")
	metrics := []metric{distantP50, fastPath, cpu, throughput}
	for _, op := range r.all {
		st, by, noise := op.figures[0], op.figures[hand], op.figures[again]
		if st == nil || by == nil || noise == nil {
			continue
		}
		cells := []string{op.name}
		for _, m := range metrics {
			cells = append(cells, fmt.Sprintf("%.2f (%.2f)", m.ratio(st, by).median, m.ratio(noise, by).median))
		}
		a, b := st.counts()
		ha, hb := by.counts()
		r.row(append(cells, digits(a)+" / "+digits(ha), digits(b)+" / "+digits(hb))...)
	}
	cells := []string{"**geometric mean**"}
	for _, m := range metrics {
		ours, _ := mean(r.all, m, 0, hand)
		noise, _ := mean(r.all, m, again, hand)
		cells = append(cells, fmt.Sprintf("**%.3f** (%.3f)", ours, noise))
	}
	r.row(append(cells, "", "")...)
}

// matrix is one metric of all contenders in all operations, against the Store.
func (r report) matrix(title string, m metric) {
	r.line("\n## %s", title)
	header := []string{"operation", "store"}
	for _, c := range r.contenders[1:] {
		header = append(header, c.name)
	}
	r.table(header...)
	for _, op := range r.all {
		absolute := digits(m.median(op.figures[0])) + " /s"
		if !m.more {
			absolute = digits(m.median(op.figures[0])/1e3) + " µs"
		}
		cells := []string{op.name, absolute}
		for _, f := range op.figures[1:] {
			cell := "–"
			if f != nil {
				cell = fmt.Sprintf("%.2f", m.ratio(f, op.figures[0]).median)
			}
			cells = append(cells, cell)
		}
		r.row(cells...)
	}
}

// counted is a count, where there is one.
func counted(n float64) string {
	if n == 0 {
		return "–"
	}
	return digits(n)
}

// details are one table for each operation.
func (r report) details() {
	r.line("\n## Each operation\n\nTimes in µs. × is the ratio to the Store: the median over the rounds, and the middle half of them.")
	for _, op := range r.all {
		r.line("\n### %s\n\nIn each of %d rounds %s calls alone and %s shared by all workers.", op.name, len(op.figures[0].rounds), thousands(op.alone), thousands(op.many))
		r.table("", "round trips", "p10", "p50", "p99", "× p50", "p50 at 1 ms", "×", "CPU client + server", "×", "calls/s, 16 workers", "×", "allocations", "bytes")
		for i, f := range op.figures {
			if f == nil {
				continue
			}
			against := func(m metric) string { return m.ratio(f, op.figures[0]).String() }
			client, server := f.cpu()
			allocs, bytes := f.counts()
			r.row(r.contenders[i].name, digits(f.roundTrips)[:min(4, len(digits(f.roundTrips)))], micro(f.p10), micro(f.p50), micro(f.p99), against(middle),
				digits(distantP50.median(f)/1e3), against(distantP50), micro(client)+" + "+micro(server), against(cpu),
				digits(throughput.median(f)), against(throughput), counted(allocs), counted(bytes))
		}
	}
}
