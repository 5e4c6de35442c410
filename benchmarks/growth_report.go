package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// markdown is the report. chart is its file's name, or empty.
func (r *grown) markdown(chart string) string {
	var b strings.Builder
	rep := report{w: &b}
	rep.line("# Growth\n\nWhat the Store's operations cost as the data grows. Written by `go run -C benchmarks . %s`, and not by hand; [README.md](README.md) says how it is measured.\n\n%s- %d rounds at each size", r.command, r.about, r.rounds)
	if chart != "" {
		rep.line("\n![The cost of each operation by the amount of data](%s)", chart)
	}
	r.extremesTable(rep)
	for _, a := range r.axes {
		a.tables(rep)
	}
	r.sizesTable(rep)
	r.updatesTable(rep)
	r.churnTables(rep)
	return b.String()
}

// extremesTable is the proof of what is flat.
func (r *grown) extremesTable(rep report) {
	last := func(sizes []int) string { return thousands(sizes[len(sizes)-1]) }
	rep.line("\n## The smallest data and the largest\n\n%s teams and %s log rows beside %s and %s, in two databases of one server, measured in turns: the ratio is taken within a round, its median is shown, and the middle half of the rounds. Buffers are the pages of tables and indexes that the server looks at in a call, and rows those that it fetches from tables; both are counted, and are the same on any machine. A thousand times the rows make an index one page deeper, so that a call may look at one buffer more for each search in an index: what is beyond that follows the data.",
		thousands(r.teams[0]), thousands(r.log[0]), last(r.teams), last(r.log))
	rep.table("operation", "p10, µs", "× p10", "CPU, µs", "× CPU", "p50 at 1 ms, µs", "× p50 at 1 ms", "rows", "buffers", "searches", "where the buffers are more")
	for i, op := range r.extreme.operations {
		small, large := r.extreme.smallest[i], r.extreme.largest[i]
		cells := []string{op.name}
		for _, m := range []struct{ small, large []float64 }{{small.p10, large.p10}, {small.cpu, large.cpu}, {small.away, large.away}} {
			cells = append(cells, fromTo(spreadOf(m.small).median, spreadOf(m.large).median), within(m.large, m.small).String())
		}
		rep.row(append(cells,
			steps(small.rows, large.rows), steps(small.buffers, large.buffers), thousands(large.scans()), more(small.counts, large.counts))...)
	}
	if first, deep := r.point(firstPage), r.point(depthPage); first != nil && deep != nil {
		rep.line("\nIn the largest data the page at a depth of %s rows takes %s times what the first page does (p10; %s of its CPU, %s of its time at 1 ms), and %s buffers beside %s.",
			thousands(r.log[len(r.log)-1]/10), within(deep.p10, first.p10), within(deep.cpu, first.cpu), within(deep.away, first.away), thousands(deep.buffers), thousands(first.buffers))
	}
}

// point is an operation's in the largest data.
func (r *grown) point(operation string) *point {
	for i, op := range r.extreme.operations {
		if op.name == operation {
			return &r.extreme.largest[i]
		}
	}
	return nil
}

// within is the ratio of what was measured in one round.
func within(values, to []float64) spread {
	ratios := make([]float64, len(values))
	for i := range values {
		ratios[i] = values[i] / to[i]
		if to[i] == 0 { // CPU that can't be seen
			ratios[i] = 1
		}
	}
	return spreadOf(ratios)
}

func fromTo(from, to float64) string { return digits(from) + " → " + digits(to) }

func steps(from, to int) string {
	if from == to {
		return thousands(from)
	}
	return thousands(from) + " → " + thousands(to)
}

// more are the relations of which a call looks at more buffers.
func more(small, large counts) string {
	var found []string
	for _, name := range slices.Sorted(maps.Keys(large.relations)) {
		if n := large.relations[name].buffers - small.relations[name].buffers; n > 0 {
			found = append(found, fmt.Sprintf("%s +%d", name, n))
		}
	}
	return strings.Join(found, ", ")
}

// tables are one of times and one of counts.
func (a axis) tables(rep report) {
	header := []string{"operation"}
	for _, n := range a.sizes {
		header = append(header, thousands(n))
	}
	intro := ""
	if a.unit == "members" {
		intro = " All of the teams are in the largest data, and are measured in turns. An owner who leaves, is demoted, hands the team over or deletes the account is one of several."
	}
	rep.line("\n## By %s\n\np10 of a call in µs, the median over the rounds with the middle half of them; then the server's CPU in µs.%s", a.title, intro)
	rep.table(header...)
	for i, op := range a.operations {
		cells := []string{op.name}
		for _, p := range a.points[i] {
			s := spreadOf(p.p10)
			cells = append(cells, fmt.Sprintf("%s (%s–%s); %s", digits(s.median), digits(s.low), digits(s.high), digits(spreadOf(p.server).median)))
		}
		rep.row(cells...)
	}
	rep.line("\nBuffers looked at, and in brackets rows fetched from tables, by a call:")
	rep.table(append(header, "where the buffers are more, from the first to the last")...)
	for i, op := range a.operations {
		cells := []string{op.name}
		for _, p := range a.points[i] {
			cells = append(cells, fmt.Sprintf("%s (%s)", thousands(p.buffers), thousands(p.rows)))
		}
		rep.row(append(cells, more(a.points[i][0].counts, a.points[i][len(a.sizes)-1].counts))...)
	}
	if a.unit == "members" {
		a.slopes(rep)
	}
}

