//go:build withent

package main

import (
	"context"
	"encoding/json"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql"
	"github.com/jackc/pgx/v5"

	"github.com/rowhouse/rowhouse/benchmarks/ent"
	"github.com/rowhouse/rowhouse/benchmarks/ent/activitylog"
	"github.com/rowhouse/rowhouse/benchmarks/ent/predicate"
	"github.com/rowhouse/rowhouse/benchmarks/ent/team"
	"github.com/rowhouse/rowhouse/benchmarks/ent/teammember"
	"github.com/rowhouse/rowhouse/benchmarks/ent/user"
)

// withEnt is ent as its documentation tells: eager loading of edges, transactions, and
// ForUpdate where a row is locked. Its generated code is not kept in the repository.
var withEnt = contender{
	name:    "ent",
	what:    "ent: eager loading, Tx, ForUpdate",
	differs: "times are the client's; its lock of a team also stops inserts that refer to it",
	open: func(_ context.Context, config *pgx.ConnConfig, conns int) (*session, error) {
		pool := openSQL(config, conns)
		client := ent.NewClient(ent.Driver(sql.OpenDB(dialect.Postgres, pool)))
		return (&entClient{client}).session(func() { client.Close() }), nil
	},
}

func init() {
	contenders = append(contenders, withEnt)
	tags = "-tags withent "
}

type entClient struct{ *ent.Client }

func (e *entClient) inTx(ctx context.Context, f func(*ent.Tx) error) error {
	tx, err := e.Tx(ctx)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		_ = tx.Rollback() // the reason is what is told
		return err
	}
	return tx.Commit()
}

func entUser(u *ent.User) canonicalUser {
	return canonicalUser{int64(u.ID), u.Name, u.Email, u.Role, when(u.CreatedAt), when(u.UpdatedAt)}
}

func entTeam(t *ent.Team) canonicalTeam {
	return canonicalTeam{int64(t.ID), t.Name, when(t.CreatedAt), when(t.UpdatedAt), t.StripeCustomerID, t.StripeSubscriptionID, t.StripeProductID, t.PlanName, t.SubscriptionStatus, t.SeatLimit}
}

func entMember(m *ent.TeamMember) canonicalMembership {
	return canonicalMembership{int64(m.ID), int64(m.UserID), int64(m.TeamID), m.Role, when(m.JoinedAt)}
}

func (e *entClient) session(close func()) *session {
	return &session{close: close, actions: [kinds]action{
		userByID:    act(e.user, func(u *ent.User) any { return entUser(u) }),
		credentials: act(e.credentials, func(u *ent.User) any { return canonicalCredentials{int64(u.ID), u.PasswordHash} }),
		teamWithMembers: act(e.team, func(t *ent.Team) any {
			return canonicalTeamWithMembers{entTeam(t), each(t.Edges.Members, func(m *ent.TeamMember) canonicalMember {
				u := m.Edges.User
				return canonicalMember{int64(m.ID), int64(m.UserID), int64(m.TeamID), m.Role, when(m.JoinedAt), u.Name, u.Email}
			})}
		}),
		teamsOfUser: act(e.teams, func(members []*ent.TeamMember) any {
			return each(members, func(m *ent.TeamMember) canonicalUserTeam {
				return canonicalUserTeam{entTeam(m.Edges.Team), m.Role, when(m.JoinedAt)}
			})
		}),
		activityPage: act(e.page, func(rows []*ent.ActivityLog) any {
			return canonicalPage{each(rows[:min(len(rows), pageSize)], func(l *ent.ActivityLog) canonicalActivity {
				c := canonicalActivity{int64(l.ID), int64(l.TeamID), widened64(l.UserID), l.Action, when(l.Timestamp), "", l.IPAddress, nil}
				if l.Metadata != nil {
					c.Metadata = text(l.Metadata)
				}
				if u := l.Edges.User; u != nil {
					c.UserName = u.Name
				}
				return c
			}), len(rows) > pageSize}
		}),
		signUp: act(e.signUp, func(s entSignUp) any {
			return canonicalSignUp{entUser(s.user), entTeam(s.team), entMember(s.member)}
		}),
		invite: act(e.invite, func(i entInvited) any {
			return canonicalInvitation{int64(i.ID), int64(i.TeamID), int64(i.InvitedBy), i.Email, i.Role, when(i.InvitedAt), i.Status, when(*i.ExpiresAt), len(i.token)}
		}),
		accept:            act(e.accept, func(a entAccepted) any { return canonicalAccepted{entMember(a.member), a.joined} }),
		remove:            done(e.remove),
		logRow:            done(e.logRow),
		logRows:           done(e.logRows),
		subscriptionEvent: act(e.event, func(o entOutcome) any { return canonicalOutcome{o.outcome, entTeam(o.team)} }),
	}}
}

