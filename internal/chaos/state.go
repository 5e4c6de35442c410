package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rowhouse/rowhouse/db"
)

// compare holds the tables of the state against what the log says they are.
func (p *replay) compare(ctx context.Context, pool *pgxpool.Pool) error {
	for _, table := range []func(context.Context, *pgxpool.Pool) error{p.compareTeams, p.compareMembers, p.compareInvitations, p.compareUsers, p.compareSubscriptions} {
		if err := table(ctx, pool); err != nil {
			return err
		}
	}
	return nil
}

func (p *replay) compareTeams(ctx context.Context, pool *pgxpool.Pool) error {
	rows, err := pool.Query(ctx, `
		SELECT id, name, deleted_at IS NOT NULL, seat_limit, stripe_customer_id, stripe_subscription_id, stripe_product_id, plan_name, subscription_status
		FROM teams`)
	if err != nil {
		return err
	}
	var id db.TeamID
	var t teamState
	n := 0
	_, err = pgx.ForEachRow(rows, []any{&id, &t.name, &t.deleted, &t.seats, &t.customer,
		&t.plan.SubscriptionID, &t.plan.ProductID, &t.plan.PlanName, &t.plan.Status}, func() error {
		n++
		log := p.teams[id]
		if log == nil {
			p.report.problem("team %d is there, and nothing of it in the log", id)
			return nil
		}
		if have, want := t.columns(), log.columns(); have != want {
			p.report.problem("team %d is %s; by the log %s", id, have, want)
		}
		return nil
	})
	if n < len(p.teams) {
		p.report.problem("%d teams are there, %d in the log", n, len(p.teams))
	}
	p.report.check("%d teams: name, seats, customer, plan, deletion", n)
	return err
}

func (t *teamState) columns() string {
	return fmt.Sprintf("%q, deleted %t, seats %s, customer %s, plan %s", t.name, t.deleted, text(t.seats), text(t.customer), t.plan)
}

func (p *replay) compareMembers(ctx context.Context, pool *pgxpool.Pool) error {
	rows, err := pool.Query(ctx, "SELECT team_id, user_id, role FROM team_members")
	if err != nil {
		return err
	}
	n, inLog := 0, 0
	for _, t := range p.teams {
		inLog += len(t.members)
	}
	var team db.TeamID
	var user db.UserID
	var role db.Role
	_, err = pgx.ForEachRow(rows, []any{&team, &user, &role}, func() error {
		n++
		if t := p.teams[team]; t == nil || t.members[user] != role {
			p.report.problem("user %d is %s of team %d, and not by the log", user, role, team)
		}
		return nil
	})
	if n != inLog {
		p.report.problem("%d memberships are there, %d by the log", n, inLog)
	}
	p.report.check("%d memberships and their roles", n)
	return err
}

func (p *replay) compareInvitations(ctx context.Context, pool *pgxpool.Pool) error {
	// A pending one is ended without a row of its own when its sender or its team is, and
	// when it makes room for another of the same e-mail.
	rows, err := pool.Query(ctx, `
		SELECT i.id, i.team_id, i.email, i.role, i.status,
			(SELECT deleted_at IS NOT NULL FROM users WHERE id = i.invited_by) OR (SELECT deleted_at IS NOT NULL FROM teams WHERE id = i.team_id)
			OR EXISTS (SELECT FROM invitations AS later WHERE later.team_id = i.team_id AND lower(later.email) = lower(i.email) AND later.id > i.id)
		FROM invitations AS i`)
	if err != nil {
		return err
	}
	var id db.InvitationID
	var i invitationState
	var endedWithOther bool
	n := 0
	_, err = pgx.ForEachRow(rows, []any{&id, &i.team, &i.email, &i.role, &i.status, &endedWithOther}, func() error {
		n++
		log := p.invited[id]
		if log == nil {
			p.report.problem("invitation %d of team %d is there, and nothing of it in the log", id, i.team)
			return nil
		}
		want := *log
		if endedWithOther && want.status == db.InvitationPending && i.status == db.InvitationCanceled {
			want.status = db.InvitationCanceled
		}
		if i != want {
			p.report.problem("invitation %d is %v; by the log %v", id, i, want)
		}
		return nil
	})
	if n != len(p.invited) {
		p.report.problem("%d invitations are there, %d in the log", n, len(p.invited))
	}
	p.report.check("%d invitations: e-mail, role, status", n)
	return err
}

