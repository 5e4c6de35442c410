package main

import (
	"context"
	"database/sql"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
)

// withBun is Bun as its documentation tells: relations, RunInTx, soft deletion, and pgx's
// driver in the simple protocol, because Bun puts the arguments into the statements.
var withBun = contender{
	name:    "Bun",
	what:    "Bun: Relation, RunInTx, on pgx's driver in the simple protocol",
	differs: "times are the client's",
	open: func(_ context.Context, config *pgx.ConnConfig, conns int) (*session, error) {
		config = config.Copy()
		config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
		pool := openSQL(config, conns)
		return bunSession(withBunDB{bun.NewDB(pool, pgdialect.New())}, pool), nil
	},
}

// withBunDB is a pool or a transaction.
type withBunDB struct{ bun.IDB }

type bunUser struct {
	bun.BaseModel `bun:"table:users,alias:u"`
	ID            int64     `bun:"id,pk,autoincrement"`
	Name          *string   `bun:"name"`
	Email         string    `bun:"email"`
	PasswordHash  string    `bun:"password_hash"`
	Role          string    `bun:"role"`
	CreatedAt     time.Time `bun:"created_at"`
	UpdatedAt     time.Time `bun:"updated_at"`
	DeletedAt     time.Time `bun:"deleted_at,soft_delete,nullzero"`
}

// bunMemberUser is what members see of a user, and bunActor what the log shows, also of
// a deleted one.
type bunMemberUser struct {
	bun.BaseModel `bun:"table:users,alias:mu"`
	ID            int64     `bun:"id,pk,autoincrement"`
	Name          *string   `bun:"name"`
	Email         string    `bun:"email"`
	DeletedAt     time.Time `bun:"deleted_at,soft_delete,nullzero"`
}

type bunActor struct {
	bun.BaseModel `bun:"table:users,alias:actor"`
	ID            int64   `bun:"id,pk,autoincrement"`
	Name          *string `bun:"name"`
}

type bunTeam struct {
	bun.BaseModel        `bun:"table:teams,alias:t"`
	ID                   int64       `bun:"id,pk,autoincrement"`
	Name                 string      `bun:"name"`
	CreatedAt            time.Time   `bun:"created_at"`
	UpdatedAt            time.Time   `bun:"updated_at"`
	StripeCustomerID     *string     `bun:"stripe_customer_id"`
	StripeSubscriptionID *string     `bun:"stripe_subscription_id"`
	StripeProductID      *string     `bun:"stripe_product_id"`
	PlanName             *string     `bun:"plan_name"`
	SubscriptionStatus   *string     `bun:"subscription_status"`
	SeatLimit            *int32      `bun:"seat_limit"`
	DeletedAt            time.Time   `bun:"deleted_at,soft_delete,nullzero"`
	Members              []bunMember `bun:"rel:has-many,join:id=team_id"`
}

type bunMember struct {
	bun.BaseModel `bun:"table:team_members,alias:m"`
	ID            int64          `bun:"id,pk,autoincrement"`
	UserID        int64          `bun:"user_id"`
	TeamID        int64          `bun:"team_id"`
	Role          string         `bun:"role"`
	JoinedAt      time.Time      `bun:"joined_at"`
	User          *bunMemberUser `bun:"rel:belongs-to,join:user_id=id"`
	Team          *bunTeam       `bun:"rel:belongs-to,join:team_id=id"`
}

type bunInvitation struct {
	bun.BaseModel `bun:"table:invitations,alias:i"`
	ID            int64      `bun:"id,pk,autoincrement"`
	TeamID        int64      `bun:"team_id"`
	Email         string     `bun:"email"`
	Role          string     `bun:"role"`
	InvitedBy     int64      `bun:"invited_by"`
	InvitedAt     time.Time  `bun:"invited_at"`
	Status        string     `bun:"status"`
	TokenHash     []byte     `bun:"token_hash"`
	ExpiresAt     *time.Time `bun:"expires_at"`
}

type bunActivity struct {
	bun.BaseModel `bun:"table:activity_logs,alias:l"`
	ID            int64     `bun:"id,pk,autoincrement"`
	TeamID        int64     `bun:"team_id"`
	UserID        *int64    `bun:"user_id"`
	Action        string    `bun:"action"`
	Timestamp     time.Time `bun:"timestamp"`
	IPAddress     *string   `bun:"ip_address"`
	Metadata      *string   `bun:"metadata"`
	User          *bunActor `bun:"rel:belongs-to,join:user_id=id"`
}

