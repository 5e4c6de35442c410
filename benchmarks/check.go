package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// A time means something only when what was timed is the same. Each contender does the
// same operations on a copy of the same data, also those that must be refused; then each
// result, and each table row by row, is compared with the Store's.

// checkCase is one call. What is named in refused must fail and write nothing.
type checkCase struct {
	name    string
	kind    kind
	in      input
	refused bool
}

// small is the data of the check.
var small = sizes{teams: 12, spare: 3, big: []int{7, 20, 60}, log: 130, logRows: 25}

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
			SELECT team, email, 'member', 5 * team - 4, '2026-01-02', status, sha256(name::bytea), expires FROM (VALUES
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
	not("a deleted user's credentials", credentials, input{email: "user10@example.com"})
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

	for _, name := range []string{"full", "over", "used", "inviter", "unknown"} {
		not("accept an invitation that is "+name, accept, input{userID: 40, token: name})
	}
	not("accept what is for another", accept, input{userID: 39, token: "standing"})
	not("accept by a deleted user", accept, input{userID: 10, token: "deleted"})
	may("accept by who is in the team", accept, input{userID: 40, token: "standing"})

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
	a := s.actions[c.kind]
	if a.run == nil {
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

// transcript is what a contender answered to each case, and the tables after that. A
// contender that leaves a kind out has no table compared: its cases are missing there.
type transcript struct {
	answers []string
	did     []bool
	tables  string
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
	for _, one := range cases {
		answer, did := s.answer(ctx, one)
		t.answers = append(t.answers, one.name+": "+answer)
		t.did = append(t.did, did)
	}
	t.tables, err = own.dump(ctx)
	return t, err
}

// differences are those of t from the Store's.
func (t transcript) differences(from transcript) (found []string) {
	complete := true
	for i, answer := range t.answers {
		complete = complete && t.did[i]
		if t.did[i] && answer != from.answers[i] {
			found = append(found, fmt.Sprintf("%s\n  where the Store has %s", answer, from.answers[i]))
		}
	}
	if !complete {
		return found
	}
	rows, want := strings.Split(t.tables, "\n"), strings.Split(from.tables, "\n")
	for i := range max(len(rows), len(want)) {
		row, wanted := "nothing", "nothing"
		if i < len(rows) {
			row = rows[i]
		}
		if i < len(want) {
			wanted = want[i]
		}
		if row != wanted {
			return append(found, fmt.Sprintf("wrote %s\n  where the Store wrote %s", row, wanted))
		}
	}
	return found
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
			for _, answer := range t.answers {
				if strings.Contains(answer, ": failed: ") || strings.Contains(answer, ": not refused: ") {
					wrong = append(wrong, fmt.Errorf("%s: %s", c.name, answer))
				}
			}
		}
		for _, d := range t.differences(first) {
			wrong = append(wrong, fmt.Errorf("%s: %s", c.name, d))
		}
	}
	return errors.Join(wrong...)
}

// dump is every row of every table, without what must differ between runs.
func (h *house) dump(ctx context.Context) (string, error) {
	var b strings.Builder
	for _, table := range []string{"users", "teams", "team_members", "invitations", "activity_logs", "subscriptions", "subscription_events"} {
		rows, err := h.admin.Query(ctx, "SELECT to_jsonb(t) FROM "+table+" AS t ORDER BY id")
		if err != nil {
			return "", err
		}
		contents, err := pgx.CollectRows(rows, pgx.RowTo[json.RawMessage])
		if err != nil {
			return "", err
		}
		for _, content := range contents {
			var row map[string]any
			if err := json.Unmarshal(content, &row); err != nil {
				return "", err
			}
			if table == "activity_logs" {
				delete(row, "id") // nothing refers to it, and what is rolled back leaves a gap
			}
			for column, v := range row {
				s, ok := v.(string)
				if !ok {
					continue
				}
				if t, err := time.Parse("2006-01-02T15:04:05.999999", s); err == nil {
					row[column] = when(t)
				}
				if column == "token_hash" { // a random one's
					row[column] = len(s)
				}
			}
			fmt.Fprintln(&b, table, text(row))
		}
	}
	return b.String(), nil
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
				if did && (answer != want[name] || strings.HasPrefix(answer, "failed: ")) {
					wrong = append(wrong, fmt.Errorf("%s: %s: %s, where the Store has %s", c.name, name, cut(answer), cut(want[name])))
				}
			}
		}
		s.close()
	}
	return errors.Join(wrong...)
}

func cut(s string) string { return s[:min(len(s), 500)] }
