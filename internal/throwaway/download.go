//go:build unix

package throwaway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

const downloadVersion = embeddedpostgres.V17

// startDownload runs binaries that were downloaded now or before, in the same way
// as the machine's own.
func startDownload(ctx context.Context, o Options) (*Server, error) {
	if os.Geteuid() == 0 {
		return nil, errors.New("the downloaded initdb refuses to run as root: run as another user, or install PostgreSQL")
	}
	root, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("no directory to keep a download in: %w", err)
	}
	root = filepath.Join(root, "rowhouse")
	dir := filepath.Join(root, "postgres-"+string(downloadVersion))
	if _, err := os.Stat(dir); err != nil {
		if err := download(ctx, root, dir, o.repository); err != nil {
			return nil, fmt.Errorf("cannot download PostgreSQL %s: %w", downloadVersion, err)
		}
	}
	as, err := serverAccount()
	if err != nil {
		return nil, err
	}
	b, err := inspectBinaries(ctx, filepath.Join(dir, "bin"), as)
	if err != nil {
		return nil, err
	}
	return startCluster(ctx, launch{binaries: b, as: as, from: "that was downloaded", bases: bases(), settings: o.Settings})
}

// embedded-postgres fetches binaries only as a part of starting a server of its
// own, on a port. This one runs for that moment; the script removes it and the
// draft also when this process is killed meanwhile.
const downloadSupervisor = `
PATH=$PATH:/usr/bin:/bin
read -r _
[ ! -f "$1/run/data/postmaster.pid" ] || kill -QUIT "$(head -n 1 "$1/run/data/postmaster.pid")"
rm -rf "$1"`

// download leaves the binaries in dir, whole or not at all.
func download(ctx context.Context, root, dir, repository string) (err error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return err
	}
	draft, err := os.MkdirTemp(root, "draft-")
	if err != nil {
		return err
	}
	supervisor := exec.Command("/bin/sh", "-c", downloadSupervisor, "rowhouse-download", draft)
	supervisor.SysProcAttr = account{}.attributes()
	life, err := supervisor.StdinPipe()
	if err == nil {
		err = supervisor.Start()
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(draft))
	}
	defer func() {
		_ = life.Close()
		err = errors.Join(err, supervisor.Wait())
	}()

	port, err := freePort()
	if err != nil {
		return err
	}
	config := embeddedpostgres.DefaultConfig().
		Version(downloadVersion).
		CachePath(filepath.Join(draft, "archive")).
		BinariesPath(filepath.Join(draft, "binaries")).
		RuntimePath(filepath.Join(draft, "run")).
		Port(port).
		StartParameters(map[string]string{"unix_socket_directories": ""}). // the built-in one may be somebody else's
		Password(rand.Text()).
		StartTimeout(startTimeout).
		Logger(io.Discard)
	if repository != "" {
		config = config.BinaryRepositoryURL(repository)
	}
	fetched := make(chan error, 1)
	go func() { // which cannot be cancelled
		server := embeddedpostgres.NewDatabase(config)
		err := server.Start()
		if err == nil {
			err = server.Stop()
		}
		fetched <- err
	}()
	select {
	case err := <-fetched:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := os.Rename(filepath.Join(draft, "binaries"), dir); err != nil {
		if _, statErr := os.Stat(dir); statErr != nil { // else another process was first
			return err
		}
	}
	return nil
}

func freePort() (uint32, error) {
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		return 0, err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	return uint32(port), listener.Close()
}
