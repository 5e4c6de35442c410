package main

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/jackc/pgx/v5"
)

// Two more ways to read a team with its members, for those who would go further.

var byBytes = contender{
	name: "pgx bytes",
	what: "teams only: the batch of pgx, its rows decoded from the wire's bytes by hand",
	open: func(ctx context.Context, config *pgx.ConnConfig, conns int) (*session, error) {
		pool, err := openPool(ctx, config, conns)
		if err != nil {
			return nil, err
		}
		s := &session{close: pool.Close}
		s.actions[teamWithMembers] = act(hand{pool}.teamFromBytes, (*bytesTeam).canonical)
		return s, nil
	},
}

var byArrays = contender{
	name: "pgx arrays",
	what: "teams only: the team and array_agg of each column of its members, in one row",
	open: func(ctx context.Context, config *pgx.ConnConfig, conns int) (*session, error) {
		pool, err := openPool(ctx, config, conns)
		if err != nil {
			return nil, err
		}
		s := &session{close: pool.Close}
		s.actions[teamWithMembers] = act(hand{pool}.teamFromArrays, (*handTeamWithMembers).canonical)
		return s, nil
	},
}

// bytesMember has no pointer in it: a text that is NULL is told by a flag.
type bytesMember struct {
	ID, UserID        int32
	Role, Name, Email string
	Named             bool
	JoinedAt          time.Time
}

type bytesTeam struct {
	handTeam
	Members []bytesMember
}

func (t *bytesTeam) canonical() any {
	return canonicalTeamWithMembers{t.compared(), each(t.Members, func(m bytesMember) canonicalMember {
		var name *string
		if m.Named {
			name = &m.Name
		}
		return canonicalMember{int64(m.ID), int64(m.UserID), int64(t.ID), m.Role, when(m.JoinedAt), name, m.Email}
	})}
}

// postgresEpoch is from when the wire counts microseconds: 2000-01-01.
const postgresEpoch = 946_684_800_000_000

func (p hand) teamFromBytes(ctx context.Context, in *input) (*bytesTeam, error) {
	t := &bytesTeam{handTeam: handTeam{ID: int32(in.teamID)}}
	batch := &pgx.Batch{}
	batch.Queue(handTeamSQL, t.ID)
	batch.Queue(handMembersSQL, t.ID)
	results := p.pool.SendBatch(ctx, batch)
	defer results.Close()
	if err := results.QueryRow().Scan(&t.Name, &t.CreatedAt, &t.UpdatedAt, &t.Customer, &t.Subscription, &t.Product, &t.Plan, &t.Status, &t.SeatLimit); err != nil {
		return nil, err
	}
	rows, err := results.Query()
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		v := rows.RawValues()
		m := bytesMember{
			ID:       int32(binary.BigEndian.Uint32(v[0])),
			UserID:   int32(binary.BigEndian.Uint32(v[1])),
			JoinedAt: time.UnixMicro(int64(binary.BigEndian.Uint64(v[3])) + postgresEpoch).UTC(),
			Named:    v[4] != nil,
		}
		switch string(v[2]) {
		case "member":
			m.Role = "member"
		case "owner":
			m.Role = "owner"
		default:
			m.Role = string(v[2])
		}
		both := make([]byte, 0, 64)
		text := string(append(append(both, v[4]...), v[5]...)) // one allocation for two texts
		m.Name, m.Email = text[:len(v[4])], text[len(v[4]):]
		t.Members = append(t.Members, m)
	}
	return t, rows.Err()
}

func (p hand) teamFromArrays(ctx context.Context, in *input) (*handTeamWithMembers, error) {
	t := &handTeamWithMembers{handTeam: handTeam{ID: int32(in.teamID)}}
	var ids, users []int32
	var roles, emails []string
	var joined []time.Time
	var names []*string
	err := p.pool.QueryRow(ctx, `SELECT t.name, t.created_at, t.updated_at, t.stripe_customer_id, t.stripe_subscription_id, t.stripe_product_id, t.plan_name, t.subscription_status, t.seat_limit, m.*
		FROM teams AS t CROSS JOIN LATERAL (
			SELECT array_agg(o.id), array_agg(o.user_id), array_agg(o.role::text), array_agg(o.joined_at), array_agg(o.name::text), array_agg(o.email::text)
			FROM (
				SELECT m.id, m.user_id, m.role, m.joined_at, u.name, u.email
				FROM team_members AS m JOIN users AS u ON u.id = m.user_id AND u.deleted_at IS NULL
				WHERE m.team_id = t.id ORDER BY m.joined_at, m.id
			) AS o
		) AS m
		WHERE t.id = $1 AND t.deleted_at IS NULL`, t.ID).
		Scan(&t.Name, &t.CreatedAt, &t.UpdatedAt, &t.Customer, &t.Subscription, &t.Product, &t.Plan, &t.Status, &t.SeatLimit,
			&ids, &users, &roles, &joined, &names, &emails)
	if err != nil {
		return nil, err
	}
	t.Members = make([]handMember, len(ids))
	for i := range ids {
		t.Members[i] = handMember{ids[i], users[i], roles[i], joined[i], names[i], emails[i]}
	}
	return t, nil
}
