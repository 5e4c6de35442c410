package store_test

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// state is what the tables say, or should: a row each, without ids of the log and
// without times but for what they mean.
type state struct {
	users       []userRow
	teams       []teamRow
	members     []memberRow // in the order in which they joined
	invitations []invitationRow
	log         []logRow // oldest first
}

type userRow struct {
	ID                db.UserID
	Name, Email, Hash string
	Role              db.Role
	Deleted           bool
}

type teamRow struct {
	ID                                                  db.TeamID
	Name, Customer, Subscription, Product, Plan, Status string
	Seats                                               int
	Deleted                                             bool
}

type memberRow struct {
	ID   db.TeamMemberID
	User db.UserID
	Team db.TeamID
	Role db.Role
}

type invitationRow struct {
	ID       db.InvitationID
	Team     db.TeamID
	Email    string
	Role     db.Role
	By       db.UserID
	Status   db.InvitationStatus
	HasToken bool
	Ends     string
}

type logRow struct {
	Team   db.TeamID
	User   db.UserID // 0 for the system
	Action db.ActivityType
	IP     string
}

const (
	null   = "NULL"
	noSeat = -1      // teamRow.Seats without a limit
	never  = "never" // invitationRow.Ends of the TypeScript app's rows
	over   = "over"
)

// answer is what an operation returns, as rows of the state and plain values.
type answer []any

// model is the rules of the operations, written from what they promise. A method is
// the Store's of the same name. It takes the ids of new rows from the Store's answer,
// and nothing else: what the answer should have been, it returns.
type model struct {
	state
	tokens map[db.InvitationID]store.Token // that are alive
	dead   []store.Token
}

func find[Row any](rows []Row, is func(Row) bool) *Row {
	if i := slices.IndexFunc(rows, is); i >= 0 {
		return &rows[i]
	}
	return nil
}

// user is a live one.
func (m *model) user(id db.UserID) *userRow {
	return find(m.users, func(u userRow) bool { return u.ID == id && !u.Deleted })
}

func (m *model) userByEmail(email string) *userRow {
	return find(m.users, func(u userRow) bool { return normal(u.Email) == normal(email) && !u.Deleted })
}

func normal(email string) string { return strings.ToLower(strings.TrimSpace(email)) }

// team is one that was not deleted.
func (m *model) team(id db.TeamID) *teamRow {
	return find(m.teams, func(t teamRow) bool { return t.ID == id && !t.Deleted })
}

// membership is a live user's.
func (m *model) membership(team db.TeamID, user db.UserID) *memberRow {
	return find(m.members, func(r memberRow) bool { return r.Team == team && r.User == user && m.user(user) != nil })
}

func (m *model) owns(team db.TeamID, user db.UserID) bool {
	r := m.membership(team, user)
	return r != nil && r.Role == db.RoleOwner
}

// seats is how many live members a team has, and owners is which of them are owners.
func (m *model) seats(team db.TeamID) (seats int, owners []db.UserID) {
	for _, r := range m.members {
		if m.membership(team, r.User) == nil || r.Team != team {
			continue
		}
		seats++
		if r.Role == db.RoleOwner {
			owners = append(owners, r.User)
		}
	}
	return seats, owners
}

func (m *model) full(team db.TeamID) bool {
	seats, _ := m.seats(team)
	limit := m.team(team).Seats
	return limit != noSeat && seats >= limit
}

// lastOwner is the refusal of an end to somebody's ownership, nil when another stays.
func (m *model) lastOwner(team db.TeamID, user db.UserID) error {
	_, owners := m.seats(team)
	if m.owns(team, user) && len(owners) == 1 {
		return &store.LastOwnerError{TeamIDs: []db.TeamID{team}}
	}
	return nil
}

func (m *model) record(team db.TeamID, by db.UserID, action db.ActivityType) {
	m.log = append(m.log, logRow{team, by, action, anIP.String()})
}

// recordAtHome logs in the team of the earliest membership, if there is one.
func (m *model) recordAtHome(user db.UserID, action db.ActivityType) {
	if home := find(m.members, func(r memberRow) bool { return r.User == user }); home != nil {
		m.record(home.Team, user, action)
	}
}

