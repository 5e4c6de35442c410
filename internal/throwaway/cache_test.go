//go:build unix

package throwaway

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTwoProcessesWithoutCache(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	var children [2]*child
	var group sync.WaitGroup
	for i := range children {
		group.Go(func() { children[i] = startChild(t, childOptions{Provider: Local}, account{}, cacheAt(home)...) })
	}
	group.Wait()
	for _, c := range children {
		require.Empty(t, c.Err)
		requireServes(t, c.URL)
	}
	entries := cached(t, home)
	require.Len(t, entries, 1, "one entry and no draft")
	require.Contains(t, filepath.Base(entries[0]), "initdb-")
}

// testCache is a cache of here's binaries of its own.
func testCache(t *testing.T) *initdbCache {
	return &initdbCache{entry: filepath.Join(t.TempDir(), "rowhouse", "initdb-test")}
}

func TestCacheIsUsed(t *testing.T) {
	t.Parallel()
	l, cache := here(t), testCache(t)
	for _, used := range []bool{false, true} {
		server, err := startData(t.Context(), l, cache)
		require.NoError(t, err)
		require.Equal(t, used, cache.used)
		requireServes(t, server.URL)
		require.NoError(t, server.Stop(t.Context()))
	}
	info, err := os.Stat(cache.entry)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}

// What a full disk or a power cut makes of the cache is thrown away once.
func TestDamagedCache(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(*testing.T, string){
		"a file is missing": func(t *testing.T, entry string) {
			require.NoError(t, os.Remove(filepath.Join(entry, "global", "pg_control")))
		},
		"a file is empty": func(t *testing.T, entry string) {
			require.NoError(t, os.Truncate(filepath.Join(entry, "global", "pg_control"), 0))
		},
		"a file cannot be read": func(t *testing.T, entry string) {
			require.NoError(t, os.Remove(filepath.Join(entry, "PG_VERSION")))
			require.NoError(t, os.Symlink("nowhere", filepath.Join(entry, "PG_VERSION")))
		},
		"it is a file": func(t *testing.T, entry string) {
			require.NoError(t, os.RemoveAll(entry))
			require.NoError(t, os.WriteFile(entry, nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, cache := here(t), testCache(t)
			server, err := startData(t.Context(), l, cache)
			require.NoError(t, err)
			require.NoError(t, server.Stop(t.Context()))
			damage(t, cache.entry)

			server, err = startWith(t.Context(), l, cache)
			require.NoError(t, err)
			requireServes(t, server.URL)
			require.NoError(t, server.Stop(t.Context()))
			server, err = startData(t.Context(), l, cache)
			require.NoError(t, err)
			require.True(t, cache.used, "the damaged entry was replaced")
			require.NoError(t, server.Stop(t.Context()))
		})
	}
}

func TestNoCache(t *testing.T) {
	t.Parallel()
	for name, env := range map[string][]string{
		"no home":        {"HOME=", "XDG_CACHE_HOME="},
		"a home in none": cacheAt("/dev/null/home"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := startChild(t, childOptions{Provider: Local}, account{}, env...)
			require.Empty(t, c.Err)
			requireServes(t, c.URL)
		})
	}
}

func TestDraftsOfKilledProcessesAreRemoved(t *testing.T) {
	t.Parallel()
	l, cache := here(t), testCache(t)
	dir := filepath.Dir(cache.entry)
	fresh, stale := filepath.Join(dir, "draft-fresh"), filepath.Join(dir, "draft-stale")
	require.NoError(t, os.MkdirAll(fresh, 0o700))
	require.NoError(t, os.MkdirAll(stale, 0o700))
	info, err := os.Stat(stale)
	require.NoError(t, err)
	before := info.ModTime().Add(-25 * draftAge)
	require.NoError(t, os.Chtimes(stale, before, before))
	server, err := startData(t.Context(), l, cache)
	require.NoError(t, err)
	require.NoError(t, server.Stop(t.Context()))
	require.DirExists(t, fresh, "somebody may be writing it")
	require.NoDirExists(t, stale)
}
