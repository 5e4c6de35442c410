package db

import (
	"context"
	"time"
)

// The insert types, for imports and fixtures: what the schema generates, or has a
// default for, is optional. They know no rule but the schema's own; a service writes
// through package store.

// NewUser is a row for users.
type NewUser struct {
	ID           *UserID      `json:"id,omitempty"`
	Name         *string      `json:"name,omitempty"`
	Email        string       `json:"email"`
	PasswordHash PasswordHash `json:"-"`
	Role         *Role        `json:"role,omitempty"` // member when unset
	CreatedAt    *time.Time   `json:"createdAt,omitempty"`
	UpdatedAt    *time.Time   `json:"updatedAt,omitempty"`
	DeletedAt    *time.Time   `json:"deletedAt,omitempty"`
}

// Insert inserts the row and returns its id.
func (n NewUser) Insert(ctx context.Context, db DBTX) (UserID, error) {
	return queries.InsertUser(ctx, db, InsertUserParams{
		ID: (*int64)(n.ID), Name: n.Name, Email: n.Email, PasswordHash: n.PasswordHash, Role: (*string)(n.Role),
		CreatedAt: utc(n.CreatedAt), UpdatedAt: utc(n.UpdatedAt), DeletedAt: utc(n.DeletedAt),
	})
}

// NewTeam is a row for teams.
type NewTeam struct {
	ID                   *TeamID             `json:"id,omitempty"`
	Name                 string              `json:"name"`
	CreatedAt            *time.Time          `json:"createdAt,omitempty"`
	UpdatedAt            *time.Time          `json:"updatedAt,omitempty"`
	StripeCustomerID     *string             `json:"stripeCustomerId,omitempty"`
	StripeSubscriptionID *string             `json:"stripeSubscriptionId,omitempty"`
	StripeProductID      *string             `json:"stripeProductId,omitempty"`
	PlanName             *string             `json:"planName,omitempty"`
	SubscriptionStatus   *SubscriptionStatus `json:"subscriptionStatus,omitempty"`
}

// Insert inserts the row and returns its id.
func (n NewTeam) Insert(ctx context.Context, db DBTX) (TeamID, error) {
	return queries.InsertTeam(ctx, db, InsertTeamParams{
		ID: (*int64)(n.ID), Name: n.Name, CreatedAt: utc(n.CreatedAt), UpdatedAt: utc(n.UpdatedAt),
		StripeCustomerID: n.StripeCustomerID, StripeSubscriptionID: n.StripeSubscriptionID,
		StripeProductID: n.StripeProductID, PlanName: n.PlanName, SubscriptionStatus: n.SubscriptionStatus,
	})
}

// NewTeamMember is a row for team_members.
type NewTeamMember struct {
	ID       *TeamMemberID `json:"id,omitempty"`
	UserID   UserID        `json:"userId"`
	TeamID   TeamID        `json:"teamId"`
	Role     Role          `json:"role"`
	JoinedAt *time.Time    `json:"joinedAt,omitempty"`
}

// Insert inserts the row and returns its id.
func (n NewTeamMember) Insert(ctx context.Context, db DBTX) (TeamMemberID, error) {
	return queries.InsertTeamMember(ctx, db, InsertTeamMemberParams{
		ID: (*int64)(n.ID), UserID: n.UserID, TeamID: n.TeamID, Role: n.Role, JoinedAt: utc(n.JoinedAt),
	})
}

// NewActivityLog is a row for activity_logs.
type NewActivityLog struct {
	ID        *ActivityLogID `json:"id,omitempty"`
	TeamID    TeamID         `json:"teamId"`
	UserID    *UserID        `json:"userId,omitempty"`
	Action    ActivityType   `json:"action"`
	Timestamp *time.Time     `json:"timestamp,omitempty"`
	IPAddress *string        `json:"ipAddress,omitempty"`
}

// Insert inserts the row and returns its id.
func (n NewActivityLog) Insert(ctx context.Context, db DBTX) (ActivityLogID, error) {
	return queries.InsertActivityLog(ctx, db, InsertActivityLogParams{
		ID: (*int64)(n.ID), TeamID: n.TeamID, UserID: n.UserID, Action: n.Action,
		LoggedAt: utc(n.Timestamp), IPAddress: n.IPAddress,
	})
}

// NewInvitation is a row for invitations, without a token and without an end.
type NewInvitation struct {
	ID        *InvitationID     `json:"id,omitempty"`
	TeamID    TeamID            `json:"teamId"`
	Email     string            `json:"email"`
	Role      Role              `json:"role"`
	InvitedBy UserID            `json:"invitedBy"`
	InvitedAt *time.Time        `json:"invitedAt,omitempty"`
	Status    *InvitationStatus `json:"status,omitempty"` // pending when unset
}

// Insert inserts the row and returns its id.
func (n NewInvitation) Insert(ctx context.Context, db DBTX) (InvitationID, error) {
	return queries.InsertInvitation(ctx, db, InsertInvitationParams{
		ID: (*int64)(n.ID), TeamID: n.TeamID, Email: n.Email, Role: n.Role, InvitedBy: n.InvitedBy,
		InvitedAt: utc(n.InvitedAt), Status: (*string)(n.Status),
	})
}

var queries = New()

// utc because a timestamp column takes the wall clock and drops the zone.
func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}
