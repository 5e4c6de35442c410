package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
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

// backends are the processes behind a contender's connections, which it finds by the name
// that they were given. None when those processes are not on this machine.
func (h *house) backends(ctx context.Context, application string) ([]int, error) {
	rows, _ := h.admin.Query(ctx, `SELECT pid FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()`, application) // its error is in rows
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		return nil, err
	}
	if len(pids) == 0 {
		return nil, fmt.Errorf("%s has no connection", application)
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pids[0]))
	if err != nil || !bytes.HasPrefix(comm, []byte("postgres")) {
		return nil, nil
	}
	return pids, nil
}
