package schema

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// CatalogText is what the build expects.
var CatalogText = catalogText

// ReadCatalog is what is on the tables, as catalog.txt has it but for the versions.
func ReadCatalog(ctx context.Context, conn *pgx.Conn, tables []string) ([]string, error) {
	objects, err := readCatalog(ctx, conn, tables)
	var lines []string
	for _, o := range objects {
		lines = append(lines, o.String()+described(" ", o.definition))
	}
	return lines, err
}
