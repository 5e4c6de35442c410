package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"time"

	"github.com/rowhouse/rowhouse/db"
)

const (
	defaultTTL = 7 * 24 * time.Hour
	maxTTL     = 365 * 24 * time.Hour
)

// InviteMember is the input of [Store.InviteMember].
type InviteMember struct {
	Actor  Actor // an owner of the team
	TeamID db.TeamID
	Email  string
	Role   db.Role
	TTL    time.Duration // how long it can be accepted: 7 days when 0, a year at most
}

// InviteMember invites an e-mail to a team. It logs INVITE_TEAM_MEMBER with the e-mail
// and role. The token is for the link in the mail that the caller sends, after the
// transaction; it can't be read again.
//
// An earlier invitation of the e-mail that nobody can accept any more, because it has
// expired or its sender is no owner now, makes room.
//
// Errors: [ErrForbidden], [ErrAlreadyMember], [ErrAlreadyInvited], [ErrInvalidInput];
// [ErrConflict] when what stood in the way is gone by the time it is looked at. Of any
// number of invitations of one e-mail at the same time, in any case, one succeeds.
func (s *Store) InviteMember(ctx context.Context, p InviteMember) (db.Invitation, Token, error) {
	var in input
	email := in.email("Email", p.Email)
	in.role("Role", p.Role)
	ttl := in.ttl(p.TTL)
	if in.err != nil {
		return db.Invitation{}, "", in.err
	}
	token, hash := newToken()
	pl := s.pipeline()
	_ = queries.LockTeam(ctx, pl, p.TeamID)
	row, err := queries.InviteMember(ctx, pl, db.InviteMemberParams{
		ActorID: p.Actor.UserID, TeamID: p.TeamID, Email: email, Role: string(p.Role),
		TokenHash: hash, TTLSeconds: ttl, IPAddress: p.Actor.ip(),
	})
	if err = explain(err, errUnusable); err == errUnusable {
		err = s.explainInvite(ctx, p.Actor.UserID, p.TeamID, email)
	}
	if err != nil {
		return db.Invitation{}, "", err
	}
	return db.Invitation{
		ID: db.InvitationID(row.ID), TeamID: p.TeamID, Email: email, Role: p.Role, InvitedBy: p.Actor.UserID,
		InvitedAt: row.InvitedAt, Status: db.InvitationPending, ExpiresAt: row.ExpiresAt,
	}, token, nil
}

// ttl is how many seconds an invitation can be accepted.
func (in *input) ttl(d time.Duration) float64 {
	if d < 0 || d > maxTTL {
		in.refuse("TTL", "must be from 0 to a year")
	}
	return cmp.Or(d, defaultTTL).Seconds()
}

// maxInvitees bounds one InviteMembers.
const maxInvitees = 1000

// Invitee is one of those whom [Store.InviteMembers] invites.
type Invitee struct {
	Email string
	Role  db.Role
}

// InviteMembers is the input of [Store.InviteMembers].
type InviteMembers struct {
	Actor    Actor // an owner of the team
	TeamID   db.TeamID
	Invitees []Invitee     // 1000 at most
	TTL      time.Duration // how long they can be accepted: 7 days when 0, a year at most
}

// Invited is what became of an [Invitee]: an invitation with its token, or an error.
type Invited struct {
	Email      string // as it is written: trimmed and lower-cased; as it was given when it is no valid UTF-8
	Invitation db.Invitation
	Token      Token
	// ErrAlreadyMember, ErrAlreadyInvited, ErrInvalidInput, ErrConflict; another one when
	// the connection was lost before the reason was known. This e-mail was not invited.
	Err error
}

