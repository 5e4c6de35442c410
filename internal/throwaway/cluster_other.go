//go:build !unix

package throwaway

import (
	"context"
	"fmt"
	"runtime"
)

func startLocal(context.Context, Options) (*Server, error) {
	return nil, fmt.Errorf("not supported on %s", runtime.GOOS)
}

func startDownload(context.Context, Options) (*Server, error) {
	return nil, fmt.Errorf("not supported on %s", runtime.GOOS)
}

// PgBouncer is a running proxy that pools by transaction.
type PgBouncer struct{ Version string }

// StartPgBouncer is for Unix only.
func StartPgBouncer(context.Context, string) (*PgBouncer, error) {
	return nil, fmt.Errorf("%w: not supported on %s", ErrNoPgBouncer, runtime.GOOS)
}

// URL leads to a database by way of the proxy.
func (b *PgBouncer) URL(string) string { return "" }

// Stop ends the proxy.
func (b *PgBouncer) Stop() error { return nil }
