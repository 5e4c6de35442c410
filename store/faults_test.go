package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// What an operation says after a fault is held against the tables: an error that is not
// ErrOutcomeUnknown means that they are as they were, nil that all of it is there, once.

// faultless is what a test of faults prepares and looks by. Such a test makes its faults on
// connections of its own, in the modes that matter: a variant would change nothing in it.
func faultless(t *testing.T) *store.Store {
	t.Helper()
	if os.Getenv(variantVariable) != "" {
		t.Skip("left out: faults are made on direct connections")
	}
	return storetest.New(t)
}

// mortalPool has connections that a test terminates.
func mortalPool(t *testing.T, change func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(storetest.URL(t))
	require.NoError(t, err)
	change(config)
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

// effect is how many rows of each table went and came between two snapshots.
func effect(before, after map[string][]string) map[string][2]int {
	changes := make(map[string][2]int)
	missing := func(from, in []string) (n int) {
		for _, row := range from {
			if !slices.Contains(in, row) {
				n++
			}
		}
		return n
	}
	for _, table := range tables {
		if gone, come := missing(before[table], after[table]), missing(after[table], before[table]); gone+come > 0 {
			changes[table] = [2]int{gone, come}
		}
	}
	return changes
}

var nothing = map[string][2]int{}

// whole is the effect of an operation that succeeds.
func whole(t testing.TB, op operation, st *store.Store) map[string][2]int {
	t.Helper()
	run := op.prepare(t, st)
	before := snapshot(t, st)
	require.NoError(t, run(st))
	changes := effect(before, snapshot(t, st))
	require.Len(t, changes, len(op.writes))
	return changes
}

// Each operation, in one round trip: what it says after a cut, and what is in the tables
// then.
func TestEachOperationWhenItsConnectionIsCut(t *testing.T) {
	t.Parallel()
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			st := faultless(t)
			all := whole(t, op, st)
			for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
				scissors := new(scissors)
				breaking := store.New(scissors.pool(t, 1, mode))
				for _, how := range cuts {
					require.NoError(t, op.prepare(t, st)(breaking)) // which prepares its statements
					run := op.prepare(t, st)
					before := snapshot(t, st)
					scissors.arm(how)
					err := run(breaking)
					changed := effect(before, snapshot(t, st))
					said := fmt.Sprintf("%s, %s: %v", mode, how, err)
					// In this mode pgx does not tell that it sent nothing of a batch.
					doubted := mode == pgx.QueryExecModeExec && errors.Is(err, store.ErrOutcomeUnknown)
					switch {
					case op.writes == nil || how == unsent && !doubted:
						require.NoError(t, err, said)
						require.Equal(t, all, changed, said)
						require.Greater(t, scissors.count(), 1, "round trips: the cut one and another one, at least")
					case how.executed():
						require.ErrorIs(t, err, store.ErrOutcomeUnknown, said)
						require.Equal(t, all, changed, said)
						require.Equal(t, 1, scissors.count(), "round trips: a write is not sent again")
					default:
						require.ErrorIs(t, err, store.ErrOutcomeUnknown, said)
						require.Equal(t, nothing, changed, said)
						require.Equal(t, 1, scissors.count(), "round trips: a write is not sent again")
					}
				}
			}
		})
	}
}

// Each operation, on a connection that has prepared nothing, cut in each of its round
// trips, and in the one after.
func TestEachOperationIsAllOrNothingWhereverItIsCut(t *testing.T) {
	t.Parallel()
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			st, scissors := faultless(t), new(scissors)
			all := whole(t, op, st)
			pool := scissors.pool(t, 4, pgx.QueryExecModeCacheStatement)
			breaking := store.New(pool)
			for passed := 0; passed == 0 || scissors.count() > passed; passed++ {
				for _, first := range cuts {
					for _, second := range []cut{unsent, unanswered, uncut} {
						pool.Reset() // to a connection that has prepared nothing
						run := op.prepare(t, st)
						before := snapshot(t, st)
						scissors.arm(append(make([]cut, passed), first, second)...)
						err := run(breaking)
						changed := effect(before, snapshot(t, st))
						said := fmt.Sprintf("%d passed, then %s, %s: %v", passed, first, second, err)
						switch {
						case err == nil:
							require.Equal(t, all, changed, said)
						case errors.Is(err, store.ErrOutcomeUnknown):
							require.NotNil(t, op.writes, said)
							if len(changed) > 0 {
								require.Equal(t, all, changed, said)
							}
						default:
							require.Equal(t, nothing, changed, said)
							require.NotEqual(t, uncut, second, "one cut is survived, or the outcome unknown: %s", said)
						}
					}
				}
			}
		})
	}
}

