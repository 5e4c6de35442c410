package store

import (
	"context"
	"net/netip"

	"github.com/rowhouse/rowhouse/db"
)

// SignedUp is a new account and the team it is in.
type SignedUp struct {
	User       db.User
	Team       db.Team
	TeamMember db.TeamMember
}

// SignUp is the input of [Store.SignUp].
type SignUp struct {
	Email        string
	PasswordHash db.PasswordHash
	Name         string // optional
	TeamName     string // "EMAIL's Team", cut to 100 characters, when empty
	IP           netip.Addr
}

// SignUp creates an account, its team and its membership as owner. It logs
// CREATE_TEAM and SIGN_UP.
//
// Errors: [ErrEmailTaken], [ErrInvalidInput]; [ErrConflict] when what stood in the way is
// gone by the time it is looked at. Of any number of sign-ups of one e-mail at the same
// time, in any case, one succeeds.
func (s *Store) SignUp(ctx context.Context, p SignUp) (SignedUp, error) {
	var in input
	arg := db.SignUpParams{
		Email:        in.email("Email", p.Email),
		PasswordHash: in.hash("PasswordHash", p.PasswordHash),
		Name:         in.optional("Name", p.Name, maxName),
		IPAddress:    ipText(p.IP),
	}
	if p.TeamName == "" {
		p.TeamName = cutChars(arg.Email+"'s Team", maxName)
	}
	arg.TeamName = in.required("TeamName", p.TeamName, maxName)
	if in.err != nil {
		return SignedUp{}, in.err
	}
	row, err := queries.SignUp(ctx, s.pipeline(), arg)
	if err = explain(err, errUnusable); err == errUnusable {
		err = s.explainSignUp(ctx, arg.Email)
	}
	if err != nil {
		return SignedUp{}, err
	}
	user, team, at := db.UserID(row.UserID), db.TeamID(row.TeamID), row.JoinedAt
	return SignedUp{
		db.User{ID: user, Name: arg.Name, Email: arg.Email, Role: db.RoleOwner, CreatedAt: at, UpdatedAt: at},
		db.Team{ID: team, Name: arg.TeamName, CreatedAt: at, UpdatedAt: at},
		db.TeamMember{ID: db.TeamMemberID(row.ID), UserID: user, TeamID: team, Role: db.RoleOwner, JoinedAt: at},
	}, nil
}

// explainSignUp: ON CONFLICT also passes over an id that is in use, as after rows were
// inserted with ids of their own. The next one is free.
func (s *Store) explainSignUp(ctx context.Context, email string) error {
	taken, err := queries.IsEmailTaken(ctx, s.conn, email)
	switch {
	case err != nil:
		return err
	case taken:
		return ErrEmailTaken
	}
	return ErrConflict
}

// SignUpWithInvitation is the input of [Store.SignUpWithInvitation]. Exactly one of
// Token and InvitationID is set.
type SignUpWithInvitation struct {
	Token        Token
	InvitationID db.InvitationID // of an invitation without a token, as the TypeScript app sends them
	Email        string
	PasswordHash db.PasswordHash
	Name         string // optional
	IP           netip.Addr
}

// SignUpWithInvitation creates an account that joins the team which invited its e-mail,
// in the invitation's role, and accepts the invitation. It logs ACCEPT_INVITATION and
// SIGN_UP.
//
// Errors: [ErrNotFound], [ErrInvitationNotPending], [ErrInvitationExpired],
// [ErrInvitationEmailMismatch], [ErrEmailTaken], [ErrSeatLimit], [ErrInvalidInput];
// [ErrConflict] when an invitation that could not be used can be now. After each of
// them there is neither an account nor an accepted invitation.
func (s *Store) SignUpWithInvitation(ctx context.Context, p SignUpWithInvitation) (SignedUp, error) {
	var in input
	ref := in.invitation(p.Token, p.InvitationID)
	arg := db.SignUpWithInvitationParams{
		Email:        in.email("Email", p.Email),
		PasswordHash: in.hash("PasswordHash", p.PasswordHash),
		Name:         in.optional("Name", p.Name, maxName),
		IPAddress:    ipText(p.IP),
		TokenHash:    ref.tokenHash,
	}
	if in.err != nil {
		return SignedUp{}, in.err
	}
	pl := s.pipeline()
	ref.lock(ctx, pl, 0)
	row, err := queries.SignUpWithInvitation(ctx, pl, arg)
	if err = explain(err, errUnusable); err == errUnusable {
		err = s.explainInvitation(ctx, ref, 0, &arg.Email)
	}
	return SignedUp(row), err
}

