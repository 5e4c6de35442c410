package main

import (
	"context"
	"database/sql"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/jmoiron/sqlx"
)

// plainly is the code that most services have: a transaction, a statement at a time, and
// what is decided is decided in Go. It keeps the Store's rules, by locking as it does.
var plainly = contender{
	name: "naive pgx",
	what: "pgx, one statement at a time in a transaction, rows collected by column name",
	open: func(ctx context.Context, config *pgx.ConnConfig, conns int) (*session, error) {
		pool, err := openPool(ctx, config, conns)
		if err != nil {
			return nil, err
		}
		return (&plain{pgx: pool}).session(pool.Close), nil
	},
}

// withSqlx is the same by sqlx, on database/sql and pgx's driver for it, which prepares
// statements and keeps them.
var withSqlx = contender{
	name: "sqlx",
	what: "the same statements by sqlx: Get, Select and NamedExec",
	open: func(_ context.Context, config *pgx.ConnConfig, conns int) (*session, error) {
		db := sqlx.NewDb(openSQL(config, conns), "pgx")
		return (&plain{sqlx: db}).session(func() { db.Close() }), nil
	},
}

// openSQL is database/sql's pool, for the peers that are on it.
func openSQL(config *pgx.ConnConfig, conns int) *sql.DB {
	db := stdlib.OpenDB(*config.Copy())
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db
}

// plain is one of the two: what is nil is the other.
type plain struct {
	pgx  *pgxpool.Pool
	sqlx *sqlx.DB
}

// conn is where statements run: a pool or a transaction.
type conn struct {
	pgx interface {
		Query(context.Context, string, ...any) (pgx.Rows, error)
		Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
		CopyFrom(context.Context, pgx.Identifier, []string, pgx.CopyFromSource) (int64, error)
	}
	sqlx sqlx.ExtContext
}

func (p *plain) conn() conn {
	if p.pgx != nil {
		return conn{pgx: p.pgx}
	}
	return conn{sqlx: p.sqlx}
}

