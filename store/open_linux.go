package store

import (
	"errors"
	"syscall"
	"time"
)

// tcpUserTimeout is TCP_USER_TIMEOUT, which package syscall has on some architectures only.
const tcpUserTimeout = 0x12

// setUserTimeout bounds how long what was sent may stay without an acknowledgement.
func setUserTimeout(conn syscall.RawConn, d time.Duration) error {
	var optErr error
	err := conn.Control(func(fd uintptr) {
		optErr = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(d.Milliseconds()))
	})
	return errors.Join(err, optErr)
}