// InviteMembers invites a list of e-mails, each as [Store.InviteMember] does, in one
// transaction: those that can be invited are, all of them or, when it fails, none. An
// e-mail that is in the list again, in any case, is invited once, in the first valid
// role. The results are in the order of the list, without the repeats. It logs
// INVITE_TEAM_MEMBER for each invitation.
//
// Errors: [ErrForbidden], [ErrInvalidInput] when the list or the TTL is too long; what is
// wrong with one e-mail is in its result.
func (s *Store) InviteMembers(ctx context.Context, p InviteMembers) ([]Invited, error) {
	var in input
	ttl := in.ttl(p.TTL)
	if len(p.Invitees) > maxInvitees {
		in.refuse("Invitees", "must be 1000 at most")
	}
	if in.err != nil {
		return nil, in.err
	}
	results := make([]Invited, 0, len(p.Invitees))
	arg := db.InviteMembersParams{TeamID: p.TeamID, ActorID: p.Actor.UserID, TTLSeconds: ttl, IPAddress: p.Actor.ip()}
	byEmail := make(map[string]int, len(p.Invitees)) // the index of its result
	for _, invitee := range p.Invitees {
		var in input
		email := in.email("Email", invitee.Email)
		in.role("Role", invitee.Role)
		i, again := byEmail[email]
		if again && (in.err != nil || results[i].Err == errUnusable) {
			continue
		}
		if !again {
			i = len(results)
			byEmail[email] = i
			results = append(results, Invited{})
		}
		if in.err != nil {
			results[i] = Invited{Email: email, Err: in.err}
			continue
		}
		token, hash := newToken()
		results[i] = Invited{Email: email, Token: token, Err: errUnusable}
		arg.Emails = append(arg.Emails, email)
		arg.Roles = append(arg.Roles, string(invitee.Role))
		arg.TokenHashes = append(arg.TokenHashes, hash)
	}
	var rows []db.InviteMembersRow
	if err := s.write(ctx, func(conn session) (err error) {
		pl := pipelineOn(conn)
		_ = queries.LockTeam(ctx, pl, p.TeamID)
		rows, err = queries.InviteMembers(ctx, pl, arg)
		return pl.close(err)
	}); err != nil {
		return nil, explain(err, nil)
	}
	for _, row := range rows {
		r := &results[byEmail[row.Invitation.Email]]
		r.Invitation, r.Err = row.Invitation, nil
	}
	if len(rows) == len(arg.Emails) && len(rows) > 0 {
		return results, nil
	}
	return s.explainInvites(ctx, arg, results, byEmail, len(rows))
}

// explainInvites: once somebody was invited, nothing here may fail as if nobody had been.
func (s *Store) explainInvites(ctx context.Context, arg db.InviteMembersParams, results []Invited, byEmail map[string]int, invited int) ([]Invited, error) {
	var unexplained []string
	for _, r := range results {
		if r.Err == errUnusable {
			unexplained = append(unexplained, r.Email)
		}
	}
	// One more, which is nobody's: whether the actor may is asked for an empty list too.
	whys, err := readAll(ctx, s.conn, (*db.Queries).ExplainInvites, db.ExplainInvitesParams{
		TeamID: arg.TeamID, ActorID: arg.ActorID, Emails: append(unexplained, ""),
	})
	committed := invited > 0 && s.tx == nil
	if err != nil && !committed {
		return nil, err
	}
	for _, email := range unexplained {
		r := &results[byEmail[email]]
		r.Token, r.Err = "", ErrConflict
		if err != nil {
			r.Err = err
		}
	}
	for _, why := range whys {
		if !why.Allowed && invited == 0 {
			return nil, ErrForbidden
		}
		if why.Email == "" {
			continue
		}
		r := &results[byEmail[why.Email]]
		switch {
		case why.AlreadyMember:
			r.Err = ErrAlreadyMember
		case why.AlreadyInvited:
			r.Err = ErrAlreadyInvited
		}
	}
	return results, nil
}

// errUnusable stands for the reason that is asked for next. It never leaves the Store.
var errUnusable = errors.New("unusable")

func (s *Store) explainInvite(ctx context.Context, actor db.UserID, team db.TeamID, email string) error {
	why, err := queries.ExplainInvite(ctx, s.conn, db.ExplainInviteParams{TeamID: team, ActorID: actor, Email: email})
	switch {
	case err != nil:
		return err
	case !why.Allowed:
		return ErrForbidden
	case why.AlreadyMember:
		return ErrAlreadyMember
	case why.AlreadyInvited:
		return ErrAlreadyInvited
	}
	return ErrConflict
}

// AcceptInvitation is the input of [Store.AcceptInvitation]. Exactly one of Token and
// InvitationID is set.
type AcceptInvitation struct {
	Actor        Actor
	Token        Token
	InvitationID db.InvitationID // of an invitation without a token, as the TypeScript app sends them
}

