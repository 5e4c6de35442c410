package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// operation is what is measured: a kind, on some part of the data.
type operation struct {
	name   string
	kind   kind
	writes bool
	// inputs are made anew for each contender when it writes, and else shared.
	inputs func(h *house, ctx context.Context, n int) ([]input, error)
}

// operationsOn are in an order in which the reads come before what makes the data grow.
func operationsOn(s sizes) []operation {
	ops := []operation{
		{"user by id", userByID, false, (*house).anyUser},
		{"credentials", credentials, false, (*house).anyUser},
		{"team of 5", teamWithMembers, false, (*house).anyTeam},
	}
	for i, n := range s.big {
		ops = append(ops, operation{fmt.Sprintf("team of %s", thousands(n)), teamWithMembers, false, func(h *house, _ context.Context, n int) ([]input, error) {
			return repeated(input{teamID: h.big[i]}, n), nil
		}})
	}
	return append(ops,
		operation{fmt.Sprintf("%d teams of a user", teamsOf), teamsOfUser, false, func(h *house, _ context.Context, n int) ([]input, error) {
			return repeated(input{userID: h.crowded}, n), nil
		}},
		operation{fmt.Sprintf("first page of %d log rows", pageSize), activityPage, false, func(h *house, _ context.Context, n int) ([]input, error) {
			return repeated(input{teamID: h.deep, beforeTime: endOfTime, beforeID: math.MaxInt32}, n), nil
		}},
		operation{fmt.Sprintf("page at depth %s", thousands(s.log)), deepPage, false, func(h *house, _ context.Context, n int) ([]input, error) {
			return repeated(h.deepPage, n), nil
		}},
		operation{"sign-up", signUp, true, (*house).newcomers},
		operation{"invite", invite, true, (*house).invitees},
		operation{"accept", accept, true, (*house).joiners},
		operation{"remove", remove, true, (*house).leavers},
		operation{"one log row", logRow, true, (*house).logEntry},
		operation{fmt.Sprintf("%s log rows", thousands(s.logRows)), logRows, true, (*house).logEntries},
		operation{"subscription event", subscriptionEvent, true, (*house).events},
	)
}

// endOfTime is before which a first page begins: after every row.
var endOfTime = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

func repeated(in input, n int) []input { return slices.Repeat([]input{in}, n) }

// next is a number that this database has not been given yet.
func (h *house) next() int { h.serial++; return h.serial }

// random is the same sequence in every run.
func (h *house) random() *rand.Rand { return rand.New(rand.NewPCG(uint64(h.next()), 1)) }

// drawn is how many of the teams, from the first on, operations draw from.
func (h *house) drawn() int64 { return int64(h.sizes.teams - h.sizes.spare) }

func (h *house) owner(team int64) int64 { return 5*team - 4 }

func (h *house) anyUser(_ context.Context, n int) ([]input, error) {
	r, inputs := h.random(), make([]input, n)
	for i := range inputs {
		id := 1 + r.Int64N(h.members)
		inputs[i] = input{userID: id, email: fmt.Sprintf("user%d@example.com", id)}
	}
	return inputs, nil
}

func (h *house) anyTeam(_ context.Context, n int) ([]input, error) {
	r, inputs := h.random(), make([]input, n)
	for i := range inputs {
		inputs[i] = input{teamID: 1 + r.Int64N(h.drawn())}
	}
	return inputs, nil
}

func (h *house) newcomers(_ context.Context, n int) ([]input, error) {
	inputs := make([]input, n)
	for i := range inputs {
		inputs[i] = input{email: fmt.Sprintf("newcomer%d@example.com", h.next()), hash: hash}
	}
	return inputs, nil
}

// workTeam spreads writes over the teams, so that no two that run at a time meet.
func (h *house) workTeam() (team int64, serial int) {
	serial = h.next()
	return 1 + int64(serial)%h.drawn(), serial
}

func (h *house) invitees(_ context.Context, n int) ([]input, error) {
	inputs := make([]input, n)
	for i := range inputs {
		team, serial := h.workTeam()
		inputs[i] = input{userID: h.owner(team), teamID: team, email: fmt.Sprintf("guest%d@example.com", serial)}
	}
	return inputs, nil
}

// tokenOf is an invitation's token and what the database has of it. A benchmark's tokens
// need be no secret.
func tokenOf(serial int) (token string, hash []byte) {
	var b [32]byte
	binary.BigEndian.PutUint64(b[:], uint64(serial))
	sum := sha256.Sum256(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:]), sum[:]
}

