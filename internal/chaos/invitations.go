package main

import (
	"context"
	"fmt"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

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
