package main

import (
	"context"
	"fmt"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

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
