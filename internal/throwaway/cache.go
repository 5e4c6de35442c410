//go:build unix

package throwaway

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// initdbCache is the result of initdb, which takes longer than all the rest of a
// start, kept in the user's cache directory. Every failure of it means only that
// initdb runs again.
type initdbCache struct {
	entry string // directory; empty when there is no cache
	used  bool   // the last load succeeded
}

const (
	draftAge  = time.Hour           // no copy takes that long: its process is gone
	unusedAge = 60 * 24 * time.Hour // of binaries that were replaced by newer ones
)

// openCache finds the entry for these binaries. The supervisor's text is part of
// the key because it says how initdb is called.
func openCache(b binaries) *initdbCache {
	root, err := os.UserCacheDir()
	if err != nil {
		return &initdbCache{}
	}
	key := sha256.Sum256([]byte(b.version + "\x00" + b.dir + "\x00" + supervisor))
	return &initdbCache{entry: filepath.Join(root, "rowhouse", fmt.Sprintf("initdb-%x", key[:10]))}
}

// load copies the entry to data and tells whether that worked.
func (c *initdbCache) load(data string, as account) bool {
	c.used = false
	if _, err := os.Lstat(c.entry); err != nil {
		return false
	}
	if err := copyTree(data, c.entry, as); err != nil {
		c.forget()
		return false // init begins with removing what was copied
	}
	now := time.Now()
	_ = os.Chtimes(c.entry, now, now) // what is used is not old
	c.used = true
	return true
}

// save makes data the entry. It appears whole, by a rename: of two processes that
// save at once the first one wins, and one that is killed leaves a draft that a
// later save removes.
func (c *initdbCache) save(data string) {
	if c.entry == "" {
		return
	}
	dir := filepath.Dir(c.entry)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return
	}
	removeOld(filepath.Join(dir, "draft-*"), draftAge)
	removeOld(filepath.Join(dir, "initdb-*"), unusedAge)
	draft, err := os.MkdirTemp(dir, "draft-")
	if err != nil {
		return
	}
	defer os.RemoveAll(draft)
	tree := filepath.Join(draft, "data")
	if err := copyTree(tree, data, account{}); err != nil {
		return
	}
	_ = os.Rename(tree, c.entry)
}

// forget removes the entry, in one step for those who are about to load it.
func (c *initdbCache) forget() {
	draft, err := os.MkdirTemp(filepath.Dir(c.entry), "draft-")
	if err != nil {
		return
	}
	defer os.RemoveAll(draft)
	_ = os.Rename(c.entry, filepath.Join(draft, "data"))
}

func removeOld(pattern string, age time.Duration) {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return
	}
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > age {
			_ = os.RemoveAll(path)
		}
	}
}

// copyTree copies the directories and files of from to a new directory that
// belongs to the account, and that nobody else may enter.
func copyTree(to, from string, as account) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		switch {
		case entry.IsDir():
			err = os.Mkdir(target, 0o700)
		case entry.Type().IsRegular():
			err = copyFile(target, path)
		default:
			err = fmt.Errorf("%s is neither a file nor a directory", path)
		}
		if err != nil {
			return err
		}
		return as.own(target)
	})
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	return err
}
