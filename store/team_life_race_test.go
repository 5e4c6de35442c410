package store_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
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

// openInvitation is a round of a race about an invitation: a team's owner, and whom he invited.
type openInvitation struct {
	*house
	guest *house // has an account or, to sign up, an e-mail alone
	id    db.InvitationID
	token store.Token
}

// newOpenInvitations makes n teams of one owner, who has invited one e-mail.
func newOpenInvitations(t *testing.T, st *store.Store, n int, withAccount bool) []openInvitation {
	t.Helper()
	hosts := slices.Concat(newCrews(t, st, n, 1, 0)...)
	guests := make([]*house, n)
	if withAccount {
		guests = slices.Concat(newCrews(t, st, n, 1, 0)...)
	} else {
		for i := range guests {
			guests[i] = &house{owner: db.User{Email: newEmail()}}
		}
	}
	rounds := make([]openInvitation, n)
	var emails []string
	var teamIDs, ownerIDs []int64
	var hashes [][]byte
	for i := range rounds {
		secret := sha256.Sum256(fmt.Append(nil, "secret", serial.Add(1)))
		hash := sha256.Sum256(secret[:])
		rounds[i] = openInvitation{house: hosts[i], guest: guests[i], token: store.Token(base64.RawURLEncoding.EncodeToString(secret[:]))}
		emails, hashes = append(emails, guests[i].owner.Email), append(hashes, hash[:])
		teamIDs, ownerIDs = append(teamIDs, int64(hosts[i].team.ID)), append(ownerIDs, int64(hosts[i].owner.ID))
	}
	ids := column[db.InvitationID](t, st, `INSERT INTO invitations (team_id, invited_by, email, token_hash, role, invited_at, expires_at)
		SELECT t, u, e, h, 'member', timezone('utc', now()), timezone('utc', now()) + interval '1 day'
		FROM unnest($1::integer[], $2::integer[], $3::text[], $4::bytea[]) WITH ORDINALITY AS r (t, u, e, h, n) ORDER BY n RETURNING id`, teamIDs, ownerIDs, emails, hashes)
	for i := range rounds {
		rounds[i].id = ids[i]
	}
	return rounds
}

func (r openInvitation) accept(ctx context.Context) error {
	_, _, err := r.st.AcceptInvitation(ctx, store.AcceptInvitation{Actor: r.guest.actor, Token: r.token})
	return err
}

func (r openInvitation) signUp(ctx context.Context) error {
	_, err := r.st.SignUpWithInvitation(ctx, store.SignUpWithInvitation{Token: r.token, Email: r.guest.owner.Email, PasswordHash: "hash"})
	return err
}

func (r openInvitation) decline(ctx context.Context) error {
	return r.st.DeclineInvitation(ctx, store.DeclineInvitation{Actor: r.guest.actor, Token: r.token})
}

func (r openInvitation) cancel(ctx context.Context) error {
	return r.st.CancelInvitation(ctx, store.CancelInvitation{Actor: r.actor, TeamID: r.team.ID, InvitationID: r.id})
}

func (r openInvitation) resend(ctx context.Context) error {
	_, _, err := r.st.ResendInvitation(ctx, store.ResendInvitation{Actor: r.actor, TeamID: r.team.ID, InvitationID: r.id})
	return err
}

func (r openInvitation) deleteTeam(ctx context.Context) error {
	return r.st.DeleteTeam(ctx, store.DeleteTeam{Actor: r.actor, TeamID: r.team.ID})
}

func (r openInvitation) limit(seats int) func(context.Context) error {
	return func(ctx context.Context) error {
		return r.st.SetSeatLimit(ctx, store.SetSeatLimit{TeamID: r.team.ID, Limit: &seats})
	}
}

// outcome is what the two of a round answered, and what is then in the tables.
type outcome struct {
	a, b error
	end  string // the invitation's status, and whether its e-mail has an account and a seat in the team
}

