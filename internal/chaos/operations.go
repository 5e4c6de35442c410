package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// operation is one call that is decided on: the same when it is run again.
type operation struct {
	name string
	entry
	read  bool
	run   func(context.Context, *store.Store) error
	learn func() // what success tells of the world, which is locked
}

// draw decides on operations, with the world locked.
type draw struct {
	*rand.Rand
	*world
	number uint64 // of the operation
}

// kind is a kind of operation. decide returns nil when there is nothing to do it to.
type kind struct {
	name   string
	weight int
	decide func(*draw) *operation
}

var kinds = []kind{
	{"SignUp", 2, (*draw).signUp},
	{"SignUpWithInvitation", 8, (*draw).signUpWithInvitation},
	{"UpdateAccount", 4, (*draw).updateAccount},
	{"UpdatePassword", 4, (*draw).updatePassword},
	{"DeleteAccount", 2, (*draw).deleteAccount},
	{"RecordSignIn", 4, (*draw).signIn},
	{"RecordSignOut", 2, (*draw).signOut},
	{"CreateTeam", 1, (*draw).createTeam},
	{"RenameTeam", 4, (*draw).renameTeam},
	{"DeleteTeam", 1, (*draw).deleteTeam},
	{"SetSeatLimit", 2, (*draw).setSeatLimit},
	{"RemoveMember", 4, (*draw).removeMember},
	{"LeaveTeam", 3, (*draw).leaveTeam},
	{"ChangeRole", 5, (*draw).changeRole},
	{"TransferOwnership", 3, (*draw).transferOwnership},
	{"InviteMember", 10, (*draw).inviteMember},
	{"InviteMembers", 4, (*draw).inviteMembers},
	{"AcceptInvitation", 10, (*draw).acceptInvitation},
	{"DeclineInvitation", 2, (*draw).declineInvitation},
	{"CancelInvitation", 2, (*draw).cancelInvitation},
	{"ResendInvitation", 3, (*draw).resendInvitation},
	{"RecordActivity", 4, (*draw).recordActivity},
	{"RecordActivities", 4, (*draw).recordActivities},
	{"LinkStripeCustomer", 3, (*draw).linkStripeCustomer},
	{"ApplySubscription", 8, (*draw).applySubscription},
	{"InTx", 10, (*draw).transaction},
	{"InTx in opposite order", 6, (*draw).oppositeOrder},
	{"read", 20, (*draw).anyRead},
}

// operation draws one of any kind. Where there is nothing to do it to, somebody is
// invited, or signs up.
func (d *draw) operation() *operation {
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	n := d.IntN(total)
	for _, k := range kinds {
		if n -= k.weight; n < 0 {
			if op := k.decide(d); op != nil {
				if op.name == "" {
					op.name = k.name
				}
				return op
			}
			break
		}
	}
	if op := d.inviteMember(); op != nil {
		op.name = "InviteMember"
		return op
	}
	op := d.signUp()
	op.name = "SignUp"
	return op
}

// What an account has is named after the operation that wrote it: the tables tell which
// one that was.
func emailOf(number uint64) string         { return fmt.Sprintf("u%d@chaos.example", number) }
func nameOf(number uint64) string          { return fmt.Sprintf("name %d", number) }
func hashOf(number uint64) db.PasswordHash { return db.PasswordHash(fmt.Sprintf("hash %d", number)) }
func customerOf(number uint64) string      { return fmt.Sprintf("cus_%d", number) }
func eventOf(number uint64) string         { return fmt.Sprintf("evt_%d", number) }
func inviteeOf(number uint64, nth int) string {
	return fmt.Sprintf("i%d-%d@chaos.example", number, nth)
}
func (d *draw) by(u *user) store.Actor               { return store.Actor{UserID: u.id, IP: address(d.number)} }
func (d *draw) logs(team db.TeamID, r ...rows) entry { return entry{team: team, rows: r} }

// ofUser is an entry of what is logged in the user's team, if any.
func ofUser(u *user, action db.ActivityType) entry {
	return entry{user: u.id, rows: []rows{{action: action, least: 1, most: 1, home: true}}}
}

func (d *draw) user() *user {
	if len(d.users) == 0 {
		return nil
	}
	return choose(d.Rand, d.users)
}

func (d *draw) team() *team {
	if len(d.teams) == 0 {
		return nil
	}
	return choose(d.Rand, d.teams)
}

