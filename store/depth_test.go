package store_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// A page costs what it shows, not what is before it: counted in rows that the server
// read, which no other load on the machine can change.

const (
	deepPage    = 50     // rows of the pages that are counted
	deepMembers = 10_000 // in one team, and teams of one user
)

// deepLists is a database with one of each long list, among short ones.
type deepLists struct {
	team, user int64 // whose they are
	entries    int   // in the log of both
}

func newDeepLists(t *testing.T, st *store.Store) deepLists {
	t.Helper()
	h := newHouse(t, st)
	d := deepLists{int64(h.team.ID), int64(h.owner.ID), 100_000}
	if scale {
		d.entries = 1_000_000
	}
	const when = "timestamp '2026-01-01' + i / 3 * interval '1 second'" // three rows at a time
	exec(t, st, "INSERT INTO teams (name) SELECT 'deep' FROM generate_series(1, $1::integer)", deepMembers)
	exec(t, st, "INSERT INTO users (email, password_hash) SELECT 'deep' || i || '@example.com', 'hash' FROM generate_series(1, $1::integer) AS i", deepMembers)
	exec(t, st, "INSERT INTO team_members (user_id, team_id, role, joined_at) SELECT i, $1, 'member', "+when+" FROM (SELECT id AS i FROM users WHERE id <> $2) AS u", d.team, d.user)
	exec(t, st, "INSERT INTO team_members (user_id, team_id, role, joined_at) SELECT $2, i, 'member', "+when+" FROM (SELECT id AS i FROM teams WHERE id <> $1) AS t", d.team, d.user)
	exec(t, st, "INSERT INTO invitations (team_id, email, role, invited_by, invited_at) SELECT $1, 'guest' || i || '@example.com', 'member', $2, "+when+" FROM generate_series(1, $3::integer) AS i", d.team, d.user, deepMembers)
	exec(t, st, "INSERT INTO invitations (team_id, email, role, invited_by, invited_at) SELECT i, 'Deep@example.com', 'member', 1 + i % 5000, "+when+" FROM (SELECT id AS i FROM teams) AS t")
	exec(t, st, `INSERT INTO activity_logs (team_id, user_id, action, "timestamp")
		SELECT $1, $2, CASE WHEN i % 500 = 0 THEN 'RARE' WHEN i % 50 = 0 THEN 'OTHER' ELSE 'COMMON' END, `+when+` FROM generate_series(1, $3::integer) AS i`, d.team, d.user, d.entries)
	exec(t, st, `INSERT INTO activity_logs (team_id, user_id, action, "timestamp")
		SELECT i, 1 + i % 1000, 'COMMON', `+when+` FROM (SELECT id AS i FROM teams WHERE id <> $1) AS t`, d.team)
	exec(t, st, "VACUUM ANALYZE")
	return d
}

// deepList is one of them.
type deepList struct {
	name string
	rows int // at least
	read func(st *store.Store, page store.Page) (n int, next store.Cursor, err error)

	// rowsEach is how many rows a row of a page takes: itself, whom it names, and as many
	// again for a second action.
	rowsEach int
}

func (d deepLists) lists(t *testing.T) []deepList {
	ctx := t.Context()
	team, user := db.TeamID(d.team), db.UserID(d.user)
	byTeam := func(actions ...db.ActivityType) func(*store.Store, store.Page) (int, store.Cursor, error) {
		return func(st *store.Store, page store.Page) (int, store.Cursor, error) {
			return counted(st.TeamActivity(ctx, team, store.ActivityPage{Page: page, Actions: actions}))
		}
	}
	byUser := func(actions ...db.ActivityType) func(*store.Store, store.Page) (int, store.Cursor, error) {
		return func(st *store.Store, page store.Page) (int, store.Cursor, error) {
			return counted(st.UserActivity(ctx, user, store.ActivityPage{Page: page, Actions: actions}))
		}
	}
	return []deepList{
		{"Members", deepMembers, func(st *store.Store, page store.Page) (int, store.Cursor, error) {
			return counted(st.Members(ctx, team, page))
		}, 2},
		{"Memberships", deepMembers, func(st *store.Store, page store.Page) (int, store.Cursor, error) {
			return counted(st.Memberships(ctx, user, page))
		}, 2},
		{"TeamsForUser", deepMembers, func(st *store.Store, page store.Page) (int, store.Cursor, error) {
			return counted(st.TeamsForUser(ctx, user, page))
		}, 3},
		{"Invitations", deepMembers, func(st *store.Store, page store.Page) (int, store.Cursor, error) {
			return counted(st.Invitations(ctx, team, page))
		}, 1},
		{"InvitationsSent", deepMembers, func(st *store.Store, page store.Page) (int, store.Cursor, error) {
			return counted(st.InvitationsSent(ctx, user, page))
		}, 1},
		{"InvitationsForEmail", deepMembers, func(st *store.Store, page store.Page) (int, store.Cursor, error) {
			return counted(st.InvitationsForEmail(ctx, "deep@example.com", page))
		}, 3},
		{"TeamActivity", d.entries, byTeam(), 2},
		{"TeamActivity of a common action", d.entries * 9 / 10, byTeam("COMMON"), 2},
		{"TeamActivity of a rare action", d.entries / 500, byTeam("RARE"), 2},
		{"TeamActivity of both", d.entries * 9 / 10, byTeam("RARE", "COMMON"), 4},
		{"UserActivity", d.entries, byUser(), 2},
		{"UserActivity of a common action", d.entries * 9 / 10, byUser("COMMON"), 2},
		// One of a rare action reads over the user's other rows: no index has both.
	}
}