// A pool whose connections have all died serves the next operation, and each one after.
func TestAReadSurvivesTheLossOfAllConnections(t *testing.T) {
	t.Parallel()
	st := faultless(t)
	h := newHouse(t, st)
	const n = 5
	pool := mortalPool(t, func(config *pgxpool.Config) {
		config.MaxConns = n
		config.ConnConfig.RuntimeParams["application_name"] = "mortal"
		config.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	})
	open(t, pool, n)
	mortal := store.New(pool)
	require.Len(t, column[bool](t, st, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'mortal' AND datname = current_database()"), n)
	until(t, st, "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'mortal' AND datname = current_database()")
	for range n {
		_, err := mortal.User(t.Context(), h.owner.ID)
		require.NoError(t, err)
	}
}

// waiting is who waits for a lock, and is not autovacuum.
const waiting = `FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND backend_type = 'client backend'`

// Each operation, whose backend is terminated while it waits: a write is unknown, and has
// not happened; a read goes on.
func TestEachOperationWhenItsBackendIsTerminated(t *testing.T) {
	t.Parallel()
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			st := faultless(t)
			mortal := store.New(mortalPool(t, func(config *pgxpool.Config) { config.MaxConns = 1 }))
			require.NoError(t, op.prepare(t, st)(mortal)) // which prepares its statements, or it would wait there
			run := op.prepare(t, st)
			before := snapshot(t, st)
			failed := make(chan error, 1)
			require.NoError(t, st.InTx(t.Context(), func(other *store.Store) error {
				exec(t, other, "LOCK TABLE "+strings.Join(tables, ", ")+" IN ACCESS EXCLUSIVE MODE")
				go func() { failed <- run(mortal) }()
				until(t, st, "SELECT count(*) = 1 "+waiting)
				require.Equal(t, []bool{true}, column[bool](t, st, "SELECT pg_terminate_backend(pid) "+waiting))
				if op.writes == nil {
					return nil
				}
				err := <-failed
				require.ErrorIs(t, err, store.ErrOutcomeUnknown)
				var pgErr *pgconn.PgError
				require.ErrorAs(t, err, &pgErr)
				require.Equal(t, "57P01", pgErr.Code)
				return nil
			}))
			if op.writes == nil {
				require.NoError(t, <-failed)
			}
			require.Equal(t, before, snapshot(t, st))
		})
	}
}

// until waits for a query to say true.
func until(t testing.TB, st *store.Store, sql string) {
	t.Helper()
	for began := time.Now(); !column[bool](t, st, sql)[0]; exec(t, st, "SELECT pg_sleep(0.005)") {
		require.Less(t, time.Since(began), time.Minute, sql)
	}
}

// Each operation, whose ctx ends: it returns, says what is known, and leaves neither a
// transaction nor a connection that nobody can use.
func TestEachOperationWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			st := faultless(t)
			pool := mortalPool(t, func(config *pgxpool.Config) {
				config.MaxConns = 1
				config.ConnConfig.RuntimeParams["application_name"] = "canceled"
			})
			impatient := store.New(pool)

			// Before it begins.
			ctx, cancel := context.WithCancel(t.Context())
			run := op.prepare(during{t, ctx}, st)
			before := snapshot(t, st)
			cancel()
			err := run(impatient)
			require.ErrorIs(t, err, context.Canceled)
			require.NotErrorIs(t, err, store.ErrOutcomeUnknown)
			require.Equal(t, before, snapshot(t, st))

			// While it waits for a connection.
			ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			run = op.prepare(during{t, ctx}, st)
			before = snapshot(t, st)
			held, err := pool.Acquire(t.Context())
			require.NoError(t, err)
			err = run(impatient)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.NotErrorIs(t, err, store.ErrOutcomeUnknown)
			held.Release()
			require.Equal(t, before, snapshot(t, st))

			// While it waits for a lock, with its statements prepared.
			require.NoError(t, op.prepare(t, st)(impatient))
			ctx, cancel = context.WithCancel(t.Context())
			run = op.prepare(during{t, ctx}, st)
			before = snapshot(t, st)
			failed := make(chan error, 1)
			require.NoError(t, st.InTx(t.Context(), func(other *store.Store) error {
				exec(t, other, "LOCK TABLE "+strings.Join(tables, ", ")+" IN ACCESS EXCLUSIVE MODE")
				go func() { failed <- run(impatient) }()
				until(t, st, "SELECT count(*) = 1 "+waiting)
				cancel()
				err = <-failed
				// The server is told, and gives up before the lock is free.
				until(t, st, `SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'canceled' AND datname = current_database() AND state <> 'idle'`)
				return nil
			}))
			require.ErrorIs(t, err, context.Canceled)
			require.Equal(t, op.writes != nil, errors.Is(err, store.ErrOutcomeUnknown), "unknown, for a write: %v", err)
			require.Equal(t, before, snapshot(t, st))

			require.NoError(t, op.prepare(t, st)(impatient), "the next one, on the one connection that there may be")
			require.Zero(t, pool.Stat().AcquiredConns())
		})
	}
}

