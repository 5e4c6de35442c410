package store_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// Races are run, not argued: everybody starts at one barrier, each on a connection that
// is open already, and the rule is then read from the tables.

const crowd = 50 // who do the same thing at once

var rounds = repeats(100) // of a race between two or three

// racers is a Store with n connections that are open. A test takes as many as race at
// once: the pools of all tests that run, or wait for their subtests, share one server.
func racers(t *testing.T, n int) *store.Store {
	t.Helper()
	pool := newPool(t, func(config *pgxpool.Config) { config.MaxConns = int32(n) })
	open(t, pool, n)
	return store.New(pool)
}

// open opens n of a pool's connections, or all that it may have.
func open(t *testing.T, pool *pgxpool.Pool, n int) {
	t.Helper()
	for range min(n, int(pool.Config().MaxConns)) {
		conn, err := pool.Acquire(t.Context())
		require.NoError(t, err)
		defer conn.Release() // when all are open
	}
}

// race starts all of them at once, and returns what each of them answered.
func race(starters ...func() error) []error {
	errs := make([]error, len(starters))
	barrier := make(chan struct{})
	var all sync.WaitGroup
	for i, start := range starters {
		all.Go(func() {
			<-barrier
			errs[i] = start()
		})
	}
	close(barrier)
	all.Wait()
	return errs
}

// crowdOf is n starters that differ in their number alone.
func crowdOf(n int, start func(i int) error) []func() error {
	starters := make([]func() error, n)
	for i := range starters {
		starters[i] = func() error { return start(i) }
	}
	return starters
}

// oneWins requires that one of errs is nil and the others are the given one.
func oneWins(t *testing.T, errs []error, others error) {
	t.Helper()
	require.Equal(t, 1, allBut(t, errs, others), "winners")
}

// allBut returns how many errs are nil; the others must be one of those given.
func allBut(t *testing.T, errs []error, others ...error) (succeeded int) {
	t.Helper()
	for _, err := range errs {
		if err == nil {
			succeeded++
			continue
		}
		known := false
		for _, other := range others {
			known = known || errors.Is(err, other)
		}
		require.True(t, known, "unexpected: %v", err)
	}
	return succeeded
}

// requireSound reads the rules of the house from the tables.
func requireSound(t *testing.T, st *store.Store) {
	t.Helper()
	for rule, sql := range map[string]string{
		"a team with members has a live owner": `SELECT team_id::text FROM team_members JOIN users ON users.id = user_id
			WHERE deleted_at IS NULL GROUP BY team_id HAVING count(*) FILTER (WHERE team_members.role = 'owner') = 0`,
		"a member is live":          `SELECT team_members.id::text FROM team_members JOIN users ON users.id = user_id WHERE deleted_at IS NOT NULL`,
		"a user is once in a team":  `SELECT team_id::text FROM team_members GROUP BY team_id, user_id HAVING count(*) > 1`,
		"an e-mail has one account": `SELECT lower(email) FROM users WHERE deleted_at IS NULL GROUP BY lower(email) HAVING count(*) > 1`,
		"one invitation is pending": `SELECT lower(email) FROM invitations WHERE status = 'pending' GROUP BY team_id, lower(email) HAVING count(*) > 1`,
		"the deleted invite nobody": `SELECT invitations.id::text FROM invitations JOIN users ON users.id = invited_by WHERE status = 'pending' AND deleted_at IS NOT NULL`,
		"seats are not oversold":    `SELECT teams.id::text FROM teams JOIN team_members ON team_id = teams.id GROUP BY teams.id HAVING count(*) > seat_limit`,
		"an accept is logged once": `SELECT invitations.id::text FROM invitations LEFT JOIN activity_logs ON action = 'ACCEPT_INVITATION' AND metadata->>'invitationId' = invitations.id::text
			GROUP BY invitations.id HAVING count(activity_logs.id) <> CASE status WHEN 'accepted' THEN 1 ELSE 0 END`,
		"an account is made for use": `SELECT users.id::text FROM users LEFT JOIN activity_logs ON user_id = users.id AND action = 'SIGN_UP' GROUP BY users.id HAVING count(activity_logs.id) <> 1`,
	} {
		require.Empty(t, column[string](t, st, sql), rule)
	}
}

