package store

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/rowhouse/rowhouse/db"
)

// Rows are decoded here from the bytes that the server sent, rather than by Rows.Scan:
// that looks up how to scan each column again at each call, and allocates each text and
// each pointer by itself. Measured on a team of 100, with pgx's own share: 55 allocations
// rather than 450.

// decoder takes the columns of a row, in the order of the query, each by the method that
// is named for its type. What it returns shares memory by the few kilobytes: the text of a
// row keeps that of some other rows of the same result alive.
type decoder struct {
	rows    pgx.Rows
	fields  []pgconn.FieldDescription
	values  [][]byte
	column  int // the next one
	err     error
	texts   texts
	strings shared[string]
	users   shared[db.UserID]
	ints    shared[int32]
	bytes   shared[byte]
	words   [8]string // that came before
}

// errColumns is a query and its decoder that have grown apart.
var errColumns = errors.New("the query does not return the columns that are decoded")

// row makes d ready for the row that rows are at.
func (d *decoder) row(rows pgx.Rows) {
	if d.rows == nil {
		d.rows, d.fields = rows, rows.FieldDescriptions()
	}
	d.values, d.column = rows.RawValues(), 0
}

func (d *decoder) end() error {
	if d.err == nil && d.column != len(d.values) {
		d.err = errColumns
	}
	return d.err
}

var noField pgconn.FieldDescription

// next is the next column: its bytes, nil for NULL, and what they are.
func (d *decoder) next() ([]byte, *pgconn.FieldDescription) {
	if d.column >= len(d.values) {
		d.err = errColumns
		return nil, &noField
	}
	d.column++
	return d.values[d.column-1], &d.fields[d.column-1]
}

// null reports whether the next column is NULL, and passes over it then.
func (d *decoder) null() bool {
	if d.column >= len(d.values) || d.values[d.column] != nil {
		return false
	}
	d.column++
	return true
}

// scanned is pgx's own way: for what has another type or format than the server sends to
// prepared statements, and for errors.
func scanned[T any](d *decoder, v []byte, f *pgconn.FieldDescription) (t T) {
	if d.err == nil {
		d.fail(d.rows.TypeMap().Scan(f.DataTypeOID, f.Format, v, &t))
	}
	return t
}

// fail keeps the first error, with the column it is about.
func (d *decoder) fail(err error) {
	if err != nil && d.err == nil {
		d.err = pgx.ScanArgError{ColumnIndex: d.column - 1, FieldName: d.fields[d.column-1].Name, Err: err}
	}
}

func (d *decoder) bool() bool {
	v, f := d.next()
	if f.Format == pgx.BinaryFormatCode && f.DataTypeOID == pgtype.BoolOID && len(v) == 1 {
		return v[0] == 1
	}
	return scanned[bool](d, v, f)
}

func (d *decoder) int() int64 {
	v, f := d.next()
	if f.Format == pgx.BinaryFormatCode {
		switch {
		case f.DataTypeOID == pgtype.Int4OID && len(v) == 4:
			return int64(int32(binary.BigEndian.Uint32(v)))
		case f.DataTypeOID == pgtype.Int8OID && len(v) == 8:
			return int64(binary.BigEndian.Uint64(v))
		}
	}
	return scanned[int64](d, v, f)
}

// postgresEpoch is from when the server counts microseconds, 2000-01-01, in those of Unix.
const postgresEpoch = 946_684_800_000_000

func (d *decoder) time() time.Time {
	v, f := d.next()
	if f.Format == pgx.BinaryFormatCode && f.DataTypeOID == pgtype.TimestampOID && len(v) == 8 {
		if us := int64(binary.BigEndian.Uint64(v)); us != math.MinInt64 && us != math.MaxInt64 { // not infinite
			return time.UnixMicro(us + postgresEpoch).UTC()
		}
	}
	return scanned[time.Time](d, v, f)
}

// textBytes are those of a text, which are the same in both formats.
func (d *decoder) textBytes() []byte {
	v, f := d.next()
	if v == nil || f.DataTypeOID != pgtype.TextOID && f.DataTypeOID != pgtype.VarcharOID {
		return []byte(scanned[string](d, v, f))
	}
	return v
}

func (d *decoder) text() string { return d.texts.add(d.textBytes()) }

func (d *decoder) textOrNil() *string {
	if d.null() {
		return nil
	}
	return d.strings.add(d.text())
}

// word is a text that many rows have: it is allocated once.
func (d *decoder) word() string {
	v := d.textBytes()
	for i := range d.words {
		if d.words[i] == "" {
			d.words[i] = d.texts.add(v)
			return d.words[i]
		}
		if d.words[i] == string(v) {
			return d.words[i]
		}
	}
	return d.texts.add(v)
}

func (d *decoder) userOrNil() *db.UserID {
	if d.null() {
		return nil
	}
	return d.users.add(db.UserID(d.int()))
}

func (d *decoder) int32OrNil() *int32 {
	if d.null() {
		return nil
	}
	return d.ints.add(int32(d.int()))
}