// AcceptInvitation makes the actor a member in the invitation's role. An actor who is a
// member already keeps the role that stands, and joined is false. It logs
// ACCEPT_INVITATION.
//
// Errors: [ErrNotFound], also when the actor is no live user, [ErrInvitationNotPending],
// [ErrInvitationExpired], [ErrInvitationEmailMismatch], [ErrSeatLimit],
// [ErrInvalidInput]; [ErrConflict] when an invitation that could not be used can be
// now. Of any number of accepts of one invitation, or an accept against its
// cancellation, one wins.
func (s *Store) AcceptInvitation(ctx context.Context, p AcceptInvitation) (member db.TeamMember, joined bool, err error) {
	var in input
	ref := in.invitation(p.Token, p.InvitationID)
	if in.err != nil {
		return db.TeamMember{}, false, in.err
	}
	pl := s.pipeline()
	ref.lock(ctx, pl, p.Actor.UserID)
	row, err := queries.AcceptInvitation(ctx, pl, db.AcceptInvitationParams{
		ActorID: p.Actor.UserID, TokenHash: ref.tokenHash, IPAddress: p.Actor.ip(),
	})
	if err = explain(err, errUnusable); err == errUnusable {
		err = s.explainInvitation(ctx, ref, p.Actor.UserID, nil)
	}
	if err != nil {
		return db.TeamMember{}, false, err
	}
	return db.TeamMember{
		ID: db.TeamMemberID(row.ID), UserID: p.Actor.UserID, TeamID: db.TeamID(row.TeamID), Role: db.Role(row.Role), JoinedAt: row.JoinedAt,
	}, row.Joined, nil
}

// explainInvitation asks why an invitation could not be used: by an actor, or by the
// sign-up of an e-mail.
func (s *Store) explainInvitation(ctx context.Context, ref invitationRef, actor db.UserID, email *string) error {
	why, err := queries.ExplainInvitation(ctx, s.conn, db.ExplainInvitationParams{
		TokenHash: ref.tokenHash, InvitationID: ref.id, ActorID: actor, Email: email,
	})
	switch {
	case err != nil:
		return explain(err, ErrNotFound)
	case !why.ForSomebody:
		return ErrNotFound
	case why.Status == db.InvitationExpired:
		return ErrInvitationExpired
	case why.Status != db.InvitationPending || !why.InviterMay:
		return ErrInvitationNotPending
	case why.Expired:
		return ErrInvitationExpired
	case !why.EmailMatches:
		return ErrInvitationEmailMismatch
	case why.EmailTaken:
		return ErrEmailTaken
	case !why.SeatFree:
		return ErrSeatLimit
	}
	return ErrConflict
}

// DeclineInvitation is the input of [Store.DeclineInvitation]. Exactly one of Token and
// InvitationID is set.
type DeclineInvitation struct {
	Actor        Actor
	Token        Token
	InvitationID db.InvitationID // of an invitation without a token, as the TypeScript app sends them
}

// DeclineInvitation ends an invitation of the actor's e-mail, an expired one too. It
// logs DECLINE_INVITATION in the team.
//
// Errors: [ErrNotFound], also when the actor is no live user, [ErrInvitationNotPending],
// [ErrInvitationEmailMismatch], [ErrInvalidInput].
func (s *Store) DeclineInvitation(ctx context.Context, p DeclineInvitation) error {
	var in input
	ref := in.invitation(p.Token, p.InvitationID)
	if in.err != nil {
		return in.err
	}
	pl := s.pipeline()
	ref.lock(ctx, pl, p.Actor.UserID)
	row, err := queries.DeclineInvitation(ctx, pl, db.DeclineInvitationParams{
		ActorID: p.Actor.UserID, TokenHash: ref.tokenHash, IPAddress: p.Actor.ip(),
	})
	switch {
	case err != nil:
		return explain(err, nil)
	case !row.ActorFound || !row.Found:
		return ErrNotFound
	case !row.EmailMatches:
		return ErrInvitationEmailMismatch
	case !row.Declined:
		return ErrInvitationNotPending
	}
	return nil
}

// CancelInvitation is the input of [Store.CancelInvitation].
type CancelInvitation struct {
	Actor        Actor // an owner of the team
	TeamID       db.TeamID
	InvitationID db.InvitationID
}

