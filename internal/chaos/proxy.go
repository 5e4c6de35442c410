package main

import (
	"math/rand/v2"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// wireFault is what the proxy does to a connection.
type wireFault string

const (
	cutNow       wireFault = "connection cut"
	loseRequest  wireFault = "connection cut, a request lost"
	halveRequest wireFault = "connection cut, half a request sent"
	loseAnswer   wireFault = "connection cut, a request sent and its answer lost"
	halveAnswer  wireFault = "connection cut, half an answer received"
	delay        wireFault = "connection delayed"
	blackHole    wireFault = "connection black-holed"
)

// direction is the way of what a connection carries.
type direction int

const (
	toServer direction = iota
	toClient
)

// proxy stands between the pool and the server, on TCP: there a connection can be reset
// as well as closed.
type proxy struct {
	listener *net.TCPListener
	server   string // its socket
	running  sync.WaitGroup

	mu    sync.Mutex
	links []*link // in the order in which they came
	calm  bool    // no faults any more
}

// link is one connection through the proxy.
type link struct {
	client *net.TCPConn
	server net.Conn
	ended  chan struct{}
	end    sync.Once

	mu     sync.Mutex
	fault  wireFault // the one that waits for its moment
	reset  bool      // the cut is an RST, not a FIN
	pause  time.Duration
	silent time.Time // nothing passes until then
}

func startProxy(serverURL string) (*proxy, error) {
	u, err := url.Parse(serverURL)
	if err != nil {
		return nil, err
	}
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: listener, server: filepath.Join(u.Query().Get("host"), ".s.PGSQL.5432")}
	p.running.Go(p.accept)
	return p, nil
}

// url is the server's, through the proxy.
func (p *proxy) url() string {
	port := strconv.Itoa(p.listener.Addr().(*net.TCPAddr).Port)
	query := url.Values{"sslmode": {"disable"}, "application_name": {poolName}}
	return "postgres://postgres@127.0.0.1:" + port + "/postgres?" + query.Encode()
}

// close cuts all connections and returns when nothing of the proxy runs any more.
func (p *proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.calm = true
	links := p.links
	p.mu.Unlock()
	for _, l := range links {
		l.cut(false)
	}
	p.running.Wait()
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.AcceptTCP()
		if err != nil {
			return
		}
		server, err := net.Dial("unix", p.server)
		if err != nil { // it is down, and refuses
			_ = client.SetLinger(0)
			_ = client.Close()
			continue
		}
		l := &link{client: client, server: server, ended: make(chan struct{})}
		p.mu.Lock()
		p.links = append(p.links, l)
		p.mu.Unlock()
		p.running.Go(func() {
			var pumps sync.WaitGroup
			pumps.Go(func() { l.pump(client, server, toServer) })
			pumps.Go(func() { l.pump(server, client, toClient) })
			pumps.Wait()
			p.remove(l)
		})
	}
}

func (p *proxy) remove(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.links {
		if p.links[i] == l {
			p.links = append(p.links[:i:i], p.links[i+1:]...)
			return
		}
	}
}

// strike does a fault to one of the connections, and reports whether there was one.
func (p *proxy) strike(fault wireFault, random *rand.Rand) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.calm || len(p.links) == 0 {
		return false
	}
	p.links[random.IntN(len(p.links))].strike(fault, random)
	return true
}

// settle ends what goes on: from now on everything passes.
func (p *proxy) settle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calm = true
	for _, l := range p.links {
		l.mu.Lock()
		if l.fault != "" || time.Now().Before(l.silent) {
			defer l.cut(true)
		}
		l.mu.Unlock()
	}
}

// forget lets nothing pass any more on the connections that there are, as a firewall does
// that has lost its state. New ones are served.
func (p *proxy) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.links {
		l.mu.Lock()
		l.silent = time.Now().Add(time.Hour)
		l.mu.Unlock()
	}
}

func (l *link) strike(fault wireFault, random *rand.Rand) {
	reset := random.IntN(2) == 0
	pause := time.Duration(10+random.IntN(290)) * time.Millisecond
	silence := time.Duration(500+random.IntN(3500)) * time.Millisecond
	l.mu.Lock()
	l.reset = reset
	switch fault {
	case delay:
		l.pause = pause
	case blackHole:
		l.silent = time.Now().Add(silence)
	case cutNow:
	default:
		l.fault = fault
	}
	l.mu.Unlock()
	if fault == cutNow {
		l.cut(reset)
	}
}

// cut ends the connection to both sides.
func (l *link) cut(reset bool) {
	l.end.Do(func() {
		close(l.ended)
		if reset {
			_ = l.client.SetLinger(0)
		}
		_ = l.client.Close()
		_ = l.server.Close()
	})
}

// pump passes on what comes from one side, as long as the faults let it.
func (l *link) pump(from, to net.Conn, way direction) {
	defer func() { l.cut(false) }()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			l.wait()
			pass, cut := l.judge(way, n)
			if pass > 0 {
				if _, err := to.Write(buffer[:pass]); err != nil {
					return
				}
			}
			if cut {
				l.mu.Lock()
				reset := l.reset
				l.mu.Unlock()
				l.cut(reset)
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// wait holds up what was read by the delay, and for as long as nothing may pass.
func (l *link) wait() {
	l.mu.Lock()
	pause := max(l.pause, time.Until(l.silent))
	l.mu.Unlock()
	if pause <= 0 {
		return
	}
	select {
	case <-time.After(pause):
	case <-l.ended:
	}
}

// judge says how much of n bytes passes, and whether the connection is cut after that.
func (l *link) judge(way direction, n int) (pass int, cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.fault == loseRequest && way == toServer:
		return 0, true
	case l.fault == halveRequest && way == toServer:
		return n / 2, true
	case l.fault == loseAnswer && way == toClient:
		return 0, true
	case l.fault == halveAnswer && way == toClient:
		return n / 2, true
	}
	return n, false
}
