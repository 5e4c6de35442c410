package main

import (
	"encoding/json"
	"fmt"

	"github.com/rowhouse/rowhouse/db"
)

// replay is the state of the tables as the log tells it. The rows of one team, and those
// of one account, have ids in the order in which their writers held its lock.
type replay struct {
	report   *report
	ledger   *ledger
	written  [][]logged
	teams    map[db.TeamID]*teamState
	users    map[db.UserID]*userState
	homeless map[db.UserID]bool // lost a membership once, and may have been in no team
	invited  map[db.InvitationID]*invitationState
	events   map[string]int64        // the log row of each
	standing map[string]*stripeEvent // the greatest of those that a subscription had
}

type teamState struct {
	name     string
	deleted  bool
	members  map[db.UserID]db.Role
	seats    *int
	customer *string
	plan     subscriptionState
}

type subscriptionState struct {
	SubscriptionID *string `json:"subscriptionId"`
	ProductID      *string `json:"productId"`
	PlanName       *string `json:"planName"`
	Status         *string `json:"status"`
}

// userState has the numbers of the operations that wrote the columns last.
type userState struct {
	name, email, hash uint64
	invitation        db.InvitationID // that the account was made with, and has its e-mail from
	deleted           bool
}

type invitationState struct {
	team   db.TeamID
	email  string
	role   db.Role
	status db.InvitationStatus
}

func newReplay(r *report, l *ledger) *replay {
	return &replay{
		report: r, ledger: l,
		teams: make(map[db.TeamID]*teamState), users: make(map[db.UserID]*userState), homeless: make(map[db.UserID]bool),
		invited: make(map[db.InvitationID]*invitationState), events: make(map[string]int64),
		standing: make(map[string]*stripeEvent),
	}
}

