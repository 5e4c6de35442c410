// Package rowhouse_test holds README.md to what it says.
package rowhouse_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/store"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// A go block of README.md is a complete file when it begins with its package clause, and
// else what stands in a function with these parameters.
const fragment = `package fragment

import (
%s)

func _(ctx context.Context, pool *pgxpool.Pool, st *store.Store, actor store.Actor, team db.TeamID) error {
%s
return nil
}
`

// What a fragment may import: each one that it names, and those of the parameters.
var fragmentImports = []string{
	"context", "errors", "fmt", "time",
	"github.com/jackc/pgx/v5/pgxpool",
	"github.com/rowhouse/rowhouse/db", "github.com/rowhouse/rowhouse/schema", "github.com/rowhouse/rowhouse/store",
}

func TestCode(t *testing.T) {
	t.Parallel()
	blocks := blocksOf(t, "go")
	require.Greater(t, len(blocks), 5)
	m := newModule(t, blocks)
	out, err := m.vet(t)
	require.NoError(t, err, "%s", out)

	programs, tests := 0, 0
	for i, block := range blocks {
		switch {
		case strings.HasPrefix(block, "package main\n"):
			programs++
			m.requireProgramRuns(t, folder(i))
		case strings.HasPrefix(block, "package "):
			tests++
			out, err := m.run(t, nil, "test", folder(i))
			require.NoError(t, err, "%s", out)
			require.NotContains(t, string(out), "no test")
		}
	}
	require.Equal(t, []int{1, 1}, []int{programs, tests})
}

// TestCode can fail, and outsiders can't do what it would let pass.
func TestBrokenCode(t *testing.T) {
	t.Parallel()
	for block, says := range map[string]string{
		"return st.NoSuchMethod(ctx)\n":                                               "NoSuchMethod",
		"var owner db.UserID = team\n_ = owner\nreturn nil\n":                         "cannot use team",
		"package p\n\nimport _ \"github.com/rowhouse/rowhouse/internal/throwaway\"\n": "internal package",
	} {
		out, err := newModule(t, []string{block}).vet(t)
		require.Error(t, err, block)
		require.Contains(t, string(out), says)
	}
}

// module is one that requires ours, as a reader's does.
type module struct{ dir string }

func newModule(t *testing.T, blocks []string) module {
	t.Helper()
	root, err := os.Getwd()
	require.NoError(t, err)
	m := module{t.TempDir()}
	// With our requirements, so that the versions are those that are tested and the
	// network is not asked.
	goMod, err := os.ReadFile("go.mod")
	require.NoError(t, err)
	goMod = regexp.MustCompile(`(?m)^module .*$`).ReplaceAll(goMod, []byte("module readme.test"))
	goMod = fmt.Appendf(goMod, "\nrequire github.com/rowhouse/rowhouse v0.0.0\nreplace github.com/rowhouse/rowhouse => %q\n", root)
	m.write(t, "go.mod", string(goMod))
	goSum, err := os.ReadFile("go.sum")
	require.NoError(t, err)
	m.write(t, "go.sum", string(goSum))
	for i, block := range blocks {
		name := "code.go"
		if strings.Contains(block, "*testing.T") {
			name = "code_test.go"
		}
		if !strings.HasPrefix(block, "package ") {
			block = function(block)
		}
		m.write(t, filepath.Join(folder(i), name), block)
	}
	return m
}

func folder(i int) string { return fmt.Sprintf("./block%d", i+1) }

func function(block string) string {
	var imports strings.Builder
	for _, path := range fragmentImports {
		name := filepath.Base(path)
		if slices.Contains([]string{"context", "pgxpool", "db", "store"}, name) || regexp.MustCompile(`\b`+name+`\.`).MatchString(block) {
			fmt.Fprintf(&imports, "\t%q\n", path)
		}
	}
	return fmt.Sprintf(fragment, &imports, block)
}

