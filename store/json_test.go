package store_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"maps"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/tracelog"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// The keys of the TypeScript types: each column of the seed's pgTable definitions. In
// an insert type the columns that the database generates, or that may be null, are
// optional. Only passwordHash is left out, of both.
var typescriptTypes = []struct {
	selected any
	inserted any
	keys     []string
	optional []string
}{
	{db.User{}, db.NewUser{},
		[]string{"id", "name", "email", "role", "createdAt", "updatedAt", "deletedAt"},
		[]string{"id", "name", "role", "createdAt", "updatedAt", "deletedAt"}},
	{db.Team{}, db.NewTeam{},
		[]string{"id", "name", "createdAt", "updatedAt", "stripeCustomerId", "stripeSubscriptionId", "stripeProductId", "planName", "subscriptionStatus"},
		[]string{"id", "createdAt", "updatedAt", "stripeCustomerId", "stripeSubscriptionId", "stripeProductId", "planName", "subscriptionStatus"}},
	{db.TeamMember{}, db.NewTeamMember{},
		[]string{"id", "userId", "teamId", "role", "joinedAt"},
		[]string{"id", "joinedAt"}},
	{db.ActivityLog{}, db.NewActivityLog{},
		[]string{"id", "teamId", "userId", "action", "timestamp", "ipAddress"},
		[]string{"id", "userId", "timestamp", "ipAddress"}},
	{db.Invitation{}, db.NewInvitation{},
		[]string{"id", "teamId", "email", "role", "invitedBy", "invitedAt", "status"},
		[]string{"id", "invitedAt", "status"}},
}

func TestJSONHasTheTypeScriptKeys(t *testing.T) {
	t.Parallel()
	for _, ts := range typescriptTypes {
		t.Run(reflect.TypeOf(ts.selected).Name(), func(t *testing.T) {
			t.Parallel()
			require.ElementsMatch(t, ts.keys, jsonKeys(t, ts.selected), "select type, all null")
			require.ElementsMatch(t, ts.keys, jsonKeys(t, filled(reflect.TypeOf(ts.selected), "x").Interface()), "select type")
			required := slices.DeleteFunc(slices.Clone(ts.keys), func(key string) bool { return slices.Contains(ts.optional, key) })
			require.ElementsMatch(t, required, jsonKeys(t, ts.inserted), "insert type, all unset")
			require.ElementsMatch(t, ts.keys, jsonKeys(t, filled(reflect.TypeOf(ts.inserted), "x").Interface()), "insert type")
		})
	}
	field, _ := reflect.TypeFor[db.NewUser]().FieldByName("PasswordHash")
	require.Equal(t, reflect.TypeFor[db.PasswordHash](), field.Type, "JSON leaves it out, the type does not")
}

func jsonKeys(t *testing.T, v any) []string {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	var object map[string]any
	require.NoError(t, json.Unmarshal(text, &object))
	return slices.Collect(maps.Keys(object))
}

