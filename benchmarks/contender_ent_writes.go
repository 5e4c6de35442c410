//go:build withent

package main

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"

	entsql "entgo.io/ent/dialect/sql"

	"github.com/rowhouse/rowhouse/benchmarks/ent"
	"github.com/rowhouse/rowhouse/benchmarks/ent/invitation"
	"github.com/rowhouse/rowhouse/benchmarks/ent/predicate"
	"github.com/rowhouse/rowhouse/benchmarks/ent/subscription"
	"github.com/rowhouse/rowhouse/benchmarks/ent/team"
	"github.com/rowhouse/rowhouse/benchmarks/ent/teammember"
	"github.com/rowhouse/rowhouse/benchmarks/ent/user"
	"github.com/rowhouse/rowhouse/store"
)

func entLock(ctx context.Context, tx *ent.Tx, id int) (*ent.Team, error) {
	return tx.Team.Query().Where(team.ID(id)).ForUpdate().Only(ctx)
}

func entIsOwner(ctx context.Context, tx *ent.Tx, teamID, userID int) (bool, error) {
	return tx.TeamMember.Query().Where(teammember.TeamID(teamID), teammember.UserID(userID), teammember.Role("owner"), liveUser).Exist(ctx)
}

func entLogged(tx *ent.Tx, teamID int, userID *int, action string, metadata map[string]any) *ent.ActivityLogCreate {
	c := tx.ActivityLog.Create().SetTeamID(teamID).SetNillableUserID(userID).SetAction(action).SetTimestamp(now())
	if userID != nil {
		c.SetIPAddress(address.String())
	}
	if metadata != nil {
		c.SetMetadata(metadata)
	}
	return c
}

type entSignUp struct {
	user   *ent.User
	team   *ent.Team
	member *ent.TeamMember
}

func (e *entClient) signUp(ctx context.Context, in *input) (s entSignUp, err error) {
	email, err := validEmail(in.email)
	if err != nil {
		return s, err
	}
	return s, e.inTx(ctx, func(tx *ent.Tx) error {
		at := now()
		if s.user, err = tx.User.Create().SetName("Ada").SetEmail(email).SetPasswordHash(in.hash).SetRole("owner").SetCreatedAt(at).SetUpdatedAt(at).Save(ctx); err != nil {
			return err
		}
		if s.team, err = tx.Team.Create().SetName(teamNameFor(email)).SetCreatedAt(at).SetUpdatedAt(at).Save(ctx); err != nil {
			return err
		}
		if s.member, err = tx.TeamMember.Create().SetUserID(s.user.ID).SetTeamID(s.team.ID).SetRole("owner").SetJoinedAt(at).Save(ctx); err != nil {
			return err
		}
		return tx.ActivityLog.CreateBulk(
			entLogged(tx, s.team.ID, &s.user.ID, "CREATE_TEAM", map[string]any{"name": s.team.Name}),
			entLogged(tx, s.team.ID, &s.user.ID, "SIGN_UP", nil),
		).Exec(ctx)
	})
}

type entInvited struct {
	*ent.Invitation
	token string
}

