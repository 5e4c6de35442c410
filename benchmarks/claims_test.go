package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Who joins a team has locked it, also by an invitation that came while its user's row was
// waited for: what is claimed to be atomic is what the Store claims.
func TestNobodyJoinsATeamThatIsLocked(t *testing.T) {
	h := smallHouse(t)
	for i, c := range here(t) {
		t.Run(c.name, func(t *testing.T) {
			if c.name == withDrizzle.name {
				t.Skip("it says that nothing is atomic")
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // for what takes milliseconds
			defer cancel()
			config, err := h.config()
			if err != nil {
				t.Fatal(err)
			}
			config.RuntimeParams["application_name"] = fmt.Sprintf("joins %d", i)
			s, err := c.open(ctx, config, 1)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.close) // after ctx has ended, and with it a call that waits
			if s.action(accept).run == nil {
				return // it does not accept
			}
			const team = 3
			email := fmt.Sprintf("early%d@example.com", i)
			users, err := h.insertUsers(ctx, []string{email})
			if err != nil {
				t.Fatal(err)
			}
			in := input{userID: users[0], email: email}
			var hash []byte
			in.token, hash = tokenOf(h.next())

			inviting, acting, elsewhere := h.begin(t), h.begin(t), h.begin(t)
			inviting.exec(`INSERT INTO invitations (team_id, email, role, invited_by, invited_at, status, token_hash, expires_at)
				VALUES ($1, $2, 'member', $3, '2026-01-01', 'pending', $4, '2036-01-01')`, team, email, h.owner(team), hash)
			acting.exec("SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE", in.userID)
			joined := make(chan error, 1)
			go func() { joined <- s.action(accept).run(ctx, &in) }()
			// refused is when it has answered, or else waits for a transaction.
			refused := func(by transaction) bool {
				t.Helper()
				tick := time.NewTicker(time.Millisecond) // nothing tells that a backend waits but to ask
				defer tick.Stop()
				for !by.holdsUp(ctx, config.RuntimeParams["application_name"]) {
					select {
					case err := <-joined:
						if err == nil {
							t.Fatal("joined a team that is locked")
						}
						return true
					case <-tick.C:
					}
				}
				return false
			}
			if refused(acting) {
				return
			}
			inviting.commit()
			elsewhere.exec("SELECT FROM teams WHERE id = $1 FOR NO KEY UPDATE", team)
			acting.commit()
			if refused(elsewhere) {
				return
			}
			elsewhere.commit()
			if err := <-joined; err != nil {
				t.Fatal(err)
			}
		})
	}
}

// transaction is one that a test holds open.
type transaction struct {
	t     *testing.T
	admin *pgxpool.Pool
	tx    pgx.Tx
}

func (h *house) begin(t *testing.T) transaction {
	tx, err := h.admin.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Rollback(context.Background()) })
	return transaction{t, h.admin, tx}
}

func (x transaction) exec(sql string, args ...any) {
	x.t.Helper()
	if _, err := x.tx.Exec(x.t.Context(), sql, args...); err != nil {
		x.t.Fatal(err)
	}
}

func (x transaction) commit() {
	x.t.Helper()
	if err := x.tx.Commit(x.t.Context()); err != nil {
		x.t.Fatal(err)
	}
}

// holdsUp reports whether a client's backend waits for it.
func (x transaction) holdsUp(ctx context.Context, application string) (waits bool) {
	x.t.Helper()
	err := x.admin.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = $1 AND $2 = ANY (pg_blocking_pids(pid)))",
		application, x.tx.Conn().PgConn().PID()).Scan(&waits)
	if err != nil {
		x.t.Fatal(err)
	}
	return waits
}