// teamAndActor is a team and somebody who is, mostly, one of its owners.
func (d *draw) teamAndActor() (*team, *user) {
	t := d.team()
	if t == nil {
		return nil, nil
	}
	if d.IntN(12) > 0 {
		for range 8 {
			if len(t.members) == 0 {
				break
			}
			if m := t.members[d.IntN(len(t.members))]; m.role == db.RoleOwner {
				return t, m.user
			}
		}
	}
	return t, d.user()
}

func (d *draw) member(t *team) *member {
	if len(t.members) == 0 {
		return nil
	}
	return &t.members[d.IntN(len(t.members))]
}

func (d *draw) role() db.Role {
	if d.IntN(3) == 0 {
		return db.RoleOwner
	}
	return db.RoleMember
}

// invitation prefers one of somebody with an account, or without.
func (d *draw) invitation(account bool) *invitation {
	for range 12 {
		if len(d.invitations) == 0 {
			break
		}
		if i := choose(d.Rand, d.invitations); (i.user != nil) == account {
			return &i
		}
	}
	return nil
}

func (d *draw) signUp() *operation {
	number := d.number
	p := store.SignUp{Email: emailOf(number), PasswordHash: hashOf(number), Name: nameOf(number), IP: address(number)}
	var got store.SignedUp
	return &operation{
		entry: d.logs(0, one(db.ActivityCreateTeam), one(db.ActivitySignUp)),
		run: func(ctx context.Context, st *store.Store) (err error) {
			got, err = st.SignUp(ctx, p)
			return err
		},
		learn: func() {
			u := d.addUser(got.User.ID, p.Email)
			d.addTeam(got.Team.ID, member{got.TeamMember.ID, u, db.RoleOwner})
		},
	}
}

func (d *draw) signUpWithInvitation() *operation {
	i := d.invitation(false)
	if i == nil {
		return nil
	}
	p := store.SignUpWithInvitation{Token: i.token, Email: i.email, PasswordHash: hashOf(d.number), Name: nameOf(d.number), IP: address(d.number)}
	var got store.SignedUp
	return &operation{
		entry: d.logs(i.team.id, one(db.ActivityAcceptInvitation), one(db.ActivitySignUp)),
		run: func(ctx context.Context, st *store.Store) (err error) {
			got, err = st.SignUpWithInvitation(ctx, p)
			return err
		},
		learn: func() {
			u := d.addUser(got.User.ID, p.Email)
			i.team.put(member{got.TeamMember.ID, u, i.role})
			d.removeInvitation(i.id)
		},
	}
}

func (d *draw) updateAccount() *operation {
	u := d.user()
	if u == nil {
		return nil
	}
	p := store.UpdateAccount{Actor: d.by(u)}
	what := d.IntN(3)
	if what != 0 {
		p.Name = new(nameOf(d.number))
	}
	if what != 1 {
		p.Email = new(emailOf(d.number))
	}
	return &operation{
		entry: ofUser(u, db.ActivityUpdateAccount),
		run: func(ctx context.Context, st *store.Store) error {
			got, err := st.UpdateAccount(ctx, p)
			if err == nil && got.ID != u.id {
				return fmt.Errorf("%w: user %d was updated, not %d", errInsane, got.ID, u.id)
			}
			return err
		},
		learn: func() {
			if p.Email != nil {
				u.email = *p.Email
			}
		},
	}
}

func (d *draw) updatePassword() *operation {
	u := d.user()
	if u == nil {
		return nil
	}
	p := store.UpdatePassword{Actor: d.by(u), PasswordHash: hashOf(d.number)}
	return &operation{
		entry: ofUser(u, db.ActivityUpdatePassword),
		run:   func(ctx context.Context, st *store.Store) error { return st.UpdatePassword(ctx, p) },
		learn: func() {},
	}
}

func (d *draw) deleteAccount() *operation {
	u := d.user()
	if u == nil {
		return nil
	}
	actor := d.by(u)
	e := entry{user: u.id, deletes: true, rows: []rows{{action: db.ActivityDeleteAccount, least: 1, most: 1_000, home: true}}}
	return &operation{
		entry: e,
		run:   func(ctx context.Context, st *store.Store) error { return st.DeleteAccount(ctx, actor) },
		learn: func() { d.removeUser(u) },
	}
}

