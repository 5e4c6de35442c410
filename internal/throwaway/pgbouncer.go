//go:build unix

package throwaway

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

//go:embed pgbouncer.sh
var pgbouncerSupervisor string

// PgBouncer is a running proxy that pools by transaction.
type PgBouncer struct {
	// Version is what the binary says: "PgBouncer 1.18.0".
	Version string

	dir     string
	process *exec.Cmd
	orders  *os.File // its end is the supervisor's signal, also when this process is killed
	report  *os.File
	stop    func() error
}

// pgbouncers keeps proxies from the garbage collector, which would close their orders.
var pgbouncers sync.Map

// pgbouncerSettings beside where the server is. The limits are for a hundred tests at a
// time, with a database each. PgBouncer keeps connections for whoever comes next; those
// of tests nobody comes for.
const pgbouncerSettings = `
[pgbouncer]
pool_mode = transaction
auth_type = any
listen_addr =
listen_port = 6432
unix_socket_dir = %[1]s
logfile = %[1]s/log
pidfile =
max_client_conn = 900
default_pool_size = 100
server_idle_timeout = 10
`

// StartPgBouncer starts a PgBouncer between its callers and the server that serverURL
// names. It takes every name of a database, and logs in as the URL's user whoever comes.
// It ends with this process, however that ends.
func StartPgBouncer(ctx context.Context, serverURL string) (*PgBouncer, error) {
	server, err := pgx.ParseConfig(serverURL)
	if err != nil {
		return nil, err
	}
	binary, err := pgbouncerBinary()
	if err != nil {
		return nil, err
	}
	as, err := serverAccount() // root is refused by PgBouncer too
	if err != nil {
		return nil, err
	}
	version, err := exec.CommandContext(ctx, binary, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --version: %w", binary, err)
	}
	b := &PgBouncer{}
	b.Version, _, _ = strings.Cut(string(version), "\n")

	if b.dir, err = (launch{as: as}).makeDirectory([]string{"/tmp"}); err != nil { // short, for the socket
		return nil, err
	}
	if err := b.run(as, binary, server); err != nil {
		return nil, errors.Join(err, os.RemoveAll(b.dir))
	}
	if err := b.await(ctx, server.Database); err != nil {
		return nil, errors.Join(err, b.Stop())
	}
	pgbouncers.Store(b, nil)
	return b, nil
}

func pgbouncerBinary() (string, error) {
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} { // which is not in every user's PATH
		if binary, err := exec.LookPath(name); err == nil {
			return binary, nil
		}
	}
	return "", ErrNoPgBouncer
}

func (b *PgBouncer) run(as account, binary string, server *pgx.ConnConfig) error {
	quoted := func(value string) string { return "'" + strings.ReplaceAll(value, "'", "''") + "'" }
	databases := fmt.Sprintf("[databases]\n* = host=%s port=%d user=%s", quoted(server.Host), server.Port, quoted(server.User))
	if server.Password != "" {
		databases += " password=" + quoted(server.Password)
	}
	ini := filepath.Join(b.dir, "pgbouncer.ini")
	if err := os.WriteFile(ini, fmt.Appendf(nil, databases+pgbouncerSettings, b.dir), 0o600); err != nil {
		return err
	}
	if err := as.own(ini); err != nil {
		return err
	}

	ordersIn, orders, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ordersIn.Close()
	report, reportOut, err := os.Pipe()
	if err != nil {
		return errors.Join(err, orders.Close())
	}
	defer reportOut.Close()
	b.orders, b.report = orders, report
	b.process = exec.Command("/bin/sh", "-c", pgbouncerSupervisor, "rowhouse-pgbouncer", binary, b.dir)
	b.process.Dir = "/"
	b.process.Env = serverEnvironment()
	b.process.SysProcAttr = as.attributes()
	b.process.Stdin, b.process.Stdout = ordersIn, reportOut
	b.stop = sync.OnceValue(func() error {
		pgbouncers.Delete(b)
		err := errors.Join(orders.Close(), b.process.Wait())
		return errors.Join(err, report.Close())
	})
	if err := b.process.Start(); err != nil {
		return errors.Join(err, orders.Close(), report.Close())
	}
	return nil
}

// await waits until connections are taken.
func (b *PgBouncer) await(ctx context.Context, database string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, b.URL(cmp.Or(database, "postgres")))
		if err == nil {
			return conn.Close(ctx)
		}
		if err := b.report.SetReadDeadline(time.Now().Add(5 * time.Millisecond)); err != nil {
			return err
		}
		if _, readErr := b.report.Read(make([]byte, 1)); errors.Is(readErr, io.EOF) || ctx.Err() != nil {
			log, _ := os.ReadFile(filepath.Join(b.dir, "log"))
			return fmt.Errorf("%s takes no connections: %w\n%s", b.Version, err, log)
		}
	}
}

// URL leads to a database by way of the proxy.
func (b *PgBouncer) URL(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User("anybody"), Host: "", Path: "/" + database}
	u.RawQuery = url.Values{"host": {b.dir}, "port": {"6432"}, "sslmode": {"disable"}}.Encode()
	return u.String()
}

// Stop ends the proxy, and returns when nothing is left of it.
func (b *PgBouncer) Stop() error { return b.stop() }
