// Command quickstart shows the Store at work: a team, from its owner's sign-up to its
// activity feed. The steps are in story.go.
//
//	go run ./examples/quickstart
//
// It needs PostgreSQL's binaries or Docker, and runs on a server that ends with it.
// Where DATABASE_URL is set it works on that database, migrates it, and leaves its rows
// there; each run makes people of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

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
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// run finds a database, migrates it and tells the story on it.
func run(ctx context.Context, getenv func(string) string, stdout io.Writer) (err error) {
	log := stepLog{ctx: ctx, out: stdout}
	databaseURL := getenv(urlVariable)
	if databaseURL == "" {
		log.println("No " + urlVariable + " is set: this runs on a PostgreSQL that ends with it.")
		step := log.step("start PostgreSQL")
		server, err := throwaway.Start(ctx, throwaway.Options{URLVariable: urlVariable})
		if err != nil {
			return step.done(err)
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
			defer cancel()
			err = errors.Join(err, server.Stop(ctx))
		}()
		step.what = server.Provider
		if err := step.done(nil); err != nil {
			return err
		}
		databaseURL = server.URL
	} else {
		log.println(urlVariable + " is set: this works on that database, and leaves its rows there.")
	}

	pool, err := connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := migrate(ctx, pool, &log); err != nil {
		return err
	}
	return tell(ctx, store.New(pool), &log)
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

// migrate brings the database to the schema. A service leaves this to the migrate
// command, which runs before the service is deployed.
func migrate(ctx context.Context, pool *pgxpool.Pool, log *stepLog) error {
	step := log.step("migrate the database")
	applied, err := schema.Migrate(ctx, pool)
	for _, m := range applied {
		log.took(m.Duration, "migration "+m.Name)
	}
	if err != nil || len(applied) > 0 {
		return log.check(step.what, err)
	}
	step.what = "the database has every migration"
	return step.done(nil)
}

// stepLog prints one line for each step, with the time that it took.
type stepLog struct {
	ctx context.Context
	out io.Writer
	err error // of the first write that failed; it ends the story
}

type step struct {
	log   *stepLog
	what  string
	start time.Time
}

func (l *stepLog) step(what string) *step { return &step{l, what, time.Now()} }

// done ends a step with what came of it: it prints the step, or returns the error with
// the step in front of it.
func (s *step) done(err error) error {
	took := time.Since(s.start)
	if err == nil {
		s.log.took(took, s.what)
	}
	return s.log.check(s.what, err)
}

func (l *stepLog) check(what string, err error) error {
	if err == nil {
		return l.err
	}
	if l.ctx.Err() != nil {
		err = context.Cause(l.ctx) // which signal it was, not what that broke
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (l *stepLog) took(d time.Duration, what string) {
	l.println(fmt.Sprintf("%7.1f ms  %s", float64(d.Microseconds())/1000, what))
}

func (l *stepLog) println(line string) {
	if _, err := fmt.Fprintln(l.out, line); err != nil && l.err == nil {
		l.err = fmt.Errorf("print: %w", err)
	}
}
