package store

import (
	"context"

	"github.com/rowhouse/rowhouse/db"
)

// Violation is a row that breaks a rule of the house.
type Violation struct {
	Rule   string    // "team without an owner", "duplicate membership", …
	Table  string    // where the row is
	ID     int64     // the row's
	TeamID db.TeamID // 0 where the rule is not about a team
}

// CheckInvariants returns every row that breaks a rule: teams with live members and no
// live owner; duplicate memberships, and memberships of deleted users or in deleted
// teams; e-mails of several live accounts, in any case; several pending invitations of
// one e-mail to a team, and pending ones by deleted users or to deleted teams; accepted
// invitations without a membership, or a later end of it in the log. The Store's own
// operations leave none; another writer of the same tables, or a restore, may.
//
// It is one statement that reads whole tables: for operators and tests. Ordered by rule
// and id. A log that was purged no longer explains why a membership ended.
//
// Errors: the server's and the connection's alone.
func (s *Store) CheckInvariants(ctx context.Context) ([]Violation, error) {
	var rows []db.ListViolationsRow
	err := s.read(ctx, func(conn session) (err error) {
		rows, err = queries.ListViolations(ctx, conn)
		return err
	})
	violations := make([]Violation, len(rows))
	for i, r := range rows {
		violations[i] = Violation{r.Rule, r.TableName, r.ID, db.TeamID(r.TeamID)}
	}
	return violations, err
}
