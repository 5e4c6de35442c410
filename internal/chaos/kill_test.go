package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/internal/throwaway"
	"github.com/rowhouse/rowhouse/store"
)

var killSeed = flag.Uint64("kill.seed", rand.Uint64N(1_000_000_000), "of the moments at which the server is killed")

const (
	kills      = 5
	composites = 1000 // for each kill
	inFlight   = 40   // of them, on as many connections
)

// composite is an operation that writes several tables.
type composite struct {
	number uint64 // in its e-mail and its log rows
	kind   string
	run    func(context.Context, *store.Store) error

	told outcome
}

// The server is killed in the middle of 1,000 sign-ups, sign-ups by invitation and
// invitations, all its processes at once. When it is back each is there wholly or not at
// all, and each that was acknowledged is there.
func TestKilledServerLeavesNoHalf(t *testing.T) {
	if !slices.Contains(endings, throwaway.Killed) {
		t.Skip("all processes of a server are known on Linux alone") // by /proc: elsewhere some would survive
	}
	t.Parallel()
	t.Logf("-kill.seed %d", *killSeed)
	random := rand.New(rand.NewPCG(*killSeed, 0))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	server, err := startServer(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, stopServer(server)) })

	var number, undecided uint64
	for range kills {
		pool, err := pgxpool.New(ctx, server.URL+fmt.Sprintf("&pool_max_conns=%d", inFlight))
		require.NoError(t, err)
		st := store.New(pool)
		list := drawComposites(t, ctx, st, random, &number)

		var acked atomic.Int64
		moment := int64(50 + random.IntN(composites/2))
		killed := make(chan error, 1)
		var next atomic.Int64
		var workers sync.WaitGroup
		start := make(chan struct{})
		for range inFlight {
			workers.Go(func() {
				<-start
				for i := next.Add(1) - 1; i < composites; i = next.Add(1) - 1 {
					c := list[i]
					c.told, _ = classify(c.run(ctx, st))
					if c.told == acknowledged && acked.Add(1) == moment {
						killed <- server.Halt(ctx, throwaway.Killed)
					}
				}
			})
		}
		close(start)
		workers.Wait()
		require.NoError(t, <-killed)
		pool.Close()
		require.NoError(t, server.Resume(ctx))

		there := readParts(t, ctx, server)
		counts := make(map[outcome]int)
		happened := 0
		for _, c := range list {
			counts[c.told]++
			have := there[c.number]
			slices.Sort(have)
			whole := slices.Equal(have, wholes[c.kind])
			require.True(t, whole || len(have) == 0, "%s %d (%s) is there in part: %v", c.kind, c.number, c.told, have)
			switch c.told {
			case acknowledged:
				require.True(t, whole, "%s %d was acknowledged, and is gone", c.kind, c.number)
			case unknown:
				undecided++
				if whole {
					happened++
				}
			default:
				require.Equal(t, failed, c.told, "%s %d", c.kind, c.number)
				require.Empty(t, have, "%s %d failed, and is there", c.kind, c.number)
			}
		}
		t.Logf("killed after %d: acknowledged %d, failed %d, unknown %d, of which %d happened",
			moment, counts[acknowledged], counts[failed], counts[unknown], happened)
		require.GreaterOrEqual(t, counts[acknowledged], int(moment))
		require.NotZero(t, counts[failed])
	}
	require.NotZero(t, undecided, "no kill was in the middle of anything")
}

// wholes are the parts of each kind of composite, sorted.
var wholes = map[string][]string{
	"sign-up":               {"CREATE_TEAM", "SIGN_UP", "membership", "team", "user"},
	"sign-up by invitation": {"ACCEPT_INVITATION", "SIGN_UP", "accepted", "membership", "user"},
	"invitation":            {"INVITE_TEAM_MEMBER", "pending"},
}

// drawComposites prepares them: who signs up by invitation has been invited.
func drawComposites(t *testing.T, ctx context.Context, st *store.Store, random *rand.Rand, number *uint64) []*composite {
	const teams, guests = 10, 30 // of each team
	var list []*composite
	add := func(kind string, run func(number uint64) func(context.Context, *store.Store) error) {
		*number++
		list = append(list, &composite{number: *number, kind: kind, run: run(*number)})
	}
	for range teams {
		*number++
		owner, err := st.SignUp(ctx, store.SignUp{Email: fmt.Sprintf("owner-%d@chaos.example", *number), PasswordHash: "a hash"})
		require.NoError(t, err)
		actor := store.Actor{UserID: owner.User.ID}
		for range guests {
			add("sign-up by invitation", func(n uint64) func(context.Context, *store.Store) error {
				email := fmt.Sprintf("u%d@guest.example", n)
				_, token, err := st.InviteMember(ctx, store.InviteMember{Actor: actor, TeamID: owner.Team.ID, Email: email, Role: db.RoleMember})
				require.NoError(t, err)
				return func(ctx context.Context, st *store.Store) error {
					_, err := st.SignUpWithInvitation(ctx, store.SignUpWithInvitation{Token: token, Email: email, PasswordHash: "a hash", IP: address(n)})
					return err
				}
			})
			add("invitation", func(n uint64) func(context.Context, *store.Store) error {
				return func(ctx context.Context, st *store.Store) error {
					_, _, err := st.InviteMember(ctx, store.InviteMember{
						Actor: store.Actor{UserID: owner.User.ID, IP: address(n)}, TeamID: owner.Team.ID, Email: emailOf(n), Role: db.RoleMember,
					})
					return err
				}
			})
		}
	}
	for len(list) < composites {
		add("sign-up", func(n uint64) func(context.Context, *store.Store) error {
			return func(ctx context.Context, st *store.Store) error {
				_, err := st.SignUp(ctx, store.SignUp{Email: emailOf(n), PasswordHash: "a hash", TeamName: emailOf(n), IP: address(n)})
				return err
			}
		})
	}
	random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// readParts reads what composites have left, by their numbers. That a guest's invitation
// is pending is no part of the sign-up: it was before.
func readParts(t *testing.T, ctx context.Context, server *throwaway.Server) map[uint64][]string {
	there := make(map[uint64][]string)
	require.NoError(t, direct(ctx, server, func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, `
			SELECT email, 'user' FROM users
			UNION ALL SELECT users.email, 'membership' FROM team_members JOIN users ON users.id = user_id
			UNION ALL SELECT name, 'team' FROM teams
			UNION ALL SELECT email, 'pending' FROM invitations WHERE status = 'pending' AND email NOT LIKE '%@guest.example'
			UNION ALL SELECT email, 'accepted' FROM invitations WHERE status = 'accepted'`)
		if err != nil {
			return err
		}
		var key, part string
		if _, err := pgx.ForEachRow(rows, []any{&key, &part}, func() error {
			var number uint64
			if _, err := fmt.Sscanf(key, "u%d@", &number); err == nil {
				there[number] = append(there[number], part)
			}
			return nil
		}); err != nil {
			return err
		}
		rows, err = conn.Query(ctx, "SELECT ip_address, action FROM activity_logs WHERE ip_address IS NOT NULL")
		if err != nil {
			return err
		}
		_, err = pgx.ForEachRow(rows, []any{&key, &part}, func() error {
			number, ok := numberOf(key)
			if !ok {
				return errors.New("an address that is no operation's: " + key)
			}
			there[number] = append(there[number], part)
			return nil
		})
		return err
	}))
	return there
}
