package main

import (
	"context"
	"fmt"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

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
