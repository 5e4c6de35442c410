package main

import (
	"context"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

type handOutcome struct {
	Outcome string
	Team    handTeam
}

func (o handOutcome) canonical() any { return canonicalOutcome{o.Outcome, o.Team.compared()} }

func (p hand) event(ctx context.Context, in *input) (o handOutcome, err error) {
	e, sub := &in.event, &in.event.Subscription
	plan := sub.PlanName
	if utf8.RuneCountInString(plan) > 50 {
		plan = string([]rune(plan)[:50])
	}
	batch := &pgx.Batch{}
	// The team that is locked is the one that the next statement works on: found again, it
	// could be another one by then.
	batch.Queue(`WITH t AS (
			SELECT id FROM teams
			WHERE id = coalesce(
				(SELECT team_id FROM subscriptions WHERE id = $1),
				(SELECT id FROM teams WHERE stripe_customer_id = $2),
				(SELECT team_id FROM subscriptions WHERE stripe_customer_id = $2 LIMIT 1))
			FOR NO KEY UPDATE
		)
		SELECT set_config('bench.team', coalesce((SELECT id::text FROM t), ''), true)`, sub.ID, sub.CustomerID)
	var seen, written bool
	t := &o.Team
	batch.Queue(`WITH t AS (
			SELECT id, stripe_subscription_id AS s, stripe_product_id AS p, plan_name AS n, subscription_status AS st, updated_at
			FROM teams WHERE id = nullif(current_setting('bench.team', true), '')::integer
		), e AS (
			INSERT INTO subscription_events (id, type, created_at, received_at)
			SELECT $1, $2, $3, timezone('utc', now()) FROM t
			ON CONFLICT (id) DO NOTHING
			RETURNING id
		), w AS (
			INSERT INTO subscriptions (id, team_id, stripe_customer_id, status, stripe_product_id, stripe_price_id, plan_name, quantity,
				trial_end, current_period_end, cancel_at, cancel_at_period_end, created_at, event_created_at, event_id)
			SELECT $4, t.id, $5, $6, nullif($7::text, ''), nullif($8::text, ''), nullif($9::text, ''), nullif($10::integer, 0), $11, $12, $13, $14, $15, $3, $1
			FROM t, e
			ON CONFLICT (id) DO UPDATE SET (status, stripe_product_id, stripe_price_id, plan_name, quantity, trial_end, current_period_end,
				cancel_at, cancel_at_period_end, created_at, event_created_at, event_id) =
				(excluded.status, excluded.stripe_product_id, excluded.stripe_price_id, excluded.plan_name, excluded.quantity, excluded.trial_end,
				excluded.current_period_end, excluded.cancel_at, excluded.cancel_at_period_end, excluded.created_at, excluded.event_created_at, excluded.event_id)
			WHERE subscriptions.team_id = excluded.team_id AND (excluded.standing = 0, excluded.event_created_at, coalesce(excluded.current_period_end, '-infinity'), excluded.standing, coalesce(excluded.event_id, '') COLLATE "C")
				> (subscriptions.standing = 0, subscriptions.event_created_at, coalesce(subscriptions.current_period_end, '-infinity'), subscriptions.standing, coalesce(subscriptions.event_id, '') COLLATE "C")
			RETURNING id, team_id, stripe_product_id, plan_name, status, standing, created_at
		), best AS (
			SELECT * FROM (
				SELECT * FROM w
				UNION ALL
				SELECT s.id, s.team_id, s.stripe_product_id, s.plan_name, s.status, s.standing, s.created_at
				FROM subscriptions AS s JOIN w ON s.team_id = w.team_id AND s.id <> w.id
			) AS one
			ORDER BY standing DESC, created_at DESC, id DESC
			LIMIT 1
		), shown AS (
			SELECT CASE WHEN standing > 0 THEN id END AS s, CASE WHEN standing > 0 THEN stripe_product_id END AS p,
				CASE WHEN standing > 0 THEN plan_name END AS n, status AS st
			FROM best
		), updated AS (
			UPDATE teams
			SET stripe_subscription_id = shown.s, stripe_product_id = shown.p, plan_name = shown.n, subscription_status = shown.st, updated_at = timezone('utc', now())
			FROM t, shown
			WHERE teams.id = t.id AND (t.s, t.p, t.n, t.st) IS DISTINCT FROM (shown.s, shown.p, shown.n, shown.st)
			RETURNING teams.*
		), l AS (
			INSERT INTO activity_logs (team_id, action, "timestamp", metadata)
			SELECT t.id, 'UPDATE_SUBSCRIPTION', updated.updated_at, jsonb_build_object(
				'from', jsonb_build_object('subscriptionId', t.s, 'productId', t.p, 'planName', t.n, 'status', t.st),
				'to', jsonb_build_object('subscriptionId', shown.s, 'productId', shown.p, 'planName', shown.n, 'status', shown.st),
				'eventId', $1::text)
			FROM t, shown, updated
		), r AS (
			SELECT * FROM updated UNION ALL SELECT teams.* FROM teams JOIN t ON teams.id = t.id WHERE NOT EXISTS (SELECT FROM updated)
		)
		SELECT NOT EXISTS (SELECT FROM e), EXISTS (SELECT FROM w), id, name, created_at, updated_at,
			stripe_customer_id, stripe_subscription_id, stripe_product_id, plan_name, subscription_status, seat_limit
		FROM r`,
		e.EventID, e.EventType, e.Created, sub.ID, sub.CustomerID, string(sub.Status), sub.ProductID, sub.PriceID, plan, int32(sub.Quantity),
		timeOrNull(sub.TrialEnd), timeOrNull(sub.CurrentPeriodEnd), timeOrNull(sub.CancelAt), sub.CancelAtPeriodEnd, sub.Created).
		QueryRow(func(row pgx.Row) error {
			return row.Scan(&seen, &written, &t.ID, &t.Name, &t.CreatedAt, &t.UpdatedAt, &t.Customer, &t.Subscription, &t.Product, &t.Plan, &t.Status, &t.SeatLimit)
		})
	if err := refusedIfNone(p.pool.SendBatch(ctx, batch).Close()); err != nil {
		return o, err
	}
	switch {
	case seen:
		o.Outcome = "duplicate"
	case !written:
		o.Outcome = "stale"
	default:
		o.Outcome = "applied"
	}
	return o, nil
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
