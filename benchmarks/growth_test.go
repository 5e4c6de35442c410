package main

import (
	"context"
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rowhouse/rowhouse/internal/throwaway"
)

func startServer(t *testing.T) *throwaway.Server {
	t.Helper()
	server, err := throwaway.Start(t.Context(), throwaway.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return server
}

// beyondDepth says which operations' costs follow the data: beyond what deeper indexes
// explain, one page of each search for each level more, they look at more buffers or
// fetch more rows.
func beyondDepth(operations []growing, small, large []counts, times int) (found []string) {
	levels := int(math.Ceil(math.Log(float64(times)) / math.Log(200))) // a page of an index points to 200 others and more
	for i, op := range operations {
		if most := small[i].buffers + levels*small[i].scans(); large[i].buffers > most {
			found = append(found, fmt.Sprintf("%s: %d buffers, then %d: %s", op.name, small[i].buffers, large[i].buffers, more(small[i], large[i])))
		}
		if large[i].rows > small[i].rows {
			found = append(found, fmt.Sprintf("%s: %d rows, then %d", op.name, small[i].rows, large[i].rows))
		}
	}
	return found
}

// Reads cost the same in data ten times as large, and the deep page as much as the
// first; and without an index that they need they do not, so that the counts can tell.
func TestReadsDoNotFollowTheData(t *testing.T) {
	t.Parallel()
	const teams, log, times = 2000, 10_000, 10
	d, err := newDataset(t.Context(), startServer(t), "grown")
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	if err := d.growTo(t.Context(), teams, log); err != nil {
		t.Fatal(err)
	}
	reads := slices.DeleteFunc(ofData(1), func(op growing) bool { return op.writes })
	countAll := func() []counts {
		t.Helper()
		all := make([]counts, len(reads))
		for i, op := range reads {
			var p point
			if err := (subject{d, op}).warm(t.Context(), &p, 0); err != nil {
				t.Fatal(err)
			}
			all[i] = p.counts
		}
		return all
	}
	small := countAll()
	if err := d.growTo(t.Context(), times*teams, times*log); err != nil {
		t.Fatal(err)
	}
	large := countAll()
	if found := beyondDepth(reads, small, large, times); len(found) > 0 {
		t.Errorf("the cost follows the data:\n%s", strings.Join(found, "\n"))
	}
	at := func(name string) counts {
		return large[slices.IndexFunc(reads, func(op growing) bool { return op.name == name })]
	}
	if first, deep := at(firstPage), at(depthPage); deep.rows != first.rows || deep.buffers > first.buffers+4 {
		t.Errorf("the first page fetches %d rows of %d buffers, the deep one %d of %d", first.rows, first.buffers, deep.rows, deep.buffers)
	}

	for _, c := range []struct{ drop, finds string }{
		{"DROP INDEX users_lower_email_unique", "credentials"},
		{"DROP INDEX team_members_team_id_joined_at_id_idx, team_members_team_id_user_id_unique", "team of 5"},
		{"DROP INDEX team_members_user_id_joined_at_id_idx", "10 teams of a user"},
		{"DROP INDEX activity_logs_team_id_timestamp_id_idx", depthPage},
	} {
		if err := d.exec(t.Context(), c.drop); err != nil {
			t.Fatal(err)
		}
		if found := strings.Join(beyondDepth(reads, small, countAll(), times), "\n"); !strings.Contains(found, c.finds+": ") {
			t.Errorf("%s: found %q, not %s", c.drop, found, c.finds)
		}
	}
}

// A growth of all: everything is measured, and what is linear and what is not comes out.
func TestAGrowth(t *testing.T) {
	t.Parallel()
	g := growth{
		teams: []int{50, 400}, log: []int{500, 2000}, members: []int{1, 10, 200}, churned: 40, logRows: 50,
		pace:     pace{1, time.Millisecond},
		progress: t.Logf,
	}
	r, err := g.run(t.Context(), startServer(t))
	if err != nil {
		t.Fatal(err)
	}
	bySize := r.axes[2]
	for i, op := range bySize.operations {
		first, last := bySize.points[i][0].counts, bySize.points[i][2].counts
		switch {
		case op.name == wholeTeam:
			if last.rows < 2*200 {
				t.Errorf("%s: %d rows of 200 members", op.name, last.rows)
			}
		case op.name == "accept, with a seat limit": // counts the members, at most, and looks no user up
			if last.rows > 200+50 {
				t.Errorf("%s: %d rows of 200 members", op.name, last.rows)
			}
		case last.rows > first.rows+2*pageSize+10:
			t.Errorf("%s: %d rows in a team of 1, %d in one of 200", op.name, first.rows, last.rows)
		}
	}
	for _, u := range r.updates {
		share := float64(u.hot) / float64(u.updated)
		indexed := map[string]bool{"email": true, "email, deleted_at": true, "stripe_subscription_id": true, "stripe_customer_id": true, "role": true, "status": true, "token_hash, expires_at": true}[u.changes]
		if indexed != (share == 0) || !indexed && share < 0.7 {
			t.Errorf("%s of %s: %d of %d updates are HOT", u.name, u.changes, u.hot, u.updated)
		}
	}
	text := r.markdown("growth.svg")
	for _, line := range strings.Split(text, "\n") {
		if strings.Contains(line, "NaN") || strings.Contains(line, "Inf") {
			t.Errorf("no number: %s", line)
		}
	}
	if err := xml.Unmarshal([]byte(r.chart()), new(struct{})); err != nil {
		t.Errorf("the chart: %v", err)
	}
}
