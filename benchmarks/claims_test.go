package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Who joins a team has locked it, also by an invitation that came while its user's row was
// waited for: what is claimed to be atomic is what the Store claims.
func TestNobodyJoinsATeamThatIsLocked(t *testing.T) {
	h := smallHouse(t)
	ctx := t.Context()
	for i, c := range here(t) {
		t.Run(c.name, func(t *testing.T) {
			config, err := h.config()
			if err != nil {
				t.Fatal(err)
			}
			config.RuntimeParams["application_name"] = fmt.Sprintf("joins %d", i)
			s, err := c.open(ctx, config, 1)
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			if c.name == withDrizzle.name || s.action(accept).run == nil {
				return // Drizzle's says that nothing is atomic
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
			waits := func() bool {
				var waits bool
				err := h.admin.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock')", config.RuntimeParams["application_name"]).Scan(&waits)
				if err != nil {
					t.Fatal(err)
				}
				return waits
			}
			// refused waits until it has answered or waits for a lock.
			refused := func() bool {
				for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
					select {
					case err := <-joined:
						if err == nil {
							t.Fatal("joined a team that is locked")
						}
						return true
					default:
						if waits() {
							return false
						}
					}
				}
				t.Fatal("neither answers nor waits")
				return true
			}
			if refused() {
				return
			}
			inviting.commit()
			elsewhere.exec("SELECT FROM teams WHERE id = $1 FOR NO KEY UPDATE", team)
			acting.commit()
			time.Sleep(50 * time.Millisecond) // it may be waiting for who has just committed
			if refused() {
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
	t  *testing.T
	tx pgx.Tx
}

func (h *house) begin(t *testing.T) transaction {
	tx, err := h.admin.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Rollback(context.Background()) })
	return transaction{t, tx}
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