// CancelInvitation takes an invitation back. It logs CANCEL_INVITATION with the e-mail
// and role.
//
// Errors: [ErrForbidden], [ErrNotFound], [ErrInvitationNotPending].
func (s *Store) CancelInvitation(ctx context.Context, p CancelInvitation) error {
	pl := s.pipeline()
	_ = queries.LockTeam(ctx, pl, p.TeamID)
	row, err := queries.CancelInvitation(ctx, pl, db.CancelInvitationParams{
		ActorID: p.Actor.UserID, TeamID: p.TeamID, InvitationID: p.InvitationID, IPAddress: p.Actor.ip(),
	})
	switch {
	case err != nil:
		return explain(err, nil)
	case !row.Allowed:
		return ErrForbidden
	case !row.Found:
		return ErrNotFound
	case !row.Canceled:
		return ErrInvitationNotPending
	}
	return nil
}

// ResendInvitation is the input of [Store.ResendInvitation].
type ResendInvitation struct {
	Actor        Actor // an owner of the team
	TeamID       db.TeamID
	InvitationID db.InvitationID
	TTL          time.Duration // from now: 7 days when 0, a year at most
}

// ResendInvitation gives a pending invitation, an expired one too, a new token and a new
// end; the old token is dead. From then on it is the actor's invitation. It logs
// RESEND_INVITATION with the e-mail and role.
//
// Errors: [ErrForbidden], [ErrNotFound], [ErrInvitationNotPending], [ErrInvalidInput].
func (s *Store) ResendInvitation(ctx context.Context, p ResendInvitation) (db.Invitation, Token, error) {
	var in input
	ttl := in.ttl(p.TTL)
	if in.err != nil {
		return db.Invitation{}, "", in.err
	}
	token, hash := newToken()
	pl := s.pipeline()
	_ = queries.LockTeam(ctx, pl, p.TeamID)
	row, err := queries.ResendInvitation(ctx, pl, db.ResendInvitationParams{
		ActorID: p.Actor.UserID, TeamID: p.TeamID, InvitationID: p.InvitationID,
		TokenHash: hash, TTLSeconds: ttl, IPAddress: p.Actor.ip(),
	})
	if err = explain(err, errUnusable); err == errUnusable {
		err = s.explainInvitationOfTeam(ctx, p)
	}
	if err != nil {
		return db.Invitation{}, "", err
	}
	return row.Invitation, token, nil
}

func (s *Store) explainInvitationOfTeam(ctx context.Context, p ResendInvitation) error {
	why, err := queries.ExplainInvitationOfTeam(ctx, s.conn, db.ExplainInvitationOfTeamParams{
		TeamID: p.TeamID, ActorID: p.Actor.UserID, InvitationID: p.InvitationID,
	})
	switch {
	case err != nil:
		return err
	case !why.Allowed:
		return ErrForbidden
	case !why.Found:
		return ErrNotFound
	}
	return ErrInvitationNotPending
}

// InvitationDetails is an invitation as its page shows it: with its team and its end,
// and who sent it, nil for one who has deleted the account.
type InvitationDetails struct {
	db.Invitation
	ExpiresAt    *time.Time `json:"expiresAt"` // nil: never
	TeamName     string     `json:"teamName"`
	InviterName  *string    `json:"inviterName"`
	InviterEmail *string    `json:"inviterEmail"`
}

// InvitationByToken returns the invitation that a token is for, in whatever state; one
// whose time is over reads as expired.
//
// Errors: [ErrNotFound].
func (s *Store) InvitationByToken(ctx context.Context, token Token) (InvitationDetails, error) {
	if token == "" {
		return InvitationDetails{}, ErrNotFound
	}
	row, err := queries.GetInvitationByToken(ctx, s.conn, hashToken(token))
	return InvitationDetails{row.Invitation, row.Invitation.ExpiresAt, row.TeamName, row.InviterName, row.InviterEmail}, explain(err, ErrNotFound)
}

// InvitationsForEmail returns a page of what an e-mail is invited to, over all teams,
// newest first: pending invitations, of which those whose time is over read as expired.
// What is no e-mail is invited to nothing.
//
// Errors: [ErrInvalidInput], [ErrInvalidCursor].
func (s *Store) InvitationsForEmail(ctx context.Context, email string, page Page) ([]InvitationDetails, Cursor, error) {
	var in input
	email = in.email("", email)
	// A cursor belongs to a list of something with an id: here, a digest of the e-mail.
	digest := sha256.Sum256([]byte(email))
	of := int64(binary.BigEndian.Uint64(digest[:]))
	limit, before, err := page.start(listEmailInvites, of, afterAll)
	if err != nil || in.err != nil {
		return []InvitationDetails{}, "", err
	}
	rows, err := readAll(ctx, s.conn, (*db.Queries).ListInvitationsForEmailPage, db.ListInvitationsForEmailPageParams{
		Email: email, BeforeInvitedAt: before.time, BeforeID: before.id, PageLimit: int32(limit + 1),
	})
	if err != nil {
		return nil, "", err
	}
	invitations, next := cut(rows, limit, listEmailInvites, of, func(r *db.ListInvitationsForEmailPageRow) (InvitationDetails, position) {
		return InvitationDetails{r.Invitation, r.Invitation.ExpiresAt, r.TeamName, r.InviterName, r.InviterEmail}, position{r.Invitation.InvitedAt, int64(r.Invitation.ID)}
	})
	return invitations, next, nil
}

