package store

import (
	"context"

	"github.com/rowhouse/rowhouse/db"
)

// Member is a membership with who it is.
type Member struct {
	db.TeamMember
	User MemberUser `json:"user"`
}

// MemberUser is what members of a team see of each other.
type MemberUser struct {
	ID    db.UserID `json:"id"`
	Name  *string   `json:"name"`
	Email string    `json:"email"`
}

// members are of one team, which the rows do not repeat.
var members = rows[Member]{decode: (*decoder).member}

func (d *decoder) member(m *Member) {
	m.TeamMember.ID, m.UserID, m.Role, m.JoinedAt = db.TeamMemberID(d.int()), db.UserID(d.int()), db.Role(d.word()), d.time()
	m.User = MemberUser{ID: m.UserID, Name: d.textOrNil(), Email: d.text()}
}

func membersOf(team db.TeamID, members []Member) []Member {
	for i := range members {
		members[i].TeamID = team
	}
	return members
}

var membersOfTeams = rows[Member]{decode: func(d *decoder, m *Member) {
	m.TeamID = db.TeamID(d.int())
	d.member(m)
}}

// Members returns a page of a team's live members, in the order in which they joined.
// A team that does not exist has none.
//
// Errors: [ErrInvalidInput], [ErrInvalidCursor].
func (s *Store) Members(ctx context.Context, team db.TeamID, page Page) ([]Member, Cursor, error) {
	limit, after, err := page.start(listMembers, int64(team), beforeAll)
	if err != nil {
		return nil, "", err
	}
	list, err := members.read(ctx, s.conn, db.ListMembersPage, team, after.time, after.id, int32(limit+1))
	if err != nil {
		return nil, "", err
	}
	list, next := cutItems(membersOf(team, list), limit, listMembers, int64(team), func(m *Member) position {
		return position{m.JoinedAt, int64(m.TeamMember.ID)}
	})
	return list, next, nil
}

// Memberships returns a page of a live user's memberships, earliest first. A user who
// does not exist has none.
//
// Errors: [ErrInvalidInput], [ErrInvalidCursor].
func (s *Store) Memberships(ctx context.Context, user db.UserID, page Page) ([]db.TeamMember, Cursor, error) {
	limit, after, err := page.start(listMemberships, int64(user), beforeAll)
	if err != nil {
		return nil, "", err
	}
	rows, err := readAll(ctx, s.conn, (*db.Queries).ListMembershipsPage, db.ListMembershipsPageParams{
		UserID: user, AfterJoinedAt: after.time, AfterID: after.id, PageLimit: int32(limit + 1),
	})
	if err != nil {
		return nil, "", err
	}
	memberships, next := cutItems(rows, limit, listMemberships, int64(user), func(m *db.TeamMember) position {
		return position{m.JoinedAt, int64(m.ID)}
	})
	return memberships, next, nil
}

// Membership returns a live user's membership in a team.
//
// Errors: [ErrNotFound].
func (s *Store) Membership(ctx context.Context, team db.TeamID, user db.UserID) (db.TeamMember, error) {
	m, err := queries.GetMembership(ctx, s.conn, db.GetMembershipParams{TeamID: team, UserID: user})
	return m, explain(err, ErrNotFound)
}

// MembersOfTeams returns the earliest live members of each team, at most limitEach (0
// is 10, 1000 at most) of each of at most 1000 teams, in one query. A team without
// members has no entry.
//
// Errors: [ErrInvalidInput].
func (s *Store) MembersOfTeams(ctx context.Context, teams []db.TeamID, limitEach int) (map[db.TeamID][]Member, error) {
	ids, limitEach, err := many("teams", teams, limitEach)
	if err != nil {
		return nil, err
	}
	list, err := membersOfTeams.read(ctx, s.conn, db.ListMembersOfTeams, int32(limitEach), ids)
	return group(list, func(m *Member) (db.TeamID, Member) { return m.TeamID, *m }), err
}

// MembershipsOfUsers returns the earliest memberships of each live user, bounded as
// [Store.MembersOfTeams] is.
//
// Errors: [ErrInvalidInput].
func (s *Store) MembershipsOfUsers(ctx context.Context, users []db.UserID, limitEach int) (map[db.UserID][]db.TeamMember, error) {
	ids, limitEach, err := many("users", users, limitEach)
	if err != nil {
		return nil, err
	}
	rows, err := readAll(ctx, s.conn, (*db.Queries).ListMembershipsOfUsers, db.ListMembershipsOfUsersParams{UserIDs: ids, LimitEach: int32(limitEach)})
	return group(rows, func(r *db.ListMembershipsOfUsersRow) (db.UserID, db.TeamMember) {
		return r.TeamMember.UserID, r.TeamMember
	}), err
}

// RemoveMember is the input of [Store.RemoveMember].
type RemoveMember struct {
	Actor    Actor // an owner of the team
	TeamID   db.TeamID
	MemberID db.TeamMemberID
}

