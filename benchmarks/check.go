package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// A time means something only when what was timed is the same. Each contender does the
// same operations on a copy of the same data, also those that must be refused; each result,
// and each row that is added or removed, is compared with the Store's.

// checkCase is one call. What is named in refused must fail and write nothing.
type checkCase struct {
	name    string
	kind    kind
	in      input
	refused bool
}

// small is the data of the check.
var small = sizes{teams: 12, spare: 3, big: []int{7, 20, 60}, log: 130, logRows: 25}

// deletedEmail is of the one user whom stage deletes.
const deletedEmail = "user10@example.com"

// stage sets what no operation of the benchmark makes: rules are shown at their edges.
func (h *house) stage(ctx context.Context) error {
	for _, sql := range []string{
		`UPDATE users SET deleted_at = '2026-01-02' WHERE id = 10`,                                           // of team 2
		`UPDATE teams SET seat_limit = 5 WHERE id = 10`,                                                      // and five it has
		`UPDATE teams SET deleted_at = '2026-01-02' WHERE id = 12`,                                           // with members left, as no operation leaves it
		`UPDATE invitations SET expires_at = '2026-01-02' WHERE team_id = 4`,                                 // over
		`UPDATE team_members SET role = 'member' WHERE user_id = 51`,                                         // team 11's owner,
		`UPDATE team_members SET role = 'owner' WHERE user_id = 52`,                                          // who is another one now
		`INSERT INTO team_members (user_id, team_id, role, joined_at) VALUES (30, 7, 'owner', '2026-01-02')`, // of team 6; a second owner of 7
		`INSERT INTO invitations (team_id, email, role, invited_by, invited_at, status, token_hash, expires_at)
			SELECT team, email, 'member', 5 * team - 4, '2026-01-02', status, sha256(sha256(name::bytea)), expires FROM (VALUES -- see tokenNamed
				(10, 'user40@example.com', 'pending', 'full', timestamp '2036-01-01'),
				(4, 'user40@example.com', 'pending', 'over', timestamp '2026-01-03'),
				(6, 'user40@example.com', 'accepted', 'used', timestamp '2036-01-01'),
				(8, 'USER40@example.com', 'pending', 'standing', timestamp '2036-01-01'),
				(11, 'user40@example.com', 'pending', 'inviter', timestamp '2036-01-01'),
				(9, 'user10@example.com', 'pending', 'deleted', timestamp '2036-01-01')
			) AS asked (team, email, status, name, expires)`,
	} {
		if err := h.exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

func (h *house) checkCases(ctx context.Context) (cases []checkCase, err error) {
	may := func(name string, k kind, in input) { cases = append(cases, checkCase{name, k, in, false}) }
	not := func(name string, k kind, in input) { cases = append(cases, checkCase{name, k, in, true}) }

	not("a user who is not there", userByID, input{userID: 1 << 30})
	not("a deleted user", userByID, input{userID: 10})
	may("an e-mail in another case", credentials, input{email: " User9@EXAMPLE.com "})
	not("a deleted user's credentials", credentials, input{email: deletedEmail})
	may("a team with a deleted member", teamWithMembers, input{teamID: 2})
	not("a deleted team", teamWithMembers, input{teamID: 12})
	may("teams of one of whose teams is deleted", teamsOfUser, input{userID: 56})
	may("teams of a deleted user", teamsOfUser, input{userID: 10})
	may("an empty log", activityPage, input{teamID: 1 << 30, beforeTime: endOfTime, beforeID: math.MaxInt32})

	for _, op := range operationsOn(h.sizes) {
		inputs, err := op.inputs(h, ctx, 3)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", op.name, err)
		}
		for _, in := range inputs {
			cases = append(cases, checkCase{name: op.name, kind: op.kind, in: in})
		}
	}

	may("sign-up trims and lowers", signUp, input{email: "  Grace@EXAMPLE.com", hash: hash})
	may("sign-up with a team name that is cut", signUp, input{email: strings.Repeat("é", 95) + "@example.com", hash: hash})
	not("sign-up with a taken e-mail", signUp, input{email: "USER7@example.com", hash: hash})
	not("sign-up with no e-mail", signUp, input{email: "user7", hash: hash})

	may("invite whose invitation is over", invite, input{userID: h.owner(4), teamID: 4, email: "ASKED4@example.com"})
	may("invite whom an owner of before invited", invite, input{userID: 52, teamID: 11, email: "asked11@example.com"})
	not("invite by a member", invite, input{userID: 7, teamID: 2, email: "guest@example.com"})
	not("invite by another team's owner", invite, input{userID: h.owner(1), teamID: 2, email: "guest@example.com"})
	not("invite a member", invite, input{userID: h.owner(2), teamID: 2, email: "User7@example.com"})
	not("invite twice", invite, input{userID: h.owner(2), teamID: 2, email: "ASKED2@example.com"})

	invited := func(user int64, name string) input {
		in := input{userID: user, email: fmt.Sprintf("user%d@example.com", user), token: tokenNamed(name)}
		// Of no rows for an unknown one, which is no error here.
		_ = h.admin.QueryRow(ctx, "SELECT id FROM invitations WHERE token_hash = $1", hashOf(in.token)).Scan(&in.invitationID)
		return in
	}
	for _, name := range []string{"full", "over", "used", "inviter", "unknown"} {
		not("accept an invitation that is "+name, accept, invited(40, name))
	}
	not("accept what is for another", accept, invited(39, "standing"))
	not("accept by a deleted user", accept, invited(10, "deleted"))
	may("accept by who is in the team", accept, invited(40, "standing"))

	not("remove by a member", remove, input{userID: 7, teamID: 2, memberID: 8})
	not("remove another team's member", remove, input{userID: h.owner(2), teamID: 2, memberID: 1})
	not("remove the last owner", remove, input{userID: h.owner(2), teamID: 2, memberID: 6})
	may("remove one of two owners", remove, input{userID: 30, teamID: 7, memberID: h.owner(7)})

	entry := h.entry(h.random())
	lost, deleted, system := entry, entry, entry
	lost.TeamID, deleted.TeamID, system.UserID, system.Metadata = 1<<30, 12, 0, nil
	may("log by the system", logRow, input{rows: []store.RecordActivity{system}})
	not("log in no team", logRow, input{rows: []store.RecordActivity{lost}})
	not("log in a deleted team", logRow, input{rows: []store.RecordActivity{deleted}})
	may("log rows by the system", logRows, input{rows: []store.RecordActivity{entry, system}})
	not("log rows of which one is in no team", logRows, input{rows: []store.RecordActivity{entry, lost}})
	not("log rows of which one is in a deleted team", logRows, input{rows: []store.RecordActivity{entry, deleted}})

	apply := func(id string, seconds int, status db.SubscriptionStatus) input {
		return input{event: h.event(11, id, seconds, status)}
	}
	may("an event", subscriptionEvent, apply("evt_a", 5000, db.SubscriptionPastDue))
	may("the same event", subscriptionEvent, apply("evt_a", 5000, db.SubscriptionPastDue))
	may("an older event", subscriptionEvent, apply("evt_b", 4000, db.SubscriptionActive))
	may("a better event of that second", subscriptionEvent, apply("evt_c", 5000, db.SubscriptionActive))
	may("an event that changes nothing in the team", subscriptionEvent, apply("evt_d", 6000, db.SubscriptionActive))
	second := apply("evt_e", 6000, db.SubscriptionTrialing)
	second.event.Subscription.ID = "sub_second"
	may("a second subscription, which is not as good", subscriptionEvent, second)
	may("the end", subscriptionEvent, apply("evt_f", 5500, db.SubscriptionCanceled))
	may("after the end", subscriptionEvent, apply("evt_g", 9000, db.SubscriptionActive))
	stranger := apply("evt_h", 6000, db.SubscriptionActive)
	stranger.event.Subscription.ID, stranger.event.Subscription.CustomerID = "sub_stranger", "cus_stranger"
	not("an event of nobody's customer", subscriptionEvent, stranger)
	return cases, nil
}

// answer is what a contender made of a case.
func (s *session) answer(ctx context.Context, c checkCase) (string, bool) {
	a := s.action(c.kind)
	if a.result == nil {
		return "", false
	}
	in := c.in
	result, err := a.result(ctx, &in)
	switch {
	case err == nil && c.refused:
		return "not refused: " + text(result), true
	case err != nil && !c.refused:
		return "failed: " + err.Error(), true
	case err != nil:
		return "refused", true
	}
	return text(result), true
}

// transcript is what a contender did in each case.
type transcript []attempt

type attempt struct {
	checkCase
	did     bool // the contender does the case's kind
	answer  string
	changes []change
}

func (h *house) transcribe(ctx context.Context, c contender, copyName string) (t transcript, err error) {
	own, err := h.copy(ctx, copyName)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, own.close(ctx)) }()
	cases, err := own.checkCases(ctx)
	if err != nil {
		return t, err
	}
	config, err := own.config()
	if err != nil {
		return t, err
	}
	s, err := c.open(ctx, config, 1)
	if err != nil {
		return t, err
	}
	defer s.close()
	before, err := own.rows(ctx)
	if err != nil {
		return t, err
	}
	for _, one := range cases {
		a := attempt{checkCase: one}
		a.answer, a.did = s.answer(ctx, one)
		after, err := own.rows(ctx)
		if err != nil {
			return t, err
		}
		if a.changes, err = changesOf(before, after); err != nil {
			return t, err
		}
		before = after
		t = append(t, a)
	}
	return t, nil
}