func (m *model) dropMembers(is func(memberRow) bool) { m.members = slices.DeleteFunc(m.members, is) }

func (m *model) cancelPending(is func(invitationRow) bool) {
	for i := range m.invitations {
		if inv := &m.invitations[i]; inv.Status == db.InvitationPending && is(*inv) {
			inv.Status = db.InvitationCanceled
		}
	}
}

// Accounts.

func (m *model) signUp(p store.SignUp, got store.SignedUp) (answer, error) {
	email := normal(p.Email)
	if invalidEmail(email) || p.PasswordHash == "" {
		return nil, store.ErrInvalidInput
	}
	if m.userByEmail(email) != nil {
		return nil, store.ErrEmailTaken
	}
	name := []rune(cmp.Or(p.TeamName, email+"'s Team"))
	user := userRow{got.User.ID, cmp.Or(p.Name, null), email, string(p.PasswordHash), db.RoleOwner, false}
	team := newTeamRow(got.Team.ID, string(name[:min(len(name), 100)]))
	member := memberRow{got.TeamMember.ID, user.ID, team.ID, db.RoleOwner}
	m.users, m.teams, m.members = append(m.users, user), append(m.teams, team), append(m.members, member)
	m.record(team.ID, user.ID, db.ActivityCreateTeam)
	m.record(team.ID, user.ID, db.ActivitySignUp)
	return answer{user, team, member}, nil
}

func newTeamRow(id db.TeamID, name string) teamRow {
	return teamRow{id, name, null, null, null, null, null, noSeat, false}
}

// invalidEmail: no @, or that of a deleted user.
func invalidEmail(email string) bool {
	return !strings.Contains(email, "@") || strings.HasSuffix(normal(email), "-deleted")
}

func (m *model) signUpWithInvitation(p store.SignUpWithInvitation, got store.SignedUp) (answer, error) {
	inv, err := m.usable(p.Token, p.InvitationID, p.Email)
	switch {
	case invalidEmail(p.Email):
		err = store.ErrInvalidInput
	case err != nil:
	case m.userByEmail(p.Email) != nil:
		err = store.ErrEmailTaken
	case m.full(inv.Team):
		err = store.ErrSeatLimit
	}
	if err != nil {
		return nil, err
	}
	inv.Status = db.InvitationAccepted
	user := userRow{got.User.ID, cmp.Or(p.Name, null), normal(p.Email), string(p.PasswordHash), inv.Role, false}
	member := memberRow{got.TeamMember.ID, user.ID, inv.Team, inv.Role}
	m.users, m.members = append(m.users, user), append(m.members, member)
	m.record(inv.Team, user.ID, db.ActivityAcceptInvitation)
	m.record(inv.Team, user.ID, db.ActivitySignUp)
	return answer{user, *m.team(inv.Team), member}, nil
}

func (m *model) recordSignIn(actor store.Actor) error {
	if m.user(actor.UserID) == nil {
		return store.ErrNotFound
	}
	m.recordAtHome(actor.UserID, db.ActivitySignIn)
	return nil
}

func (m *model) updateAccount(p store.UpdateAccount) (answer, error) {
	if p.Name == nil && p.Email == nil || p.Email != nil && invalidEmail(*p.Email) {
		return nil, store.ErrInvalidInput
	}
	user := m.user(p.Actor.UserID)
	if user == nil {
		return nil, store.ErrNotFound
	}
	if p.Email != nil {
		if other := m.userByEmail(*p.Email); other != nil && other.ID != user.ID {
			return nil, store.ErrEmailTaken
		}
		user.Email = normal(*p.Email)
	}
	if p.Name != nil {
		user.Name = cmp.Or(*p.Name, null)
	}
	m.recordAtHome(user.ID, db.ActivityUpdateAccount)
	return answer{*user}, nil
}

func (m *model) updatePassword(p store.UpdatePassword) error {
	user := m.user(p.Actor.UserID)
	switch {
	case p.PasswordHash == "":
		return store.ErrInvalidInput
	case user == nil:
		return store.ErrNotFound
	case p.Expected != "" && string(p.Expected) != user.Hash:
		return store.ErrConflict
	}
	user.Hash = string(p.PasswordHash)
	m.recordAtHome(user.ID, db.ActivityUpdatePassword)
	return nil
}

