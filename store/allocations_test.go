package store_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// What a read allocates does not follow its rows: each bound is below one for a row, and
// leaves room for the race detector, under which pools forget.
func TestReadsAllocateLittle(t *testing.T) {
	st := storetest.New(t) // not as a variant has it: results that are text take more
	h := newHouse(t, st)
	exec(t, st, `WITH joined AS (
			INSERT INTO users (name, email, password_hash) SELECT 'Name ' || i, 'seat' || i || '@allocations.example', 'hash' FROM generate_series(1, 99) AS i RETURNING id
		)
		INSERT INTO team_members (user_id, team_id, role) SELECT id, $1, 'member' FROM joined`, h.team.ID)
	for i := range 50 {
		require.NoError(t, st.RecordActivity(t.Context(), store.RecordActivity{
			TeamID: h.team.ID, UserID: h.owner.ID, Action: db.ActivityType(fmt.Sprint("KIND_", i%5)), IP: anIP, Metadata: map[string]any{"row": i},
		}))
	}
	page := store.ActivityPage{Page: store.Page{Limit: 50}}
	for name, read := range map[string]struct {
		most float64
		run  func() (rows int, err error)
	}{
		"a user": {20, func() (int, error) { _, err := st.User(t.Context(), h.owner.ID); return 1, err }},
		"a team of 100": {80, func() (int, error) {
			team, err := st.TeamWithMembers(t.Context(), h.team.ID)
			return len(team.TeamMembers), err
		}},
		"50 rows of a team": {48, func() (int, error) {
			rows, _, err := st.TeamActivity(t.Context(), h.team.ID, page)
			return len(rows), err
		}},
		"50 rows of a user": {48, func() (int, error) {
			rows, _, err := st.UserActivity(t.Context(), h.owner.ID, page)
			return len(rows), err
		}},
	} {
		rows, err := read.run()
		require.NoError(t, err, name)
		require.Contains(t, []int{1, 50, 100}, rows, name)
		allocations := testing.AllocsPerRun(50, func() {
			if _, err := read.run(); err != nil {
				t.Error(err)
			}
		})
		t.Logf("%s: %.0f allocations", name, allocations)
		require.LessOrEqual(t, allocations, read.most, name)
	}
}