func TestInvitationsAreRacedFor(t *testing.T) {
	t.Parallel()
	st := racers(t, sideBySide)
	type way = func(openInvitation, context.Context) error
	lift := func(r openInvitation, ctx context.Context) error { return r.limit(2)(ctx) }
	lower := func(r openInvitation, ctx context.Context) error { return r.limit(1)(ctx) }
	notPending := store.ErrInvitationNotPending
	t.Run("races", func(t *testing.T) {
		for _, c := range []struct {
			name    string
			account bool
			a, b    way
			want    []outcome
		}{
			{"accept and cancel", true, openInvitation.accept, openInvitation.cancel,
				[]outcome{{nil, notPending, "accepted account seat"}, {notPending, nil, "canceled account"}}},
			{"accept and decline", true, openInvitation.accept, openInvitation.decline,
				[]outcome{{nil, notPending, "accepted account seat"}, {notPending, nil, "declined account"}}},
			{"accept and resend", true, openInvitation.accept, openInvitation.resend,
				[]outcome{{nil, notPending, "accepted account seat"}, {store.ErrNotFound, nil, "pending account"}}},
			{"accept and delete the team", true, openInvitation.accept, openInvitation.deleteTeam,
				[]outcome{{nil, nil, "accepted account"}, {notPending, nil, "canceled account"}}},
			{"accept and take the seat away", true, openInvitation.accept, lower,
				[]outcome{{nil, nil, "accepted account seat"}, {store.ErrSeatLimit, nil, "pending account"}}},
			{"accept and add a seat", true, openInvitation.accept, lift,
				[]outcome{{nil, nil, "accepted account seat"}, {store.ErrSeatLimit, nil, "pending account"}, {store.ErrConflict, nil, "pending account"}}},
			{"sign up and cancel", false, openInvitation.signUp, openInvitation.cancel,
				[]outcome{{nil, notPending, "accepted account seat"}, {notPending, nil, "canceled"}}},
			{"sign up, though there is an account, which declines", true, openInvitation.signUp, openInvitation.decline,
				[]outcome{{store.ErrEmailTaken, nil, "declined account"}, {notPending, nil, "declined account"}}},
			{"sign up and resend", false, openInvitation.signUp, openInvitation.resend,
				[]outcome{{nil, notPending, "accepted account seat"}, {store.ErrNotFound, nil, "pending"}}},
			{"sign up and delete the team", false, openInvitation.signUp, openInvitation.deleteTeam,
				[]outcome{{nil, nil, "accepted account"}, {notPending, nil, "canceled"}}},
			{"sign up and take the seat away", false, openInvitation.signUp, lower,
				[]outcome{{nil, nil, "accepted account seat"}, {store.ErrSeatLimit, nil, "pending"}}},
			{"sign up and add a seat", false, openInvitation.signUp, lift,
				[]outcome{{nil, nil, "accepted account seat"}, {store.ErrSeatLimit, nil, "pending"}, {store.ErrConflict, nil, "pending"}}},
			{"cancel and resend", true, openInvitation.cancel, openInvitation.resend,
				[]outcome{{nil, notPending, "canceled account"}, {nil, nil, "canceled account"}}},
			{"cancel and decline", true, openInvitation.cancel, openInvitation.decline,
				[]outcome{{nil, notPending, "canceled account"}, {notPending, nil, "declined account"}}},
			{"delete the team and decline", true, openInvitation.deleteTeam, openInvitation.decline,
				[]outcome{{nil, notPending, "canceled account"}, {nil, nil, "declined account"}}},
			{"decline by the old token and resend", true, openInvitation.decline, openInvitation.resend,
				[]outcome{{nil, notPending, "declined account"}, {store.ErrNotFound, nil, "pending account"}}},
		} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				rounds := newOpenInvitations(t, st, lifeRounds, c.account)
				if strings.HasSuffix(c.name, "add a seat") {
					for _, r := range rounds {
						exec(t, st, "UPDATE teams SET seat_limit = 1 WHERE id = $1", r.team.ID)
					}
				}
				seen := make([]int, len(c.want))
				for i, r := range rounds {
					starters := []func() error{func() error { return c.a(r, t.Context()) }, func() error { return c.b(r, t.Context()) }}
					if i%2 == 0 { // the first one tends to win
						starters[0], starters[1] = starters[1], starters[0]
					}
					errs := race(starters...)
					if i%2 == 0 {
						errs[0], errs[1] = errs[1], errs[0]
					}
					end := column[string](t, st, `SELECT concat_ws(' ', status, CASE WHEN users.id > 0 THEN 'account' END, CASE WHEN team_members.id > 0 THEN 'seat' END)
						FROM invitations LEFT JOIN users ON users.email = invitations.email LEFT JOIN team_members ON user_id = users.id AND team_members.team_id = invitations.team_id
						WHERE invitations.id = $1`, r.id)[0]
					known := slices.IndexFunc(c.want, func(o outcome) bool { return same(o.a, errs[0]) && same(o.b, errs[1]) && o.end == end })
					require.GreaterOrEqual(t, known, 0, "round %d: %v, %v, %s", i, errs[0], errs[1], end)
					seen[known]++
				}
				t.Logf("outcomes, in the order above: %v", seen)
			})
		}
	})
	violations, err := st.CheckInvariants(t.Context())
	require.NoError(t, err)
	require.Empty(t, violations)
}

