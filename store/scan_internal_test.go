package store

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/internal/throwaway"
)

// serverPool is on a server of its own: package storetest, which imports this one, can't
// give a database here.
func serverPool(t *testing.T) *pgxpool.Pool {
	t.Helper()
	server, err := throwaway.Start(t.Context(), throwaway.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop(context.Background())) })
	pool, err := pgxpool.New(t.Context(), server.URL)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

// everything has a column of each kind that is decoded.
type everything struct {
	n         int64
	at        time.Time
	text      string
	maybe     *string
	nothing   *string
	word      string
	user      *db.UserID
	limit     *int32
	json      []byte
	yes       bool
	noJSON    []byte
	nobody    *db.UserID
	unlimited *int32
}

func (d *decoder) everything(e *everything) {
	*e = everything{
		d.int(), d.time(), d.text(), d.textOrNil(), d.textOrNil(), d.word(), d.userOrNil(), d.int32OrNil(), d.json(), d.bool(),
		d.json(), d.userOrNil(), d.int32OrNil(),
	}
}

var everythings = rows[everything]{decode: (*decoder).everything}

const selectEverything = `SELECT $1::integer + i, '2026-02-03 04:05:06.789012'::timestamp, repeat('é', i), 'maybe ' || i, NULL::text,
		('word ' || i % 12)::varchar, i, 7, jsonb_build_object('i', i), i % 2 = 0, NULL::jsonb, NULL::integer, NULL::integer
	FROM generate_series(1, $2::integer) AS i`

// What is decoded is what was sent, in every mode and format, and stays so: rows share
// memory with the rows after them.
func TestDecoded(t *testing.T) {
	t.Parallel()
	pool := serverPool(t)
	const many = 300 // more than is allocated at once
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		list, err := everythings.read(t.Context(), pool, selectEverything, mode, 1000, many)
		require.NoError(t, err, mode)
		require.Len(t, list, many)
		list[0].json = append(list[0].json, "over the next one"...)
		*list[0].maybe, *list[0].user = "mine", 0
		for i, e := range list[1:] {
			i += 2
			require.Equal(t, everything{
				int64(1000 + i), time.Date(2026, 2, 3, 4, 5, 6, 789012000, time.UTC), strings.Repeat("é", i), new(fmt.Sprint("maybe ", i)), nil,
				fmt.Sprint("word ", i%12), new(db.UserID(i)), new(int32(7)), fmt.Appendf(nil, `{"i": %d}`, i), i%2 == 0, nil, nil, nil,
			}, e, mode)
		}
		var last everything
		require.NoError(t, pool.QueryRow(t.Context(), selectEverything+" OFFSET 299", mode, 1000, many).Scan(one[everything]{&last, (*decoder).everything}))
		require.Equal(t, list[many-1], last)
	}
	none, err := everythings.read(t.Context(), pool, selectEverything, 1000, 0)
	require.NoError(t, err)
	require.Equal(t, []everything{}, none)
}

// A list that was read before does not show in the next one, nor change with it.
func TestListsAreTheirCallers(t *testing.T) {
	t.Parallel()
	pool := serverPool(t)
	read := func(first, n int) []everything {
		list, err := everythings.read(t.Context(), pool, selectEverything, first, n)
		require.NoError(t, err)
		return list
	}
	long := read(0, 100)
	short := read(500, 3)
	require.Len(t, short, 3)
	require.EqualValues(t, 501, short[0].n)
	require.EqualValues(t, 1, long[0].n)
	require.Equal(t, 3, cap(short), "no room that is another list's")
}

