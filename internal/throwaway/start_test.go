//go:build unix

package throwaway

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
	"github.com/testcontainers/testcontainers-go"
)

// nothing is an environment in which no provider can serve.
func nothing(t *testing.T, as account) []string {
	home := ownedDir(t, as)
	return append(cacheAt(home), "TMPDIR="+home, "PATH=/nowhere", ProviderVariable+"=", "DOCKER_HOST=unix:///nowhere/docker.sock")
}

const closedPort = "http://127.0.0.1:9"

func TestNoProvider(t *testing.T) {
	t.Parallel()
	as := plainUser(t)
	c := startChild(t, childOptions{Bare: true, Repository: closedPort}, as, nothing(t, as)...)
	t.Log(c.Err)
	for _, part := range []string{
		"\n  - local: no initdb and postgres in PATH",
		"\n  - docker: no engine answers: ",
		"\n  - download: cannot download PostgreSQL " + string(downloadVersion) + ": unable to connect",
		"install PostgreSQL 13 or later",
		"start Docker",
		"set TEST_DATABASE_URL to the URL of a running server",
	} {
		require.Contains(t, c.Err, part)
	}
}

func TestForcedProviderIsNeverReplaced(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		Local:       ProviderVariable + "=local: cannot start PostgreSQL by local: no initdb and postgres in PATH",
		Docker:      ProviderVariable + "=docker: cannot start PostgreSQL by docker: no engine answers: ",
		Download:    ProviderVariable + "=download: cannot start PostgreSQL by download: cannot download PostgreSQL",
		"homegrown": ProviderVariable + `=homegrown: no provider of PostgreSQL is called "homegrown": it is local, docker or download`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			as := plainUser(t)
			env := nothing(t, as)
			if name != Local {
				env = append(env, "PATH="+os.Getenv("PATH")) // local would serve
			}
			c := startChild(t, childOptions{Bare: name == Local, Repository: closedPort}, as, append(env, ProviderVariable+"="+name)...)
			require.True(t, strings.HasPrefix(c.Err, want), c.Err)
		})
	}
}

func TestOptionForcesProvider(t *testing.T) {
	t.Parallel()
	_, err := Start(t.Context(), Options{Provider: "homegrown"})
	require.EqualError(t, err, `no provider of PostgreSQL is called "homegrown": it is local, docker or download`)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Start(ended, Options{Provider: Local})
	require.ErrorIs(t, err, context.Canceled)
}

func TestProviderDownloadRefusesRoot(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	_, err := Start(t.Context(), Options{Provider: Download})
	require.ErrorContains(t, err, "refuses to run as root")
}

// The download's source is played by a server that has this machine's binaries.
func TestProviderDownload(t *testing.T) {
	t.Parallel()
	xz, err := exec.LookPath("xz")
	if err != nil {
		t.Skip("no xz to pack the binaries with")
	}
	source := httptest.NewServer(repository(t, xz))
	t.Cleanup(source.Close)
	as := plainUser(t)
	home := ownedDir(t, as)
	for _, from := range []string{source.URL, closedPort} { // fetched, then not again
		begin := time.Now()
		c := startChild(t, childOptions{Provider: Download, Repository: from}, as, append(cacheAt(home), "TMPDIR="+home)...)
		require.Empty(t, c.Err)
		require.Contains(t, c.Provider, "that was downloaded")
		requireServes(t, c.URL)
		t.Logf("ready after %s", time.Since(begin).Round(time.Millisecond))
		require.NoError(t, c.process.Process.Kill())
		c.requireGone(t)
		require.Len(t, cached(t, home), 2, "binaries and an initdb, no draft: %q", cached(t, home))
	}
}

