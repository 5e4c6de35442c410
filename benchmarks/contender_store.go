package main

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

var rowhouse = contender{
	name: "store",
	what: "rowhouse's Store, as a service calls it",
	open: func(ctx context.Context, config *pgx.ConnConfig, conns int) (*session, error) {
		pool, err := openPool(ctx, config, conns)
		if err != nil {
			return nil, err
		}
		return &session{actions: storeActions(store.New(pool)), close: pool.Close}, nil
	},
}

// openPool is a pool of a contender on pgx: its connections are made once, and stay.
func openPool(ctx context.Context, config *pgx.ConnConfig, conns int) (*pgxpool.Pool, error) {
	pc, err := pgxpool.ParseConfig("")
	if err != nil {
		return nil, err
	}
	pc.ConnConfig = config.Copy()
	pc.MinConns, pc.MaxConns = int32(conns), int32(conns)
	return pgxpool.NewWithConfig(ctx, pc)
}

func storeActions(st *store.Store) (actions [kinds]action) {
	actions[userByID] = act(func(ctx context.Context, in *input) (db.User, error) {
		return st.User(ctx, db.UserID(in.userID))
	}, func(u db.User) any { return storeUser(u) })

	actions[credentials] = act(func(ctx context.Context, in *input) (store.Credentials, error) {
		return st.Credentials(ctx, in.email)
	}, func(c store.Credentials) any {
		return canonicalCredentials{int64(c.UserID), string(c.PasswordHash)}
	})

	actions[teamWithMembers] = act(func(ctx context.Context, in *input) (store.TeamWithMembers, error) {
		return st.TeamWithMembers(ctx, db.TeamID(in.teamID))
	}, func(t store.TeamWithMembers) any {
		return canonicalTeamWithMembers{storeTeam(t.Team), each(t.TeamMembers, func(m store.Member) canonicalMember {
			return canonicalMember{int64(m.ID), int64(m.UserID), int64(m.TeamID), string(m.Role), when(m.JoinedAt), m.User.Name, m.User.Email}
		})}
	})

	actions[teamsOfUser] = act(func(ctx context.Context, in *input) ([]store.UserTeam, error) {
		teams, _, err := st.TeamsForUser(ctx, db.UserID(in.userID), store.Page{Limit: pageSize})
		return teams, err
	}, func(teams []store.UserTeam) any {
		return each(teams, func(t store.UserTeam) canonicalUserTeam {
			return canonicalUserTeam{storeTeam(t.Team), string(t.Role), when(t.JoinedAt)}
		})
	})

	actions[signUp] = act(func(ctx context.Context, in *input) (store.SignedUp, error) {
		return st.SignUp(ctx, store.SignUp{Email: in.email, PasswordHash: db.PasswordHash(in.hash), Name: "Ada", IP: address})
	}, func(su store.SignedUp) any {
		return canonicalSignUp{storeUser(su.User), storeTeam(su.Team), storeMembership(su.TeamMember)}
	})

	type invited struct {
		invitation db.Invitation
		token      store.Token
	}
	actions[invite] = act(func(ctx context.Context, in *input) (invited, error) {
		invitation, token, err := st.InviteMember(ctx, store.InviteMember{
			Actor: actorOf(in), TeamID: db.TeamID(in.teamID), Email: in.email, Role: db.RoleMember,
		})
		return invited{invitation, token}, err
	}, func(r invited) any {
		inv := r.invitation
		return canonicalInvitation{int64(inv.ID), int64(inv.TeamID), int64(inv.InvitedBy), inv.Email, string(inv.Role),
			when(inv.InvitedAt), string(inv.Status), when(*inv.ExpiresAt), len(string(r.token))}
	})

	type accepted struct {
		member db.TeamMember
		joined bool
	}
	actions[accept] = act(func(ctx context.Context, in *input) (accepted, error) {
		member, joined, err := st.AcceptInvitation(ctx, store.AcceptInvitation{Actor: actorOf(in), Token: store.Token(in.token)})
		return accepted{member, joined}, err
	}, func(r accepted) any { return canonicalAccepted{storeMembership(r.member), r.joined} })

	actions[remove] = done(func(ctx context.Context, in *input) error {
		return st.RemoveMember(ctx, store.RemoveMember{Actor: actorOf(in), TeamID: db.TeamID(in.teamID), MemberID: db.TeamMemberID(in.memberID)})
	})

	type page struct {
		rows []store.Activity
		next store.Cursor
	}
	actions[activityPage] = act(func(ctx context.Context, in *input) (page, error) {
		rows, next, err := st.TeamActivity(ctx, db.TeamID(in.teamID), store.ActivityPage{Page: store.Page{Limit: pageSize, After: in.cursor}})
		return page{rows, next}, err
	}, func(p page) any {
		return canonicalPage{each(p.rows, func(a store.Activity) canonicalActivity {
			return canonicalActivity{int64(a.ID), int64(a.TeamID), widened(a.UserID), string(a.Action), when(a.Timestamp), compact(a.Metadata), a.IPAddress, a.UserName}
		}), p.next != ""}
	})

	actions[logRow] = done(func(ctx context.Context, in *input) error { return st.RecordActivity(ctx, in.rows[0]) })
	actions[logRows] = done(func(ctx context.Context, in *input) error { return st.RecordActivities(ctx, in.rows) })

	type applied struct {
		outcome store.SubscriptionOutcome
		team    db.Team
	}
	actions[subscriptionEvent] = act(func(ctx context.Context, in *input) (applied, error) {
		outcome, team, err := st.ApplySubscription(ctx, in.event)
		return applied{outcome, team}, err
	}, func(r applied) any { return canonicalOutcome{string(r.outcome), storeTeam(r.team)} })
	return actions
}

func actorOf(in *input) store.Actor { return store.Actor{UserID: db.UserID(in.userID), IP: address} }

func storeUser(u db.User) canonicalUser {
	return canonicalUser{int64(u.ID), u.Name, u.Email, string(u.Role), when(u.CreatedAt), when(u.UpdatedAt)}
}

func storeTeam(t db.Team) canonicalTeam {
	return canonicalTeam{int64(t.ID), t.Name, when(t.CreatedAt), when(t.UpdatedAt), t.StripeCustomerID, t.StripeSubscriptionID,
		t.StripeProductID, t.PlanName, (*string)(t.SubscriptionStatus), t.SeatLimit}
}

func storeMembership(m db.TeamMember) canonicalMembership {
	return canonicalMembership{int64(m.ID), int64(m.UserID), int64(m.TeamID), string(m.Role), when(m.JoinedAt)}
}
