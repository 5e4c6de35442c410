package store

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"iter"
	"math"
	"time"
)

const (
	defaultPageSize = 10 // what the TypeScript app's activity page shows
	maxPageSize     = 1000
)

// Page asks for a part of a list. The zero Page is the first ten.
//
// Lists are read by position, not by count: a page costs the same however far down it
// is, and rows that come or go between two pages never make another row appear twice
// or be left out.
type Page struct {
	Limit int    // 1 to 1000 rows; 0 is 10
	After Cursor // what the page before it returned; empty for the first page
}

// Cursor is a position in a list: opaque text, safe in a URL. It belongs to the list of
// the team or user that returned it. Empty, as returned, it says that the list is at
// its end. It is no secret and no permission.
type Cursor string

// list tells the lists apart in cursors. The numbers are part of the format.
type list byte

const (
	listMembers         list = 1
	listMemberships     list = 2
	listTeamActivity    list = 3
	listUserActivity    list = 4
	listInvitations     list = 5
	listInvitationsSent list = 6
	listTeamsForUser    list = 7
	listEmailInvites    list = 8
)

// position is a row's place in a list's order: by time, then by id.
type position struct {
	time time.Time
	id   int64
}

// The ends of every list. Years that a timestamp can hold, and no row has.
var (
	beforeAll = position{time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), 0}
	afterAll  = position{time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), math.MaxInt64}
)

// A cursor is the base64 of: the list, the id of its team or user, the position's
// microseconds since 1970, its id, and a checksum, which finds a cursor cut short or
// mistyped. It need not find a forged one: whatever the position, the rows are those
// that the caller may read.
const cursorSize = 1 + 8 + 8 + 8 + 4

var cursorText = base64.RawURLEncoding.Strict()

func encodeCursor(l list, of int64, p position) Cursor {
	b := make([]byte, 0, cursorSize)
	b = append(b, byte(l))
	b = binary.BigEndian.AppendUint64(b, uint64(of))
	b = binary.BigEndian.AppendUint64(b, uint64(p.time.UnixMicro()))
	b = binary.BigEndian.AppendUint64(b, uint64(p.id))
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	return Cursor(cursorText.EncodeToString(b))
}

func decodeCursor(c Cursor, l list, of int64) (position, error) {
	b, err := cursorText.DecodeString(string(c))
	if err != nil || len(b) != cursorSize {
		return position{}, ErrInvalidCursor
	}
	body, sum := b[:cursorSize-4], binary.BigEndian.Uint32(b[cursorSize-4:])
	p := position{
		time: time.UnixMicro(int64(binary.BigEndian.Uint64(b[9:]))).UTC(),
		id:   int64(binary.BigEndian.Uint64(b[17:])),
	}
	if crc32.ChecksumIEEE(body) != sum || list(b[0]) != l || int64(binary.BigEndian.Uint64(b[1:])) != of ||
		p.time.Before(beforeAll.time) || p.time.After(afterAll.time) {
		return position{}, ErrInvalidCursor
	}
	return p, nil
}

// start checks a page and says where it begins; first is the position before the list.
func (p Page) start(l list, of int64, first position) (limit int, from position, err error) {
	limit, err = bounded("Limit", p.Limit)
	if err != nil || p.After == "" {
		return limit, first, err
	}
	from, err = decodeCursor(p.After, l, of)
	return limit, from, err
}

func bounded(field string, limit int) (int, error) {
	switch {
	case limit == 0:
		return defaultPageSize, nil
	case limit < 0 || limit > maxPageSize:
		return 0, &InvalidInputError{Field: field, Reason: "must be from 1 to 1000, or 0 for 10"}
	}
	return limit, nil
}

// cut makes a page of the rows that were read, one more than asked for when there are
// more, and the cursor after it.
func cut[Row, Item any](rows []Row, limit int, l list, of int64, item func(*Row) (Item, position)) ([]Item, Cursor) {
	items := make([]Item, 0, min(len(rows), limit))
	var last position
	for i := range rows[:min(len(rows), limit)] {
		it, at := item(&rows[i])
		items, last = append(items, it), at
	}
	if len(rows) <= limit {
		return items, ""
	}
	return items, encodeCursor(l, of, last)
}

// cutItems is cut of rows that are the items already.
func cutItems[Item any](items []Item, limit int, l list, of int64, at func(*Item) position) ([]Item, Cursor) {
	if len(items) <= limit {
		return items, ""
	}
	return items[:limit:limit], encodeCursor(l, of, at(&items[limit-1]))
}

// All walks a list page by page, from where page begins, and holds one page in memory:
//
//	read := func(p store.Page) ([]store.Member, store.Cursor, error) { return st.Members(ctx, team, p) }
//	for member, err := range store.All(store.Page{Limit: 500}, read) {
//
// An error is the last thing that it yields.
func All[T any](page Page, read func(Page) ([]T, Cursor, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		page := page // each walk its own
		for {
			items, next, err := read(page)
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if err != nil {
				yield(*new(T), err)
				return
			}
			if next == "" {
				return
			}
			page.After = next
		}
	}
}