func counted[T any](rows []T, next store.Cursor, err error) (int, store.Cursor, error) {
	return len(rows), next, err
}

func TestPagesAreAsCheapFarDown(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"auto", "force_generic_plan"} {
		if scale && mode == "auto" {
			continue
		}
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			databaseSetting(t, "plan_cache_mode", mode)
			st := newStore(t, func(config *pgxpool.Config) { config.MaxConns = 1 })
			d := newDeepLists(t, st)
			t.Run("plans", func(t *testing.T) { d.requireIndexes(t, st) })
			for _, list := range d.lists(t) {
				t.Run(list.name, func(t *testing.T) {
					leaveOut(t)
					// Cursors at the ends of pages of 1000, down to the list's end.
					cursors := []store.Cursor{""}
					rows := 0
					for {
						n, next, err := list.read(st, store.Page{Limit: 1000, After: cursors[len(cursors)-1]})
						require.NoError(t, err)
						rows += n
						if next == "" {
							break
						}
						cursors = append(cursors, next)
					}
					require.GreaterOrEqual(t, rows, list.rows)
					if list.rows < 1000 { // in their stead, of small pages
						_, next, err := list.read(st, store.Page{Limit: list.rows / 2})
						require.NoError(t, err)
						cursors = append(cursors, next)
					}
					var costs []int
					for _, at := range []int{0, 1, len(cursors) / 2, len(cursors) - 1} {
						require.NoError(t, st.InTx(t.Context(), func(tx *store.Store) error {
							scanned, fetched := rowsRead(t, tx)
							n, _, err := list.read(tx, store.Page{Limit: deepPage, After: cursors[at]})
							require.NoError(t, err)
							require.Positive(t, n)
							scannedAfter, fetchedAfter := rowsRead(t, tx)
							require.Zero(t, scannedAfter-scanned, "rows of tables read from end to end")
							require.LessOrEqual(t, fetchedAfter-fetched, list.rowsEach*(deepPage+1)+deepPage, "page after %d rows", 1000*at)
							costs = append(costs, fetchedAfter-fetched)
							return nil
						}))
					}
					t.Logf("%d rows; rows read by the first page, the next ones and the last: %v", rows, costs)
				})
			}

			t.Run("All", func(t *testing.T) {
				read, yielded := 0, 0
				for _, err := range store.All(store.Page{Limit: 1000}, func(page store.Page) ([]store.Activity, store.Cursor, error) {
					require.Equal(t, read, yielded, "the page before is used up")
					rows, next, err := st.TeamActivity(t.Context(), db.TeamID(d.team), store.ActivityPage{Page: page})
					read += len(rows)
					return rows, next, err
				}) {
					require.NoError(t, err)
					yielded++
					require.LessOrEqual(t, read-yielded, 1000)
				}
				require.Greater(t, yielded, d.entries)
			})
		})
	}
}

// requireIndexes reads the plans: an index in the list's order, and no sort below the
// limit, of more than the page.
func (d deepLists) requireIndexes(t *testing.T, st *store.Store) {
	const position = "'2026-01-01 00:10:00', 5, "
	for _, c := range []struct{ sql, index, args string }{
		{db.ListMembersPage, "team_members_team_id_joined_at_id_idx", fmt.Sprint(d.team, ", ", position, 51)},
		{db.ListMembershipsPage, "team_members_user_id_joined_at_id_idx", fmt.Sprint(d.user, ", ", position, 51)},
		{db.ListTeamsForUserPage, "team_members_user_id_joined_at_id_idx", fmt.Sprint(d.user, ", ", position, 51)},
		{db.ListInvitationsPage, "invitations_team_id_invited_at_id_idx", fmt.Sprint(d.team, ", ", position, 51)},
		{db.ListInvitationsSentPage, "invitations_invited_by_invited_at_id_idx", fmt.Sprint(d.user, ", ", position, 51)},
		{db.ListInvitationsForEmailPage, "invitations_lower_email_pending_idx", "'deep@example.com', " + position + "51"},
		{db.ListTeamActivityPage, "activity_logs_team_id_timestamp_id_idx", fmt.Sprint(d.team, ", '0001-01-01', ", position, 51)},
		{db.ListUserActivityPage, "activity_logs_user_id_timestamp_id_idx", fmt.Sprint(d.user, ", '0001-01-01', ", position, 51)},
		{db.ListTeamActivityOfPage, "activity_logs_team_id_action_timestamp_id_idx", fmt.Sprint("ARRAY['RARE'], ", d.team, ", '0001-01-01', ", position, 51)},
		{db.ListUserActivityOfPage, "activity_logs_user_id_timestamp_id_idx", fmt.Sprint(d.user, ", ARRAY['COMMON'], '0001-01-01', ", position, 51)},
	} {
		_, name, _ := strings.Cut(c.sql, "name: ")
		name, _, _ = strings.Cut(name, " ")
		for _, mode := range []string{"force_generic_plan", "force_custom_plan"} {
			exec(t, st, "SET plan_cache_mode = "+mode)
			exec(t, st, "PREPARE "+name+" AS "+c.sql)
			plan := strings.Join(column[string](t, st, "EXPLAIN (COSTS OFF) EXECUTE "+name+"("+c.args+")"), "\n")
			exec(t, st, "DEALLOCATE "+name)
			require.Contains(t, plan, c.index, "%s, %s:\n%s", name, mode, plan)
			require.NotContains(t, plan, "Seq Scan", "%s, %s:\n%s", name, mode, plan)
			require.NotContains(t, plan[strings.LastIndex(plan, "Limit"):], "Sort", "%s, %s:\n%s", name, mode, plan)
		}
	}
	exec(t, st, "RESET plan_cache_mode")
}
