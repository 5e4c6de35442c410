// Package throwaway starts a PostgreSQL server that lives as long as the process
// that asked for it: for tests, and for examples that should run without setup.
//
// The server comes from PostgreSQL's own binaries when the machine has them, else
// from Docker, else from a download. TEST_POSTGRES_PROVIDER (local, docker or
// download) forces one of them.
//
// Nothing outlives the process, however it ends: os.Exit, a panic, Ctrl-C and
// SIGKILL included. The server is unsafe on purpose (no fsync) and set to a time
// zone half an hour off the others, so that code which leans on the session's
// zone fails early.
package throwaway

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// The names of the providers, in the order in which they are tried.
const (
	Local    = "local"    // initdb and postgres of this machine
	Docker   = "docker"   // a container
	Download = "download" // binaries fetched once, then as local
)

// ProviderVariable is the environment variable that forces a provider.
const ProviderVariable = "TEST_POSTGRES_PROVIDER"

// Options say which server to start. The zero value is good.
type Options struct {
	// Provider forces Local, Docker or Download. When it is empty the environment's
	// TEST_POSTGRES_PROVIDER does; when both are, they are tried in that order.
	Provider string

	// URLVariable names the environment variable by which the caller takes the URL
	// of a running server. It is only quoted, in the advice of an error.
	URLVariable string

	// Settings are the server's, as name=value, where they differ from what all
	// throwaway servers have.
	Settings []string

	// repository replaces the download's source in tests.
	repository string
}

// Server is a running server.
type Server struct {
	// URL of the maintenance database, postgres, as a superuser.
	URL string

	// Provider is a phrase for people: what runs, and from where.
	Provider string

	// Version is the server's number, as server_version_num: 170005 for 17.5.
	Version int

	host host
}

// host is what a server runs in.
type host interface {
	// stop returns when the server has ended and nothing of it is left.
	stop(ctx context.Context) error
	// keep unties the server from this process and says how to end it by hand.
	keep() (string, error)
}

// ErrNoPgBouncer is returned by [StartPgBouncer] when this machine has none.
var ErrNoPgBouncer = errors.New("no pgbouncer (Debian, Ubuntu: apt-get install pgbouncer)")

type provider struct {
	name  string
	start func(context.Context, Options) (*Server, error)
}

var providers = []provider{{Local, startLocal}, {Docker, startDocker}, {Download, startDownload}}

// Start starts a server and returns once it takes connections. A forced provider
// that cannot serve is an error, never a reason to try the next one. When none can
// serve, the error says why for each of them, and what to do.
func Start(ctx context.Context, o Options) (*Server, error) {
	try, forcedBy := providers, ""
	name := o.Provider
	if name == "" {
		if name = os.Getenv(ProviderVariable); name != "" {
			forcedBy = ProviderVariable + "=" + name + ": "
		}
	}
	if name != "" {
		i := slices.IndexFunc(providers, func(p provider) bool { return p.name == name })
		if i < 0 {
			return nil, fmt.Errorf("%sno provider of PostgreSQL is called %q: it is %s, %s or %s", forcedBy, name, Local, Docker, Download)
		}
		try = providers[i : i+1]
	}

	var why []error
	for _, p := range try {
		server, err := p.start(ctx, o)
		if err == nil {
			return server, nil
		}
		why = append(why, fmt.Errorf("%s: %w", p.name, err))
		if ctx.Err() != nil {
			break
		}
	}
	if name != "" {
		return nil, fmt.Errorf("%scannot start PostgreSQL by %w", forcedBy, why[0])
	}
	return nil, &unavailableError{why: why, urlVariable: o.URLVariable}
}

// unavailableError is returned when no provider could serve.
type unavailableError struct {
	why         []error
	urlVariable string
}

func (e *unavailableError) Error() string {
	var b strings.Builder
	b.WriteString("no PostgreSQL could be started:\n")
	for _, err := range e.why {
		fmt.Fprintf(&b, "  - %s\n", strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "\n    "))
	}
	b.WriteString("Do one of these: install PostgreSQL 13 or later (Debian, Ubuntu: apt-get install postgresql; macOS: brew install postgresql@17); start Docker")
	if e.urlVariable != "" {
		fmt.Fprintf(&b, "; set %s to the URL of a running server", e.urlVariable)
	}
	b.WriteString(".")
	return b.String()
}

func (e *unavailableError) Unwrap() []error { return e.why }

// DatabaseURL is the URL of another database of the server. It need not exist.
func (s *Server) DatabaseURL(database string) string {
	u, err := url.Parse(s.URL)
	if err != nil {
		panic("throwaway: " + err.Error()) // the URL is our own
	}
	u.Path = "/" + database
	return u.String()
}

// Stop ends the server and removes all that it left: what the end of the process
// does by itself. It waits for that until ctx ends. It may be called again, and
// from several goroutines.
func (s *Server) Stop(ctx context.Context) error { return s.host.stop(ctx) }

// Keep lets the server outlive the process and returns a phrase that says how to
// end it by hand. Stop does nothing afterwards.
func (s *Server) Keep() (string, error) { return s.host.keep() }

// identify asks the server what it is. While the server starts, that fails.
func (s *Server) identify(ctx context.Context, from string) error {
	conn, err := pgx.Connect(ctx, s.URL)
	if err != nil {
		return err
	}
	var version string
	err = conn.QueryRow(ctx, `
		SELECT current_setting('server_version_num')::integer, current_setting('server_version')`,
	).Scan(&s.Version, &version)
	if closeErr := conn.Close(ctx); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	version, _, _ = strings.Cut(version, " ") // without the packager's addition
	s.Provider = fmt.Sprintf("PostgreSQL %s %s", version, from)
	return nil
}