// TeamDataWithMembers, as the TypeScript app's route answers with it.
func TestTeamWithMembersJSON(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	ctx := t.Context()
	moment := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.FixedZone("", -9000)) // 05:34:05.678 in UTC
	user := func(id db.UserID, name *string) db.UserID {
		id, err := db.NewUser{ID: &id, Name: name, Email: fmt.Sprintf("user%d@example.com", id), PasswordHash: "hash"}.Insert(ctx, admin(st))
		require.NoError(t, err)
		return id
	}
	team := func(row db.NewTeam) {
		row.CreatedAt, row.UpdatedAt = &moment, new(moment.Add(time.Hour))
		_, err := row.Insert(ctx, admin(st))
		require.NoError(t, err)
	}
	ada, nameless := user(11, new("Ada")), user(12, nil)
	team(db.NewTeam{ID: new(db.TeamID(21)), Name: "House", StripeCustomerID: new("cus_1"), StripeSubscriptionID: new("sub_1"),
		StripeProductID: new("prod_1"), PlanName: new("Plus"), SubscriptionStatus: new(db.SubscriptionActive)})
	team(db.NewTeam{ID: new(db.TeamID(22)), Name: `Empty "<&>"`})
	for i, row := range []db.NewTeamMember{{UserID: ada, Role: db.RoleOwner}, {UserID: nameless, Role: db.RoleMember}} {
		row.ID, row.TeamID, row.JoinedAt = new(db.TeamMemberID(31+i)), 21, new(moment.Add(time.Duration(i)*time.Minute))
		_, err := row.Insert(ctx, admin(st))
		require.NoError(t, err)
	}

	requireTeamJSON(t, st, 21, `{
		"id": 21, "name": "House", "createdAt": "2026-01-02T05:34:05.678Z", "updatedAt": "2026-01-02T06:34:05.678Z",
		"stripeCustomerId": "cus_1", "stripeSubscriptionId": "sub_1", "stripeProductId": "prod_1",
		"planName": "Plus", "subscriptionStatus": "active",
		"teamMembers": [
			{"id": 31, "userId": 11, "teamId": 21, "role": "owner", "joinedAt": "2026-01-02T05:34:05.678Z",
				"user": {"id": 11, "name": "Ada", "email": "user11@example.com"}},
			{"id": 32, "userId": 12, "teamId": 21, "role": "member", "joinedAt": "2026-01-02T05:35:05.678Z",
				"user": {"id": 12, "name": null, "email": "user12@example.com"}}
		]}`)
	requireTeamJSON(t, st, 22, `{
		"id": 22, "name": "Empty \"<&>\"", "createdAt": "2026-01-02T05:34:05.678Z", "updatedAt": "2026-01-02T06:34:05.678Z",
		"stripeCustomerId": null, "stripeSubscriptionId": null, "stripeProductId": null,
		"planName": null, "subscriptionStatus": null, "teamMembers": []}`)

	home, err := st.TeamForUser(ctx, nameless)
	require.NoError(t, err)
	same, err := st.TeamWithMembers(ctx, 21)
	require.NoError(t, err)
	require.Equal(t, same, home)
}

func requireTeamJSON(t *testing.T, st *store.Store, id db.TeamID, want string) {
	t.Helper()
	team, err := st.TeamWithMembers(t.Context(), id)
	require.NoError(t, err)
	got, err := json.Marshal(team)
	require.NoError(t, err)
	require.JSONEq(t, want, string(got))
}

// A list without rows is [] in JSON, not null.
func TestEmptyListsAreNotNull(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	exec(t, st, "DELETE FROM activity_logs")
	exec(t, st, "DELETE FROM team_members")
	list := func(rows any, _ store.Cursor, err error) {
		t.Helper()
		require.NoError(t, err)
		text, err := json.Marshal(rows)
		require.NoError(t, err)
		require.Equal(t, "[]", string(text))
	}
	members, next, err := st.Members(t.Context(), h.team.ID, store.Page{})
	list(members, next, err)
	memberships, next, err := st.Memberships(t.Context(), h.owner.ID, store.Page{})
	list(memberships, next, err)
	activity, next, err := st.TeamActivity(t.Context(), h.team.ID, store.ActivityPage{})
	list(activity, next, err)
	activity, next, err = st.UserActivity(t.Context(), h.owner.ID, store.ActivityPage{})
	list(activity, next, err)
	sent, next, err := st.Invitations(t.Context(), h.team.ID, store.Page{})
	list(sent, next, err)
	sent, next, err = st.InvitationsSent(t.Context(), h.owner.ID, store.Page{})
	list(sent, next, err)
}

// canary stands for a password hash or a token. What holds it must not show it.
const canary = "$2b$10$canary-hidden-in-the-house"

