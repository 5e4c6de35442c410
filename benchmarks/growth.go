package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rowhouse/rowhouse/internal/throwaway"
)

// runGrowth measures how the cost of the Store's operations follows the amount of data: of
// teams, of log rows, of members in a team; how much of a disk the data takes, and what
// becomes of that when rows are updated, come and go.
func runGrowth(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("benchmarks growth", flag.ExitOnError)
	g := fullGrowth
	flags.Func("teams", "sizes, ascending: 1000,10000", numbers(&g.teams))
	flags.Func("log", "sizes of the log, ascending", numbers(&g.log))
	flags.Func("members", "sizes of a team, ascending", numbers(&g.members))
	flags.IntVar(&g.churned, "churned", g.churned, "users and teams that are updated, come and go")
	flags.IntVar(&g.rounds, "rounds", g.rounds, "rounds of all operations, one after the other, at each size")
	flags.DurationVar(&g.segment, "segment", g.segment, "how long about an operation is timed in a round")
	out := flags.String("out", "", "a file for the tables, as GROWTH.md; the chart is put beside it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	// Memory for all of the data: what is measured is the work, and no disk.
	server, err := throwaway.Start(ctx, throwaway.Options{Settings: []string{"shared_buffers=6GB"}})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "benchmarks:", err)
		}
	}()
	started := time.Now()
	g.progress = func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%5.0fs  %s\n", time.Since(started).Seconds(), fmt.Sprintf(format, args...))
	}
	r, err := g.run(ctx, server)
	if err != nil {
		return err
	}
	r.command = "growth" + commandLine(args)
	if *out == "" {
		_, err = os.Stdout.WriteString(r.markdown(""))
		return err
	}
	chart := chartBeside(*out)
	if err := os.WriteFile(chart, []byte(r.chart()), 0o644); err != nil {
		return err
	}
	return os.WriteFile(*out, []byte(r.markdown(filepath.Base(chart))), 0o644)
}

// growth is what is measured.
type growth struct {
	teams, log, members []int
	churned             int // teams and users
	logRows             int // of the operation that logs many
	pace
	progress func(format string, args ...any)
}

var fullGrowth = growth{
	teams:   []int{1000, 10_000, 100_000, 1_000_000},
	log:     []int{10_000, 100_000, 1_000_000, 10_000_000},
	members: []int{1, 10, 100, 1000, 10_000},
	churned: 5000,
	logRows: full.logRows,
	pace:    pace{5, 40 * time.Millisecond},
}

// grown is what was found.
type grown struct {
	growth
	command, about string

	axes    []axis
	extreme extremes
	sizes   []relationSize
	updates []updating
	indexed map[string]string // the columns of a table that are in an index
	churns  []churn
}

// axis is how costs follow one kind of amount.
type axis struct {
	title, unit string
	sizes       []int
	operations  []growing
	points      [][]point // by operation and size
}

// extremes are the smallest and the largest data, measured in turns.
type extremes struct {
	operations        []growing
	smallest, largest []point
}

func (g growth) run(ctx context.Context, server *throwaway.Server) (*grown, error) {
	r := &grown{growth: g}
	d, err := newDataset(ctx, server, "grown")
	if err != nil {
		return nil, err
	}
	defer d.close()
	if r.about, err = surroundings(ctx, d.admin, nil); err != nil {
		return nil, err
	}
	byTeams := axis{title: "teams", unit: "teams", sizes: g.teams, operations: ofData(g.logRows)}
	byLog := axis{title: "rows of the log", unit: "rows", sizes: g.log, operations: ofData(g.logRows)}
	step := func(to *axis, teams, log int) error {
		if err := d.growTo(ctx, teams, log); err != nil {
			return err
		}
		g.progress("%s teams and %s log rows are there", thousands(teams), thousands(log))
		points, err := g.measure(ctx, on(d, to.operations))
		to.add(points)
		return err
	}
	for _, teams := range g.teams {
		if err := step(&byTeams, teams, g.log[0]); err != nil {
			return nil, err
		}
	}
	for i, log := range g.log {
		if i == len(g.log)-1 { // before anything is written but what fills it
			if err := d.growTo(ctx, d.teams, log); err != nil {
				return nil, err
			}
			if r.sizes, err = d.relationSizes(ctx); err != nil {
				return nil, err
			}
		}
		if err := step(&byLog, d.teams, log); err != nil {
			return nil, err
		}
	}

	g.progress("the smallest data and the largest, in turns")
	smallest, err := newDataset(ctx, server, "smallest")
	if err != nil {
		return nil, err
	}
	defer smallest.close()
	if err := smallest.growTo(ctx, g.teams[0], g.log[0]); err != nil {
		return nil, err
	}
	if err := d.growTo(ctx, d.teams, d.log); err != nil { // vacuumed as the other
		return nil, err
	}
	var both []subject
	for _, op := range ofData(g.logRows) {
		both = append(both, subject{smallest, op}, subject{d, op})
	}
	points, err := g.measure(ctx, both)
	if err != nil {
		return nil, err
	}
	r.extreme.operations = ofData(g.logRows)
	for i := 0; i < len(points); i += 2 {
		r.extreme.smallest = append(r.extreme.smallest, points[i])
		r.extreme.largest = append(r.extreme.largest, points[i+1])
	}

	g.progress("teams of so many members")
	if err := d.addSized(ctx, g.members); err != nil {
		return nil, err
	}
	bySize := axis{title: "members of the team", unit: "members", sizes: g.members, operations: ofTeam(0)}
	var sized []subject
	for i := range g.members {
		sized = append(sized, on(d, ofTeam(i))...)
	}
	if points, err = g.measure(ctx, sized); err != nil {
		return nil, err
	}
	for i := range g.members {
		n := len(bySize.operations)
		bySize.add(points[i*n : (i+1)*n])
	}
	r.axes = []axis{byTeams, byLog, bySize}
	return r, r.churn(ctx, server)
}

func on(d *dataset, operations []growing) []subject {
	subjects := make([]subject, len(operations))
	for i, op := range operations {
		subjects[i] = subject{d, op}
	}
	return subjects
}

func (a *axis) add(points []point) {
	if a.points == nil {
		a.points = make([][]point, len(points))
	}
	for i, p := range points {
		a.points[i] = append(a.points[i], p)
	}
}

func numbers(to *[]int) func(string) error {
	return func(s string) error {
		*to = nil
		for field := range strings.SplitSeq(s, ",") {
			n, err := strconv.Atoi(strings.TrimSpace(field))
			if err != nil {
				return err
			}
			*to = append(*to, n)
		}
		return nil
	}
}