func (m *model) deleteAccount(actor store.Actor) error {
	if err := m.mayGo(actor.UserID); err != nil {
		return err
	}
	user := m.user(actor.UserID)
	for _, r := range m.members {
		if r.User == user.ID {
			m.record(r.Team, user.ID, db.ActivityDeleteAccount)
		}
	}
	m.dropMembers(func(r memberRow) bool { return r.User == user.ID })
	m.cancelPending(func(inv invitationRow) bool { return inv.By == user.ID })
	suffix := fmt.Sprintf("-%d-deleted", user.ID)
	user.Email, user.Deleted = user.Email[:min(len(user.Email), 255-len(suffix))]+suffix, true
	return nil
}

// mayGo is nil for a live user without whom every team has an owner, or no member.
func (m *model) mayGo(id db.UserID) error {
	if m.user(id) == nil {
		return store.ErrNotFound
	}
	var stranded []db.TeamID
	for _, t := range m.teams {
		if seats, _ := m.seats(t.ID); seats > 1 && m.lastOwner(t.ID, id) != nil {
			stranded = append(stranded, t.ID)
		}
	}
	if stranded != nil {
		return &store.LastOwnerError{TeamIDs: stranded}
	}
	return nil
}

// Teams and their members.

func (m *model) createTeam(p store.CreateTeam, team db.TeamID, seat db.TeamMemberID) (answer, error) {
	switch {
	case p.Name == "":
		return nil, store.ErrInvalidInput
	case m.user(p.Actor.UserID) == nil:
		return nil, store.ErrNotFound
	}
	row, member := newTeamRow(team, p.Name), memberRow{seat, p.Actor.UserID, team, db.RoleOwner}
	m.teams, m.members = append(m.teams, row), append(m.members, member)
	m.record(team, p.Actor.UserID, db.ActivityCreateTeam)
	return answer{row, member}, nil
}

func (m *model) renameTeam(p store.RenameTeam) error {
	switch {
	case p.Name == "":
		return store.ErrInvalidInput
	case !m.owns(p.TeamID, p.Actor.UserID):
		return store.ErrForbidden
	}
	if team := m.team(p.TeamID); team.Name != p.Name {
		team.Name = p.Name
		m.record(p.TeamID, p.Actor.UserID, db.ActivityUpdateTeam)
	}
	return nil
}

func (m *model) deleteTeam(p store.DeleteTeam) error {
	if !m.owns(p.TeamID, p.Actor.UserID) {
		return store.ErrForbidden
	}
	team := m.team(p.TeamID)
	ended := team.Status == null || team.Status == string(db.SubscriptionCanceled) || team.Status == string(db.SubscriptionIncompleteExpired)
	if !ended && !p.Force {
		return store.ErrActiveSubscription
	}
	team.Deleted = true
	m.dropMembers(func(r memberRow) bool { return r.Team == p.TeamID })
	m.cancelPending(func(inv invitationRow) bool { return inv.Team == p.TeamID })
	m.record(p.TeamID, p.Actor.UserID, db.ActivityDeleteTeam)
	return nil
}

func (m *model) removeMember(p store.RemoveMember) error {
	if !m.owns(p.TeamID, p.Actor.UserID) {
		return store.ErrForbidden
	}
	member := m.member(p.TeamID, p.MemberID)
	if member == nil {
		return store.ErrNotFound
	}
	if err := m.lastOwner(p.TeamID, member.User); err != nil {
		return err
	}
	m.dropMembers(func(r memberRow) bool { return r.ID == p.MemberID })
	m.record(p.TeamID, p.Actor.UserID, db.ActivityRemoveTeamMember)
	return nil
}

// member is a team's own row, that of a deleted user too.
func (m *model) member(team db.TeamID, id db.TeamMemberID) *memberRow {
	return find(m.members, func(r memberRow) bool { return r.Team == team && r.ID == id })
}

