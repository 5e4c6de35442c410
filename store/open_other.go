//go:build !linux

package store

import (
	"syscall"
	"time"
)

// setUserTimeout is Linux's: elsewhere the system's own limit holds.
func setUserTimeout(syscall.RawConn, time.Duration) error { return nil }
