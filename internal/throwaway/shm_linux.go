package throwaway

import (
	"fmt"
	"syscall"
)

// sharedMemory is a directory in memory with room for a cluster and its clones.
func sharedMemory() (string, error) {
	const dir, need = "/dev/shm", 1 << 30
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return "", fmt.Errorf("%s: %w", dir, err)
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < need {
		return "", fmt.Errorf("%s has %d MiB free, less than %d", dir, free>>20, need>>20)
	}
	return dir, nil
}
