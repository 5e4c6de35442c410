package store_test

import (
	"encoding/json"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

func TestRecordActivity(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	require.NoError(t, st.RecordActivity(t.Context(), store.RecordActivity{
		TeamID: h.team.ID, UserID: h.owner.ID, Action: "EXPORT", IP: anIP, Metadata: map[string]any{"rows": 7, "note": `C:\u0000`},
	}))
	require.NoError(t, st.RecordActivity(t.Context(), store.RecordActivity{TeamID: h.team.ID, Action: "NIGHTLY"}))

	list, next, err := st.TeamActivity(t.Context(), h.team.ID, store.ActivityPage{Page: store.Page{Limit: 2}})
	require.NoError(t, err)
	require.NotEmpty(t, next)
	require.Equal(t, db.ActivityType("NIGHTLY"), list[0].Action)
	require.Nil(t, list[0].UserID)
	require.Nil(t, list[0].UserName)
	require.Nil(t, list[0].Metadata)
	require.Equal(t, &h.owner.ID, list[1].UserID)
	require.Equal(t, new("Owner"), list[1].UserName)
	require.Equal(t, new("203.0.113.7"), list[1].IPAddress)
	require.JSONEq(t, `{"rows": 7, "note": "C:\\u0000"}`, string(list[1].Metadata))

	require.ErrorIs(t, st.RecordActivity(t.Context(), store.RecordActivity{TeamID: 12345, Action: "EXPORT"}), store.ErrNotFound)
	require.ErrorIs(t, st.RecordActivity(t.Context(), store.RecordActivity{TeamID: h.team.ID, UserID: 12345, Action: "EXPORT"}), store.ErrNotFound)
	exec(t, st, "UPDATE teams SET deleted_at = now() WHERE id = $1", h.team.ID)
	require.ErrorIs(t, st.RecordActivity(t.Context(), store.RecordActivity{TeamID: h.team.ID, Action: "EXPORT"}), store.ErrNotFound)
}

// What marshals and yet can't be stored, the server finds.
func TestRecordActivityWithWhatJSONBRefuses(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	before := snapshot(t, st)
	for _, v := range []any{json.RawMessage(`"\ud800"`), json.Number("1e400000")} {
		err := st.RecordActivity(t.Context(), store.RecordActivity{TeamID: h.team.ID, Action: "EXPORT", Metadata: map[string]any{"v": v}})
		require.ErrorIs(t, err, store.ErrInvalidInput)
		var pgErr *pgconn.PgError
		require.ErrorAs(t, err, &pgErr)
	}
	require.Equal(t, before, snapshot(t, st))
}

// Ten rows, newest first, are what the TypeScript app's activity page shows.
func TestUserActivity(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	for range 12 {
		require.NoError(t, st.RecordSignIn(t.Context(), h.actor))
	}
	first, next, err := st.UserActivity(t.Context(), h.owner.ID, store.ActivityPage{})
	require.NoError(t, err)
	require.Len(t, first, 10)
	rest, end, err := st.UserActivity(t.Context(), h.owner.ID, store.ActivityPage{Page: store.Page{After: next}})
	require.NoError(t, err)
	require.Len(t, rest, 4)
	require.Empty(t, end)
	require.Equal(t, db.ActivityCreateTeam, rest[3].Action)
	require.Equal(t, db.ActivitySignUp, rest[2].Action)
}
