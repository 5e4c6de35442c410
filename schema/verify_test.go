package schema_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/schema"
	"github.com/rowhouse/rowhouse/store/storetest"
)

var update = flag.Bool("update", false, "write catalog.txt anew from what the migrations make")

// Each line begins with the version that makes it.
func TestCatalogText(t *testing.T) {
	t.Parallel()
	made := make(map[string]int64)
	var latest []string
	for version := schema.Latest(); version > 0; version-- {
		pool := open(t, storetest.EmptyURL(t))
		migrateTo(t, pool, version)
		conn, err := pgx.Connect(t.Context(), pool.Config().ConnString())
		require.NoError(t, err)
		defer conn.Close(t.Context())
		catalog, err := schema.ReadCatalog(t.Context(), conn, lines(t, conn, `
			SELECT relname::text FROM pg_class
			WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'goose_db_version'`))
		require.NoError(t, err)
		if latest == nil {
			latest = catalog
		}
		require.Subset(t, latest, catalog, "migrations only add")
		for _, line := range catalog {
			made[line] = version
		}
	}
	var text strings.Builder
	for _, line := range latest {
		fmt.Fprintf(&text, "%05d %s\n", made[line], line)
	}
	if *update {
		require.NoError(t, os.WriteFile("catalog.txt", []byte(text.String()), 0o644))
		return
	}
	require.Equal(t, schema.CatalogText, text.String(), "run go test ./schema -run TestCatalogText -update, and look at what has changed")
}
