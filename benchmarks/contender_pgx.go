package main

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// byHand is what an expert writes who wants to be faster than the Store: one statement or
// one batch for each operation; no column that the caller knows already; rows scanned
// straight into the structs that are returned.
var byHand = contender{
	name: "pgx",
	what: "hand-written on pgx by one who wants to beat the Store: CTEs, batches, no column that the caller knows",
	open: openByHand,
}

// byHandAgain is the same code under another name: what it differs by is noise.
var byHandAgain = contender{name: "pgx again", what: "the same code as pgx: its ratio to pgx is the noise", open: openByHand}

func openByHand(ctx context.Context, config *pgx.ConnConfig, conns int) (*session, error) {
	pool, err := openPool(ctx, config, conns)
	if err != nil {
		return nil, err
	}
	p := hand{pool}
	return &session{close: pool.Close, actions: [kinds]action{
		userByID:          act(p.user, handUser.canonical),
		credentials:       act(p.credentials, handCredentials.canonical),
		teamWithMembers:   act(p.team, (*handTeamWithMembers).canonical),
		teamsOfUser:       act(p.teams, func(teams []handUserTeam) any { return each(teams, handUserTeam.canonical) }),
		signUp:            act(p.signUp, handSignUp.canonical),
		invite:            act(p.invite, handInvited.canonical),
		accept:            act(p.accept, handAccepted.canonical),
		remove:            done(p.remove),
		activityPage:      act(p.page, handPage.canonical),
		logRow:            done(p.logRow),
		logRows:           done(p.logRows),
		subscriptionEvent: act(p.event, handOutcome.canonical),
	}}, nil
}

type hand struct{ pool *pgxpool.Pool }

type handUser struct {
	ID                   int32
	Name                 *string
	Email, Role          string
	CreatedAt, UpdatedAt time.Time
}

func (u handUser) canonical() any { return u.compared() }
func (u handUser) compared() canonicalUser {
	return canonicalUser{int64(u.ID), u.Name, u.Email, u.Role, when(u.CreatedAt), when(u.UpdatedAt)}
}

func (p hand) user(ctx context.Context, in *input) (handUser, error) {
	u := handUser{ID: int32(in.userID)}
	err := p.pool.QueryRow(ctx, `SELECT name, email, role, created_at, updated_at FROM users WHERE id = $1 AND deleted_at IS NULL`, u.ID).
		Scan(&u.Name, &u.Email, &u.Role, &u.CreatedAt, &u.UpdatedAt)
	return u, err
}

type handCredentials struct {
	UserID int32
	Hash   string
}

func (c handCredentials) canonical() any { return canonicalCredentials{int64(c.UserID), c.Hash} }

func (p hand) credentials(ctx context.Context, in *input) (c handCredentials, err error) {
	email, err := validEmail(in.email)
	if err != nil {
		return c, errNotFound
	}
	err = p.pool.QueryRow(ctx, `SELECT id, password_hash FROM users WHERE lower(email) = $1 AND deleted_at IS NULL`, email).Scan(&c.UserID, &c.Hash)
	return c, err
}

type handTeam struct {
	ID                                            int32
	Name                                          string
	CreatedAt, UpdatedAt                          time.Time
	Customer, Subscription, Product, Plan, Status *string
	SeatLimit                                     *int32
}

func (t handTeam) compared() canonicalTeam {
	return canonicalTeam{int64(t.ID), t.Name, when(t.CreatedAt), when(t.UpdatedAt), t.Customer, t.Subscription, t.Product, t.Plan, t.Status, t.SeatLimit}
}

type handMember struct {
	ID, UserID int32
	Role       string
	JoinedAt   time.Time
	Name       *string
	Email      string
}

type handTeamWithMembers struct {
	handTeam
	Members []handMember
}

func (t *handTeamWithMembers) canonical() any {
	return canonicalTeamWithMembers{t.compared(), each(t.Members, func(m handMember) canonicalMember {
		return canonicalMember{int64(m.ID), int64(m.UserID), int64(t.ID), m.Role, when(m.JoinedAt), m.Name, m.Email}
	})}
}