// secretHolders are the types with a field that is, or holds, a password hash or a token.
var secretHolders = []reflect.Type{
	reflect.TypeFor[db.PasswordHash](), reflect.TypeFor[store.Token](),
	reflect.TypeFor[db.User](), reflect.TypeFor[db.NewUser](),
	reflect.TypeFor[db.InsertUserParams](), reflect.TypeFor[db.SignUpParams](), reflect.TypeFor[db.SignUpWithInvitationParams](),
	reflect.TypeFor[db.UpdatePasswordParams](), reflect.TypeFor[db.GetCredentialsRow](),
	reflect.TypeFor[store.SignUp](), reflect.TypeFor[store.SignUpWithInvitation](), reflect.TypeFor[store.Credentials](),
	reflect.TypeFor[store.UpdatePassword](), reflect.TypeFor[store.AcceptInvitation](), reflect.TypeFor[store.DeclineInvitation](),
	reflect.TypeFor[store.Invited](), reflect.TypeFor[store.SignedUp](), reflect.TypeFor[db.SignUpWithInvitationRow](),
	reflect.TypeFor[db.ListUsersRow](), reflect.TypeFor[db.UpdateAccountRow](),
}

func TestSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	for _, typ := range secretHolders {
		t.Run(typ.String(), func(t *testing.T) {
			t.Parallel()
			v := filled(typ, canary)
			pointer := reflect.New(typ)
			pointer.Elem().Set(v)
			require.Contains(t, fmt.Sprintf("%v", secretsIn(v)), canary, "the value has the canary, and so the test can fail")
			slice := reflect.Append(reflect.MakeSlice(reflect.SliceOf(typ), 0, 1), v)
			byName := reflect.MakeMap(reflect.MapOf(reflect.TypeFor[string](), typ))
			byName.SetMapIndex(reflect.ValueOf("key"), v)
			pointers := reflect.MakeMap(reflect.MapOf(reflect.TypeFor[string](), pointer.Type()))
			pointers.SetMapIndex(reflect.ValueOf("key"), pointer)
			for _, holder := range []any{
				v.Interface(), pointer.Interface(), slice.Interface(), byName.Interface(),
				[]any{v.Interface()}, struct{ Held any }{v.Interface()}, fmt.Errorf("held: %v", v.Interface()),
			} {
				requireHidden(t, shown(t, holder, "v", "+v", "#v", "s", "q", "x", "X", "# x", "d", "c", "U", "o", "b", "t", "e", "10.3s"))
			}
			for _, holder := range []any{pointers.Interface(), []any{pointer.Interface()}, struct{ Held any }{pointer.Interface()}} {
				requireHidden(t, shown(t, holder, "v", "+v", "#v"))
			}
			if typ.Comparable() {
				keys := reflect.MakeMap(reflect.MapOf(typ, reflect.TypeFor[int]()))
				keys.SetMapIndex(v, reflect.ValueOf(1))
				requireHidden(t, fmt.Sprintf("%v %+v %#v", keys.Interface(), keys.Interface(), keys.Interface()))
			}
		})
	}
}

// shown is all that fmt, JSON and slog make of a value.
func shown(t *testing.T, v any, verbs ...string) string {
	t.Helper()
	var out bytes.Buffer
	for _, verb := range verbs {
		fmt.Fprintf(&out, "%"+verb+"\n", v)
	}
	fmt.Fprintln(&out, v)
	text, err := json.MarshalIndent(v, "", " ")
	require.NoError(t, err)
	out.Write(text)
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		log := slog.New(handler).With("with", v)
		log.Info("message", "value", v, slog.Group("group", "value", v))
	}
	return out.String()
}

// requireHidden: neither the canary is in a text, nor its bytes in another notation.
func requireHidden(t *testing.T, text string) {
	t.Helper()
	plain := []byte(canary)
	for _, form := range []string{
		canary, "canary", // also without what a format would escape
		hex.EncodeToString(plain), strings.ToUpper(hex.EncodeToString(plain)), fmt.Sprintf("% x", plain),
		strings.Trim(fmt.Sprint(plain), "[]"), base64.StdEncoding.EncodeToString(plain), base64.RawURLEncoding.EncodeToString(plain),
	} {
		require.NotContains(t, text, form)
	}
}

