package store_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// pagedList is a list that is read page by page.
type pagedList struct {
	name string

	// read answers with the rows' ids.
	read func(ctx context.Context, st *store.Store, of int64, page store.Page) ([]int64, store.Cursor, error)

	parent string // makes what the list is of, and returns its id
	insert string // makes rows of $1, numbers $2 to $3, at four points in time
	order  string // the ids of all rows of $1, in the list's order
	remove string // one row, by its id
}

const (
	newTeam = "INSERT INTO teams (name) VALUES ('Pages') RETURNING id"
	newUser = "INSERT INTO users (email, password_hash) VALUES (gen_random_uuid()::text, 'hash') RETURNING id"
	numbers = "generate_series($2::integer, $3::integer) AS n"
	at      = "timestamp '2026-01-01' + make_interval(secs => n % 4)"
)

var pagedLists = []pagedList{
	{"Members", readPage((*store.Store).Members, func(m store.Member) int64 { return int64(m.ID) }), newTeam,
		`WITH u AS (INSERT INTO users (email, password_hash) SELECT gen_random_uuid()::text || n, 'hash' FROM ` + numbers + ` RETURNING id, substr(email, 37)::integer AS n)
		INSERT INTO team_members (user_id, team_id, role, joined_at) SELECT u.id, $1, 'member', ` + at + ` FROM u`,
		"SELECT id FROM team_members WHERE team_id = $1 ORDER BY joined_at, id", "DELETE FROM team_members WHERE id = $1"},
	{"Memberships", readPage((*store.Store).Memberships, func(m db.TeamMember) int64 { return int64(m.ID) }), newUser,
		`WITH t AS (INSERT INTO teams (name) SELECT n::text FROM ` + numbers + ` RETURNING id, name::integer AS n)
		INSERT INTO team_members (user_id, team_id, role, joined_at) SELECT $1, t.id, 'member', ` + at + ` FROM t`,
		"SELECT id FROM team_members WHERE user_id = $1 ORDER BY joined_at, id", "DELETE FROM team_members WHERE id = $1"},
	{"TeamActivity", readPage(teamActivity(), func(a store.Activity) int64 { return int64(a.ID) }), newTeam,
		`INSERT INTO activity_logs (team_id, action, "timestamp") SELECT $1, 'EXPORT', ` + at + " FROM " + numbers,
		`SELECT id FROM activity_logs WHERE team_id = $1 ORDER BY "timestamp" DESC, id DESC`, "DELETE FROM activity_logs WHERE id = $1"},
	{"UserActivity", readPage(userActivity(), func(a store.Activity) int64 { return int64(a.ID) }), newUser,
		`INSERT INTO activity_logs (team_id, user_id, action, "timestamp") SELECT (SELECT min(id) FROM teams), $1, 'EXPORT', ` + at + " FROM " + numbers,
		`SELECT id FROM activity_logs WHERE user_id = $1 ORDER BY "timestamp" DESC, id DESC`, "DELETE FROM activity_logs WHERE id = $1"},
	{"TeamActivity of two actions", readPage(teamActivity("EXPORT", "IMPORT"), func(a store.Activity) int64 { return int64(a.ID) }), newTeam,
		`INSERT INTO activity_logs (team_id, action, "timestamp") SELECT $1, unnest(ARRAY[CASE n % 3 WHEN 0 THEN 'IMPORT' ELSE 'EXPORT' END, 'OTHER']), ` + at + " FROM " + numbers,
		`SELECT id FROM activity_logs WHERE team_id = $1 AND action <> 'OTHER' ORDER BY "timestamp" DESC, id DESC`, "DELETE FROM activity_logs WHERE id = $1"},
	{"UserActivity of two actions", readPage(userActivity("EXPORT", "IMPORT", "EXPORT"), func(a store.Activity) int64 { return int64(a.ID) }), newUser,
		`INSERT INTO activity_logs (team_id, user_id, action, "timestamp") SELECT (SELECT min(id) FROM teams), $1, unnest(ARRAY[CASE n % 3 WHEN 0 THEN 'IMPORT' ELSE 'EXPORT' END, 'OTHER']), ` + at + " FROM " + numbers,
		`SELECT id FROM activity_logs WHERE user_id = $1 AND action <> 'OTHER' ORDER BY "timestamp" DESC, id DESC`, "DELETE FROM activity_logs WHERE id = $1"},
	{"TeamsForUser", readPage((*store.Store).TeamsForUser, func(u store.UserTeam) int64 { return int64(u.ID) }), newUser,
		`WITH t AS (INSERT INTO teams (name) SELECT n::text FROM ` + numbers + ` RETURNING id, name::integer AS n)
		INSERT INTO team_members (user_id, team_id, role, joined_at) SELECT $1, t.id, 'member', ` + at + ` FROM t`,
		"SELECT team_id FROM team_members WHERE user_id = $1 ORDER BY joined_at, id", "DELETE FROM team_members WHERE team_id = $1"},
	{"InvitationsForEmail", readPage(
		func(st *store.Store, ctx context.Context, of db.UserID, page store.Page) ([]store.InvitationDetails, store.Cursor, error) {
			return st.InvitationsForEmail(ctx, fmt.Sprintf("PAGES%d@example.com", of), page)
		}, func(i store.InvitationDetails) int64 { return int64(i.ID) }), newUser,
		`WITH t AS (INSERT INTO teams (name) SELECT n::text FROM ` + numbers + ` RETURNING id, name::integer AS n)
		INSERT INTO invitations (team_id, email, role, invited_by, invited_at) SELECT t.id, 'pages' || $1::integer || '@example.com', 'member', $1, ` + at + ` FROM t`,
		"SELECT id FROM invitations WHERE invited_by = $1 ORDER BY invited_at DESC, id DESC", "DELETE FROM invitations WHERE id = $1"},
	{"Invitations", readPage((*store.Store).Invitations, func(i db.Invitation) int64 { return int64(i.ID) }), newTeam,
		`INSERT INTO invitations (team_id, email, role, invited_by, invited_at, expires_at)
		SELECT $1, gen_random_uuid(), 'member', (SELECT min(id) FROM users), ` + at + ", " + at + " FROM " + numbers,
		"SELECT id FROM invitations WHERE team_id = $1 ORDER BY invited_at DESC, id DESC", "DELETE FROM invitations WHERE id = $1"},
	{"InvitationsSent", readPage((*store.Store).InvitationsSent, func(i db.Invitation) int64 { return int64(i.ID) }), newUser,
		`INSERT INTO invitations (team_id, email, role, invited_by, invited_at)
		SELECT (SELECT min(id) FROM teams), gen_random_uuid(), 'member', $1, ` + at + " FROM " + numbers,
		"SELECT id FROM invitations WHERE invited_by = $1 ORDER BY invited_at DESC, id DESC", "DELETE FROM invitations WHERE id = $1"},
}

