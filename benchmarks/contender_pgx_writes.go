package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
)

type handSignUp struct {
	User     handUser
	Team     handTeam
	MemberID int32
}

func (s handSignUp) canonical() any {
	return canonicalSignUp{s.User.compared(), s.Team.compared(),
		canonicalMembership{int64(s.MemberID), int64(s.User.ID), int64(s.Team.ID), "owner", when(s.User.CreatedAt)}}
}

var addressText = address.String()

func (p hand) signUp(ctx context.Context, in *input) (s handSignUp, err error) {
	email, err := validEmail(in.email)
	if err != nil {
		return s, err
	}
	name := "Ada"
	s.User = handUser{Name: &name, Email: email, Role: "owner"}
	s.Team.Name = teamNameFor(email)
	err = p.pool.QueryRow(ctx, `WITH u AS (
			INSERT INTO users (name, email, password_hash, role, created_at, updated_at)
			VALUES ($1, $2, $3, 'owner', timezone('utc', now()), timezone('utc', now()))
			ON CONFLICT DO NOTHING
			RETURNING id, created_at
		), t AS (
			INSERT INTO teams (name, created_at, updated_at) SELECT $4, u.created_at, u.created_at FROM u RETURNING id
		), m AS (
			INSERT INTO team_members (user_id, team_id, role, joined_at) SELECT u.id, t.id, 'owner', u.created_at FROM u, t RETURNING id
		), l AS (
			INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
			SELECT t.id, u.id, 'CREATE_TEAM', u.created_at, $5, jsonb_build_object('name', $4::text) FROM u, t
			UNION ALL
			SELECT t.id, u.id, 'SIGN_UP', u.created_at, $5, NULL FROM u, t
		)
		SELECT u.id, u.created_at, t.id, m.id FROM u, t, m`, name, email, in.hash, s.Team.Name, address.String()).
		Scan(&s.User.ID, &s.User.CreatedAt, &s.Team.ID, &s.MemberID)
	s.User.UpdatedAt, s.Team.CreatedAt, s.Team.UpdatedAt = s.User.CreatedAt, s.User.CreatedAt, s.User.CreatedAt
	return s, refusedIfNone(err)
}

type handInvited struct {
	ID, TeamID, InvitedBy int32
	Email, Role, Status   string
	InvitedAt, ExpiresAt  time.Time
	Token                 string
}

func (i handInvited) canonical() any {
	return canonicalInvitation{int64(i.ID), int64(i.TeamID), int64(i.InvitedBy), i.Email, i.Role, when(i.InvitedAt), i.Status, when(i.ExpiresAt), len(i.Token)}
}

// A lock has a statement of its own: what decides has a snapshot that is younger.
const handLockTeam = `SELECT FROM teams WHERE id = $1 FOR NO KEY UPDATE`

func (p hand) invite(ctx context.Context, in *input) (i handInvited, err error) {
	i = handInvited{TeamID: int32(in.teamID), InvitedBy: int32(in.userID), Role: "member", Status: "pending"}
	if i.Email, err = validEmail(in.email); err != nil {
		return i, err
	}
	var hash []byte
	i.Token, hash = newToken()
	batch := &pgx.Batch{}
	batch.Queue(handLockTeam, i.TeamID)
	batch.Queue(`WITH actor AS (
			SELECT FROM team_members AS m JOIN users AS u ON u.id = m.user_id AND u.deleted_at IS NULL
			WHERE m.team_id = $1 AND m.user_id = $2 AND m.role = 'owner'
				AND NOT EXISTS (
					SELECT FROM users AS x JOIN team_members AS y ON y.user_id = x.id
					WHERE lower(x.email) = $3::text AND x.deleted_at IS NULL AND y.team_id = $1
				)
		), retired AS (
			UPDATE invitations AS i
			SET status = CASE WHEN i.expires_at <= timezone('utc', now()) THEN 'expired' ELSE 'canceled' END
			WHERE i.team_id = $1 AND lower(i.email) = $3::text AND i.status = 'pending' AND EXISTS (SELECT FROM actor)
				AND (i.expires_at <= timezone('utc', now()) OR NOT EXISTS (
					SELECT FROM team_members AS m JOIN users AS u ON u.id = m.user_id AND u.deleted_at IS NULL
					WHERE m.team_id = i.team_id AND m.user_id = i.invited_by AND m.role = 'owner'
				))
			RETURNING i.id
		), invited AS (
			INSERT INTO invitations (team_id, email, role, invited_by, invited_at, status, token_hash, expires_at)
			SELECT $1, $3, $4, $2, timezone('utc', now()), 'pending', $5, timezone('utc', now()) + $6::interval
			FROM actor
			WHERE (SELECT count(*) FROM retired) >= 0
			ON CONFLICT (team_id, lower(email)) WHERE status = 'pending' DO NOTHING
			RETURNING id, invited_at, expires_at
		), l AS (
			INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
			SELECT $1, $2, 'INVITE_TEAM_MEMBER', invited_at, $7, jsonb_build_object('invitationId', id, 'email', $3::text, 'role', $4::text)
			FROM invited
		)
		SELECT id, invited_at, expires_at FROM invited`, i.TeamID, i.InvitedBy, i.Email, i.Role, hash, ttl, address.String()).
		QueryRow(func(row pgx.Row) error { return row.Scan(&i.ID, &i.InvitedAt, &i.ExpiresAt) })
	return i, refusedIfNone(p.pool.SendBatch(ctx, batch).Close())
}