func (m *model) leaveTeam(p store.LeaveTeam) error {
	member := m.membership(p.TeamID, p.Actor.UserID)
	if member == nil {
		return store.ErrNotFound
	}
	if err := m.lastOwner(p.TeamID, p.Actor.UserID); err != nil {
		return err
	}
	id := member.ID
	m.dropMembers(func(r memberRow) bool { return r.ID == id })
	m.record(p.TeamID, p.Actor.UserID, db.ActivityLeaveTeam)
	return nil
}

func (m *model) changeRole(p store.ChangeRole) error {
	if !p.Role.Valid() {
		return store.ErrInvalidInput
	}
	if !m.owns(p.TeamID, p.Actor.UserID) {
		return store.ErrForbidden
	}
	member := m.member(p.TeamID, p.MemberID)
	if member == nil || m.user(member.User) == nil {
		return store.ErrNotFound
	}
	if member.Role == p.Role {
		return nil
	}
	if err := m.lastOwner(p.TeamID, member.User); err != nil {
		return err
	}
	member.Role = p.Role
	m.record(p.TeamID, p.Actor.UserID, db.ActivityChangeRole)
	return nil
}

func (m *model) transferOwnership(p store.TransferOwnership) error {
	if !m.owns(p.TeamID, p.Actor.UserID) {
		return store.ErrForbidden
	}
	member := m.member(p.TeamID, p.MemberID)
	if member == nil || m.user(member.User) == nil || member.User == p.Actor.UserID {
		return store.ErrNotFound
	}
	member.Role = db.RoleOwner
	m.membership(p.TeamID, p.Actor.UserID).Role = db.RoleMember
	m.record(p.TeamID, p.Actor.UserID, db.ActivityTransferOwnership)
	return nil
}

func (m *model) setSeatLimit(p store.SetSeatLimit) error {
	limit := noSeat
	if p.Limit != nil {
		limit = *p.Limit
		if limit < 0 {
			return store.ErrInvalidInput
		}
	}
	team := m.team(p.TeamID)
	if team == nil {
		return store.ErrNotFound
	}
	if team.Seats != limit {
		team.Seats = limit
		m.record(p.TeamID, p.Actor.UserID, db.ActivityUpdateTeam)
	}
	return nil
}

// Invitations.

func (m *model) inviteMember(p store.InviteMember, id db.InvitationID, token store.Token) (answer, error) {
	ends, err := end(p.TTL)
	switch {
	case err != nil || invalidEmail(p.Email) || !p.Role.Valid():
		return nil, store.ErrInvalidInput
	case !m.owns(p.TeamID, p.Actor.UserID):
		return nil, store.ErrForbidden
	}
	if user := m.userByEmail(p.Email); user != nil && m.membership(p.TeamID, user.ID) != nil {
		return nil, store.ErrAlreadyMember
	}
	if earlier := m.pending(p.TeamID, p.Email); earlier != nil {
		switch { // what nobody can accept makes room
		case earlier.Ends == over:
			earlier.Status = db.InvitationExpired
		case !m.owns(p.TeamID, earlier.By):
			earlier.Status = db.InvitationCanceled
		default:
			return nil, store.ErrAlreadyInvited
		}
	}
	row := invitationRow{id, p.TeamID, normal(p.Email), p.Role, p.Actor.UserID, db.InvitationPending, true, ends}
	m.invitations = append(m.invitations, row)
	m.tokens[id] = token
	m.record(p.TeamID, p.Actor.UserID, db.ActivityInviteTeamMember)
	return answer{row}, nil
}

// end is what a TTL comes to.
func end(ttl time.Duration) (string, error) {
	if ttl < 0 || ttl > 365*24*time.Hour {
		return "", store.ErrInvalidInput
	}
	return hours(cmp.Or(ttl, 7*24*time.Hour)), nil
}

func hours(d time.Duration) string { return fmt.Sprintf("in %.0f h", d.Hours()) }

func (m *model) pending(team db.TeamID, email string) *invitationRow {
	return find(m.invitations, func(inv invitationRow) bool {
		return inv.Team == team && inv.Status == db.InvitationPending && normal(inv.Email) == normal(email)
	})
}