func repository(t *testing.T, xz string) http.Handler {
	t.Helper()
	b := here(t).binaries
	var archive bytes.Buffer
	files := tar.NewWriter(&archive)
	for _, name := range []string{"initdb", "postgres", "pg_ctl"} {
		script := []byte("#!/bin/sh\nexec " + filepath.Join(b.dir, name) + ` "$@"` + "\n")
		require.NoError(t, files.WriteHeader(&tar.Header{Name: "bin/" + name, Mode: 0o755, Size: int64(len(script)), Typeflag: tar.TypeReg}))
		_, err := files.Write(script)
		require.NoError(t, err)
	}
	require.NoError(t, files.Close())
	pack := exec.Command(xz, "--stdout")
	pack.Stdin = &archive
	packed, err := pack.Output()
	require.NoError(t, err)

	var jar bytes.Buffer
	entries := zip.NewWriter(&jar)
	entry, err := entries.Create("postgres.txz")
	require.NoError(t, err)
	_, err = entry.Write(packed)
	require.NoError(t, err)
	require.NoError(t, entries.Close())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, ".jar") {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(jar.Bytes())
	})
}

// needDocker skips without an engine, but not when docker is what is asked for.
func needDocker(t *testing.T) client.APIClient {
	t.Helper()
	provider, err := testcontainers.NewDockerProvider()
	if err == nil {
		t.Cleanup(func() { _ = provider.Close() })
		return provider.Client()
	}
	if os.Getenv(ProviderVariable) == Docker {
		require.NoError(t, err)
	}
	t.Skip("no Docker engine answers: ", err)
	return nil
}

func requireNoContainer(t *testing.T, engine client.APIClient, id string) {
	t.Helper()
	require.NotEmpty(t, id)
	begin := time.Now()
	for {
		_, err := engine.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
		if errdefs.IsNotFound(err) {
			t.Logf("container gone after %s", time.Since(begin).Round(time.Millisecond))
			return
		}
		require.NoError(t, err)
		require.Less(t, time.Since(begin), 30*time.Second, "the container is still there")
		time.Sleep(10 * time.Millisecond)
	}
}

func TestProviderDocker(t *testing.T) {
	t.Parallel()
	engine := needDocker(t)
	begin := time.Now()
	server, err := Start(t.Context(), Options{Provider: Docker})
	require.NoError(t, err)
	t.Logf("%s, ready after %s", server.Provider, time.Since(begin).Round(time.Millisecond))
	id := server.host.(*containerHost).id
	requireServes(t, server.URL)
	inspected, err := engine.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
	require.NoError(t, err)
	for _, bound := range inspected.Container.NetworkSettings.Ports {
		for _, to := range bound {
			require.Equal(t, "127.0.0.1", to.HostIP.String())
		}
	}
	require.NoError(t, server.Stop(t.Context()))
	_, err = engine.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
	require.True(t, errdefs.IsNotFound(err), "Stop returns when the container is gone: %v", err)
	require.NoError(t, server.Stop(t.Context()), "again")
}

func TestProviderDockerEndsWithItsProcess(t *testing.T) {
	t.Parallel()
	engine := needDocker(t)
	for name, end := range map[string]func(*child){
		"SIGKILL": func(c *child) { require.NoError(t, c.process.Process.Kill()) },
		"exit":    func(c *child) { c.order(t, "exit") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := startChild(t, childOptions{Provider: Docker}, account{})
			require.Empty(t, c.Err)
			requireServes(t, c.URL)
			end(c)
			requireNoContainer(t, engine, c.Container)
		})
	}
}

func TestProviderDockerKeep(t *testing.T) {
	t.Parallel()
	engine := needDocker(t)
	c := startChild(t, childOptions{Provider: Docker}, account{}, "TESTCONTAINERS_RYUK_DISABLED=true")
	require.Empty(t, c.Err)
	t.Cleanup(func() {
		_, err := engine.ContainerRemove(context.Background(), c.Container, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		require.NoError(t, err)
	})
	c.order(t, "keep")
	kept := c.report(t)
	require.Equal(t, "<nil>", kept.Err)
	require.Equal(t, "docker rm -f -v "+c.Container[:12]+" removes the server", kept.Provider)
	require.NoError(t, c.process.Process.Kill())
	_ = c.process.Wait()
	requireServes(t, c.URL)
}

func TestProviderDockerThatCannotServe(t *testing.T) {
	t.Parallel()
	needDocker(t)
	begin := time.Now()
	c := startChild(t, childOptions{Provider: Docker}, account{}, imageVariable+"=127.0.0.1:9/no/such-image")
	require.Contains(t, c.Err, "image 127.0.0.1:9/no/such-image: ")
	require.Less(t, time.Since(begin), time.Minute)
}
