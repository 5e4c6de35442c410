package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jmoiron/sqlx"

	"github.com/rowhouse/rowhouse/store"
)

const insertLog = `INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata) VALUES ($1, $2, $3, timezone('utc', now()), $4, $5)`

// logged writes a row of the log. jsonb is sent as text, which database/sql can carry.
func logged(ctx context.Context, c conn, team int64, user *int64, action string, ip *string, metadata []byte) error {
	_, err := exec(ctx, c, insertLog, team, user, action, ip, textOrNull(string(metadata)))
	return err
}

type plainSignUp struct {
	user   plainUser
	team   plainTeam
	member plainMembership
}

func (p *plain) signUp(ctx context.Context, in *input) (s plainSignUp, err error) {
	email, err := validEmail(in.email)
	if err != nil {
		return s, err
	}
	return s, p.inTx(ctx, func(c conn) error {
		var err error
		if s.user, err = get[plainUser](ctx, c, `INSERT INTO users (name, email, password_hash, role, created_at, updated_at)
			VALUES ($1, $2, $3, 'owner', timezone('utc', now()), timezone('utc', now())) RETURNING `+userColumns, "Ada", email, in.hash); err != nil {
			return err
		}
		if s.team, err = get[plainTeam](ctx, c, `INSERT INTO teams (name, created_at, updated_at) VALUES ($1, timezone('utc', now()), timezone('utc', now())) RETURNING *`, teamNameFor(email)); err != nil {
			return err
		}
		if s.member, err = get[plainMembership](ctx, c, `INSERT INTO team_members (user_id, team_id, role, joined_at) VALUES ($1, $2, 'owner', timezone('utc', now())) RETURNING *`, s.user.ID, s.team.ID); err != nil {
			return err
		}
		if err := logged(ctx, c, s.team.ID, &s.user.ID, "CREATE_TEAM", &addressText, marshalled(map[string]any{"name": s.team.Name})); err != nil {
			return err
		}
		return logged(ctx, c, s.team.ID, &s.user.ID, "SIGN_UP", &addressText, nil)
	})
}

func lockTeam(ctx context.Context, c conn, team int64) (plainTeam, error) {
	return get[plainTeam](ctx, c, "SELECT * FROM teams WHERE id = $1 FOR NO KEY UPDATE", team)
}

func isOwner(ctx context.Context, c conn, team, user int64) (bool, error) {
	return value[bool](ctx, c, `SELECT EXISTS (SELECT FROM team_members AS m JOIN users AS u ON u.id = m.user_id AND u.deleted_at IS NULL
		WHERE m.team_id = $1 AND m.user_id = $2 AND m.role = 'owner')`, team, user)
}

// unless is for what a rule refuses.
func unless(ok bool, err error) error {
	if err == nil && !ok {
		return errRefused
	}
	return err
}

func (p *plain) invite(ctx context.Context, in *input) (i plainInvitation, err error) {
	email, err := validEmail(in.email)
	if err != nil {
		return i, err
	}
	token, hash := newToken()
	err = p.inTx(ctx, func(c conn) error {
		if _, err := lockTeam(ctx, c, in.teamID); err != nil {
			return err
		}
		if err := unless(isOwner(ctx, c, in.teamID, in.userID)); err != nil {
			return err
		}
		member, err := value[bool](ctx, c, `SELECT EXISTS (SELECT FROM users AS u JOIN team_members AS m ON m.user_id = u.id
			WHERE lower(u.email) = $1 AND u.deleted_at IS NULL AND m.team_id = $2)`, email, in.teamID)
		if err := unless(!member, err); err != nil {
			return err
		}
		standing, err := get[plainInvitation](ctx, c, `SELECT * FROM invitations WHERE team_id = $1 AND lower(email) = $2 AND status = 'pending'`, in.teamID, email)
		switch {
		case err == nil:
			status := "canceled"
			if standing.ExpiresAt != nil && !standing.ExpiresAt.After(now()) {
				status = "expired"
			} else if inviter, err := isOwner(ctx, c, in.teamID, standing.InvitedBy); err != nil || inviter {
				return unless(false, err)
			}
			if _, err := exec(ctx, c, "UPDATE invitations SET status = $1 WHERE team_id = $2 AND id = $3", status, in.teamID, standing.ID); err != nil {
				return err
			}
		case !errors.Is(err, errNotFound):
			return err
		}
		if i, err = get[plainInvitation](ctx, c, `INSERT INTO invitations (team_id, email, role, invited_by, invited_at, status, token_hash, expires_at)
			VALUES ($1, $2, 'member', $3, timezone('utc', now()), 'pending', $4, timezone('utc', now()) + interval '7 days') RETURNING *`, in.teamID, email, in.userID, hash); err != nil {
			return err
		}
		return logged(ctx, c, in.teamID, &in.userID, "INVITE_TEAM_MEMBER", &addressText, marshalled(map[string]any{"invitationId": i.ID, "email": i.Email, "role": i.Role}))
	})
	i.token = token
	return i, err
}

