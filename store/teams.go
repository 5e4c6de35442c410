package store

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/rowhouse/rowhouse/db"
)

// TeamWithMembers is a team with its live members, in the order in which they joined.
// Its JSON is the TypeScript app's TeamDataWithMembers.
type TeamWithMembers struct {
	db.Team
	TeamMembers []Member `json:"teamMembers"`
}

// Team returns a team.
//
// Errors: [ErrNotFound].
func (s *Store) Team(ctx context.Context, id db.TeamID) (db.Team, error) {
	var team db.Team
	err := s.conn.QueryRow(ctx, db.GetTeam, id).Scan(one[db.Team]{&team, (*decoder).team})
	return team, explain(err, ErrNotFound)
}

// Teams returns the teams with the given ids, at most 1000 of them, by id. It includes
// deleted teams; an id that no team ever had is left out. See [Store.Users].
//
// Errors: [ErrInvalidInput].
func (s *Store) Teams(ctx context.Context, ids []db.TeamID) (map[db.TeamID]db.Team, error) {
	arg, err := idArray("ids", ids)
	if err != nil {
		return nil, err
	}
	rows, err := readAll(ctx, s.conn, (*db.Queries).ListTeams, arg)
	teams := make(map[db.TeamID]db.Team, len(rows))
	for _, team := range rows {
		teams[team.ID] = team
	}
	return teams, err
}

// TeamWithMembers returns a team with all its members. For a list of members that is
// too long for one answer there is [Store.Members].
//
// Errors: [ErrNotFound].
func (s *Store) TeamWithMembers(ctx context.Context, id db.TeamID) (TeamWithMembers, error) {
	var t TeamWithMembers
	err := s.readPipeline(ctx, func(pl *pipeline) (err error) {
		pl.then(db.ListTeamMembers, id)
		if err = pl.QueryRow(ctx, db.GetTeam, id).Scan(one[db.Team]{&t.Team, (*decoder).team}); err != nil {
			return err
		}
		t.TeamMembers, err = members.read(ctx, pl, db.ListTeamMembers, id)
		return err
	})
	if err != nil {
		return TeamWithMembers{}, explain(err, ErrNotFound)
	}
	membersOf(id, t.TeamMembers)
	return t, nil
}

// TeamForUser returns the team of the user's earliest membership, as
// [Store.TeamWithMembers] does.
//
// Errors: [ErrNotFound], for a user who is in no team or is no live user;
// [ErrConflict], when the user changed teams again at each of three attempts.
func (s *Store) TeamForUser(ctx context.Context, user db.UserID) (TeamWithMembers, error) {
	// The two statements have a snapshot each. When the user changed teams between
	// them they speak of two teams: members of the one are never shown in the other.
	for range 3 {
		var t TeamWithMembers
		err := s.readPipeline(ctx, func(pl *pipeline) (err error) {
			pl.then(db.ListTeamMembersForUser, user)
			if err = pl.QueryRow(ctx, db.GetTeamForUser, user).Scan(one[db.Team]{&t.Team, (*decoder).team}); err != nil {
				return err
			}
			t.TeamMembers, err = membersOfTeams.read(ctx, pl, db.ListTeamMembersForUser, user)
			return err
		})
		if err != nil {
			return TeamWithMembers{}, explain(err, ErrNotFound)
		}
		if slices.ContainsFunc(t.TeamMembers, func(m Member) bool { return m.TeamID == t.ID && m.UserID == user }) {
			return t, nil
		}
	}
	return TeamWithMembers{}, ErrConflict
}

// CreateTeam is the input of [Store.CreateTeam].
type CreateTeam struct {
	Actor Actor
	Name  string
}

// CreateTeam creates a team with the actor as its owner. It logs CREATE_TEAM.
//
// Errors: [ErrNotFound] when the actor is no live user, [ErrInvalidInput].
func (s *Store) CreateTeam(ctx context.Context, p CreateTeam) (db.Team, db.TeamMember, error) {
	var in input
	in.required("Name", p.Name, maxName)
	if in.err != nil {
		return db.Team{}, db.TeamMember{}, in.err
	}
	row, err := queries.CreateTeam(ctx, s.pipeline(), db.CreateTeamParams{
		ActorID: p.Actor.UserID, Name: p.Name, IPAddress: p.Actor.ip(),
	})
	return row.Team, row.TeamMember, explain(err, ErrNotFound)
}

// UserTeam is a team with a user's membership in it.
type UserTeam struct {
	db.Team
	Role     db.Role   `json:"role"`
	JoinedAt time.Time `json:"joinedAt"`
}

// userTeam has what the cursor is made of as well.
type userTeam struct {
	UserTeam
	member db.TeamMemberID
}