// Of 20 who would join a team with k free seats, by accepting and by signing up, k do.
func TestSeatsAreRacedFor(t *testing.T) {
	t.Parallel()
	const joiners = 20
	st := racers(t, joiners)
	hosts := slices.Concat(newCrews(t, st, lifeRounds, 1, 0)...)
	members, strangers := newOpenInvitations(t, st, lifeRounds*joiners/2, true), newOpenInvitations(t, st, lifeRounds*joiners/2, false)
	for i := range members {
		members[i].house, strangers[i].house = hosts[i%lifeRounds], hosts[i%lifeRounds]
		exec(t, st, "UPDATE invitations SET team_id = $1, invited_by = $2 WHERE id = ANY ($3)", hosts[i%lifeRounds].team.ID, hosts[i%lifeRounds].owner.ID, []int64{int64(members[i].id), int64(strangers[i].id)})
	}
	for round, h := range hosts {
		free := round % (joiners + 1)
		exec(t, st, "UPDATE teams SET seat_limit = $2 WHERE id = $1", h.team.ID, 1+free)
		errs := race(crowdOf(joiners, func(i int) error {
			if i%2 == 0 {
				return members[round+i/2*lifeRounds].accept(t.Context())
			}
			return strangers[round+i/2*lifeRounds].signUp(t.Context())
		})...)
		require.Equal(t, free, allBut(t, errs, store.ErrSeatLimit))
		require.Equal(t, []int{1 + free}, column[int](t, st, "SELECT count(*) FROM team_members WHERE team_id = $1", h.team.ID))
	}
	requireNoViolations(t, st)
}

// Two owners invite the same hundred at once, in different orders: each address is
// invited once, by whom was told so, and the other one learns of it.
func TestListsAreInvitedAtOnce(t *testing.T) {
	t.Parallel()
	st := racers(t, 2)
	for _, owners := range newCrews(t, st, lifeRounds, 2, 0) {
		invitees := make([]store.Invitee, 100)
		for i := range invitees {
			invitees[i] = store.Invitee{Email: newEmail(), Role: db.RoleMember}
		}
		results := make([][]store.Invited, 2)
		lists := make([][]store.Invitee, 2)
		for i := range lists {
			lists[i] = slices.Clone(invitees)
			rand.Shuffle(len(invitees), func(a, b int) { lists[i][a], lists[i][b] = lists[i][b], lists[i][a] })
		}
		allBut(t, race(crowdOf(2, func(i int) (err error) {
			results[i], err = st.InviteMembers(t.Context(), store.InviteMembers{Actor: owners[i].actor, TeamID: owners[i].team.ID, Invitees: lists[i]})
			return err
		})...))
		invitedBy := make(map[string]db.UserID)
		for i, owner := range owners {
			require.Len(t, results[i], len(invitees))
			for j, r := range results[i] {
				require.Equal(t, lists[i][j].Email, r.Email)
				if r.Err != nil {
					require.ErrorIs(t, r.Err, store.ErrAlreadyInvited)
					require.Empty(t, r.Token)
					continue
				}
				require.NotContains(t, invitedBy, r.Email)
				require.Equal(t, r.Email, r.Invitation.Email)
				invitedBy[r.Email] = owner.owner.ID
			}
		}
		require.Len(t, invitedBy, len(invitees))
		require.Equal(t, []int{len(invitees)}, column[int](t, st, "SELECT count(*) FROM invitations WHERE team_id = $1 AND status = 'pending'", owners[0].team.ID))
		require.Equal(t, []int{len(invitees)}, column[int](t, st, "SELECT count(*) FROM activity_logs WHERE team_id = $1 AND action = 'INVITE_TEAM_MEMBER'", owners[0].team.ID))
		for email, by := range invitedBy {
			require.Equal(t, []db.UserID{by}, column[db.UserID](t, st, "SELECT invited_by FROM invitations WHERE lower(email) = $1 AND status = 'pending'", email))
			break // one of them; the counts speak for the others
		}
	}
	requireNoViolations(t, st)
}