// Credentials are what a sign-in is checked against.
type Credentials struct {
	UserID       db.UserID
	PasswordHash db.PasswordHash
}

// Credentials returns the id and password hash of the live account with an e-mail. It
// is the only read of the hash.
//
// Errors: [ErrNotFound], also for what is no e-mail. To keep apart neither, compare the
// password with some hash in that case as well: it takes as long.
func (s *Store) Credentials(ctx context.Context, email string) (Credentials, error) {
	var in input
	email = in.email("", email)
	if in.err != nil {
		return Credentials{}, ErrNotFound
	}
	row, err := queries.GetCredentials(ctx, s.conn, email)
	return Credentials{row.ID, row.PasswordHash}, explain(err, ErrNotFound)
}

// RecordSignIn logs SIGN_IN in the team of the user's earliest membership. A user
// without a team is no error, and leaves no row.
//
// Errors: [ErrNotFound].
func (s *Store) RecordSignIn(ctx context.Context, actor Actor) error {
	return s.recordUserActivity(ctx, actor, db.ActivitySignIn)
}

// RecordSignOut logs SIGN_OUT as [Store.RecordSignIn] logs SIGN_IN.
//
// Errors: [ErrNotFound].
func (s *Store) RecordSignOut(ctx context.Context, actor Actor) error {
	return s.recordUserActivity(ctx, actor, db.ActivitySignOut)
}

func (s *Store) recordUserActivity(ctx context.Context, actor Actor, action db.ActivityType) error {
	_, err := queries.RecordUserActivity(ctx, s.pipeline(), db.RecordUserActivityParams{
		UserID: actor.UserID, Action: action, IPAddress: actor.ip(),
	})
	return explain(err, ErrNotFound)
}

// User returns a live user. Its PasswordHash is empty: see [Store.Credentials].
//
// Errors: [ErrNotFound].
func (s *Store) User(ctx context.Context, id db.UserID) (db.User, error) {
	var user db.User
	err := s.conn.QueryRow(ctx, db.GetUser, id).Scan(one[db.User]{&user, (*decoder).user})
	return user, explain(err, ErrNotFound)
}

// UserByEmail returns the live user with an e-mail, as [Store.User] does. Mail goes to
// the e-mail that is returned, never to the one that was typed: case is a matter of
// Unicode, in which the Kelvin sign is a k.
//
// Errors: [ErrNotFound], also for what is no e-mail.
func (s *Store) UserByEmail(ctx context.Context, email string) (db.User, error) {
	var in input
	email = in.email("", email)
	if in.err != nil {
		return db.User{}, ErrNotFound
	}
	var user db.User
	err := s.conn.QueryRow(ctx, db.GetUserByEmail, email).Scan(one[db.User]{&user, (*decoder).user})
	return user, explain(err, ErrNotFound)
}

// Users returns the users with the given ids, at most 1000 of them, by id. It includes
// deleted users, to whom log rows and invitations go on referring; an id that no user
// ever had is left out.
//
// With [Store.Teams] it reads the to-one relations of many rows in one query: a member,
// an activity or an invitation names its user and its team.
//
// Errors: [ErrInvalidInput].
func (s *Store) Users(ctx context.Context, ids []db.UserID) (map[db.UserID]db.User, error) {
	arg, err := idArray("ids", ids)
	if err != nil {
		return nil, err
	}
	rows, err := readAll(ctx, s.conn, (*db.Queries).ListUsers, arg)
	users := make(map[db.UserID]db.User, len(rows))
	for _, row := range rows {
		users[row.User.ID] = row.User
	}
	return users, err
}

