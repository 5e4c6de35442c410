package storetest

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// keptComment begins the comment on a database that a sweep must leave.
const keptComment = "kept"

// database is one that a test has.
type database struct {
	server *server
	name   string
}

func (d *database) url() string { return d.server.databaseURL(d.name) }

// create makes a database from a template.
func (s *server) create(ctx context.Context, template string) (*database, error) {
	conn, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	d := &database{server: s, name: fmt.Sprintf("%s%08x_%d", s.prefix, s.run, s.count.Add(1))}
	statement := "CREATE DATABASE " + quote(d.name) + " TEMPLATE " + quote(template)
	// Copying files is six times faster than logging each page, but it writes
	// checkpoints, which is no way to treat a server that others use.
	if s.throwaway != nil && s.version >= 150000 {
		statement += " STRATEGY FILE_COPY"
	}
	if _, err := conn.Exec(ctx, statement); err != nil {
		return nil, fmt.Errorf("cannot create a database: %w", err)
	}
	return d, nil
}

// drop also ends the sessions that a test left.
func (d *database) drop(ctx context.Context) error {
	conn, err := d.server.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, "DROP DATABASE IF EXISTS "+quote(d.name)+" WITH (FORCE)")
	return err
}

// keep protects the database from sweeps and says how to get rid of it.
func (d *database) keep(ctx context.Context, test string) (string, error) {
	conn, err := d.server.connect(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	comment, err := conn.PgConn().EscapeString(keptComment + " for " + test)
	if err != nil {
		return "", err
	}
	if _, err := conn.Exec(ctx, "COMMENT ON DATABASE "+quote(d.name)+" IS '"+comment+"'"); err != nil {
		return "", err
	}
	if d.server.throwaway != nil {
		return d.server.throwaway.Keep()
	}
	return "DROP DATABASE " + quote(d.name) + " removes it", nil
}

// sweep drops the databases of runs that ended without their cleanups. A run is
// dead when nobody holds its lock, which the server releases with the session; a
// creation time or a process number could not tell a slow run on another machine
// from a dead one. A session on the database is a second sign of life, for a run
// whose own was cut off.
func (s *server) sweep(ctx context.Context) error {
	conn, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, `
		SELECT datname FROM pg_database
		WHERE datname ~ ('^' || $1 || '[0-9a-f]{8}_[0-9]+$')
			AND pg_get_userbyid(datdba) = current_user
			AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE datid = pg_database.oid)
			AND coalesce(shobj_description(oid, 'pg_database'), '') NOT LIKE $2 || '%'
		ORDER BY datname`, s.prefix, keptComment)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, name := range names {
		run, err := strconv.ParseUint(name[len(s.prefix):len(s.prefix)+8], 16, 32)
		if err != nil {
			return err
		}
		err = withLock(ctx, conn, lockRun, uint32(run), func() error {
			_, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+quote(name)) // no FORCE: whoever came meanwhile is alive
			return err
		})
		if err != nil && conn.IsClosed() {
			return err
		}
		// Otherwise it is left to a later run: it is nothing that this run needs.
	}
	return nil
}

// withLock runs do under an advisory lock, or not at all when somebody holds it.
func withLock(ctx context.Context, conn *pgx.Conn, class int32, key uint32, do func() error) error {
	var locked bool
	if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1, $2)`, class, int32(key)).Scan(&locked); err != nil {
		return err
	}
	if !locked {
		return nil
	}
	err := do()
	if _, unlockErr := conn.Exec(ctx, `SELECT pg_advisory_unlock($1, $2)`, class, int32(key)); err == nil {
		err = unlockErr
	}
	return err
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