// during is a test with another context, which an operation is given.
type during struct {
	*testing.T
	ctx context.Context
}

func (d during) Context() context.Context { return d.ctx }

// In a transaction a lost connection is a certain failure, but for the COMMIT's.
func TestInTxWhenItsConnectionIsCut(t *testing.T) {
	t.Parallel()
	st, scissors := faultless(t), new(scissors)
	breaking := store.New(scissors.pool(t, 1, pgx.QueryExecModeCacheStatement))
	h := newHouse(t, st)
	const begin, operation, commit = 0, 1, 2
	for _, trip := range []int{begin, operation, commit} {
		for _, how := range cuts {
			require.NoError(t, breaking.RecordSignIn(t.Context(), h.actor)) // prepared
			before := snapshot(t, st)
			scissors.arm(append(make([]cut, trip), how)...)
			runs := 0
			err := breaking.InTx(t.Context(), func(tx *store.Store) error {
				runs++
				err := tx.RecordSignIn(t.Context(), h.actor)
				require.NotErrorIs(t, err, store.ErrOutcomeUnknown)
				return err
			})
			changed := effect(before, snapshot(t, st))
			require.Equal(t, 1, runs, "%s in trip %d", how, trip)
			switch {
			case trip == begin:
				require.NoError(t, err, how)
				require.Equal(t, map[string][2]int{activityLogs: {0, 1}}, changed)
			case trip == operation, how == unsent:
				require.Error(t, err, how)
				require.NotErrorIs(t, err, store.ErrOutcomeUnknown, how)
				require.Equal(t, nothing, changed, how)
			case how.executed():
				require.ErrorIs(t, err, store.ErrOutcomeUnknown, how)
				require.Equal(t, map[string][2]int{activityLogs: {0, 1}}, changed)
			default:
				require.ErrorIs(t, err, store.ErrOutcomeUnknown, how)
				require.Equal(t, nothing, changed, how)
			}
		}
	}
}

// Those who were invited are, and have their tokens, also when the reason why others were
// not is lost on the way.
func TestInviteMembersWhoseReasonsAreLost(t *testing.T) {
	t.Parallel()
	st, scissors := faultless(t), new(scissors)
	breaking := store.New(scissors.pool(t, 1, pgx.QueryExecModeSimpleProtocol))
	h := newHouse(t, st)
	p := store.InviteMembers{Actor: h.actor, TeamID: h.team.ID, Invitees: []store.Invitee{{h.owner.Email, db.RoleMember}, {newEmail(), db.RoleMember}}}
	scissors.arm(uncut, unread, uncut, unread) // the read, and the one after the ping
	results, err := breaking.InviteMembers(t.Context(), p)
	require.NoError(t, err)
	require.Equal(t, h.owner.Email, results[0].Email)
	require.ErrorContains(t, results[0].Err, "conn closed")
	require.Empty(t, results[0].Token)
	require.NoError(t, results[1].Err)
	inv, err := st.InvitationByToken(t.Context(), results[1].Token)
	require.NoError(t, err)
	require.Equal(t, results[1].Email, inv.Email)

	// Nobody was: the failure is certain, and the operation's.
	p.Invitees = p.Invitees[:1]
	scissors.arm(uncut, unread, uncut, unread) // the read, and the one after the ping
	_, err = breaking.InviteMembers(t.Context(), p)
	require.ErrorContains(t, err, "conn closed")
	require.NotErrorIs(t, err, store.ErrOutcomeUnknown)
}

// What explains a refusal is a read: the refusal is certain, however it is cut.
func TestARefusalWhoseReasonIsLost(t *testing.T) {
	t.Parallel()
	st, scissors := faultless(t), new(scissors)
	breaking := store.New(scissors.pool(t, 1, pgx.QueryExecModeSimpleProtocol))
	h := newHouse(t, st)
	before := snapshot(t, st)
	signUp := func() error {
		_, err := breaking.SignUp(t.Context(), store.SignUp{Email: h.owner.Email, PasswordHash: "hash"})
		return err
	}
	for _, how := range cuts {
		scissors.arm(uncut, how)
		require.ErrorIs(t, signUp(), store.ErrEmailTaken, how)
		scissors.arm(uncut, how, uncut, how) // the read, and the one after the ping
		err := signUp()
		require.Error(t, err, how)
		require.NotErrorIs(t, err, store.ErrEmailTaken, how)
		require.NotErrorIs(t, err, store.ErrOutcomeUnknown, how)
	}
	require.Equal(t, before, snapshot(t, st))
}
