//go:build unix && !linux

package throwaway

import "errors"

func sharedMemory() (string, error) {
	return "", errors.New("this system has no file system in memory")
}