// slopes are of what follows the number of members.
func (a axis) slopes(rep report) {
	last := len(a.sizes) - 1
	if last < 1 {
		return
	}
	rep.line("\nWhat each further member costs, from %s members to %s, of the operations whose rows follow the members:\n", thousands(a.sizes[last-1]), thousands(a.sizes[last]))
	for i, op := range a.operations {
		before, after := a.points[i][last-1], a.points[i][last]
		members := float64(a.sizes[last] - a.sizes[last-1])
		if float64(after.rows-before.rows) < members/2 {
			continue
		}
		rep.line("- %s: %s µs (p10), %s µs of the server's CPU, %s buffers, %s rows", op.name,
			digits((spreadOf(after.p10).median-spreadOf(before.p10).median)/members),
			digits((spreadOf(after.server).median-spreadOf(before.server).median)/members),
			digits(float64(after.buffers-before.buffers)/members), digits(float64(after.rows-before.rows)/members))
	}
}

func (r *grown) sizesTable(rep report) {
	rep.line("\n## Sizes\n\nOf the largest data, as it has grown: rows were inserted in the order of time with all indexes in place.")
	rep.table("table or index", "rows", "MiB", "bytes per row")
	total := map[string]int{}
	for _, s := range r.sizes {
		total[s.table] += s.bytes
	}
	for _, s := range r.sizes {
		name := "– " + s.index
		if s.index == "" {
			name = "**" + s.table + "**"
		}
		rep.row(name, thousands(s.rows), mebibytes(s.bytes), bytesPerRow(s))
		if s.index == "" {
			rep.row("– with its indexes", "", mebibytes(total[s.table]), digits(float64(total[s.table])/float64(s.rows)))
		}
	}
}

func mebibytes(bytes int) string { return digits(float64(bytes) / (1 << 20)) }

func bytesPerRow(s relationSize) string {
	return digits(float64(s.bytes) / math.Max(float64(s.rows), 1))
}

func (r *grown) updatesTable(rep report) {
	rep.line("\n## HOT updates\n\nAn update is HOT, and leaves all indexes alone, when no indexed column changes and the row's page has room. %d calls of each operation, on tables that have been churned as below:", updateCalls)
	rep.table("operation", "table", "what it changes besides updated_at", "rows updated", "HOT")
	tables := map[string]bool{}
	for _, u := range r.updates {
		tables[u.table] = true
		rep.row(u.name, u.table, u.changes, fmt.Sprint(u.updated), percent(float64(u.hot)/math.Max(float64(u.updated), 1)))
	}
	rep.line("\nColumns that an index has, in its key, expression or predicate; a change of one is never HOT:\n")
	for _, table := range slices.Sorted(maps.Keys(tables)) {
		rep.line("- %s: %s", table, r.indexed[table])
	}
}

func percent(share float64) string { return fmt.Sprintf("%.0f%%", 100*share) }

func (r *grown) churnTables(rep report) {
	rep.line("\n## Churn\n\n%s users and as many teams, each updated %d times by UpdateAccount and UpdatePassword, RenameTeam and UpdateSubscription in turns; %s invitations that are accepted (and the member removed again), declined, or sent again and canceled. VACUUM runs after every fifth of a pass, as autovacuum does by default. HOT updates, in each pass:",
		thousands(r.churned), churnPasses, thousands(churnPasses/2*r.churned))
	header := []string{"fillfactor", "table"}
	for pass := range churnPasses {
		header = append(header, fmt.Sprint(pass+1))
	}
	rep.table(header...)
	for _, c := range r.churns {
		for _, of := range []struct {
			table  string
			shares []float64
		}{{"users", c.users}, {"teams", c.teams}} {
			cells := []string{fmt.Sprint(c.fillfactor), of.table}
			for _, s := range of.shares {
				cells = append(cells, percent(s))
			}
			rep.row(cells...)
		}
	}
	rep.line("\nSizes before and after, and what VACUUM FULL makes of them; the calls of the table above have come after the churn. Bloat is after / full, by which a B-tree filled at random is at 1.3 or so. Invitations and their log rows stay, so that those tables grow by their rows.")
	rep.table("fillfactor", "table or index", "rows before", "rows after", "KiB before", "KiB after", "KiB full", "bloat")
	for _, c := range r.churns {
		before := map[[2]string]relationSize{}
		for _, s := range c.before {
			before[[2]string{s.table, s.index}] = s
		}
		after := map[[2]string]relationSize{}
		for _, s := range c.after {
			after[[2]string{s.table, s.index}] = s
		}
		for _, full := range c.packed {
			key := [2]string{full.table, full.index}
			if c.fillfactor < 100 && full.table != "users" && full.table != "teams" {
				continue // as before
			}
			if full.table == "subscription_events" || full.table == "subscriptions" {
				continue // nothing happened to them
			}
			name := "– " + full.index
			if full.index == "" {
				name = "**" + full.table + "**"
			}
			rep.row(fmt.Sprint(c.fillfactor), name, thousands(before[key].rows), thousands(after[key].rows),
				kibibytes(before[key].bytes), kibibytes(after[key].bytes), kibibytes(full.bytes), fmt.Sprintf("%.2f", float64(after[key].bytes)/float64(max(full.bytes, 1))))
		}
	}
}

func kibibytes(bytes int) string { return thousands(bytes >> 10) }
