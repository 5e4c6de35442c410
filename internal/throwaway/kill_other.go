//go:build unix && !linux

package throwaway

import (
	"context"
	"errors"
)

// killAll needs to know all children of a process.
func killAll(context.Context, int) error { return errors.ErrUnsupported }