func (m module) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(m.dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

func (m module) run(t *testing.T, environment []string, arguments ...string) ([]byte, error) {
	cmd := exec.CommandContext(t.Context(), "go", arguments...)
	cmd.Dir = m.dir
	cmd.Env = append(os.Environ(), append(environment, "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")...)
	return cmd.CombinedOutput()
}

// vet passes over the return that fragment adds to one that has returned.
func (m module) vet(t *testing.T) ([]byte, error) {
	return m.run(t, nil, "vet", "-unreachable=false", "./...")
}

// requireProgramRuns runs the complete program twice on one database.
func (m module) requireProgramRuns(t *testing.T, folder string) {
	t.Helper()
	environment := []string{"DATABASE_URL=" + storetest.EmptyURL(t)}
	out, err := m.run(t, environment, "run", folder)
	require.NoError(t, err, "%s", out)
	var team store.TeamWithMembers
	require.NoError(t, json.Unmarshal(out, &team), "%s", out)
	require.Equal(t, "Analytical Engines", team.Name)
	require.Len(t, team.TeamMembers, 1)

	out, err = m.run(t, environment, "run", folder)
	require.Error(t, err)
	require.Contains(t, string(out), "you have an account: sign in")
}

// What the README shows of the quickstart is what it prints, but for times and ids.
func TestQuickstartOutput(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "run", "./examples/quickstart")
	cmd.Env = append(os.Environ(), "DATABASE_URL=")
	printed, err := cmd.Output()
	require.NoError(t, err)
	times := regexp.MustCompile(`(?m)^ *\d+\.\d ms|^\d{4}-\S+ \S+`)
	rest := times.ReplaceAllString(string(printed), "TIME")
	shown := blocksOf(t, "text")[0]
	for part := range strings.SplitSeq(times.ReplaceAllString(shown, "TIME"), "…\n") {
		_, after, found := strings.Cut(rest, part)
		require.True(t, found, "%s\nis not in\n%s", part, rest)
		rest = after
	}
}

// The table of operations has each method, with the errors and log rows of its
// documentation.
func TestOperations(t *testing.T) {
	t.Parallel()
	documentation := methodDocs(t)
	var listed []string
	for _, row := range rowsOf(t, "## Operations") {
		if row[0] == "" || strings.HasPrefix(row[0], "**") {
			continue
		}
		name := codes(row[0])[0]
		listed = append(listed, name)
		text := documentation[name]
		if !strings.Contains(text, "Errors:") { // "as [Store.Other] does"
			text += documentation[regexp.MustCompile(`\[Store\.(\w+)\]`).FindStringSubmatch(text)[1]]
		}
		var refusals []string
		for _, m := range regexp.MustCompile(`\[(?:Err)?(\w+?)(?:Error)?\]`).FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[0], "Err") && !slices.Contains(refusals, "Err"+m[1]) {
				refusals = append(refusals, "Err"+m[1])
			}
		}
		require.ElementsMatch(t, refusals, codes(row[2]), name)

		logs := regexp.MustCompile(`\blogs ([A-Z_]+)\b(?: and ([A-Z_]+)\b)?`).FindStringSubmatch(text)
		if logs == nil {
			logs = []string{"", "", ""}
		}
		require.Equal(t, strings.Fields(strings.Join(logs[1:], " ")), codes(row[3]), name)
	}
	require.ElementsMatch(t, operations(), listed)
}

// The table of relations has a row for each edge of the seed, and names methods.
func TestRelations(t *testing.T) {
	t.Parallel()
	rows := rowsOf(t, "## Relations")
	require.Len(t, rows, 11)
	for _, row := range rows {
		for _, name := range append(codes(row[1]), codes(row[2])...) {
			require.Contains(t, operations(), name)
		}
	}
}

// The diagram has every column, with its type.
func TestTables(t *testing.T) {
	t.Parallel()
	rows, err := storetest.Pool(t).Query(t.Context(), `
		SELECT format('%s.%s %s%s', relname, attname,
			replace(replace(format_type(atttypid, atttypmod), 'character varying', 'varchar'), ' without time zone', ''),
			CASE WHEN attnotnull THEN '' ELSE ' nullable' END)
		FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
		WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'rowhouse_db_version' AND attnum > 0 AND NOT attisdropped`)
	require.NoError(t, err)
	columns, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)

	var shown []string
	table := ""
	for line := range strings.SplitSeq(blocksOf(t, "mermaid")[0], "\n") {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 2 && fields[1] == "{":
			table = fields[0]
		case len(fields) >= 2 && table != "":
			nullable := ""
			if strings.HasSuffix(line, `"nullable"`) {
				nullable = " nullable"
			}
			shown = append(shown, table+"."+fields[1]+" "+fields[0]+nullable)
		case len(fields) == 1:
			table = ""
		}
	}
	require.ElementsMatch(t, columns, shown)
}

