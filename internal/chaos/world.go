package main

import (
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// world is what the workers have heard of the database, so that most of what they ask
// for makes sense. It is often wrong: another worker was faster, or an outcome unknown.
type world struct {
	mu          sync.Mutex
	users       []*user
	teams       []*team
	invitations []invitation
}

type user struct {
	id    db.UserID
	email string
}

type team struct {
	id       db.TeamID
	members  []member
	customer string // Stripe's
}

type member struct {
	id   db.TeamMemberID
	user *user
	role db.Role
}

type invitation struct {
	id    db.InvitationID
	team  *team
	token store.Token
	email string
	role  db.Role
	user  *user // whose e-mail it is, nil for somebody without an account
}

// hot is how many of the newest are chosen more often than others: so workers meet.
const hot = 16

// keptInvitations is how many are worth remembering.
const keptInvitations = 200

// choose prefers the newest of a list that is not empty.
func choose[T any](random *rand.Rand, list []T) T {
	n := len(list)
	if random.IntN(3) > 0 {
		return list[n-1-random.IntN(min(n, hot))]
	}
	return list[random.IntN(n)]
}

func (w *world) someTeam(random *rand.Rand) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.teams) == 0 {
		return 0
	}
	return int64(choose(random, w.teams).id)
}

func (w *world) someUser(random *rand.Rand) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.users) == 0 {
		return 0
	}
	return int64(choose(random, w.users).id)
}

// What follows is called with the world locked.

func (w *world) addUser(id db.UserID, email string) *user {
	u := &user{id, email}
	w.users = append(w.users, u)
	return u
}

func (w *world) addTeam(id db.TeamID, owner member) {
	w.teams = append(w.teams, &team{id: id, members: []member{owner}})
}

func (w *world) addInvitation(i invitation) {
	w.invitations = append(w.invitations, i)
	if len(w.invitations) > 2*keptInvitations {
		w.invitations = slices.Clone(w.invitations[keptInvitations:])
	}
}

func (w *world) removeInvitation(id db.InvitationID) {
	w.invitations = slices.DeleteFunc(w.invitations, func(i invitation) bool { return i.id == id })
}

func (w *world) removeTeam(t *team) {
	w.teams = slices.DeleteFunc(w.teams, func(other *team) bool { return other == t })
	w.invitations = slices.DeleteFunc(w.invitations, func(i invitation) bool { return i.team == t })
}

func (w *world) removeUser(u *user) {
	w.users = slices.DeleteFunc(w.users, func(other *user) bool { return other == u })
	for _, t := range w.teams {
		t.remove(u)
	}
}

func (t *team) put(m member) {
	t.remove(m.user)
	t.members = append(t.members, m)
}

func (t *team) remove(u *user) {
	t.members = slices.DeleteFunc(t.members, func(m member) bool { return m.user == u })
}

func (t *team) setRole(u *user, role db.Role) {
	for i := range t.members {
		if t.members[i].user == u {
			t.members[i].role = role
		}
	}
}
