package store_test

import (
	osexec "os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/rowhouse/rowhouse"

// Whoever imports the Store gets pgx, and what pgx itself needs: no migrations, no test
// library, nothing that an example uses.
func TestStoreLinksPgxAlone(t *testing.T) {
	t.Parallel()
	requireDeps(t, "store", module+"/db", module+"/store",
		"github.com/jackc/pgx/v5", "github.com/jackc/pgpassfile", "github.com/jackc/pgservicefile", "github.com/jackc/puddle/v2",
		"golang.org/x/sync", "golang.org/x/text")
}

func TestDBLinksPgxAlone(t *testing.T) {
	t.Parallel()
	requireDeps(t, "db", module+"/db",
		"github.com/jackc/pgx/v5", "github.com/jackc/pgpassfile", "github.com/jackc/pgservicefile",
		"golang.org/x/text")
}

func TestSchemaDoesNotLinkTheStore(t *testing.T) {
	t.Parallel()
	deps := goList(t, "-deps", module+"/schema")
	require.Contains(t, deps, module+"/schema")
	for _, dep := range deps {
		require.NotContains(t, dep, module+"/store")
		require.NotContains(t, dep, module+"/db")
	}
}

// Tests are looked at too.
func TestNothingImportsExamples(t *testing.T) {
	t.Parallel()
	const imports = `{{range .Imports}}{{$.ImportPath}} {{.}}{{"\n"}}{{end}}` +
		`{{range .TestImports}}{{$.ImportPath}} {{.}}{{"\n"}}{{end}}{{range .XTestImports}}{{$.ImportPath}} {{.}}{{"\n"}}{{end}}`
	lines := goList(t, "-f", imports, module+"/...")
	require.Contains(t, lines, module+"/store "+module+"/db")
	for _, line := range lines {
		importer, imported, _ := strings.Cut(line, " ")
		if !within(importer, module+"/examples") {
			require.False(t, within(imported, module+"/examples"), line)
		}
	}
}

// requireDeps: a package links the standard library and packages of exactly the given
// modules or folders.
func requireDeps(t *testing.T, pkg string, allowed ...string) {
	t.Helper()
	used := make(map[string]bool)
	for _, dep := range goList(t, "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", module+"/"+pkg) {
		for _, root := range allowed {
			if dep == root || within(dep, root) && !within(root, module) {
				used[root] = true
				dep = ""
			}
		}
		require.Empty(t, dep, "%s must not depend on it", pkg)
	}
	require.Len(t, used, len(allowed), "of what is allowed, only this is used: %v", used)
}

func within(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

func goList(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := osexec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...).Output()
	if exit, ok := err.(*osexec.ExitError); ok {
		t.Fatalf("go list: %s", exit.Stderr)
	}
	require.NoError(t, err)
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
}
