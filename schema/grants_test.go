package schema_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/schema"
	"github.com/rowhouse/rowhouse/store/storetest"
)

var roleSerial atomic.Int64

// roleName is one that no other test has: roles are the server's, not the database's. It
// needs quoting. The role, if there is one, goes when the test ends.
func roleName(t *testing.T, pool *pgxpool.Pool, is string) string {
	t.Helper()
	name := fmt.Sprintf(`%s "%d-%d`, is, time.Now().UnixNano(), roleSerial.Add(1))
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		var exists bool
		require.NoError(t, pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)`, name).Scan(&exists))
		if exists {
			_, err := pool.Exec(ctx, "DROP OWNED BY "+quoted(name)+" CASCADE; DROP ROLE "+quoted(name))
			require.NoError(t, err)
		}
	})
	return name
}

func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }

// granted is a migrated database in whose schema public nobody else may create, as it is
// from PostgreSQL 15 on, and two roles that are not there yet.
func granted(t *testing.T) (*pgxpool.Pool, schema.Grants) {
	t.Helper()
	pool := open(t, storetest.URL(t))
	exec(t, pool, `REVOKE CREATE ON SCHEMA public FROM PUBLIC`)
	return pool, schema.Grants{Application: roleName(t, pool, "app"), Purge: roleName(t, pool, "purge")}
}

// rightsOf are all that a role has by itself in the database.
func rightsOf(t *testing.T, pool *pgxpool.Pool, role string) []string {
	t.Helper()
	return lines(t, pool, `
		WITH object AS (
			SELECT oid::regclass::text AS name, relacl AS acl FROM pg_class
			UNION ALL
			SELECT attrelid::regclass || '.' || attname, attacl FROM pg_attribute WHERE attacl IS NOT NULL
			UNION ALL
			SELECT nspname, nspacl FROM pg_namespace
			UNION ALL
			SELECT 'database', datacl FROM pg_database WHERE datname = current_database()
		)
		SELECT name || ' ' || privilege_type || CASE WHEN is_grantable THEN ' and may grant it' ELSE '' END
		FROM object, aclexplode(acl)
		WHERE grantee = (SELECT oid FROM pg_roles WHERE rolname = $1)
		ORDER BY 1`, role)
}

func TestGrant(t *testing.T) {
	t.Parallel()
	pool, grants := granted(t)
	plan, err := schema.PlanGrant(t.Context(), pool, grants)
	require.NoError(t, err)
	require.Empty(t, lines(t, pool, `SELECT rolname::text FROM pg_roles WHERE rolname IN ($1, $2)`, grants.Application, grants.Purge), "a plan creates no role")
	app, purge := quoted(grants.Application), quoted(grants.Purge)
	require.Equal(t, "CREATE ROLE "+app+" NOLOGIN;", plan[0])
	require.Contains(t, plan, "GRANT INSERT, SELECT ON TABLE public.activity_logs TO "+app+";")
	require.Contains(t, plan, "GRANT DELETE, INSERT, SELECT, UPDATE (role) ON TABLE public.team_members TO "+app+";")
	require.Contains(t, plan, `GRANT DELETE, SELECT ("timestamp", id, team_id), UPDATE (id) ON TABLE public.activity_logs TO `+purge+";")
	require.Contains(t, plan, "GRANT USAGE ON SEQUENCE public.users_id_seq TO "+app+";")

	done, err := schema.Grant(t.Context(), pool, grants)
	require.NoError(t, err)
	require.Equal(t, plan, done)
	require.Equal(t, []string{"false", "false"}, lines(t, pool, `SELECT rolcanlogin::text FROM pg_roles WHERE rolname IN ($1, $2)`, grants.Application, grants.Purge))
	for _, again := range []func(context.Context, *pgxpool.Pool, schema.Grants) ([]string, error){schema.PlanGrant, schema.Grant} {
		statements, err := again(t.Context(), pool, grants)
		require.NoError(t, err)
		require.Empty(t, statements, "it has everything")
	}
}

// What a plan says, run by hand, is what Grant does.
func TestPlanGrantByHand(t *testing.T) {
	t.Parallel()
	pool, grants := granted(t)
	other := schema.Grants{Application: roleName(t, pool, "app"), Purge: roleName(t, pool, "purge")}
	plan, err := schema.PlanGrant(t.Context(), pool, grants)
	require.NoError(t, err)
	exec(t, pool, strings.Join(plan, "\n"))
	_, err = schema.Grant(t.Context(), pool, other)
	require.NoError(t, err)
	require.NotEmpty(t, rightsOf(t, pool, grants.Application))
	require.Equal(t, rightsOf(t, pool, other.Application), rightsOf(t, pool, grants.Application))
	require.Equal(t, rightsOf(t, pool, other.Purge), rightsOf(t, pool, grants.Purge))
}

// Whatever a role had on the tables, it ends with what it needs; what it has elsewhere stays.
func TestGrantConverges(t *testing.T) {
	t.Parallel()
	pool, grants := granted(t)
	_, err := schema.Grant(t.Context(), pool, grants)
	require.NoError(t, err)
	want, wantPurge := rightsOf(t, pool, grants.Application), rightsOf(t, pool, grants.Purge)

	app := quoted(grants.Application)
	exec(t, pool, `CREATE TABLE projects (id integer PRIMARY KEY); ALTER TABLE users ADD COLUMN locale text`)
	for name, change := range map[string]string{
		"everything":              `GRANT ALL ON ALL TABLES IN SCHEMA public TO %[1]s; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO %[1]s`,
		"nothing":                 `REVOKE ALL ON ALL TABLES IN SCHEMA public FROM %[1]s; REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM %[1]s`,
		"other columns":           `REVOKE UPDATE (name) ON users FROM %[1]s; GRANT UPDATE (id, role), REFERENCES (id) ON users TO %[1]s`,
		"columns and their table": `GRANT SELECT (id), UPDATE ON users TO %[1]s`,
		"to pass it on":           `GRANT SELECT ON teams TO %[1]s WITH GRANT OPTION; GRANT UPDATE (role) ON team_members TO %[1]s WITH GRANT OPTION`,
		"the log":                 `GRANT UPDATE, DELETE, TRUNCATE ON activity_logs TO %[1]s`,
		"the table of versions":   `GRANT ALL ON rowhouse_db_version TO %[1]s; GRANT ALL ON SEQUENCE rowhouse_db_version_id_seq TO %[1]s`,
	} {
		// Of the service's own.
		exec(t, pool, fmt.Sprintf(change+`; GRANT DELETE, SELECT ON projects TO %[1]s; GRANT UPDATE (locale) ON users TO %[1]s`, app))
		done, err := schema.Grant(t.Context(), pool, schema.Grants{Application: grants.Application})
		require.NoError(t, err, name)
		require.NotEmpty(t, done, name)
		own := []string{"projects DELETE", "projects SELECT", "users.locale UPDATE"}
		require.ElementsMatch(t, append(own, want...), subtract(rightsOf(t, pool, grants.Application), "projects INSERT", "projects REFERENCES", "projects TRIGGER", "projects TRUNCATE", "projects UPDATE", "projects MAINTAIN"), "%s: %v", name, done)
		require.Equal(t, wantPurge, rightsOf(t, pool, grants.Purge), "it was not named")
	}
}

func subtract(all []string, these ...string) []string {
	var rest []string
	for _, one := range all {
		if !strings.Contains("\n"+strings.Join(these, "\n")+"\n", "\n"+one+"\n") {
			rest = append(rest, one)
		}
	}
	return rest
}

// A role that exists keeps its attributes.
func TestGrantToALoginRole(t *testing.T) {
	t.Parallel()
	pool, grants := granted(t)
	exec(t, pool, "CREATE ROLE "+quoted(grants.Application)+" LOGIN CONNECTION LIMIT 7")
	done, err := schema.Grant(t.Context(), pool, schema.Grants{Application: grants.Application})
	require.NoError(t, err)
	require.NotContains(t, strings.Join(done, " "), "CREATE ROLE")
	require.Equal(t, []string{"true 7"}, lines(t, pool, `SELECT rolcanlogin || ' ' || rolconnlimit FROM pg_roles WHERE rolname = $1`, grants.Application))
}

// What is not for Grant to take is told, with what takes it; the rest is granted.
func TestGrantTellsOfExcess(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		make string // with the names of a role, a group and the database
		what string
	}{
		"everybody may create tables": {`GRANT CREATE ON SCHEMA public TO PUBLIC`, "has CREATE ON SCHEMA public by PUBLIC"},
		"it may create tables":        {`GRANT CREATE ON SCHEMA public TO {role}`, "has CREATE ON SCHEMA public"},
		"it may create schemas":       {`GRANT CREATE ON DATABASE {database} TO {role}`, "has CREATE ON DATABASE {database}"},
		"everybody writes":            {`GRANT UPDATE ON activity_logs TO PUBLIC`, "has UPDATE ON TABLE public.activity_logs by PUBLIC"},
		"everybody writes a column":   {`GRANT UPDATE (action) ON activity_logs TO PUBLIC`, "has UPDATE (action) ON TABLE public.activity_logs by PUBLIC"},
		"a group writes":              {`GRANT DELETE ON activity_logs TO {group}; GRANT {group} TO {role}`, "has DELETE ON TABLE public.activity_logs by {group}"},
		"a group sets a sequence":     {`GRANT UPDATE ON SEQUENCE users_id_seq TO {group}; GRANT {group} TO {role}`, "has UPDATE ON SEQUENCE public.users_id_seq by {group}"},
		"a group owns a table":        {`GRANT CREATE ON SCHEMA public TO {group}; ALTER TABLE users OWNER TO {group}; REVOKE CREATE ON SCHEMA public FROM {group}; GRANT {group} TO {role}`, "is a member of {group}, which owns tables"},
		"it owns the database":        {`ALTER DATABASE {database} OWNER TO {role}`, "owns the database"},
		"it writes everything":        {`GRANT pg_write_all_data TO {role}`, "is a member of pg_write_all_data"},
		"it is a superuser":           {`ALTER ROLE {role} SUPERUSER`, "is a superuser"},
		"it creates roles":            {`ALTER ROLE {role} CREATEROLE`, "may create roles and become them"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool, grants := granted(t)
			grants.Purge = ""
			group := roleName(t, pool, "group")
			named := strings.NewReplacer("{role}", quoted(grants.Application), "{group}", quoted(group), "{database}", pool.Config().ConnConfig.Database)
			exec(t, pool, named.Replace("CREATE ROLE {role}; CREATE ROLE {group}; "+test.make))
			for _, grant := range []func(context.Context, *pgxpool.Pool, schema.Grants) ([]string, error){schema.PlanGrant, schema.Grant} {
				done, err := grant(t.Context(), pool, grants)
				var excess *schema.ExcessError
				require.ErrorAs(t, err, &excess)
				require.Len(t, excess.Excess, 1, "%v", err)
				require.Equal(t, grants.Application, excess.Excess[0].Role)
				require.Equal(t, named.Replace(test.what), excess.Excess[0].What)
				require.NotEmpty(t, done)
			}
			require.NotEmpty(t, rightsOf(t, pool, grants.Application), "what was needed is granted")

			_, err := schema.Grant(t.Context(), pool, grants)
			var excess *schema.ExcessError
			require.ErrorAs(t, err, &excess)
			exec(t, pool, excess.Excess[0].Repair)
			done, err := schema.Grant(t.Context(), pool, grants)
			require.NoError(t, err)
			require.Empty(t, done)
		})
	}
}

func TestGrantRefuses(t *testing.T) {
	t.Parallel()
	pool, grants := granted(t)
	for says, g := range map[string]schema.Grants{
		"no role is named: there is nothing to grant":                                {},
		"a can't be both roles: the application must not delete from the log":        {Application: "a", Purge: "a"},
		`"public" is PostgreSQL's own: name a role of yours`:                         {Application: "public"},
		`"pg_monitor" is PostgreSQL's own: name a role of yours`:                     {Purge: "pg_monitor"},
		`the role's name "` + strings.Repeat("é", 32) + `" is longer than 63 bytes`:  {Application: strings.Repeat("é", 32)},
		"postgres owns activity_logs: an owner may do everything, name another role": {Application: "postgres"},
	} {
		for _, grant := range []func(context.Context, *pgxpool.Pool, schema.Grants) ([]string, error){schema.PlanGrant, schema.Grant} {
			_, err := grant(t.Context(), pool, g)
			require.EqualError(t, err, says)
		}
	}

	_, err := schema.Grant(t.Context(), open(t, storetest.EmptyURL(t)), grants)
	require.ErrorIs(t, err, schema.ErrDatabaseOlder)
	exec(t, pool, `INSERT INTO rowhouse_db_version (version_id, is_applied) VALUES (99, true)`)
	_, err = schema.Grant(t.Context(), pool, grants)
	require.ErrorIs(t, err, schema.ErrDatabaseNewer)
}

