package throwaway

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/log"
	"github.com/testcontainers/testcontainers-go/modules/postgres"
)

const (
	imageVariable = "TEST_POSTGRES_IMAGE"
	defaultImage  = "postgres:17-alpine"
	port          = "5432/tcp"
	memory        = "/throwaway" // a tmpfs for the data: cloning a database takes a tenth of the time
)

// tether.sh is the container's command. Like the supervisor of a local cluster it
// ends when this process no longer holds the other end of its stdin, which the
// engine sees at once, however the process ended. So nothing depends on Ryuk,
// which may be switched off, nor on a docker client beside the engine's socket.
//
//go:embed tether.sh
var tether string

// containerHost is a server in a container.
type containerHost struct {
	id     string
	client *testcontainers.DockerClient
	stdin  *client.HijackedResponse

	mu   sync.Mutex
	kept bool
	done bool
}

func startDocker(ctx context.Context, o Options) (*Server, error) {
	image := os.Getenv(imageVariable)
	if image == "" {
		image = defaultImage
	}
	provider, err := testcontainers.NewDockerProvider(testcontainers.WithLogger(log.NewNoopLogger()))
	if err != nil {
		return nil, fmt.Errorf("no engine answers: %w", err)
	}
	address, err := provider.DaemonHost(ctx)
	if err := errors.Join(err, provider.Close()); err != nil {
		return nil, err
	}
	// A client of our own: testcontainers closes the one of its provider.
	api, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		return nil, fmt.Errorf("no engine answers: %w", err)
	}
	h := &containerHost{client: api}
	server, err := h.start(ctx, image, address, o.Settings)
	// Its idle connections end; a later call makes another.
	if err = errors.Join(err, api.Close()); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return nil, errors.Join(err, h.stop(ctx))
	}
	return server, nil
}

func (h *containerHost) start(ctx context.Context, image, address string, settings []string) (server *Server, err error) {
	output := &output{ended: make(chan struct{})}
	defer func() {
		if log := output.close(); err != nil {
			err = fmt.Errorf("image %s: %w%s", image, err, log)
		}
	}()
	password := rand.Text()
	command := []string{"postgres", "-c", "max_connections=1000", "-c", "fsync=off", "-c", "synchronous_commit=off",
		"-c", "full_page_writes=off", "-c", "autovacuum=off"}
	for _, setting := range settings {
		command = append(command, "-c", setting)
	}
	c, err := postgres.Run(ctx, image,
		postgres.WithPassword(password),
		testcontainers.WithLogger(log.NewNoopLogger()),
		testcontainers.WithEntrypoint("sh", "-c", tether, "rowhouse-throwaway"),
		testcontainers.WithCmd(command...),
		testcontainers.WithConfigModifier(func(config *container.Config) {
			config.OpenStdin, config.StdinOnce = true, true
		}),
		testcontainers.WithHostConfigModifier(func(config *container.HostConfig) {
			config.AutoRemove = true
			config.PortBindings = bindings(address)
		}),
		testcontainers.WithAdditionalLifecycleHooks(testcontainers.ContainerLifecycleHooks{
			PostCreates: []testcontainers.ContainerHook{func(ctx context.Context, c testcontainers.Container) error {
				return h.attach(ctx, c.GetContainerID(), output)
			}},
		}),
		testcontainers.WithTmpfs(map[string]string{memory: "rw"}),
		testcontainers.WithEnv(map[string]string{"PGDATA": memory + "/data"}),
	)
	if c != nil && h.id == "" { // made, but not tied to this process
		h.id = c.GetContainerID()
	}
	if err != nil {
		return nil, err
	}
	mapped, err := c.MappedPort(ctx, port)
	if err != nil {
		return nil, err
	}
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword("postgres", password),
		Host:     net.JoinHostPort(address, mapped.Port()),
		Path:     "/postgres",
		RawQuery: "sslmode=disable",
	}
	server = &Server{URL: u.String(), host: h}
	return server, await(ctx, server, "in a container of "+image, output.ended)
}

// bindings publishes the port to this machine alone. When the engine is elsewhere
// that would be to that one alone, so there it is published as usual.
func bindings(address string) network.PortMap {
	loopback := netip.MustParseAddr("127.0.0.1")
	if ip, err := netip.ParseAddr(address); address != "localhost" && (err != nil || !ip.IsLoopback()) {
		loopback = netip.Addr{}
	}
	return network.PortMap{network.MustParsePort(port): {{HostIP: loopback}}}
}

// attach ties the container to this process before it starts.
func (h *containerHost) attach(ctx context.Context, id string, output *output) error {
	h.id = id
	stdin, err := h.client.ContainerAttach(ctx, id, client.ContainerAttachOptions{Stream: true, Stdin: true})
	if err != nil {
		return err
	}
	h.stdin = &stdin.HijackedResponse
	attached, err := h.client.ContainerAttach(ctx, id, client.ContainerAttachOptions{Stream: true, Stdout: true, Stderr: true})
	if err != nil {
		return err
	}
	output.follow(&attached.HijackedResponse)
	return nil
}

// await waits until the server takes connections. While the image's entrypoint
// prepares it, the server listens on no port.
func await(ctx context.Context, server *Server, from string, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := server.identify(ctx, from)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ended:
			return errors.New("the container ended")
		case <-ctx.Done():
			return fmt.Errorf("the server takes no connections: %w", err)
		}
	}
}

func (h *containerHost) stop(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.kept || h.done {
		return nil
	}
	if h.stdin != nil {
		h.stdin.Close()
	}
	if h.id != "" {
		// Closing stdin is enough for a container that runs; one that never started
		// has to be removed.
		_, err := h.client.ContainerRemove(ctx, h.id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) { // conflict: it is being removed
			return err
		}
		gone := h.client.ContainerWait(ctx, h.id, client.ContainerWaitOptions{Condition: container.WaitConditionRemoved})
		select {
		case <-gone.Result:
		case err := <-gone.Error:
			if !errdefs.IsNotFound(err) {
				return fmt.Errorf("the throwaway container %.12s is still stopping: %w", h.id, err)
			}
		}
	}
	h.done = true
	return h.client.Close()
}

func (h *containerHost) keep() (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.done {
		return "", errors.New("the server is stopped")
	}
	if !h.kept {
		if _, err := io.WriteString(h.stdin.Conn, "keep\n"); err != nil {
			return "", err
		}
		h.kept = true
	}
	return fmt.Sprintf("docker rm -f -v %.12s removes the server", h.id), nil
}

// output is what a container says while it starts. Nobody follows it afterwards:
// that would take a goroutine for as long as the container lives.
type output struct {
	attached *client.HijackedResponse
	text     bytes.Buffer
	ended    chan struct{} // closed when there is no more, which is when the container ends
}

func (o *output) follow(attached *client.HijackedResponse) {
	o.attached = attached
	go func() {
		defer close(o.ended)
		_, _ = stdcopy.StdCopy(o, o, attached.Reader)
	}()
}

// Write keeps the last lines.
func (o *output) Write(p []byte) (int, error) {
	o.text.Write(p)
	o.text.Next(max(0, o.text.Len()-2000))
	return len(p), nil
}

// close returns what there was to say, for an error.
func (o *output) close() string {
	if o.attached == nil {
		return ""
	}
	o.attached.Close()
	<-o.ended
	if text := strings.TrimSpace(o.text.String()); text != "" {
		return "; the end of its log:\n" + text
	}
	return ""
}