// RemoveMember ends a membership, the actor's own too. It logs REMOVE_TEAM_MEMBER with
// whom and in which role. Invitations that the removed member sent can't be accepted
// any more.
//
// Errors: [ErrForbidden], [ErrNotFound], [LastOwnerError]. Of two owners who remove
// each other at the same time, one stays.
func (s *Store) RemoveMember(ctx context.Context, p RemoveMember) error {
	pl := s.pipeline()
	_ = queries.LockTeam(ctx, pl, p.TeamID)
	row, err := queries.RemoveMember(ctx, pl, db.RemoveMemberParams{
		ActorID: p.Actor.UserID, TeamID: p.TeamID, MemberID: p.MemberID, IPAddress: p.Actor.ip(),
	})
	switch {
	case err != nil:
		return explain(err, nil)
	case !row.Allowed:
		return ErrForbidden
	case !row.Found:
		return ErrNotFound
	case !row.Removed:
		return &LastOwnerError{TeamIDs: []db.TeamID{p.TeamID}}
	}
	return nil
}

// LeaveTeam is the input of [Store.LeaveTeam].
type LeaveTeam struct {
	Actor  Actor
	TeamID db.TeamID
}

// LeaveTeam ends the actor's own membership. It logs LEAVE_TEAM with the role. A plain
// member may always go; an owner, while another one stays.
//
// Errors: [ErrNotFound] when the actor is no member, [LastOwnerError].
func (s *Store) LeaveTeam(ctx context.Context, p LeaveTeam) error {
	pl := s.pipeline()
	_ = queries.LockTeam(ctx, pl, p.TeamID)
	row, err := queries.LeaveTeam(ctx, pl, db.LeaveTeamParams{TeamID: p.TeamID, ActorID: p.Actor.UserID, IPAddress: p.Actor.ip()})
	switch {
	case err != nil:
		return explain(err, nil)
	case !row.Found:
		return ErrNotFound
	case !row.Ended:
		return &LastOwnerError{TeamIDs: []db.TeamID{p.TeamID}}
	}
	return nil
}

// ChangeRole is the input of [Store.ChangeRole].
type ChangeRole struct {
	Actor    Actor // an owner of the team
	TeamID   db.TeamID
	MemberID db.TeamMemberID
	Role     db.Role
}

// ChangeRole gives a live member another role, the actor too. It logs CHANGE_ROLE with
// whom, from, to; the role that the member has writes nothing: repeating it after
// an unknown outcome is safe. It answers [ErrForbidden] then to an owner who has become
// a plain member.
//
// Errors: [ErrForbidden], [ErrNotFound], [LastOwnerError], [ErrInvalidInput].
func (s *Store) ChangeRole(ctx context.Context, p ChangeRole) error {
	var in input
	in.role("Role", p.Role)
	if in.err != nil {
		return in.err
	}
	pl := s.pipeline()
	_ = queries.LockTeam(ctx, pl, p.TeamID)
	row, err := queries.ChangeRole(ctx, pl, db.ChangeRoleParams{
		ActorID: p.Actor.UserID, TeamID: p.TeamID, MemberID: p.MemberID, Role: p.Role, IPAddress: p.Actor.ip(),
	})
	switch {
	case err != nil:
		return explain(err, nil)
	case !row.Allowed:
		return ErrForbidden
	case !row.Found:
		return ErrNotFound
	case !row.HasRole && !row.Changed:
		return &LastOwnerError{TeamIDs: []db.TeamID{p.TeamID}}
	}
	return nil
}

// TransferOwnership is the input of [Store.TransferOwnership].
type TransferOwnership struct {
	Actor    Actor // an owner of the team
	TeamID   db.TeamID
	MemberID db.TeamMemberID // another live member
}

// TransferOwnership makes another member an owner and the actor a plain member, both or
// neither. It logs TRANSFER_OWNERSHIP with to whom. A team's other owners stay owners.
//
// Errors: [ErrForbidden]; [ErrNotFound], also for the actor's own membership.
func (s *Store) TransferOwnership(ctx context.Context, p TransferOwnership) error {
	pl := s.pipeline()
	_ = queries.LockTeam(ctx, pl, p.TeamID)
	row, err := queries.TransferOwnership(ctx, pl, db.TransferOwnershipParams{
		ActorID: p.Actor.UserID, TeamID: p.TeamID, MemberID: p.MemberID, IPAddress: p.Actor.ip(),
	})
	switch {
	case err != nil:
		return explain(err, nil)
	case !row.Allowed:
		return ErrForbidden
	case !row.Found:
		return ErrNotFound
	}
	return nil
}

// many checks the arguments of a read for many parents.
func many[T any](field string, ids []db.ID[T], limitEach int) ([]int64, int, error) {
	array, err := idArray(field, ids)
	if err != nil {
		return nil, 0, err
	}
	limitEach, err = bounded("limitEach", limitEach)
	return array, limitEach, err
}

// group is rows by their parent, in the order in which they came.
func group[Row any, Parent comparable, Item any](rows []Row, of func(*Row) (Parent, Item)) map[Parent][]Item {
	groups := make(map[Parent][]Item)
	for i := range rows {
		parent, item := of(&rows[i])
		groups[parent] = append(groups[parent], item)
	}
	return groups
}
