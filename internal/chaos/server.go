package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rowhouse/rowhouse/internal/throwaway"
	"github.com/rowhouse/rowhouse/schema"
)

// settings are those of a server that loses nothing it has acknowledged, whatever becomes
// of its processes. fsync stays off: only the machine's end would need it.
var settings = []string{
	"synchronous_commit=on",
	"full_page_writes=on",
	"autovacuum=on",
	"deadlock_timeout=100ms", // a tenth of the default: there are many, on purpose
}

// The names that sessions have in pg_stat_activity.
const (
	poolName     = "chaos-pool"
	injectorName = "chaos-injector"
)

// startServer starts a migrated server.
func startServer(ctx context.Context) (*throwaway.Server, error) {
	server, err := throwaway.Start(ctx, throwaway.Options{Settings: settings})
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.New(ctx, server.URL)
	if err == nil {
		_, err = schema.Migrate(ctx, pool)
		pool.Close()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("migrate: %w", err), stopServer(server))
	}
	return server, nil
}

func stopServer(server *throwaway.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return server.Stop(ctx)
}

// direct runs f on a connection of its own to the server, past the proxy.
func direct(ctx context.Context, server *throwaway.Server, f func(*pgx.Conn) error) error {
	config, err := pgx.ParseConfig(server.URL)
	if err != nil {
		return err
	}
	config.RuntimeParams["application_name"] = injectorName
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return f(conn)
}

// sessions counts the sessions of the pool that the server has.
func sessions(ctx context.Context, server *throwaway.Server) (n int, err error) {
	err = direct(ctx, server, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1", poolName).Scan(&n)
	})
	return n, err
}