// What can't be decoded is an error that names the column, never another value.
func TestNotDecoded(t *testing.T) {
	t.Parallel()
	pool := serverPool(t)
	for sql, decode := range map[string]func(*decoder, *everything){
		"SELECT NULL::integer AS broken":         func(d *decoder, e *everything) { e.n = d.int() },
		"SELECT 1.5::float4 AS broken":           func(d *decoder, e *everything) { e.n = d.int() },
		"SELECT NULL::timestamp AS broken":       func(d *decoder, e *everything) { e.at = d.time() },
		"SELECT 'infinity'::timestamp AS broken": func(d *decoder, e *everything) { e.at = d.time() },
		"SELECT NULL::text AS broken":            func(d *decoder, e *everything) { e.text = d.text() },
		"SELECT NULL::boolean AS broken":         func(d *decoder, e *everything) { e.yes = d.bool() },
		"SELECT NULL::text AS broken, 1":         func(d *decoder, e *everything) { e.word, e.n = d.word(), d.int() },
	} {
		err := pool.QueryRow(t.Context(), sql).Scan(one[everything]{new(everything), decode})
		require.ErrorContains(t, err, "broken", sql)
	}
	var n int64
	for sql, decode := range map[string]func(*decoder, *everything){
		"SELECT 1, 2":                func(d *decoder, e *everything) { e.n = d.int() },
		"SELECT 1":                   func(d *decoder, e *everything) { e.n, e.at = d.int(), d.time() },
		"SELECT 1 AS one WHERE true": func(d *decoder, e *everything) { e.n, e.user, e.json = d.int(), d.userOrNil(), d.json() },
	} {
		require.ErrorIs(t, pool.QueryRow(t.Context(), sql).Scan(one[everything]{new(everything), decode}), errColumns, sql)
	}
	require.ErrorIs(t, pool.QueryRow(t.Context(), "SELECT 1, 2").Scan(targets{&n}), errColumns)
	require.ErrorIs(t, pool.QueryRow(t.Context(), "SELECT 1").Scan(targets{&n, &n}), errColumns)
	var id db.UserID
	var role db.Role
	require.ErrorContains(t, pool.QueryRow(t.Context(), "SELECT NULL::integer AS broken").Scan(targets{&id}), "broken")
	require.ErrorContains(t, pool.QueryRow(t.Context(), "SELECT NULL::text AS broken").Scan(targets{&role}), "broken")
}

// What sqlc's methods scan into is filled as pgx would.
func TestTargets(t *testing.T) {
	t.Parallel()
	pool := serverPool(t)
	const sql = `SELECT true, 'text', NULL::text, 'maybe'::varchar, '2026-02-03'::timestamp, 7, 'owner'::text, 8, NULL::integer, '2026-02-03'::timestamp, '\x01ff'::bytea, 9::bigint, '{"a": 1}'::jsonb, 3::smallint`
	type row struct {
		yes      bool
		text     string
		nothing  *string
		maybe    *string
		at       time.Time
		id       db.TeamID
		role     db.Role
		user     *db.UserID
		nobody   *db.UserID
		maybeAt  *time.Time
		bytes    []byte
		n        int64
		metadata []byte
		small    int16
	}
	fields := func(r *row) []any {
		return []any{&r.yes, &r.text, &r.nothing, &r.maybe, &r.at, &r.id, &r.role, &r.user, &r.nobody, &r.maybeAt, &r.bytes, &r.n, &r.metadata, &r.small}
	}
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		var ours, pgxs row
		require.NoError(t, pool.QueryRow(t.Context(), sql, mode).Scan(targets(fields(&ours))))
		require.NoError(t, pool.QueryRow(t.Context(), sql, mode).Scan(fields(&pgxs)...))
		require.Equal(t, pgxs, ours)
	}
}

// The number of rows hardly shows in the number of allocations: less than one for four.
func TestRowsAreNotAllocatedOneByOne(t *testing.T) {
	pool := serverPool(t)
	allocations := func(n int) float64 {
		return testing.AllocsPerRun(20, func() {
			if _, err := everythings.read(t.Context(), pool, selectEverything, 1000, n); err != nil {
				t.Error(err)
			}
		})
	}
	few, many := allocations(10), allocations(210)
	require.Less(t, many-few, 50.0+math.Abs(few)/10, "of 200 rows more")
}
