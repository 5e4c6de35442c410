package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/schema"
	"github.com/rowhouse/rowhouse/store"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// roles are those of one test on its database, and Stores that work as them.
type roles struct {
	schema.Grants
	owner, application, purge *store.Store
}

// newRoles creates the roles and grants them what they need, and nobody else anything.
func newRoles(t *testing.T) roles {
	t.Helper()
	n := time.Now().UnixNano()
	r := roles{
		Grants: schema.Grants{Application: fmt.Sprintf("App %d", n), Purge: fmt.Sprintf("purge_%d", n)},
		owner:  newStore(t),
	}
	t.Cleanup(func() {
		for _, role := range []string{r.Application, r.Purge} {
			name := pgx.Identifier{role}.Sanitize()
			_, err := storetest.Pool(t).Exec(context.WithoutCancel(t.Context()), "DROP OWNED BY "+name+"; DROP ROLE "+name)
			require.NoError(t, err)
		}
	})
	exec(t, r.owner, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
	_, err := schema.Grant(t.Context(), storetest.Pool(t), r.Grants)
	require.NoError(t, err)
	as := func(role string) *store.Store {
		return newStore(t, func(config *pgxpool.Config) {
			config.ConnConfig.RuntimeParams["role"] = role
		})
	}
	r.application, r.purge = as(r.Application), as(r.Purge)
	return r
}

// isPurge reports whether an operation is the purge role's.
func isPurge(name string) bool { return strings.HasPrefix(name, "Purge") }

func requireForbidden(t *testing.T, err error, what ...any) {
	t.Helper()
	pgErr := new(pgconn.PgError)
	require.ErrorAs(t, err, &pgErr, what...)
	require.Equal(t, "42501", pgErr.Code, what...)
}

// Each role runs its operations, and none of the other's.
func TestOperationsUnderTheirRoles(t *testing.T) {
	t.Parallel()
	r := newRoles(t)
	for _, op := range operations {
		mine, other := r.application, r.purge
		if isPurge(op.name) {
			mine, other = other, mine
		}
		t.Run(op.name, func(t *testing.T) {
			run := op.prepare(t, r.owner)
			requireForbidden(t, run(other))
			require.NoError(t, run(mine))
			require.NoError(t, mine.InTx(t.Context(), op.prepare(t, r.owner)))
		})
	}
	application, purge := r.application.Conn().(*pgxpool.Pool), r.purge.Conn().(*pgxpool.Pool)
	require.NoError(t, schema.Verify(t.Context(), application))
	requireForbidden(t, schema.Verify(t.Context(), purge))
	version, err := schema.Version(t.Context(), application)
	require.NoError(t, err)
	require.Equal(t, schema.Latest(), version)
	violations, err := r.application.CheckInvariants(t.Context())
	require.NoError(t, err)
	require.Empty(t, violations)
}

// Also the statements that explain a refusal, and the insert types'. The server asks for a
// statement's rights before it runs it, so that arguments make no difference.
func TestStatementsUnderTheirRoles(t *testing.T) {
	t.Parallel()
	r := newRoles(t)
	files, err := filepath.Glob("../db/*.sql.go")
	require.NoError(t, err)
	seen := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, match := range regexp.MustCompile("(?s)= `(-- name: (\\w+) .*?)`").FindAllStringSubmatch(string(text), -1) {
			sql, name := match[1], match[2]
			seen++
			mine, other := r.application, r.purge
			if isPurge(name) {
				mine, other = other, mine
			}
			requireForbidden(t, runWithoutArguments(t, other, sql), name)
			pgErr := new(pgconn.PgError)
			if err := runWithoutArguments(t, mine, sql); errors.As(err, &pgErr) {
				require.NotEqual(t, "42501", pgErr.Code, "%s: %v", name, err)
			}
		}
	}
	require.Greater(t, seen, 60)
}

// runWithoutArguments runs a statement with NULL for each of its parameters, and undoes it.
func runWithoutArguments(t *testing.T, st *store.Store, sql string) error {
	t.Helper()
	tx, err := st.Conn().Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(t.Context()) }()
	statement, err := tx.Conn().Prepare(t.Context(), "", sql)
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), sql, make([]any, len(statement.ParamOIDs))...)
	return err
}

