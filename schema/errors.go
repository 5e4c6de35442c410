package schema

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// MigrationError is returned when a migration, or its rollback, fails. The
// server's error, when it was the server that refused, is reached by errors.As
// with a *[pgconn.PgError]; the end of the caller's context by errors.Is.
type MigrationError struct {
	Version int64
	Name    string // the file's name in Files
	// Line is where in the file the statement begins that failed. It is 0 when
	// none did: the context ended, or the connection broke, between two.
	Line int
	Err  error

	rollback bool
	tries    int // that got no lock
}

// Error says which migration failed and where, what the server said about it
// with its detail and hint, and what to do next.
func (e *MigrationError) Error() string {
	what, again := "migration "+e.Name, "migrate"
	if e.rollback {
		what, again = "rollback of "+what, "roll back"
	}
	at := ""
	if e.Line > 0 {
		at = fmt.Sprintf(" at line %d", e.Line)
	}
	for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(e.Err, end) {
			return fmt.Sprintf("%s was stopped%s: %v; %s again to finish it", what, at, end, again)
		}
	}
	if e.tries > 0 {
		return fmt.Sprintf("%s failed%s: %s, in %d tries; see in pg_locks and pg_stat_activity who holds it, or allow more time, and %s again", what, at, explain(e.Err), e.tries, again)
	}
	return fmt.Sprintf("%s failed%s: %s; repair that and %s again", what, at, explain(e.Err), again)
}

// Unwrap returns the cause.
func (e *MigrationError) Unwrap() error { return e.Err }

// explain returns a server's error with the detail and the hint, which its own
// Error method leaves out, and any other error as it is.
func explain(err error) string {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return err.Error()
	}
	text := fmt.Sprintf("%s (SQLSTATE %s)", pgErr.Message, pgErr.Code)
	if pgErr.Detail != "" {
		text += "; detail: " + pgErr.Detail
	}
	if pgErr.Hint != "" {
		text += "; hint: " + pgErr.Hint
	}
	return text
}
