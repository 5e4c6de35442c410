package store_test

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// cursor is what a cursor says: TestCursorFormat.
type cursor struct {
	list       byte
	of         int64
	micros, id int64
}

func (c cursor) text() store.Cursor {
	b := []byte{c.list}
	for _, n := range []int64{c.of, c.micros, c.id} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return store.Cursor(base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))))
}

// cursorOf is what a text says, if it is a cursor.
func cursorOf(text store.Cursor) (c cursor, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(string(text))
	if err != nil || len(b) != 29 {
		return c, false
	}
	n := func(at int) int64 { return int64(binary.BigEndian.Uint64(b[at:])) }
	c = cursor{b[0], n(1), n(9), n(17)}
	return c, string(c.text()) == strings.NewReplacer("\r", "", "\n", "").Replace(string(text))
}

// The times that a position, and what is purged, can have.
var (
	firstMoment = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	lastMoment  = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
)

// filledList is a list with all its rows, in order.
type filledList struct {
	pagedList
	parent    int64
	ids       []int64
	positions []cursor // each row's
	newest    bool     // first
}

func fillLists(f *testing.F, st *store.Store) (lists []filledList) {
	for _, l := range pagedLists {
		filled := filledList{pagedList: l}
		filled.parent, filled.ids = l.fill(f, st, 6)
		for page := (store.Page{Limit: 1}); ; {
			_, next, err := l.read(f.Context(), st, filled.parent, page)
			require.NoError(f, err)
			if next == "" { // the last row has no cursor
				break
			}
			at, ok := cursorOf(next)
			require.True(f, ok)
			filled.positions = append(filled.positions, at)
			page.After = next
		}
		last := len(filled.ids) - 1
		require.Len(f, filled.positions, last)
		exec(f, st, l.remove, filled.ids[last])
		filled.ids = filled.ids[:last]
		filled.newest = filled.positions[0].micros > filled.positions[last-1].micros
		lists = append(lists, filled)
	}
	return lists
}

// FuzzPages: a text is no cursor of a list, or the page after it has the rows that come
// after it, whatever the bounds of a log's page; so it is with a forged cursor. What is
// purged is older than it was asked for.
func FuzzPages(f *testing.F) {
	st := storetest.New(f)
	lists := fillLists(f, st)
	row := lists[0].positions[2]
	for i := range lists {
		own := lists[i].positions[1]
		f.Add(byte(i), int64(0), 0, string(own.text()), false, byte(0), int64(0), int64(0), int64(0), int64(0), int64(0), int64(0), int64(0))
		f.Add(byte(i), int64(0), 2, string(row.text()), false, byte(0), int64(0), int64(0), int64(0), row.micros/1e6, int64(1), row.micros/1e6+1, int64(1))
		f.Add(byte(i), int64(0), 9, "", false, byte(0), int64(0), int64(0), int64(0), row.micros/1e6, int64(1), row.micros/1e6+1, int64(1))
		f.Add(byte(i), int64(0), 2, "", true, byte(0), int64(0), own.micros, own.id, row.micros/1e6, int64(0), row.micros/1e6+2, int64(0))
		f.Add(byte(i), int64(1<<32+1), 1000, "", true, byte(i), int64(1<<32+1), int64(math.MinInt64), int64(math.MaxInt64), int64(math.MinInt64), int64(-1), int64(math.MaxInt64), int64(1))
		f.Add(byte(i), int64(0), 1001, "no cursor\x00", false, byte(0), int64(0), int64(0), int64(0), int64(-62135596801), int64(1), int64(253402214400), int64(1))
	}
	f.Add(byte(len(lists)), int64(0), 0, "", false, byte(0), int64(0), int64(0), int64(0), int64(0), int64(0), row.micros/1e6+1, int64(1))
	logged := column[time.Time](f, st, `SELECT "timestamp" FROM activity_logs`)

	f.Fuzz(func(t *testing.T, list byte, parent int64, limit int, text string, forge bool, ofList byte, of, micros, id int64, sinceSeconds, sinceNanos, untilSeconds, untilNanos int64) {
		since, until := moment(sinceSeconds, sinceNanos), moment(untilSeconds, untilNanos)
		if int(list) >= len(lists) {
			rolledBack(t, st, func(tx *store.Store) { checkPurge(t, tx, until, logged) })
			return
		}
		l := lists[list]
		own := l.positions[0]
		page := store.Page{Limit: limit, After: store.Cursor(text)}
		if forge {
			c := cursor{ofList, of, micros, id}
			if c.list == 0 {
				c.list = own.list
			}
			if c.of == 0 {
				c.of = own.of
			}
			page.After = c.text()
		}
		bounded := strings.Contains(l.name, "Activity")
		if !bounded {
			since, until = time.Time{}, time.Time{}
		}
		if parent != 0 && parent != l.parent { // may be anything's: what matters is that the server takes it
			_, _, err := l.page(t, st, parent, page, since, until)
			switch {
			case limit < 0 || limit > 1000:
				require.ErrorIs(t, err, store.ErrInvalidInput)
			case !errors.Is(err, store.ErrInvalidCursor):
				require.NoError(t, err)
			}
			return
		}
		ids, next, err := l.page(t, st, l.parent, page, since, until)

		after, ok := cursorOf(page.After)
		ok = ok && after.list == own.list && after.of == own.of && after.micros >= firstMoment.UnixMicro() && after.micros <= lastMoment.UnixMicro()
		if limit < 0 || limit > 1000 {
			require.ErrorIs(t, err, store.ErrInvalidInput)
			require.Empty(t, ids)
			return
		}
		if page.After != "" && !ok {
			require.ErrorIs(t, err, store.ErrInvalidCursor)
			return
		}
		require.NoError(t, err)
		var want []int64
		var last cursor
		more := false
		for i, at := range l.positions {
			if page.After != "" && !l.isAfter(at, after) {
				continue
			}
			if at := time.UnixMicro(at.micros); bounded && (at.Before(since) || !until.IsZero() && !at.Before(until)) {
				continue
			}
			if more = len(want) == cmp.Or(limit, 10); more {
				break
			}
			want, last = append(want, l.ids[i]), at
		}
		require.ElementsMatch(t, want, ids)
		require.True(t, slices.Equal(want, ids), "the order of %v is %v", want, ids)
		if more {
			require.Equal(t, last.text(), next)
		} else {
			require.Empty(t, next)
		}
	})
}