func teamActivity(actions ...db.ActivityType) func(*store.Store, context.Context, db.TeamID, store.Page) ([]store.Activity, store.Cursor, error) {
	return func(st *store.Store, ctx context.Context, id db.TeamID, page store.Page) ([]store.Activity, store.Cursor, error) {
		return st.TeamActivity(ctx, id, store.ActivityPage{Page: page, Actions: actions})
	}
}

func userActivity(actions ...db.ActivityType) func(*store.Store, context.Context, db.UserID, store.Page) ([]store.Activity, store.Cursor, error) {
	return func(st *store.Store, ctx context.Context, id db.UserID, page store.Page) ([]store.Activity, store.Cursor, error) {
		return st.UserActivity(ctx, id, store.ActivityPage{Page: page, Actions: actions})
	}
}

func readPage[ID ~int64, Row any](
	list func(*store.Store, context.Context, ID, store.Page) ([]Row, store.Cursor, error), id func(Row) int64,
) func(context.Context, *store.Store, int64, store.Page) ([]int64, store.Cursor, error) {
	return func(ctx context.Context, st *store.Store, of int64, page store.Page) ([]int64, store.Cursor, error) {
		rows, next, err := list(st, ctx, ID(of), page)
		ids := make([]int64, len(rows))
		for i, row := range rows {
			ids[i] = id(row)
		}
		return ids, next, err
	}
}

// fill makes a parent with n rows, and returns it with the rows' ids in order.
func (l pagedList) fill(t testing.TB, st *store.Store, n int) (parent int64, ids []int64) {
	parent = column[int64](t, st, l.parent)[0]
	exec(t, st, l.insert, parent, 1, n)
	ids = column[int64](t, st, l.order, parent)
	require.Len(t, ids, n)
	return parent, ids
}

// walk reads all pages. between is called after each of them, with its last row.
func (l pagedList) walk(t *testing.T, st *store.Store, parent int64, limit int, between func(page int, last int64)) (pages [][]int64) {
	page := store.Page{Limit: limit}
	for {
		ids, next, err := l.read(t.Context(), st, parent, page)
		require.NoError(t, err)
		pages = append(pages, ids)
		if next == "" {
			return pages
		}
		require.Len(t, ids, limit, "a page that is not the last")
		require.NotEqual(t, page.After, next)
		page.After = next
		if between != nil {
			between(len(pages), ids[len(ids)-1])
		}
	}
}

