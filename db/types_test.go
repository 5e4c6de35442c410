package db_test

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store/storetest"
)

var formats = map[string]int16{"text": pgtype.TextFormatCode, "binary": pgtype.BinaryFormatCode}

// Ids are sent and read as the columns are, today's and wider ones.
func TestIDsRoundTrip(t *testing.T) {
	t.Parallel()
	m := pgtype.NewMap()
	for name, format := range formats {
		for _, column := range []uint32{pgtype.Int4OID, pgtype.Int8OID} {
			for _, id := range []db.UserID{1, 7, math.MaxInt32} {
				wire, err := m.Encode(column, format, id, nil)
				require.NoError(t, err, name)
				var got db.UserID
				require.NoError(t, m.Scan(column, format, wire, &got), name)
				require.Equal(t, id, got, name)

				wire, err = m.Encode(column, format, &id, nil)
				require.NoError(t, err, name)
				var pointer *db.UserID
				require.NoError(t, m.Scan(column, format, wire, &pointer), name)
				require.Equal(t, &id, pointer, name)
			}
		}
		// What a widened column holds is read.
		wire, err := m.Encode(pgtype.Int8OID, format, int64(1)<<40, nil)
		require.NoError(t, err)
		var got db.TeamID
		require.NoError(t, m.Scan(pgtype.Int8OID, format, wire, &got))
		require.EqualValues(t, 1<<40, got)
	}
}

// An id that no row has is sent as 0, which no row has either: never cut to 32 bits.
func TestIDsBeyond32BitsAreSentAsZero(t *testing.T) {
	t.Parallel()
	pool := storetest.Pool(t)
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		t.Run(mode.String(), func(t *testing.T) {
			for _, id := range []db.TeamID{-1, math.MinInt64, 1 << 31, 1<<32 + 7, 1 << 40, math.MaxInt64} {
				var sent int32
				require.NoError(t, pool.QueryRow(t.Context(), "SELECT $1::integer", mode, id).Scan(&sent))
				require.Zero(t, sent, id)
				require.NoError(t, pool.QueryRow(t.Context(), "SELECT $1::integer", mode, &id).Scan(&sent))
				require.Zero(t, sent, id)
			}
		})
	}
}

func TestTextTypesRoundTrip(t *testing.T) {
	t.Parallel()
	testText[db.Role](t)
	testText[db.InvitationStatus](t)
	testText[db.SubscriptionStatus](t)
	testText[db.ActivityType](t)
	testText[db.PasswordHash](t)
}

// testText: a text that is none of the constants is kept as it is.
func testText[T ~string](t *testing.T) {
	t.Helper()
	m := pgtype.NewMap()
	for name, format := range formats {
		for _, column := range []uint32{pgtype.TextOID, pgtype.VarcharOID} {
			for _, text := range []T{"", "owner", "Unknown", "with 'quotes' and 𝄞"} {
				wire, err := m.Encode(column, format, text, []byte{})
				require.NoError(t, err, name)
				require.Equal(t, string(text), string(wire), name)
				var got T
				require.NoError(t, m.Scan(column, format, wire, &got), name)
				require.Equal(t, string(text), string(got), name)
				var pointer *T
				require.NoError(t, m.Scan(column, format, wire, &pointer), name)
				require.Equal(t, string(text), string(*pointer), name)
			}
		}
	}
}

// NULL is an error, and no zero id or empty status; a pointer takes it.
func TestNullNeedsAPointer(t *testing.T) {
	t.Parallel()
	m := pgtype.NewMap()
	testNull[db.UserID](t, m, pgtype.Int4OID)
	testNull[db.TeamID](t, m, pgtype.Int4OID)
	testNull[db.TeamMemberID](t, m, pgtype.Int4OID)
	testNull[db.ActivityLogID](t, m, pgtype.Int4OID)
	testNull[db.InvitationID](t, m, pgtype.Int4OID)
	testNull[db.Role](t, m, pgtype.VarcharOID)
	testNull[db.InvitationStatus](t, m, pgtype.VarcharOID)
	testNull[db.SubscriptionStatus](t, m, pgtype.VarcharOID)
	testNull[db.ActivityType](t, m, pgtype.TextOID)
	testNull[db.PasswordHash](t, m, pgtype.TextOID)
}

