package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// peers are the modules whose versions a report has.
var peers = []string{
	"github.com/jackc/pgx/v5", "github.com/jmoiron/sqlx", "github.com/uptrace/bun", "gorm.io/gorm", "gorm.io/driver/postgres", "entgo.io/ent",
}

// surroundings are what a figure means nothing without; outside are versions of what is not
// in this program.
func surroundings(ctx context.Context, admin *pgxpool.Pool, outside []string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "- %s, %s/%s, %d cores", time.Now().UTC().Format(time.DateOnly), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	if model := fact("/proc/cpuinfo", `(?m)^model name\s*: (.*)$`); model != "" {
		fmt.Fprintf(&b, " (%s)", model)
	}
	if kb := fact("/proc/meminfo", `(?m)^MemTotal:\s*(\d+) kB$`); kb != "" {
		var n int
		fmt.Sscan(kb, &n)
		fmt.Fprintf(&b, ", %.0f GiB of memory", float64(n)/(1<<20))
	}
	var version, settings string
	err := admin.QueryRow(ctx, `SELECT split_part(current_setting('server_version'), ' ', 1),
		(SELECT string_agg(name || ' ' || current_setting(name), ', ' ORDER BY name) FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit', 'shared_buffers', 'jit'))`).
		Scan(&version, &settings)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(&b, "\n- PostgreSQL %s on the same machine, by a Unix socket: %s\n- %s", version, settings, runtime.Version())
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, peer := range peers {
			for _, m := range info.Deps {
				if m.Path == peer {
					fmt.Fprintf(&b, ", %s %s", strings.TrimPrefix(m.Path, "github.com/"), m.Version)
				}
			}
		}
	}
	for _, versions := range outside {
		fmt.Fprintf(&b, "; %s", versions)
	}
	return b.String() + "\n", nil
}

func fact(file, pattern string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	if m := regexp.MustCompile(pattern).FindSubmatch(b); m != nil {
		return strings.TrimSpace(string(m[1]))
	}
	return ""
}
