package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// What a race ends in must be what its operations do one after the other, in some order:
// what each answered, who is in the team in which role, and how many rows the log has.
// So a deadlock, or any other error that no doc names, fails it as well.

var lifeRounds = repeats(300) // of each race

const sideBySide = 24 // who race in subtests that run in parallel: eight races of three

// crew is what a round's team looks like: its people, by their number in the round.
type crew struct {
	role    [4]db.Role // "" for who is not in the team
	gone    [4]bool    // whose account is deleted
	deleted bool
	logged  int
}

func (c *crew) ownerBeside(i int) bool {
	for j, role := range c.role {
		if j != i && role == db.RoleOwner {
			return true
		}
	}
	return false
}

func (c *crew) strands(i int) bool {
	return c.role[i] == db.RoleOwner && !c.ownerBeside(i) && slices.ContainsFunc(c.role[:], func(r db.Role) bool { return r == db.RoleMember })
}

// exit is a way to take ownership from oneself or from another one, and what it does to
// a crew when nothing else is going on.
type exit struct {
	name  string
	run   func(ctx context.Context, me, other *house) error
	model func(c *crew, me, other int) error
}

var exits = []exit{
	{"leave", func(ctx context.Context, me, _ *house) error {
		return me.st.LeaveTeam(ctx, store.LeaveTeam{Actor: me.actor, TeamID: me.team.ID})
	}, func(c *crew, me, _ int) error {
		switch {
		case c.role[me] == "":
			return store.ErrNotFound
		case c.role[me] == db.RoleOwner && !c.ownerBeside(me):
			return store.ErrLastOwner
		}
		c.role[me] = ""
		c.logged++
		return nil
	}},
	{"remove", func(_ context.Context, me, other *house) error { return me.remove(other) }, func(c *crew, me, other int) error {
		switch {
		case c.role[me] != db.RoleOwner:
			return store.ErrForbidden
		case c.role[other] == "":
			return store.ErrNotFound
		}
		c.role[other] = ""
		c.logged++
		return nil
	}},
	{"demote", func(ctx context.Context, me, other *house) error {
		return me.st.ChangeRole(ctx, store.ChangeRole{Actor: me.actor, TeamID: me.team.ID, MemberID: other.seat.ID, Role: db.RoleMember})
	}, func(c *crew, me, other int) error {
		switch {
		case c.role[me] != db.RoleOwner:
			return store.ErrForbidden
		case c.role[other] == "":
			return store.ErrNotFound
		case c.role[other] == db.RoleOwner:
			c.role[other] = db.RoleMember
			c.logged++
		}
		return nil
	}},
	{"transfer", func(ctx context.Context, me, other *house) error {
		return me.st.TransferOwnership(ctx, store.TransferOwnership{Actor: me.actor, TeamID: me.team.ID, MemberID: other.seat.ID})
	}, func(c *crew, me, other int) error {
		switch {
		case c.role[me] != db.RoleOwner:
			return store.ErrForbidden
		case c.role[other] == "":
			return store.ErrNotFound
		}
		c.role[me], c.role[other] = db.RoleMember, db.RoleOwner
		c.logged++
		return nil
	}},
	{"delete the account", func(ctx context.Context, me, _ *house) error { return me.st.DeleteAccount(ctx, me.actor) }, func(c *crew, me, _ int) error {
		if c.strands(me) {
			return store.ErrLastOwner
		}
		if c.role[me] != "" {
			c.logged++
		}
		c.role[me], c.gone[me] = "", true
		return nil
	}},
	{"delete the team", func(ctx context.Context, me, _ *house) error {
		return me.st.DeleteTeam(ctx, store.DeleteTeam{Actor: me.actor, TeamID: me.team.ID})
	}, func(c *crew, me, _ int) error {
		if c.role[me] != db.RoleOwner {
			return store.ErrForbidden
		}
		c.role, c.deleted = [4]db.Role{}, true
		c.logged++
		return nil
	}},
}