type handAccepted struct {
	ID, UserID, TeamID int32
	Role               string
	JoinedAt           time.Time
	Joined             bool
}

func (a handAccepted) canonical() any {
	return canonicalAccepted{canonicalMembership{int64(a.ID), int64(a.UserID), int64(a.TeamID), a.Role, when(a.JoinedAt)}, a.Joined}
}

func (p hand) accept(ctx context.Context, in *input) (a handAccepted, err error) {
	a.UserID = int32(in.userID)
	hash := hashOf(in.token)
	batch := &pgx.Batch{}
	// Both locks in one statement, which says what the next one works on: by then it could
	// find an invitation that came meanwhile, into a team that is not locked.
	batch.Queue(`SELECT set_config('bench.invitation', coalesce((
			SELECT i.id::text
			FROM users AS u, invitations AS i JOIN teams AS t ON t.id = i.team_id
			WHERE u.id = $1 AND u.deleted_at IS NULL AND i.token_hash = $2
			FOR NO KEY UPDATE OF u, t
		), ''), true)`, a.UserID, hash)
	batch.Queue(`WITH i AS (
			SELECT i.id, i.team_id, i.role
			FROM invitations AS i JOIN users AS u ON u.id = $1 AND u.deleted_at IS NULL AND lower(u.email) = lower(i.email)
			WHERE i.id = nullif(current_setting('bench.invitation', true), '')::integer AND i.token_hash = $2 AND i.status = 'pending' AND (i.expires_at IS NULL OR i.expires_at > timezone('utc', now()))
				AND EXISTS (
					SELECT FROM team_members AS m JOIN users AS v ON v.id = m.user_id AND v.deleted_at IS NULL
					WHERE m.team_id = i.team_id AND m.user_id = i.invited_by AND m.role = 'owner'
				)
			FOR NO KEY UPDATE OF i
		), standing AS (
			SELECT m.id, m.team_id, m.role, m.joined_at FROM team_members AS m JOIN i ON m.team_id = i.team_id AND m.user_id = $1
		), joined AS (
			INSERT INTO team_members (user_id, team_id, role, joined_at)
			SELECT $1, t.id, i.role, timezone('utc', now())
			FROM i JOIN teams AS t ON t.id = i.team_id AND t.deleted_at IS NULL
			WHERE NOT EXISTS (SELECT FROM standing)
				AND (t.seat_limit IS NULL OR t.seat_limit > (
					SELECT count(*) FROM team_members AS m JOIN users AS v ON v.id = m.user_id AND v.deleted_at IS NULL WHERE m.team_id = t.id
				))
			RETURNING id, team_id, role, joined_at
		), member AS (
			SELECT *, true AS joined FROM joined UNION ALL SELECT *, false FROM standing
		), accepted AS (
			UPDATE invitations SET status = 'accepted' FROM i, member WHERE invitations.id = i.id RETURNING invitations.id
		), l AS (
			INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
			SELECT m.team_id, $1, 'ACCEPT_INVITATION', timezone('utc', now()), $3,
				jsonb_build_object('invitationId', a.id, 'role', m.role, 'joined', m.joined)
			FROM member AS m, accepted AS a
		)
		SELECT id, team_id, role, joined_at, joined FROM member`, a.UserID, hash, address.String()).
		QueryRow(func(row pgx.Row) error { return row.Scan(&a.ID, &a.TeamID, &a.Role, &a.JoinedAt, &a.Joined) })
	return a, refusedIfNone(p.pool.SendBatch(ctx, batch).Close())
}

