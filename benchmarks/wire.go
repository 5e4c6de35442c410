package main

import (
	"context"
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// wire counts round trips where they happen: a client waits for the server after each
// Sync, Query, Flush and CopyDone message, and after nothing else.
type wire struct{ roundTrips atomic.Int64 }

func (w *wire) on(config *pgx.ConnConfig) *pgx.ConnConfig {
	config = config.Copy()
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &wireConn{Conn: conn, wire: w}, nil
	}
	return config
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
			case 'S', 'Q', 'H', 'c':
				c.wire.roundTrips.Add(1)
			}
		}
		c.started = true
		c.unread = c.unread[size:]
	}
	return c.Conn.Write(b)
}

// oneWay is half of the round trip of the network that far stands for.
const oneWay = 500 * time.Microsecond

// far is a network with a millisecond of round trip. What is sent arrives half a
// millisecond later, however much of it is under way: it delays, and does not narrow.
type far struct {
	listener net.Listener
	dir      string
}

func newFar(dial pgconn.DialFunc, network, addr string) (*far, error) {
	dir, err := os.MkdirTemp("", "far")
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		return nil, err
	}
	f := &far{listener, dir}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := dial(context.Background(), network, addr)
			if err != nil {
				client.Close()
				continue
			}
			go delay(server, client)
			go delay(client, server)
		}
	}()
	return f, nil
}

func (f *far) on(config *pgx.ConnConfig) *pgx.ConnConfig {
	config = config.Copy()
	config.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", f.listener.Addr().String())
	}
	return config
}

func (f *far) close() {
	f.listener.Close()
	os.RemoveAll(f.dir)
}

// delay carries what one end sends to the other.
func delay(to, from net.Conn) {
	type batch struct {
		due   time.Time
		bytes []byte
	}
	batches := make(chan batch, 1024)
	go func() {
		defer to.Close()
		for b := range batches {
			// The runtime's timers wake up by whole milliseconds when nothing else is to be
			// done, so the thread sleeps.
			if wait := time.Until(b.due); wait > 0 {
				ts := syscall.NsecToTimespec(int64(wait))
				_ = syscall.Nanosleep(&ts, nil)
			}
			if _, err := to.Write(b.bytes); err != nil {
				break
			}
		}
		for range batches { // so that nobody waits for a place
		}
	}()
	defer close(batches)
	for {
		bytes := make([]byte, 64<<10)
		n, err := from.Read(bytes)
		if n > 0 {
			batches <- batch{time.Now().Add(oneWay), bytes[:n]}
		}
		if err != nil {
			return
		}
	}
}