func (e *entClient) invite(ctx context.Context, in *input) (i entInvited, err error) {
	email, err := validEmail(in.email)
	if err != nil {
		return i, err
	}
	token, hash := newToken()
	i.token = token
	teamID, userID := int(in.teamID), int(in.userID)
	return i, e.inTx(ctx, func(tx *ent.Tx) error {
		if _, err := entLock(ctx, tx, teamID); err != nil {
			return err
		}
		if err := unless(entIsOwner(ctx, tx, teamID, userID)); err != nil {
			return err
		}
		member, err := tx.TeamMember.Query().Where(teammember.TeamID(teamID), teammember.HasUserWith(predicate.User(lower(user.FieldEmail, email)), user.DeletedAtIsNil())).Exist(ctx)
		if err := unless(!member, err); err != nil {
			return err
		}
		standing, err := tx.Invitation.Query().Where(invitation.TeamID(teamID), predicate.Invitation(lower(invitation.FieldEmail, email)), invitation.Status("pending")).Only(ctx)
		switch {
		case err == nil:
			status := "canceled"
			if standing.ExpiresAt != nil && !standing.ExpiresAt.After(now()) {
				status = "expired"
			} else if inviter, err := entIsOwner(ctx, tx, teamID, standing.InvitedBy); err != nil || inviter {
				return unless(false, err)
			}
			if err := tx.Invitation.UpdateOne(standing).SetStatus(status).Exec(ctx); err != nil {
				return err
			}
		case !ent.IsNotFound(err):
			return err
		}
		at := now()
		if i.Invitation, err = tx.Invitation.Create().SetTeamID(teamID).SetEmail(email).SetRole("member").SetInvitedBy(userID).SetInvitedAt(at).
			SetStatus("pending").SetTokenHash(hash).SetExpiresAt(at.Add(ttl)).Save(ctx); err != nil {
			return err
		}
		return entLogged(tx, teamID, &userID, "INVITE_TEAM_MEMBER", map[string]any{"invitationId": i.ID, "email": i.Email, "role": i.Role}).Exec(ctx)
	})
}

type entAccepted struct {
	member *ent.TeamMember
	joined bool
}

func (e *entClient) accept(ctx context.Context, in *input) (a entAccepted, err error) {
	return a, e.inTx(ctx, func(tx *ent.Tx) error {
		u, err := tx.User.Query().Where(user.ID(int(in.userID)), user.DeletedAtIsNil()).ForUpdate().Only(ctx)
		if err != nil {
			return err
		}
		byToken := tx.Invitation.Query().Where(invitation.TokenHash(hashOf(in.token)))
		teamID, err := byToken.Clone().Select(invitation.FieldTeamID).Int(ctx)
		if err != nil {
			return err
		}
		t, err := entLock(ctx, tx, teamID)
		if err != nil {
			return err
		}
		i, err := byToken.ForUpdate().Only(ctx)
		if err != nil {
			return err
		}
		if i.Status != "pending" || i.ExpiresAt != nil && !i.ExpiresAt.After(now()) || !strings.EqualFold(i.Email, u.Email) || t.DeletedAt != nil {
			return errRefused
		}
		if err := unless(entIsOwner(ctx, tx, t.ID, i.InvitedBy)); err != nil {
			return err
		}
		a.member, err = tx.TeamMember.Query().Where(teammember.TeamID(t.ID), teammember.UserID(u.ID)).Only(ctx)
		if a.joined = ent.IsNotFound(err); err != nil && !a.joined {
			return err
		}
		if a.joined {
			if t.SeatLimit != nil {
				taken, err := tx.TeamMember.Query().Where(teammember.TeamID(t.ID), liveUser).Count(ctx)
				if err := unless(taken < int(*t.SeatLimit), err); err != nil {
					return err
				}
			}
			if a.member, err = tx.TeamMember.Create().SetUserID(u.ID).SetTeamID(t.ID).SetRole(i.Role).SetJoinedAt(now()).Save(ctx); err != nil {
				return err
			}
		}
		if err := tx.Invitation.UpdateOne(i).SetStatus("accepted").Exec(ctx); err != nil {
			return err
		}
		return entLogged(tx, t.ID, &u.ID, "ACCEPT_INVITATION", map[string]any{"invitationId": i.ID, "role": a.member.Role, "joined": a.joined}).Exec(ctx)
	})
}

