package db_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// Every primary key, unique rule and foreign key of the tables, and nothing else.
func TestConstraintsAreTheDatabases(t *testing.T) {
	t.Parallel()
	rows, err := storetest.Pool(t).Query(t.Context(), `
		WITH tables AS (
			SELECT unnest(ARRAY['users', 'teams', 'team_members', 'activity_logs', 'invitations', 'subscriptions', 'subscription_events'])::regclass AS oid
		)
		SELECT conname FROM pg_constraint WHERE contype IN ('p', 'u', 'f', 'x') AND conrelid IN (SELECT oid FROM tables)
		UNION
		SELECT pg_class.relname FROM pg_index JOIN pg_class ON pg_class.oid = pg_index.indexrelid
		WHERE pg_index.indisunique AND pg_index.indrelid IN (SELECT oid FROM tables)`)
	require.NoError(t, err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	var constants []string
	for _, c := range db.Constraints {
		constants = append(constants, string(c))
	}
	require.ElementsMatch(t, names, constants)
}

func TestConstraintsListsEachConstant(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "constraints.go", nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	var declared []db.Constraint
	for _, decl := range file.Decls {
		consts, ok := decl.(*ast.GenDecl)
		if !ok || consts.Tok != token.CONST {
			continue
		}
		for _, spec := range consts.Specs {
			name, err := strconv.Unquote(spec.(*ast.ValueSpec).Values[0].(*ast.BasicLit).Value)
			require.NoError(t, err)
			declared = append(declared, db.Constraint(name))
		}
	}
	require.ElementsMatch(t, declared, db.Constraints)
}