func operations() []string {
	var names []string
	for m := range reflect.TypeFor[*store.Store]().Methods() {
		if !slices.Contains([]string{"Close", "Conn", "InTx"}, m.Name) {
			names = append(names, m.Name)
		}
	}
	return names
}

// methodDocs is the documentation of the Store's methods, each on one line.
func methodDocs(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("store/*.go")
	require.NoError(t, err)
	files := token.NewFileSet()
	var parsed []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(files, path, nil, parser.ParseComments)
		require.NoError(t, err)
		parsed = append(parsed, file)
	}
	pkg, err := doc.NewFromFiles(files, parsed, "github.com/rowhouse/rowhouse/store")
	require.NoError(t, err)
	docs := make(map[string]string)
	for _, typ := range pkg.Types {
		if typ.Name == "Store" {
			for _, m := range typ.Methods {
				docs[m.Name] = strings.Join(strings.Fields(m.Doc), " ")
			}
		}
	}
	return docs
}

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	require.False(t, bytes.Contains(text, []byte("\r")))
	return string(text)
}

// blocksOf returns the code blocks of a language.
func blocksOf(t *testing.T, language string) []string {
	t.Helper()
	var blocks []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(readme(t), -1) {
		blocks = append(blocks, m[1])
	}
	require.NotEmpty(t, blocks)
	return blocks
}

// rowsOf returns the cells of the table under a heading.
func rowsOf(t *testing.T, heading string) [][]string {
	t.Helper()
	_, text, found := strings.Cut(readme(t), "\n"+heading+"\n")
	require.True(t, found)
	text, _, _ = strings.Cut(text, "\n## ")
	_, text, found = strings.Cut(text, "---|\n")
	require.True(t, found)
	var rows [][]string
	for line := range strings.SplitSeq(text, "\n") {
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	return rows
}

// codes returns what a cell has in backquotes.
func codes(cell string) []string {
	names := []string{}
	for _, m := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(cell, -1) {
		names = append(names, m[1])
	}
	return names
}

// The figures of Speed are those of benchmarks/RESULTS.md, which its command writes anew.
func TestSpeedIsWhatWasMeasured(t *testing.T) {
	t.Parallel()
	const operation = "" // the first column's heading in README.md
	quoted := tableAfter(t, "README.md", "## Speed")
	measured := tableAfter(t, "benchmarks/RESULTS.md", "## p50 with 1 ms of network")
	require.Greater(t, len(quoted), 3)
	for _, row := range quoted {
		i := slices.IndexFunc(measured, func(m map[string]string) bool { return m["operation"] == row[operation] })
		require.GreaterOrEqual(t, i, 0, row[operation])
		for column, figure := range row {
			if column != operation {
				require.Equal(t, measured[i][column], figure, "%s, %s", row[operation], column)
			}
		}
	}
}

// tableAfter is the first table after a line, its rows by the headings of their columns.
func tableAfter(t *testing.T, file, line string) (rows []map[string]string) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(text), "\n"+line+"\n")
	require.True(t, found, "%s has no %q", file, line)
	_, rest, _ = strings.Cut(rest, "\n|")
	table, _, _ := strings.Cut("|"+rest, "\n\n")
	var headings []string
	for i, l := range strings.Split(table, "\n") {
		cells := strings.Split(strings.Trim(l, "|"), "|")
		for j := range cells {
			cells[j] = strings.TrimSpace(cells[j])
		}
		switch i {
		case 0:
			headings = cells
		case 1: // the rule
		default:
			row := make(map[string]string)
			for j, cell := range cells {
				row[headings[j]] = cell
			}
			rows = append(rows, row)
		}
	}
	return rows
}
