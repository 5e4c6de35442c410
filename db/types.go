// Package db is generated from the SQL in queries and schema: a struct for each
// table, and a method for each statement. The types that SQL can't express, and the
// names of constraints, are written by hand.
//
// It follows the schema: a column that is added, or a statement that is rewritten,
// changes its API. Package store is the one that keeps its promises between versions;
// a service names db for the types of rows and ids alone.
package db

import (
	"database/sql/driver"
	"fmt"
	"io"
	"log/slog"
	"math"

	"github.com/jackc/pgx/v5/pgtype"
)

// ID is the id of a row of T. The columns are 32 bits wide, the type is not, so that
// it outlives their widening. No row has an id that its column can't hold; one is
// sent as 0, which no row has either, and so is simply not found.
type ID[T any] int64

// The ids of the tables: distinct types, so that one can't be passed for another.
type (
	UserID        = ID[User]
	TeamID        = ID[Team]
	TeamMemberID  = ID[TeamMember]
	ActivityLogID = ID[ActivityLog]
	InvitationID  = ID[Invitation]
)

// sent is the id as the column can hold it.
func (id ID[T]) sent() int64 {
	if id < 0 || id > math.MaxInt32 {
		return 0
	}
	return int64(id)
}

// Int64Value is how pgx sends an id without reflection.
func (id ID[T]) Int64Value() (pgtype.Int8, error) {
	return pgtype.Int8{Int64: id.sent(), Valid: true}, nil
}

// Value is how an id is sent where the type of a parameter is not known: by pgx without
// prepared statements, and by database/sql.
func (id ID[T]) Value() (driver.Value, error) { return id.sent(), nil }

// ScanInt64 is how pgx reads an id without reflection.
func (id *ID[T]) ScanInt64(v pgtype.Int8) error {
	if !v.Valid {
		return fmt.Errorf("cannot scan NULL into %T", id)
	}
	*id = ID[T](v.Int64)
	return nil
}

// Role is what a member may do in a team, and a user in the application.
type Role string

const (
	RoleOwner  Role = "owner"
	RoleMember Role = "member"
)

// Valid reports whether r is one of the roles above. A row may hold another text.
func (r Role) Valid() bool { return r == RoleOwner || r == RoleMember }

func (r Role) TextValue() (pgtype.Text, error) { return textValue(r) }
func (r *Role) ScanText(v pgtype.Text) error   { return scanText(r, v) }

// InvitationStatus is the state of an invitation: pending, then one of the others for good.
type InvitationStatus string

const (
	InvitationPending  InvitationStatus = "pending"
	InvitationAccepted InvitationStatus = "accepted"
	InvitationDeclined InvitationStatus = "declined"
	InvitationCanceled InvitationStatus = "canceled"
	InvitationExpired  InvitationStatus = "expired"
)

// Valid reports whether s is one of the states above. A row may hold another text.
func (s InvitationStatus) Valid() bool {
	switch s {
	case InvitationPending, InvitationAccepted, InvitationDeclined, InvitationCanceled, InvitationExpired:
		return true
	}
	return false
}

func (s InvitationStatus) TextValue() (pgtype.Text, error) { return textValue(s) }
func (s *InvitationStatus) ScanText(v pgtype.Text) error   { return scanText(s, v) }

// SubscriptionStatus is the status of a Stripe subscription, in Stripe's words
// (https://docs.stripe.com/api/subscriptions/object#subscription_object-status).
type SubscriptionStatus string

const (
	SubscriptionIncomplete        SubscriptionStatus = "incomplete"
	SubscriptionIncompleteExpired SubscriptionStatus = "incomplete_expired"
	SubscriptionTrialing          SubscriptionStatus = "trialing"
	SubscriptionActive            SubscriptionStatus = "active"
	SubscriptionPastDue           SubscriptionStatus = "past_due"
	SubscriptionCanceled          SubscriptionStatus = "canceled"
	SubscriptionUnpaid            SubscriptionStatus = "unpaid"
	SubscriptionPaused            SubscriptionStatus = "paused"
)

// Valid reports whether s is one of the statuses above. A row may hold another text.
func (s SubscriptionStatus) Valid() bool {
	switch s {
	case SubscriptionIncomplete, SubscriptionIncompleteExpired, SubscriptionTrialing, SubscriptionActive,
		SubscriptionPastDue, SubscriptionCanceled, SubscriptionUnpaid, SubscriptionPaused:
		return true
	}
	return false
}

