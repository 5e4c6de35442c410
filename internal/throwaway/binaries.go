//go:build unix

package throwaway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// oldest is the first major whose DROP DATABASE knows FORCE.
const oldest = 13

// Where packages put the binaries when they are not in PATH.
var installations = []string{
	"/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
	"/opt/homebrew/opt/postgresql@*/bin",
	"/usr/local/opt/postgresql@*/bin",
	"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
}

// binaries is a directory that holds initdb and postgres.
type binaries struct {
	dir     string
	version string // all that postgres --version says
}

func (b binaries) initdb() string   { return filepath.Join(b.dir, "initdb") }
func (b binaries) postgres() string { return filepath.Join(b.dir, "postgres") }

// findBinaries returns the ones in PATH, else the highest major of the known
// installations that the account can run.
func findBinaries(ctx context.Context, path string, patterns []string, as account) (binaries, error) {
	var candidates []string
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue
		}
		// PATH often holds links to a directory elsewhere, and initdb looks for
		// postgres and share next to where it really is.
		if file, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres")); err == nil {
			candidates = append(candidates, filepath.Dir(file))
		}
	}
	var installed []string
	for _, pattern := range patterns {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			return binaries{}, err
		}
		installed = append(installed, dirs...)
	}
	slices.SortStableFunc(installed, func(a, b string) int { return majorOf(b) - majorOf(a) })
	candidates = append(candidates, installed...)

	var why []error
	for _, dir := range candidates {
		b, err := inspectBinaries(ctx, dir, as)
		if err == nil {
			return b, nil
		}
		why = append(why, err)
	}
	if len(why) == 0 {
		return binaries{}, fmt.Errorf("no initdb and postgres in PATH, %s", strings.Join(patterns, ", "))
	}
	return binaries{}, errors.Join(why...)
}

var digits = regexp.MustCompile(`[0-9]+`)

// majorOf reads the major from an installation's path, its last number.
func majorOf(dir string) int {
	numbers := digits.FindAllString(filepath.Base(filepath.Dir(dir)), -1)
	if numbers == nil {
		return 0
	}
	n, _ := strconv.Atoi(numbers[0])
	return n
}

// inspectBinaries tells whether the account can run what is in dir.
func inspectBinaries(ctx context.Context, dir string, as account) (binaries, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return binaries{}, err
	}
	b := binaries{dir: dir}
	for _, file := range []string{b.initdb(), b.postgres()} {
		info, err := os.Stat(file)
		if err != nil {
			return binaries{}, fmt.Errorf("%s has no %s", dir, filepath.Base(file))
		}
		if info.Mode()&0o111 == 0 {
			return binaries{}, fmt.Errorf("%s cannot be executed", file)
		}
	}
	if err := as.reaches(dir); err != nil {
		return binaries{}, err
	}
	cmd := exec.CommandContext(ctx, b.postgres(), "--version")
	cmd.Dir = "/"
	cmd.Env = serverEnvironment()
	cmd.SysProcAttr = as.attributes()
	out, err := cmd.Output()
	if err != nil {
		return binaries{}, fmt.Errorf("%s --version: %w", b.postgres(), err)
	}
	b.version = strings.TrimSpace(string(out))
	major, _ := strconv.Atoi(digits.FindString(b.version))
	if major < oldest {
		return binaries{}, fmt.Errorf("%s is %q, older than PostgreSQL %d", b.postgres(), b.version, oldest)
	}
	return b, nil
}
