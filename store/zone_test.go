package store_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// The columns have no zone and hold UTC, whatever zone and date style the server, the
// database or the session has.
func TestTimesAreUTCInEveryZone(t *testing.T) {
	t.Parallel()
	for _, session := range []map[string]string{
		{}, // as the database has it, which is in Newfoundland below
		{"timezone": "Canada/Newfoundland"},
		{"timezone": "Asia/Kolkata"},
		{"timezone": "America/Los_Angeles"},
		{"timezone": "UTC"},
		{"timezone": "Pacific/Chatham"},
		{"timezone": "Pacific/Chatham", "datestyle": "German, DMY", "intervalstyle": "sql_standard"},
	} {
		t.Run(fmt.Sprint(session["timezone"], " ", session["datestyle"]), func(t *testing.T) {
			t.Parallel()
			databaseSetting(t, "timezone", "Canada/Newfoundland")
			st := newStore(t, func(config *pgxpool.Config) {
				for name, value := range session {
					config.ConnConfig.RuntimeParams[name] = value
				}
			})
			var zone string
			require.NoError(t, st.Conn().QueryRow(t.Context(), "SHOW timezone").Scan(&zone))
			if session["timezone"] == "" {
				require.Equal(t, "Canada/Newfoundland", zone)
			} else {
				require.Equal(t, session["timezone"], zone)
			}

			for _, op := range operations {
				require.NoError(t, op.prepare(t, st)(st), op.name)
			}
			requireServerTimes(t, st)
			requireGoTimes(t, st)
		})
	}
}

// requireServerTimes: every time in every table is within a minute of the server's
// clock in UTC, and an invitation ends after seven days.
func requireServerTimes(t *testing.T, st *store.Store) {
	t.Helper()
	checked := 0
	for _, table := range tables {
		if table == subscriptions {
			continue // all its times are Stripe's
		}
		for _, name := range column[string](t, st, `
			SELECT column_name::text FROM information_schema.columns
			WHERE table_schema = 'public' AND table_name = $1 AND data_type LIKE 'timestamp%'
				AND NOT (table_name = 'subscription_events' AND column_name = 'created_at')`, table) {
			value := pgx.Identifier{name}.Sanitize()
			if name == "expires_at" {
				value += " - interval '7 days'"
			}
			off := column[string](t, st, fmt.Sprintf(`
				SELECT id || ': ' || %[1]s FROM %[2]s
				WHERE %[1]s NOT BETWEEN timezone('utc', clock_timestamp()) - interval '1 minute' AND timezone('utc', clock_timestamp())`,
				value, table))
			require.Empty(t, off, "%s.%s", table, name)
			checked++
		}
	}
	require.Equal(t, 11, checked, "columns: users 3, teams 3, members 1, log 1, invitations 2, events 1")
	require.NotEmpty(t, column[int](t, st, "SELECT id FROM invitations WHERE expires_at = invited_at + interval '7 days'"))
	require.NotEmpty(t, column[int](t, st, "SELECT id FROM users WHERE deleted_at IS NOT NULL"))
}

// requireGoTimes: every time that a read or a write returns is in UTC, and is what the
// clock says.
func requireGoTimes(t *testing.T, st *store.Store) {
	t.Helper()
	ctx := t.Context()
	h := newHouse(t, st)
	su := h.join(db.RoleOwner)
	inv, _ := h.invite(newEmail(), db.RoleMember)
	gone := newHouse(t, st)
	require.NoError(t, st.DeleteAccount(ctx, gone.actor))

	team, err := st.TeamWithMembers(ctx, h.team.ID)
	require.NoError(t, err)
	home, err := st.TeamForUser(ctx, h.owner.ID)
	require.NoError(t, err)
	user, err := st.UserByEmail(ctx, h.owner.Email)
	require.NoError(t, err)
	people, err := st.Users(ctx, []db.UserID{h.owner.ID, gone.owner.ID})
	require.NoError(t, err)
	memberships, _, err := st.Memberships(ctx, h.owner.ID, store.Page{})
	require.NoError(t, err)
	activity, _, err := st.TeamActivity(ctx, h.team.ID, store.ActivityPage{})
	require.NoError(t, err)
	sent, _, err := st.Invitations(ctx, h.team.ID, store.Page{})
	require.NoError(t, err)

	found := timesIn(reflect.ValueOf([]any{su, inv, team, home, user, people, memberships, activity, sent}))
	require.Greater(t, len(found), 30)
	for _, found := range found {
		require.Equal(t, time.UTC, found.Location())
		if found.After(time.Now().Add(24 * time.Hour)) { // expires_at
			found = found.Add(-7 * 24 * time.Hour)
		}
		require.WithinDuration(t, time.Now(), found, 5*time.Minute) // the server may be another machine
	}
}

// timesIn finds the times in a value, at any depth.
func timesIn(v reflect.Value) (times []time.Time) {
	if v.IsValid() && v.Type() == reflect.TypeFor[time.Time]() {
		return []time.Time{v.Interface().(time.Time)}
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			times = timesIn(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			times = append(times, timesIn(v.Field(i))...)
		}
	case reflect.Slice:
		for i := range v.Len() {
			times = append(times, timesIn(v.Index(i))...)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			times = append(times, timesIn(v.MapIndex(key))...)
		}
	}
	return times
}