// Invitations returns a page of a team's invitations, newest first. One whose time is
// over reads as expired. A team that does not exist has none.
//
// Errors: [ErrInvalidInput], [ErrInvalidCursor].
func (s *Store) Invitations(ctx context.Context, team db.TeamID, page Page) ([]db.Invitation, Cursor, error) {
	limit, before, err := page.start(listInvitations, int64(team), afterAll)
	if err != nil {
		return nil, "", err
	}
	rows, err := readAll(ctx, s.conn, (*db.Queries).ListInvitationsPage, db.ListInvitationsPageParams{
		TeamID: team, BeforeInvitedAt: before.time, BeforeID: before.id, PageLimit: int32(limit + 1),
	})
	if err != nil {
		return nil, "", err
	}
	invitations, next := cut(rows, limit, listInvitations, int64(team), func(r *db.ListInvitationsPageRow) (db.Invitation, position) {
		return r.Invitation, position{r.Invitation.InvitedAt, int64(r.Invitation.ID)}
	})
	return invitations, next, nil
}

// InvitationsSent returns a page of the invitations that a user sent, to any team, as
// [Store.Invitations] does.
//
// Errors: [ErrInvalidInput], [ErrInvalidCursor].
func (s *Store) InvitationsSent(ctx context.Context, user db.UserID, page Page) ([]db.Invitation, Cursor, error) {
	limit, before, err := page.start(listInvitationsSent, int64(user), afterAll)
	if err != nil {
		return nil, "", err
	}
	rows, err := readAll(ctx, s.conn, (*db.Queries).ListInvitationsSentPage, db.ListInvitationsSentPageParams{
		UserID: user, BeforeInvitedAt: before.time, BeforeID: before.id, PageLimit: int32(limit + 1),
	})
	if err != nil {
		return nil, "", err
	}
	invitations, next := cut(rows, limit, listInvitationsSent, int64(user), func(r *db.ListInvitationsSentPageRow) (db.Invitation, position) {
		return r.Invitation, position{r.Invitation.InvitedAt, int64(r.Invitation.ID)}
	})
	return invitations, next, nil
}

// InvitationsOfTeams returns the newest invitations of each team, bounded as
// [Store.MembersOfTeams] is.
//
// Errors: [ErrInvalidInput].
func (s *Store) InvitationsOfTeams(ctx context.Context, teams []db.TeamID, limitEach int) (map[db.TeamID][]db.Invitation, error) {
	ids, limitEach, err := many("teams", teams, limitEach)
	if err != nil {
		return nil, err
	}
	rows, err := readAll(ctx, s.conn, (*db.Queries).ListInvitationsOfTeams, db.ListInvitationsOfTeamsParams{TeamIDs: ids, LimitEach: int32(limitEach)})
	return group(rows, func(r *db.ListInvitationsOfTeamsRow) (db.TeamID, db.Invitation) {
		return r.Invitation.TeamID, r.Invitation
	}), err
}

// InvitationsSentByUsers returns the newest invitations that each user sent, bounded as
// [Store.MembersOfTeams] is.
//
// Errors: [ErrInvalidInput].
func (s *Store) InvitationsSentByUsers(ctx context.Context, users []db.UserID, limitEach int) (map[db.UserID][]db.Invitation, error) {
	ids, limitEach, err := many("users", users, limitEach)
	if err != nil {
		return nil, err
	}
	rows, err := readAll(ctx, s.conn, (*db.Queries).ListInvitationsSentByUsers, db.ListInvitationsSentByUsersParams{UserIDs: ids, LimitEach: int32(limitEach)})
	return group(rows, func(r *db.ListInvitationsSentByUsersRow) (db.UserID, db.Invitation) {
		return r.Invitation.InvitedBy, r.Invitation
	}), err
}
