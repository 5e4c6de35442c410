package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const drizzleDir = "drizzle"

// nodePackages are the versions of node and of the packages, which must be the locked ones.
func nodePackages() (string, error) {
	output, err := osexec.Command("node", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("there is no node: install Node.js 20 or later, and run npm ci --prefix benchmarks/%s", drizzleDir)
	}
	versions := []string{"node " + strings.TrimSpace(string(output))}
	locked, err := lockedPackages(filepath.Join(drizzleDir, "package-lock.json"))
	if err != nil {
		return "", err
	}
	installed, err := lockedPackages(filepath.Join(drizzleDir, "node_modules", ".package-lock.json"))
	for _, name := range []string{"drizzle-orm", "postgres"} {
		if err != nil || installed[name] == "" || installed[name] != locked[name] {
			return "", fmt.Errorf("%s %s is not installed: run npm ci --prefix benchmarks/%s", name, locked[name], drizzleDir)
		}
		versions = append(versions, name+" "+installed[name])
	}
	return strings.Join(versions, ", "), nil
}

// lockedPackages are the versions in a lock file of npm.
func lockedPackages(file string) (map[string]string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var lock struct {
		Packages map[string]struct{ Version string }
	}
	if err := json.Unmarshal(b, &lock); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	versions := make(map[string]string)
	for path, p := range lock.Packages {
		versions[strings.TrimPrefix(path, "node_modules/")] = p.Version
	}
	return versions, nil
}

// drizzle is a node with connections of its own. It is asked one thing at a time.
type drizzle struct {
	cmd     *osexec.Cmd
	stdin   io.WriteCloser
	asks    *json.Encoder
	answers *json.Decoder
	stderr  bytes.Buffer
}

func startDrizzle(ctx context.Context, config *pgx.ConnConfig, conns int) (*drizzle, error) {
	// The starter's pool has several connections, and its sign-up sends two statements at a
	// time.
	conns = max(conns, 2)
	d := new(drizzle)
	d.cmd = osexec.CommandContext(ctx, "node", "contender.mjs", strconv.Itoa(conns))
	d.cmd.Dir = drizzleDir
	d.cmd.WaitDelay = time.Second
	d.cmd.Stderr = &d.stderr
	d.cmd.Env = append(os.Environ(), "NODE_ENV=production",
		"PGHOST="+config.Host, "PGPORT="+strconv.Itoa(int(config.Port)), "PGDATABASE="+config.Database,
		"PGUSER="+config.User, "PGUSERNAME="+config.User, "PGPASSWORD="+config.Password,
		"PGAPPNAME="+config.RuntimeParams["application_name"])
	var err error
	if d.stdin, err = d.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	d.asks, d.answers = json.NewEncoder(d.stdin), json.NewDecoder(stdout)
	if err := d.ask(map[string]any{"command": "connect"}, nil); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// close ends node, by the end of what it reads.
func (d *drizzle) close() {
	d.stdin.Close()
	_ = d.cmd.Wait() // how it ends does not matter any more
}

// ask has node do something. result is a pointer, or nil.
func (d *drizzle) ask(command map[string]any, result any) error {
	var answer struct {
		Result json.RawMessage
		Error  string
	}
	if err := errors.Join(d.asks.Encode(command), d.answers.Decode(&answer)); err != nil {
		d.close() // so that all is there of what it said
		return fmt.Errorf("node: %w: %s", err, d.stderr.Bytes())
	}
	if answer.Error != "" {
		return fmt.Errorf("node: %s", answer.Error)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(answer.Result, result)
}

// time has node make calls, in a number of loops at a time, and time them.
func (d *drizzle) time(_ context.Context, k kind, inputs []input, loops int) (t timing, err error) {
	var took struct {
		Calls           []float64 // µs
		Elapsed, Client float64
	}
	err = d.ask(map[string]any{
		"command": "time", "query": drizzleQueries[k], "loops": loops,
		"inputs": each(inputs, func(in input) map[string]any { return drizzleInput(k, &in) }),
	}, &took)
	return timing{each(took.Calls, microseconds), microseconds(took.Elapsed), microseconds(took.Client)}, err
}

func microseconds(n float64) time.Duration { return time.Duration(n * float64(time.Microsecond)) }