func (p hand) remove(ctx context.Context, in *input) error {
	batch := &pgx.Batch{}
	team := int32(in.teamID)
	batch.Queue(handLockTeam, team)
	var removed bool
	batch.Queue(`WITH removed AS (
			DELETE FROM team_members AS m
			USING team_members AS actor JOIN users AS u ON u.id = actor.user_id AND u.deleted_at IS NULL
			WHERE m.team_id = $1 AND m.id = $3
				AND actor.team_id = $1 AND actor.user_id = $2 AND actor.role = 'owner'
				AND EXISTS (
					SELECT FROM team_members AS o JOIN users AS v ON v.id = o.user_id AND v.deleted_at IS NULL
					WHERE o.team_id = $1 AND o.role = 'owner' AND o.id <> $3
				)
			RETURNING m.id, m.user_id, m.role
		), l AS (
			INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
			SELECT $1, $2, 'REMOVE_TEAM_MEMBER', timezone('utc', now()), $4, jsonb_build_object('memberId', id, 'userId', user_id, 'role', role)
			FROM removed
		)
		SELECT EXISTS (SELECT FROM removed)`, team, int32(in.userID), int32(in.memberID), address.String()).
		QueryRow(func(row pgx.Row) error { return row.Scan(&removed) })
	if err := p.pool.SendBatch(ctx, batch).Close(); err != nil {
		return err
	}
	if !removed {
		return errRefused
	}
	return nil
}

func (p hand) logRow(ctx context.Context, in *input) error {
	row := &in.rows[0]
	var user *int32
	if row.UserID != 0 {
		user = new(int32(row.UserID))
	}
	var metadata []byte
	if row.Metadata != nil {
		var err error
		if metadata, err = json.Marshal(row.Metadata); err != nil {
			return err
		}
	}
	tag, err := p.pool.Exec(ctx, `INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
		SELECT id, $2, $3, timezone('utc', now()), $4, $5::jsonb FROM teams WHERE id = $1 AND deleted_at IS NULL`,
		int32(row.TeamID), user, string(row.Action), row.IP.String(), metadata)
	if err == nil && tag.RowsAffected() == 0 {
		return errNotFound
	}
	return err
}

func (p hand) logRows(ctx context.Context, in *input) error {
	n := len(in.rows)
	teams, users, actions, ips, metadata := make([]int32, n), make([]int32, n), make([]string, n), make([]string, n), make([]string, n)
	for i := range in.rows {
		row := &in.rows[i]
		teams[i], users[i], actions[i], ips[i] = int32(row.TeamID), int32(row.UserID), string(row.Action), row.IP.String()
		if row.Metadata != nil {
			b, err := json.Marshal(row.Metadata)
			if err != nil {
				return err
			}
			metadata[i] = string(b)
		}
	}
	tag, err := p.pool.Exec(ctx, `INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
		SELECT team, nullif(usr, 0), action, timezone('utc', now()), ip, nullif(metadata, '')::jsonb
		FROM unnest($1::integer[], $2::integer[], $3::text[], $4::text[], $5::text[]) AS l (team, usr, action, ip, metadata)
		WHERE NOT EXISTS (
			SELECT FROM (SELECT DISTINCT team FROM unnest($1::integer[]) AS team) AS asked
			WHERE NOT EXISTS (SELECT FROM teams WHERE id = asked.team AND deleted_at IS NULL)
		)`, teams, users, actions, ips, metadata)
	if err == nil && tag.RowsAffected() != int64(n) {
		return errNotFound
	}
	return err
}
