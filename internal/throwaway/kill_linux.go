package throwaway

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// killAll kills a postmaster and its children as if at one moment, and returns when they
// are dead. A child that is left would hold the shared memory, and the next start fail.
func killAll(ctx context.Context, postmaster int) error {
	if err := syscall.Kill(postmaster, syscall.SIGSTOP); err != nil { // it starts no more
		return err
	}
	pids := []int{postmaster}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return err
	}
	for _, file := range stats {
		if pid, parent, _ := process(file); parent == postmaster {
			pids = append(pids, pid)
		}
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	for _, pid := range pids {
		for {
			// Dead is also who waits to be reaped, as the postmaster does for its supervisor.
			if _, _, state := process(filepath.Join("/proc", strconv.Itoa(pid), "stat")); state == 0 || state == 'Z' || state == 'X' {
				break
			}
			if err := pause(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// process reads a stat file of /proc. The zero state is that there is no such process.
func process(file string) (pid, parent int, state byte) {
	stat, err := os.ReadFile(file)
	if err != nil {
		return 0, 0, 0
	}
	number, rest, _ := bytes.Cut(stat, []byte(" "))
	// The name, in parentheses, may have anything in it.
	fields := bytes.Fields(rest[bytes.LastIndexByte(rest, ')')+1:])
	if len(fields) < 2 {
		return 0, 0, 0
	}
	pid, _ = strconv.Atoi(string(number))
	parent, _ = strconv.Atoi(string(fields[1]))
	return pid, parent, fields[0][0]
}
