package schema_test

import (
	"context"
	"errors"
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

// A service that leaves migrating to CI may refuse to start on another schema than
// its own.
func ExampleVerify() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	err = schema.Verify(ctx, pool)
	if errors.Is(err, schema.ErrDatabaseNewer) {
		log.Print(err) // a newer build is being rolled out, and migrations only add
		err = nil
	}
	if err != nil {
		log.Fatal(err)
	}
}

// What would stop a migration is known before it begins.
func ExampleCheck() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	problems, err := schema.Check(ctx, pool)
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range problems {
		log.Print(p)
	}
}

// After every Migrate, by the role that owns the tables.
func ExampleGrant() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	statements, err := schema.Grant(ctx, pool, schema.Grants{Application: "app", Purge: "app_purge"})
	for _, statement := range statements {
		log.Print(statement)
	}
	if excess, ok := errors.AsType[*schema.ExcessError](err); ok {
		log.Print(excess) // granted, but a role may do more: decide on what it suggests
		err = nil
	}
	if err != nil {
		log.Fatal(err)
	}
}
