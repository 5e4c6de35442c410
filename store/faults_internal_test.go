package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

type safeToRetry struct{ error }

func (safeToRetry) SafeToRetry() bool { return true }

func (e safeToRetry) Unwrap() error { return e.error }

// What is not proved to have done nothing is unknown.
func TestOutcome(t *testing.T) {
	t.Parallel()
	server := func(severity, code string) error {
		return &pgconn.PgError{Severity: "FEHLER", SeverityUnlocalized: severity, Code: code, Message: "injected"}
	}
	for _, test := range []struct {
		err  error
		want fault
	}{
		{nil, final},
		{pgx.ErrNoRows, final},
		{fmt.Errorf("commit: %w", pgx.ErrTxCommitRollback), final},
		{server("ERROR", "23505"), final},
		{server("ERROR", "57014"), final}, // canceled, or statement_timeout
		{server("ERROR", "55P03"), final},
		{&pgconn.PgError{Severity: "ERROR", Code: "23505"}, final}, // a server that knows one severity
		{fmt.Errorf("commit: %w", server("ERROR", "40001")), contended},
		{server("ERROR", "40P01"), contended},

		{safeToRetry{io.EOF}, lost},

		{server("FATAL", "57P01"), unknown},
		{server("PANIC", "XX000"), unknown},
		{server("FATAL", "40001"), unknown},
		{server("ERROR", "40003"), unknown},
		{server("ERROR", "08006"), unknown}, // a proxy about its server
		{server("ERROR", "57P01"), unknown},
		{server("", "23505"), unknown},
		{server("ERROR", ""), unknown},
		{&pgconn.PgError{Severity: "FEHLER", Code: "23505"}, unknown},
		{context.Canceled, unknown},
		{context.DeadlineExceeded, unknown},
		{io.ErrUnexpectedEOF, unknown},
		{pgconn.ErrConnClosed, unknown},
		{safeToRetry{pgconn.ErrConnClosed}, unknown},
		{pgx.ScanArgError{Err: errors.New("an answer that can't be decoded")}, unknown},
		{pgx.ErrTxClosed, unknown}, // by the caller, who may have committed it
	} {
		require.Equal(t, test.want, outcome(test.err), "%v", test.err)
	}
}

// What was unknown says what to do, and why it is.
func TestOutcomeUnknownError(t *testing.T) {
	t.Parallel()
	cause := &pgconn.PgError{Severity: "FATAL", Code: "57P01", Message: "terminating"}
	err := error(&outcomeUnknownError{errors.Join(context.Canceled, cause)})
	require.ErrorIs(t, err, ErrOutcomeUnknown)
	require.ErrorIs(t, err, context.Canceled)
	var pgErr *pgconn.PgError
	require.ErrorAs(t, err, &pgErr)
	require.Same(t, cause, pgErr)
	require.ErrorContains(t, err, "read before trying again")
	require.ErrorContains(t, err, "terminating")
}
