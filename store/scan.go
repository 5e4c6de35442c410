package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/rowhouse/rowhouse/db"
)

// read reads the rows of a query straight into what the caller gets, with room for as many
// as are expected. sqlc's own loop allocates each row once more, and gives another list to
// be copied. targets appends the addresses of an item's fields to dest, in the order of the
// query's columns.
func read[T any](ctx context.Context, conn db.DBTX, expected int, targets func(dest []any, item *T) []any, sql string, args ...any) (items []T, err error) {
	err = repeat(ctx, conn, func(conn db.DBTX) error {
		rows, err := conn.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		items, err = scan(rows, expected, targets)
		return err
	})
	return items, err
}

func scan[T any](rows pgx.Rows, expected int, targets func(dest []any, item *T) []any) ([]T, error) {
	items := make([]T, 0, expected)
	var dest []any // of all rows: what changes is where it points
	for rows.Next() {
		items = append(items, *new(T))
		dest = targets(dest[:0], &items[len(items)-1])
		if err := rows.Scan(dest...); err != nil {
			return nil, err
		}
	}
	return items, rows.Err()
}

// The room that a page's list begins with: most are short, whatever their limit.
const expectedRows = 64

func memberTargets(dest []any, m *Member) []any {
	return append(dest, &m.TeamMember.ID, &m.TeamMember.UserID, &m.TeamMember.TeamID, &m.TeamMember.Role, &m.TeamMember.JoinedAt, &m.User.Name, &m.User.Email)
}

func activityTargets(dest []any, a *Activity) []any {
	l := &a.ActivityLog
	// As bytes: into a json.RawMessage pgx would parse what the server has checked.
	return append(dest, &l.ID, &l.TeamID, &l.UserID, &l.Action, &l.Timestamp, &l.IPAddress, (*[]byte)(&l.Metadata), &a.UserName)
}

func teamTargets(dest []any, t *db.Team) []any {
	return append(dest, &t.ID, &t.Name, &t.CreatedAt, &t.UpdatedAt, &t.StripeCustomerID, &t.StripeSubscriptionID,
		&t.StripeProductID, &t.PlanName, &t.SubscriptionStatus, &t.SeatLimit, &t.DeletedAt)
}