type plainAccepted struct {
	member plainMembership
	joined bool
}

func (p *plain) accept(ctx context.Context, in *input) (a plainAccepted, err error) {
	return a, p.inTx(ctx, func(c conn) error {
		user, err := get[plainUser](ctx, c, "SELECT "+userColumns+" FROM users WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE", in.userID)
		if err != nil {
			return err
		}
		hash := hashOf(in.token)
		teamID, err := value[int64](ctx, c, "SELECT team_id FROM invitations WHERE token_hash = $1", hash)
		if err != nil {
			return err
		}
		team, err := lockTeam(ctx, c, teamID)
		if err != nil {
			return err
		}
		i, err := get[plainInvitation](ctx, c, "SELECT * FROM invitations WHERE token_hash = $1 FOR NO KEY UPDATE", hash)
		if err != nil {
			return err
		}
		if i.Status != "pending" || i.ExpiresAt != nil && !i.ExpiresAt.After(now()) || !strings.EqualFold(i.Email, user.Email) || team.DeletedAt != nil {
			return errRefused
		}
		if err := unless(isOwner(ctx, c, teamID, i.InvitedBy)); err != nil {
			return err
		}
		a.member, err = get[plainMembership](ctx, c, "SELECT * FROM team_members WHERE team_id = $1 AND user_id = $2", teamID, in.userID)
		if a.joined = errors.Is(err, errNotFound); err != nil && !a.joined {
			return err
		}
		if a.joined {
			if team.SeatLimit != nil {
				taken, err := value[int64](ctx, c, `SELECT count(*) FROM team_members AS m JOIN users AS u ON u.id = m.user_id AND u.deleted_at IS NULL WHERE m.team_id = $1`, teamID)
				if err := unless(taken < int64(*team.SeatLimit), err); err != nil {
					return err
				}
			}
			if a.member, err = get[plainMembership](ctx, c, `INSERT INTO team_members (user_id, team_id, role, joined_at) VALUES ($1, $2, $3, timezone('utc', now())) RETURNING *`, in.userID, teamID, i.Role); err != nil {
				return err
			}
		}
		if _, err := exec(ctx, c, "UPDATE invitations SET status = 'accepted' WHERE team_id = $1 AND id = $2", teamID, i.ID); err != nil {
			return err
		}
		return logged(ctx, c, teamID, &in.userID, "ACCEPT_INVITATION", &addressText, marshalled(map[string]any{"invitationId": i.ID, "role": a.member.Role, "joined": a.joined}))
	})
}

