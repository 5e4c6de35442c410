// Command migrate brings a database to the schema of this module, one step back,
// or says where it stands. CI and operators run it; see its -h.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rowhouse/rowhouse/schema"
)

const usage = `usage: migrate [-database-url URL] up|down|status|version

  up       apply every pending migration; any number of these may run at once
  down     roll back the latest migration, with the data in what it added;
           the first one refuses while the tables hold rows
  status   list the migrations with the time (UTC) at which each was applied
  version  print the version of the database, 0 if it was never migrated

The database is the one that -database-url names, else the environment variable
DATABASE_URL. Prefer the variable for a URL with a password: other users of the
machine can read arguments. It must be a direct connection, not a proxy that
pools by transaction. On a busy database add a lock timeout to it, so that a
migration fails, and can be run again, rather than makes others wait behind it.

  -database-url URL  postgres://user:password@host:5432/database?lock_timeout=5s
  -h                 print this

Results go to standard output, errors to standard error. The exit status is 0
when the command did what it was told, 1 when it failed, 2 when it was not
understood; "go run" makes a 1 of each. "down" with nothing to roll back is a
failure. An interrupted "up" or "down" is finished by running it again.

In CI, before the service is deployed:

  env:
    DATABASE_URL: ${{ secrets.DATABASE_URL }}
  run: go run github.com/rowhouse/rowhouse/schema/migrate up
`

const (
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// run does what args say and returns the exit status.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	out := &output{w: stdout}
	err := execute(ctx, args, getenv, out)
	if err == nil && out.err != nil {
		err = fmt.Errorf("write the result: %w", out.err)
	}
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "migrate:", err)
	if _, ok := errors.AsType[usageError](err); ok {
		fmt.Fprintln(stderr, "migrate: run it with -h for help")
		return exitUsage
	}
	return exitFailure
}

// usageError is an error of the command line or the URL.
type usageError string

func (e usageError) Error() string { return string(e) }

// output remembers that a write failed, so that a result which nobody got isn't
// taken for success.
type output struct {
	w   io.Writer
	err error
}

// Write implements [io.Writer].
func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if err != nil && o.err == nil {
		o.err = err
	}
	return n, err
}

func execute(ctx context.Context, args []string, getenv func(string) string, out io.Writer) error {
	command, databaseURL, err := parse(args, getenv)
	if errors.Is(err, flag.ErrHelp) {
		_, err := io.WriteString(out, usage)
		return err
	}
	if err != nil {
		return err
	}
	pool, err := connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer pool.Close()

	switch command {
	case "up":
		return up(ctx, pool, out)
	case "down":
		result, err := schema.Rollback(ctx, pool)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "rolled back %s in %s\n", result.Name, result.Duration.Round(time.Millisecond))
		return nil
	case "status":
		return status(ctx, pool, out)
	default:
		version, err := schema.Version(ctx, pool)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, version)
		return nil
	}
}

// parse returns the command and the database's URL. Its errors repeat no
// argument that may be a URL put in the wrong place, with a password in it.
func parse(args []string, getenv func(string) string) (command, databaseURL string, err error) {
	flags := flag.NewFlagSet("migrate", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&databaseURL, "database-url", getenv("DATABASE_URL"), "")

	// The flag package stops at the first argument that is no flag.
	var words []string
	for len(args) > 0 {
		if err := flags.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return "", "", err
			}
			if strings.ContainsAny(err.Error(), "@=") || strings.Contains(err.Error(), "://") {
				return "", "", usageError("an argument is not a flag of this command")
			}
			return "", "", usageError(err.Error())
		}
		if args = flags.Args(); len(args) > 0 {
			words, args = append(words, args[0]), args[1:]
		}
	}
	if len(words) != 1 {
		return "", "", usageError(fmt.Sprintf("want one command, up, down, status or version, got %d", len(words)))
	}
	switch words[0] {
	case "up", "down", "status", "version":
	default:
		return "", "", usageError("unknown command: want up, down, status or version")
	}
	if databaseURL == "" {
		return "", "", usageError("which database? Set DATABASE_URL, or give -database-url, to postgres://user:password@host:5432/database")
	}
	return words[0], databaseURL, nil
}

// connect returns a pool for the URL, which has not connected yet.
func connect(ctx context.Context, databaseURL string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil || misread(databaseURL, config) {
		// Pgx repeats the URL, its password masked as well as a URL that can't be
		// read allows. A file that it names and that isn't there is safe to say.
		if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
			return nil, usageError("the database URL names a file that can't be read: " + pathErr.Error())
		}
		return nil, usageError("the database URL can't be read: write it as postgres://user:password@host:5432/database, " +
			"special characters of the password in percent-encoding (%40 for @, %2F for /, %25 for %)")
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	return pool, nil
}

// misread says whether an @ or / in the password has ended it too early: the
// rest of it would be a host or a database, which errors name.
func misread(databaseURL string, config *pgxpool.Config) bool {
	u, err := url.Parse(databaseURL)
	return strings.Contains(config.ConnConfig.Host, "@") ||
		err == nil && u.Scheme != "" && u.User == nil && strings.Contains(u.EscapedPath(), "@")
}

func up(ctx context.Context, pool *pgxpool.Pool, out io.Writer) error {
	results, err := schema.Migrate(ctx, pool)
	for _, r := range results {
		fmt.Fprintf(out, "applied %s in %s\n", r.Name, r.Duration.Round(time.Millisecond))
	}
	if err != nil || len(results) > 0 {
		return err
	}
	version, err := schema.Version(ctx, pool)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "already at version %d\n", version)
	return nil
}

func status(ctx context.Context, pool *pgxpool.Pool, out io.Writer) error {
	migrations, err := schema.Status(ctx, pool)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "VERSION\tNAME\tAPPLIED")
	for _, m := range migrations {
		name, applied := m.Name, "pending"
		if name == "" {
			name = "(of a newer build)"
		}
		if m.Applied {
			applied = m.AppliedAt.Format(time.RFC3339)
		}
		fmt.Fprintf(table, "%d\t%s\t%s\n", m.Version, name, applied)
	}
	return table.Flush()
}