func widened64(id *int) *int64 {
	if id == nil {
		return nil
	}
	return new(int64(*id))
}

var publicUser = []string{user.FieldID, user.FieldName, user.FieldEmail, user.FieldRole, user.FieldCreatedAt, user.FieldUpdatedAt}

func (e *entClient) user(ctx context.Context, in *input) (*ent.User, error) {
	return e.User.Query().Where(user.ID(int(in.userID)), user.DeletedAtIsNil()).Select(publicUser...).UserQuery.Only(ctx)
}

// lower is a predicate that ent has no word for; its own folds case another way.
func lower(column, email string) func(*sql.Selector) {
	return func(s *sql.Selector) {
		s.Where(sql.P(func(b *sql.Builder) {
			b.WriteString("lower(").Ident(s.C(column)).WriteString(") = ").Arg(email)
		}))
	}
}

func (e *entClient) credentials(ctx context.Context, in *input) (*ent.User, error) {
	email, err := validEmail(in.email)
	if err != nil {
		return nil, err
	}
	return e.User.Query().Where(predicate.User(lower(user.FieldEmail, email)), user.DeletedAtIsNil()).
		Select(user.FieldID, user.FieldPasswordHash).UserQuery.Only(ctx)
}

var liveUser = teammember.HasUserWith(user.DeletedAtIsNil())

func (e *entClient) team(ctx context.Context, in *input) (*ent.Team, error) {
	return e.Team.Query().Where(team.ID(int(in.teamID)), team.DeletedAtIsNil()).
		WithMembers(func(q *ent.TeamMemberQuery) {
			q.Where(liveUser).Order(teammember.ByJoinedAt(), teammember.ByID()).
				WithUser(func(q *ent.UserQuery) { q.Select(user.FieldID, user.FieldName, user.FieldEmail) })
		}).Only(ctx)
}

func (e *entClient) teams(ctx context.Context, in *input) ([]*ent.TeamMember, error) {
	return e.TeamMember.Query().
		Where(teammember.UserID(int(in.userID)), liveUser, teammember.HasTeamWith(team.DeletedAtIsNil())).
		Order(teammember.ByJoinedAt(), teammember.ByID()).Limit(pageSize).WithTeam().All(ctx)
}

func (e *entClient) page(ctx context.Context, in *input) ([]*ent.ActivityLog, error) {
	return e.ActivityLog.Query().
		Where(activitylog.TeamID(int(in.teamID)), func(s *sql.Selector) {
			s.Where(sql.CompositeLT([]string{s.C(activitylog.FieldTimestamp), s.C(activitylog.FieldID)}, in.beforeTime, in.beforeID))
		}).
		Order(activitylog.ByTimestamp(sql.OrderDesc()), activitylog.ByID(sql.OrderDesc())).Limit(pageSize + 1).
		WithUser(func(q *ent.UserQuery) { q.Select(user.FieldID, user.FieldName) }).All(ctx)
}

func asMap(metadata []byte) (m map[string]any) {
	_ = json.Unmarshal(metadata, &m) // of what was marshalled here
	return m
}
