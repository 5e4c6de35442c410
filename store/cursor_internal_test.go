package store

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzCursor: a text is refused, or means a position of one list of one parent, whose
// cursor is that text, and every other list and parent refuses it. So it is with the text
// as the position in a cursor with a true checksum, which no mistyping makes. The seeds
// are in testdata.
func FuzzCursor(f *testing.F) {
	f.Fuzz(func(t *testing.T, text string, l byte, of int64) {
		body := append(binary.BigEndian.AppendUint64([]byte{l}, uint64(of)), text...)
		body = binary.BigEndian.AppendUint32(body, crc32.ChecksumIEEE(body))
		for _, c := range []Cursor{Cursor(text), Cursor(base64.RawURLEncoding.EncodeToString(body))} {
			p, err := decodeCursor(c, list(l), of)
			if err != nil {
				require.ErrorIs(t, err, ErrInvalidCursor)
				require.Zero(t, p)
				continue
			}
			require.Equal(t, time.UTC, p.time.Location())
			require.False(t, p.time.Before(beforeAll.time) || p.time.After(afterAll.time), p.time)
			// base64 passes over line ends.
			require.Equal(t, Cursor(strings.NewReplacer("\r", "", "\n", "").Replace(string(c))), encodeCursor(list(l), of, p))
			for other := range byte(math.MaxUint8) {
				if other != l {
					_, err := decodeCursor(c, list(other), of)
					require.ErrorIs(t, err, ErrInvalidCursor, "another list")
				}
			}
			_, err = decodeCursor(c, list(l), of^(1<<(l%64)))
			require.ErrorIs(t, err, ErrInvalidCursor, "another parent")
		}
	})
}

// Clients hold cursors from before an upgrade: the format stays.
func TestCursorFormat(t *testing.T) {
	t.Parallel()
	position := position{time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), 7}
	require.Equal(t, Cursor("AQAAAAAAAAADAAZHXvZM80YAAAAAAAAAB1VJb28"), encodeCursor(listMembers, 3, position))
}

// What is encoded is decoded, by the same list of the same team or user alone.
func TestCursorRoundTrip(t *testing.T) {
	t.Parallel()
	lists := []list{listMembers, listMemberships, listTeamActivity, listUserActivity, listInvitations, listInvitationsSent}
	positions := []position{beforeAll, afterAll, {time.UnixMicro(-1).UTC(), 1}, {time.UnixMicro(0).UTC(), -1},
		{time.Date(2026, 12, 31, 23, 59, 59, 999_999_000, time.UTC), math.MaxInt32}}
	for _, l := range lists {
		for _, of := range []int64{0, 1, -1, math.MaxInt32, math.MaxInt64, math.MinInt64} {
			for _, want := range positions {
				cursor := encodeCursor(l, of, want)
				got, err := decodeCursor(cursor, l, of)
				require.NoError(t, err)
				require.Equal(t, want, got)
				for _, other := range lists {
					if other != l {
						_, err := decodeCursor(cursor, other, of)
						require.ErrorIs(t, err, ErrInvalidCursor)
					}
				}
				_, err = decodeCursor(cursor, l, of+1)
				require.ErrorIs(t, err, ErrInvalidCursor)
			}
		}
	}
}
