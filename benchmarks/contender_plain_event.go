package main

import (
	"context"
	"errors"
)

type plainOutcome struct {
	outcome string
	team    plainTeam
}

func (p *plain) event(ctx context.Context, in *input) (o plainOutcome, err error) {
	e := &in.event
	return o, p.inTx(ctx, func(c conn) error {
		var err error
		id, err := teamOfSubscription(ctx, c, e.Subscription.ID, e.Subscription.CustomerID)
		if err != nil {
			return err
		}
		if o.team, err = lockTeam(ctx, c, id); err != nil {
			return err
		}
		fresh, err := exec(ctx, c, "INSERT INTO subscription_events (id, type, created_at, received_at) VALUES ($1, $2, $3, timezone('utc', now())) ON CONFLICT DO NOTHING",
			e.EventID, e.EventType, e.Created)
		if err != nil {
			return err
		}
		if fresh == 0 {
			o.outcome = "duplicate"
			return nil
		}
		row := subscriptionOf(e, id)
		old, err := get[plainSubscription](ctx, c, "SELECT * FROM subscriptions WHERE id = $1 FOR NO KEY UPDATE", row.ID)
		switch {
		case errors.Is(err, errNotFound):
			_, err = exec(ctx, c, `INSERT INTO subscriptions (id, team_id, stripe_customer_id, status, stripe_product_id, stripe_price_id, plan_name, quantity,
					trial_end, current_period_end, cancel_at, cancel_at_period_end, created_at, event_created_at, event_id)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`,
				row.ID, row.TeamID, row.Customer, row.Status, row.Product, row.Price, row.Plan, row.Quantity,
				row.TrialEnd, row.PeriodEnd, row.CancelAt, row.CancelAtPeriodEnd, row.CreatedAt, row.EventCreatedAt, row.EventID)
		case err == nil && (old.TeamID != id || !row.supersedes(old)):
			o.outcome = "stale"
			return nil
		case err == nil:
			_, err = exec(ctx, c, `UPDATE subscriptions SET status = $2, stripe_product_id = $3, stripe_price_id = $4, plan_name = $5, quantity = $6,
					trial_end = $7, current_period_end = $8, cancel_at = $9, cancel_at_period_end = $10, created_at = $11, event_created_at = $12, event_id = $13
				WHERE id = $1`, row.ID, row.Status, row.Product, row.Price, row.Plan, row.Quantity,
				row.TrialEnd, row.PeriodEnd, row.CancelAt, row.CancelAtPeriodEnd, row.CreatedAt, row.EventCreatedAt, row.EventID)
		}
		if err != nil {
			return err
		}
		o.outcome = "applied"
		best, err := get[plainSubscription](ctx, c, "SELECT * FROM subscriptions WHERE team_id = $1 ORDER BY standing DESC, created_at DESC, id DESC LIMIT 1", id)
		if err != nil {
			return err
		}
		from, to := projection{o.team.Subscription, o.team.Product, o.team.Plan, o.team.Status}, projectionOf(best)
		if from.equals(to) {
			return nil
		}
		if o.team, err = get[plainTeam](ctx, c, `UPDATE teams SET stripe_subscription_id = $2, stripe_product_id = $3, plan_name = $4, subscription_status = $5, updated_at = timezone('utc', now())
			WHERE id = $1 RETURNING *`, id, to.Subscription, to.Product, to.Plan, to.Status); err != nil {
			return err
		}
		return logged(ctx, c, id, nil, "UPDATE_SUBSCRIPTION", nil, changeMetadata(from, to, e.EventID))
	})
}

// teamOfSubscription is the one that has it, else the customer's, else the one that the
// customer had.
func teamOfSubscription(ctx context.Context, c conn, subscription, customer string) (id int64, err error) {
	id, err = value[int64](ctx, c, "SELECT team_id FROM subscriptions WHERE id = $1", subscription)
	if errors.Is(err, errNotFound) {
		id, err = value[int64](ctx, c, "SELECT id FROM teams WHERE stripe_customer_id = $1", customer)
	}
	if errors.Is(err, errNotFound) {
		id, err = value[int64](ctx, c, "SELECT team_id FROM subscriptions WHERE stripe_customer_id = $1 LIMIT 1", customer)
	}
	return id, err
}
