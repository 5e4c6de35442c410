package store_test

import (
	"context"
	"encoding/binary"
	"net"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// Round trips are counted where they happen, on the wire: a client waits for the server
// after each Sync, Query and Flush message, and after nothing else.

func TestEachOperationIsOneRoundTrip(t *testing.T) {
	t.Parallel()
	wire := new(wire)
	st := newStore(t, wire.count)
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			warm := op.prepare(t, st)
			require.NoError(t, warm(st))
			run := op.prepare(t, st)
			before := wire.roundTrips.Load()
			require.NoError(t, run(st))
			require.EqualValues(t, 1, wire.roundTrips.Load()-before, "round trips")
		})
	}
}

// The counter counts: two statements in a row are two round trips, a transaction is
// begun, used and committed in three.
func TestRoundTripsAreCounted(t *testing.T) {
	t.Parallel()
	wire := new(wire)
	st := newStore(t, wire.count)
	h := newHouse(t, st)
	count := func(f func() error) int64 {
		require.NoError(t, f())
		before := wire.roundTrips.Load()
		require.NoError(t, f())
		return wire.roundTrips.Load() - before
	}
	signIn := func(st *store.Store) error { return st.RecordSignIn(t.Context(), h.actor) }
	require.EqualValues(t, 2, count(func() error { _ = signIn(st); return signIn(st) }))
	require.EqualValues(t, 3, count(func() error { return st.InTx(t.Context(), signIn) }))
}

// A refused operation asks for the reason at most once more.
func TestARefusalIsTwoRoundTripsAtMost(t *testing.T) {
	t.Parallel()
	wire := new(wire)
	st := newStore(t, wire.count)
	h, other := newHouse(t, st), newHouse(t, st)
	inv, token := h.invite(newEmail(), "member")
	ctx := t.Context()
	for name, refused := range map[string]func() error{
		"SignUp": func() error {
			_, err := st.SignUp(ctx, store.SignUp{Email: h.owner.Email, PasswordHash: "hash"})
			return err
		},
		"SignUpWithInvitation": func() error {
			_, err := st.SignUpWithInvitation(ctx, store.SignUpWithInvitation{Token: token, Email: newEmail(), PasswordHash: "hash"})
			return err
		},
		"InviteMember": func() error {
			_, _, err := st.InviteMember(ctx, store.InviteMember{Actor: h.actor, TeamID: h.team.ID, Email: inv.Email, Role: "member"})
			return err
		},
		"AcceptInvitation": func() error {
			_, _, err := st.AcceptInvitation(ctx, store.AcceptInvitation{Actor: other.actor, Token: token})
			return err
		},
		"RemoveMember": func() error {
			return st.RemoveMember(ctx, store.RemoveMember{Actor: h.actor, TeamID: h.team.ID, MemberID: h.seat.ID})
		},
	} {
		require.Error(t, refused(), name)
		before := wire.roundTrips.Load()
		require.Error(t, refused(), name)
		require.LessOrEqual(t, wire.roundTrips.Load()-before, int64(2), name)
	}
}

// An event costs one round trip whatever becomes of it.
func TestEachOutcomeOfAnEventIsOneRoundTrip(t *testing.T) {
	t.Parallel()
	wire := new(wire)
	h := newHouse(t, newStore(t, wire.count))
	e := h.event(db.SubscriptionActive)
	again := e // by its own event's id, and a second earlier
	again.EventID, again.Created = e.EventID+"_earlier", e.Created.Add(-time.Second)
	for range 2 { // the second time the statements are prepared
		for _, delivery := range []struct {
			event store.ApplySubscription
			want  store.SubscriptionOutcome
		}{{e, store.SubscriptionApplied}, {e, store.SubscriptionDuplicate}, {again, store.SubscriptionStale}} {
			before := wire.roundTrips.Load()
			outcome, _ := h.apply(delivery.event)
			trips := wire.roundTrips.Load() - before
			require.Equal(t, delivery.want, outcome)
			if e.Created.After(stripeEpoch) {
				require.EqualValues(t, 1, trips, "round trips of what is %s", outcome)
			}
		}
		e.EventID, e.Created = e.EventID+"_next", e.Created.Add(time.Hour)
		again.EventID += "_next"
	}
}

func TestOperationsAreAllListed(t *testing.T) {
	t.Parallel()
	var listed []string
	for _, op := range operations {
		listed = append(listed, op.name)
	}
	notOperations := []string{"Close", "Conn", "InTx", "CheckInvariants"}
	for m := range reflect.TypeFor[*store.Store]().Methods() {
		if !slices.Contains(notOperations, m.Name) {
			require.Contains(t, listed, m.Name)
		}
	}
}

// wire counts the round trips of the connections of a pool.
type wire struct{ roundTrips atomic.Int64 }

// count has the pool count, and have one connection, so that what was prepared stays prepared; and so every
// operation is shown to need no second one.
func (w *wire) count(config *pgxpool.Config) {
	config.MaxConns = 1
	config.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	dial := config.ConnConfig.DialFunc
	config.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		return &wireConn{Conn: conn, wire: w}, err
	}
}

type wireConn struct {
	net.Conn
	wire    *wire
	started bool   // the startup message, which has no type, is sent
	unread  []byte // of a message that is not all written yet
}

func (c *wireConn) Write(b []byte) (int, error) {
	c.unread = append(c.unread, b...)
	for {
		head := 1
		if !c.started {
			head = 0
		}
		if len(c.unread) < head+4 {
			break
		}
		size := head + int(binary.BigEndian.Uint32(c.unread[head:]))
		if len(c.unread) < size {
			break
		}
		if c.started {
			switch c.unread[0] {
			case 'S', 'Q', 'H': // Sync, Query, Flush
				c.wire.roundTrips.Add(1)
			}
		}
		c.started = true
		c.unread = c.unread[size:]
	}
	return c.Conn.Write(b)
}
