package main

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rowhouse/rowhouse/db"
)

// unread is no way of doing anything: it is the bound of all of them. What the others are
// beside it is what is left to a client to gain or to lose.
var unread = contender{
	name:    "unread",
	what:    "lists only: the Store's statements on pgx, of whose rows nothing is looked at: the server's share, and the wire's",
	differs: "it returns nothing, and its results are not checked",
	open: func(ctx context.Context, config *pgx.ConnConfig, conns int) (*session, error) {
		pool, err := openPool(ctx, config, conns)
		if err != nil {
			return nil, err
		}
		s := &session{close: pool.Close}
		s.actions[teamWithMembers].run = func(ctx context.Context, in *input) error {
			batch := &pgx.Batch{}
			batch.Queue(db.GetTeam, in.teamID)
			batch.Queue(db.ListTeamMembers, in.teamID)
			return pool.SendBatch(ctx, batch).Close()
		}
		s.actions[activityPage].run = func(ctx context.Context, in *input) error {
			rows, err := pool.Query(ctx, db.ListTeamActivityPage, in.teamID, time.Time{}, in.beforeTime, in.beforeID, int32(pageSize+1))
			if err != nil {
				return err
			}
			rows.Close()
			return rows.Err()
		}
		return s, nil
	},
}