const (
	handTeamSQL = `SELECT name, created_at, updated_at, stripe_customer_id, stripe_subscription_id, stripe_product_id, plan_name, subscription_status, seat_limit
		FROM teams WHERE id = $1 AND deleted_at IS NULL`
	handMembersSQL = `SELECT m.id, m.user_id, m.role, m.joined_at, u.name, u.email
		FROM team_members AS m JOIN users AS u ON u.id = m.user_id AND u.deleted_at IS NULL
		WHERE m.team_id = (SELECT $1::integer) -- or a small team is planned at every call
		ORDER BY m.joined_at, m.id`
)

func (p hand) team(ctx context.Context, in *input) (*handTeamWithMembers, error) {
	t := &handTeamWithMembers{handTeam: handTeam{ID: int32(in.teamID)}}
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
		t.Members = append(t.Members, handMember{})
		m := &t.Members[len(t.Members)-1]
		if err := rows.Scan(&m.ID, &m.UserID, &m.Role, &m.JoinedAt, &m.Name, &m.Email); err != nil {
			return nil, err
		}
	}
	return t, rows.Err()
}

type handUserTeam struct {
	handTeam
	Role     string
	JoinedAt time.Time
}

func (t handUserTeam) canonical() canonicalUserTeam {
	return canonicalUserTeam{t.compared(), t.Role, when(t.JoinedAt)}
}

func (p hand) teams(ctx context.Context, in *input) ([]handUserTeam, error) {
	rows, err := p.pool.Query(ctx, `SELECT t.id, t.name, t.created_at, t.updated_at, t.stripe_customer_id, t.stripe_subscription_id, t.stripe_product_id, t.plan_name,
			t.subscription_status, t.seat_limit, m.role, m.joined_at
		FROM team_members AS m
		JOIN users AS u ON u.id = m.user_id AND u.deleted_at IS NULL
		JOIN teams AS t ON t.id = m.team_id AND t.deleted_at IS NULL
		WHERE m.user_id = $1
		ORDER BY m.joined_at, m.id
		LIMIT (SELECT 50)`, int32(in.userID))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	teams := make([]handUserTeam, 0, 8)
	for rows.Next() {
		teams = append(teams, handUserTeam{})
		t := &teams[len(teams)-1]
		if err := rows.Scan(&t.ID, &t.Name, &t.CreatedAt, &t.UpdatedAt, &t.Customer, &t.Subscription, &t.Product, &t.Plan, &t.Status, &t.SeatLimit, &t.Role, &t.JoinedAt); err != nil {
			return nil, err
		}
	}
	return teams, rows.Err()
}

type handActivity struct {
	ID        int32
	UserID    *int32
	Action    string
	Timestamp time.Time
	IP        *string
	Metadata  []byte
	UserName  *string
}

type handPage struct {
	teamID int32
	rows   []handActivity
	more   bool // the next page begins before the last row
}

func (p handPage) canonical() any {
	return canonicalPage{each(p.rows, func(a handActivity) canonicalActivity {
		return canonicalActivity{int64(a.ID), int64(p.teamID), widened(a.UserID), a.Action, when(a.Timestamp), compact(a.Metadata), a.IP, a.UserName}
	}), p.more}
}

func (p hand) page(ctx context.Context, in *input) (handPage, error) {
	page := handPage{teamID: int32(in.teamID), rows: make([]handActivity, 0, pageSize+1)}
	rows, err := p.pool.Query(ctx, `SELECT l.id, l.user_id, l.action, l."timestamp", l.ip_address, l.metadata, u.name
		FROM activity_logs AS l LEFT JOIN users AS u ON u.id = l.user_id
		WHERE l.team_id = $1 AND (l."timestamp", l.id) < ($2::timestamp, $3::bigint)
		ORDER BY l."timestamp" DESC, l.id DESC
		LIMIT (SELECT 51) -- or it is planned at every call`, page.teamID, in.beforeTime, in.beforeID)
	if err != nil {
		return page, err
	}
	defer rows.Close()
	for rows.Next() {
		page.rows = append(page.rows, handActivity{})
		a := &page.rows[len(page.rows)-1]
		if err := rows.Scan(&a.ID, &a.UserID, &a.Action, &a.Timestamp, &a.IP, &a.Metadata, &a.UserName); err != nil {
			return page, err
		}
	}
	if len(page.rows) > pageSize {
		page.rows, page.more = page.rows[:pageSize], true
	}
	return page, rows.Err()
}

// refusedIfNone is for statements that return no row when they have done nothing.
func refusedIfNone(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return errRefused
	}
	return err
}