// inviteMembers is inviteMember for each e-mail that is not in the list before, in its
// first valid role. The answer has, for each of them, the e-mail and what inviteMember answers.
func (m *model) inviteMembers(p store.InviteMembers, got []store.Invited) (answer, error) {
	if _, err := end(p.TTL); err != nil {
		return nil, err
	}
	if !m.owns(p.TeamID, p.Actor.UserID) {
		return nil, store.ErrForbidden
	}
	var results answer
	for _, invitee := range p.Invitees {
		email := normal(invitee.Email)
		if slices.Contains(results, any(email)) {
			continue
		}
		var as store.Invited // has the new row's id and token
		if i := slices.IndexFunc(got, func(r store.Invited) bool { return r.Email == email }); i >= 0 {
			as = got[i]
		}
		valid := find(p.Invitees, func(again store.Invitee) bool { return normal(again.Email) == email && again.Role.Valid() })
		if valid != nil {
			invitee = *valid
		}
		one := store.InviteMember{Actor: p.Actor, TeamID: p.TeamID, Email: email, Role: invitee.Role, TTL: p.TTL}
		row, err := m.inviteMember(one, as.Invitation.ID, as.Token)
		results = append(results, email, answered(row, err))
	}
	return results, nil
}

// invitation is found by its token or, when it has none, by its id.
func (m *model) invitation(token store.Token, id db.InvitationID) *invitationRow {
	return find(m.invitations, func(inv invitationRow) bool {
		return token != "" && m.tokens[inv.ID] == token || inv.ID == id && !inv.HasToken
	})
}

// usable is the invitation when an e-mail may use it.
func (m *model) usable(token store.Token, id db.InvitationID, email string) (*invitationRow, error) {
	inv := m.invitation(token, id)
	switch {
	case (token == "") == (id == 0):
		return nil, store.ErrInvalidInput
	case inv == nil:
		return nil, store.ErrNotFound
	case inv.Status == db.InvitationExpired:
		return nil, store.ErrInvitationExpired
	case inv.Status != db.InvitationPending || !m.owns(inv.Team, inv.By):
		return nil, store.ErrInvitationNotPending
	case inv.Ends == over:
		return nil, store.ErrInvitationExpired
	case normal(inv.Email) != normal(email):
		return nil, store.ErrInvitationEmailMismatch
	}
	return inv, nil
}

func (m *model) acceptInvitation(p store.AcceptInvitation, seat db.TeamMemberID) (answer, error) {
	actor := m.user(p.Actor.UserID)
	if actor == nil {
		actor = &userRow{}
	}
	inv, err := m.usable(p.Token, p.InvitationID, actor.Email)
	switch {
	case errors.Is(err, store.ErrInvalidInput):
		return nil, err
	case actor.ID == 0:
		return nil, store.ErrNotFound
	case err != nil:
		return nil, err
	}
	standing := m.membership(inv.Team, actor.ID)
	if standing == nil {
		if m.full(inv.Team) {
			return nil, store.ErrSeatLimit
		}
		m.members = append(m.members, memberRow{seat, actor.ID, inv.Team, inv.Role})
	}
	inv.Status = db.InvitationAccepted
	m.record(inv.Team, actor.ID, db.ActivityAcceptInvitation)
	return answer{*m.membership(inv.Team, actor.ID), standing == nil}, nil
}

func (m *model) declineInvitation(p store.DeclineInvitation) error {
	actor, inv := m.user(p.Actor.UserID), m.invitation(p.Token, p.InvitationID)
	switch {
	case (p.Token == "") == (p.InvitationID == 0):
		return store.ErrInvalidInput
	case actor == nil || inv == nil:
		return store.ErrNotFound
	case normal(inv.Email) != normal(actor.Email):
		return store.ErrInvitationEmailMismatch
	case inv.Status != db.InvitationPending:
		return store.ErrInvitationNotPending
	}
	inv.Status = db.InvitationDeclined
	m.record(inv.Team, actor.ID, db.ActivityDeclineInvitation)
	return nil
}