func testNull[T any](t *testing.T, m *pgtype.Map, column uint32) {
	t.Helper()
	for name, format := range formats {
		var value T
		require.ErrorContains(t, m.Scan(column, format, nil, &value), "NULL", name)
		pointer := new(T)
		require.NoError(t, m.Scan(column, format, nil, &pointer), name)
		require.Nil(t, pointer, name)
		wire, err := m.Encode(column, format, (*T)(nil), nil)
		require.NoError(t, err, name)
		require.Nil(t, wire, name)
	}
}

func TestValid(t *testing.T) {
	t.Parallel()
	for list, test := range map[string]func(string) bool{
		"owner member": func(s string) bool { return db.Role(s).Valid() },
		"pending accepted declined canceled expired": func(s string) bool { return db.InvitationStatus(s).Valid() },
		"incomplete incomplete_expired trialing active past_due canceled unpaid paused": func(s string) bool {
			return db.SubscriptionStatus(s).Valid()
		},
		// The seed's ten, then the Store's.
		"SIGN_UP SIGN_IN SIGN_OUT UPDATE_PASSWORD DELETE_ACCOUNT UPDATE_ACCOUNT CREATE_TEAM REMOVE_TEAM_MEMBER " +
			"INVITE_TEAM_MEMBER ACCEPT_INVITATION DECLINE_INVITATION CANCEL_INVITATION UPDATE_SUBSCRIPTION LINK_BILLING": func(s string) bool {
			return db.ActivityType(s).Valid()
		},
	} {
		for text := range strings.FieldsSeq(list) {
			require.True(t, test(text), text)
			require.False(t, test(text+" "), text)
			require.False(t, test(strings.ToUpper(text[:1])+strings.ToLower(text[1:])), text)
		}
		require.False(t, test(""), list)
		require.False(t, test("admin"), list)
	}
}

// A value that is read costs no allocation besides its text, one that is sent costs none.
func TestAllocations(t *testing.T) {
	m := pgtype.NewMap()
	id, text := []byte{0, 0, 1, 0}, []byte("incomplete_expired")
	requireAllocs(t, m, pgtype.Int4OID, id, new(db.UserID), 0)
	requireAllocs(t, m, pgtype.Int4OID, id, new(db.TeamID), 0)
	requireAllocs(t, m, pgtype.Int4OID, id, new(db.TeamMemberID), 0)
	requireAllocs(t, m, pgtype.Int4OID, id, new(db.ActivityLogID), 0)
	requireAllocs(t, m, pgtype.Int4OID, id, new(db.InvitationID), 0)
	requireAllocs(t, m, pgtype.VarcharOID, text, new(db.Role), 1)
	requireAllocs(t, m, pgtype.VarcharOID, text, new(db.InvitationStatus), 1)
	requireAllocs(t, m, pgtype.VarcharOID, text, new(db.SubscriptionStatus), 1)
	requireAllocs(t, m, pgtype.TextOID, text, new(db.ActivityType), 1)
	requireAllocs(t, m, pgtype.TextOID, text, new(db.PasswordHash), 1)
}

func requireAllocs(t *testing.T, m *pgtype.Map, column uint32, wire []byte, dest any, want float64) {
	t.Helper()
	plan := m.PlanScan(column, pgtype.BinaryFormatCode, dest) // as pgx.Rows does, once for all rows
	got := testing.AllocsPerRun(1000, func() {
		if err := plan.Scan(wire, dest); err != nil {
			t.Fatal(err)
		}
	})
	require.Equal(t, want, got, "allocations of a %T that is read", dest)

	buf := make([]byte, 0, 64)
	for _, value := range []any{dest, reflect.ValueOf(dest).Elem().Interface()} {
		got := testing.AllocsPerRun(1000, func() {
			if _, err := m.Encode(column, pgtype.BinaryFormatCode, value, buf); err != nil {
				t.Fatal(err)
			}
		})
		require.Zero(t, got, "allocations of a %T that is sent", value)
	}
}