// play applies one row, and complains where it contradicts those before it.
func (p *replay) play(row logged) {
	complain := func(format string, args ...any) {
		p.report.problem("log row %d (%s, operation %d of team %d) %s", row.id, row.action, row.number, row.team, fmt.Sprintf(format, args...))
	}
	read := func(into any) {
		if err := json.Unmarshal(row.metadata, into); err != nil {
			complain("has metadata that can't be read: %v", err)
		}
	}
	team := p.teams[row.team]
	if row.action == db.ActivityCreateTeam {
		var m struct{ Name string }
		read(&m)
		if team != nil {
			complain("creates a team that is there")
		}
		p.teams[row.team] = &teamState{name: m.Name, members: map[db.UserID]db.Role{row.user: db.RoleOwner}}
		return
	}
	if team == nil {
		complain("is of a team that was never created")
		return
	}
	leave := func(user db.UserID, role db.Role) {
		if have, ok := team.members[user]; !ok || have != role {
			complain("ends a membership of user %d as %s, who is %q", user, role, have)
		}
		delete(team.members, user)
	}
	become := func(user db.UserID, from, to db.Role) {
		if have, ok := team.members[user]; !ok || have != from {
			complain("makes user %d %s instead of %s, who is %q", user, to, from, have)
		}
		team.members[user] = to
	}
	invitation := func(id db.InvitationID, status db.InvitationStatus) *invitationState {
		i := p.invited[id]
		if i == nil || i.team != row.team {
			complain("is of invitation %d, which the team did not send", id)
			return &invitationState{}
		}
		if i.status != db.InvitationPending {
			complain("makes invitation %d %s, which is %s", id, status, i.status)
		}
		i.status = status
		return i
	}
	var m struct {
		InvitationID db.InvitationID
		UserID       db.UserID
		Email        string
		Role         db.Role
		Joined       bool
		Fields       []string
	}
	switch row.action {
	case db.ActivitySignUp:
		if p.users[row.user] == nil {
			p.users[row.user] = &userState{}
		} else if u := p.users[row.user]; u.hash != 0 {
			complain("signs up user %d a second time", row.user)
		}
		u := p.users[row.user]
		u.name, u.email, u.hash = row.number, row.number, row.number
	case db.ActivityAcceptInvitation:
		read(&m)
		i := invitation(m.InvitationID, db.InvitationAccepted)
		if _, ok := team.members[row.user]; ok == m.Joined {
			complain("joined is %t for user %d, and %t before", m.Joined, row.user, ok)
		}
		if p.users[row.user] == nil { // its SIGN_UP follows
			p.users[row.user] = &userState{invitation: m.InvitationID}
		}
		if m.Joined && m.Role != i.role {
			complain("joins as %s by an invitation as %s", m.Role, i.role)
		}
		team.members[row.user] = m.Role
	case db.ActivityInviteTeamMember:
		read(&m)
		if p.invited[m.InvitationID] != nil {
			complain("sends invitation %d a second time", m.InvitationID)
		}
		p.invited[m.InvitationID] = &invitationState{row.team, m.Email, m.Role, db.InvitationPending}
	case db.ActivityResendInvitation:
		read(&m)
		invitation(m.InvitationID, db.InvitationPending)
	case db.ActivityDeclineInvitation:
		read(&m)
		invitation(m.InvitationID, db.InvitationDeclined)
	case db.ActivityCancelInvitation:
		read(&m)
		invitation(m.InvitationID, db.InvitationCanceled)
	case db.ActivityLeaveTeam:
		read(&m)
		leave(row.user, m.Role)
		p.homeless[row.user] = true
	case db.ActivityRemoveTeamMember:
		read(&m)
		leave(m.UserID, m.Role)
		p.homeless[m.UserID] = true
	case db.ActivityDeleteAccount:
		read(&m)
		leave(row.user, m.Role)
		p.users[row.user].deleted = true
	case db.ActivityDeleteTeam:
		for user := range team.members {
			p.homeless[user] = true
		}
		if team.deleted {
			complain("deletes a team a second time")
		}
		clear(team.members)
		team.deleted = true
	case db.ActivityChangeRole:
		var change struct {
			UserID   db.UserID
			From, To db.Role
		}
		read(&change)
		become(change.UserID, change.From, change.To)
	case db.ActivityTransferOwnership:
		var transfer struct {
			UserID db.UserID
			From   db.Role
		}
		read(&transfer)
		become(transfer.UserID, transfer.From, db.RoleOwner)
		become(row.user, db.RoleOwner, db.RoleMember)
	case db.ActivityUpdateTeam:
		var change struct {
			Name      *struct{ From, To string }
			SeatLimit *struct{ From, To *int }
		}
		read(&change)
		if c := change.Name; c != nil {
			if c.From != team.name {
				complain("renames from %q, the name is %q", c.From, team.name)
			}
			team.name = c.To
		}
		if c := change.SeatLimit; c != nil {
			if text(c.From) != text(team.seats) {
				complain("changes seats from %s, they are %s", text(c.From), text(team.seats))
			}
			team.seats = c.To
		}
	case db.ActivityLinkBilling:
		var change struct{ From, To *string }
		read(&change)
		if text(change.From) != text(team.customer) {
			complain("links instead of %s, the customer is %s", text(change.From), text(team.customer))
		}
		team.customer = change.To
	case db.ActivityUpdateSubscription:
		var change struct {
			From, To subscriptionState
			EventID  string
		}
		read(&change)
		if change.From.String() != team.plan.String() {
			complain("changes %s, the subscription is %s", change.From, team.plan)
		}
		if first, again := p.events[change.EventID]; again {
			complain("applies event %s again, after log row %d", change.EventID, first)
		}
		p.events[change.EventID] = row.id
		team.plan = change.To
	case db.ActivityUpdateAccount, db.ActivityUpdatePassword:
		u := p.users[row.user]
		if u == nil {
			complain("is of user %d, who never signed up", row.user)
			return
		}
		if row.action == db.ActivityUpdatePassword {
			u.hash = row.number
			return
		}
		read(&m)
		for _, field := range m.Fields {
			switch field {
			case "name":
				u.name = row.number
			case "email":
				u.email, u.invitation = row.number, 0
			}
		}
	}
}

// text is what a pointer points at, to be compared and shown.
func text[T any](p *T) string {
	if p == nil {
		return "none"
	}
	return fmt.Sprint(*p)
}

func (s subscriptionState) String() string {
	return fmt.Sprintf("%s of %s, %s, %s", text(s.SubscriptionID), text(s.ProductID), text(s.PlanName), text(s.Status))
}
