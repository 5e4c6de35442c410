package store

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// A broken constraint is known by its name: Postgres' own report of it, or that of a
// distributed engine, which names a shard's constraint in the message.
func TestExplain(t *testing.T) {
	t.Parallel()
	other := errors.New("other")
	for _, c := range []struct{ err, want error }{
		{nil, nil},
		{other, other},
		{pgx.ErrNoRows, ErrSeatLimit},
		{&pgconn.PgError{Code: "23505", ConstraintName: "users_email_unique"}, ErrEmailTaken},
		{&pgconn.PgError{Code: "23505", ConstraintName: "users_lower_email_unique"}, ErrEmailTaken},
		{&pgconn.PgError{Code: "23505", ConstraintName: "teams_stripe_customer_id_unique_102008"}, ErrStripeIDTaken},
		{&pgconn.PgError{Code: "23505", Message: `duplicate key value violates unique constraint "teams_stripe_subscription_id_unique_102008"`}, ErrStripeIDTaken},
		{&pgconn.PgError{Code: "23503", ConstraintName: "activity_logs_user_id_users_id_fk"}, ErrNotFound},
	} {
		err := explain(c.err, ErrSeatLimit)
		require.ErrorIs(t, err, c.want)
		var cause, pgErr *pgconn.PgError
		if errors.As(c.err, &cause) {
			require.ErrorAs(t, err, &pgErr)
			require.Same(t, cause, pgErr, "the cause stays reachable")
			require.Equal(t, c.want.Error(), err.Error())
		}
	}
	// A constraint of somebody else's, or the code of another failure, is not ours to explain.
	for _, pgErr := range []*pgconn.PgError{
		{Code: "23505", ConstraintName: "their_unique"},
		{Code: "23514", ConstraintName: "users_email_unique"},
		{Code: "23505"},
	} {
		require.Equal(t, error(pgErr), explain(pgErr, nil))
	}
}

// How deep JSON may be is a setting of the server (max_stack_depth: 54001), which only a
// superuser changes.
func TestMetadataThatTheServerRefuses(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]bool{"22P02": true, "22P05": true, "22003": true, "54000": true, "54001": true, "53200": false, "57014": false} {
		pgErr := &pgconn.PgError{Code: code}
		err := explainMetadata(pgErr)
		require.Equal(t, want, errors.Is(err, ErrInvalidInput), code)
		require.ErrorIs(t, err, pgErr)
	}
}
