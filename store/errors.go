package store

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/rowhouse/rowhouse/db"
)

// What the Store refuses, for errors.Is. After each of these nothing was written.
//
// Where the server found it, its *pgconn.PgError is in the chain as well, for errors.As.
// Log an error's text, not that struct: its Detail may hold the row that failed.
var (
	// ErrNotFound is returned when there is no such live user, team, member or
	// invitation, or it is another team's.
	ErrNotFound = errors.New("not found")

	// ErrForbidden is returned when the actor is not an owner of the team, or there is
	// no such team: which of the two, only its members learn.
	ErrForbidden = errors.New("only an owner of the team may do this")

	// ErrConflict is returned when what the operation relied on changed meanwhile. Read
	// again, and decide again.
	ErrConflict = errors.New("changed meanwhile: read again and retry")

	// ErrInvalidInput is returned when an argument can't be stored or makes no sense.
	// The error is an [InvalidInputError].
	ErrInvalidInput = errors.New("invalid input")

	// ErrInvalidCursor is returned when a page's cursor is not one that the same list
	// of the same team or user returned.
	ErrInvalidCursor = errors.New("invalid cursor: start from the first page")

	// ErrEmailTaken is returned when a live account has the e-mail.
	ErrEmailTaken = errors.New("the e-mail has an account")

	// ErrLastOwner is returned when a team would be left without an owner. Only the
	// deletion of the account of its only member may do that. The error is a
	// [LastOwnerError].
	ErrLastOwner = errors.New("a team needs an owner")

	// ErrAlreadyMember is returned when the person to invite is in the team.
	ErrAlreadyMember = errors.New("already a member of the team")

	// ErrAlreadyInvited is returned when the person to invite has an invitation to the
	// team that can still be accepted.
	ErrAlreadyInvited = errors.New("already invited to the team")

	// ErrInvitationNotPending is returned when the invitation was accepted, declined or
	// canceled, or when who sent it is no owner of the team any more.
	ErrInvitationNotPending = errors.New("the invitation is no longer open")

	// ErrInvitationExpired is returned when the invitation's time is over.
	ErrInvitationExpired = errors.New("the invitation has expired")

	// ErrInvitationEmailMismatch is returned when the invitation is for another e-mail.
	ErrInvitationEmailMismatch = errors.New("the invitation is for another e-mail")

	// ErrSeatLimit is returned when every seat of the team is taken.
	ErrSeatLimit = errors.New("the team has no free seat")

	// ErrActiveSubscription is returned when a team with a subscription that has not
	// ended is to be deleted.
	ErrActiveSubscription = errors.New("the team has a live subscription")

	// ErrStripeIDTaken is returned when another team has the Stripe customer or
	// subscription.
	ErrStripeIDTaken = errors.New("the Stripe id belongs to another team")

	// ErrUnknownCustomer is returned when no team has, or had, the Stripe customer of a
	// subscription. A webhook answers it with 5xx: Stripe sends the event again, and by
	// then the customer may be linked.
	ErrUnknownCustomer = errors.New("no team has the Stripe customer")
)

// ErrOutcomeUnknown is returned by what writes when the connection was lost, or ctx ended,
// after it was sent and before the server had answered. It may have happened, wholly or
// not at all. What became of the connection or ctx is in the chain as well. Read, and
// decide again; or repeat the operation, where its doc says that this is safe.
//
// After any other error nothing was written, or as much as the operation's doc says.
var ErrOutcomeUnknown = errors.New("the outcome is unknown: it happened wholly or not at all, read before trying again")

// InvalidInputError says which argument is invalid, and why. It is [ErrInvalidInput].
type InvalidInputError struct {
	Field  string // of the params struct, as it is spelled there
	Reason string // "must not be empty"; never holds the value
}

func (e *InvalidInputError) Error() string {
	return fmt.Sprintf("%v: %s %s", ErrInvalidInput, e.Field, e.Reason)
}

func (e *InvalidInputError) Is(target error) bool { return target == ErrInvalidInput }

// LastOwnerError says which teams would lose their last owner. It is [ErrLastOwner].
type LastOwnerError struct {
	TeamIDs []db.TeamID // ascending
}

func (e *LastOwnerError) Error() string {
	return fmt.Sprintf("%v: in %v, make another member an owner first", ErrLastOwner, e.TeamIDs)
}

func (e *LastOwnerError) Is(target error) bool { return target == ErrLastOwner }

// refusal is a server's error that one of the errors above explains. Both are in its
// chain; its text is the latter's, because the server's may name what was stored.
type refusal struct {
	sentinel error
	cause    *pgconn.PgError
}

func (e *refusal) Error() string   { return e.sentinel.Error() }
func (e *refusal) Unwrap() []error { return []error{e.sentinel, e.cause} }

// SQLSTATEs (https://www.postgresql.org/docs/current/errcodes-appendix.html).
const (
	uniqueViolation      = "23505"
	foreignKeyViolation  = "23503"
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	completionUnknown    = "40003"
	dataException        = "22"  // the class
	connectionException  = "08"  // the class
	shutdown             = "57P" // the server's, of class 57
	limitExceeded        = "54"  // the class
	protocolViolation    = "08P01"
)

// byConstraint is what it means to a caller when a write breaks a constraint.
var byConstraint = map[db.Constraint]error{
	db.UsersEmailUnique:                ErrEmailTaken,
	db.UsersLowerEmailUnique:           ErrEmailTaken,
	db.TeamsStripeCustomerIDUnique:     ErrStripeIDTaken,
	db.TeamsStripeSubscriptionIDUnique: ErrStripeIDTaken,
	db.TeamMembersTeamIDUserIDUnique:   ErrConflict, // a writer beside the Store: it holds the team's lock
	db.InvitationsPendingUnique:        ErrAlreadyInvited,
	db.TeamMembersUserIDFk:             ErrNotFound,
	db.TeamMembersTeamIDFk:             ErrNotFound,
	db.SubscriptionsTeamIDFk:           ErrNotFound,
	db.ActivityLogsTeamIDFk:            ErrNotFound,
	db.ActivityLogsUserIDFk:            ErrNotFound,
	db.InvitationsTeamIDFk:             ErrNotFound,
	db.InvitationsInvitedByFk:          ErrNotFound,
}

// explain turns what a statement failed with into what the caller is told. noRow is
// what it means that the statement returned no row.
func explain(err, noRow error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return noRow
	}
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != uniqueViolation && pgErr.Code != foreignKeyViolation {
		return err
	}
	if sentinel, ok := byConstraint[brokenConstraint(pgErr)]; ok {
		return &refusal{sentinel, pgErr}
	}
	return err
}

// brokenConstraint is the constraint's name as the schema has it. A distributed engine
// reports its shards' names, which end in _ and the shard's number, and only within
// the message.
func brokenConstraint(e *pgconn.PgError) db.Constraint {
	name := e.ConstraintName
	if name == "" {
		_, rest, _ := strings.Cut(e.Message, `constraint "`)
		name, _, _ = strings.Cut(rest, `"`)
	}
	if i := strings.LastIndexByte(name, '_'); i >= 0 && i+1 < len(name) && strings.Trim(name[i+1:], "0123456789") == "" {
		name = name[:i]
	}
	return db.Constraint(name)
}
