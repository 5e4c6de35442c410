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
