package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// clientCPU is what this process has used, in user and system mode.
func clientCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// backendCPU is what a server process has used. Only where the server's processes can be
// seen, as on Linux without a container; else it is 0. schedstat counts nanoseconds, stat
// ticks of ten milliseconds.
func backendCPU(pid int) time.Duration {
	if pid == 0 {
		return 0
	}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid)); err == nil {
		if fields := bytes.Fields(b); len(fields) == 3 {
			if ns, err := strconv.ParseInt(string(fields[0]), 10, 64); err == nil && ns > 0 {
				return time.Duration(ns)
			}
		}
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// After the name, which may have spaces: the state, then fields of which the 12th and
	// 13th are utime and stime.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 13 {
		return 0
	}
	utime, _ := strconv.ParseInt(string(fields[11]), 10, 64)
	stime, _ := strconv.ParseInt(string(fields[12]), 10, 64)
	return time.Duration(utime+stime) * 10 * time.Millisecond
}

// backend is the process behind a contender's only connection, which it finds by the name
// that the connection was given. 0 when that process is not on this machine.
func (h *house) backend(ctx context.Context, application string) (pid int, err error) {
	err = h.admin.QueryRow(ctx, `SELECT pid FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()`, application).Scan(&pid)
	if err != nil {
		return 0, err
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil || !bytes.HasPrefix(comm, []byte("postgres")) {
		return 0, nil
	}
	return pid, nil
}