func TestPagesHaveEveryRowOnce(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	newHouse(t, st) // another team's rows
	for _, list := range pagedLists {
		for _, size := range []struct{ rows, limit, pages int }{
			{0, 1, 1}, {1, 1, 1}, {12, 1, 12},
			{2, 3, 1}, {3, 3, 1}, {4, 3, 2}, {12, 3, 4}, {13, 3, 5},
			{9, 0, 1}, {10, 0, 1},
			{999, 1000, 1}, {1000, 1000, 1}, {1001, 1000, 2}, {2000, 1000, 2},
		} {
			t.Run(fmt.Sprintf("%s/%d rows by %d", list.name, size.rows, size.limit), func(t *testing.T) {
				t.Parallel()
				parent, ids := list.fill(t, st, size.rows)
				pages := list.walk(t, st, parent, size.limit, nil)
				require.Equal(t, ids, slices.Concat(pages...))
				require.Len(t, pages, size.pages)
			})
		}
	}
}

// Between two pages rows come everywhere in the list and go: the one that the cursor
// was made of, one that was read, and one that was not.
func TestPagesWhileRowsComeAndGo(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	newHouse(t, st)
	for _, list := range pagedLists {
		for _, size := range []struct{ rows, limit int }{{40, 1}, {90, 3}, {2500, 1000}} {
			t.Run(fmt.Sprintf("%s/%d rows by %d", list.name, size.rows, size.limit), func(t *testing.T) {
				t.Parallel()
				parent, old := list.fill(t, st, size.rows)
				pages := list.walk(t, st, parent, size.limit, func(page int, last int64) {
					if page > 20 {
						return // or a page of one row would never reach the end
					}
					exec(t, st, list.insert, parent, 1000*page, 1000*page+3)
					now := column[int64](t, st, list.order, parent)
					here := slices.Index(now, last)
					for _, i := range []int{here - 2, here, here + 2} {
						if i >= 0 && i < len(now) {
							exec(t, st, list.remove, now[i])
						}
					}
				})
				read := slices.Concat(pages...)
				now := column[int64](t, st, list.order, parent)
				stayed := slices.DeleteFunc(slices.Clone(old), func(id int64) bool { return !slices.Contains(now, id) })
				require.Less(t, len(stayed), len(old))
				require.Equal(t, stayed, slices.DeleteFunc(slices.Clone(read), func(id int64) bool { return !slices.Contains(stayed, id) }))
				require.Len(t, slices.Compact(slices.Sorted(slices.Values(read))), len(read), "a row came twice")
			})
		}
	}
}

// The reads for many parents have what the reads for one have, in its order.
func TestReadsForManyAgree(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	h := newHouse(t, st)
	h.join(db.RoleMember)
	gone := newHouse(t, st)
	gone.invite(newEmail(), db.RoleMember)
	require.NoError(t, st.DeleteAccount(t.Context(), gone.actor))
	// A deleted account whose membership stands, as another writer may leave one.
	left := h.join(db.RoleMember)
	exec(t, st, "UPDATE users SET deleted_at = timezone('utc', now()) WHERE id = $1", left.User.ID)

	parents := map[string][]int64{
		newTeam: {int64(h.team.ID), int64(gone.team.ID), column[int64](t, st, newTeam)[0]},
		newUser: {int64(h.owner.ID), int64(gone.owner.ID), int64(left.User.ID), column[int64](t, st, newUser)[0]},
	}
	for _, list := range pagedLists {
		for _, n := range []int{2, 12} {
			parent, _ := list.fill(t, st, n)
			parents[list.parent] = append(parents[list.parent], parent, parent)
		}
	}
	teamIDs, userIDs := idsOf[db.TeamID](parents[newTeam]), idsOf[db.UserID](parents[newUser])
	for _, limit := range []int{0, 1, 3, 1000} {
		requireAgree(t, st, teamIDs, limit, (*store.Store).MembersOfTeams, (*store.Store).Members)
		requireAgree(t, st, teamIDs, limit, (*store.Store).ActivityOfTeams, teamActivity())
		requireAgree(t, st, teamIDs, limit, (*store.Store).InvitationsOfTeams, (*store.Store).Invitations)
		requireAgree(t, st, userIDs, limit, (*store.Store).MembershipsOfUsers, (*store.Store).Memberships)
		requireAgree(t, st, userIDs, limit, (*store.Store).InvitationsSentByUsers, (*store.Store).InvitationsSent)
	}
}

func requireAgree[ID ~int64, Row any](
	t *testing.T, st *store.Store, parents []ID, limit int,
	many func(*store.Store, context.Context, []ID, int) (map[ID][]Row, error),
	one func(*store.Store, context.Context, ID, store.Page) ([]Row, store.Cursor, error),
) {
	t.Helper()
	got, err := many(st, t.Context(), parents, limit)
	require.NoError(t, err)
	want := make(map[ID][]Row)
	for _, parent := range parents {
		rows, _, err := one(st, t.Context(), parent, store.Page{Limit: limit})
		require.NoError(t, err)
		if len(rows) > 0 {
			want[parent] = rows
		}
	}
	require.Greater(t, len(want), 1)
	require.Less(t, len(want), len(parents))
	require.Equal(t, want, got)
}