// Each owner takes one of the exits, on himself or on the next owner, all at once; a
// plain member stands by. Of two owners in every pairing, of three in every triple.
func TestOwnersRaceToTheExits(t *testing.T) {
	t.Parallel()
	st := racers(t, sideBySide)
	t.Run("races", func(t *testing.T) {
		for i, a := range exits {
			for _, b := range exits[i:] {
				t.Run(fmt.Sprintf("one owner would %s, one %s", a.name, b.name), func(t *testing.T) {
					t.Parallel()
					raceToTheExits(t, st, slices.Repeat([][]exit{{a, b}}, lifeRounds))
				})
			}
		}
		var triples [][]exit
		for _, a := range exits {
			for _, b := range exits {
				for _, c := range exits {
					triples = append(triples, []exit{a, b, c})
				}
			}
		}
		t.Run("three owners", func(t *testing.T) {
			t.Parallel()
			raceToTheExits(t, st, slices.Repeat(triples, 2))
		})
	})
	requireNoViolations(t, st)
}

func raceToTheExits(t *testing.T, st *store.Store, rounds [][]exit) {
	n := len(rounds[0])
	teams := newCrews(t, st, len(rounds), n, 1)
	answers := make([][]error, len(rounds))
	for round, taken := range rounds {
		people := teams[round]
		answers[round] = race(crowdOf(n, func(i int) error { return taken[i].run(t.Context(), people[i], people[(i+1)%n]) })...)
	}
	ends := readCrews(t, st, teams)
	for round, taken := range rounds {
		var start crew
		for i := range n {
			start.role[i] = db.RoleOwner
		}
		start.role[n] = db.RoleMember
		require.True(t, oneAfterTheOther(start, taken, answers[round], ends[round]), "round %d: %v answered %v and left %+v", round, names(taken), answers[round], ends[round])
	}
}

// oneAfterTheOther: some order of the exits gives those answers and that end.
func oneAfterTheOther(start crew, taken []exit, answers []error, end crew) bool {
	n := len(taken)
	var try func(c crew, done uint) bool
	try = func(c crew, done uint) bool {
		if done == 1<<n-1 {
			return c == end
		}
		for i := range n {
			next := c
			if done&(1<<i) == 0 && same(taken[i].model(&next, i, (i+1)%n), answers[i]) && try(next, done|1<<i) {
				return true
			}
		}
		return false
	}
	return try(start, 0)
}

func same(want, got error) bool { return errors.Is(got, want) }

func names(taken []exit) (names []string) {
	for _, e := range taken {
		names = append(names, e.name)
	}
	return names
}

// newCrews makes n teams, each of some owners and then some plain members.
func newCrews(t *testing.T, st *store.Store, n, owners, members int) [][]*house {
	t.Helper()
	rows, err := admin(st).Query(t.Context(), `
		WITH team AS (
			INSERT INTO teams (name, created_at, updated_at) SELECT 'Crew', timezone('utc', now()), timezone('utc', now()) FROM generate_series(1, $1::integer) RETURNING id
		), person AS (
			INSERT INTO users (name, email, password_hash, role, created_at, updated_at)
			SELECT CASE WHEN i <= $2 THEN 'owner' ELSE 'member' END, 'crew-' || team.id || '-' || i || '@example.com', 'hash', 'member', timezone('utc', now()), timezone('utc', now())
			FROM team, generate_series(1, $2::integer + $3::integer) AS i
			RETURNING id, name AS role, email, split_part(email, '-', 2)::integer AS team_id
		), seat AS (
			INSERT INTO team_members (user_id, team_id, role, joined_at) SELECT id, team_id, role, timezone('utc', now()) FROM person RETURNING *
		), logged AS (
			INSERT INTO activity_logs (team_id, user_id, action, "timestamp") SELECT team_id, id, 'SIGN_UP', timezone('utc', now()) FROM person
		)
		SELECT seat.team_id, person.id, person.email, seat.id FROM person JOIN seat ON seat.user_id = person.id ORDER BY 1, 2`, n, owners, members)
	require.NoError(t, err)
	people, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*house, error) {
		h := &house{t: t, st: st}
		err := row.Scan(&h.team.ID, &h.owner.ID, &h.owner.Email, &h.seat.ID)
		h.actor = store.Actor{UserID: h.owner.ID}
		return h, err
	})
	require.NoError(t, err)
	return slices.Collect(slices.Chunk(people, owners+members))
}