func (p *replay) compareUsers(ctx context.Context, pool *pgxpool.Pool) error {
	deletions := make(map[db.UserID]outcome) // of users who may have been in no team: the best known
	for number, e := range p.ledger.entries {
		if e.deletes && (e.outcome == acknowledged || e.outcome == unknown && deletions[e.user] == "") {
			deletions[e.user] = p.ledger.entries[number].outcome
		}
	}
	rows, err := pool.Query(ctx, "SELECT id, coalesce(name, ''), email, password_hash, deleted_at IS NOT NULL FROM users")
	if err != nil {
		return err
	}
	var id db.UserID
	var name, email, hash string
	var deleted bool
	n := 0
	_, err = pgx.ForEachRow(rows, []any{&id, &name, &email, &hash, &deleted}, func() error {
		n++
		log := p.users[id]
		if log == nil || log.hash == 0 {
			p.report.problem("user %d is there, and never signed up by the log", id)
			return nil
		}
		told := deletions[id]
		if deleted && !log.deleted && (told == "" || !p.homeless[id]) || !deleted && (log.deleted || told == acknowledged) {
			p.report.problem("user %d is deleted: %t; by the log %t, and the deletion was %q", id, deleted, log.deleted, told)
		}
		if deleted {
			email = strings.TrimSuffix(email, fmt.Sprintf("-%d-deleted", id))
		}
		wantEmail := emailOf(log.email)
		if i := p.invited[log.invitation]; i != nil {
			wantEmail = i.email
		}
		p.column(id, "name", name, nameOf(log.name), "name %d")
		p.column(id, "e-mail", email, wantEmail, "u%d@chaos.example")
		p.column(id, "password", hash, string(hashOf(log.hash)), "hash %d")
		return nil
	})
	if n < len(p.users) {
		p.report.problem("%d users are there, %d in the log", n, len(p.users))
	}
	p.report.check("%d users: name, e-mail, password, deletion", n)
	return err
}

// column complains about an account's column that the log does not explain. A user
// without a team may have changed it without a row: then by an operation that happened.
func (p *replay) column(user db.UserID, column, have, want, format string) {
	if have == want {
		return
	}
	var number uint64
	if _, err := fmt.Sscanf(have, format, &number); err == nil && number < uint64(len(p.ledger.entries)) && p.homeless[user] {
		e := p.ledger.entries[number]
		if e.user == user && !slices.ContainsFunc(p.written[number], changesAccount) && (e.outcome == acknowledged || e.outcome == unknown) {
			return
		}
	}
	p.report.problem("user %d has the %s %q; by the log %q", user, column, have, want)
}

func changesAccount(row logged) bool {
	return row.action == db.ActivityUpdateAccount || row.action == db.ActivityUpdatePassword
}

// compareSubscriptions: whatever the order in which events were applied, the greatest of
// those that were stands.
func (p *replay) compareSubscriptions(ctx context.Context, pool *pgxpool.Pool) error {
	rows, err := pool.Query(ctx, "SELECT id, event_id, plan_name, status FROM subscriptions")
	if err != nil {
		return err
	}
	var id, event, plan string
	var status db.SubscriptionStatus
	n := 0
	_, err = pgx.ForEachRow(rows, []any{&id, &event, &plan, &status}, func() error {
		n++
		want := p.standing[id]
		if want == nil {
			p.report.problem("subscription %s is there, and no event of it", id)
			return nil
		}
		number := strings.TrimPrefix(want.id, "evt_")
		if event != want.id || status != statuses[want.standing] || plan != "plan "+number {
			p.report.problem("subscription %s is %s, %q by %s; its greatest event is %s", id, status, plan, event, want.id)
		}
		return nil
	})
	if n != len(p.standing) {
		p.report.problem("%d subscriptions are there, %d have events", n, len(p.standing))
	}
	p.report.check("%d subscriptions: the event that stands", n)
	return err
}
