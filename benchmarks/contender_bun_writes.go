package main

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"github.com/uptrace/bun"

	"github.com/rowhouse/rowhouse/store"
)

const bunLock = "NO KEY UPDATE"

func (g withBunDB) lock(ctx context.Context, team int64) (t bunTeam, err error) {
	return t, g.NewSelect().Model(&t).Where("id = ?", team).WhereAllWithDeleted().For(bunLock).Scan(ctx)
}

func (g withBunDB) insert(ctx context.Context, model any) error {
	_, err := g.NewInsert().Model(model).Exec(ctx)
	return err
}

func (g withBunDB) isOwner(ctx context.Context, team, user int64) (bool, error) {
	return g.NewSelect().Model((*bunMember)(nil)).Relation("User").
		Where("m.team_id = ? AND m.user_id = ? AND m.role = 'owner'", team, user).Where(isLive).Exists(ctx)
}

func (g withBunDB) logged(ctx context.Context, team int64, user *int64, action string, ip *string, metadata []byte) error {
	return g.insert(ctx, &bunActivity{TeamID: team, UserID: user, Action: action, Timestamp: now(), IPAddress: ip, Metadata: textOrNull(string(metadata))})
}

func (g withBunDB) inTx(ctx context.Context, f func(withBunDB) error) error {
	return g.RunInTx(ctx, nil, func(_ context.Context, tx bun.Tx) error { return f(withBunDB{tx}) })
}

type bunSignUp struct {
	user   bunUser
	team   bunTeam
	member bunMember
}

func (g withBunDB) signUp(ctx context.Context, in *input) (s bunSignUp, err error) {
	email, err := validEmail(in.email)
	if err != nil {
		return s, err
	}
	return s, g.inTx(ctx, func(tx withBunDB) error {
		at := now()
		s.user = bunUser{Name: new("Ada"), Email: email, PasswordHash: in.hash, Role: "owner", CreatedAt: at, UpdatedAt: at}
		if err := tx.insert(ctx, &s.user); err != nil {
			return err
		}
		s.team = bunTeam{Name: teamNameFor(email), CreatedAt: at, UpdatedAt: at}
		if err := tx.insert(ctx, &s.team); err != nil {
			return err
		}
		s.member = bunMember{UserID: s.user.ID, TeamID: s.team.ID, Role: "owner", JoinedAt: at}
		if err := tx.insert(ctx, &s.member); err != nil {
			return err
		}
		return tx.insert(ctx, &[]bunActivity{
			{TeamID: s.team.ID, UserID: &s.user.ID, Action: "CREATE_TEAM", Timestamp: at, IPAddress: &addressText, Metadata: textOrNull(string(marshalled(map[string]any{"name": s.team.Name})))},
			{TeamID: s.team.ID, UserID: &s.user.ID, Action: "SIGN_UP", Timestamp: at, IPAddress: &addressText},
		})
	})
}

type bunInvited struct {
	bunInvitation
	token string
}

