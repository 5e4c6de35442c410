package conformance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// bound is how long anything on node may take. All of it takes seconds.
const bound = 3 * time.Minute

// needNode skips a test where the app can't run: plain go test needs no network and no
// node. Under ROWHOUSE_CONFORMANCE=required it fails instead.
func needNode(t *testing.T) {
	t.Helper()
	missing := t.Skip
	switch required := os.Getenv("ROWHOUSE_CONFORMANCE"); required {
	case "":
	case "required":
		missing = t.Fatal
	default:
		t.Fatalf("ROWHOUSE_CONFORMANCE is %q: set it to required, or not at all", required)
	}
	if _, err := exec.LookPath("node"); err != nil {
		missing("conformance with Drizzle was NOT tested: there is no node. Install Node.js 20 or later, and run npm ci --prefix schema/conformance")
	}
	installed, err := os.ReadFile("node_modules/.package-lock.json")
	if err != nil {
		missing("conformance with Drizzle was NOT tested: its packages are not installed. Run npm ci --prefix schema/conformance")
	}
	have, want := packages(t, installed), packages(t, read(t, "package-lock.json"))
	require.Contains(t, have, "node_modules/drizzle-orm")
	for path, version := range have {
		require.Equal(t, want[path], version, "%s is not the locked one: run npm ci --prefix schema/conformance", path)
	}
	// A result that go test has cached is one of the files that the test itself has read.
	sources, err := filepath.Glob("*.ts")
	require.NoError(t, err)
	for _, source := range append(sources, "tsconfig.json") {
		read(t, source)
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	return content
}

// packages are the versions in a lock file of npm, by path.
func packages(t *testing.T, lock []byte) map[string]string {
	t.Helper()
	var content struct {
		Packages map[string]struct{ Version string }
	}
	require.NoError(t, json.Unmarshal(lock, &content))
	versions := make(map[string]string)
	for path, p := range content.Packages {
		versions[path] = p.Version
	}
	return versions
}

// node is a command that ends with the test, at the latest. Its clock is hostile.
func node(t *testing.T, arguments ...string) *exec.Cmd {
	t.Helper()
	// Not the test's context: that one ends before the cleanup that ends the app in peace.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), bound)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "node", arguments...)
	cmd.WaitDelay = time.Second
	cmd.Env = append(os.Environ(), "TZ=America/St_Johns", "NO_COLOR=1", "TSX_DISABLE_CACHE=1")
	return cmd
}

// run runs node to its end and returns what it printed.
func run(t *testing.T, arguments ...string) (string, error) {
	t.Helper()
	output, err := node(t, arguments...).CombinedOutput()
	return string(output), err
}

// app is the TypeScript app on a database.
type app struct {
	t       *testing.T
	calls   *json.Encoder
	answers *json.Decoder
	stderr  *bytes.Buffer
}

// startApp starts the app, until the test ends.
func startApp(t *testing.T, url string) *app {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	require.NoError(t, err)
	cmd := node(t, "--import", "tsx", "serve.ts")
	cmd.Env = append(cmd.Env,
		"PGHOST="+config.Host, "PGPORT="+strconv.Itoa(int(config.Port)), "PGDATABASE="+config.Database,
		"PGUSER="+config.User, "PGUSERNAME="+config.User, "PGPASSWORD="+config.Password)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	a := &app{t: t, calls: json.NewEncoder(stdin), answers: json.NewDecoder(stdout), stderr: new(bytes.Buffer)}
	cmd.Stderr = a.stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		rest, _ := io.ReadAll(io.MultiReader(a.answers.Buffered(), stdout))
		if err := cmd.Wait(); err != nil || len(bytes.TrimSpace(rest)) > 0 {
			t.Errorf("the app ended with %v, and said %q besides:\n%s", err, rest, a.stderr)
		}
	})
	return a
}

// args are the named arguments of a call.
type args map[string]any

// refusal is why the app, or the database, refused a call.
type refusal struct {
	Error      string
	Code       string // SQLSTATE
	Constraint string
}

func (a *app) answer(call string, args args) (json.RawMessage, *refusal) {
	a.t.Helper()
	require.NoError(a.t, a.calls.Encode(map[string]any{"call": call, "args": args}), "%s", a.stderr)
	var answer struct {
		Result json.RawMessage
		refusal
	}
	require.NoError(a.t, a.answers.Decode(&answer), "the app ended at %s: %s", call, a.stderr)
	if answer.Error != "" {
		return nil, &answer.refusal
	}
	return answer.Result, nil
}

// call calls a function of the app and reads its result into result, unless nil.
func (a *app) call(call string, args args, result any) {
	a.t.Helper()
	answer, refused := a.answer(call, args)
	require.Nil(a.t, refused, "%s", call)
	if result != nil {
		require.NoError(a.t, json.Unmarshal(answer, result), "%s: %s", call, answer)
	}
}

// refuse calls what has to fail.
func (a *app) refuse(call string, args args) refusal {
	a.t.Helper()
	answer, refused := a.answer(call, args)
	require.NotNil(a.t, refused, "%s was not refused: %s", call, answer)
	return *refused
}

// insert inserts rows by Drizzle and returns their ids.
func (a *app) insert(table string, rows ...args) (ids []int64) {
	a.t.Helper()
	var inserted []struct{ ID int64 }
	a.call("insert", args{"table": table, "rows": rows}, &inserted)
	for _, row := range inserted {
		ids = append(ids, row.ID)
	}
	require.Len(a.t, ids, len(rows))
	return ids
}

// with is the row with other values for some columns.
func (row args) with(other args) args {
	row = maps.Clone(row)
	maps.Copy(row, other)
	return row
}

// generate lets drizzle-kit compare the schema with the migrations in a folder, which it
// does without a database, and returns the migration that it adds there.
func generate(t *testing.T, folder, schemaFile, name string) string {
	t.Helper()
	here, err := os.Getwd()
	require.NoError(t, err)
	out, err := filepath.Rel(here, folder) // drizzle-kit puts ./ before it
	require.NoError(t, err)
	output, err := run(t, "node_modules/drizzle-kit/bin.cjs", "generate",
		"--dialect=postgresql", "--schema="+schemaFile, "--name="+name, "--out="+out)
	require.NoError(t, err, output)
	added, err := filepath.Glob(filepath.Join(folder, "*_"+name+".sql"))
	require.NoError(t, err)
	require.Len(t, added, 1, output)
	return string(read(t, added[0]))
}

// baseline is the folder with the app's first migration.
func baseline(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	generate(t, folder, "./schema.ts", "baseline")
	return folder
}

// quotedPath names a file of this directory in a file elsewhere.
func quotedPath(t *testing.T, file string) string {
	t.Helper()
	path, err := filepath.Abs(file)
	require.NoError(t, err)
	return fmt.Sprintf("%q", filepath.ToSlash(path))
}