func TestRaces(t *testing.T) {
	t.Parallel()
	st := racers(t, crowd)
	ctx := t.Context()

	t.Run("50 sign-ups of one e-mail", func(t *testing.T) {
		email := newEmail()
		errs := race(crowdOf(crowd, func(i int) error {
			mixed := strings.ToUpper(email[:i%len(email)]) + email[i%len(email):]
			_, err := st.SignUp(ctx, store.SignUp{Email: mixed, PasswordHash: "hash"})
			return err
		})...)
		oneWins(t, errs, store.ErrEmailTaken)
		require.Equal(t, []int{1}, column[int](t, st, "SELECT count(*) FROM users WHERE lower(email) = $1", email))
		requireSound(t, st)
	})

	t.Run("50 accepts of one invitation", func(t *testing.T) {
		h, guest := newHouse(t, st), newHouse(t, st)
		inv, token := h.invite(guest.owner.Email, db.RoleMember)
		errs := race(crowdOf(crowd, func(int) error {
			_, _, err := st.AcceptInvitation(ctx, store.AcceptInvitation{Actor: guest.actor, Token: token})
			return err
		})...)
		oneWins(t, errs, store.ErrInvitationNotPending)
		require.Equal(t, []int{1}, column[int](t, st, "SELECT count(*) FROM team_members WHERE team_id = $1 AND user_id = $2", h.team.ID, guest.owner.ID))
		require.Equal(t, []int{1}, column[int](t, st, "SELECT count(*) FROM activity_logs WHERE team_id = $1 AND action = 'ACCEPT_INVITATION'", h.team.ID))
		require.Equal(t, []string{"accepted"}, column[string](t, st, "SELECT status FROM invitations WHERE id = $1", inv.ID))
		requireSound(t, st)
	})

	t.Run("50 sign-ups by one invitation", func(t *testing.T) {
		h := newHouse(t, st)
		inv, token := h.invite(newEmail(), db.RoleMember)
		errs := race(crowdOf(crowd, func(int) error {
			_, err := st.SignUpWithInvitation(ctx, store.SignUpWithInvitation{Token: token, Email: inv.Email, PasswordHash: "hash"})
			return err
		})...)
		oneWins(t, errs, store.ErrInvitationNotPending)
		require.Equal(t, []int{2}, column[int](t, st, "SELECT count(*) FROM team_members WHERE team_id = $1", h.team.ID))
		requireSound(t, st)
	})

	t.Run("50 invitations of one address", func(t *testing.T) {
		h := newHouse(t, st)
		email := newEmail()
		errs := race(crowdOf(crowd, func(i int) error {
			mixed := strings.ToUpper(email[:i%len(email)]) + email[i%len(email):]
			_, _, err := st.InviteMember(ctx, store.InviteMember{Actor: h.actor, TeamID: h.team.ID, Email: mixed, Role: db.RoleMember})
			return err
		})...)
		oneWins(t, errs, store.ErrAlreadyInvited)
		require.Equal(t, []string{"pending"}, column[string](t, st, "SELECT status FROM invitations WHERE team_id = $1", h.team.ID))
		require.Equal(t, []int{1}, column[int](t, st, "SELECT count(*) FROM activity_logs WHERE team_id = $1 AND action = 'INVITE_TEAM_MEMBER'", h.team.ID))
	})

	t.Run("50 invitations after an expired one", func(t *testing.T) {
		h := newHouse(t, st)
		inv, _ := h.invite(newEmail(), db.RoleMember)
		h.expire(inv.ID)
		errs := race(crowdOf(crowd, func(i int) error {
			_, _, err := st.InviteMember(ctx, store.InviteMember{Actor: h.actor, TeamID: h.team.ID, Email: inv.Email, Role: db.RoleMember})
			return err
		})...)
		oneWins(t, errs, store.ErrAlreadyInvited)
		require.Equal(t, []string{"expired", "pending"}, column[string](t, st, "SELECT status FROM invitations WHERE team_id = $1 ORDER BY id", h.team.ID))
	})

	t.Run("20 for 7 seats", func(t *testing.T) {
		h := newHouse(t, st)
		exec(t, st, "UPDATE teams SET seat_limit = 8 WHERE id = $1", h.team.ID) // the owner has one
		joins := make([]func() error, 20)
		for i := range joins {
			if i%2 == 0 {
				inv, token := h.invite(newEmail(), db.RoleMember)
				joins[i] = func() error {
					_, err := st.SignUpWithInvitation(ctx, store.SignUpWithInvitation{Token: token, Email: inv.Email, PasswordHash: "hash"})
					return err
				}
				continue
			}
			guest := newHouse(t, st)
			_, token := h.invite(guest.owner.Email, db.RoleMember)
			joins[i] = func() error {
				_, _, err := st.AcceptInvitation(ctx, store.AcceptInvitation{Actor: guest.actor, Token: token})
				return err
			}
		}
		require.Equal(t, 7, allBut(t, race(joins...), store.ErrSeatLimit))
		require.Equal(t, []int{8}, column[int](t, st, "SELECT count(*) FROM team_members WHERE team_id = $1", h.team.ID))
		requireSound(t, st)
	})

	t.Run("20 new passwords for one old one", func(t *testing.T) {
		h := newHouse(t, st)
		errs := race(crowdOf(20, func(i int) error {
			return st.UpdatePassword(ctx, store.UpdatePassword{Actor: h.actor, Expected: "hash", PasswordHash: db.PasswordHash(fmt.Sprint("new", i))})
		})...)
		oneWins(t, errs, store.ErrConflict)
	})

	for n := 2; n <= 3; n++ {
		t.Run(fmt.Sprint(n, " owners remove each other"), func(t *testing.T) {
			for range rounds {
				owners := newOwners(t, st, n)
				errs := race(crowdOf(n, func(i int) error { return owners[i].remove(owners[(i+1)%n]) })...)
				allBut(t, errs, store.ErrForbidden, store.ErrNotFound, store.ErrLastOwner)
				owners[0].requireAnOwner()
			}
			requireSound(t, st)
		})
		t.Run(fmt.Sprint(n, " owners delete their accounts beside a member"), func(t *testing.T) {
			for range rounds {
				owners := newOwners(t, st, n)
				owners[0].join(db.RoleMember)
				errs := race(crowdOf(n, func(i int) error { return st.DeleteAccount(ctx, owners[i].actor) })...)
				require.Equal(t, n-1, allBut(t, errs, store.ErrLastOwner))
				owners[0].requireAnOwner()
			}
			requireSound(t, st)
		})
		t.Run(fmt.Sprint(n, " owners, one removes and the others delete their accounts"), func(t *testing.T) {
			for range rounds {
				owners := newOwners(t, st, n)
				owners[0].join(db.RoleMember)
				errs := race(crowdOf(n, func(i int) error {
					if i == 0 {
						return owners[0].remove(owners[1])
					}
					return st.DeleteAccount(ctx, owners[i].actor)
				})...)
				allBut(t, errs, store.ErrForbidden, store.ErrNotFound, store.ErrLastOwner)
				owners[0].requireAnOwner()
			}
			requireSound(t, st)
		})
	}

	t.Run("the only member's account against a join", func(t *testing.T) {
		for i := range rounds {
			h, guest := newHouse(t, st), newHouse(t, st)
			inv, token := h.invite(guest.owner.Email, db.RoleMember)
			join := func() error {
				_, _, err := st.AcceptInvitation(ctx, store.AcceptInvitation{Actor: guest.actor, Token: token})
				return err
			}
			if i%2 == 0 {
				inv, token = h.invite(newEmail(), db.RoleMember)
				join = func() error {
					_, err := st.SignUpWithInvitation(ctx, store.SignUpWithInvitation{Token: token, Email: inv.Email, PasswordHash: "hash"})
					return err
				}
			}
			errs := race(func() error { return st.DeleteAccount(ctx, h.actor) }, join)
			require.Equal(t, 1, allBut(t, errs, store.ErrLastOwner, store.ErrInvitationNotPending))
		}
		requireSound(t, st)
	})

	t.Run("an account against what gives it a membership", func(t *testing.T) {
		for i := range rounds {
			h, guest := newHouse(t, st), newHouse(t, st)
			_, token := h.invite(guest.owner.Email, db.RoleOwner)
			rival := func() error {
				_, _, err := st.AcceptInvitation(ctx, store.AcceptInvitation{Actor: guest.actor, Token: token})
				return err
			}
			if i%2 == 0 {
				rival = func() error {
					_, _, err := st.CreateTeam(ctx, store.CreateTeam{Actor: guest.actor, Name: "Late"})
					return err
				}
			}
			errs := race(func() error { return st.DeleteAccount(ctx, guest.actor) }, rival)
			require.NoError(t, errs[0])
			allBut(t, errs, store.ErrNotFound)
		}
		requireSound(t, st)
	})

	t.Run("an account against the invitations that it sends", func(t *testing.T) {
		for range rounds {
			h := newHouse(t, st)
			errs := race(
				func() error { return st.DeleteAccount(ctx, h.actor) },
				func() error {
					_, _, err := st.InviteMember(ctx, store.InviteMember{Actor: h.actor, TeamID: h.team.ID, Email: newEmail(), Role: db.RoleMember})
					return err
				},
			)
			require.NoError(t, errs[0])
			allBut(t, errs, store.ErrForbidden)
		}
		requireSound(t, st)
	})

	t.Run("an invitation against the accept of the one before it", func(t *testing.T) {
		for range rounds {
			h, guest := newHouse(t, st), newHouse(t, st)
			_, token := h.invite(guest.owner.Email, db.RoleMember)
			errs := race(
				func() error {
					_, _, err := st.AcceptInvitation(ctx, store.AcceptInvitation{Actor: guest.actor, Token: token})
					return err
				},
				func() error {
					_, _, err := st.InviteMember(ctx, store.InviteMember{Actor: h.actor, TeamID: h.team.ID, Email: guest.owner.Email, Role: db.RoleMember})
					return err
				},
			)
			oneWins(t, errs, errs[1])
			allBut(t, errs, store.ErrAlreadyInvited, store.ErrAlreadyMember)
		}
		requireSound(t, st)
	})

	t.Run("a sign-up by invitation against its cancellation", func(t *testing.T) {
		won := 0
		for range rounds {
			h := newHouse(t, st)
			inv, token := h.invite(newEmail(), db.RoleMember)
			errs := race(
				func() error {
					_, err := st.SignUpWithInvitation(ctx, store.SignUpWithInvitation{Token: token, Email: inv.Email, PasswordHash: "hash"})
					return err
				},
				func() error {
					return st.CancelInvitation(ctx, store.CancelInvitation{Actor: h.actor, TeamID: h.team.ID, InvitationID: inv.ID})
				},
			)
			oneWins(t, errs, store.ErrInvitationNotPending)
			want := []string{"canceled f f"}
			if errs[0] == nil {
				want = []string{"accepted t t"}
				won++
			}
			require.Equal(t, want, column[string](t, st, `SELECT concat_ws(' ', status, users.id IS NOT NULL, team_members.id IS NOT NULL)
				FROM invitations LEFT JOIN users ON users.email = invitations.email LEFT JOIN team_members ON user_id = users.id WHERE invitations.id = $1`, inv.ID))
		}
		t.Logf("the sign-up won %d of %d", won, rounds)
		requireSound(t, st)
	})

	t.Run("a decline against an accept", func(t *testing.T) {
		for range rounds {
			h, guest := newHouse(t, st), newHouse(t, st)
			_, token := h.invite(guest.owner.Email, db.RoleMember)
			oneWins(t, race(
				func() error {
					_, _, err := st.AcceptInvitation(ctx, store.AcceptInvitation{Actor: guest.actor, Token: token})
					return err
				},
				func() error {
					return st.DeclineInvitation(ctx, store.DeclineInvitation{Actor: guest.actor, Token: token})
				},
			), store.ErrInvitationNotPending)
		}
		requireSound(t, st)
	})

	t.Run("accepts and invitations against removals", func(t *testing.T) {
		// An inviter who is removed while the invitation is accepted: whichever is first,
		// nobody joins on the word of who was no owner then; and no deadlock is seen.
		for range rounds {
			owners := newOwners(t, st, 2)
			guest := newHouse(t, st)
			_, token := owners[1].invite(guest.owner.Email, db.RoleMember)
			errs := race(
				func() error { return owners[0].remove(owners[1]) },
				func() error {
					_, _, err := st.AcceptInvitation(ctx, store.AcceptInvitation{Actor: guest.actor, Token: token})
					return err
				},
				func() error {
					_, _, err := st.InviteMember(ctx, store.InviteMember{Actor: owners[1].actor, TeamID: owners[1].team.ID, Email: newEmail(), Role: db.RoleMember})
					return err
				},
				func() error {
					return st.RecordActivity(ctx, store.RecordActivity{TeamID: owners[0].team.ID, UserID: guest.owner.ID, Action: "EXPORT"})
				},
			)
			require.NoError(t, errs[0])
			require.NoError(t, errs[3])
			allBut(t, errs, store.ErrForbidden, store.ErrInvitationNotPending)
		}
		requireSound(t, st)
	})
}

// newOwners is a team with n owners, as each of them sees it.
func newOwners(t *testing.T, st *store.Store, n int) []*house {
	t.Helper()
	owners := []*house{newHouse(t, st)}
	for len(owners) < n {
		su := owners[0].join(db.RoleOwner)
		owners = append(owners, &house{t, st, su.User, store.Actor{UserID: su.User.ID}, su.Team, su.TeamMember})
	}
	return owners
}

func (h *house) remove(other *house) error {
	return h.st.RemoveMember(h.t.Context(), store.RemoveMember{Actor: h.actor, TeamID: h.team.ID, MemberID: other.seat.ID})
}

func (h *house) requireAnOwner() {
	h.t.Helper()
	require.NotEmpty(h.t, column[int64](h.t, h.st, `SELECT team_members.id FROM team_members JOIN users ON users.id = user_id
		WHERE team_id = $1 AND team_members.role = 'owner' AND deleted_at IS NULL`, h.team.ID))
}

// expire moves an invitation's end to the past: the server's clock can't be moved.
func (h *house) expire(id db.InvitationID) {
	h.t.Helper()
	exec(h.t, h.st, "UPDATE invitations SET expires_at = timezone('utc', now()) - interval '1 second' WHERE id = $1", id)
}