func (e *entClient) remove(ctx context.Context, in *input) error {
	teamID, userID := int(in.teamID), int(in.userID)
	return e.inTx(ctx, func(tx *ent.Tx) error {
		if _, err := entLock(ctx, tx, teamID); err != nil {
			return err
		}
		if err := unless(entIsOwner(ctx, tx, teamID, userID)); err != nil {
			return err
		}
		m, err := tx.TeamMember.Query().Where(teammember.TeamID(teamID), teammember.ID(int(in.memberID))).Only(ctx)
		if err != nil {
			return err
		}
		if m.Role == "owner" {
			if err := unless(tx.TeamMember.Query().Where(teammember.TeamID(teamID), teammember.Role("owner"), teammember.IDNEQ(m.ID), liveUser).Exist(ctx)); err != nil {
				return err
			}
		}
		if err := tx.TeamMember.DeleteOne(m).Exec(ctx); err != nil {
			return err
		}
		return entLogged(tx, teamID, &userID, "REMOVE_TEAM_MEMBER", map[string]any{"memberId": m.ID, "userId": m.UserID, "role": m.Role}).Exec(ctx)
	})
}

func entRow(tx *ent.Tx, r *store.RecordActivity) *ent.ActivityLogCreate {
	var userID *int
	if r.UserID != 0 {
		userID = new(int(r.UserID))
	}
	return entLogged(tx, int(r.TeamID), userID, string(r.Action), r.Metadata).SetIPAddress(r.IP.String())
}

func (e *entClient) logRow(ctx context.Context, in *input) error {
	row := &in.rows[0]
	return e.inTx(ctx, func(tx *ent.Tx) error {
		if err := unless(tx.Team.Query().Where(team.ID(int(row.TeamID)), team.DeletedAtIsNil()).Exist(ctx)); err != nil {
			return err
		}
		return entRow(tx, row).Exec(ctx)
	})
}

func (e *entClient) logRows(ctx context.Context, in *input) error {
	return e.inTx(ctx, func(tx *ent.Tx) error {
		for piece := range slices.Chunk(in.rows, 1000) {
			rows := make([]*ent.ActivityLogCreate, len(piece))
			for i := range piece {
				rows[i] = entRow(tx, &piece[i])
			}
			if err := tx.ActivityLog.CreateBulk(rows...).Exec(ctx); err != nil {
				return err
			}
		}
		ids := each(teamIDs(in.rows), func(id int64) int { return int(id) })
		live, err := tx.Team.Query().Where(team.IDIn(ids...), team.DeletedAtIsNil()).Count(ctx)
		return unless(live == len(ids), err)
	})
}

type entOutcome struct {
	outcome string
	team    *ent.Team
}

