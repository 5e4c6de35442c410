// Command migrate brings a database to the schema of this module or back, and says where
// it stands. CI and operators run it; see its -h.
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
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rowhouse/rowhouse/schema"
)

const usage = `usage: migrate [flags] COMMAND

  check            say what in the database would stop a pending migration, with
                   the rows, a statement that shows them, and one that repairs them
  up               check, then apply every pending migration; with a problem
                   nothing is changed; any number of these may run at once
  verify           compare the database with what the migrations make
  status           list the migrations with the time (UTC) at which each was applied
  version          print the version of the database, 0 if it was never migrated
  grant            give the roles that -application and -purge name the rights that
                   their operations need, and take from them what they have on the
                   tables beyond; a role that is missing is created, without LOGIN;
                   run it after every up
  down             roll back the latest migration, with the data in what it added;
                   the first one refuses while the tables hold rows
  down-to VERSION  roll back every migration above a version
  redo             down, then up again, on a database without rows
  create NAME      write an empty migration with the next number; for those who
                   work on the schema

The database is the one that -database-url names, else the environment variable
DATABASE_URL. Prefer the variable for a URL with a password: other users of the
machine can read arguments. It must be a direct connection, not a proxy that
pools by transaction.

  -database-url URL       postgres://user:password@host:5432/database
  -lock-timeout DURATION  for how long a step waits for a lock, which is for how
                          long it can hold up a service; then it lets go, pauses
                          and tries again, 10 times in all. The default is the
                          lock_timeout of the URL, else 5s; 0 waits for ever
  -application ROLE       of grant: may run every operation but the purges, and no
                          DDL; of the log it reads and adds rows
  -purge ROLE             of grant: may remove old rows of the log and old events
  -dry-run                with up, grant, down, down-to and redo: print the SQL,
                          and change nothing
  -json                   print the result as one JSON object
  -dir DIRECTORY          of create, schema by default
  -h                      print this

Results go to standard output, errors and the progress of long steps to standard
error. The exit status is 0 when the command did what it was told, 1 when it
failed, 2 when it was not understood, 3 when check found a problem, verify a
difference, or grant a role that may do more, by rights that it does not take;
"go run" makes a 1 of each. "down" with nothing to roll back is a failure. An interrupted "up" or "down" is finished by running it again.

In CI, before the service is deployed:

  env:
    DATABASE_URL: ${{ secrets.DATABASE_URL }}
  run: go run github.com/rowhouse/rowhouse/schema/migrate up
`

const (
	exitFailure = 1
	exitUsage   = 2
	exitFound   = 3
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
	err := execute(ctx, args, getenv, out, stderr)
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
	if _, ok := errors.AsType[foundError](err); ok {
		return exitFound
	}
	return exitFailure
}

// foundError is what check, verify or grant found. What it is in detail is their result.
type foundError string

func (e foundError) Error() string { return string(e) }

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

// invocation is a command line that was understood.
type invocation struct {
	command     command
	argument    string
	databaseURL string
	dir         string
	grants      schema.Grants
	dryRun      bool
	json        bool
	options     []schema.Option
}

func execute(ctx context.Context, args []string, getenv func(string) string, out, progress io.Writer) error {
	in, err := parse(args, getenv)
	if errors.Is(err, flag.ErrHelp) {
		_, err := io.WriteString(out, usage)
		return err
	}
	if err != nil {
		return err
	}
	in.options = append(in.options, schema.WithProgress(func(p schema.Progress) { fmt.Fprintln(progress, "migrate:", p) }))
	var pool *pgxpool.Pool
	if in.command.onDatabase {
		if pool, err = connect(ctx, in.databaseURL); err != nil {
			return err
		}
		defer pool.Close()
	}
	done := report{Command: in.command.name}
	err = in.command.run(ctx, pool, in, &done)
	if in.json {
		return errors.Join(err, done.writeJSON(out, err))
	}
	return errors.Join(err, done.writeText(out))
}

// parse reads the command line. Its errors repeat no argument that may be a URL put in the
// wrong place, with a password in it.
func parse(args []string, getenv func(string) string) (in invocation, err error) {
	var lockTimeout time.Duration
	flags := flag.NewFlagSet("migrate", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&in.databaseURL, "database-url", getenv("DATABASE_URL"), "")
	flags.DurationVar(&lockTimeout, "lock-timeout", 0, "")
	flags.StringVar(&in.dir, "dir", "schema", "")
	flags.StringVar(&in.grants.Application, "application", "", "")
	flags.StringVar(&in.grants.Purge, "purge", "", "")
	flags.BoolVar(&in.dryRun, "dry-run", false, "")
	flags.BoolVar(&in.json, "json", false, "")

	// The flag package stops at the first argument that is no flag.
	var words []string
	for len(args) > 0 {
		if err := flags.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return in, err
			}
			if strings.ContainsAny(err.Error(), "@=") || strings.Contains(err.Error(), "://") {
				return in, usageError("an argument is not a flag of this command, or its value can't be read")
			}
			return in, usageError(err.Error())
		}
		if args = flags.Args(); len(args) > 0 {
			words, args = append(words, args[0]), args[1:]
		}
	}
	flags.Visit(func(f *flag.Flag) {
		if f.Name == "lock-timeout" {
			in.options = append(in.options, schema.WithLockTimeout(lockTimeout))
		}
	})
	if len(words) == 0 {
		return in, usageError("want a command: " + commandNames())
	}
	i := slices.IndexFunc(commands, func(c command) bool { return c.name == words[0] })
	if i < 0 {
		return in, usageError("unknown command: want " + commandNames())
	}
	in.command = commands[i]
	switch takes := in.command.argument; {
	case takes == "" && len(words) > 1:
		return in, usageError(fmt.Sprintf("%s takes no argument, got %d", in.command.name, len(words)-1))
	case takes != "" && len(words) != 2:
		return in, usageError(fmt.Sprintf("%s takes one argument, %s, got %d", in.command.name, takes, len(words)-1))
	case takes != "":
		in.argument = words[1]
	}
	switch {
	case lockTimeout < 0:
		return in, usageError("-lock-timeout must not be negative")
	case in.dryRun && !in.command.dryRun:
		return in, usageError("-dry-run is for up, grant, down, down-to and redo")
	case in.command.name == "grant" && in.grants == schema.Grants{}:
		return in, usageError("grant wants -application ROLE, -purge ROLE, or both")
	case in.command.name != "grant" && in.grants != schema.Grants{}:
		return in, usageError("-application and -purge are for grant")
	case in.command.onDatabase && in.databaseURL == "":
		return in, usageError("which database? Set DATABASE_URL, or give -database-url, to postgres://user:password@host:5432/database")
	}
	return in, nil
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
