package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// anyRead draws a read, whose answer must make sense whatever others do meanwhile.
func (d *draw) anyRead() *operation {
	t, u := d.team(), d.user()
	if t == nil || u == nil {
		return nil
	}
	reads := []struct {
		name string
		run  func(context.Context, *store.Store) error
	}{
		{"User", func(ctx context.Context, st *store.Store) error {
			got, err := st.User(ctx, u.id)
			return sane(err, got.ID == u.id && got.PasswordHash == "" && got.DeletedAt == nil, got.ID)
		}},
		{"Team", func(ctx context.Context, st *store.Store) error {
			got, err := st.Team(ctx, t.id)
			return sane(err, got.ID == t.id && got.DeletedAt == nil, got.ID)
		}},
		{"TeamWithMembers", func(ctx context.Context, st *store.Store) error {
			got, err := st.TeamWithMembers(ctx, t.id)
			return sane(err, got.ID == t.id && membersOf(t.id, got.TeamMembers), got.ID)
		}},
		{"TeamForUser", func(ctx context.Context, st *store.Store) error {
			got, err := st.TeamForUser(ctx, u.id)
			mine := slices.ContainsFunc(got.TeamMembers, func(m store.Member) bool { return m.UserID == u.id })
			return sane(err, mine && membersOf(got.ID, got.TeamMembers), got.ID)
		}},
		{"TeamActivity", func(ctx context.Context, st *store.Store) error {
			got, _, err := st.TeamActivity(ctx, t.id, store.ActivityPage{Page: store.Page{Limit: 30}})
			newestFirst := slices.IsSortedFunc(got, func(a, b store.Activity) int { return b.Timestamp.Compare(a.Timestamp) })
			return sane(err, newestFirst && len(got) <= 30 && !slices.ContainsFunc(got, func(a store.Activity) bool { return a.TeamID != t.id }), t.id)
		}},
		{"Members", func(ctx context.Context, st *store.Store) error {
			got, _, err := st.Members(ctx, t.id, store.Page{Limit: 5})
			return sane(err, len(got) <= 5 && (len(got) == 0 || membersOf(t.id, got) || len(got) == 5), t.id)
		}},
		{"Invitations", func(ctx context.Context, st *store.Store) error {
			got, _, err := st.Invitations(ctx, t.id, store.Page{})
			return sane(err, !slices.ContainsFunc(got, func(i db.Invitation) bool { return i.TeamID != t.id }), t.id)
		}},
	}
	r := reads[d.IntN(len(reads))]
	return &operation{name: r.name, read: true, run: r.run, learn: func() {}}
}

// membersOf reports whether these can be all members of a team, which has an owner as
// long as it has anybody.
func membersOf(team db.TeamID, members []store.Member) bool {
	seen := make(map[db.UserID]bool)
	owned := false
	for _, m := range members {
		if m.TeamID != team || seen[m.UserID] {
			return false
		}
		seen[m.UserID] = true
		owned = owned || m.Role == db.RoleOwner
	}
	return owned || len(members) == 0
}

func sane(err error, ok bool, id any) error {
	if err == nil && !ok {
		return fmt.Errorf("%w, of %v", errInsane, id)
	}
	return err
}