// joiners are users with an invitation each.
func (h *house) joiners(ctx context.Context, n int) ([]input, error) {
	inputs := make([]input, n)
	teams, emails, hashes := make([]int64, n), make([]string, n), make([][]byte, n)
	for i := range inputs {
		team, serial := h.workTeam()
		teams[i], emails[i] = team, fmt.Sprintf("joiner%d@example.com", serial)
		inputs[i].email = emails[i]
		inputs[i].token, hashes[i] = tokenOf(serial)
	}
	users, err := h.insertUsers(ctx, emails)
	if err != nil {
		return nil, err
	}
	invitations, err := h.ids(ctx, `INSERT INTO invitations (team_id, email, role, invited_by, invited_at, status, token_hash, expires_at)
		SELECT team, email, 'member', 5 * team - 4, timezone('utc', now()), 'pending', token_hash, timezone('utc', now()) + interval '7 days'
		FROM unnest($1::bigint[], $2::text[], $3::bytea[]) AS asked (team, email, token_hash) RETURNING id`, teams, emails, hashes)
	for i := range invitations {
		inputs[i].userID, inputs[i].invitationID = users[i], invitations[i]
	}
	return inputs, err
}

// leavers are members of teams, to be removed by the owner.
func (h *house) leavers(ctx context.Context, n int) ([]input, error) {
	inputs, teams, emails := make([]input, n), make([]int64, n), make([]string, n)
	for i := range inputs {
		team, serial := h.workTeam()
		teams[i], emails[i] = team, fmt.Sprintf("leaver%d@example.com", serial)
		inputs[i] = input{userID: h.owner(team), teamID: team}
	}
	users, err := h.insertUsers(ctx, emails)
	if err != nil {
		return nil, err
	}
	members, err := h.ids(ctx, `INSERT INTO team_members (user_id, team_id, role, joined_at)
		SELECT user_id, team_id, 'member', timezone('utc', now()) FROM unnest($1::bigint[], $2::bigint[]) AS joined (user_id, team_id) RETURNING id`, users, teams)
	for i := range members {
		inputs[i].memberID = members[i]
	}
	return inputs, err
}

func (h *house) insertUsers(ctx context.Context, emails []string) ([]int64, error) {
	return h.ids(ctx, `INSERT INTO users (email, password_hash, created_at, updated_at)
		SELECT email, 'hash', timezone('utc', now()), timezone('utc', now()) FROM unnest($1::text[]) AS email RETURNING id`, emails)
}

func (h *house) ids(ctx context.Context, sql string, args ...any) (ids []int64, err error) {
	rows, err := h.admin.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

func (h *house) entry(r *rand.Rand) store.RecordActivity {
	team := 1 + r.Int64N(h.drawn())
	return store.RecordActivity{
		TeamID: db.TeamID(team), UserID: db.UserID(h.owner(team)), Action: "EXPORT_REPORT", IP: address,
		Metadata: map[string]any{"report": "monthly", "rows": 1200},
	}
}

func (h *house) logEntry(_ context.Context, n int) ([]input, error) {
	r, inputs := h.random(), make([]input, n)
	for i := range inputs {
		inputs[i].rows = []store.RecordActivity{h.entry(r)}
	}
	return inputs, nil
}

func (h *house) logEntries(_ context.Context, n int) ([]input, error) {
	rows, r := make([]store.RecordActivity, h.sizes.logRows), h.random()
	for i := range rows {
		rows[i] = h.entry(r)
	}
	return repeated(input{rows: rows}, n), nil
}

// events change the status of teams' subscriptions, to and fro, so that each is applied,
// shown in the team's row and logged.
func (h *house) events(_ context.Context, n int) ([]input, error) {
	inputs := make([]input, n)
	for i := range inputs {
		team, serial := h.workTeam()
		status := db.SubscriptionPastDue
		if int64(serial)/h.drawn()%2 == 1 {
			status = db.SubscriptionActive
		}
		inputs[i].event = h.event(team, fmt.Sprintf("evt_%d", serial), serial, status)
	}
	return inputs, nil
}

func (h *house) event(team int64, id string, seconds int, status db.SubscriptionStatus) store.ApplySubscription {
	created := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	return store.ApplySubscription{
		EventID: id, EventType: "customer.subscription.updated", Created: created.Add(time.Duration(seconds) * time.Second),
		Subscription: store.StripeSubscription{
			ID: fmt.Sprintf("sub_%d", team), CustomerID: fmt.Sprintf("cus_%d", team), Status: status,
			ProductID: "prod_plus", PriceID: "price_1", PlanName: "Plus", Quantity: 5,
			CurrentPeriodEnd: created.AddDate(0, 1, 0), Created: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		},
	}
}

// thousands is a number as it is read: 10,000.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
