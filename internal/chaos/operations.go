package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

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

// errInsane is wrapped by an answer that can't be right, whatever happened meanwhile.
var errInsane = errors.New("an answer that can't be right")
