package throwaway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// killAll kills a postmaster and its children as if at one moment, and returns when they
// are dead. A child that is left would hold the shared memory, and the next start fail.
func killAll(ctx context.Context, postmaster int) error {
	if err := syscall.Kill(postmaster, syscall.SIGSTOP); err != nil { // it starts no more
		return err
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", postmaster))
	if err != nil {
		return err
	}
	pids := []int{postmaster}
	for _, child := range strings.Fields(string(children)) {
		pid, err := strconv.Atoi(child)
		if err != nil {
			return err
		}
		pids = append(pids, pid)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	for _, pid := range pids {
		for {
			// Dead is also who waits to be reaped, as the postmaster does for its supervisor.
			if state := processState(pid); state == 0 || state == 'Z' || state == 'X' {
				break
			}
			if err := pause(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// processState is one of the letters of proc(5), or 0 when there is no such process.
func processState(pid int) byte {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// It comes after the name, in parentheses, which may have anything in it.
	return stat[bytes.LastIndexByte(stat, ')')+2]
}