// filled is a value of a type with all its fields set: the texts to s.
func filled(typ reflect.Type, s string) reflect.Value {
	v := reflect.New(typ).Elem()
	switch typ.Kind() {
	case reflect.String:
		if s == canary && !isSecret(typ) {
			s = "text" // which may be shown
		}
		v.SetString(s)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(7)
	case reflect.Pointer:
		v.Set(reflect.New(typ.Elem()))
		v.Elem().Set(filled(typ.Elem(), s))
	case reflect.Slice:
		if typ.Elem().Kind() == reflect.Uint8 {
			v.Set(reflect.ValueOf([]byte("{}")).Convert(typ))
		} else {
			v.Set(reflect.Append(v, filled(typ.Elem(), s)))
		}
	case reflect.Struct:
		for i := range typ.NumField() {
			if typ.Field(i).IsExported() {
				v.Field(i).Set(filled(typ.Field(i).Type, s))
			}
		}
	}
	return v
}

// secretsIn are the password hashes and tokens in a value.
func secretsIn(v reflect.Value) (secrets []string) {
	switch {
	case isSecret(v.Type()):
		return []string{v.String()}
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			secrets = append(secrets, secretsIn(v.Field(i))...)
		}
	}
	return secrets
}

func isSecret(typ reflect.Type) bool {
	return typ == reflect.TypeFor[db.PasswordHash]() || typ == reflect.TypeFor[store.Token]()
}

// A field of an exported struct that is named like a secret has a type that hides it,
// or holds the bytes of a token's SHA-256; and every struct with such a type is among
// secretHolders.
func TestSecretFieldsHideThemselves(t *testing.T) {
	t.Parallel()
	named := regexp.MustCompile(`(?i)(hash|token|secret|password)$|expected`)
	listed := make(map[string]bool)
	for _, typ := range secretHolders {
		listed[typ.String()] = true
	}
	found := 0
	for pkg, dir := range map[string]string{"store": ".", "db": "../db"} {
		for name, fields := range structs(t, dir) {
			for field, typ := range fields {
				secret := slices.Contains([]string{"PasswordHash", "db.PasswordHash", "Token"}, strings.TrimLeft(typ, "*[]"))
				if named.MatchString(field) {
					require.True(t, secret || field == "TokenHash" && typ == "[]byte", "%s.%s.%s is a %s", pkg, name, field, typ)
				}
				if secret {
					require.True(t, listed[pkg+"."+name], "%s.%s belongs into secretHolders", pkg, name)
					found++
				}
			}
		}
	}
	require.GreaterOrEqual(t, found, 10)
}

// structs are the exported structs of a package: their fields' types by their names.
func structs(t *testing.T, dir string) map[string]map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	found := make(map[string]map[string]string)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		ast.Inspect(tree, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || !spec.Name.IsExported() {
				return true
			}
			if fields, ok := spec.Type.(*ast.StructType); ok {
				found[spec.Name.Name] = make(map[string]string)
				for _, field := range fields.Fields.List {
					for _, name := range field.Names {
						found[spec.Name.Name][name.Name] = typeText(field.Type)
					}
				}
			}
			return true
		})
	}
	require.NotEmpty(t, found)
	return found
}

func typeText(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return typeText(e.X) + "." + e.Sel.Name
	case *ast.StarExpr:
		return "*" + typeText(e.X)
	case *ast.ArrayType:
		return "[]" + typeText(e.Elt)
	}
	return fmt.Sprintf("%T", e)
}