func (g withBunDB) invite(ctx context.Context, in *input) (i bunInvited, err error) {
	email, err := validEmail(in.email)
	if err != nil {
		return i, err
	}
	token, hash := newToken()
	i.token = token
	return i, g.inTx(ctx, func(tx withBunDB) error {
		if _, err := tx.lock(ctx, in.teamID); err != nil {
			return err
		}
		if err := unless(tx.isOwner(ctx, in.teamID, in.userID)); err != nil {
			return err
		}
		member, err := tx.NewSelect().Model((*bunMember)(nil)).Relation("User").
			Where(`m.team_id = ? AND lower("user".email) = ?`, in.teamID, email).Exists(ctx)
		if err := unless(!member, err); err != nil {
			return err
		}
		var standing bunInvitation
		err = tx.NewSelect().Model(&standing).Where("team_id = ? AND lower(email) = ? AND status = 'pending'", in.teamID, email).Scan(ctx)
		switch {
		case err == nil:
			standing.Status = "canceled"
			if standing.ExpiresAt != nil && !standing.ExpiresAt.After(now()) {
				standing.Status = "expired"
			} else if inviter, err := tx.isOwner(ctx, in.teamID, standing.InvitedBy); err != nil || inviter {
				return unless(false, err)
			}
			if _, err := tx.NewUpdate().Model(&standing).Column("status").WherePK().Exec(ctx); err != nil {
				return err
			}
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		at := now()
		i.bunInvitation = bunInvitation{TeamID: in.teamID, Email: email, Role: "member", InvitedBy: in.userID, InvitedAt: at, Status: "pending", TokenHash: hash, ExpiresAt: new(at.Add(ttl))}
		if err := tx.insert(ctx, &i.bunInvitation); err != nil {
			return err
		}
		return tx.logged(ctx, in.teamID, &in.userID, "INVITE_TEAM_MEMBER", &addressText, marshalled(map[string]any{"invitationId": i.ID, "email": i.Email, "role": i.Role}))
	})
}

type bunAccepted struct {
	member bunMember
	joined bool
}

func (g withBunDB) accept(ctx context.Context, in *input) (a bunAccepted, err error) {
	return a, g.inTx(ctx, func(tx withBunDB) error {
		var user bunUser
		if err := tx.NewSelect().Model(&user).ExcludeColumn("password_hash").Where("id = ?", in.userID).For(bunLock).Scan(ctx); err != nil {
			return err
		}
		var i bunInvitation
		hash := hashOf(in.token)
		if err := tx.NewSelect().Model(&i).Column("team_id").Where("token_hash = ?", hash).Scan(ctx); err != nil {
			return err
		}
		team, err := tx.lock(ctx, i.TeamID)
		if err != nil {
			return err
		}
		i = bunInvitation{}
		if err := tx.NewSelect().Model(&i).Where("token_hash = ?", hash).For(bunLock).Scan(ctx); err != nil {
			return err
		}
		if i.Status != "pending" || i.ExpiresAt != nil && !i.ExpiresAt.After(now()) || !strings.EqualFold(i.Email, user.Email) || !team.DeletedAt.IsZero() {
			return errRefused
		}
		if err := unless(tx.isOwner(ctx, team.ID, i.InvitedBy)); err != nil {
			return err
		}
		err = tx.NewSelect().Model(&a.member).Where("team_id = ? AND user_id = ?", team.ID, user.ID).Scan(ctx)
		if a.joined = errors.Is(err, sql.ErrNoRows); err != nil && !a.joined {
			return err
		}
		if a.joined {
			if team.SeatLimit != nil {
				taken, err := tx.NewSelect().Model((*bunMember)(nil)).Relation("User").Where("m.team_id = ?", team.ID).Where(isLive).Count(ctx)
				if err := unless(taken < int64(*team.SeatLimit), err); err != nil {
					return err
				}
			}
			a.member = bunMember{UserID: user.ID, TeamID: team.ID, Role: i.Role, JoinedAt: now()}
			if err := tx.insert(ctx, &a.member); err != nil {
				return err
			}
		}
		i.Status = "accepted"
		if _, err := tx.NewUpdate().Model(&i).Column("status").WherePK().Exec(ctx); err != nil {
			return err
		}
		return tx.logged(ctx, team.ID, &user.ID, "ACCEPT_INVITATION", &addressText, marshalled(map[string]any{"invitationId": i.ID, "role": a.member.Role, "joined": a.joined}))
	})
}

func (g withBunDB) remove(ctx context.Context, in *input) error {
	return g.inTx(ctx, func(tx withBunDB) error {
		if _, err := tx.lock(ctx, in.teamID); err != nil {
			return err
		}
		if err := unless(tx.isOwner(ctx, in.teamID, in.userID)); err != nil {
			return err
		}
		var m bunMember
		if err := tx.NewSelect().Model(&m).Where("team_id = ? AND id = ?", in.teamID, in.memberID).Scan(ctx); err != nil {
			return err
		}
		if m.Role == "owner" {
			if err := unless(tx.NewSelect().Model((*bunMember)(nil)).Relation("User").
				Where("m.team_id = ? AND m.role = 'owner' AND m.id <> ?", in.teamID, m.ID).Where(isLive).Exists(ctx)); err != nil {
				return err
			}
		}
		if _, err := tx.NewDelete().Model(&m).WherePK().Exec(ctx); err != nil {
			return err
		}
		return tx.logged(ctx, in.teamID, &in.userID, "REMOVE_TEAM_MEMBER", &addressText, marshalled(map[string]any{"memberId": m.ID, "userId": m.UserID, "role": m.Role}))
	})
}

func bunRow(r *store.RecordActivity) bunActivity {
	return bunActivity{TeamID: int64(r.TeamID), UserID: userOrNull(r), Action: string(r.Action), Timestamp: now(), IPAddress: new(r.IP.String()), Metadata: textOrNull(string(metadataOf(r)))}
}

func (g withBunDB) logRow(ctx context.Context, in *input) error {
	return g.inTx(ctx, func(tx withBunDB) error {
		if err := tx.NewSelect().Model(&bunTeam{}).Column("id").Where("id = ?", int64(in.rows[0].TeamID)).Scan(ctx); err != nil {
			return err
		}
		return tx.insert(ctx, new(bunRow(&in.rows[0])))
	})
}

func (g withBunDB) logRows(ctx context.Context, in *input) error {
	return g.inTx(ctx, func(tx withBunDB) error {
		rows := make([]bunActivity, len(in.rows))
		for i := range in.rows {
			rows[i] = bunRow(&in.rows[i])
		}
		if err := tx.insert(ctx, &rows); err != nil {
			return err
		}
		ids := teamIDs(in.rows)
		live, err := tx.NewSelect().Model((*bunTeam)(nil)).Where("id IN (?)", bun.List(ids)).Count(ctx)
		return unless(live == int64(len(ids)), err)
	})
}