func (d *draw) signIn() *operation {
	return d.session(db.ActivitySignIn, (*store.Store).RecordSignIn)
}

func (d *draw) signOut() *operation {
	return d.session(db.ActivitySignOut, (*store.Store).RecordSignOut)
}

func (d *draw) session(action db.ActivityType, record func(*store.Store, context.Context, store.Actor) error) *operation {
	u := d.user()
	if u == nil {
		return nil
	}
	actor := d.by(u)
	return &operation{
		entry: ofUser(u, action),
		run:   func(ctx context.Context, st *store.Store) error { return record(st, ctx, actor) },
		learn: func() {},
	}
}

func (d *draw) createTeam() *operation {
	u := d.user()
	if u == nil {
		return nil
	}
	p := store.CreateTeam{Actor: d.by(u), Name: fmt.Sprintf("team %d", d.number)}
	var team db.Team
	var owner db.TeamMember
	return &operation{
		entry: d.logs(0, one(db.ActivityCreateTeam)),
		run: func(ctx context.Context, st *store.Store) (err error) {
			team, owner, err = st.CreateTeam(ctx, p)
			return err
		},
		learn: func() { d.addTeam(team.ID, member{owner.ID, u, db.RoleOwner}) },
	}
}

func (d *draw) renameTeam() *operation {
	t, u := d.teamAndActor()
	if u == nil {
		return nil
	}
	p := store.RenameTeam{Actor: d.by(u), TeamID: t.id, Name: fmt.Sprintf("team %d", d.number)}
	return &operation{
		entry: d.logs(t.id, one(db.ActivityUpdateTeam)),
		run:   func(ctx context.Context, st *store.Store) error { return st.RenameTeam(ctx, p) },
		learn: func() {},
	}
}

func (d *draw) deleteTeam() *operation {
	t, u := d.teamAndActor()
	if u == nil {
		return nil
	}
	p := store.DeleteTeam{Actor: d.by(u), TeamID: t.id, Force: d.IntN(2) == 0}
	return &operation{
		entry: d.logs(t.id, one(db.ActivityDeleteTeam)),
		run:   func(ctx context.Context, st *store.Store) error { return st.DeleteTeam(ctx, p) },
		learn: func() { d.removeTeam(t) },
	}
}

func (d *draw) setSeatLimit() *operation {
	t := d.team()
	if t == nil {
		return nil
	}
	p := store.SetSeatLimit{Actor: store.Actor{IP: address(d.number)}, TeamID: t.id, Limit: new(2 + d.IntN(20))}
	e := d.logs(t.id, rows{action: db.ActivityUpdateTeam, most: 1}) // none for the limit that it has
	return &operation{
		entry: e,
		run:   func(ctx context.Context, st *store.Store) error { return st.SetSeatLimit(ctx, p) },
		learn: func() {},
	}
}

func (d *draw) removeMember() *operation {
	t, u := d.teamAndActor()
	if u == nil {
		return nil
	}
	m := d.member(t)
	if m == nil {
		return nil
	}
	p := store.RemoveMember{Actor: d.by(u), TeamID: t.id, MemberID: m.id}
	removed := m.user
	return &operation{
		entry: d.logs(t.id, one(db.ActivityRemoveTeamMember)),
		run:   func(ctx context.Context, st *store.Store) error { return st.RemoveMember(ctx, p) },
		learn: func() { t.remove(removed) },
	}
}

func (d *draw) leaveTeam() *operation {
	t := d.team()
	if t == nil {
		return nil
	}
	m := d.member(t)
	if m == nil {
		return nil
	}
	u := m.user
	p := store.LeaveTeam{Actor: d.by(u), TeamID: t.id}
	return &operation{
		entry: d.logs(t.id, one(db.ActivityLeaveTeam)),
		run:   func(ctx context.Context, st *store.Store) error { return st.LeaveTeam(ctx, p) },
		learn: func() { t.remove(u) },
	}
}

func (d *draw) changeRole() *operation {
	t, u := d.teamAndActor()
	if u == nil {
		return nil
	}
	m := d.member(t)
	if m == nil {
		return nil
	}
	p := store.ChangeRole{Actor: d.by(u), TeamID: t.id, MemberID: m.id, Role: d.role()}
	changed := m.user
	e := d.logs(t.id, rows{action: db.ActivityChangeRole, most: 1}) // none for the role that the member has
	return &operation{
		entry: e,
		run:   func(ctx context.Context, st *store.Store) error { return st.ChangeRole(ctx, p) },
		learn: func() { t.setRole(changed, p.Role) },
	}
}