// pendingOf is a pending invitation of a team, for its owner.
func (m *model) pendingOf(team db.TeamID, actor store.Actor, id db.InvitationID) (*invitationRow, error) {
	inv := find(m.invitations, func(inv invitationRow) bool { return inv.Team == team && inv.ID == id })
	switch {
	case !m.owns(team, actor.UserID):
		return nil, store.ErrForbidden
	case inv == nil:
		return nil, store.ErrNotFound
	case inv.Status != db.InvitationPending:
		return nil, store.ErrInvitationNotPending
	}
	return inv, nil
}

func (m *model) cancelInvitation(p store.CancelInvitation) error {
	inv, err := m.pendingOf(p.TeamID, p.Actor, p.InvitationID)
	if err != nil {
		return err
	}
	inv.Status = db.InvitationCanceled
	m.record(p.TeamID, p.Actor.UserID, db.ActivityCancelInvitation)
	return nil
}

func (m *model) resendInvitation(p store.ResendInvitation, token store.Token) (answer, error) {
	ends, err := end(p.TTL)
	if err != nil {
		return nil, err
	}
	inv, err := m.pendingOf(p.TeamID, p.Actor, p.InvitationID)
	if err != nil {
		return nil, err
	}
	if inv.HasToken {
		m.dead = append(m.dead, m.tokens[inv.ID])
	}
	inv.Ends, inv.By, inv.HasToken = ends, p.Actor.UserID, true
	m.tokens[inv.ID] = token
	m.record(p.TeamID, p.Actor.UserID, db.ActivityResendInvitation)
	return answer{*inv}, nil
}

// Subscriptions.

// taken reports whether another team, deleted or not, has a Stripe id.
func (m *model) taken(by db.TeamID, id string, of func(teamRow) string) bool {
	return id != null && find(m.teams, func(t teamRow) bool { return t.ID != by && of(t) == id }) != nil
}

func (m *model) linkStripeCustomer(p store.LinkStripeCustomer) error {
	team := m.team(p.TeamID)
	switch {
	case p.CustomerID == "":
		return store.ErrInvalidInput
	case team == nil:
		return store.ErrNotFound
	case m.taken(p.TeamID, p.CustomerID, func(t teamRow) string { return t.Customer }):
		return store.ErrStripeIDTaken
	}
	if team.Customer != p.CustomerID {
		team.Customer = p.CustomerID
		m.record(p.TeamID, p.Actor.UserID, db.ActivityLinkBilling)
	}
	return nil
}

func (m *model) updateSubscription(p store.UpdateSubscription) error {
	if p.Status != "" && !p.Status.Valid() {
		return store.ErrInvalidInput
	}
	team := m.team(p.TeamID)
	if team == nil {
		return store.ErrNotFound
	}
	updated := *team
	updated.Subscription, updated.Product = cmp.Or(p.SubscriptionID, null), cmp.Or(p.ProductID, null)
	updated.Plan, updated.Status = cmp.Or(p.PlanName, null), cmp.Or(string(p.Status), null)
	if m.taken(p.TeamID, updated.Subscription, func(t teamRow) string { return t.Subscription }) {
		return store.ErrStripeIDTaken
	}
	if *team != updated {
		*team = updated
		m.record(p.TeamID, p.Actor.UserID, db.ActivityUpdateSubscription)
	}
	return nil
}

// violations are the rules that the TypeScript app broke; the Store breaks none.
func (m *model) violations() []store.Violation {
	violations := []store.Violation{}
	for _, r := range m.members {
		if m.user(r.User) == nil {
			violations = append(violations, store.Violation{Rule: "membership of a deleted user", Table: teamMembers, ID: int64(r.ID), TeamID: r.Team})
		}
	}
	for _, inv := range m.invitations {
		if inv.Status == db.InvitationPending && m.user(inv.By) == nil {
			violations = append(violations, store.Violation{Rule: "pending invitation by a deleted user", Table: invitations, ID: int64(inv.ID), TeamID: inv.Team})
		}
	}
	// The model has the invitations of one call as it answered them, which is not always by
	// id: an address keeps its place when only its second entry can be used.
	slices.SortStableFunc(violations, func(a, b store.Violation) int {
		return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.ID, b.ID))
	})
	return violations
}