// A list of invitations against the end of who sends it, and of the team that it is to:
// whichever is first, none is left that nobody may have sent.
func TestListsAreInvitedByWhoIsGoing(t *testing.T) {
	t.Parallel()
	st := racers(t, 2)
	for round, owners := range newCrews(t, st, lifeRounds, 2, 0) {
		errs := race(
			func() error {
				_, err := owners[0].inviteAll(store.Invitee{newEmail(), db.RoleMember}, store.Invitee{newEmail(), db.RoleOwner})
				return err
			},
			func() error {
				if round%2 == 0 {
					return owners[1].deleteTeam(false)
				}
				return st.DeleteAccount(t.Context(), owners[0].actor)
			},
		)
		require.NoError(t, errs[1])
		allBut(t, errs, store.ErrForbidden)
	}
	requireNoViolations(t, st)
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

// Who left a team as an owner leaves invitations behind. His account goes while what is
// left of them is swept away from the other side.
func TestInvitationsOfWhoHasLeft(t *testing.T) {
	t.Parallel()
	st := racers(t, 4)
	t.Run("races", func(t *testing.T) {
		for name, sweep := range map[string]func(h *house, invitees []store.Invitee) error{
			"invited again": func(h *house, invitees []store.Invitee) error {
				_, err := st.InviteMembers(h.t.Context(), store.InviteMembers{Actor: h.actor, TeamID: h.team.ID, Invitees: invitees})
				return err
			},
			"the team is deleted": func(h *house, _ []store.Invitee) error {
				return st.DeleteTeam(h.t.Context(), store.DeleteTeam{Actor: h.actor, TeamID: h.team.ID})
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				for round, owners := range newCrews(t, st, lifeRounds, 2, 0) {
					invitees := make([]store.Invitee, 40)
					for i := range invitees {
						invitees[i] = store.Invitee{Email: newEmail(), Role: db.RoleMember}
					}
					_, err := st.InviteMembers(t.Context(), store.InviteMembers{Actor: owners[1].actor, TeamID: owners[1].team.ID, Invitees: invitees})
					require.NoError(t, err)
					require.NoError(t, st.LeaveTeam(t.Context(), store.LeaveTeam{Actor: owners[1].actor, TeamID: owners[1].team.ID}))
					slices.Reverse(invitees)
					errs := race(
						func() error { return sweep(owners[0], invitees) },
						func() error { return st.DeleteAccount(t.Context(), owners[1].actor) },
					)
					require.Equal(t, 2, allBut(t, errs), "round %d", round)
				}
			})
		}
	})
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

// scale is on for the sizes that a large service has:
//
//	ROWHOUSE_SCALE=1 go test ./store -run 'TestPurgeActivityBesideWriters|TestPagesAreAsCheapFarDown' -v -timeout 30m
var scale = os.Getenv("ROWHOUSE_SCALE") == "1"

// Two purges share what is to go, while four writers keep recording. A writer that
// waited 100 ms for a lock would fail, and so would a purge that waited for the other
// one: by lock_timeout, not by the clock.
func TestPurgeActivityBesideWriters(t *testing.T) {
	t.Parallel()
	const (
		writers = 4
		longest = 100 * time.Millisecond
	)
	old := 20_000 + repeats(180_000)
	if scale {
		old = 1_000_000
	}
	st := racers(t, 2)
	waitingAtMost := func(d time.Duration, connections int) *store.Store {
		databaseSetting(t, "lock_timeout", strconv.FormatInt(d.Milliseconds(), 10))
		pool := newPool(t)
		open(t, pool, connections) // with this setting; and so that no purge is done before the other has connected
		return store.New(pool)
	}
	writing, purging := waitingAtMost(longest, writers), waitingAtMost(50*time.Millisecond, 2)
	crews := newCrews(t, st, 100, 1, 0)
	before := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	team := crews[0][0].team.ID
	exec(t, st, `INSERT INTO activity_logs (team_id, user_id, action, "timestamp") SELECT $1 + i % 100, $2 + i % 100, 'OLD', $3::timestamp - i * interval '1 ms' FROM generate_series(1, $4::integer) AS i`,
		team, crews[0][0].owner.ID, before, old)
	exec(t, st, `INSERT INTO activity_logs (team_id, action, "timestamp") SELECT $1, 'NEWER', $2::timestamp + i * interval '1 microsecond' FROM generate_series(0, 999) AS i`, team, before)
	exec(t, st, "ANALYZE")

	waits := make([][]time.Duration, writers)
	purged := make(chan struct{})
	var all, started sync.WaitGroup
	started.Add(writers)
	for i := range writers {
		all.Go(func() {
			for {
				begin := time.Now()
				err := writing.RecordActivity(t.Context(), store.RecordActivity{TeamID: crews[i][0].team.ID, UserID: crews[i][0].owner.ID, Action: "WRITTEN"})
				waits[i] = append(waits[i], time.Since(begin))
				if len(waits[i]) == 1 {
					started.Done()
				}
				if !assert.NoError(t, err) {
					return
				}
				select {
				case <-purged:
					return
				default:
				}
			}
		})
	}
	started.Wait()
	begin := time.Now()
	removed := make([]int64, 2)
	errs := race(crowdOf(2, func(i int) (err error) {
		removed[i], err = purging.PurgeActivity(t.Context(), before, 20_000) // a batch takes longer than a purge may wait
		return err
	})...)
	took := time.Since(begin)
	close(purged)
	all.Wait()

	require.Equal(t, 2, allBut(t, errs))
	require.EqualValues(t, old, removed[0]+removed[1])
	require.Equal(t, []string{"NEWER 1000", "SIGN_UP 100", fmt.Sprint("WRITTEN ", len(slices.Concat(waits...)))},
		column[string](t, st, "SELECT action || ' ' || count(*) FROM activity_logs GROUP BY action ORDER BY action"))
	for i := range writers {
		require.Equal(t, []int{len(waits[i])}, column[int](t, st, "SELECT count(*) FROM activity_logs WHERE team_id = $1 AND action = 'WRITTEN'", crews[i][0].team.ID))
	}
	for i := range waits {
		waits[i] = waits[i][1:] // it opened the connection, before the purges
	}
	sorted := slices.Sorted(slices.Values(slices.Concat(waits...)))
	within := func(permille int) time.Duration { return sorted[(len(sorted)-1)*permille/1000] }
	t.Logf("%d rows removed in %v (%d and %d); %d rows were written meanwhile: half of them within %v, 99%% within %v, 99.9%% within %v, all within %v",
		old, took.Round(time.Millisecond), removed[0], removed[1], len(sorted), within(500), within(990), within(999), within(1000))
	if scale { // by the clock, a busy machine lets a few wait for a processor
		require.Less(t, within(999), longest)
	}
}

// What another purge is removing, a purge passes over: here the oldest 30, held as one
// would hold them.
func TestPurgesShareTheWork(t *testing.T) {
	t.Parallel()
	databaseSetting(t, "lock_timeout", "1s")
	st := newStore(t)
	h := newHouse(t, st)
	before := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	exec(t, st, `INSERT INTO activity_logs (team_id, action, "timestamp") SELECT $1, 'OLD', $2::timestamp - i * interval '1 ms' FROM generate_series(1, 100) AS i`, h.team.ID, before)
	require.NoError(t, newStore(t).InTx(t.Context(), func(tx *store.Store) error {
		exec(t, tx, `SELECT FROM activity_logs WHERE "timestamp" < $1 ORDER BY "timestamp" LIMIT 30 FOR UPDATE`, before)
		removed, err := st.PurgeActivity(t.Context(), before, 10)
		require.EqualValues(t, 70, removed)
		return err
	}))
	removed, err := st.PurgeActivity(t.Context(), before, 10)
	require.NoError(t, err)
	require.EqualValues(t, 30, removed)
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
