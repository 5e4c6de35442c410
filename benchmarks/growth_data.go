package main

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/internal/throwaway"
	"github.com/rowhouse/rowhouse/store"
)

// Where things are in a dataset. Team i, its owner, user i, and all that is the team's have
// ids from 1 on; what operations make has ids from madeFrom on, so that it can be told apart.
const (
	deepTeam    = 50_000_000 // has a fifth of the log
	crowdedUser = 50_000_001 // is in teamsOf teams
	sharedTeams = 50_000_010 // are these teams
	sizedTeams  = 51_000_000 // are the teams of so many members, and from
	seatsTeams  = 52_000_000 // on the same once more, with a seat limit
	madeFrom    = 60_000_000
)

const (
	sampled    = 1000 // teams and users that operations draw from, at every size
	deepUsers  = 100  // who wrote the log of deepTeam
	fillAtOnce = 100_000
)

// dataset is a database that grows while the Store is measured on it.
type dataset struct {
	*house
	pool     *pgxpool.Pool // of one connection
	st       *store.Store  // on pool
	far      *proxy        // with a millisecond of network
	away     *store.Store  // through it
	awayPool *pgxpool.Pool
	server   int // the process behind that connection

	teams, log int // how many there are by now
	deepPage   store.ActivityPage
}

// newDataset is empty but for what every size has.
func newDataset(ctx context.Context, server *throwaway.Server, name string) (*dataset, error) {
	h, err := emptyHouse(ctx, server, name)
	if err != nil {
		return nil, err
	}
	d := &dataset{house: h}
	filling, err := pgxpool.ParseConfig(server.DatabaseURL(name))
	if err != nil {
		return nil, err
	}
	// The foreign keys of what is filled in are not checked: of ten million rows that would
	// take longer than the rows.
	filling.ConnConfig.RuntimeParams["session_replication_role"] = "replica"
	d.admin.Close()
	if d.admin, err = pgxpool.NewWithConfig(ctx, filling); err != nil {
		return nil, err
	}
	config, err := h.config()
	if err != nil {
		return nil, err
	}
	config.RuntimeParams["application_name"] = "grown"
	if d.pool, err = openPool(ctx, config, 1); err != nil {
		return nil, err
	}
	if err := d.pool.Ping(ctx); err != nil {
		return nil, err
	}
	backends, err := h.backends(ctx, "grown")
	if err != nil {
		return nil, err
	}
	d.server = backends[0]
	d.st = store.New(d.pool)
	if d.far, err = newFar(config); err != nil {
		return nil, err
	}
	if d.awayPool, err = openPool(ctx, d.far.on(config), 1); err != nil {
		return nil, err
	}
	d.away = store.New(d.awayPool)
	return d, d.execAll(ctx, []statement{
		{`CREATE EXTENSION pg_prewarm`, nil},
		{`INSERT INTO teams (id, name, created_at, updated_at) VALUES ($1, 'Deep', '2025-01-01', '2025-01-01')`, []any{deepTeam}},
		{`INSERT INTO users (id, name, email, password_hash, created_at, updated_at)
			VALUES ($1, 'Crowded', 'crowded@example.com', $2, '2025-01-01', '2025-01-01')`, []any{crowdedUser, hash}},
		{`INSERT INTO teams (id, name, created_at, updated_at)
			SELECT $1 + i, 'Shared ' || i, '2025-01-01', '2025-01-01' FROM generate_series(1, $2::integer) AS i`, []any{sharedTeams, teamsOf}},
		{`INSERT INTO team_members (id, user_id, team_id, role, joined_at)
			SELECT $1::integer + i, $2, $1 + i, 'member', timestamp '2025-03-01' + i * interval '1 second' FROM generate_series(1, $3::integer) AS i`, []any{sharedTeams, crowdedUser, teamsOf}},
		{`SELECT setval('users_id_seq', $1), setval('teams_id_seq', $1), setval('team_members_id_seq', $1), setval('invitations_id_seq', $1)`, []any{madeFrom}},
	})
}

type statement struct {
	sql  string
	args []any
}

func (d *dataset) execAll(ctx context.Context, statements []statement) error {
	for _, s := range statements {
		if err := d.exec(ctx, s.sql, s.args...); err != nil {
			return err
		}
	}
	return nil
}

