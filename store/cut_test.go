package store_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/store/storetest"
)

// cut is where a connection breaks, in the next round trip.
type cut int

const (
	uncut        cut = iota
	unsent           // nothing of the message is taken
	torn             // half of it is sent
	unread           // it is taken, and never arrives
	unanswered       // the server has answered, and nothing of it arrives
	halfAnswered     // half of the answer arrives
)

var cuts = []cut{unsent, torn, unread, unanswered, halfAnswered}

func (c cut) String() string {
	return []string{"uncut", "unsent", "torn", "unread", "unanswered", "half answered"}[c]
}

// executed reports whether the server gets to do what it is told.
func (c cut) executed() bool { return c == unanswered || c == halfAnswered }

// scissors cut the connections of a pool in the round trips to come, over all of them:
// one that is begun by a message with a Sync or a Query in it.
type scissors struct {
	mu    sync.Mutex
	plan  []cut
	trips int
}

// arm plans the next round trips, and forgets those before.
func (s *scissors) arm(plan ...cut) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plan, s.trips = plan, 0
}

func (s *scissors) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trips
}

func (s *scissors) next() cut {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trips++
	if len(s.plan) == 0 {
		return uncut
	}
	next := s.plan[0]
	s.plan = s.plan[1:]
	return next
}

// pool has connections that are cut, and no ping but what the Store sends.
func (s *scissors) pool(t testing.TB, maxConns int32, mode pgx.QueryExecMode) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(storetest.URL(t))
	require.NoError(t, err)
	config.ConnConfig.DefaultQueryExecMode = mode
	config.MaxConns = maxConns
	config.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	dial := config.ConnConfig.DialFunc
	config.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		return &cutConn{Conn: conn, scissors: s}, err
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

type cutConn struct {
	net.Conn
	scissors *scissors
	started  bool // the startup message, which has no type, is sent
	cut      cut
	answer   []byte // what of it is left to be read
}

var errCut = errors.New("cut")

func (c *cutConn) Write(b []byte) (int, error) {
	if !c.started {
		c.started = true
		return c.Conn.Write(b)
	}
	if c.cut != uncut {
		return 0, errCut
	}
	if messages(b, "SQ") == 0 {
		return c.Conn.Write(b)
	}
	switch c.cut = c.scissors.next(); c.cut {
	case unsent:
		c.Close()
		return 0, errCut
	case torn:
		n, _ := c.Conn.Write(b[:len(b)/2])
		c.Close()
		return n, errCut
	case unread:
		c.Close()
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *cutConn) Read(b []byte) (int, error) {
	if c.cut == uncut {
		return c.Conn.Read(b)
	}
	if c.cut.executed() && c.answer == nil {
		part := make([]byte, 1<<16)
		for messages(c.answer, "Z") == 0 { // ReadyForQuery
			n, err := c.Conn.Read(part)
			if err != nil {
				return 0, err
			}
			c.answer = append(c.answer, part[:n]...)
		}
		c.Close()
		if c.answer = c.answer[:len(c.answer)/2]; c.cut == unanswered {
			c.answer = c.answer[:0]
		}
	}
	if len(c.answer) > 0 {
		n := copy(b, c.answer)
		c.answer = c.answer[n:]
		return n, nil
	}
	return 0, io.EOF
}

// messages counts those of some types in what begins with one.
func messages(b []byte, types string) (n int) {
	for len(b) >= 5 {
		size := 1 + int(binary.BigEndian.Uint32(b[1:]))
		if len(b) < size {
			break
		}
		if strings.IndexByte(types, b[0]) >= 0 {
			n++
		}
		b = b[size:]
	}
	return n
}