func (p *plain) remove(ctx context.Context, in *input) error {
	return p.inTx(ctx, func(c conn) error {
		if _, err := lockTeam(ctx, c, in.teamID); err != nil {
			return err
		}
		if err := unless(isOwner(ctx, c, in.teamID, in.userID)); err != nil {
			return err
		}
		m, err := get[plainMembership](ctx, c, "SELECT * FROM team_members WHERE team_id = $1 AND id = $2", in.teamID, in.memberID)
		if err != nil {
			return err
		}
		if m.Role == "owner" {
			if err := unless(value[bool](ctx, c, `SELECT EXISTS (SELECT FROM team_members AS m JOIN users AS u ON u.id = m.user_id AND u.deleted_at IS NULL
				WHERE m.team_id = $1 AND m.role = 'owner' AND m.id <> $2)`, in.teamID, m.ID)); err != nil {
				return err
			}
		}
		if _, err := exec(ctx, c, "DELETE FROM team_members WHERE team_id = $1 AND id = $2", in.teamID, m.ID); err != nil {
			return err
		}
		return logged(ctx, c, in.teamID, &in.userID, "REMOVE_TEAM_MEMBER", &addressText, marshalled(map[string]any{"memberId": m.ID, "userId": m.UserID, "role": m.Role}))
	})
}

func (p *plain) logRow(ctx context.Context, in *input) error {
	row := &in.rows[0]
	return p.inTx(ctx, func(c conn) error {
		if _, err := value[int64](ctx, c, "SELECT id FROM teams WHERE id = $1 AND deleted_at IS NULL", int64(row.TeamID)); err != nil {
			return err
		}
		return logged(ctx, c, int64(row.TeamID), userOrNull(row), string(row.Action), new(row.IP.String()), metadataOf(row))
	})
}

// plainLogRow is one of many, as NamedExec takes it.
type plainLogRow struct {
	TeamID    int64     `db:"team_id"`
	UserID    *int64    `db:"user_id"`
	Action    string    `db:"action"`
	Timestamp time.Time `db:"timestamp"`
	IP        string    `db:"ip_address"`
	Metadata  *string   `db:"metadata"`
}

var logColumns = []string{"team_id", "user_id", "action", "timestamp", "ip_address", "metadata"}

// logRows writes by COPY with pgx, as its documentation has it, and with sqlx by NamedExec
// of a slice, in pieces that keep below the protocol's 65,535 parameters.
func (p *plain) logRows(ctx context.Context, in *input) error {
	return p.inTx(ctx, func(c conn) error {
		var err error
		at := now()
		if c.pgx != nil {
			_, err = c.pgx.CopyFrom(ctx, pgx.Identifier{"activity_logs"}, logColumns, pgx.CopyFromSlice(len(in.rows), func(i int) ([]any, error) {
				row := &in.rows[i]
				return []any{int64(row.TeamID), userOrNull(row), string(row.Action), at, row.IP.String(), metadataOf(row)}, nil
			}))
		} else {
			rows := make([]plainLogRow, 0, 1000)
			for i := range in.rows {
				row := &in.rows[i]
				rows = append(rows, plainLogRow{int64(row.TeamID), userOrNull(row), string(row.Action), at, row.IP.String(), textOrNull(string(metadataOf(row)))})
				if len(rows) == cap(rows) || i == len(in.rows)-1 {
					if _, err = sqlx.NamedExecContext(ctx, c.sqlx, `INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
						VALUES (:team_id, :user_id, :action, :timestamp, :ip_address, :metadata)`, rows); err != nil {
						break
					}
					rows = rows[:0]
				}
			}
		}
		if err != nil {
			return err
		}
		return allTeamsLive(ctx, c, in.rows)
	})
}

// allTeamsLive refuses rows in teams that are deleted. That there is a team at all is the
// foreign key's.
func allTeamsLive(ctx context.Context, c conn, rows []store.RecordActivity) error {
	live, err := value[int64](ctx, c, "SELECT count(*) FROM teams WHERE id = ANY ($1) AND deleted_at IS NULL", teamIDs(rows))
	return unless(live == int64(len(teamIDs(rows))), err)
}

// teamIDs are the teams of rows, each once.
func teamIDs(rows []store.RecordActivity) []int64 {
	seen := make(map[int64]bool, len(rows))
	var ids []int64
	for i := range rows {
		if id := int64(rows[i].TeamID); !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return ids
}
