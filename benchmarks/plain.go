package main

import (
	"encoding/json"
	"time"

	"github.com/rowhouse/rowhouse/store"
)

// Rows as the peers without a mapper of their own read them, by column names, and what all
// peers that decide in Go decide alike.

type plainUser struct {
	ID        int64      `db:"id"`
	Name      *string    `db:"name"`
	Email     string     `db:"email"`
	Role      string     `db:"role"`
	CreatedAt time.Time  `db:"created_at"`
	UpdatedAt time.Time  `db:"updated_at"`
	DeletedAt *time.Time `db:"deleted_at"`
}

const userColumns = "id, name, email, role, created_at, updated_at, deleted_at"

func (u plainUser) compared() canonicalUser {
	return canonicalUser{u.ID, u.Name, u.Email, u.Role, when(u.CreatedAt), when(u.UpdatedAt)}
}

type plainCredentials struct {
	ID   int64  `db:"id"`
	Hash string `db:"password_hash"`
}

type plainTeam struct {
	ID           int64      `db:"id"`
	Name         string     `db:"name"`
	CreatedAt    time.Time  `db:"created_at"`
	UpdatedAt    time.Time  `db:"updated_at"`
	Customer     *string    `db:"stripe_customer_id"`
	Subscription *string    `db:"stripe_subscription_id"`
	Product      *string    `db:"stripe_product_id"`
	Plan         *string    `db:"plan_name"`
	Status       *string    `db:"subscription_status"`
	SeatLimit    *int32     `db:"seat_limit"`
	DeletedAt    *time.Time `db:"deleted_at"`
}

func (t plainTeam) compared() canonicalTeam {
	return canonicalTeam{t.ID, t.Name, when(t.CreatedAt), when(t.UpdatedAt), t.Customer, t.Subscription, t.Product, t.Plan, t.Status, t.SeatLimit}
}

type plainMembership struct {
	ID       int64     `db:"id"`
	UserID   int64     `db:"user_id"`
	TeamID   int64     `db:"team_id"`
	Role     string    `db:"role"`
	JoinedAt time.Time `db:"joined_at"`
}

func (m plainMembership) compared() canonicalMembership {
	return canonicalMembership{m.ID, m.UserID, m.TeamID, m.Role, when(m.JoinedAt)}
}

type plainMember struct {
	plainMembership
	Name  *string `db:"name"`
	Email string  `db:"email"`
}

type plainTeamWithMembers struct {
	plainTeam
	Members []plainMember
}

func (t plainTeamWithMembers) canonical() any {
	return canonicalTeamWithMembers{t.compared(), each(t.Members, func(m plainMember) canonicalMember {
		return canonicalMember{m.ID, m.UserID, m.TeamID, m.Role, when(m.JoinedAt), m.Name, m.Email}
	})}
}

type plainUserTeam struct {
	plainTeam
	Role     string    `db:"role"`
	JoinedAt time.Time `db:"joined_at"`
}

type plainInvitation struct {
	ID        int64      `db:"id"`
	TeamID    int64      `db:"team_id"`
	Email     string     `db:"email"`
	Role      string     `db:"role"`
	InvitedBy int64      `db:"invited_by"`
	InvitedAt time.Time  `db:"invited_at"`
	Status    string     `db:"status"`
	TokenHash []byte     `db:"token_hash"`
	ExpiresAt *time.Time `db:"expires_at"`
	token     string
}

type plainActivity struct {
	ID        int64     `db:"id"`
	TeamID    int64     `db:"team_id"`
	UserID    *int64    `db:"user_id"`
	Action    string    `db:"action"`
	Timestamp time.Time `db:"timestamp"`
	IP        *string   `db:"ip_address"`
	Metadata  []byte    `db:"metadata"`
	UserName  *string   `db:"user_name"`
}