type bunSubscription struct {
	bun.BaseModel     `bun:"table:subscriptions,alias:s"`
	ID                string     `bun:"id,pk"`
	TeamID            int64      `bun:"team_id"`
	StripeCustomerID  string     `bun:"stripe_customer_id"`
	Status            string     `bun:"status"`
	StripeProductID   *string    `bun:"stripe_product_id"`
	StripePriceID     *string    `bun:"stripe_price_id"`
	PlanName          *string    `bun:"plan_name"`
	Quantity          *int32     `bun:"quantity"`
	TrialEnd          *time.Time `bun:"trial_end"`
	CurrentPeriodEnd  *time.Time `bun:"current_period_end"`
	CancelAt          *time.Time `bun:"cancel_at"`
	CancelAtPeriodEnd bool       `bun:"cancel_at_period_end"`
	CreatedAt         time.Time  `bun:"created_at"`
	EventCreatedAt    time.Time  `bun:"event_created_at"`
	EventID           *string    `bun:"event_id"`
	Standing          int16      `bun:"standing"`
}

type bunEvent struct {
	bun.BaseModel `bun:"table:subscription_events,alias:e"`
	ID            string    `bun:"id,pk"`
	Type          string    `bun:"type"`
	CreatedAt     time.Time `bun:"created_at"`
	ReceivedAt    time.Time `bun:"received_at"`
}

func (u bunUser) compared() canonicalUser {
	return canonicalUser{u.ID, u.Name, u.Email, u.Role, when(u.CreatedAt), when(u.UpdatedAt)}
}

func (t bunTeam) compared() canonicalTeam {
	return canonicalTeam{t.ID, t.Name, when(t.CreatedAt), when(t.UpdatedAt), t.StripeCustomerID, t.StripeSubscriptionID, t.StripeProductID, t.PlanName, t.SubscriptionStatus, t.SeatLimit}
}

func (m bunMember) compared() canonicalMembership {
	return canonicalMembership{m.ID, m.UserID, m.TeamID, m.Role, when(m.JoinedAt)}
}

func bunSession(g withBunDB, pool *sql.DB) *session {
	return &session{close: func() { pool.Close() }, actions: [kinds]action{
		userByID:    act(g.user, func(u bunUser) any { return u.compared() }),
		credentials: act(g.credentials, func(u bunUser) any { return canonicalCredentials{u.ID, u.PasswordHash} }),
		teamWithMembers: act(g.team, func(t bunTeam) any {
			return canonicalTeamWithMembers{t.compared(), each(t.Members, func(m bunMember) canonicalMember {
				return canonicalMember{m.ID, m.UserID, m.TeamID, m.Role, when(m.JoinedAt), m.User.Name, m.User.Email}
			})}
		}),
		teamsOfUser: act(g.teams, func(memberships []bunMember) any {
			return each(memberships, func(m bunMember) canonicalUserTeam {
				return canonicalUserTeam{m.Team.compared(), m.Role, when(m.JoinedAt)}
			})
		}),
		activityPage: act(g.page, func(rows []bunActivity) any {
			return canonicalPage{each(rows[:min(len(rows), pageSize)], func(a bunActivity) canonicalActivity {
				c := canonicalActivity{a.ID, a.TeamID, a.UserID, a.Action, when(a.Timestamp), "", a.IPAddress, nil}
				if a.Metadata != nil {
					c.Metadata = compact([]byte(*a.Metadata))
				}
				if a.User != nil {
					c.UserName = a.User.Name
				}
				return c
			}), len(rows) > pageSize}
		}),
		signUp: act(g.signUp, func(s bunSignUp) any {
			return canonicalSignUp{s.user.compared(), s.team.compared(), s.member.compared()}
		}),
		invite: act(g.invite, func(i bunInvited) any {
			return canonicalInvitation{i.ID, i.TeamID, i.InvitedBy, i.Email, i.Role, when(i.InvitedAt), i.Status, when(*i.ExpiresAt), len(i.token)}
		}),
		accept:  act(g.accept, func(a bunAccepted) any { return canonicalAccepted{a.member.compared(), a.joined} }),
		remove:  done(g.remove),
		logRow:  done(g.logRow),
		logRows: done(g.logRows),
		subscriptionEvent: act(g.event, func(o bunOutcome) any {
			return canonicalOutcome{o.outcome, o.team.compared()}
		}),
	}}
}