// differences are those of a's attempts from the Store's, without what is left out.
func (a attempt) differences(omissions []omission, from attempt) (found []string) {
	if got, want := compared(omissions, a.kind, a.answer), compared(omissions, a.kind, from.answer); got != want {
		found = append(found, fmt.Sprintf("%s: %s\n  where the Store has %s", a.name, cut(got), cut(want)))
	}
	got, want := described(a.changes, omissions), described(from.changes, omissions)
	for i := range max(len(got), len(want)) {
		did, wanted := "nothing more", "nothing more"
		if i < len(got) {
			did = got[i]
		}
		if i < len(want) {
			wanted = want[i]
		}
		if did != wanted {
			return append(found, fmt.Sprintf("%s: %s\n  where the Store %s", a.name, did, wanted))
		}
	}
	return found
}

// described are changes as they are compared, in an order of their own.
func described(changes []change, omissions []omission) (lines []string) {
	for _, c := range changes {
		if line := c.compared(omissions); line != "" {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return lines
}

// differences are those of a contender's transcript from the Store's that it does not
// declare, and what it declares and does not show.
func (t transcript) differences(c contender, from transcript) (found []string) {
	shown := make(map[string]bool)
	for i, a := range t {
		if !a.did {
			continue
		}
		differences := a.differences(c.omissions, from[i])
		if !c.departs(a.name) {
			found = append(found, differences...)
		} else if len(differences) > 0 {
			shown[a.name] = true
		}
	}
	for _, d := range c.departures {
		if !shown[d.on] {
			found = append(found, fmt.Sprintf("%s: does the same as the Store, and is said not to", d.on))
		}
	}
	for left := range c.omissions {
		others := slices.Delete(slices.Clone(c.omissions), left, left+1)
		if !c.omissions[left].mayHide && !t.differs(c, others, from) {
			found = append(found, fmt.Sprintf("leaves nothing out by which %s", c.omissions[left].why))
		}
	}
	return found
}

// differs tells whether anything undeclared shows when only some omissions are made.
func (t transcript) differs(c contender, omissions []omission, from transcript) bool {
	for i, a := range t {
		if a.did && !c.departs(a.name) && len(a.differences(omissions, from[i])) > 0 {
			return true
		}
	}
	return false
}

// check compares all contenders with the first one, the Store.
func check(ctx context.Context, h *house, contenders []contender) error {
	var wrong []error
	var first transcript
	for i, c := range contenders {
		t, err := h.transcribe(ctx, c, fmt.Sprintf("%s_%d", h.name, i))
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if i == 0 {
			first = t
			for _, a := range t {
				if strings.HasPrefix(a.answer, "failed: ") || strings.HasPrefix(a.answer, "not refused: ") {
					wrong = append(wrong, fmt.Errorf("%s: %s: %s", c.name, a.name, a.answer))
				}
			}
		}
		for _, d := range t.differences(c, first) {
			wrong = append(wrong, fmt.Errorf("%s: %s", c.name, d))
		}
	}
	return errors.Join(wrong...)
}

// rows are all that the database has, each as its table and JSON.
func (h *house) rows(ctx context.Context) (map[string]bool, error) {
	var sql []string
	for _, table := range []string{"users", "teams", "team_members", "invitations", "activity_logs", "subscriptions", "subscription_events"} {
		sql = append(sql, fmt.Sprintf("SELECT concat('%[1]s ', to_jsonb(t)) FROM %[1]s AS t", table))
	}
	rows, _ := h.admin.Query(ctx, strings.Join(sql, " UNION ALL ")) // its error is in rows
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	all := make(map[string]bool, len(list))
	for _, row := range list {
		all[row] = true
	}
	return all, err
}

// changesOf are what came and went, without what must differ between runs.
func changesOf(before, after map[string]bool) (changes []change, err error) {
	note := func(row string, added bool) {
		table, content, _ := strings.Cut(row, " ")
		c := change{added: added, table: table}
		err = errors.Join(err, json.Unmarshal([]byte(content), &c.row))
		if table == "activity_logs" {
			delete(c.row, "id") // nothing refers to it, and what is rolled back leaves a gap
		}
		for column, v := range c.row {
			s, ok := v.(string)
			if !ok {
				continue
			}
			if t, err := time.Parse("2006-01-02T15:04:05.999999", s); err == nil {
				c.row[column] = when(t)
			}
			if column == "token_hash" { // a random one's
				c.row[column] = len(s)
			}
		}
		changes = append(changes, c)
	}
	for row := range before {
		if !after[row] {
			note(row, false)
		}
	}
	for row := range after {
		if !before[row] {
			note(row, true)
		}
	}
	return changes, err
}

// checkReads compares what the contenders read of the data that is raced on.
func checkReads(ctx context.Context, h *house, contenders []contender) error {
	config, err := h.config()
	if err != nil {
		return err
	}
	var wrong []error
	want := make(map[string]string)
	serial := h.serial
	for _, c := range contenders {
		s, err := c.open(ctx, config, 1)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		h.serial = serial // the same inputs for all
		for _, op := range operationsOn(h.sizes) {
			if op.writes {
				continue
			}
			inputs, err := op.inputs(h, ctx, 3)
			if err != nil {
				return err
			}
			for i, in := range inputs {
				name := fmt.Sprintf("%s, %d", op.name, i)
				answer, did := s.answer(ctx, checkCase{name: name, kind: op.kind, in: in})
				if _, known := want[name]; !known {
					want[name] = answer
				}
				got, wanted := compared(c.omissions, op.kind, answer), compared(c.omissions, op.kind, want[name])
				if did && (got != wanted || strings.HasPrefix(answer, "failed: ")) {
					wrong = append(wrong, fmt.Errorf("%s: %s: %s, where the Store has %s", c.name, name, cut(got), cut(wanted)))
				}
			}
		}
		s.close()
	}
	return errors.Join(wrong...)
}

func cut(s string) string { return s[:min(len(s), 500)] }