type plainSubscription struct {
	ID                string     `db:"id"`
	TeamID            int64      `db:"team_id"`
	Customer          string     `db:"stripe_customer_id"`
	Status            string     `db:"status"`
	Product           *string    `db:"stripe_product_id"`
	Price             *string    `db:"stripe_price_id"`
	Plan              *string    `db:"plan_name"`
	Quantity          *int32     `db:"quantity"`
	TrialEnd          *time.Time `db:"trial_end"`
	PeriodEnd         *time.Time `db:"current_period_end"`
	CancelAt          *time.Time `db:"cancel_at"`
	CancelAtPeriodEnd bool       `db:"cancel_at_period_end"`
	CreatedAt         time.Time  `db:"created_at"`
	EventCreatedAt    time.Time  `db:"event_created_at"`
	EventID           *string    `db:"event_id"`
	Standing          int16      `db:"standing"`
}

// subscriptionOf is an event's subscription as a row of a team.
func subscriptionOf(e *store.ApplySubscription, team int64) plainSubscription {
	sub := &e.Subscription
	row := plainSubscription{
		ID: sub.ID, TeamID: team, Customer: sub.CustomerID, Status: string(sub.Status),
		Product: textOrNull(sub.ProductID), Price: textOrNull(sub.PriceID), Plan: textOrNull(sub.PlanName),
		TrialEnd: timeOrNull(sub.TrialEnd), PeriodEnd: timeOrNull(sub.CurrentPeriodEnd), CancelAt: timeOrNull(sub.CancelAt),
		CancelAtPeriodEnd: sub.CancelAtPeriodEnd, CreatedAt: sub.Created, EventCreatedAt: e.Created, EventID: &e.EventID,
		Standing: standing[string(sub.Status)],
	}
	if sub.Quantity != 0 {
		row.Quantity = new(int32(sub.Quantity))
	}
	return row
}

func textOrNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// standing is the schema's generated column.
var standing = map[string]int16{"active": 6, "trialing": 5, "past_due": 4, "unpaid": 3, "paused": 2, "incomplete": 1}

// supersedes tells which of two events about one subscription counts: the end, then the
// later one, then by the end of the paid period, by standing, and by id.
func (s plainSubscription) supersedes(old plainSubscription) bool {
	if ended, was := s.Standing == 0, old.Standing == 0; ended != was {
		return ended
	}
	if c := s.EventCreatedAt.Compare(old.EventCreatedAt); c != 0 {
		return c > 0
	}
	var end, before time.Time
	if s.PeriodEnd != nil {
		end = *s.PeriodEnd
	}
	if old.PeriodEnd != nil {
		before = *old.PeriodEnd
	}
	if c := end.Compare(before); c != 0 {
		return c > 0
	}
	if s.Standing != old.Standing {
		return s.Standing > old.Standing
	}
	var id, oldID string
	if s.EventID != nil {
		id = *s.EventID
	}
	if old.EventID != nil {
		oldID = *old.EventID
	}
	return id > oldID
}

// projection is what a team's row shows of its subscriptions.
type projection struct {
	Subscription *string `json:"subscriptionId"`
	Product      *string `json:"productId"`
	Plan         *string `json:"planName"`
	Status       *string `json:"status"`
}

// projectionOf shows the best subscription, or of one that has ended its status alone.
func projectionOf(best plainSubscription) projection {
	if best.Standing == 0 {
		return projection{Status: &best.Status}
	}
	return projection{&best.ID, best.Product, best.Plan, &best.Status}
}

func (p projection) equals(q projection) bool { return text(p) == text(q) }

// changeMetadata is what the log says of a change.
func changeMetadata(from, to projection, event string) []byte {
	b, _ := json.Marshal(map[string]any{"from": from, "to": to, "eventId": event}) // can't fail
	return b
}

func marshalled(v any) []byte {
	b, _ := json.Marshal(v) // of maps of texts and numbers, which can't fail
	return b
}

// metadataOf is a row's, nil when it has none.
func metadataOf(r *store.RecordActivity) []byte {
	if r.Metadata == nil {
		return nil
	}
	return marshalled(r.Metadata)
}

func userOrNull(r *store.RecordActivity) *int64 {
	if r.UserID == 0 {
		return nil
	}
	return new(int64(r.UserID))
}

// now is as the columns hold it.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
