package main

import (
	"context"
	"encoding/binary"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// proxy is a Unix socket, as a server of PostgreSQL has one, in front of the server. Every
// client can be put on it, in whatever language and process.
type proxy struct {
	listener net.Listener
	port     uint16
}

// proxies is how many there were: each has a port, which is part of its socket's name.
var proxies atomic.Uint32

// newProxy carries with up what clients send to the server of config, and with down what
// that answers. Its socket is beside the server's, and goes with it at the latest.
func newProxy(config *pgx.ConnConfig, up, down func(to, from net.Conn)) (*proxy, error) {
	p := &proxy{port: config.Port + uint16(proxies.Add(1))}
	_, socket := pgconn.NetworkAddress(config.Host, p.port)
	var err error
	if p.listener, err = net.Listen("unix", socket); err != nil {
		return nil, err
	}
	network, addr := pgconn.NetworkAddress(config.Host, config.Port)
	go func() {
		for {
			client, err := p.listener.Accept()
			if err != nil {
				return
			}
			server, err := config.DialFunc(context.Background(), network, addr)
			if err != nil {
				client.Close()
				continue
			}
			go up(server, client)
			go down(client, server)
		}
	}()
	return p, nil
}

// on is config with the proxy for a server.
func (p *proxy) on(config *pgx.ConnConfig) *pgx.ConnConfig {
	config = config.Copy()
	config.Port = p.port
	return config
}

func (p *proxy) close() { p.listener.Close() }

// wire counts round trips where they happen: a client waits for the server after each
// Sync, Query, Flush and CopyDone message, and after nothing else.
type wire struct {
	*proxy
	roundTrips atomic.Int64
}

func newWire(config *pgx.ConnConfig) (*wire, error) {
	w := new(wire)
	var err error
	if w.proxy, err = newProxy(config, w.count, relay); err != nil {
		return nil, err
	}
	return w, nil
}

// relay carries what one end sends to the other, at once.
func relay(to, from net.Conn) {
	defer to.Close()
	bytes := make([]byte, 64<<10)
	for {
		n, err := from.Read(bytes)
		if n > 0 {
			if _, err := to.Write(bytes[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// count is relay of what a client sends.
func (w *wire) count(to, from net.Conn) { relay(&wireConn{Conn: to, wire: w}, from) }

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

// newFar is a network with a millisecond of round trip. What is sent arrives half a
// millisecond later, however much of it is under way: it delays, and does not narrow.
func newFar(config *pgx.ConnConfig) (*proxy, error) { return newProxy(config, delay, delay) }

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
