package main

import (
	"context"
	"errors"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/rowhouse/rowhouse/store"
)

func gormRow(r *store.RecordActivity) gormActivity {
	return gormActivity{TeamID: int64(r.TeamID), UserID: userOrNull(r), Action: string(r.Action), Timestamp: now(), IPAddress: new(r.IP.String()), Metadata: textOrNull(string(metadataOf(r)))}
}

func (g withDB) logRow(ctx context.Context, in *input) error {
	return g.inTx(ctx, func(tx withDB) error {
		if err := tx.Select("ID").Take(&gormTeam{}, int64(in.rows[0].TeamID)).Error; err != nil {
			return err
		}
		return tx.Create(new(gormRow(&in.rows[0]))).Error
	})
}

func (g withDB) logRows(ctx context.Context, in *input) error {
	return g.inTx(ctx, func(tx withDB) error {
		rows := make([]gormActivity, len(in.rows))
		for i := range in.rows {
			rows[i] = gormRow(&in.rows[i])
		}
		if err := tx.CreateInBatches(rows, 1000).Error; err != nil {
			return err
		}
		ids := teamIDs(in.rows)
		var live int64
		err := tx.Model(&gormTeam{}).Where("id IN ?", ids).Count(&live).Error
		return unless(live == int64(len(ids)), err)
	})
}

type gormOutcome struct {
	outcome string
	team    gormTeam
}

func (g withDB) event(ctx context.Context, in *input) (o gormOutcome, err error) {
	e := &in.event
	return o, g.inTx(ctx, func(tx withDB) error {
		id, err := tx.teamOfSubscription(e.Subscription.ID, e.Subscription.CustomerID)
		if err != nil {
			return err
		}
		if o.team, err = tx.lock(id); err != nil {
			return err
		}
		result := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&gormEvent{e.EventID, e.EventType, e.Created, now()})
		if result.Error != nil {
			return result.Error
		}
		if result.RowsAffected == 0 {
			o.outcome = "duplicate"
			return nil
		}
		row := gormSubscriptionOf(subscriptionOf(e, id))
		var old gormSubscription
		err = tx.Clauses(noKeyUpdate).Where("id = ?", row.ID).Take(&old).Error
		switch {
		case errors.Is(err, gorm.ErrRecordNotFound):
			err = tx.Create(&row).Error
		case err == nil && (old.TeamID != id || !row.plain().supersedes(old.plain())):
			o.outcome = "stale"
			return nil
		case err == nil:
			row.StripeCustomerID = old.StripeCustomerID
			err = tx.Save(&row).Error
		}
		if err != nil {
			return err
		}
		o.outcome = "applied"
		var best gormSubscription
		if err := tx.Where("team_id = ?", id).Order("standing DESC, created_at DESC, id DESC").Take(&best).Error; err != nil {
			return err
		}
		t := &o.team
		from, to := projection{t.StripeSubscriptionID, t.StripeProductID, t.PlanName, t.SubscriptionStatus}, projectionOf(best.plain())
		if from.equals(to) {
			return nil
		}
		t.StripeSubscriptionID, t.StripeProductID, t.PlanName, t.SubscriptionStatus = to.Subscription, to.Product, to.Plan, to.Status
		if err := tx.Model(t).Select("StripeSubscriptionID", "StripeProductID", "PlanName", "SubscriptionStatus", "UpdatedAt").Updates(t).Error; err != nil {
			return err
		}
		return tx.logged(id, nil, "UPDATE_SUBSCRIPTION", nil, changeMetadata(from, to, e.EventID))
	})
}

func (g withDB) teamOfSubscription(subscription, customer string) (id int64, err error) {
	var sub gormSubscription
	err = g.Select("TeamID").Where("id = ?", subscription).Take(&sub).Error
	if !errors.Is(err, gorm.ErrRecordNotFound) {
		return sub.TeamID, err
	}
	var team gormTeam
	err = g.Unscoped().Select("ID").Where("stripe_customer_id = ?", customer).Take(&team).Error
	if !errors.Is(err, gorm.ErrRecordNotFound) {
		return team.ID, err
	}
	err = g.Select("TeamID").Where("stripe_customer_id = ?", customer).Take(&sub).Error
	return sub.TeamID, err
}

func gormSubscriptionOf(s plainSubscription) gormSubscription {
	return gormSubscription{s.ID, s.TeamID, s.Customer, s.Status, s.Product, s.Price, s.Plan, s.Quantity, s.TrialEnd, s.PeriodEnd, s.CancelAt, s.CancelAtPeriodEnd, s.CreatedAt, s.EventCreatedAt, s.EventID, s.Standing}
}

// plain is the row as what the peers decide alike takes it.
func (s gormSubscription) plain() plainSubscription {
	return plainSubscription{s.ID, s.TeamID, s.StripeCustomerID, s.Status, s.StripeProductID, s.StripePriceID, s.PlanName, s.Quantity, s.TrialEnd, s.CurrentPeriodEnd, s.CancelAt, s.CancelAtPeriodEnd, s.CreatedAt, s.EventCreatedAt, s.EventID, s.Standing}
}
