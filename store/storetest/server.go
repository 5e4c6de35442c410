package storetest

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rowhouse/rowhouse/internal/throwaway"
)

const (
	urlVariable = "TEST_DATABASE_URL"
	namePrefix  = "rowhouse_test_"

	// startTimeout leaves time to pull an image or to download binaries.
	startTimeout = 5 * time.Minute

	// templateTimeout bounds the migrations, and the wait for another process's.
	templateTimeout = 2 * time.Minute
)

// Classes of the advisory locks that processes on one server agree by. The second
// key is a run's or a template's number.
const (
	lockRun      = 0x726f7701 // held by a run as long as it lives
	lockTemplate = 0x726f7702 // held, shared, by each run that clones the template
	lockMaking   = 0x726f7703 // held while the template is made
)

// server is one that this process makes databases in.
type server struct {
	admin     *url.URL
	throwaway *throwaway.Server // nil when TEST_DATABASE_URL names the server

	version int
	role    string
	prefix  string // of all names that runs through this maintenance database give
	run     uint32
	count   atomic.Uint32

	// owner is a session that holds this run's locks. It is never closed: when the
	// process ends, so does it, and the next run may drop what is left.
	owner *pgx.Conn

	template func() (string, error)
}

// sharedServer is the server of this process. The first call starts it; its error
// is every test's.
var sharedServer = sync.OnceValues(func() (*server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if raw := os.Getenv(urlVariable); raw != "" {
		s, err := openServer(ctx, raw, nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", urlVariable, err)
		}
		return s, nil
	}
	started, err := throwaway.Start(ctx, throwaway.Options{URLVariable: urlVariable})
	if err != nil {
		return nil, err
	}
	return openServer(ctx, started.URL, started)
})

// openServer connects to a server, marks this run as alive, and drops what dead
// runs left.
func openServer(ctx context.Context, raw string, started *throwaway.Server) (*server, error) {
	admin, err := parseURL(raw)
	if err != nil {
		return nil, err
	}
	s := &server{admin: admin, throwaway: started}
	if s.owner, err = s.connect(ctx); err != nil {
		return nil, err
	}
	if err := s.register(ctx); err != nil {
		return nil, errors.Join(err, s.owner.Close(ctx))
	}
	s.template = sync.OnceValues(func() (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), templateTimeout)
		defer cancel()
		name, err := s.migratedTemplate(ctx)
		if err != nil {
			return "", fmt.Errorf("cannot make the migrated template: %w", err)
		}
		return name, nil
	})
	return s, nil
}

// parseURL accepts what connect can put another database's name into. Its error
// has nothing of the URL in it: there may be a password.
func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		return nil, errors.New("not a URL such as postgres://user:password@localhost:5432/postgres")
	}
	query := u.Query()
	if name := query.Get("dbname"); name != "" { // the same as the path, which we change
		u.Path = "/" + name
		query.Del("dbname")
		u.RawQuery = query.Encode()
	}
	return u, nil
}

// redact is the URL without a password.
func redact(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "a URL that cannot be parsed"
	}
	if u.User != nil {
		u.User = url.User(u.User.Username())
	}
	query := u.Query()
	query.Del("password")
	query.Del("sslpassword")
	u.RawQuery = query.Encode()
	return u.String()
}

func (s *server) databaseURL(name string) string {
	u := *s.admin
	u.Path = "/" + name
	return u.String()
}

// connect opens a session on the maintenance database. Sessions are not pooled: a
// pool has goroutines of its own, which a service's leak check would find.
func (s *server) connect(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, s.admin.String())
	if err != nil {
		return nil, fmt.Errorf("cannot connect: %w", err)
	}
	return conn, nil
}

// register finds out about the server and takes the lock of a new run. Advisory
// locks are local to a database, so the maintenance database is part of all names.
func (s *server) register(ctx context.Context) error {
	var database uint32
	var mayCreate bool
	err := s.owner.QueryRow(ctx, `
		SELECT current_setting('server_version_num')::integer, current_user::text,
			(SELECT oid FROM pg_database WHERE datname = current_database()),
			(SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user)`,
	).Scan(&s.version, &s.role, &database, &mayCreate)
	if err != nil {
		return err
	}
	if s.version < 130000 {
		return fmt.Errorf("the server's version number is %d: PostgreSQL 13 or later is needed", s.version)
	}
	if !mayCreate {
		role := pgx.Identifier{s.role}.Sanitize()
		return fmt.Errorf("role %s may not create databases, and each test needs one: run ALTER ROLE %s CREATEDB as a superuser", role, role)
	}
	s.prefix = fmt.Sprintf("%s%d_", namePrefix, database)

	// An idle session must not lose the lock. Versions before 14 have no such limit.
	if _, err := s.owner.Exec(ctx, `
		SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'`); err != nil {
		return err
	}
	for locked := false; !locked; { // a taken number is another run's
		var number [4]byte
		_, _ = rand.Read(number[:]) // never fails
		s.run = binary.BigEndian.Uint32(number[:])
		err := s.owner.QueryRow(ctx, `SELECT pg_try_advisory_lock($1, $2)`, lockRun, int32(s.run)).Scan(&locked)
		if err != nil {
			return err
		}
	}
	return s.sweep(ctx)
}
