package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rowhouse/rowhouse/schema"
)

// migratedTemplate returns the name of a database that holds what the migrations
// make, and nobody can connect to. Runs share it: on a server of the user's it
// outlives them, until a run with other migrations finds it unused.
func (s *server) migratedTemplate(ctx context.Context) (string, error) {
	sum, err := s.templateSum()
	if err != nil {
		return "", err
	}
	name := s.templateName(sum)
	key := binary.BigEndian.Uint32(sum)

	// Before anything else, so that nobody drops it between the look and the clones.
	if _, err := s.owner.Exec(ctx, `SELECT pg_advisory_lock_shared($1, $2)`, lockTemplate, int32(key)); err != nil {
		return "", err
	}
	conn, err := s.connect(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close(context.WithoutCancel(ctx)) // and with it goes the lock

	if ready, err := templateReady(ctx, conn, name); err != nil || ready {
		return name, err
	}
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1, $2)`, lockMaking, int32(key)); err != nil {
		return "", err
	}
	if ready, err := templateReady(ctx, conn, name); err != nil || ready {
		return name, err
	}
	if err := s.makeTemplate(ctx, conn, name); err != nil {
		return "", err
	}
	return name, s.dropOldTemplates(ctx, conn, name)
}

// templateSum covers all that makes one template unfit for another run: the
// migrations, the server, and the role, which owns the tables.
func (s *server) templateSum() ([]byte, error) {
	hash := sha256.New()
	fmt.Fprintf(hash, "%d %q\n", s.version, s.role)
	err := fs.WalkDir(schema.Files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(schema.Files, path)
		fmt.Fprintf(hash, "%q %q\n", path, content)
		return err
	})
	return hash.Sum(nil), err
}

func (s *server) templateName(sum []byte) string {
	return fmt.Sprintf("%stemplate_%x", s.prefix, sum[:8])
}

// templateReady tells whether the template is there, and whole: the mark is the
// last thing it gets.
func templateReady(ctx context.Context, conn *pgx.Conn, name string) (ready bool, err error) {
	err = conn.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND datistemplate AND NOT datallowconn)`, name,
	).Scan(&ready)
	return ready, err
}

func (s *server) makeTemplate(ctx context.Context, conn *pgx.Conn, name string) error {
	// What is there without the mark is half a template, of a run that was killed.
	if _, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+quote(name)+" WITH (FORCE)"); err != nil {
		return err
	}
	// template1 may hold anything, and somebody may be connected to it.
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+quote(name)+" TEMPLATE template0"); err != nil {
		return err
	}
	pool, err := pgxpool.New(ctx, s.databaseURL(name))
	if err != nil {
		return err
	}
	_, err = schema.Migrate(ctx, pool)
	pool.Close()
	if err != nil {
		return err
	}
	// A session that is still ending would cost the first clone 100 ms.
	if err := awaitNoSession(ctx, conn, name); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "ALTER DATABASE "+quote(name)+" WITH ALLOW_CONNECTIONS false IS_TEMPLATE true")
	return err
}

func awaitNoSession(ctx context.Context, conn *pgx.Conn, name string) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		var busy bool
		err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = $1)`, name).Scan(&busy)
		if err != nil || !busy {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New("sessions stay on the template after the migrations")
		}
	}
}

// dropOldTemplates drops the templates of other migrations that no run uses.
func (s *server) dropOldTemplates(ctx context.Context, conn *pgx.Conn, current string) error {
	prefix := s.prefix + "template_"
	rows, err := conn.Query(ctx, `
		SELECT datname FROM pg_database
		WHERE datname ~ ('^' || $1 || '[0-9a-f]{16}$') AND datname <> $2
			AND pg_get_userbyid(datdba) = current_user`, prefix, current)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, name := range names {
		var key uint32
		if _, err := fmt.Sscanf(name[len(prefix):], "%08x", &key); err != nil {
			return err
		}
		err := withLock(ctx, conn, lockTemplate, key, func() error {
			// Without the mark first: PostgreSQL drops no template, and if this run is
			// killed in between, the next one takes what is left for half a template.
			if _, err := conn.Exec(ctx, "ALTER DATABASE "+quote(name)+" WITH IS_TEMPLATE false"); err != nil {
				return err
			}
			_, err := conn.Exec(ctx, "DROP DATABASE "+quote(name))
			return err
		})
		if err != nil && conn.IsClosed() {
			return err
		}
	}
	return nil
}