func (s SubscriptionStatus) TextValue() (pgtype.Text, error) { return textValue(s) }
func (s *SubscriptionStatus) ScanText(v pgtype.Text) error   { return scanText(s, v) }

// ActivityType is what an activity log row says was done. An application may record
// types of its own.
type ActivityType string

// The TypeScript application's types.
const (
	ActivitySignUp           ActivityType = "SIGN_UP"
	ActivitySignIn           ActivityType = "SIGN_IN"
	ActivitySignOut          ActivityType = "SIGN_OUT"
	ActivityUpdatePassword   ActivityType = "UPDATE_PASSWORD"
	ActivityDeleteAccount    ActivityType = "DELETE_ACCOUNT"
	ActivityUpdateAccount    ActivityType = "UPDATE_ACCOUNT"
	ActivityCreateTeam       ActivityType = "CREATE_TEAM"
	ActivityRemoveTeamMember ActivityType = "REMOVE_TEAM_MEMBER"
	ActivityInviteTeamMember ActivityType = "INVITE_TEAM_MEMBER"
	ActivityAcceptInvitation ActivityType = "ACCEPT_INVITATION"
)

// The types that the Store adds.
const (
	ActivityUpdateTeam         ActivityType = "UPDATE_TEAM"
	ActivityDeleteTeam         ActivityType = "DELETE_TEAM"
	ActivityLeaveTeam          ActivityType = "LEAVE_TEAM"
	ActivityChangeRole         ActivityType = "CHANGE_ROLE"
	ActivityTransferOwnership  ActivityType = "TRANSFER_OWNERSHIP"
	ActivityResendInvitation   ActivityType = "RESEND_INVITATION"
	ActivityDeclineInvitation  ActivityType = "DECLINE_INVITATION"
	ActivityCancelInvitation   ActivityType = "CANCEL_INVITATION"
	ActivityUpdateSubscription ActivityType = "UPDATE_SUBSCRIPTION"
	ActivityLinkBilling        ActivityType = "LINK_BILLING"
)

// Valid reports whether a is one of the types above.
func (a ActivityType) Valid() bool {
	switch a {
	case ActivitySignUp, ActivitySignIn, ActivitySignOut, ActivityUpdatePassword, ActivityDeleteAccount,
		ActivityUpdateAccount, ActivityCreateTeam, ActivityRemoveTeamMember, ActivityInviteTeamMember,
		ActivityAcceptInvitation, ActivityUpdateTeam, ActivityDeleteTeam, ActivityLeaveTeam, ActivityChangeRole,
		ActivityTransferOwnership, ActivityResendInvitation, ActivityDeclineInvitation, ActivityCancelInvitation,
		ActivityUpdateSubscription, ActivityLinkBilling:
		return true
	}
	return false
}

func (a ActivityType) TextValue() (pgtype.Text, error) { return textValue(a) }
func (a *ActivityType) ScanText(v pgtype.Text) error   { return scanText(a, v) }

// PasswordHash is the hash of a password, made by the service (bcrypt, argon2id). JSON,
// fmt and slog show that it is redacted; string(h) is the hash. Where they can't ask it,
// they show it: in an unexported field of another struct, as a map's key in JSON, and
// under verbs that don't fit, such as %s of a slice of pointers. Keep it out of those.
type PasswordHash string

func (h PasswordHash) TextValue() (pgtype.Text, error) { return textValue(h) }
func (h *PasswordHash) ScanText(v pgtype.Text) error   { return scanText(h, v) }

const redacted = "[redacted]"

func (h PasswordHash) String() string               { return redacted }
func (h PasswordHash) GoString() string             { return redacted }
func (h PasswordHash) Format(f fmt.State, _ rune)   { io.WriteString(f, redacted) }
func (h PasswordHash) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (h PasswordHash) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// textValue and scanText are TextValue and ScanText of the text types: how pgx sends
// and reads them without reflection. A text that is none of a type's constants is
// kept, never an error.
func textValue[T ~string](t T) (pgtype.Text, error) {
	return pgtype.Text{String: string(t), Valid: true}, nil
}

func scanText[T ~string](t *T, v pgtype.Text) error {
	if !v.Valid {
		return fmt.Errorf("cannot scan NULL into %T", t)
	}
	*t = T(v.String)
	return nil
}
