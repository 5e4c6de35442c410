package main

import (
	"context"
	"database/sql"
	"errors"

	"github.com/uptrace/bun"
)

type bunOutcome struct {
	outcome string
	team    bunTeam
}

func (g withBunDB) event(ctx context.Context, in *input) (o bunOutcome, err error) {
	e := &in.event
	return o, g.inTx(ctx, func(tx withBunDB) error {
		id, err := tx.teamOfSubscription(ctx, e.Subscription.ID, e.Subscription.CustomerID)
		if err != nil {
			return err
		}
		if o.team, err = tx.lock(ctx, id); err != nil {
			return err
		}
		result, err := tx.NewInsert().Model(&bunEvent{ID: e.EventID, Type: e.EventType, CreatedAt: e.Created, ReceivedAt: now()}).On("CONFLICT DO NOTHING").Exec(ctx)
		if err != nil {
			return err
		}
		if fresh, err := result.RowsAffected(); err != nil || fresh == 0 {
			o.outcome = "duplicate"
			return err
		}
		row := bunSubscriptionOf(subscriptionOf(e, id))
		var old bunSubscription
		err = tx.NewSelect().Model(&old).Where("id = ?", row.ID).For(bunLock).Scan(ctx)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			_, err = tx.NewInsert().Model(&row).ExcludeColumn("standing").Exec(ctx) // it is generated
		case err == nil && (old.TeamID != id || !row.plain().supersedes(old.plain())):
			o.outcome = "stale"
			return nil
		case err == nil:
			row.StripeCustomerID = old.StripeCustomerID
			_, err = tx.NewUpdate().Model(&row).ExcludeColumn("standing").WherePK().Exec(ctx)
		}
		if err != nil {
			return err
		}
		o.outcome = "applied"
		var best bunSubscription
		if err := tx.NewSelect().Model(&best).Where("team_id = ?", id).Order("standing DESC", "created_at DESC", "id DESC").Limit(1).Scan(ctx); err != nil {
			return err
		}
		t := &o.team
		from, to := projection{t.StripeSubscriptionID, t.StripeProductID, t.PlanName, t.SubscriptionStatus}, projectionOf(best.plain())
		if from.equals(to) {
			return nil
		}
		t.StripeSubscriptionID, t.StripeProductID, t.PlanName, t.SubscriptionStatus = to.Subscription, to.Product, to.Plan, to.Status
		t.UpdatedAt = now()
		if _, err := tx.NewUpdate().Model(t).Column("stripe_subscription_id", "stripe_product_id", "plan_name", "subscription_status", "updated_at").WherePK().WhereAllWithDeleted().Exec(ctx); err != nil {
			return err
		}
		return tx.logged(ctx, id, nil, "UPDATE_SUBSCRIPTION", nil, changeMetadata(from, to, e.EventID))
	})
}

func (g withBunDB) teamOfSubscription(ctx context.Context, subscription, customer string) (id int64, err error) {
	err = g.NewSelect().Model((*bunSubscription)(nil)).Column("team_id").Where("id = ?", subscription).Scan(ctx, &id)
	if errors.Is(err, sql.ErrNoRows) {
		err = g.NewSelect().Model((*bunTeam)(nil)).Column("id").Where("stripe_customer_id = ?", customer).WhereAllWithDeleted().Scan(ctx, &id)
	}
	if errors.Is(err, sql.ErrNoRows) {
		err = g.NewSelect().Model((*bunSubscription)(nil)).Column("team_id").Where("stripe_customer_id = ?", customer).Limit(1).Scan(ctx, &id)
	}
	return id, err
}

func bunSubscriptionOf(s plainSubscription) bunSubscription {
	return bunSubscription{bun.BaseModel{}, s.ID, s.TeamID, s.Customer, s.Status, s.Product, s.Price, s.Plan, s.Quantity, s.TrialEnd, s.PeriodEnd, s.CancelAt, s.CancelAtPeriodEnd, s.CreatedAt, s.EventCreatedAt, s.EventID, s.Standing}
}

// plain is the row as what the peers decide alike takes it.
func (s bunSubscription) plain() plainSubscription {
	return plainSubscription{s.ID, s.TeamID, s.StripeCustomerID, s.Status, s.StripeProductID, s.StripePriceID, s.PlanName, s.Quantity, s.TrialEnd, s.CurrentPeriodEnd, s.CancelAt, s.CancelAtPeriodEnd, s.CreatedAt, s.EventCreatedAt, s.EventID, s.Standing}
}