// UpdateAccount is the input of [Store.UpdateAccount]. What is nil stays as it is.
type UpdateAccount struct {
	Actor Actor
	Name  *string // "" sets it to NULL
	Email *string
}

// UpdateAccount changes the actor's name, e-mail or both, and returns the user. It logs
// UPDATE_ACCOUNT, with the fields' names, in the team of the earliest membership. Done
// again it sets the same again, and logs it.
//
// Errors: [ErrNotFound], [ErrInvalidInput], also when there is nothing to change;
// [ErrEmailTaken], after which a transaction can only be rolled back.
func (s *Store) UpdateAccount(ctx context.Context, p UpdateAccount) (db.User, error) {
	var in input
	arg := db.UpdateAccountParams{UserID: p.Actor.UserID, IPAddress: p.Actor.ip()}
	if p.Name != nil {
		arg.SetName = true
		arg.Name = in.optional("Name", *p.Name, maxName)
		arg.Fields = append(arg.Fields, "name")
	}
	if p.Email != nil {
		email := in.email("Email", *p.Email)
		arg.Email = &email
		arg.Fields = append(arg.Fields, "email")
	}
	if len(arg.Fields) == 0 {
		in.refuse("Name", "or Email must be set")
	}
	if in.err != nil {
		return db.User{}, in.err
	}
	row, err := queries.UpdateAccount(ctx, s.pipeline(), arg)
	return row.User, explain(err, ErrNotFound)
}

// UpdatePassword is the input of [Store.UpdatePassword].
type UpdatePassword struct {
	Actor        Actor
	PasswordHash db.PasswordHash
	// Expected, when set, is the hash that the old password was checked against: the
	// change is refused when it is not the one in the database any more.
	Expected db.PasswordHash
}

// UpdatePassword changes the actor's password hash. It logs UPDATE_PASSWORD in the team
// of the earliest membership.
//
// Errors: [ErrNotFound], [ErrInvalidInput], [ErrConflict] when Expected is not what
// the database has.
func (s *Store) UpdatePassword(ctx context.Context, p UpdatePassword) error {
	var in input
	hash := in.hash("PasswordHash", p.PasswordHash)
	in.optional("Expected", string(p.Expected), unlimited)
	if in.err != nil {
		return in.err
	}
	row, err := queries.UpdatePassword(ctx, s.pipeline(), db.UpdatePasswordParams{
		UserID: p.Actor.UserID, PasswordHash: hash, ExpectedHash: p.Expected, IPAddress: p.Actor.ip(),
	})
	switch {
	case err != nil:
		return explain(err, nil)
	case row.Updated:
		return nil
	case row.Found && p.Expected != "":
		return ErrConflict
	}
	return ErrNotFound
}

// DeleteAccount ends the actor's account: every membership is removed, pending
// invitations that the user sent are canceled, and the row stays, marked as deleted,
// with its e-mail rewritten to EMAIL-ID-deleted, so that the e-mail can sign up again.
// It logs DELETE_ACCOUNT in each of the teams.
//
// A sole owner who is the only member may go; the team stays without members.
//
// Errors: [ErrNotFound], [LastOwnerError] with every team that would keep members but
// no owner.
func (s *Store) DeleteAccount(ctx context.Context, actor Actor) error {
	pl := s.pipeline()
	_ = queries.LockUser(ctx, pl, actor.UserID)
	_ = queries.LockTeamsOfUser(ctx, pl, actor.UserID)
	row, err := queries.DeleteAccount(ctx, pl, db.DeleteAccountParams{UserID: actor.UserID, IPAddress: actor.ip()})
	switch {
	case err != nil:
		return explain(err, nil)
	case !row.Found:
		return ErrNotFound
	case len(row.StrandedTeamIDs) > 0:
		stranded := &LastOwnerError{TeamIDs: make([]db.TeamID, len(row.StrandedTeamIDs))}
		for i, id := range row.StrandedTeamIDs {
			stranded.TeamIDs[i] = db.TeamID(id)
		}
		return stranded
	}
	return nil
}
