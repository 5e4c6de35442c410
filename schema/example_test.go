package schema_test

import (
	"context"
	"log"
	"os"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rowhouse/rowhouse/schema"
)

// A service may migrate its database whenever it starts, however many of it
// start at once.
func ExampleMigrate() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	applied, err := schema.Migrate(ctx, pool)
	for _, m := range applied {
		log.Printf("applied %s in %s", m.Name, m.Duration)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// A service that leaves migrating to CI may refuse to start on an older schema.
func ExampleVersion() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	version, err := schema.Version(ctx, pool)
	if err != nil {
		log.Fatal(err)
	}
	if version < schema.Latest() {
		log.Fatalf("the database is at version %d, this build needs %d: run the migrations", version, schema.Latest())
	}
}
