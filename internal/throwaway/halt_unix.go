//go:build unix

package throwaway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"syscall"
	"time"
)

// haltPause is how long to wait before looking again whether a server is gone or back.
const haltPause = 2 * time.Millisecond

func (c *cluster) halt(ctx context.Context, how Ending) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.halted || c.kept || c.ended != nil {
		return errors.New("only a server that runs can be halted")
	}
	pid, err := c.postmaster()
	if err != nil {
		return err
	}
	switch how {
	case Fast:
		err = syscall.Kill(pid, syscall.SIGINT)
	case Immediate:
		err = syscall.Kill(pid, syscall.SIGQUIT)
	case Killed:
		err = killAll(ctx, pid)
	default:
		err = fmt.Errorf("no way to end a server is called %q", how)
	}
	if err != nil {
		return fmt.Errorf("halt the server: %w", err)
	}
	c.halted = true
	// The postmaster is the last of its processes, and the only one that listens.
	for {
		conn, err := net.Dial("unix", filepath.Join(c.socket, socketFile))
		if err != nil {
			return nil
		}
		_ = conn.Close()
		if err := pause(ctx); err != nil {
			return fmt.Errorf("the server has not ended: %w%s", err, c.logged())
		}
	}
}

func (c *cluster) resume(ctx context.Context, server *Server) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.halted || c.ended != nil {
		return errors.New("only a server that is halted can be resumed")
	}
	if err := c.order("restart"); err != nil {
		return err
	}
	c.halted = false
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := server.identify(ctx, c.from)
		if err == nil {
			return nil
		}
		if pause(ctx) != nil {
			return fmt.Errorf("the server takes no connections: %w%s", err, c.logged())
		}
	}
}

func pause(ctx context.Context) error {
	select {
	case <-time.After(haltPause):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
