package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/internal/throwaway"
	"github.com/rowhouse/rowhouse/schema"
	"github.com/rowhouse/rowhouse/store"
)

// address is where all that is written comes from.
var address = netip.MustParseAddr("203.0.113.7")

// sizes say how much data there is.
type sizes struct {
	teams   int   // of five members, each with a customer at Stripe and a subscription
	spare   int   // of these teams: no operation draws them
	big     []int // members of the larger teams, which share the small teams' users
	log     int   // rows before which the deep page begins
	logRows int   // rows of the operation that logs many
}

var full = sizes{teams: 4000, big: []int{100, 1000, 10_000}, log: 100_000, logRows: 10_000}

// house is a filled database, and where things are in it.
type house struct {
	server *throwaway.Server
	name   string
	sizes  sizes
	admin  *pgxpool.Pool

	members  int64   // users 1 to members are in the small teams: five to a team
	big      []int64 // the larger teams
	crowded  int64   // the user who is in several teams
	deep     int64   // the team with the long log
	deepPage input   // where the deep page begins

	serial int // of what must be there once: e-mails, events
}

// newHouse makes a database on a server, migrates and fills it.
func newHouse(ctx context.Context, server *throwaway.Server, name string, s sizes) (*house, error) {
	h, err := emptyHouse(ctx, server, name)
	if err != nil {
		return nil, err
	}
	h.sizes = s
	return h, h.fill(ctx)
}

// emptyHouse is a migrated database without a row.
func emptyHouse(ctx context.Context, server *throwaway.Server, name string) (*house, error) {
	if err := onServer(ctx, server, "CREATE DATABASE "+name); err != nil {
		return nil, err
	}
	admin, err := pgxpool.New(ctx, server.DatabaseURL(name))
	if err != nil {
		return nil, err
	}
	_, err = schema.Migrate(ctx, admin)
	return &house{server: server, name: name, admin: admin}, err
}

// copy is the same data, ids and sequences included, in a database of its own.
func (h *house) copy(ctx context.Context, name string) (*house, error) {
	h.admin.Reset() // a template must have no session
	if err := onServer(ctx, h.server, "CREATE DATABASE "+name+" TEMPLATE "+h.name); err != nil {
		return nil, err
	}
	c := *h
	c.name = name
	var err error
	c.admin, err = pgxpool.New(ctx, h.server.DatabaseURL(name))
	return &c, err
}

func (h *house) close(ctx context.Context) error {
	h.admin.Close()
	return onServer(ctx, h.server, "DROP DATABASE "+h.name+" WITH (FORCE)")
}

func onServer(ctx context.Context, server *throwaway.Server, sql string) error {
	conn, err := pgx.Connect(ctx, server.URL)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return joinClose(ctx, conn, err)
}

func joinClose(ctx context.Context, conn *pgx.Conn, err error) error {
	if closeErr := conn.Close(ctx); err == nil {
		err = closeErr
	}
	return err
}

// config is for a contender's connections.
func (h *house) config() (*pgx.ConnConfig, error) {
	return pgx.ParseConfig(h.server.DatabaseURL(h.name))
}

// exec runs statements that set the stage.
func (h *house) exec(ctx context.Context, sql string, args ...any) error {
	if _, err := h.admin.Exec(ctx, sql, args...); err != nil {
		return fmt.Errorf("%s: %w", strings.SplitN(sql, "\n", 2)[0], err)
	}
	return nil
}

const hash = "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy" // bcrypt's 60 characters

