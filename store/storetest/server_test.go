package storetest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/rowhouse/rowhouse/internal/throwaway"
)

// What a test process leaves on a server, and how it ends, is seen from outside:
// this test binary runs again as a child that does what one test does.
const childVariable = "STORETEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) == "" {
		goleak.VerifyTestMain(m) // which exits
	}
	p := &probe{ctx: context.Background()}
	report := func(url string) {
		if err := json.NewEncoder(os.Stdout).Encode(childReport{URL: url, Log: p.log.String()}); err != nil {
			panic(err)
		}
	}
	p.run(func() { report(URL(p)) })
	if p.failed {
		report("")
		return
	}
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		p.failed = orders.Text() == "fail"
		p.end()
		report("")
	}
}

type childReport struct{ URL, Log string }

type child struct {
	process *exec.Cmd
	orders  io.WriteCloser
	reports *json.Decoder
}

func startChild(t *testing.T, env ...string) *child {
	t.Helper()
	executable, err := os.Executable()
	require.NoError(t, err)
	c := &child{process: exec.Command(executable)}
	c.process.Env = append(append(os.Environ(), childVariable+"=1", "STORETEST_KEEP="), env...)
	c.orders, err = c.process.StdinPipe()
	require.NoError(t, err)
	out, err := c.process.StdoutPipe()
	require.NoError(t, err)
	c.reports = json.NewDecoder(out)
	require.NoError(t, c.process.Start())
	t.Cleanup(c.kill)
	return c
}

func (c *child) kill() {
	_ = c.process.Process.Kill()
	_ = c.process.Wait()
}

func (c *child) report(t *testing.T) (r childReport) {
	t.Helper()
	require.NoError(t, c.reports.Decode(&r))
	return r
}

// usersServer plays a server of the user's: one with other roles, which demand
// passwords. It returns the URL of a role that has CREATEDB, and root's.
func usersServer(t *testing.T) (user, root string) {
	t.Helper()
	server, err := throwaway.Start(t.Context(), throwaway.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop(context.Background())) })
	for _, statement := range []string{
		`ALTER ROLE postgres SET password_encryption = 'scram-sha-256'`, // the default from 14 on
		`CREATE ROLE tester LOGIN CREATEDB PASSWORD 'se/cret'`,
		`CREATE ROLE reader LOGIN PASSWORD 'se/cret'`,
		`CREATE DATABASE rowhouse`,
		`CREATE DATABASE rowhouse_test_mine OWNER tester`,
		`CREATE DATABASE rowhouse_test_00000000_1 OWNER tester`,
	} {
		execute(t, server.URL, statement)
	}
	file := query[string](t, server.URL, `SELECT current_setting('hba_file')`)
	rules := `E'local all postgres trust\nlocal all all scram-sha-256\nhost all postgres all trust\nhost all all all scram-sha-256'`
	execute(t, server.URL, fmt.Sprintf(`COPY (SELECT regexp_split_to_table(%s, E'\n')) TO '%s'`, rules, file))
	execute(t, server.URL, `SELECT pg_reload_conf()`)
	user = as(t, server.URL, "tester")
	require.Eventually(t, func() bool {
		conn, err := pgx.Connect(t.Context(), strings.ReplaceAll(user, "cret", "wrong"))
		if err != nil {
			return true
		}
		_ = conn.Close(t.Context())
		return false
	}, 10*time.Second, 5*time.Millisecond, "the server asks for no password")
	return user, server.URL
}

func as(t *testing.T, raw, role string) string {
	t.Helper()
	u, err := url.Parse(raw)
	require.NoError(t, err)
	u.User = url.UserPassword(role, "se/cret")
	return u.String()
}

func execute(t *testing.T, url, statement string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), statement)
	require.NoError(t, err)
}

// open is a run on a server; what it returns may be cut off by closing its owner.
func open(t *testing.T, url string) *server {
	t.Helper()
	s, err := openServer(t.Context(), url, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.owner.Close(context.Background()) })
	return s
}

func create(t *testing.T, s *server) *database {
	t.Helper()
	template, err := s.template()
	require.NoError(t, err)
	d, err := s.create(t.Context(), template)
	require.NoError(t, err)
	return d
}