func (d *dataset) close() {
	d.pool.Close()
	d.awayPool.Close()
	d.far.close()
	d.admin.Close()
}

// growTo adds what is missing: teams of an owner, a subscription and an invitation each,
// of which the sampled ones have five members; and log rows, in the order of time.
func (d *dataset) growTo(ctx context.Context, teams, log int) error {
	if err := fill(d.teams, teams, func(from, to int) error { return d.addTeams(ctx, from, to) }); err != nil {
		return err
	}
	if teams > d.teams {
		// The other four of a sampled team are owners of teams a fifth of all further on.
		err := d.exec(ctx, `INSERT INTO team_members (id, user_id, team_id, role, joined_at)
			SELECT $3 * j + team, 1 + (team - 1 + j * $1 / 5) % $1, team, 'member', timestamp '2025-02-01' + j * interval '1 second'
			FROM generate_series(1, $1::integer, $2::integer) AS team, generate_series(1, 4) AS j
			ON CONFLICT DO NOTHING`, teams, teams/sample(teams), 2_000_000)
		if err != nil {
			return err
		}
		d.teams = teams
	}
	if err := fill(d.log, log, func(from, to int) error { return d.addLog(ctx, from, to) }); err != nil {
		return err
	}
	grown := log > d.log
	d.log = max(d.log, log)
	// Autovacuum is off, so that it does not begin in the middle of a round.
	if err := d.exec(ctx, "VACUUM (ANALYZE)"); err != nil {
		return err
	}
	// The same at every size: what is read is in memory, as far as that goes.
	if err := d.exec(ctx, "SELECT pg_prewarm(oid) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i')"); err != nil {
		return err
	}
	if grown {
		return d.findDeepPage(ctx)
	}
	return nil
}

// fill makes rows from have+1 to want, several batches at a time, in ascending order but
// for those.
func fill(have, want int, add func(from, to int) error) error {
	batches := (max(want-have, 0) + fillAtOnce - 1) / fillAtOnce
	return inParallel(batches, func(i int) error {
		from := have + 1 + i*fillAtOnce
		return add(from, min(from+fillAtOnce-1, want))
	})
}

func (d *dataset) addTeams(ctx context.Context, from, to int) error {
	return d.execAll(ctx, []statement{
		{`INSERT INTO users (id, name, email, password_hash, role, created_at, updated_at)
			SELECT i, 'User ' || i, 'user' || i || '@example.com', $3, 'owner', '2025-01-01', '2025-01-01'
			FROM generate_series($1::integer, $2::integer) AS i`, []any{from, to, hash}},
		{`INSERT INTO teams (id, name, created_at, updated_at, stripe_customer_id, stripe_subscription_id, stripe_product_id, plan_name, subscription_status)
			SELECT i, 'Team ' || i, '2025-01-01', '2025-01-01', 'cus_' || i, 'sub_' || i, 'prod_plus', 'Plus', 'active'
			FROM generate_series($1::integer, $2::integer) AS i`, []any{from, to}},
		{`INSERT INTO team_members (id, user_id, team_id, role, joined_at)
			SELECT i, i, i, 'owner', '2025-01-01' FROM generate_series($1::integer, $2::integer) AS i`, []any{from, to}},
		{`INSERT INTO subscriptions (id, team_id, stripe_customer_id, status, stripe_product_id, stripe_price_id, plan_name, quantity, cancel_at_period_end, created_at, event_created_at, event_id)
			SELECT 'sub_' || i, i, 'cus_' || i, 'active', 'prod_plus', 'price_1', 'Plus', 5, false, '2026-01-01', '2026-01-01', 'evt_first' || i
			FROM generate_series($1::integer, $2::integer) AS i`, []any{from, to}},
		{`INSERT INTO invitations (id, team_id, email, role, invited_by, invited_at, status, token_hash, expires_at)
			SELECT i, i, 'asked' || i || '@example.com', 'member', i, '2025-01-01', 'pending', sha256(i::text::bytea), '2036-01-01'
			FROM generate_series($1::integer, $2::integer) AS i`, []any{from, to}},
	})
}

