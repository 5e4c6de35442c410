// Command observability shows what a service can see of its database: spans by
// OpenTelemetry, log lines by log/slog, and numbers for Prometheus. Each has the name of a
// query, how long it took and how many rows it had; none has a value of an argument.
//
//	go run ./examples/observability
//
// It lets a Store work for a moment on a PostgreSQL that ends with it, or on the database
// that DATABASE_URL names, where it leaves its rows, and prints what was seen.
//
// What to take from it: instrument, with tracing.go, statements.go and metrics.go behind it.
// A service exports its spans by OTLP rather than to standard output, and serves its
// numbers with promhttp.HandlerFor.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/IBM/pgxpoolprometheus"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/rowhouse/rowhouse/internal/throwaway"
	"github.com/rowhouse/rowhouse/schema"
	"github.com/rowhouse/rowhouse/store"
)

const (
	urlVariable = "DATABASE_URL"

	// stopTimeout bounds the cleaning up, which an interrupted run still owes.
	stopTimeout = 30 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once. The throwaway server goes with it.
	context.AfterFunc(ctx, stop)
	if err := run(ctx, os.Getenv, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "observability:", err)
		os.Exit(1)
	}
}

// instrument makes each connection of the pool tell the three of what it does. The pool's
// own numbers need the pool: register a collector when it is there.
func instrument(config *pgxpool.Config, provider trace.TracerProvider, logger *slog.Logger, registry prometheus.Registerer) error {
	numbers, err := newStatementMetrics(registry)
	if err != nil {
		return err
	}
	config.ConnConfig.Tracer = multitracer.New(
		newSpans(provider),
		&statementTracer{report: func(ctx context.Context, s statement) {
			logStatement(ctx, logger, s)
			numbers.observe(s)
		}},
	)
	return nil
}

// run works on a database, and prints what was seen of it.
func run(ctx context.Context, getenv func(string) string, stdout io.Writer) (err error) {
	databaseURL := getenv(urlVariable)
	if databaseURL == "" {
		server, err := throwaway.Start(ctx, throwaway.Options{URLVariable: urlVariable})
		if err != nil {
			return fmt.Errorf("start PostgreSQL: %w", err)
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
			defer cancel()
			err = errors.Join(err, server.Stop(ctx))
		}()
		databaseURL = server.URL
	}
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		// Pgx repeats the URL, and in it what it could not tell from a password.
		return errors.New(urlVariable + " can't be read: write it as postgres://user:password@host:5432/database, " +
			"special characters of the password in percent-encoding (%40 for @, %2F for /, %23 for #)")
	}

	out := &output{w: stdout}
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spanPrinter{out}))
	registry := prometheus.NewRegistry()
	if err := instrument(config, provider, slog.New(slog.NewTextHandler(out, nil)), registry); err != nil {
		return err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("open the pool: %w", err)
	}
	defer pool.Close()
	// Its waits are what to watch: a pool that is too small shows in them first.
	if err := registry.Register(pgxpoolprometheus.NewCollector(pool, nil)); err != nil {
		return err
	}
	// A service leaves this to the migrate command, which runs before it is deployed. Here
	// it has a pool of its own, so that the migrations are not seen.
	if err := migrate(ctx, databaseURL); err != nil {
		return err
	}

	tracer := provider.Tracer("github.com/rowhouse/rowhouse/examples/observability")
	p := newPeople()
	if err := work(ctx, tracer, store.New(pool), &p); err != nil {
		return err
	}
	if err := provider.Shutdown(ctx); err != nil {
		return err
	}
	if err := printMetrics(out, registry); err != nil {
		return err
	}
	return out.err
}

func migrate(ctx context.Context, databaseURL string) error {
	pool, err := pgxpool.New(ctx, databaseURL)
	if err != nil {
		return fmt.Errorf("open the pool: %w", err)
	}
	defer pool.Close()
	if _, err := schema.Migrate(ctx, pool); err != nil {
		return fmt.Errorf("migrate the database: %w", err)
	}
	return nil
}
