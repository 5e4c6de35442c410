package throwaway

import (
	"context"
	"errors"
	"fmt"
)

// Ending is a way in which a server goes down.
type Ending string

const (
	// Fast ends the sessions, rolls their transactions back and writes a checkpoint.
	Fast Ending = "fast"
	// Immediate ends all processes without a checkpoint: the next start recovers.
	Immediate Ending = "immediate"
	// Killed is SIGKILL to all processes at once. On Linux alone.
	Killed Ending = "killed"
)

// restartable is a host whose server can go down and come back.
type restartable interface {
	halt(context.Context, Ending) error
	resume(context.Context, *Server) error
}

func (s *Server) restartable() (restartable, error) {
	host, ok := s.host.(restartable)
	if !ok {
		return nil, fmt.Errorf("%s can't be restarted: %w", s.Provider, errors.ErrUnsupported)
	}
	return host, nil
}

// Halt takes the server down and leaves its data where Resume finds it. It returns when
// no process of it is left. With fsync off, as here, what was committed with
// synchronous_commit is there again after every Ending: it is only the machine that
// must stay up.
func (s *Server) Halt(ctx context.Context, how Ending) error {
	host, err := s.restartable()
	if err != nil {
		return err
	}
	return host.halt(ctx, how)
}

// Resume starts the server again after Halt, with the same data and at the same URL. It
// returns once it takes connections, which is after it has recovered.
func (s *Server) Resume(ctx context.Context) error {
	host, err := s.restartable()
	if err != nil {
		return err
	}
	return host.resume(ctx, s)
}
