//go:build unix

package throwaway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// install makes a directory with binaries that know nothing but their version.
func install(t *testing.T, dir, version string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	writeScript(t, filepath.Join(dir, "initdb"), "exit 1")
	writeScript(t, filepath.Join(dir, "postgres"), "echo 'postgres (PostgreSQL) "+version+"'")
	return dir
}

func TestFindBinaries(t *testing.T) {
	t.Parallel()
	root, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	var in13 = install(t, filepath.Join(root, "lib", "13", "bin"), "13.22")
	var in9 = install(t, filepath.Join(root, "lib", "9.6", "bin"), "9.6.24")
	var in17 = install(t, filepath.Join(root, "lib", "postgresql@17", "bin"), "17.2 (Debian 17.2-1)")
	var broken = install(t, filepath.Join(root, "lib", "18", "bin"), "18.0")
	require.NoError(t, os.Remove(filepath.Join(broken, "initdb")))
	patterns := []string{filepath.Join(root, "lib", "[0-9]*", "bin"), filepath.Join(root, "lib", "postgresql@*", "bin")}

	links := filepath.Join(root, "links")
	require.NoError(t, os.Mkdir(links, 0o755))
	for _, name := range []string{"initdb", "postgres"} {
		require.NoError(t, os.Symlink(filepath.Join(in13, name), filepath.Join(links, name)))
	}
	inPath := install(t, filepath.Join(root, "path"), "14.1")

	for name, test := range map[string]struct {
		path     []string
		patterns []string
		want     string
	}{
		"PATH wins":                          {[]string{inPath, links}, patterns, inPath},
		"links in PATH are resolved":         {[]string{links, inPath}, patterns, in13},
		"relative and empty ones are not":    {[]string{"", ".", inPath}, patterns, inPath},
		"half an installation is none":       {[]string{broken, inPath}, patterns, inPath},
		"so is one that is too old":          {[]string{in9, inPath}, patterns, inPath},
		"the highest major that is complete": {nil, patterns, in17},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found, err := findBinaries(t.Context(), strings.Join(test.path, string(os.PathListSeparator)), test.patterns, account{})
			require.NoError(t, err)
			require.Equal(t, test.want, found.dir)
		})
	}

	_, err = findBinaries(t.Context(), "", []string{filepath.Join(root, "none", "*")}, account{})
	require.ErrorContains(t, err, "no initdb and postgres in PATH, "+root)
	_, err = findBinaries(t.Context(), broken+":"+in9, nil, account{})
	require.ErrorContains(t, err, "has no initdb")
	require.ErrorContains(t, err, "older than PostgreSQL 13")
	if os.Geteuid() == 0 {
		_, err = findBinaries(t.Context(), inPath, nil, plainUser(t))
		require.ErrorContains(t, err, "cannot enter")
	}
}
