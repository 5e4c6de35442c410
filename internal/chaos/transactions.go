package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// transaction is several operations of different kinds in one InTx. Some roll back on
// purpose, some have a part that does.
func (d *draw) transaction() *operation {
	deciders := []func(*draw) *operation{
		(*draw).signUp, (*draw).updateAccount, (*draw).updatePassword, (*draw).createTeam, (*draw).renameTeam, (*draw).inviteMember,
		(*draw).acceptInvitation, (*draw).changeRole, (*draw).removeMember, (*draw).recordActivity, (*draw).linkStripeCustomer,
	}
	d.Shuffle(len(deciders), func(i, j int) { deciders[i], deciders[j] = deciders[j], deciders[i] })
	var parts []*operation
	var account *operation // whose number the account's columns are named after: one alone
	for _, decide := range deciders[:2+d.IntN(3)] {
		part := decide(d)
		if part == nil || part.user != 0 && account != nil {
			continue
		}
		if part.user != 0 {
			account = part
		}
		parts = append(parts, part)
	}
	op := &operation{}
	if account != nil {
		op.user = account.user
	}
	undone := -1 // the part that a savepoint takes back
	if d.IntN(4) == 0 {
		undone = d.IntN(4)
	}
	rollBack := d.IntN(6) == 0
	var done []*operation // of the run that counts
	op.run = func(ctx context.Context, st *store.Store) error {
		return st.InTx(ctx, func(tx *store.Store) error {
			done, op.rows = nil, nil
			for nth, part := range parts {
				if nth == undone {
					err := tx.InTx(ctx, func(inner *store.Store) error {
						return errors.Join(part.run(ctx, inner), errOnPurpose)
					})
					if !usable(err) {
						return err
					}
					continue
				}
				err := part.run(ctx, tx)
				switch {
				case err == nil:
					done = append(done, part)
					op.rows = append(op.rows, part.rows...)
				case !usable(err):
					return err
				}
			}
			if rollBack {
				return errOnPurpose
			}
			return nil
		})
	}
	op.learn = func() {
		for _, part := range done {
			part.learn()
		}
	}
	return op
}

// usable reports whether a transaction can go on after an operation's error.
func usable(err error) bool {
	var pgErr *pgconn.PgError
	told, _ := classify(err)
	return (told == refused || told == rolledBack) && !errors.As(err, &pgErr)
}

// oppositeOrder renames two teams in one InTx, in either order: two of them lock each
// other out.
func (d *draw) oppositeOrder() *operation {
	if len(d.teams) < 2 {
		return nil
	}
	pair := slices.Clone(d.teams[max(0, len(d.teams)-3):])
	d.Shuffle(len(pair), func(i, j int) { pair[i], pair[j] = pair[j], pair[i] })
	var renames []store.RenameTeam
	for _, t := range pair[:2] {
		var owner *user
		for _, m := range t.members {
			if m.role == db.RoleOwner {
				owner = m.user
			}
		}
		if owner == nil {
			return nil
		}
		renames = append(renames, store.RenameTeam{Actor: d.by(owner), TeamID: t.id, Name: fmt.Sprintf("team %d", d.number)})
	}
	op := &operation{learn: func() {}}
	op.rows = []rows{{action: db.ActivityUpdateTeam, least: 2, most: 2}}
	op.run = func(ctx context.Context, st *store.Store) error {
		return st.InTx(ctx, func(tx *store.Store) error {
			for _, p := range renames {
				if err := tx.RenameTeam(ctx, p); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return op
}