// addLog gives deepTeam every fifth row, and the others to any team. A row in five has
// metadata, and three rows have one time.
func (d *dataset) addLog(ctx context.Context, from, to int) error {
	return d.exec(ctx, `INSERT INTO activity_logs (team_id, user_id, action, "timestamp", ip_address, metadata)
		SELECT CASE WHEN deep THEN $4 ELSE home END, CASE WHEN deep THEN 1 + i / 5 % $5 ELSE home END,
			(ARRAY['SIGN_IN', 'SIGN_OUT', 'EXPORT_REPORT', 'UPDATE_ACCOUNT', 'INVITE_TEAM_MEMBER'])[1 + i / 5 % 5],
			timestamp '2025-01-01' + i / 3 * interval '3 seconds', '203.0.113.7',
			CASE WHEN i / 5 % 5 = 4 THEN jsonb_build_object('invitationId', i, 'email', 'asked' || i || '@example.com', 'role', 'member') END
		FROM (
			SELECT i, i % 5 = 0 AS deep, 1 + abs(hashint4(i)::bigint) % $3::bigint AS home
			FROM generate_series($1::integer, $2::integer) AS i
		) AS entry`, from, to, d.teams, deepTeam, deepUsers)
}

// addSized adds teams of so many members, who are owners of teams all over, and user 1 the
// owner of them all.
func (d *dataset) addSized(ctx context.Context, members []int) error {
	for i, n := range members {
		if n > d.teams {
			return fmt.Errorf("a team of %d needs as many users, and there are %d", n, d.teams)
		}
		for _, first := range []int{sizedTeams, seatsTeams} {
			var limit *int
			if first == seatsTeams {
				unreached := 2 * d.teams
				limit = &unreached
			}
			err := d.execAll(ctx, []statement{
				{`INSERT INTO teams (id, name, created_at, updated_at, seat_limit) VALUES ($1, $2, '2025-01-01', '2025-01-01', $3)`, []any{first + i, fmt.Sprintf("Team of %d", n), limit}},
				{`INSERT INTO team_members (id, user_id, team_id, role, joined_at)
					SELECT $1::integer + 20000 * $2::integer + i, 1 + i * ($4::bigint / $3), $1 + $2, CASE WHEN i = 0 THEN 'owner' ELSE 'member' END, timestamp '2025-02-01' + i * interval '1 second'
					FROM generate_series(0, $3::integer - 1) AS i`, []any{first, i, n, d.teams}},
			})
			if err != nil {
				return err
			}
		}
	}
	return d.exec(ctx, "VACUUM (ANALYZE) team_members, teams")
}

// findDeepPage walks half of the long log, as a reader would: a tenth of all rows.
func (d *dataset) findDeepPage(ctx context.Context) error {
	page := store.ActivityPage{Page: store.Page{Limit: 1000}}
	for left := d.depth(); left > 0; {
		page.Limit = min(left, 1000)
		rows, next, err := d.st.TeamActivity(ctx, deepTeam, page)
		if err != nil {
			return err
		}
		left -= len(rows)
		page.After = next
	}
	page.Limit = pageSize
	d.deepPage = page
	return nil
}

// depth is how far down the deep page is.
func (d *dataset) depth() int { return d.log / 10 }

// restore ends the memberships that operations have made, so that teams keep their sizes.
func (d *dataset) restore(ctx context.Context) error {
	return d.exec(ctx, "DELETE FROM team_members WHERE id >= $1", madeFrom)
}

// sample is how many of the teams operations draw from.
func sample(teams int) int { return min(teams, sampled) }

// drawn is one of them: they are spread evenly over all.
func (d *dataset) drawn(i int) int64 {
	s := sample(d.teams)
	return 1 + int64(i%s)*int64(d.teams/s)
}

func (d *dataset) anyDrawn(r *rand.Rand) int64 { return d.drawn(r.IntN(sampled)) }

// place is where an operation writes: a team, and its owner.
type place struct {
	team  db.TeamID
	owner db.UserID
}

// places are n of the sampled teams, one after the other.
func places(d *dataset, n int) []place {
	where := make([]place, n)
	for i := range where {
		team := d.drawn(d.next())
		where[i] = place{db.TeamID(team), db.UserID(team)}
	}
	return where
}

// in is one of addSized's teams, n times.
func in(team int) func(*dataset, int) []place {
	return func(_ *dataset, n int) []place {
		where := make([]place, n)
		for i := range where {
			where[i] = place{db.TeamID(team), 1}
		}
		return where
	}
}
