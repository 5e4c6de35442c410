package main

import (
	"encoding/json"
	"time"
)

// The forms in which results are compared. Each contender turns its own types into these.

type canonicalUser struct {
	ID                   int64
	Name                 *string
	Email, Role          string
	CreatedAt, UpdatedAt string
}

type canonicalCredentials struct {
	UserID int64
	Hash   string
}

type canonicalTeam struct {
	ID                                            int64
	Name                                          string
	CreatedAt, UpdatedAt                          string
	Customer, Subscription, Product, Plan, Status *string
	SeatLimit                                     *int32
}

type canonicalMember struct {
	ID, UserID, TeamID int64
	Role, JoinedAt     string
	Name               *string
	Email              string
}

type canonicalTeamWithMembers struct {
	Team    canonicalTeam
	Members []canonicalMember
}

type canonicalUserTeam struct {
	Team           canonicalTeam
	Role, JoinedAt string
}

type canonicalSignUp struct {
	User   canonicalUser
	Team   canonicalTeam
	Member canonicalMembership
}

type canonicalMembership struct {
	ID, UserID, TeamID int64
	Role, JoinedAt     string
}

type canonicalInvitation struct {
	ID, TeamID, InvitedBy                     int64
	Email, Role, InvitedAt, Status, ExpiresAt string
	TokenLength                               int
}

type canonicalAccepted struct {
	Member canonicalMembership
	Joined bool
}

type canonicalActivity struct {
	ID, TeamID                  int64
	UserID                      *int64
	Action, Timestamp, Metadata string
	IP, UserName                *string
}

type canonicalPage struct {
	Rows []canonicalActivity
	More bool
}

type canonicalOutcome struct {
	Outcome string
	Team    canonicalTeam
}

// when is a time as it is compared. What has just been written differs by the time of the
// run, and is only held to be about now, or a week from now.
func when(t time.Time) string {
	t = t.UTC()
	switch since := time.Since(t); {
	case since.Abs() < 10*time.Minute:
		return "now"
	case (since + ttl).Abs() < 10*time.Minute:
		return "in a week"
	}
	return t.Format(time.RFC3339Nano)
}

// compact is JSON without the white space that jsonb puts in, and with its keys in order.
func compact(raw []byte) string {
	if len(raw) == 0 {
		return ""
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return string(raw)
	}
	return text(v)
}

// text is what is compared in the end.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func each[From, To any](from []From, f func(From) To) []To {
	to := make([]To, len(from))
	for i, x := range from {
		to[i] = f(x)
	}
	return to
}

// widened is a nullable id as it is compared.
func widened[I ~int32 | ~int64](id *I) *int64 {
	if id == nil {
		return nil
	}
	return new(int64(*id))
}