// A role that owns the tables, and is no superuser, can grant; it must be able to create
// roles only where there is none.
func TestGrantAsAnOwner(t *testing.T) {
	t.Parallel()
	admin := open(t, storetest.EmptyURL(t))
	exec(t, admin, `REVOKE CREATE ON SCHEMA public FROM PUBLIC`)
	owner := roleName(t, admin, "owner")
	grants := schema.Grants{Application: roleName(t, admin, "app"), Purge: roleName(t, admin, "purge")}
	exec(t, admin, fmt.Sprintf(`CREATE ROLE %[1]s; GRANT USAGE, CREATE ON SCHEMA public TO %[1]s`, quoted(owner)))
	pool := open(t, admin.Config().ConnString(), setting("role", owner))
	migrate(t, pool)

	_, err := schema.Grant(t.Context(), pool, grants)
	require.ErrorContains(t, err, "grant: there is no role "+grants.Application+", and this one may not create it: run CREATE ROLE "+quoted(grants.Application)+" NOLOGIN; as one that has CREATEROLE, then grant again: ")
	plan, err := schema.PlanGrant(t.Context(), pool, grants)
	require.NoError(t, err)
	require.Equal(t, "CREATE ROLE "+quoted(grants.Application)+" NOLOGIN;", plan[0])

	exec(t, admin, `ALTER ROLE `+quoted(owner)+` CREATEROLE`)
	_, err = schema.Grant(t.Context(), pool, grants)
	require.NoError(t, err)
	require.Empty(t, lines(t, admin, `SELECT rolname::text FROM pg_roles WHERE rolname IN ($1, $2) AND rolcanlogin`, grants.Application, grants.Purge))

	// A stranger can't.
	stranger := roleName(t, admin, "stranger")
	exec(t, admin, fmt.Sprintf(`CREATE ROLE %[1]s; GRANT SELECT ON rowhouse_db_version TO %[1]s`, quoted(stranger)))
	_, err = schema.Grant(t.Context(), open(t, admin.Config().ConnString(), setting("role", stranger)), grants)
	require.EqualError(t, err, "activity_logs belongs to "+quoted(owner)+", and "+quoted(stranger)+" is not one: grant as "+quoted(owner))

	// What another role gave, the owner can't take.
	exec(t, admin, fmt.Sprintf(`CREATE TABLE lent (id integer); GRANT SELECT ON users TO %[1]s WITH GRANT OPTION;
		SET ROLE %[1]s; GRANT SELECT ON users TO %[2]s; RESET ROLE`, quoted(stranger), quoted(grants.Purge)))
	before := rightsOf(t, admin, grants.Purge)
	_, err = schema.Grant(t.Context(), pool, grants)
	require.EqualError(t, err, "grant: what was granted by another role, or belongs to one, is for that one to change: REVOKE SELECT ON TABLE public.users FROM "+quoted(grants.Purge)+";")
	require.Equal(t, before, rightsOf(t, admin, grants.Purge), "nothing was changed")
}