// Beyond its operations a role may do nothing: neither to the tables nor to their rows.
func TestRolesMayDoNothingElse(t *testing.T) {
	t.Parallel()
	r := newRoles(t)
	h := newHouse(t, r.owner)
	h.subscribed()
	exec(t, r.owner, "CREATE TABLE of_the_service (id integer)")
	forbidden := []string{
		"CREATE TABLE mine (id integer)",
		"CREATE VIEW mine AS SELECT 1",
		"CREATE SEQUENCE mine",
		"CREATE FUNCTION mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
		"CREATE SCHEMA mine",
		"CREATE INDEX ON users (name)",
		"CREATE ROLE mine",
		"ALTER TABLE users ADD COLUMN mine integer",
		"ALTER TABLE activity_logs DISABLE TRIGGER ALL",
		"ALTER SEQUENCE users_id_seq RESTART",
		"DROP INDEX users_lower_email_unique",
		"LOCK TABLE users IN ACCESS EXCLUSIVE MODE",
		"SELECT setval('users_id_seq', 1)",
		"SELECT setval('activity_logs_id_seq', 1)",
		"SELECT * FROM of_the_service",
		"UPDATE activity_logs SET action = ''",
		"UPDATE activity_logs SET user_id = NULL",
		`UPDATE activity_logs SET "timestamp" = now()`,
		"UPDATE activity_logs SET metadata = NULL",
		"UPDATE activity_logs SET ip_address = NULL, team_id = 1",
		"DELETE FROM users",
		"DELETE FROM teams",
		"DELETE FROM invitations",
		"DELETE FROM subscriptions",
		"UPDATE users SET id = 1",
		"UPDATE users SET role = 'owner'",
		"UPDATE users SET created_at = now()",
		"UPDATE teams SET id = 1",
		"UPDATE team_members SET user_id = 1",
		"UPDATE team_members SET team_id = 1",
		"UPDATE invitations SET team_id = 1",
		"UPDATE invitations SET email = ''",
		"UPDATE invitations SET role = 'owner'",
		"UPDATE subscriptions SET team_id = 1",
		"UPDATE subscriptions SET stripe_customer_id = ''",
		"UPDATE subscription_events SET received_at = now()",
		"SELECT type FROM subscription_events",
		"INSERT INTO rowhouse_db_version (version_id, is_applied) VALUES (99, true)",
		"UPDATE rowhouse_db_version SET is_applied = false",
		"DELETE FROM rowhouse_db_version",
	}
	for _, table := range append(slices.Clone(tables), "rowhouse_db_version") {
		forbidden = append(forbidden,
			"DROP TABLE "+table,
			"TRUNCATE "+table+" CASCADE",
			"ALTER TABLE "+table+" OWNER TO CURRENT_USER",
			"CREATE TRIGGER mine BEFORE INSERT ON "+table+" EXECUTE FUNCTION suppress_redundant_updates_trigger()",
		)
	}
	ofTheApplication := append(slices.Clone(forbidden),
		"UPDATE activity_logs SET id = 1",
		"SELECT FROM activity_logs FOR KEY SHARE",
		"DELETE FROM activity_logs",
		"DELETE FROM subscription_events",
		"UPDATE subscription_events SET id = ''",
		"SELECT received_at FROM subscription_events",
		"SET ROLE "+pgx.Identifier{r.Purge}.Sanitize(),
	)
	ofThePurge := append(slices.Clone(forbidden),
		"INSERT INTO activity_logs (team_id, action) VALUES (1, 'X')",
		"SELECT action FROM activity_logs",
		"SELECT metadata FROM activity_logs",
		"SELECT user_id FROM activity_logs",
		"SELECT FROM users",
		"SELECT FROM teams",
		"SELECT FROM team_members",
		"SELECT FROM invitations",
		"SELECT FROM subscriptions",
		"SELECT FROM rowhouse_db_version",
		"SELECT nextval('users_id_seq')",
		"DELETE FROM team_members",
	)
	// A superuser's session may become any role again; what a login role may is asked of one.
	login := func(role string) *pgx.Conn {
		name := pgx.Identifier{role}.Sanitize()
		exec(t, r.owner, "ALTER ROLE "+name+" LOGIN PASSWORD 'of the test'")
		config := storetest.Pool(t).Config().ConnConfig
		config.User, config.Password = role, "of the test"
		conn, err := pgx.ConnectConfig(t.Context(), config)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
		return conn
	}
	before := snapshot(t, r.owner)
	for role, statements := range map[string][]string{r.Application: ofTheApplication, r.Purge: ofThePurge} {
		conn := login(role)
		for _, statement := range statements {
			tx, err := conn.Begin(t.Context())
			require.NoError(t, err)
			_, err = tx.Exec(t.Context(), statement)
			requireForbidden(t, err, "%s: %s: %v", role, statement, err)
			require.NoError(t, tx.Rollback(t.Context()))
		}
	}
	require.Equal(t, before, snapshot(t, r.owner))
}

// Without any one of its rights a role can't do something that it is there for.
func TestNoRightIsIdle(t *testing.T) {
	t.Parallel()
	r := newRoles(t)
	type right struct{ Kind, Object, Privilege string }
	for _, role := range []struct {
		name string
		st   *store.Store
	}{{r.Application, r.application}, {r.Purge, r.purge}} {
		rows, err := r.owner.Conn().Query(t.Context(), `
			SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, oid::regclass::text, privilege_type
			FROM pg_class, aclexplode(relacl) WHERE grantee = (SELECT oid FROM pg_roles WHERE rolname = $1)
			UNION ALL
			SELECT 'TABLE', attrelid::regclass::text, privilege_type || ' (' || quote_ident(attname) || ')'
			FROM pg_attribute, aclexplode(attacl) WHERE grantee = (SELECT oid FROM pg_roles WHERE rolname = $1)`, role.name)
		require.NoError(t, err)
		rights, err := pgx.CollectRows(rows, pgx.RowToStructByPos[right])
		require.NoError(t, err)
		require.NotEmpty(t, rights)
		for _, right := range rights {
			t.Run(strings.Join([]string{role.name, right.Privilege, right.Object}, " "), func(t *testing.T) {
				on := right.Privilege + " ON " + right.Kind + " " + right.Object
				name := pgx.Identifier{role.name}.Sanitize()
				exec(t, r.owner, "REVOKE "+on+" FROM "+name)
				defer exec(t, r.owner, "GRANT "+on+" TO "+name)
				require.NotEmpty(t, failing(t, r.owner, role.st, role.name == r.Purge), "every operation works without it")
			})
		}
	}
}

// failing returns one of the role's operations that fails for want of a right.
func failing(t *testing.T, owner, as *store.Store, purge bool) string {
	t.Helper()
	for _, op := range operations {
		if isPurge(op.name) != purge {
			continue
		}
		if err := op.prepare(t, owner)(as); err != nil {
			requireForbidden(t, err, op.name)
			return op.name
		}
	}
	if !purge {
		if err := schema.Verify(t.Context(), as.Conn().(*pgxpool.Pool)); err != nil {
			requireForbidden(t, err)
			return "Verify"
		}
	}
	return ""
}