func (d *draw) transferOwnership() *operation {
	t, u := d.teamAndActor()
	if u == nil {
		return nil
	}
	m := d.member(t)
	if m == nil {
		return nil
	}
	p := store.TransferOwnership{Actor: d.by(u), TeamID: t.id, MemberID: m.id}
	to := m.user
	return &operation{
		entry: d.logs(t.id, one(db.ActivityTransferOwnership)),
		run:   func(ctx context.Context, st *store.Store) error { return st.TransferOwnership(ctx, p) },
		learn: func() {
			t.setRole(u, db.RoleMember)
			t.setRole(to, db.RoleOwner)
		},
	}
}

func (d *draw) inviteMember() *operation {
	t, u := d.teamAndActor()
	if u == nil {
		return nil
	}
	p := store.InviteMember{Actor: d.by(u), TeamID: t.id, Email: inviteeOf(d.number, 0), Role: d.role()}
	var invitee *user
	if d.IntN(2) == 0 && len(d.users) > 0 {
		invitee = d.user()
		p.Email = invitee.email
	}
	var got db.Invitation
	var token store.Token
	return &operation{
		entry: d.logs(t.id, one(db.ActivityInviteTeamMember)),
		run: func(ctx context.Context, st *store.Store) (err error) {
			got, token, err = st.InviteMember(ctx, p)
			return err
		},
		learn: func() { d.addInvitation(invitation{got.ID, t, token, p.Email, p.Role, invitee}) },
	}
}

// inviteMembers invites people without accounts: so all of them can be.
func (d *draw) inviteMembers() *operation {
	t, u := d.teamAndActor()
	if u == nil {
		return nil
	}
	p := store.InviteMembers{Actor: d.by(u), TeamID: t.id}
	for nth := range 2 + d.IntN(8) {
		p.Invitees = append(p.Invitees, store.Invitee{Email: inviteeOf(d.number, nth), Role: d.role()})
	}
	var got []store.Invited
	n := len(p.Invitees)
	return &operation{
		entry: d.logs(t.id, rows{action: db.ActivityInviteTeamMember, least: n, most: n}),
		run: func(ctx context.Context, st *store.Store) (err error) {
			got, err = st.InviteMembers(ctx, p)
			for _, invited := range got {
				if invited.Err != nil {
					return fmt.Errorf("%w: %s can't be invited: %w", errInsane, invited.Email, invited.Err)
				}
			}
			return err
		},
		learn: func() {
			for nth, invited := range got {
				d.addInvitation(invitation{invited.Invitation.ID, t, invited.Token, invited.Email, p.Invitees[nth].Role, nil})
			}
		},
	}
}

func (d *draw) acceptInvitation() *operation {
	i := d.invitation(true)
	if i == nil {
		return nil
	}
	p := store.AcceptInvitation{Actor: d.by(i.user), Token: i.token}
	var got db.TeamMember
	return &operation{
		entry: d.logs(i.team.id, one(db.ActivityAcceptInvitation)),
		run: func(ctx context.Context, st *store.Store) (err error) {
			got, _, err = st.AcceptInvitation(ctx, p)
			return err
		},
		learn: func() {
			i.team.put(member{got.ID, i.user, got.Role})
			d.removeInvitation(i.id)
		},
	}
}

func (d *draw) declineInvitation() *operation {
	i := d.invitation(true)
	if i == nil {
		return nil
	}
	p := store.DeclineInvitation{Actor: d.by(i.user), Token: i.token}
	return &operation{
		entry: d.logs(i.team.id, one(db.ActivityDeclineInvitation)),
		run:   func(ctx context.Context, st *store.Store) error { return st.DeclineInvitation(ctx, p) },
		learn: func() { d.removeInvitation(i.id) },
	}
}

func (d *draw) cancelInvitation() *operation {
	i := d.invitation(d.IntN(2) == 0)
	if i == nil || len(i.team.members) == 0 {
		return nil
	}
	p := store.CancelInvitation{Actor: d.by(i.team.members[0].user), TeamID: i.team.id, InvitationID: i.id}
	return &operation{
		entry: d.logs(i.team.id, one(db.ActivityCancelInvitation)),
		run:   func(ctx context.Context, st *store.Store) error { return st.CancelInvitation(ctx, p) },
		learn: func() { d.removeInvitation(i.id) },
	}
}