func (e *entClient) event(ctx context.Context, in *input) (o entOutcome, err error) {
	event := &in.event
	return o, e.inTx(ctx, func(tx *ent.Tx) error {
		id, err := entTeamOfSubscription(ctx, tx, event.Subscription.ID, event.Subscription.CustomerID)
		if err != nil {
			return err
		}
		if o.team, err = entLock(ctx, tx, id); err != nil {
			return err
		}
		err = tx.SubscriptionEvent.Create().SetID(event.EventID).SetType(event.EventType).SetCreatedAt(event.Created).SetReceivedAt(now()).
			OnConflict(entsql.DoNothing()).Exec(ctx)
		if errors.Is(err, sql.ErrNoRows) { // so ent says that nothing was inserted
			o.outcome = "duplicate"
			return nil
		}
		if err != nil {
			return err
		}
		row := subscriptionOf(event, int64(id))
		old, err := tx.Subscription.Query().Where(subscription.ID(row.ID)).ForUpdate().Only(ctx)
		switch {
		case ent.IsNotFound(err):
			err = tx.Subscription.Create().SetID(row.ID).SetTeamID(id).SetStripeCustomerID(row.Customer).SetStatus(row.Status).
				SetNillableStripeProductID(row.Product).SetNillableStripePriceID(row.Price).SetNillablePlanName(row.Plan).SetNillableQuantity(row.Quantity).
				SetNillableTrialEnd(row.TrialEnd).SetNillableCurrentPeriodEnd(row.PeriodEnd).SetNillableCancelAt(row.CancelAt).SetCancelAtPeriodEnd(row.CancelAtPeriodEnd).
				SetCreatedAt(row.CreatedAt).SetEventCreatedAt(row.EventCreatedAt).SetNillableEventID(row.EventID).Exec(ctx)
		case err == nil && (old.TeamID != id || !row.supersedes(entPlain(old))):
			o.outcome = "stale"
			return nil
		case err == nil:
			u := tx.Subscription.UpdateOne(old)
			clear := func(null bool, clear func() *ent.SubscriptionUpdateOne) {
				if null {
					clear()
				}
			}
			clear(row.Product == nil, u.ClearStripeProductID)
			clear(row.Price == nil, u.ClearStripePriceID)
			clear(row.Plan == nil, u.ClearPlanName)
			clear(row.Quantity == nil, u.ClearQuantity)
			clear(row.TrialEnd == nil, u.ClearTrialEnd)
			clear(row.PeriodEnd == nil, u.ClearCurrentPeriodEnd)
			clear(row.CancelAt == nil, u.ClearCancelAt)
			err = u.SetStatus(row.Status).SetNillableStripeProductID(row.Product).SetNillableStripePriceID(row.Price).SetNillablePlanName(row.Plan).
				SetNillableQuantity(row.Quantity).SetNillableTrialEnd(row.TrialEnd).SetNillableCurrentPeriodEnd(row.PeriodEnd).SetNillableCancelAt(row.CancelAt).
				SetCancelAtPeriodEnd(row.CancelAtPeriodEnd).SetCreatedAt(row.CreatedAt).SetEventCreatedAt(row.EventCreatedAt).SetNillableEventID(row.EventID).Exec(ctx)
		}
		if err != nil {
			return err
		}
		o.outcome = "applied"
		best, err := tx.Subscription.Query().Where(subscription.TeamID(id)).
			Order(subscription.ByStanding(entsql.OrderDesc()), subscription.ByCreatedAt(entsql.OrderDesc()), subscription.ByID(entsql.OrderDesc())).First(ctx)
		if err != nil {
			return err
		}
		from, to := projection{o.team.StripeSubscriptionID, o.team.StripeProductID, o.team.PlanName, o.team.SubscriptionStatus}, projectionOf(entPlain(best))
		if from.equals(to) {
			return nil
		}
		u := tx.Team.UpdateOne(o.team)
		if to.Subscription == nil {
			u.ClearStripeSubscriptionID()
		}
		if to.Product == nil {
			u.ClearStripeProductID()
		}
		if to.Plan == nil {
			u.ClearPlanName()
		}
		if o.team, err = u.SetNillableStripeSubscriptionID(to.Subscription).SetNillableStripeProductID(to.Product).SetNillablePlanName(to.Plan).
			SetNillableSubscriptionStatus(to.Status).SetUpdatedAt(now()).Save(ctx); err != nil {
			return err
		}
		return entLogged(tx, id, nil, "UPDATE_SUBSCRIPTION", asMap(changeMetadata(from, to, event.EventID))).Exec(ctx)
	})
}

func entTeamOfSubscription(ctx context.Context, tx *ent.Tx, subscriptionID, customer string) (id int, err error) {
	id, err = tx.Subscription.Query().Where(subscription.ID(subscriptionID)).Select(subscription.FieldTeamID).Int(ctx)
	if ent.IsNotFound(err) {
		id, err = tx.Team.Query().Where(team.StripeCustomerID(customer)).OnlyID(ctx)
	}
	if ent.IsNotFound(err) {
		id, err = tx.Subscription.Query().Where(subscription.StripeCustomerID(customer)).Limit(1).Select(subscription.FieldTeamID).Int(ctx)
	}
	return id, err
}

// entPlain is a row as what the peers decide alike takes it.
func entPlain(s *ent.Subscription) plainSubscription {
	return plainSubscription{s.ID, int64(s.TeamID), s.StripeCustomerID, s.Status, s.StripeProductID, s.StripePriceID, s.PlanName, s.Quantity,
		s.TrialEnd, s.CurrentPeriodEnd, s.CancelAt, s.CancelAtPeriodEnd, s.CreatedAt, s.EventCreatedAt, s.EventID, s.Standing}
}