func (p *plain) inTx(ctx context.Context, f func(conn) error) error {
	if p.pgx != nil {
		return pgx.BeginFunc(ctx, p.pgx, func(tx pgx.Tx) error { return f(conn{pgx: tx}) })
	}
	tx, err := p.sqlx.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(conn{sqlx: tx}); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// get reads one row into a struct.
func get[T any](ctx context.Context, c conn, query string, args ...any) (t T, err error) {
	if c.sqlx != nil {
		err = sqlx.GetContext(ctx, c.sqlx, &t, query, args...)
	} else {
		rows, _ := c.pgx.Query(ctx, query, args...) // its error is in rows
		t, err = pgx.CollectOneRow(rows, pgx.RowToStructByName[T])
	}
	if errors.Is(err, sql.ErrNoRows) || errors.Is(err, pgx.ErrNoRows) {
		return t, errNotFound
	}
	return t, err
}

// value reads one value.
func value[T any](ctx context.Context, c conn, query string, args ...any) (t T, err error) {
	if c.sqlx != nil {
		err = sqlx.GetContext(ctx, c.sqlx, &t, query, args...)
	} else {
		rows, _ := c.pgx.Query(ctx, query, args...)
		t, err = pgx.CollectOneRow(rows, pgx.RowTo[T])
	}
	if errors.Is(err, sql.ErrNoRows) || errors.Is(err, pgx.ErrNoRows) {
		return t, errNotFound
	}
	return t, err
}

func list[T any](ctx context.Context, c conn, query string, args ...any) (ts []T, err error) {
	if c.sqlx != nil {
		return ts, sqlx.SelectContext(ctx, c.sqlx, &ts, query, args...)
	}
	rows, _ := c.pgx.Query(ctx, query, args...)
	return pgx.CollectRows(rows, pgx.RowToStructByName[T])
}

func exec(ctx context.Context, c conn, query string, args ...any) (int64, error) {
	if c.sqlx != nil {
		result, err := c.sqlx.ExecContext(ctx, query, args...)
		if err != nil {
			return 0, err
		}
		return result.RowsAffected()
	}
	tag, err := c.pgx.Exec(ctx, query, args...)
	return tag.RowsAffected(), err
}

func (p *plain) session(close func()) *session {
	return &session{close: close, actions: [kinds]action{
		userByID: act(p.user, func(u plainUser) any { return u.compared() }),
		credentials: act(p.credentials, func(c plainCredentials) any {
			return canonicalCredentials{c.ID, c.Hash}
		}),
		teamWithMembers: act(p.team, plainTeamWithMembers.canonical),
		teamsOfUser: act(p.teams, func(teams []plainUserTeam) any {
			return each(teams, func(t plainUserTeam) canonicalUserTeam {
				return canonicalUserTeam{t.compared(), t.Role, when(t.JoinedAt)}
			})
		}),
		activityPage: act(p.page, func(rows []plainActivity) any {
			return canonicalPage{each(rows[:min(len(rows), pageSize)], func(a plainActivity) canonicalActivity {
				return canonicalActivity{a.ID, a.TeamID, a.UserID, a.Action, when(a.Timestamp), compact(a.Metadata), a.IP, a.UserName}
			}), len(rows) > pageSize}
		}),
		signUp: act(p.signUp, func(s plainSignUp) any {
			return canonicalSignUp{s.user.compared(), s.team.compared(), s.member.compared()}
		}),
		invite: act(p.invite, func(i plainInvitation) any {
			return canonicalInvitation{i.ID, i.TeamID, i.InvitedBy, i.Email, i.Role, when(i.InvitedAt), i.Status, when(*i.ExpiresAt), len(i.token)}
		}),
		accept:  act(p.accept, func(a plainAccepted) any { return canonicalAccepted{a.member.compared(), a.joined} }),
		remove:  done(p.remove),
		logRow:  done(p.logRow),
		logRows: done(p.logRows),
		subscriptionEvent: act(p.event, func(o plainOutcome) any {
			return canonicalOutcome{o.outcome, o.team.compared()}
		}),
	}}
}

func (p *plain) user(ctx context.Context, in *input) (plainUser, error) {
	return get[plainUser](ctx, p.conn(), "SELECT "+userColumns+" FROM users WHERE id = $1 AND deleted_at IS NULL", in.userID)
}

func (p *plain) credentials(ctx context.Context, in *input) (c plainCredentials, err error) {
	email, err := validEmail(in.email)
	if err != nil {
		return c, err
	}
	return get[plainCredentials](ctx, p.conn(), "SELECT id, password_hash FROM users WHERE lower(email) = $1 AND deleted_at IS NULL", email)
}

func (p *plain) team(ctx context.Context, in *input) (t plainTeamWithMembers, err error) {
	if t.plainTeam, err = get[plainTeam](ctx, p.conn(), "SELECT * FROM teams WHERE id = $1 AND deleted_at IS NULL", in.teamID); err != nil {
		return t, err
	}
	t.Members, err = list[plainMember](ctx, p.conn(), `SELECT m.*, u.name, u.email
		FROM team_members AS m JOIN users AS u ON u.id = m.user_id AND u.deleted_at IS NULL
		WHERE m.team_id = $1 ORDER BY m.joined_at, m.id`, in.teamID)
	return t, err
}

func (p *plain) teams(ctx context.Context, in *input) ([]plainUserTeam, error) {
	return list[plainUserTeam](ctx, p.conn(), `SELECT t.*, m.role, m.joined_at
		FROM team_members AS m
		JOIN users AS u ON u.id = m.user_id AND u.deleted_at IS NULL
		JOIN teams AS t ON t.id = m.team_id AND t.deleted_at IS NULL
		WHERE m.user_id = $1 ORDER BY m.joined_at, m.id LIMIT $2`, in.userID, pageSize)
}

func (p *plain) page(ctx context.Context, in *input) ([]plainActivity, error) {
	return list[plainActivity](ctx, p.conn(), `SELECT l.*, u.name AS user_name
		FROM activity_logs AS l LEFT JOIN users AS u ON u.id = l.user_id
		WHERE l.team_id = $1 AND (l."timestamp", l.id) < ($2::timestamp, $3::bigint)
		ORDER BY l."timestamp" DESC, l.id DESC LIMIT $4`, in.teamID, in.beforeTime, in.beforeID, pageSize+1)
}