// In a schema of its own, where a role may not even look around, and on that copy alone.
func TestGrantInASchema(t *testing.T) {
	t.Parallel()
	public, grants := granted(t)
	exec(t, public, `CREATE SCHEMA "Tenant ""1"""; CREATE SEQUENCE "Tenant ""1""".other; REVOKE CONNECT ON DATABASE `+quoted(public.Config().ConnConfig.Database)+` FROM PUBLIC`)
	tenant := open(t, public.Config().ConnString(), setting("search_path", `"Tenant ""1""", public`))
	migrate(t, tenant)
	exec(t, tenant, `ALTER TABLE users ALTER id SET DEFAULT nextval('other'); ALTER TABLE teams ALTER id DROP DEFAULT, ALTER id ADD GENERATED BY DEFAULT AS IDENTITY (SEQUENCE NAME teams_identity)`)
	done, err := schema.Grant(t.Context(), tenant, grants)
	require.NoError(t, err)
	app := quoted(grants.Application)
	for _, statement := range []string{
		`GRANT USAGE ON SCHEMA "Tenant ""1""" TO ` + app + ";",
		"GRANT CONNECT ON DATABASE " + public.Config().ConnConfig.Database + " TO " + app + ";",
		`GRANT USAGE ON SEQUENCE "Tenant ""1""".other TO ` + app + ";",
		`GRANT USAGE ON SEQUENCE "Tenant ""1""".teams_identity TO ` + app + ";",
	} {
		require.Contains(t, done, statement)
	}
	for _, right := range rightsOf(t, public, grants.Application) {
		require.True(t, strings.HasPrefix(right, `"Tenant ""1""".`) || strings.HasPrefix(right, `Tenant "1" `) || right == "database CONNECT", "%s", right)
	}
	done, err = schema.Grant(t.Context(), tenant, grants)
	require.NoError(t, err)
	require.Empty(t, done)

	as := open(t, tenant.Config().ConnString(), setting("search_path", `"Tenant ""1"""`), setting("role", grants.Application))
	require.NoError(t, schema.Verify(t.Context(), as))
	_, err = as.Exec(t.Context(), `INSERT INTO users (email, password_hash) VALUES ('a@example.com', 'x'); INSERT INTO teams (name) VALUES ('a')`)
	require.NoError(t, err)
}

// Many at once, on one database and on two of a server.
func TestGrantsAtOnce(t *testing.T) {
	t.Parallel()
	pool, grants := granted(t)
	other := open(t, storetest.EmptyURL(t))
	exec(t, other, `REVOKE CREATE ON SCHEMA public FROM PUBLIC`)
	migrate(t, other)
	t.Cleanup(func() {
		_, err := other.Exec(context.WithoutCancel(t.Context()), "DROP OWNED BY "+quoted(grants.Application)+", "+quoted(grants.Purge))
		require.NoError(t, err)
	})
	start, errs := make(chan struct{}), make(chan error)
	const each = 8
	for _, on := range []*pgxpool.Pool{pool, other} {
		for range each {
			go func() {
				<-start
				_, err := schema.Grant(t.Context(), on, grants)
				errs <- err
			}()
		}
	}
	close(start)
	for range 2 * each {
		require.NoError(t, <-errs)
	}
	for _, on := range []*pgxpool.Pool{pool, other} {
		done, err := schema.PlanGrant(t.Context(), on, grants)
		require.NoError(t, err)
		require.Empty(t, done)
	}
}