var (
	moment  = time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC)
	inIndia = moment.In(time.FixedZone("IST", 5*3600+1800))
)

// newfoundland is a pool whose sessions are not in UTC.
func newfoundland(t *testing.T) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(storetest.URL(t))
	require.NoError(t, err)
	config.ConnConfig.RuntimeParams["timezone"] = "Canada/Newfoundland"
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

// What an insert type leaves unset is the column's default, and a time is now in UTC.
func TestInsertTypesWithoutTheOptionalFields(t *testing.T) {
	t.Parallel()
	pool := newfoundland(t)
	ctx := t.Context()
	user, err := db.NewUser{Email: "ada@example.com", PasswordHash: "hash"}.Insert(ctx, pool)
	require.NoError(t, err)
	team, err := db.NewTeam{Name: "House"}.Insert(ctx, pool)
	require.NoError(t, err)
	member, err := db.NewTeamMember{UserID: user, TeamID: team, Role: db.RoleOwner}.Insert(ctx, pool)
	require.NoError(t, err)
	entry, err := db.NewActivityLog{TeamID: team, Action: "EXPORT"}.Insert(ctx, pool)
	require.NoError(t, err)
	invitation, err := db.NewInvitation{TeamID: team, Email: "bo@example.com", Role: "admin", InvitedBy: user}.Insert(ctx, pool)
	require.NoError(t, err)

	users := read[db.User](t, pool, "users")
	now := users[0].CreatedAt
	require.WithinDuration(t, serverClock(t, pool), now, time.Minute)
	require.Equal(t, []db.User{{ID: user, Email: "ada@example.com", PasswordHash: "hash", Role: db.RoleMember, CreatedAt: now, UpdatedAt: now}}, users)
	teams := read[db.Team](t, pool, "teams")
	now = teams[0].CreatedAt
	require.WithinDuration(t, serverClock(t, pool), now, time.Minute)
	require.Equal(t, []db.Team{{ID: team, Name: "House", CreatedAt: now, UpdatedAt: now}}, teams)
	members := read[db.TeamMember](t, pool, "team_members")
	now = members[0].JoinedAt
	require.WithinDuration(t, serverClock(t, pool), now, time.Minute)
	require.Equal(t, []db.TeamMember{{ID: member, UserID: user, TeamID: team, Role: db.RoleOwner, JoinedAt: now}}, members)
	log := read[db.ActivityLog](t, pool, "activity_logs")
	now = log[0].Timestamp
	require.WithinDuration(t, serverClock(t, pool), now, time.Minute)
	require.Equal(t, []db.ActivityLog{{ID: entry, TeamID: team, Action: "EXPORT", Timestamp: now}}, log)
	invitations := read[db.Invitation](t, pool, "invitations")
	now = invitations[0].InvitedAt
	require.WithinDuration(t, serverClock(t, pool), now, time.Minute)
	require.Equal(t, []db.Invitation{{ID: invitation, TeamID: team, Email: "bo@example.com", Role: "admin", InvitedBy: user,
		InvitedAt: now, Status: db.InvitationPending}}, invitations)
}