func readCrews(t *testing.T, st *store.Store, teams [][]*house) []crew {
	t.Helper()
	crews := make([]crew, len(teams))
	for i, people := range teams {
		var roles []string
		ids := make([]int64, len(people))
		for j, h := range people {
			ids[j] = int64(h.owner.ID)
		}
		var gone []bool
		require.NoError(t, admin(st).QueryRow(t.Context(), `SELECT teams.deleted_at IS NOT NULL,
				(SELECT count(*) FROM activity_logs WHERE team_id = teams.id AND action <> 'SIGN_UP'),
				(SELECT array_agg(coalesce(team_members.role, '') ORDER BY users.id) FROM users LEFT JOIN team_members ON team_id = teams.id AND user_id = users.id WHERE users.id = ANY ($2)),
				(SELECT array_agg(users.deleted_at IS NOT NULL ORDER BY users.id) FROM users WHERE users.id = ANY ($2))
			FROM teams WHERE id = $1`, people[0].team.ID, ids).Scan(&crews[i].deleted, &crews[i].logged, &roles, &gone))
		for j := range people {
			crews[i].role[j], crews[i].gone[j] = db.Role(roles[j]), gone[j]
		}
	}
	return crews
}

func requireNoViolations(t *testing.T, st *store.Store) {
	t.Helper()
	violations, err := st.CheckInvariants(t.Context())
	require.NoError(t, err)
	require.Empty(t, violations)
	requireSound(t, st)
}

// What the log has as "from" is what was there: of changes that meet, each begins where
// another one ended.
func TestChangesAreLoggedInAChain(t *testing.T) {
	t.Parallel()
	st := racers(t, 4)
	const chain = `SELECT count(*) FROM activity_logs AS later WHERE team_id = $1 AND action = 'UPDATE_TEAM' AND metadata ? $2 AND NOT EXISTS (
		SELECT FROM activity_logs AS earlier WHERE earlier.team_id = $1 AND earlier.metadata->$2->'to' = later.metadata->$2->'from')`
	for _, owners := range newCrews(t, st, lifeRounds, 2, 0) {
		errs := race(
			func() error { return owners[0].rename("One") },
			func() error { return owners[1].rename("Other") },
			func() error { return owners[0].limitSeats(new(5)) },
			func() error { return owners[1].limitSeats(new(6)) },
		)
		require.Equal(t, 4, allBut(t, errs))
		for _, field := range []string{"name", "seatLimit"} {
			require.Equal(t, []int{1}, column[int](t, st, chain, owners[0].team.ID, field), "one of %s begins at the beginning", field)
		}
	}
}

// Two users who take each other's e-mail at once: neither has given his up yet.
func TestEmailsAreSwapped(t *testing.T) {
	t.Parallel()
	st := racers(t, 2)
	for round, pair := range newCrews(t, st, lifeRounds, 2, 0) {
		errs := race(crowdOf(2, func(i int) error {
			_, err := st.UpdateAccount(t.Context(), store.UpdateAccount{Actor: pair[i].actor, Email: &pair[1-i].owner.Email})
			return err
		})...)
		require.Zero(t, allBut(t, errs, store.ErrEmailTaken), "round %d", round)
	}
	requireNoViolations(t, st)
}