func databases(t *testing.T, root string) []string {
	t.Helper()
	return query[[]string](t, root, `
		SELECT array_agg(datname::text ORDER BY datname) FROM pg_database WHERE datname NOT LIKE '%template_%'`)
}

// The server is of the major that .ci/majors means to test on.
func TestMajor(t *testing.T) {
	t.Parallel()
	want := os.Getenv("TEST_POSTGRES_MAJOR")
	if want == "" {
		t.Skip("TEST_POSTGRES_MAJOR names none")
	}
	require.Equal(t, want, query[string](t, URL(t), `SELECT (current_setting('server_version_num')::integer / 10000)::text`))
}

func TestUsersServer(t *testing.T) {
	t.Parallel()
	user, root := usersServer(t)
	before := databases(t, root)
	c := startChild(t, urlVariable+"="+user, "DATABASE_URL=postgres://127.0.0.1:9/never", "TEST_POSTGRES_PROVIDER=never")
	first := c.report(t)
	require.Empty(t, first.Log)
	require.True(t, query[bool](t, first.URL, hasUsers))
	require.Equal(t, "tester", query[string](t, first.URL, `SELECT tableowner::text FROM pg_tables WHERE tablename = 'users'`))
	require.Regexp(t, `^rowhouse_test_\d+_[0-9a-f]{8}_1$`, query[string](t, first.URL, `SELECT current_database()::text`))
	_, err := io.WriteString(c.orders, "fail\n")
	require.NoError(t, err)
	failed := c.report(t)
	require.Contains(t, failed.Log, "the database was postgres://tester@")
	require.NotContains(t, failed.Log, "cret")
	require.Equal(t, before, databases(t, root))
}

func TestUsersServerThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	c := startChild(t, urlVariable+"=postgres://u:secret@127.0.0.1:9/d")
	failed := c.report(t)
	require.Contains(t, failed.Log, "storetest: TEST_DATABASE_URL: cannot connect: ")
	require.NotContains(t, failed.Log, "secret")
}

func TestRoleWithoutCreateDB(t *testing.T) {
	t.Parallel()
	user, _ := usersServer(t)
	_, err := openServer(t.Context(), strings.Replace(user, "tester", "reader", 1), nil)
	require.EqualError(t, err, `role "reader" may not create databases, and each test needs one: run ALTER ROLE "reader" CREATEDB as a superuser`)
}

