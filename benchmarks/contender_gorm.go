package main

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"
)

// withGORM is GORM as its documentation tells: associations by Preload and Joins,
// transactions, soft deletion, no default transaction. PrepareStmt, which its page on
// performance recommends, is off: pgx's driver keeps prepared statements itself, and with
// both a transaction made twice as many round trips.
var withGORM = contender{
	name:    "GORM",
	what:    "GORM: Preload and Joins, Transaction, the default transaction off, statements prepared by pgx's driver",
	differs: "times are the client's",
	open: func(_ context.Context, config *pgx.ConnConfig, conns int) (*session, error) {
		pool := openSQL(config, conns)
		db, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), &gorm.Config{
			SkipDefaultTransaction: true, NowFunc: now, Logger: logger.Discard,
		})
		if err != nil {
			return nil, err
		}
		return gormSession(withDB{db}, pool), nil
	},
}

type withDB struct{ *gorm.DB }

type gormUser struct {
	ID           int64
	Name         *string
	Email        string
	PasswordHash string
	Role         string
	CreatedAt    time.Time
	UpdatedAt    time.Time
	DeletedAt    gorm.DeletedAt
}

// gormMemberUser is what members see of a user, and gormActor what the log shows, also of
// a deleted one.
type gormMemberUser struct {
	ID        int64
	Name      *string
	Email     string
	DeletedAt gorm.DeletedAt
}

type gormActor struct {
	ID   int64
	Name *string
}

type gormTeam struct {
	ID                   int64
	Name                 string
	CreatedAt            time.Time
	UpdatedAt            time.Time
	StripeCustomerID     *string
	StripeSubscriptionID *string
	StripeProductID      *string
	PlanName             *string
	SubscriptionStatus   *string
	SeatLimit            *int32
	DeletedAt            gorm.DeletedAt
	Members              []gormMember `gorm:"foreignKey:TeamID"`
}

type gormMember struct {
	ID       int64
	UserID   int64
	TeamID   int64
	Role     string
	JoinedAt time.Time
	User     *gormMemberUser
	Team     *gormTeam
}

type gormInvitation struct {
	ID        int64
	TeamID    int64
	Email     string
	Role      string
	InvitedBy int64
	InvitedAt time.Time
	Status    string
	TokenHash []byte
	ExpiresAt *time.Time
}

type gormActivity struct {
	ID        int64
	TeamID    int64
	UserID    *int64
	Action    string
	Timestamp time.Time
	IPAddress *string
	Metadata  *string
	User      *gormActor
}

type gormSubscription struct {
	ID                string
	TeamID            int64
	StripeCustomerID  string
	Status            string
	StripeProductID   *string
	StripePriceID     *string
	PlanName          *string
	Quantity          *int32
	TrialEnd          *time.Time
	CurrentPeriodEnd  *time.Time
	CancelAt          *time.Time
	CancelAtPeriodEnd bool
	CreatedAt         time.Time
	EventCreatedAt    time.Time
	EventID           *string
	Standing          int16 `gorm:"->"`
}

type gormEvent struct {
	ID         string
	Type       string
	CreatedAt  time.Time
	ReceivedAt time.Time
}

func (gormUser) TableName() string         { return "users" }
func (gormMemberUser) TableName() string   { return "users" }
func (gormActor) TableName() string        { return "users" }
func (gormTeam) TableName() string         { return "teams" }
func (gormMember) TableName() string       { return "team_members" }
func (gormInvitation) TableName() string   { return "invitations" }
func (gormActivity) TableName() string     { return "activity_logs" }
func (gormSubscription) TableName() string { return "subscriptions" }
func (gormEvent) TableName() string        { return "subscription_events" }

func (u gormUser) compared() canonicalUser {
	return canonicalUser{u.ID, u.Name, u.Email, u.Role, when(u.CreatedAt), when(u.UpdatedAt)}
}