// What is set is stored as it is; a time of any zone as that moment in UTC.
func TestInsertTypesWithAllFields(t *testing.T) {
	t.Parallel()
	pool := newfoundland(t)
	ctx := t.Context()
	later, laterUTC := inIndia.Add(time.Hour), moment.Add(time.Hour)
	deleted, deletedUTC := inIndia.Add(2*time.Hour), moment.Add(2*time.Hour)

	user, err := db.NewUser{ID: new(db.UserID(101)), Name: new("Ada"), Email: "Ada@Example.com", PasswordHash: "hash",
		Role: new(db.Role("admin")), CreatedAt: &inIndia, UpdatedAt: &later, DeletedAt: &deleted}.Insert(ctx, pool)
	require.NoError(t, err)
	require.EqualValues(t, 101, user)
	require.Equal(t, []db.User{{ID: 101, Name: new("Ada"), Email: "Ada@Example.com", PasswordHash: "hash", Role: "admin",
		CreatedAt: moment, UpdatedAt: laterUTC, DeletedAt: &deletedUTC}}, read[db.User](t, pool, "users"))

	team, err := db.NewTeam{ID: new(db.TeamID(102)), Name: "House", CreatedAt: &inIndia, UpdatedAt: &later, StripeCustomerID: new("cus_1"),
		StripeSubscriptionID: new("sub_1"), StripeProductID: new("prod_1"), PlanName: new("Plus"),
		SubscriptionStatus: new(db.SubscriptionPastDue)}.Insert(ctx, pool)
	require.NoError(t, err)
	require.EqualValues(t, 102, team)
	require.Equal(t, []db.Team{{ID: 102, Name: "House", CreatedAt: moment, UpdatedAt: laterUTC, StripeCustomerID: new("cus_1"),
		StripeSubscriptionID: new("sub_1"), StripeProductID: new("prod_1"), PlanName: new("Plus"),
		SubscriptionStatus: new(db.SubscriptionPastDue)}}, read[db.Team](t, pool, "teams"))

	member, err := db.NewTeamMember{ID: new(db.TeamMemberID(103)), UserID: user, TeamID: team, Role: "admin", JoinedAt: &inIndia}.Insert(ctx, pool)
	require.NoError(t, err)
	require.EqualValues(t, 103, member)
	require.Equal(t, []db.TeamMember{{ID: 103, UserID: 101, TeamID: 102, Role: "admin", JoinedAt: moment}}, read[db.TeamMember](t, pool, "team_members"))

	entry, err := db.NewActivityLog{ID: new(db.ActivityLogID(104)), TeamID: team, UserID: &user, Action: "EXPORT",
		Timestamp: &inIndia, IPAddress: new("2001:db8::1")}.Insert(ctx, pool)
	require.NoError(t, err)
	require.EqualValues(t, 104, entry)
	require.Equal(t, []db.ActivityLog{{ID: 104, TeamID: 102, UserID: &user, Action: "EXPORT", Timestamp: moment,
		IPAddress: new("2001:db8::1")}}, read[db.ActivityLog](t, pool, "activity_logs"))

	invitation, err := db.NewInvitation{ID: new(db.InvitationID(105)), TeamID: team, Email: "Bo@Example.com", Role: db.RoleOwner, InvitedBy: user,
		InvitedAt: &inIndia, Status: new(db.InvitationDeclined)}.Insert(ctx, pool)
	require.NoError(t, err)
	require.EqualValues(t, 105, invitation)
	require.Equal(t, []db.Invitation{{ID: 105, TeamID: 102, Email: "Bo@Example.com", Role: db.RoleOwner, InvitedBy: 101,
		InvitedAt: moment, Status: db.InvitationDeclined}}, read[db.Invitation](t, pool, "invitations"))
}

// An id that the column can't hold is refused by an insert, and not stored as another.
func TestInsertTypesRefuseIDsBeyond32Bits(t *testing.T) {
	t.Parallel()
	pool := storetest.Pool(t)
	for _, id := range []int64{1 << 31, 1<<32 + 7, math.MaxInt64} {
		_, err := db.NewTeam{ID: new(db.TeamID(id)), Name: "House"}.Insert(t.Context(), pool)
		require.Error(t, err, id)
	}
	require.Empty(t, read[db.Team](t, pool, "teams"))
}

func read[T any](t *testing.T, pool *pgxpool.Pool, table string) []T {
	t.Helper()
	rows, err := pool.Query(t.Context(), fmt.Sprintf("SELECT * FROM %s ORDER BY id", table))
	require.NoError(t, err)
	values, err := pgx.CollectRows(rows, pgx.RowToStructByPos[T])
	require.NoError(t, err)
	return values
}

func serverClock(t *testing.T, pool *pgxpool.Pool) (now time.Time) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT timezone('utc', clock_timestamp())").Scan(&now))
	return now
}