func TestSweep(t *testing.T) {
	t.Parallel()
	user, root := usersServer(t)
	before := databases(t, root)

	killed := startChild(t, urlVariable+"="+user)
	killed.report(t)
	killed.kill()
	alive, dead, busy, kept := open(t, user), open(t, user), open(t, user), open(t, user)
	mine, theirs, inUse, wanted := create(t, alive), create(t, dead), create(t, busy), create(t, kept)
	session, err := pgx.Connect(t.Context(), inUse.url())
	require.NoError(t, err)
	defer session.Close(context.Background())
	how, err := wanted.keep(t.Context(), "Test'Quoted")
	require.NoError(t, err)
	require.Equal(t, `DROP DATABASE "`+wanted.name+`" removes it`, how)
	other := open(t, strings.Replace(user, "/postgres?", "/rowhouse_test_mine?", 1)) // locks of its own
	elsewhere := create(t, other)
	for _, s := range []*server{dead, busy, kept, other} {
		require.NoError(t, s.owner.Close(t.Context()))
	}
	require.Eventually(t, func() bool { // the server notices the end of a session by and by
		return query[int](t, root, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid::bigint = $1`, lockRun) == 1
	}, 10*time.Second, 5*time.Millisecond)

	open(t, user)
	left := databases(t, root)
	require.Subset(t, left, before, "what is not ours, whatever its name")
	require.Subset(t, left, []string{mine.name, inUse.name, wanted.name, elsewhere.name})
	require.NotContains(t, left, theirs.name)
	require.Len(t, left, len(before)+4, "the killed child's is gone too")

	require.NoError(t, session.Close(t.Context()))
	require.Eventually(t, func() bool {
		open(t, user)
		return !exists(t, alive, inUse.url())
	}, 10*time.Second, 10*time.Millisecond, "swept once nobody uses it")
}

func TestRunsAtOnceShareOneTemplate(t *testing.T) {
	t.Parallel()
	user, root := usersServer(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			s, err := openServer(t.Context(), user, nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.owner.Close(context.Background())
			name, err := s.template()
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := s.create(t.Context(), name); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	require.Equal(t, 1, query[int](t, root, `SELECT count(*) FROM pg_database WHERE datname LIKE 'rowhouse_test_%template_%'`))
}

const halfTemplates = `SELECT count(*) FROM pg_database WHERE datname LIKE 'rowhouse_test_%template_%' AND NOT datistemplate`

func TestKilledWhileMakingTheTemplate(t *testing.T) {
	t.Parallel()
	user, root := usersServer(t)
	// The first statement of the migrations hangs, so that there is a middle.
	template0 := strings.Replace(root, "/postgres?", "/template0?", 1)
	execute(t, root, `ALTER DATABASE template0 ALLOW_CONNECTIONS true`)
	execute(t, template0, `CREATE FUNCTION hang() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(600); END'`)
	execute(t, template0, `CREATE EVENT TRIGGER hang ON ddl_command_start EXECUTE FUNCTION hang()`)
	c := startChild(t, urlVariable+"="+user)
	require.Eventually(t, func() bool {
		return query[bool](t, root, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep')`)
	}, 60*time.Second, 5*time.Millisecond)
	c.kill()
	require.Equal(t, 1, query[int](t, root, halfTemplates), "killed in the middle")
	execute(t, template0, `DROP EVENT TRIGGER hang`)

	d := create(t, open(t, user))
	require.True(t, query[bool](t, d.url(), hasUsers))
	require.Zero(t, query[int](t, root, halfTemplates))
}

func TestOldTemplates(t *testing.T) {
	t.Parallel()
	user, root := usersServer(t)
	s := open(t, user)
	old := func(key string) string {
		name := s.prefix + "template_" + key
		execute(t, root, "CREATE DATABASE "+quote(name)+" OWNER tester ALLOW_CONNECTIONS false IS_TEMPLATE true")
		return name
	}
	unused, used := old("00000001ffffffff"), old("fffffff2ffffffff")
	notOurs := s.prefix + "template_00000003ffffffff"
	execute(t, root, "CREATE DATABASE "+quote(notOurs)) // of another role
	key := uint32(0xfffffff2)
	_, err := s.owner.Exec(t.Context(), `SELECT pg_advisory_lock_shared($1, $2)`, lockTemplate, int32(key))
	require.NoError(t, err)

	create(t, open(t, user))
	left := query[[]string](t, root, `SELECT array_agg(datname::text) FROM pg_database`)
	require.NotContains(t, left, unused)
	require.Subset(t, left, []string{used, notOurs})
}

func TestKeepOnUsersServer(t *testing.T) {
	t.Parallel()
	user, root := usersServer(t)
	c := startChild(t, urlVariable+"="+user, "STORETEST_KEEP=1")
	made := c.report(t)
	_, err := io.WriteString(c.orders, "fail\n")
	require.NoError(t, err)
	failed := c.report(t)
	require.Contains(t, failed.Log, "storetest: kept postgres://tester@")
	c.kill()
	open(t, user)
	require.Contains(t, databases(t, root), query[string](t, made.URL, `SELECT current_database()::text`))
	require.Equal(t, "kept for TestProbe", query[string](t, made.URL, `
		SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()`))
}

func TestKeepOnThrowawayServer(t *testing.T) {
	t.Parallel()
	c := startChild(t, urlVariable+"=", "TEST_POSTGRES_PROVIDER=local", "STORETEST_KEEP=1")
	made := c.report(t)
	_, err := io.WriteString(c.orders, "fail\n")
	require.NoError(t, err)
	failed := c.report(t)
	c.kill()
	require.True(t, query[bool](t, made.URL, hasUsers), "kept, and its server")
	_, how, found := strings.Cut(failed.Log, "; kill -INT ")
	require.True(t, found, failed.Log)
	pid, _, _ := strings.Cut(how, " ")
	require.NoError(t, exec.Command("kill", "-INT", pid).Run())
	socket, err := url.Parse(made.URL)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := os.Stat(socket.Query().Get("host"))
		return os.IsNotExist(err)
	}, 10*time.Second, 5*time.Millisecond)
}