// moment is a time, 0 the zero one.
func moment(seconds, nanos int64) time.Time {
	if seconds == 0 && nanos == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, nanos)
}

// isAfter: a row comes after a position.
func (l filledList) isAfter(row, position cursor) bool {
	if l.newest {
		row, position = position, row
	}
	return row.micros > position.micros || row.micros == position.micros && row.id > position.id
}

// page reads a page, of a log within bounds.
func (l filledList) page(t *testing.T, st *store.Store, of int64, page store.Page, since, until time.Time) ([]int64, store.Cursor, error) {
	p := store.ActivityPage{Page: page, Since: since, Until: until}
	if strings.Contains(l.name, "of two actions") {
		p.Actions = []db.ActivityType{"EXPORT", "IMPORT"}
	}
	var rows []store.Activity
	var next store.Cursor
	var err error
	switch {
	case strings.HasPrefix(l.name, "TeamActivity"):
		rows, next, err = st.TeamActivity(t.Context(), db.TeamID(of), p)
	case strings.HasPrefix(l.name, "UserActivity"):
		rows, next, err = st.UserActivity(t.Context(), db.UserID(of), p)
	default:
		return l.read(t.Context(), st, of, page)
	}
	var ids []int64
	for _, row := range rows {
		ids = append(ids, int64(row.ID))
	}
	return ids, next, err
}

func checkPurge(t *testing.T, tx *store.Store, before time.Time, logged []time.Time) {
	removed, err := tx.PurgeActivity(t.Context(), before, 0)
	if before.Before(firstMoment) || before.After(lastMoment) {
		invalid, ok := errors.AsType[*store.InvalidInputError](err)
		require.True(t, ok, "%T: %v", err, err)
		require.Equal(t, "before", invalid.Field)
		requireUsable(t, tx)
		return
	}
	require.NoError(t, err)
	older := slices.DeleteFunc(slices.Clone(logged), func(at time.Time) bool { return !at.Before(before) })
	require.EqualValues(t, len(older), removed)
}