func (h *house) fill(ctx context.Context) error {
	h.members = int64(5 * h.sizes.teams)
	for _, n := range h.sizes.big {
		if int64(n) > h.members {
			return fmt.Errorf("a team of %d needs as many users, and there are %d", n, h.members)
		}
	}
	type step struct {
		sql  string
		args []any
	}
	steps := []step{
		{`INSERT INTO users (name, email, password_hash, role, created_at, updated_at)
			SELECT CASE WHEN i % 10 > 0 THEN 'User ' || i END, 'user' || i || '@example.com', $2, 'owner', '2026-01-01', '2026-01-01'
			FROM generate_series(1, $1::integer) AS i`, []any{h.members, hash}},
		{`INSERT INTO teams (name, created_at, updated_at, stripe_customer_id, stripe_subscription_id, stripe_product_id, plan_name, subscription_status)
			SELECT 'Team ' || i, '2026-01-01', '2026-01-01', 'cus_' || i, 'sub_' || i, 'prod_plus', 'Plus', 'active'
			FROM generate_series(1, $1::integer) AS i`, []any{h.sizes.teams}},
		// The owner of team i is user 5i-4.
		{`INSERT INTO team_members (user_id, team_id, role, joined_at)
			SELECT i, (i + 4) / 5, CASE WHEN i % 5 = 1 THEN 'owner' ELSE 'member' END, timestamp '2026-01-01' + i * interval '1 second'
			FROM generate_series(1, $1::integer) AS i`, []any{h.members}},
		{`INSERT INTO subscriptions (id, team_id, stripe_customer_id, status, stripe_product_id, stripe_price_id, plan_name, quantity, cancel_at_period_end, created_at, event_created_at, event_id)
			SELECT 'sub_' || i, i, 'cus_' || i, 'active', 'prod_plus', 'price_1', 'Plus', 5, false, '2026-01-01', '2026-01-01', 'evt_first' || i
			FROM generate_series(1, $1::integer) AS i`, []any{h.sizes.teams}},
		{`INSERT INTO invitations (team_id, email, role, invited_by, invited_at, status, token_hash, expires_at)
			SELECT i, 'asked' || i || '@example.com', 'member', 5 * i - 4, '2026-01-01', 'pending', sha256(i::text::bytea), '2036-01-01'
			FROM generate_series(1, $1::integer) AS i`, []any{h.sizes.teams}},
		{`INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
			SELECT 1 + i % $1::integer, 1 + 5 * (i % $1::integer), 'SIGN_IN', timestamp '2026-01-01' + i * interval '1 second', '203.0.113.7', NULL
			FROM generate_series(1, 10 * $1::integer) AS i`, []any{h.sizes.teams}},
	}
	next := int64(h.sizes.teams)
	for _, n := range h.sizes.big {
		next++
		h.big = append(h.big, next)
		steps = append(steps,
			step{`INSERT INTO teams (name, created_at, updated_at) VALUES ($1, '2026-01-01', '2026-01-01')`, []any{fmt.Sprintf("Team of %d", n)}},
			step{`INSERT INTO team_members (user_id, team_id, role, joined_at)
				SELECT i, $1, CASE WHEN i = 1 THEN 'owner' ELSE 'member' END, timestamp '2026-02-01' + i * interval '1 second'
				FROM generate_series(1, $2::integer) AS i`, []any{next, n}})
	}
	h.crowded = h.members + 1
	steps = append(steps,
		step{`INSERT INTO users (name, email, password_hash, created_at, updated_at) VALUES ('Crowded', 'crowded@example.com', 'hash', '2026-01-01', '2026-01-01')`, nil},
		step{`INSERT INTO teams (name, created_at, updated_at) SELECT 'Shared ' || i, '2026-01-01', '2026-01-01' FROM generate_series(1, $1::integer) AS i`, []any{teamsOf}},
		step{`INSERT INTO team_members (user_id, team_id, role, joined_at)
			SELECT $1, $2 + i, 'member', timestamp '2026-03-01' + i * interval '1 second' FROM generate_series(1, $3::integer) AS i`, []any{h.crowded, next, teamsOf}},
		step{`INSERT INTO teams (name, created_at, updated_at) VALUES ('Deep', '2026-01-01', '2026-01-01')`, nil},
	)
	h.deep = next + teamsOf + 1
	steps = append(steps,
		// Three rows at a time, of which one has no user and one has metadata.
		step{`INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
			SELECT $1, CASE WHEN i % 3 > 0 THEN 1 + i % $2::integer END, 'SIGN_IN', timestamp '2026-01-01' + i / 3 * interval '1 second', '203.0.113.7',
				CASE WHEN i % 3 = 1 THEN jsonb_build_object('invitationId', i, 'email', 'user' || i || '@example.com', 'role', 'member') END
			FROM generate_series(1, $3::integer) AS i`, []any{h.deep, h.members, h.sizes.log + 4*pageSize}},
		// What the operations leave must not set off a vacuum in the middle of a round.
		step{`ALTER TABLE users SET (autovacuum_enabled = false)`, nil},
		step{`ALTER TABLE teams SET (autovacuum_enabled = false)`, nil},
		step{`ALTER TABLE team_members SET (autovacuum_enabled = false)`, nil},
		step{`ALTER TABLE invitations SET (autovacuum_enabled = false)`, nil},
		step{`ALTER TABLE activity_logs SET (autovacuum_enabled = false)`, nil},
		step{`ALTER TABLE subscriptions SET (autovacuum_enabled = false)`, nil},
		step{`ALTER TABLE subscription_events SET (autovacuum_enabled = false)`, nil},
		step{`VACUUM ANALYZE`, nil},
	)
	for _, s := range steps {
		if err := h.exec(ctx, s.sql, s.args...); err != nil {
			return err
		}
	}
	return h.findDeepPage(ctx)
}

// findDeepPage walks the long log, as a reader would, to where the deep page begins.
func (h *house) findDeepPage(ctx context.Context) error {
	st := store.New(h.admin)
	page := store.ActivityPage{Page: store.Page{Limit: 1000}}
	for left := h.sizes.log; left > 0; {
		page.Limit = min(left, 1000)
		rows, next, err := st.TeamActivity(ctx, db.TeamID(h.deep), page)
		if err != nil {
			return err
		}
		last := rows[len(rows)-1]
		left -= len(rows)
		page.After = next
		h.deepPage = input{teamID: h.deep, cursor: next, beforeTime: last.Timestamp, beforeID: int64(last.ID)}
	}
	return nil
}
