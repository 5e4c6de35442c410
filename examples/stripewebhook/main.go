// Command stripewebhook receives what Stripe tells of subscriptions, and keeps the teams
// of a database at it. Handler is what a service mounts among its own routes; the rest of
// this program serves it alone.
//
// It needs a migrated database and the endpoint's signing secret. On a developer's machine
// Stripe's CLI has the secret, and forwards events of the sandbox:
//
//	export DATABASE_URL=postgres://user:password@localhost:5432/database
//	go run ./schema/migrate up
//	STRIPE_WEBHOOK_SECRET=$(stripe listen --print-secret) go run ./examples/stripewebhook
//	stripe listen --forward-to 127.0.0.1:4242/stripe/webhook
//	stripe trigger customer.subscription.created
//
// (https://docs.stripe.com/stripe-cli). The last one's event is answered with 503, because
// no team has the customer that the CLI made up. Complete a checkout session for a
// subscription that you create with a team's id as its client_reference_id, and its events
// are applied.
//
// In production, register the endpoint for the events of customer.subscription and for
// checkout.session.completed (https://docs.stripe.com/webhooks), behind a proxy that ends
// TLS. ADDR is where to listen, 127.0.0.1:4242 by default.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rowhouse/rowhouse/schema"
	"github.com/rowhouse/rowhouse/store"
)

const (
	urlVariable    = "DATABASE_URL"
	secretVariable = "STRIPE_WEBHOOK_SECRET"
	addrVariable   = "ADDR"

	defaultAddr = "127.0.0.1:4242"
	path        = "/stripe/webhook"

	// A request is small, and comes from a machine: one that is slower is not Stripe's.
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = readTimeout + defaultTimeout + 5*time.Second // it runs from the header's end on
	idleTimeout   = time.Minute

	// stopTimeout lets the requests that are under way come to their end.
	stopTimeout = readTimeout + defaultTimeout
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	if err := run(ctx, os.Getenv, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "stripewebhook:", err)
		os.Exit(1)
	}
}

// run serves the webhook until ctx ends.
func run(ctx context.Context, getenv func(string) string, stderr io.Writer) error {
	secret := strings.TrimSpace(getenv(secretVariable))
	if !strings.HasPrefix(secret, "whsec_") { // an API key, say, with which every event would be refused
		return errors.New(secretVariable + " must be the endpoint's signing secret, which begins with whsec_")
	}
	if getenv(urlVariable) == "" {
		return errors.New(urlVariable + " must name a migrated database, as postgres://user:password@host:5432/database")
	}
	pool, err := connect(ctx, getenv(urlVariable))
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := requireMigrated(ctx, pool); err != nil {
		return err
	}

	log := slog.New(slog.NewTextHandler(stderr, nil))
	mux := http.NewServeMux()
	// Without PlanName a plan is called as the price's nickname; a service has a table.
	mux.Handle(path, &Handler{Store: store.New(pool), Secret: secret, Log: log})
	addr := getenv(addrVariable)
	if addr == "" {
		addr = defaultAddr
	}
	return serve(ctx, addr, mux, log)
}

// serve answers requests until ctx ends, and then those that are under way.
func serve(ctx context.Context, addr string, handler http.Handler, log *slog.Logger) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelError),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	log.Info("listening", "url", "http://"+listener.Addr().String()+path)

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	log.Info("stopping", "reason", context.Cause(ctx).Error())
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return server.Shutdown(ctx)
}

// connect returns a pool, which has not connected yet. Its error has nothing of the URL
// in it: an unescaped @, / or # in a password makes a part of it a host's name.
func connect(ctx context.Context, databaseURL string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(databaseURL)
	u, urlErr := url.Parse(databaseURL)
	if err != nil || strings.Contains(config.ConnConfig.Host, "@") ||
		urlErr == nil && u.Scheme != "" && u.User == nil && strings.Contains(databaseURL, "@") {
		return nil, errors.New(urlVariable + " can't be read: write it as postgres://user:password@host:5432/database, " +
			"special characters of the password in percent-encoding (%40 for @, %2F for /, %23 for #)")
	}
	return pgxpool.NewWithConfig(ctx, config)
}

// requireMigrated changes nothing: a service leaves that to the migrate command, which
// runs before the service is deployed. A newer database is fine, because migrations only
// add.
func requireMigrated(ctx context.Context, pool *pgxpool.Pool) error {
	err := schema.Verify(ctx, pool)
	if errors.Is(err, schema.ErrDatabaseNewer) {
		return nil
	}
	return err
}