func (d *decoder) json() []byte {
	if d.null() {
		return nil
	}
	v, f := d.next()
	if f.Format != pgx.TextFormatCode || f.DataTypeOID != pgtype.JSONBOID {
		return scanned[[]byte](d, v, f)
	}
	return d.bytes.copy(v)
}

// texts allocates many texts at once. A strings.Builder lends out what it has written:
// that never changes, and stays where it is until there is no more room.
type texts struct{ b strings.Builder }

func (t *texts) add(v []byte) string {
	if t.b.Cap()-t.b.Len() < len(v) {
		room := min(max(2*t.b.Cap(), 64), 4096)
		t.b.Reset()
		t.b.Grow(max(room, len(v)))
	}
	n := t.b.Len()
	t.b.Write(v)
	return t.b.String()[n:]
}

// shared allocates many values at once, for pointers to them.
type shared[T any] struct{ room []T }

func (s *shared[T]) add(v T) *T {
	s.grow(1, 4, 64)
	s.room = append(s.room, v)
	return &s.room[len(s.room)-1]
}

func (s *shared[T]) copy(v []T) []T {
	s.grow(len(v), 64, 4096)
	n := len(s.room)
	s.room = append(s.room, v...)
	return s.room[n:len(s.room):len(s.room)]
}

func (s *shared[T]) grow(n, least, most int) {
	if cap(s.room)-len(s.room) < n {
		s.room = make([]T, 0, max(n, min(max(2*cap(s.room), least), most)))
	}
}

// rows reads a list of T. Until the last row has come nobody knows how many there are: they
// gather in a list that is kept for the next call, and the caller gets one of their number.
type rows[T any] struct {
	decode func(*decoder, *T)
	kept   sync.Pool // of *[]T
}

// mostKept bounds what a long list leaves behind.
const mostKept = 1 << 14

// read queries conn. On the Store's own it is repeated as [Store.read] is.
func (r *rows[T]) read(ctx context.Context, conn db.DBTX, sql string, args ...any) (items []T, err error) {
	err = repeat(ctx, conn, func(conn db.DBTX) error {
		rows, err := conn.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		items, err = r.list(rows)
		return err
	})
	return items, err
}

func (r *rows[T]) list(rows pgx.Rows) ([]T, error) {
	kept, _ := r.kept.Get().(*[]T)
	if kept == nil {
		kept = new([]T)
	}
	gathered := (*kept)[:0]
	var d decoder
	for rows.Next() {
		d.row(rows)
		gathered = append(gathered, *new(T))
		r.decode(&d, &gathered[len(gathered)-1])
		if err := d.end(); err != nil {
			return nil, err
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	items := append(make([]T, 0, len(gathered)), gathered...) // never nil: JSON of none is []
	if cap(gathered) <= mostKept {
		clear(gathered) // or it would keep alive what the caller has let go
		*kept = gathered
		r.kept.Put(kept)
	}
	return items, nil
}

// into is how a row is scanned to where its caller wants it: into an item by one, or as a
// method of sqlc's asks.
func into(dest []any) pgx.RowScanner {
	if len(dest) == 1 {
		if row, ok := dest[0].(pgx.RowScanner); ok {
			return row
		}
	}
	return targets(dest)
}

type targets []any

// ScanRow is called by pgx, which would look for a way to scan each column at each call.
func (ts targets) ScanRow(rows pgx.Rows) error {
	var d decoder
	d.row(rows)
	for _, t := range ts {
		switch t := t.(type) {
		case *bool:
			*t = d.bool()
		case *string:
			*t = d.text()
		case **string:
			*t = d.textOrNil()
		case *time.Time:
			*t = d.time()
		case pgtype.Int64Scanner:
			d.fail(t.ScanInt64(pgtype.Int8{Int64: d.int(), Valid: d.err == nil}))
		case pgtype.TextScanner:
			d.fail(t.ScanText(pgtype.Text{String: d.text(), Valid: d.err == nil}))
		default:
			v, f := d.next()
			d.fail(rows.TypeMap().Scan(f.DataTypeOID, f.Format, v, t))
		}
	}
	return d.end()
}

// one decodes a row that QueryRow returns.
type one[T any] struct {
	item   *T
	decode func(*decoder, *T)
}

// ScanRow is called by pgx.
func (o one[T]) ScanRow(rows pgx.Rows) error {
	var d decoder
	d.row(rows)
	o.decode(&d, o.item)
	return d.end()
}

// team and user are those of live rows: deleted_at is not read, and a hash never is.

func (d *decoder) team(t *db.Team) {
	*t = db.Team{
		ID: db.TeamID(d.int()), Name: d.text(), CreatedAt: d.time(), UpdatedAt: d.time(),
		StripeCustomerID: d.textOrNil(), StripeSubscriptionID: d.textOrNil(), StripeProductID: d.textOrNil(),
		PlanName: d.textOrNil(), SubscriptionStatus: (*db.SubscriptionStatus)(d.textOrNil()), SeatLimit: d.int32OrNil(),
	}
}

func (d *decoder) user(u *db.User) {
	*u = db.User{
		ID: db.UserID(d.int()), Name: d.textOrNil(), Email: d.text(), Role: db.Role(d.word()), CreatedAt: d.time(), UpdatedAt: d.time(),
	}
}