// Neither the errors of operations that got a secret, nor what a tracer logs of their
// statements with all arguments, show it: when they succeed, are refused or break.
func TestErrorsAndTracesHideSecrets(t *testing.T) {
	t.Parallel()
	var traced bytes.Buffer
	var mu sync.Mutex
	st := newStore(t, func(config *pgxpool.Config) {
		config.ConnConfig.Tracer = &tracelog.TraceLog{LogLevel: tracelog.LogLevelTrace, Logger: tracelog.LoggerFunc(
			func(ctx context.Context, _ tracelog.LogLevel, msg string, data map[string]any) {
				mu.Lock()
				defer mu.Unlock()
				fmt.Fprintf(&traced, "%v %+v %#v\n", data, data, data["args"])
				for _, handler := range []slog.Handler{slog.NewTextHandler(&traced, nil), slog.NewJSONHandler(&traced, nil)} {
					log := slog.New(handler)
					for key, value := range data {
						log = log.With(key, value)
					}
					log.InfoContext(ctx, msg)
				}
			})}
	})
	h := newHouse(t, st)
	inv, token := h.invite(newEmail(), db.RoleMember)
	_, another := h.invite(h.join(db.RoleMember).User.Email+".org", db.RoleMember)
	operations := map[string]func() error{
		"SignUp": func() error {
			_, err := st.SignUp(t.Context(), store.SignUp{Email: newEmail(), PasswordHash: canary})
			return err
		},
		"SignUp taken": func() error {
			_, err := st.SignUp(t.Context(), store.SignUp{Email: h.owner.Email, PasswordHash: canary})
			return err
		},
		"SignUp refused": func() error {
			_, err := st.SignUp(t.Context(), store.SignUp{Email: newEmail(), PasswordHash: canary + "\x00"})
			return err
		},
		"SignUpWithInvitation": func() error {
			_, err := st.SignUpWithInvitation(t.Context(), store.SignUpWithInvitation{Email: newEmail(), PasswordHash: canary, Token: token})
			return err
		},
		"SignUpWithInvitation unknown": func() error {
			_, err := st.SignUpWithInvitation(t.Context(), store.SignUpWithInvitation{Email: inv.Email, PasswordHash: canary, Token: canary})
			return err
		},
		"AcceptInvitation": func() error {
			_, _, err := st.AcceptInvitation(t.Context(), store.AcceptInvitation{Actor: h.actor, Token: another})
			return err
		},
		"AcceptInvitation unknown": func() error {
			_, _, err := st.AcceptInvitation(t.Context(), store.AcceptInvitation{Actor: h.actor, Token: canary})
			return err
		},
		"AcceptInvitation refused": func() error {
			_, _, err := st.AcceptInvitation(t.Context(), store.AcceptInvitation{Actor: h.actor, Token: canary, InvitationID: 1})
			return err
		},
		"DeclineInvitation unknown": func() error {
			return st.DeclineInvitation(t.Context(), store.DeclineInvitation{Actor: h.actor, Token: canary})
		},
		"UpdatePassword": func() error {
			return st.UpdatePassword(t.Context(), store.UpdatePassword{Actor: h.actor, PasswordHash: canary})
		},
		"UpdatePassword unexpected": func() error {
			return st.UpdatePassword(t.Context(), store.UpdatePassword{Actor: h.actor, PasswordHash: "new", Expected: canary + "!"})
		},
		"Credentials": func() error {
			_, err := st.Credentials(t.Context(), h.owner.Email)
			return err
		},
		"NewUser.Insert": func() error {
			_, err := db.NewUser{Email: newEmail(), PasswordHash: canary}.Insert(t.Context(), st.Conn())
			return err
		},
		"canceled": func() error {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return st.UpdatePassword(ctx, store.UpdatePassword{Actor: h.actor, PasswordHash: canary})
		},
	}
	refused := 0
	run := func() {
		for name, op := range operations {
			if err := op(); err != nil {
				refused++
				requireHidden(t, name+" "+shownError(err))
			}
		}
	}
	run()
	// A failure whose detail is the failing row, the hash in it.
	exec(t, st, "ALTER TABLE users ADD CONSTRAINT closed CHECK (false) NOT VALID")
	run()
	require.GreaterOrEqual(t, refused, 14)
	mu.Lock()
	log := traced.String()
	mu.Unlock()
	require.Contains(t, log, "args")
	require.Contains(t, log, "[redacted]")
	require.Contains(t, log, "23514", "check_violation")
	requireHidden(t, log)
	for _, token := range []store.Token{token, another} {
		require.NotContains(t, log, string(token))
		raw, err := base64.RawURLEncoding.DecodeString(string(token))
		require.NoError(t, err)
		require.NotContains(t, log, hex.EncodeToString(raw))
	}
}

// shownError is all that a log makes of an error and of what it wraps.
func shownError(err error) string {
	var out bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("failed", "err", err)
	}
	fmt.Fprintf(&out, "%v %+v %s %q\n", err, err, err, err)
	return out.String()
}
