// Command benchmarks measures rowhouse's Store beside other ways of doing the same.
//
//	go run -C benchmarks .                                   # everything: some 25 minutes
//	go run -C benchmarks . -rounds 5 -operations 'team|page' # some of it
//	go run -C benchmarks . -contenders 'pgx|gorm'            # the Store against some
//	go run -C benchmarks . growth                            # the Store alone, on data that grows
//
// It starts a PostgreSQL of its own, which ends with it, and fills it. Before anything is
// timed each contender does every operation, and what each rule refuses, on a copy of the
// same data: results, and what is written, must be the same. The tables come on standard
// output, or with -out in a file, with a chart beside it.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rowhouse/rowhouse/internal/throwaway"
)

var contenders = []contender{rowhouse, byHand, byHandAgain, byBytes, byArrays, unread, plainly, withSqlx, withGORM, withBun, withDrizzle}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "benchmarks:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "growth" {
		return runGrowth(ctx, args[1:])
	}
	flags := flag.NewFlagSet("benchmarks", flag.ExitOnError)
	rounds := flags.Int("rounds", 15, "rounds of all contenders, one after the other")
	segment := flags.Duration("segment", 100*time.Millisecond, "how long about the Store is timed in a round of one operation, alone and with all workers")
	named := flags.String("contenders", "", "a regular expression: these and the Store")
	wanted := flags.String("operations", "", "a regular expression: these operations")
	depth := flags.Int("depth", full.log, "log rows before the deep page")
	out := flags.String("out", "", "a file for the tables, as RESULTS.md; the chart is put beside it")
	profile := flags.String("cpuprofile", "", "a file for a CPU profile of this process")
	if err := flags.Parse(args); err != nil {
		return err
	}
	field, err := chosen(*named)
	if err != nil {
		return err
	}
	field, outside, absent := present(field)
	for _, reason := range absent {
		fmt.Fprintln(os.Stderr, reason)
	}
	operations, err := regexp.Compile(*wanted)
	if err != nil {
		return err
	}
	endProfile, err := startProfile(*profile)
	if err != nil {
		return err
	}
	defer endProfile()

	server, err := throwaway.Start(ctx, throwaway.Options{})
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
	e := effort{*rounds, *segment}
	data := full
	data.log = *depth

	checked, err := newHouse(ctx, server, "checked", small)
	if err != nil {
		return err
	}
	if err := checked.stage(ctx); err != nil {
		return err
	}
	if err := check(ctx, checked, field); err != nil && os.Getenv("SCRATCH") == "" {
		return fmt.Errorf("the contenders do not do the same:\n%w", err)
	}
	fmt.Fprintln(os.Stderr, "the contenders do the same, and refuse the same")

	h, err := newHouse(ctx, server, "raced", data)
	if err != nil {
		return err
	}
	if err := checkReads(ctx, h, field); err != nil {
		return fmt.Errorf("the contenders do not read the same:\n%w", err)
	}
	var selected []operation
	for _, op := range operationsOn(data) {
		if operations.MatchString(op.name) {
			selected = append(selected, op)
		}
	}
	var plans bytes.Buffer
	if err := (report{w: &plans}).plans(ctx, h, selected); err != nil {
		return err
	}
	var all []measured
	r, err := newRace(ctx, h, field, e, os.Stderr)
	if err != nil {
		return err
	}
	defer r.close()
	for _, op := range selected {
		m, err := r.measure(ctx, op)
		if err != nil {
			return err
		}
		all = append(all, m)
	}

	var b bytes.Buffer
	about, err := surroundings(ctx, h.admin, outside)
	if err != nil {
		return err
	}
	rep := report{&b, field, all}
	rep.line("# Benchmarks\n\nWritten by `go run -C benchmarks %s.%s`, and not by hand. [README.md](README.md) says what is measured, and how.\n\n%s- %s users, %s teams, %s log rows at the start; %d rounds",
		tags, commandLine(args), about, thousands(int(h.members+1)), thousands(int(h.deep)), thousands(data.log+4*pageSize+10*data.teams), *rounds)
	for _, reason := range absent {
		rep.line("\n**%s.**", reason)
	}
	rep.summary()
	rep.departures()
	rep.againstHand()
	rep.matrix(fmt.Sprintf("Throughput with %d workers", workers), throughput)
	rep.matrix("p50 with 1 ms of network", distantP50)
	b.Write(plans.Bytes())
	rep.details()
	if *out == "" {
		_, err = os.Stdout.Write(b.Bytes())
		return err
	}
	if err := os.WriteFile(chartBeside(*out), []byte(rep.chart()), 0o644); err != nil {
		return err
	}
	return os.WriteFile(*out, b.Bytes(), 0o644)
}

// chosen are the contenders that a pattern names, after the Store.
func chosen(pattern string) ([]contender, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	others := slices.DeleteFunc(slices.Clone(contenders[1:]), func(c contender) bool { return !re.MatchString(c.name) })
	return append([]contender{rowhouse}, others...), nil
}

// present are the contenders that have what they need, the versions of that, and a line on
// each of the others.
func present(contenders []contender) (field []contender, versions, absent []string) {
	for _, c := range contenders {
		if c.outside != nil {
			version, err := c.outside()
			if err != nil {
				absent = append(absent, fmt.Sprintf("%s is left out: %v", c.name, err))
				continue
			}
			versions = append(versions, version)
		}
		field = append(field, c)
	}
	return field, versions, absent
}

// chartBeside is the chart's file: results.svg for RESULTS.md.
func chartBeside(tables string) string {
	dir, base := filepath.Split(tables)
	return filepath.Join(dir, strings.ToLower(strings.TrimSuffix(base, ".md"))+".svg")
}

// tags are those that this program was built with, as the command has them.
var tags string

// commandLine is what was asked for.
func commandLine(args []string) string {
	var b strings.Builder
	for _, a := range args {
		b.WriteString(" " + a)
	}
	return b.String()
}