var userTeams = rows[userTeam]{decode: func(d *decoder, t *userTeam) {
	d.team(&t.Team)
	t.member, t.Role, t.JoinedAt = db.TeamMemberID(d.int()), db.Role(d.word()), d.time()
}}

// TeamsForUser returns a page of the teams that a live user is in, earliest membership
// first. A user who does not exist is in none.
//
// Errors: [ErrInvalidInput], [ErrInvalidCursor].
func (s *Store) TeamsForUser(ctx context.Context, user db.UserID, page Page) ([]UserTeam, Cursor, error) {
	limit, after, err := page.start(listTeamsForUser, int64(user), beforeAll)
	if err != nil {
		return nil, "", err
	}
	rows, err := userTeams.read(ctx, s.conn, db.ListTeamsForUserPage, user, after.time, after.id, int32(limit+1))
	if err != nil {
		return nil, "", err
	}
	teams, next := cut(rows, limit, listTeamsForUser, int64(user), func(r *userTeam) (UserTeam, position) {
		return r.UserTeam, position{r.JoinedAt, int64(r.member)}
	})
	return teams, next, nil
}

// RenameTeam is the input of [Store.RenameTeam].
type RenameTeam struct {
	Actor  Actor // an owner of the team
	TeamID db.TeamID
	Name   string
}

// RenameTeam changes a team's name. It logs UPDATE_TEAM from, to; the name that the
// team has writes nothing: repeating it after an unknown outcome is safe.
//
// Errors: [ErrForbidden], [ErrInvalidInput].
func (s *Store) RenameTeam(ctx context.Context, p RenameTeam) error {
	var in input
	in.required("Name", p.Name, maxName)
	if in.err != nil {
		return in.err
	}
	pl := s.pipeline()
	_ = queries.LockTeam(ctx, pl, p.TeamID)
	allowed, err := queries.RenameTeam(ctx, pl, db.RenameTeamParams{
		ActorID: p.Actor.UserID, TeamID: p.TeamID, Name: p.Name, IPAddress: p.Actor.ip(),
	})
	if err == nil && !allowed {
		return ErrForbidden
	}
	return explain(err, nil)
}

// DeleteTeam is the input of [Store.DeleteTeam].
type DeleteTeam struct {
	Actor  Actor // an owner of the team
	TeamID db.TeamID
	Force  bool // also while its subscription is live
}

// DeleteTeam ends a team: its memberships are removed and its pending invitations
// canceled; the row stays, marked as deleted, and so does its log. It logs DELETE_TEAM.
// Canceling what Stripe bills is the caller's.
//
// Errors: [ErrForbidden], [ErrActiveSubscription] unless forced.
func (s *Store) DeleteTeam(ctx context.Context, p DeleteTeam) error {
	pl := s.pipeline()
	_ = queries.LockTeam(ctx, pl, p.TeamID)
	row, err := queries.DeleteTeam(ctx, pl, db.DeleteTeamParams{
		ActorID: p.Actor.UserID, TeamID: p.TeamID, Force: p.Force, IPAddress: p.Actor.ip(),
	})
	switch {
	case err != nil:
		return explain(err, nil)
	case !row.Allowed:
		return ErrForbidden
	case !row.Deleted:
		return ErrActiveSubscription
	}
	return nil
}

// SetSeatLimit is the input of [Store.SetSeatLimit].
type SetSeatLimit struct {
	Actor  Actor // the system, mostly; not checked
	TeamID db.TeamID
	Limit  *int // members at most; nil is no limit
}

// SetSeatLimit sets how many members a team may have. A limit below what it has removes
// nobody: it only lets nobody join. It logs UPDATE_TEAM from, to; the limit that the
// team has writes nothing: repeating it after an unknown outcome is safe.
//
// Errors: [ErrNotFound], also when there is no such actor, [ErrInvalidInput].
func (s *Store) SetSeatLimit(ctx context.Context, p SetSeatLimit) error {
	arg := db.SetSeatLimitParams{TeamID: p.TeamID, ActorID: p.Actor.UserID, BySystem: p.Actor.UserID == 0, IPAddress: p.Actor.ip()}
	if p.Limit != nil {
		if *p.Limit < 0 || *p.Limit > math.MaxInt32 {
			return &InvalidInputError{Field: "Limit", Reason: "must be from 0 to 2147483647"}
		}
		arg.SeatLimit = new(int32(*p.Limit))
	}
	_, err := queries.SetSeatLimit(ctx, s.pipeline(), arg)
	return explain(err, ErrNotFound)
}

// idArray is a list of ids as a parameter.
func idArray[T any](field string, ids []db.ID[T]) ([]int64, error) {
	if len(ids) > maxPageSize {
		return nil, &InvalidInputError{Field: field, Reason: "must be 1000 at most"}
	}
	array := make([]int64, len(ids))
	for i, id := range ids {
		array[i] = int64(id)
	}
	return array, nil
}
