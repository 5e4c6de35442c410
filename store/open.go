package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// What Open sets where the connection string does not.
const (
	maxConns              = 10
	maxConnLifetime       = 30 * time.Minute
	maxConnLifetimeJitter = 5 * time.Minute
	maxConnIdleTime       = 5 * time.Minute
	pingTimeout           = 2 * time.Second
	connectTimeout        = 5 * time.Second
)

// sessionDefaults are sent when a connection starts.
var sessionDefaults = map[string]string{
	"statement_timeout":                   "30s",
	"lock_timeout":                        "10s",
	"idle_in_transaction_session_timeout": "60s",
	"default_transaction_isolation":       "read committed",
	"datestyle":                           "ISO",
}

// How long a peer may be silent before its connection is given up: keepalive's four
// probes, or what was sent and is not acknowledged.
const (
	keepAliveIdle     = 15 * time.Second
	keepAliveInterval = 5 * time.Second
	keepAliveCount    = 3
	silentPeerTimeout = keepAliveIdle + keepAliveCount*keepAliveInterval
)

// Open connects to the database of a URL or key=value string, as [pgxpool.ParseConfig]
// reads it, and returns a Store that owns its pool: [Store.Close] closes it. It fails
// when the database can't be reached.
//
// What the connection string does not set (nor one of the PG… variables of the
// environment that pgx reads), Open does:
//
//   - pool_max_conns=10, whatever the number of processors: that is the host's, not the
//     container's, and all instances of a service share the server's max_connections.
//   - pool_max_conn_lifetime=30m, pool_max_conn_lifetime_jitter=5m: connections move to
//     where the name leads after a failover, and not all in one moment.
//   - pool_max_conn_idle_time=5m: what a peak has opened is given back.
//   - pool_ping_timeout=2s: a connection that was idle for a second is pinged before it
//     is used. On one that a firewall has forgotten, pgx waits without an end.
//   - connect_timeout=5, for each address, in seconds. pgxpool's is two minutes.
//   - statement_timeout=30s: the server goes on with a statement whose client is gone.
//   - lock_timeout=10s: longer than a migration waits for its locks, 5 s, so that none
//     fails an operation; and a stuck transaction does not take all connections with it.
//   - idle_in_transaction_session_timeout=60s: a transaction whose client hangs or is
//     gone holds its locks no longer.
//   - default_transaction_isolation=read committed, which the Store's rules rest on.
//   - datestyle=ISO: where times come as text, with default_query_exec_mode=exec or
//     simple_protocol, pgx reads no other style.
//   - application_name=NAME, the program's file name, for pg_stat_activity.
//
// A TCP connection whose other end is silent for 30 s, be it idle or not acknowledging
// what was sent, is closed. (The latter on Linux alone.)
//
// The last six are settings of the session. They go before what the role and the
// database have; an empty one, as in "?statement_timeout=", is left to those.
//
// A proxy that pools by transaction, such as PgBouncer, refuses settings of the session
// (SQLSTATE 08P01), but for application_name and datestyle. Open then connects without
// those that are its own: set them on the role. It also prepares no statements then (default_query_exec_mode=exec), unless the
// string names a mode: PgBouncer before 1.21, or with max_prepared_statements=0, loses
// them. On one that keeps them, say default_query_exec_mode=cache_statement.
//
// For pool settings that a URL can't express, make the pool and use [New].
func Open(ctx context.Context, url string) (*Store, error) {
	pool, err := openPool(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	st := New(pool)
	st.owned = true
	return st, nil
}

// Close closes the pool that [Open] made, after its connections have come back. On a
// Store from [New] it does nothing.
func (s *Store) Close() {
	if s.owned {
		s.pool.Close()
	}
}

func openPool(ctx context.Context, url string) (*pgxpool.Pool, error) {
	config, given, err := poolConfig(url)
	if err != nil {
		return nil, err
	}
	pool, err := connect(ctx, config)
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != protocolViolation {
		return pool, err
	}
	for name := range sessionDefaults {
		if _, ok := given[name]; !ok && name != "datestyle" { // a proxy keeps that one
			delete(config.ConnConfig.RuntimeParams, name)
		}
	}
	if _, ok := given["default_query_exec_mode"]; !ok {
		config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
	return connect(ctx, config)
}

func connect(ctx context.Context, config *pgxpool.Config) (*pgxpool.Pool, error) {
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

// poolConfig is what a connection string says and, where it says nothing, Open's
// defaults. given is what it says, as far as that is no part of an address.
func poolConfig(url string) (config *pgxpool.Config, given map[string]string, err error) {
	if config, err = pgxpool.ParseConfig(url); err != nil {
		return nil, nil, err
	}
	// pgxpool takes out what is its own, and then its default looks like what was given.
	raw, err := pgconn.ParseConfig(url)
	if err != nil {
		return nil, nil, err
	}
	given = raw.RuntimeParams
	byDefault(given, "pool_max_conns", &config.MaxConns, maxConns)
	byDefault(given, "pool_max_conn_lifetime", &config.MaxConnLifetime, maxConnLifetime)
	byDefault(given, "pool_max_conn_lifetime_jitter", &config.MaxConnLifetimeJitter, maxConnLifetimeJitter)
	byDefault(given, "pool_max_conn_idle_time", &config.MaxConnIdleTime, maxConnIdleTime)
	byDefault(given, "pool_ping_timeout", &config.PingTimeout, pingTimeout)

	config.ConnConfig.ConnectTimeout = cmp.Or(config.ConnConfig.ConnectTimeout, connectTimeout)
	config.ConnConfig.DialFunc = dialer(config.ConnConfig.ConnectTimeout).DialContext

	session := config.ConnConfig.RuntimeParams
	for name, value := range sessionDefaults {
		// The server would take ours after those in options.
		if _, ok := session[name]; !ok && !strings.Contains(session["options"], name) {
			session[name] = value
		}
	}
	if _, ok := session["application_name"]; !ok {
		session["application_name"] = filepath.Base(os.Args[0])
	}
	maps.DeleteFunc(session, func(_, value string) bool { return value == "" })
	return config, given, nil
}

func byDefault[T any](given map[string]string, name string, target *T, value T) {
	if _, ok := given[name]; !ok {
		*target = value
	}
}

// dialer notices that the other end is gone. Go's own defaults take two and a half
// minutes on an idle connection, and on one that waits for an acknowledgement the
// system's hold, which are a quarter of an hour on Linux.
func dialer(timeout time.Duration) *net.Dialer {
	return &net.Dialer{
		Timeout: timeout,
		KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount,
		},
		Control: func(network, _ string, conn syscall.RawConn) error {
			if !strings.HasPrefix(network, "tcp") {
				return nil
			}
			return setUserTimeout(conn, silentPeerTimeout)
		},
	}
}
