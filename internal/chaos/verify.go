package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/internal/throwaway"
	"github.com/rowhouse/rowhouse/store"
)

// logged is a row of the log with the number of the operation that wrote it.
type logged struct {
	id       int64
	team     db.TeamID
	user     db.UserID // 0 for the system
	action   db.ActivityType
	number   uint64 // 0 for what has no address
	metadata json.RawMessage
}

// verify reads the tables when all is over, and holds them against the ledger.
func (r *report) verify(ctx context.Context, server *throwaway.Server, l *ledger) error {
	pool, err := pgxpool.New(ctx, server.URL)
	if err != nil {
		return err
	}
	defer pool.Close()
	violations, err := store.New(pool).CheckInvariants(ctx)
	if err != nil {
		return fmt.Errorf("CheckInvariants: %w", err)
	}
	for _, v := range violations {
		r.problem("CheckInvariants: %s: %s %d of team %d", v.Rule, v.Table, v.ID, v.TeamID)
	}
	r.check("CheckInvariants")

	written := make([][]logged, len(l.entries))
	replay := newReplay(r, l)
	total := 0
	var row logged
	rows, err := pool.Query(ctx, `
		SELECT id, team_id, coalesce(user_id, 0), action, coalesce(ip_address, ''), metadata
		FROM activity_logs
		ORDER BY id`)
	if err != nil {
		return err
	}
	var ip string
	if _, err := pgx.ForEachRow(rows, []any{&row.id, &row.team, &row.user, &row.action, &ip, (*[]byte)(&row.metadata)}, func() error {
		total++
		row.number = 0
		if ip != "" {
			number, ok := numberOf(ip)
			if !ok || number >= uint64(len(written)) {
				r.problem("log row %d has the address %s, which is no operation's", row.id, ip)
				return nil
			}
			row.number = number
			kept := row
			kept.metadata = nil
			written[number] = append(written[number], kept)
		}
		row.metadata = slices.Clone(row.metadata)
		replay.play(row)
		return nil
	}); err != nil {
		return err
	}
	replay.written = written
	events, err := pool.Query(ctx, "SELECT id FROM subscription_events")
	if err != nil {
		return err
	}
	ids, err := pgx.CollectRows(events, pgx.RowTo[string])
	if err != nil {
		return err
	}
	seen := make(map[string]bool, len(ids))
	for _, id := range ids {
		seen[id] = true
	}
	checked := 0
	for number, e := range l.entries {
		if e.operation == "" { // a read's, or one that an interrupt cut short
			if len(written[number]) > 0 {
				r.problem("operation %d was none, and has log rows", number)
			}
			continue
		}
		checked++
		if e.event != nil {
			there := seen[e.event.id]
			r.judge(uint64(number), e, there, !there, "")
			if best := replay.standing[e.event.subscription]; there && (best == nil || e.event.compare(best) > 0) {
				replay.standing[e.event.subscription] = e.event
			}
			continue
		}
		all, none, what := match(e, written[number], replay.homeless)
		r.judge(uint64(number), e, all, none, what)
	}
	r.check("%d operations that write, against %d log rows and %d Stripe events", checked, total, len(ids))
	return replay.compare(ctx, pool)
}

// judge holds what an operation was told to have done against whether the tables have
// all of it, or none.
func (r *report) judge(number uint64, e entry, all, none bool, what string) {
	name := fmt.Sprintf("operation %d (%s, %s)", number, e.operation, e.outcome)
	switch {
	case !all && !none:
		r.problem("%s is there in part, or more than once: %s %s", name, what, e.err)
	case e.outcome == acknowledged && !all:
		r.problem("%s is not there: %s", name, what)
	case e.outcome == unknown && all && none:
		r.happened.add("not to be seen in the log")
	case e.outcome == unknown && all:
		r.happened.add("happened")
	case e.outcome == unknown:
		r.happened.add("did not happen")
	case e.outcome != acknowledged && !none:
		r.problem("%s is there: %s %s", name, what, e.err)
	}
}

// match tells whether the log rows of an operation are all that it writes, and whether
// they are none. They can be both, as for a user without a team.
func match(e entry, written []logged, homeless map[db.UserID]bool) (all, none bool, what string) {
	have := make(map[db.ActivityType]int)
	for _, row := range written {
		have[row.action]++
		if e.team != 0 && row.team != e.team {
			return false, false, fmt.Sprintf("log row %d is of team %d, not %d", row.id, row.team, e.team)
		}
	}
	least, most := make(map[db.ActivityType]int), make(map[db.ActivityType]int)
	for _, want := range e.rows {
		if !want.home || !homeless[e.user] {
			least[want.action] += want.least
		}
		most[want.action] += want.most
	}
	all = true
	var differences []string
	for action, n := range most {
		if have[action] < least[action] || have[action] > n {
			all = false
			differences = append(differences, fmt.Sprintf("%d of %d to %d rows %s", have[action], least[action], n, action))
		}
	}
	for action, n := range have {
		if _, ok := most[action]; !ok {
			return false, false, fmt.Sprintf("%d rows %s, of which it writes none", n, action)
		}
	}
	slices.Sort(differences)
	return all, len(written) == 0, strings.Join(differences, ", ")
}