// Two transactions that take two teams in opposite order wait for each other: InTx runs
// one of them again, and what both did is there once.
func TestInTxOnTwoTeamsInOppositeOrder(t *testing.T) {
	t.Parallel()
	detectDeadlocksSoon(t)
	st := newStore(t)
	stores := [2]*store.Store{st, newStore(t)}
	runs := 0
	for _, pair := range newCrews(t, st, lifeRounds, 2, 0) {
		other := newCrews(t, st, 1, 2, 0)[0]
		var met sync.WaitGroup
		met.Add(2)
		var mu sync.Mutex
		errs := race(crowdOf(2, func(i int) error {
			mine := [2]*house{pair[i], other[i]}
			if i == 1 {
				mine[0], mine[1] = mine[1], mine[0]
			}
			first := true
			return stores[i].InTx(t.Context(), func(tx *store.Store) error {
				mu.Lock()
				runs++
				mu.Unlock()
				for n, h := range mine {
					if n == 1 && first { // both hold one team, and want the other's
						first = false
						met.Done()
						met.Wait()
					}
					if err := tx.RenameTeam(t.Context(), store.RenameTeam{Actor: h.actor, TeamID: h.team.ID, Name: fmt.Sprint("by ", i)}); err != nil {
						return err
					}
					if _, err := tx.InviteMembers(t.Context(), store.InviteMembers{Actor: h.actor, TeamID: h.team.ID, Invitees: []store.Invitee{{newEmail(), db.RoleMember}, {newEmail(), db.RoleMember}}}); err != nil {
						return err
					}
				}
				return nil
			})
		})...)
		require.Equal(t, 2, allBut(t, errs))
		for _, h := range []*house{pair[0], other[0]} {
			require.Equal(t, []string{"INVITE_TEAM_MEMBER 4", "UPDATE_TEAM 2"},
				column[string](t, st, "SELECT action || ' ' || count(*) FROM activity_logs WHERE team_id = $1 AND action <> 'SIGN_UP' GROUP BY action ORDER BY 1", h.team.ID))
			require.Equal(t, []int{4}, column[int](t, st, "SELECT count(*) FROM invitations WHERE team_id = $1", h.team.ID))
		}
		require.Equal(t, column[string](t, st, "SELECT name FROM teams WHERE id = $1", pair[0].team.ID), column[string](t, st, "SELECT name FROM teams WHERE id = $1", other[0].team.ID))
	}
	require.Greater(t, runs, 2*lifeRounds, "no transaction was run again")
	t.Logf("%d runs of %d transactions", runs, 2*lifeRounds)
	requireNoViolations(t, st)
}

// An account's e-mail and the Stripe ids of its team are both what other rows refer to or
// are unique by, and each change logs a row that refers to the other.
func TestAnEmailAndStripeIDsChange(t *testing.T) {
	t.Parallel()
	st := racers(t, 4)
	for name, change := range map[string]func(h *house) error{
		"LinkStripeCustomer": func(h *house) error {
			return st.LinkStripeCustomer(h.t.Context(), store.LinkStripeCustomer{Actor: h.actor, TeamID: h.team.ID, CustomerID: fmt.Sprintf("cus_%d", serial.Add(1))})
		},
		"UpdateSubscription": func(h *house) error {
			return st.UpdateSubscription(h.t.Context(), store.UpdateSubscription{Actor: h.actor, TeamID: h.team.ID, SubscriptionID: fmt.Sprintf("sub_%d", serial.Add(1))})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for round, owner := range slices.Concat(newCrews(t, st, lifeRounds, 1, 0)...) {
				errs := race(
					func() error {
						_, err := st.UpdateAccount(t.Context(), store.UpdateAccount{Actor: owner.actor, Email: new(newEmail())})
						return err
					},
					func() error { return change(owner) },
				)
				require.Equal(t, 2, allBut(t, errs), "round %d", round)
			}
		})
	}
}

// An account is deleted while a transaction of the caller's takes two of its teams, the
// later one first: whichever Postgres ends runs again, and nobody sees that.
func TestAnAccountAndInTxTakeTwoTeams(t *testing.T) {
	t.Parallel()
	detectDeadlocksSoon(t)
	st := newStore(t)
	crews := newCrews(t, st, 2*lifeRounds, 2, 1)
	for round := range lifeRounds {
		a, b := crews[2*round], crews[2*round+1]
		exec(t, st, "INSERT INTO team_members (user_id, team_id, role) VALUES ($1, $2, 'owner')", a[0].owner.ID, b[0].team.ID)
		rename := func(tx *store.Store, h *house) error {
			return tx.RenameTeam(t.Context(), store.RenameTeam{Actor: h.actor, TeamID: h.team.ID, Name: "Renamed"})
		}
		errs := race(
			func() error { return st.DeleteAccount(t.Context(), a[0].actor) },
			func() error {
				return st.InTx(t.Context(), func(tx *store.Store) error {
					if err := rename(tx, b[1]); err != nil {
						return err
					}
					return rename(tx, a[1])
				})
			},
		)
		require.Equal(t, 2, allBut(t, errs), "round %d", round)
	}
	requireNoViolations(t, st)
}

// detectDeadlocksSoon: only a superuser may; another role waits a second for each.
func detectDeadlocksSoon(t *testing.T) {
	t.Helper()
	var super bool
	require.NoError(t, storetest.Pool(t).QueryRow(t.Context(), "SELECT rolsuper FROM pg_roles WHERE rolname = current_user").Scan(&super))
	if super {
		databaseSetting(t, "deadlock_timeout", "10ms")
	}
}