func (t gormTeam) compared() canonicalTeam {
	return canonicalTeam{t.ID, t.Name, when(t.CreatedAt), when(t.UpdatedAt), t.StripeCustomerID, t.StripeSubscriptionID, t.StripeProductID, t.PlanName, t.SubscriptionStatus, t.SeatLimit}
}

func (m gormMember) compared() canonicalMembership {
	return canonicalMembership{m.ID, m.UserID, m.TeamID, m.Role, when(m.JoinedAt)}
}

func gormSession(g withDB, pool *sql.DB) *session {
	return &session{close: func() { pool.Close() }, actions: [kinds]action{
		userByID:    act(g.user, func(u gormUser) any { return u.compared() }),
		credentials: act(g.credentials, func(u gormUser) any { return canonicalCredentials{u.ID, u.PasswordHash} }),
		teamWithMembers: act(g.team, func(t gormTeam) any {
			return canonicalTeamWithMembers{t.compared(), each(t.Members, func(m gormMember) canonicalMember {
				return canonicalMember{m.ID, m.UserID, m.TeamID, m.Role, when(m.JoinedAt), m.User.Name, m.User.Email}
			})}
		}),
		teamsOfUser: act(g.teams, func(memberships []gormMember) any {
			return each(memberships, func(m gormMember) canonicalUserTeam {
				return canonicalUserTeam{m.Team.compared(), m.Role, when(m.JoinedAt)}
			})
		}),
		activityPage: act(g.page, func(rows []gormActivity) any {
			return canonicalPage{each(rows[:min(len(rows), pageSize)], func(a gormActivity) canonicalActivity {
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
		signUp: act(g.signUp, func(s gormSignUp) any {
			return canonicalSignUp{s.user.compared(), s.team.compared(), s.member.compared()}
		}),
		invite: act(g.invite, func(i gormInvited) any {
			return canonicalInvitation{i.ID, i.TeamID, i.InvitedBy, i.Email, i.Role, when(i.InvitedAt), i.Status, when(*i.ExpiresAt), len(i.token)}
		}),
		accept:  act(g.accept, func(a gormAccepted) any { return canonicalAccepted{a.member.compared(), a.joined} }),
		remove:  done(g.remove),
		logRow:  done(g.logRow),
		logRows: done(g.logRows),
		subscriptionEvent: act(g.event, func(o gormOutcome) any {
			return canonicalOutcome{o.outcome, o.team.compared()}
		}),
	}}
}

func (g withDB) user(ctx context.Context, in *input) (u gormUser, err error) {
	return u, g.WithContext(ctx).Omit("PasswordHash").Take(&u, in.userID).Error
}

func (g withDB) credentials(ctx context.Context, in *input) (u gormUser, err error) {
	email, err := validEmail(in.email)
	if err != nil {
		return u, err
	}
	return u, g.WithContext(ctx).Select("ID", "PasswordHash").Where("lower(email) = ?", email).Take(&u).Error
}

func (g withDB) team(ctx context.Context, in *input) (t gormTeam, err error) {
	return t, g.WithContext(ctx).Preload("Members", func(db *gorm.DB) *gorm.DB {
		return db.InnerJoins("User").Order("team_members.joined_at, team_members.id")
	}).Take(&t, in.teamID).Error
}

func (g withDB) teams(ctx context.Context, in *input) (memberships []gormMember, err error) {
	return memberships, g.WithContext(ctx).InnerJoins("User").InnerJoins("Team").Where("team_members.user_id = ?", in.userID).
		Order("team_members.joined_at, team_members.id").Limit(pageSize).Find(&memberships).Error
}

func (g withDB) page(ctx context.Context, in *input) (rows []gormActivity, err error) {
	return rows, g.WithContext(ctx).Joins("User").
		Where(`activity_logs.team_id = ? AND (activity_logs."timestamp", activity_logs.id) < (?::timestamp, ?::bigint)`, in.teamID, in.beforeTime, in.beforeID).
		Order(`activity_logs."timestamp" DESC, activity_logs.id DESC`).Limit(pageSize + 1).Find(&rows).Error
}

var noKeyUpdate = clause.Locking{Strength: "NO KEY UPDATE"}

// lock reads a team's row and keeps it.
func (g withDB) lock(team int64) (t gormTeam, err error) {
	return t, g.Unscoped().Clauses(noKeyUpdate).Take(&t, team).Error
}

func (g withDB) isOwner(team, user int64) error {
	return g.InnerJoins("User").Where("team_members.team_id = ? AND team_members.user_id = ? AND team_members.role = 'owner'", team, user).Take(&gormMember{}).Error
}

func (g withDB) logged(team int64, user *int64, action string, ip *string, metadata []byte) error {
	return g.Create(&gormActivity{TeamID: team, UserID: user, Action: action, Timestamp: now(), IPAddress: ip, Metadata: textOrNull(string(metadata))}).Error
}

func (g withDB) inTx(ctx context.Context, f func(withDB) error) error {
	return g.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return f(withDB{tx}) })
}

type gormSignUp struct {
	user   gormUser
	team   gormTeam
	member gormMember
}

func (g withDB) signUp(ctx context.Context, in *input) (s gormSignUp, err error) {
	email, err := validEmail(in.email)
	if err != nil {
		return s, err
	}
	return s, g.inTx(ctx, func(tx withDB) error {
		s.user = gormUser{Name: new("Ada"), Email: email, PasswordHash: in.hash, Role: "owner"}
		if err := tx.Create(&s.user).Error; err != nil {
			return err
		}
		s.team = gormTeam{Name: teamNameFor(email)}
		if err := tx.Create(&s.team).Error; err != nil {
			return err
		}
		s.member = gormMember{UserID: s.user.ID, TeamID: s.team.ID, Role: "owner", JoinedAt: now()}
		if err := tx.Create(&s.member).Error; err != nil {
			return err
		}
		return tx.Create([]gormActivity{
			{TeamID: s.team.ID, UserID: &s.user.ID, Action: "CREATE_TEAM", Timestamp: now(), IPAddress: &addressText, Metadata: textOrNull(string(marshalled(map[string]any{"name": s.team.Name})))},
			{TeamID: s.team.ID, UserID: &s.user.ID, Action: "SIGN_UP", Timestamp: now(), IPAddress: &addressText},
		}).Error
	})
}

type gormInvited struct {
	gormInvitation
	token string
}

func (g withDB) invite(ctx context.Context, in *input) (i gormInvited, err error) {
	email, err := validEmail(in.email)
	if err != nil {
		return i, err
	}
	token, hash := newToken()
	i.token = token
	return i, g.inTx(ctx, func(tx withDB) error {
		if _, err := tx.lock(in.teamID); err != nil {
			return err
		}
		if err := tx.isOwner(in.teamID, in.userID); err != nil {
			return err
		}
		err := tx.InnerJoins("User").Where(`team_members.team_id = ? AND lower("User".email) = ?`, in.teamID, email).Take(&gormMember{}).Error
		if !errors.Is(err, gorm.ErrRecordNotFound) {
			return unless(false, err)
		}
		var standing gormInvitation
		err = tx.Where("team_id = ? AND lower(email) = ? AND status = 'pending'", in.teamID, email).Take(&standing).Error
		switch {
		case err == nil:
			status := "canceled"
			if standing.ExpiresAt != nil && !standing.ExpiresAt.After(now()) {
				status = "expired"
			} else if err := tx.isOwner(in.teamID, standing.InvitedBy); !errors.Is(err, gorm.ErrRecordNotFound) {
				return unless(false, err)
			}
			if err := tx.Model(&standing).Update("Status", status).Error; err != nil {
				return err
			}
		case !errors.Is(err, gorm.ErrRecordNotFound):
			return err
		}
		at := now()
		i.gormInvitation = gormInvitation{TeamID: in.teamID, Email: email, Role: "member", InvitedBy: in.userID, InvitedAt: at, Status: "pending", TokenHash: hash, ExpiresAt: new(at.Add(ttl))}
		if err := tx.Create(&i.gormInvitation).Error; err != nil {
			return err
		}
		return tx.logged(in.teamID, &in.userID, "INVITE_TEAM_MEMBER", &addressText, marshalled(map[string]any{"invitationId": i.ID, "email": i.Email, "role": i.Role}))
	})
}

type gormAccepted struct {
	member gormMember
	joined bool
}

func (g withDB) accept(ctx context.Context, in *input) (a gormAccepted, err error) {
	return a, g.inTx(ctx, func(tx withDB) error {
		var user gormUser
		if err := tx.Clauses(noKeyUpdate).Omit("PasswordHash").Take(&user, in.userID).Error; err != nil {
			return err
		}
		var i gormInvitation
		hash := hashOf(in.token)
		if err := tx.Select("TeamID").Where("token_hash = ?", hash).Take(&i).Error; err != nil {
			return err
		}
		team, err := tx.lock(i.TeamID)
		if err != nil {
			return err
		}
		i = gormInvitation{}
		if err := tx.Clauses(noKeyUpdate).Where("token_hash = ?", hash).Take(&i).Error; err != nil {
			return err
		}
		if i.Status != "pending" || i.ExpiresAt != nil && !i.ExpiresAt.After(now()) || !strings.EqualFold(i.Email, user.Email) || team.DeletedAt.Valid {
			return errRefused
		}
		if err := tx.isOwner(team.ID, i.InvitedBy); err != nil {
			return err
		}
		err = tx.Where("team_id = ? AND user_id = ?", team.ID, user.ID).Take(&a.member).Error
		if a.joined = errors.Is(err, gorm.ErrRecordNotFound); err != nil && !a.joined {
			return err
		}
		if a.joined {
			if team.SeatLimit != nil {
				var taken int64
				err := tx.Model(&gormMember{}).InnerJoins("User").Where("team_members.team_id = ?", team.ID).Count(&taken).Error
				if err := unless(taken < int64(*team.SeatLimit), err); err != nil {
					return err
				}
			}
			a.member = gormMember{UserID: user.ID, TeamID: team.ID, Role: i.Role, JoinedAt: now()}
			if err := tx.Create(&a.member).Error; err != nil {
				return err
			}
		}
		if err := tx.Model(&i).Update("Status", "accepted").Error; err != nil {
			return err
		}
		return tx.logged(team.ID, &user.ID, "ACCEPT_INVITATION", &addressText, marshalled(map[string]any{"invitationId": i.ID, "role": a.member.Role, "joined": a.joined}))
	})
}

func (g withDB) remove(ctx context.Context, in *input) error {
	return g.inTx(ctx, func(tx withDB) error {
		if _, err := tx.lock(in.teamID); err != nil {
			return err
		}
		if err := tx.isOwner(in.teamID, in.userID); err != nil {
			return err
		}
		var m gormMember
		if err := tx.Where("team_id = ?", in.teamID).Take(&m, in.memberID).Error; err != nil {
			return err
		}
		if m.Role == "owner" {
			if err := tx.InnerJoins("User").Where("team_members.team_id = ? AND team_members.role = 'owner' AND team_members.id <> ?", in.teamID, m.ID).Take(&gormMember{}).Error; err != nil {
				return err
			}
		}
		if err := tx.Delete(&m).Error; err != nil {
			return err
		}
		return tx.logged(in.teamID, &in.userID, "REMOVE_TEAM_MEMBER", &addressText, marshalled(map[string]any{"memberId": m.ID, "userId": m.UserID, "role": m.Role}))
	})
}
