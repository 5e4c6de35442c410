package main

import (
	"context"

	"github.com/uptrace/bun"
)

func (g withBunDB) user(ctx context.Context, in *input) (u bunUser, err error) {
	return u, g.NewSelect().Model(&u).ExcludeColumn("password_hash").Where("id = ?", in.userID).Scan(ctx)
}

func (g withBunDB) credentials(ctx context.Context, in *input) (u bunUser, err error) {
	email, err := validEmail(in.email)
	if err != nil {
		return u, err
	}
	return u, g.NewSelect().Model(&u).Column("id", "password_hash").Where("lower(email) = ?", email).Scan(ctx)
}

// Bun joins a relation by LEFT JOIN: who is deleted comes back as nobody.
const isLive = `"user"."id" IS NOT NULL`

func (g withBunDB) team(ctx context.Context, in *input) (t bunTeam, err error) {
	return t, g.NewSelect().Model(&t).Relation("Members", func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Relation("User").Where(isLive).Order("m.joined_at", "m.id")
	}).Where("t.id = ?", in.teamID).Scan(ctx)
}

func (g withBunDB) teams(ctx context.Context, in *input) (memberships []bunMember, err error) {
	return memberships, g.NewSelect().Model(&memberships).Relation("User").Relation("Team").
		Where("m.user_id = ?", in.userID).Where(isLive).Where(`"team"."id" IS NOT NULL`).
		Order("m.joined_at", "m.id").Limit(pageSize).Scan(ctx)
}

func (g withBunDB) page(ctx context.Context, in *input) (rows []bunActivity, err error) {
	return rows, g.NewSelect().Model(&rows).Relation("User").
		Where(`l.team_id = ? AND (l."timestamp", l.id) < (?::timestamp, ?::bigint)`, in.teamID, in.beforeTime, in.beforeID).
		OrderExpr(`l."timestamp" DESC, l.id DESC`).Limit(pageSize + 1).Scan(ctx)
}