func (d *draw) resendInvitation() *operation {
	i := d.invitation(d.IntN(2) == 0)
	if i == nil || len(i.team.members) == 0 {
		return nil
	}
	p := store.ResendInvitation{Actor: d.by(i.team.members[0].user), TeamID: i.team.id, InvitationID: i.id}
	var token store.Token
	return &operation{
		entry: d.logs(i.team.id, one(db.ActivityResendInvitation)),
		run: func(ctx context.Context, st *store.Store) (err error) {
			_, token, err = st.ResendInvitation(ctx, p)
			return err
		},
		learn: func() {
			d.removeInvitation(i.id)
			again := *i
			again.token = token
			d.addInvitation(again)
		},
	}
}

const chaosActivity db.ActivityType = "CHAOS"

func (d *draw) recordActivity() *operation {
	t, u := d.team(), d.user()
	if t == nil || u == nil {
		return nil
	}
	p := store.RecordActivity{TeamID: t.id, UserID: u.id, Action: chaosActivity, IP: address(d.number), Metadata: map[string]any{"number": d.number}}
	return &operation{
		entry: d.logs(t.id, one(chaosActivity)),
		run:   func(ctx context.Context, st *store.Store) error { return st.RecordActivity(ctx, p) },
		learn: func() {},
	}
}

func (d *draw) recordActivities() *operation {
	t := d.team()
	if t == nil {
		return nil
	}
	list := make([]store.RecordActivity, 2+d.IntN(60))
	for i := range list {
		list[i] = store.RecordActivity{TeamID: t.id, Action: chaosActivity, IP: address(d.number), Metadata: map[string]any{"nth": i}}
	}
	return &operation{
		entry: d.logs(t.id, rows{action: chaosActivity, least: len(list), most: len(list)}),
		run:   func(ctx context.Context, st *store.Store) error { return st.RecordActivities(ctx, list) },
		learn: func() {},
	}
}

func (d *draw) linkStripeCustomer() *operation {
	t := d.team()
	if t == nil {
		return nil
	}
	p := store.LinkStripeCustomer{Actor: store.Actor{IP: address(d.number)}, TeamID: t.id, CustomerID: customerOf(d.number)}
	return &operation{
		entry: d.logs(t.id, one(db.ActivityLinkBilling)),
		run:   func(ctx context.Context, st *store.Store) error { return st.LinkStripeCustomer(ctx, p) },
		learn: func() { t.customer = p.CustomerID },
	}
}

// stripeEpoch is when the first event was.
var stripeEpoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// statuses are those that an event brings, by their standing. Few end a subscription, or
// most events would be about one that has ended.
var statuses = []db.SubscriptionStatus{
	db.SubscriptionCanceled, db.SubscriptionIncomplete, db.SubscriptionPaused, db.SubscriptionUnpaid,
	db.SubscriptionPastDue, db.SubscriptionTrialing, db.SubscriptionActive,
}

func (d *draw) applySubscription() *operation {
	t := d.team()
	if t == nil || t.customer == "" {
		return nil
	}
	standing := 1 + d.IntN(len(statuses)-1)
	if d.IntN(20) == 0 {
		standing = 0
	}
	subscription := fmt.Sprintf("sub_%s_%d", t.customer, d.IntN(3))
	p := store.ApplySubscription{
		EventID: eventOf(d.number), EventType: "customer.subscription.updated", Created: stripeEpoch.Add(time.Duration(d.IntN(100_000)) * time.Second),
		Subscription: store.StripeSubscription{
			ID: subscription, CustomerID: t.customer, Status: statuses[standing], ProductID: "prod_1", PlanName: fmt.Sprintf("plan %d", d.number),
			Created: stripeEpoch,
		},
	}
	return &operation{
		entry: entry{event: &stripeEvent{p.EventID, subscription, p.Created, standing}},
		run: func(ctx context.Context, st *store.Store) error {
			_, _, err := st.ApplySubscription(ctx, p)
			return err
		},
		learn: func() {},
	}
}

// errInsane is wrapped by an answer that can't be right, whatever happened meanwhile.
var errInsane = errors.New("an answer that can't be right")
