package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// Random sequences of operations are answered alike by the Store and by the model of
// its rules, and leave the same state. -rapid.checks and -rapid.steps make it longer;
// with -v it logs how often each operation was answered how.
func TestModel(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	seen := make(map[string]map[string]int) // by operation and answer
	var sequences, total int
	rapid.Check(t, func(rt *rapid.T) {
		exec(t, st, "TRUNCATE users, teams, team_members, invitations, activity_logs, subscriptions RESTART IDENTITY")
		m := &model{tokens: make(map[db.InvitationID]store.Token)}
		var story strings.Builder // no id differs when rapid plays it again
		// Some operations are left out of a sequence: so the others meet more often.
		var swarm []move
		some := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "swarm"), 0))
		for _, m := range moves {
			if m.always || some.IntN(4) > 0 {
				swarm = append(swarm, m)
			}
		}
		// All that a step chooses comes of two numbers: rapid's own choices would be as many
		// as the state makes them, and no step could be left out without changing all others.
		step := rapid.Custom(func(rt *rapid.T) step {
			seed := func() uint64 { return rapid.Uint64().Draw(rt, "") }
			return (&draw{rand.New(rand.NewPCG(seed(), seed())), m, swarm}).step()
		})
		play := func(rt *rapid.T) {
			s := step.Draw(rt, "step")
			got, want := s.run(&run{t.Context(), st, m})
			fmt.Fprintf(&story, "\n%s\n\t→ %s", s, short(got))
			if got != want {
				rt.Fatalf("After%s\nthe rules say\n\t→ %s", &story, short(want))
			}
			if diff := difference(m.state, readState(t, st)); diff != "" {
				rt.Fatalf("After%s\nthe tables differ from the rules (-) by%s", &story, diff)
			}
			outcome, _, _ := strings.Cut(got, ": [")
			if seen[s.operation] == nil {
				seen[s.operation] = make(map[string]int)
			}
			seen[s.operation][outcome]++
			total++
		}
		for range 3 { // as many steps as three have
			rt.Repeat(map[string]func(*rapid.T){"": func(*rapid.T) {}, "play": play})
		}
		violations, err := st.CheckInvariants(t.Context())
		require.NoError(t, err)
		if want := m.violations(); !slices.Equal(violations, want) {
			rt.Fatalf("After%s\nCheckInvariants: %v, not %v", &story, violations, want)
		}
		sequences++
	})

	everywhere := make(map[string]int)
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		var counts []string
		for _, outcome := range slices.Sorted(maps.Keys(seen[name])) {
			counts = append(counts, fmt.Sprintf("%s %d", outcome, seen[name][outcome]))
			everywhere[outcome] += seen[name][outcome]
		}
		t.Logf("%s: %s", name, strings.Join(counts, ", "))
	}
	t.Logf("%d steps in %d sequences", total, sequences)
	if total < 3000 {
		t.Logf("too few to tell whether the generator reaches everything")
		return
	}
	for _, move := range moves {
		require.Contains(t, seen[move.operation], "ok", move.operation)
	}
	for _, sentinel := range sentinels {
		if sentinel != store.ErrInvalidCursor && sentinel != store.ErrUnknownCustomer { // of reads, and of Stripe's events
			require.Contains(t, everywhere, sentinel.Error())
		}
	}
}

// answered is what an operation returned, to be compared.
func answered(rows answer, err error) string {
	var last *store.LastOwnerError
	switch {
	case err == nil && rows == nil:
		return "ok"
	case err == nil:
		return fmt.Sprintf("ok: %+v", []any(rows))
	case errors.As(err, &last): // with its teams
		return fmt.Sprintf("%v: %v", store.ErrLastOwner, last.TeamIDs)
	}
	for _, sentinel := range sentinels {
		if errors.Is(err, sentinel) {
			return sentinel.Error()
		}
	}
	return "unexpected: " + err.Error()
}

// short makes the e-mail that is as long as one may be readable.
func short(s string) string {
	return strings.NewReplacer(longEmail[:200], "l…", strings.ToUpper(longEmail[:200]), "L…").Replace(s)
}

// The rows of an answer.

func userOf(u db.User, hash string) userRow {
	if u.PasswordHash != "" {
		hash = "the answer has a hash"
	}
	return userRow{u.ID, orNull(u.Name), u.Email, hash, u.Role, u.DeletedAt != nil}
}

func teamOf(t db.Team) teamRow {
	status, seats := null, noSeat
	if t.SubscriptionStatus != nil {
		status = string(*t.SubscriptionStatus)
	}
	if t.SeatLimit != nil {
		seats = int(*t.SeatLimit)
	}
	return teamRow{t.ID, t.Name, orNull(t.StripeCustomerID), orNull(t.StripeSubscriptionID), orNull(t.StripeProductID),
		orNull(t.PlanName), status, seats, t.DeletedAt != nil}
}

func memberOf(r db.TeamMember) memberRow { return memberRow{r.ID, r.UserID, r.TeamID, r.Role} }

func invitationOf(inv db.Invitation) invitationRow {
	ends := never
	if inv.ExpiresAt != nil {
		ends = hours(time.Until(*inv.ExpiresAt))
	}
	hidden := inv.TokenHash == nil // that it has one, an answer does not show
	return invitationRow{inv.ID, inv.TeamID, inv.Email, inv.Role, inv.InvitedBy, inv.Status, hidden, ends}
}

func orNull(s *string) string {
	if s == nil {
		return null
	}
	return *s
}

// readState reads the tables, in one round trip.
func readState(t *testing.T, st *store.Store) (s state) {
	t.Helper()
	var batch pgx.Batch
	queue(&batch, &s.users, `SELECT id, coalesce(name, 'NULL'), email, password_hash, role, deleted_at IS NOT NULL FROM users ORDER BY id`)
	queue(&batch, &s.teams, `SELECT id, name, coalesce(stripe_customer_id, 'NULL'), coalesce(stripe_subscription_id, 'NULL'),
		coalesce(stripe_product_id, 'NULL'), coalesce(plan_name, 'NULL'), coalesce(subscription_status, 'NULL'),
		coalesce(seat_limit, -1), deleted_at IS NOT NULL FROM teams ORDER BY id`)
	queue(&batch, &s.members, `SELECT id, user_id, team_id, role FROM team_members ORDER BY joined_at, id`)
	queue(&batch, &s.invitations, `SELECT id, team_id, email, role, invited_by, status, token_hash IS NOT NULL, CASE
			WHEN expires_at IS NULL THEN 'never'
			WHEN expires_at <= timezone('utc', now()) THEN 'over'
			ELSE 'in ' || round(extract(epoch FROM expires_at - timezone('utc', now())) / 3600) || ' h'
		END FROM invitations ORDER BY id`)
	queue(&batch, &s.log, `SELECT team_id, coalesce(user_id, 0), action, coalesce(ip_address, 'NULL') FROM activity_logs ORDER BY id`)
	require.NoError(t, admin(st).SendBatch(t.Context(), &batch).Close())
	return s
}

func queue[Row any](batch *pgx.Batch, into *[]Row, sql string) {
	batch.Queue(sql).Query(func(rows pgx.Rows) (err error) {
		*into, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Row])
		return err
	})
}

// difference is the rows that one of the two does not have.
func difference(want, got state) string {
	wanted, found := want.lines(), got.lines()
	if slices.Equal(wanted, found) {
		return ""
	}
	var diff strings.Builder
	for _, line := range wanted {
		if !slices.Contains(found, line) {
			fmt.Fprintf(&diff, "\n\t- %s", short(line))
		}
	}
	for _, line := range found {
		if !slices.Contains(wanted, line) {
			fmt.Fprintf(&diff, "\n\t+ %s", short(line))
		}
	}
	return diff.String()
}

// lines are the rows as text. Of members and log rows the order counts, in a team.
func (s state) lines() (lines []string) {
	for _, u := range s.users {
		lines = append(lines, fmt.Sprintf("user %+v", u))
	}
	for _, t := range s.teams {
		lines = append(lines, fmt.Sprintf("team %+v", t))
	}
	for _, inv := range s.invitations {
		lines = append(lines, fmt.Sprintf("invitation %+v", inv))
	}
	members, log := make(map[db.TeamID]int), make(map[db.TeamID]int)
	for _, r := range s.members {
		members[r.Team]++
		lines = append(lines, fmt.Sprintf("member %d of team %d %+v", members[r.Team], r.Team, r))
	}
	for _, r := range s.log {
		log[r.Team]++
		lines = append(lines, fmt.Sprintf("log row %d of team %d %+v", log[r.Team], r.Team, r))
	}
	return lines
}

// run is what a step needs to be played.
type run struct {
	ctx context.Context
	st  *store.Store
	m   *model
}

// step is a call of an operation with its arguments.
type step struct {
	operation string
	params    any
	note      string
	run       func(*run) (got, want string)
}

func (s step) String() string {
	params, _ := json.Marshal(s.params)
	text := strings.ReplaceAll(string(params), `,"IP":"`+anIP.String()+`"`, "")
	return strings.TrimSpace(s.operation + " " + short(text) + " " + s.note)
}

// GoString is what rapid logs.
func (s step) GoString() string { return s.String() }

// draw draws a step that makes sense more often than not.
type draw struct {
	*rand.Rand
	m     *model
	moves []move
}

// move is an operation that a step may be, the likelier the greater its weight, and
// rarely without what it needs. Without those that are always there, nothing happens.
type move struct {
	operation string
	weight    int
	always    bool
	needs     func(*model) bool
	draw      func(*draw) step
}

// fewTeams so that they are large.
func fewTeams(m *model) bool {
	inhabited := make(map[db.TeamID]bool)
	for _, r := range m.members {
		inhabited[r.Team] = true
	}
	return len(inhabited) < 3
}

func aUser(m *model) bool { return find(m.users, func(u userRow) bool { return !u.Deleted }) != nil }
func aPending(m *model) bool {
	return find(m.invitations, func(inv invitationRow) bool { return inv.Status == db.InvitationPending }) != nil
}

func (d *draw) step() step {
	var weighted []move
	for ready := !d.rarely(); len(weighted) == 0; ready = false {
		for _, m := range d.moves {
			if !ready || m.needs(d.m) {
				weighted = append(weighted, slices.Repeat([]move{m}, m.weight)...)
			}
		}
	}
	m := pick(d, weighted...)
	s := m.draw(d)
	s.operation = m.operation
	return s
}

func pick[T any](d *draw, from ...T) T { return from[d.IntN(len(from))] }

func (d *draw) half() bool    { return d.IntN(2) == 0 }
func (d *draw) quarter() bool { return d.IntN(4) == 0 }
func (d *draw) rarely() bool  { return d.IntN(8) == 0 }

const nobody = 99 // an id that no row has

var longEmail = strings.Repeat("l", 243) + "@example.com"

func (d *draw) email() string { return d.spelled(d.address()) }

func (d *draw) address() string {
	return pick(d, "ada@example.com", "bo@example.com", "cy@example.com", "dee@example.com", "eve@example.com", longEmail)
}

// spelled is an e-mail as somebody may type it.
func (d *draw) spelled(email string) string {
	if d.rarely() {
		return pick(d, strings.ToUpper(email), " "+email+"\t", "nobody")
	}
	return email
}

// guest is an e-mail to invite: often one that was, mostly to no use any more.
func (d *draw) guest(team db.TeamID) string {
	useless := !d.quarter()
	if d.half() {
		return d.email()
	}
	return d.spelled(d.invitation(func(inv invitationRow) bool {
		return inv.Team == team && (!useless || inv.Ends == over || !d.m.owns(team, inv.By))
	}).Email)
}

func (d *draw) role() db.Role {
	if d.rarely() && d.half() {
		return "admin"
	}
	return pick(d, db.RoleMember, db.RoleOwner)
}

func (d *draw) ttl() time.Duration {
	if d.rarely() {
		return pick(d, 2*time.Hour, -time.Hour, 366*24*time.Hour)
	}
	return 0
}

func (d *draw) team() db.TeamID {
	var live []db.TeamID
	all := []db.TeamID{nobody}
	for _, t := range d.m.teams {
		all = append(all, t.ID)
		seats, _ := d.m.seats(t.ID)
		live = append(live, slices.Repeat([]db.TeamID{t.ID}, seats)...)
	}
	if live == nil || d.rarely() {
		return pick(d, all...)
	}
	return pick(d, live...)
}

// anybody is a live user, a deleted one, or the system.
func (d *draw) anybody() store.Actor {
	ids, rare := []db.UserID{}, d.rarely()
	for _, u := range d.m.users {
		if rare || !u.Deleted {
			ids = append(ids, u.ID)
		}
	}
	if rare || len(ids) == 0 {
		ids = append(ids, 0)
	}
	return store.Actor{UserID: pick(d, ids...), IP: anIP}
}

func (d *draw) ownerOf(team db.TeamID) store.Actor {
	_, owners := d.m.seats(team)
	switch {
	case d.rarely():
		return d.anybody()
	case owners == nil || d.quarter():
		return store.Actor{UserID: d.memberOf(team).User, IP: anIP}
	}
	return store.Actor{UserID: pick(d, owners...), IP: anIP}
}

func (d *draw) memberOf(team db.TeamID) memberRow {
	all := []memberRow{{ID: nobody, User: nobody}}
	var own []memberRow
	for _, r := range d.m.members {
		all = append(all, r)
		if r.Team == team {
			own = append(own, r)
		}
	}
	if own == nil || d.rarely() {
		return pick(d, all...)
	}
	return pick(d, own...)
}

// invitation is one that is wanted, pending more often than not, and any one rarely or
// when there is none.
func (d *draw) invitation(wanted func(invitationRow) bool) invitationRow {
	ended := d.quarter()
	some := slices.DeleteFunc(slices.Clone(d.m.invitations), func(inv invitationRow) bool {
		return !wanted(inv) || !ended && inv.Status != db.InvitationPending
	})
	if len(some) == 0 || d.rarely() {
		some = append([]invitationRow{{ID: nobody, Team: d.team(), Email: d.email()}}, d.m.invitations...)
	}
	return pick(d, some...)
}

// ref is how an invitation is named: rightly, more often than not.
func (d *draw) ref(inv invitationRow) (token store.Token, id db.InvitationID, note string) {
	if d.quarter() {
		dead := pick(d, slices.Concat(d.m.dead, []store.Token{"guessed"})...)
		switch pick(d, 0, 1, 2, 2) {
		case 0:
			return dead, 0, "by a dead token"
		case 1:
			return dead, inv.ID, "by both"
		}
	} else if inv.HasToken {
		return d.m.tokens[inv.ID], 0, fmt.Sprintf("by the token of %d", inv.ID)
	}
	return "", inv.ID, ""
}

// plain is a step of an operation that returns nothing but an error.
func plain[P any](p P, note string, op func(*store.Store, context.Context, P) error, rule func(*model, P) error) step {
	return step{params: p, note: note, run: func(r *run) (got, want string) {
		return answered(nil, op(r.st, r.ctx, p)), answered(nil, rule(r.m, p))
	}}
}

var moves = []move{
	{"InviteMember", 6, false, aUser, func(d *draw) step {
		team := d.team()
		p := store.InviteMember{Actor: d.ownerOf(team), TeamID: team, Email: d.guest(team), Role: d.role(), TTL: d.ttl()}
		return step{params: p, run: func(r *run) (string, string) {
			inv, token, err := r.st.InviteMember(r.ctx, p)
			return answered(answer{invitationOf(inv)}, err), answered(r.m.inviteMember(p, inv.ID, token))
		}}
	}},
	{"a user joins", 10, true, aUser, func(d *draw) step {
		team, email := d.team(), d.address()
		for range 3 {
			if u := d.m.userByEmail(email); u != nil && d.m.membership(team, u.ID) != nil {
				email = d.address()
			}
		}
		actor := d.ownerOf(team)
		if _, owners := d.m.seats(team); owners != nil {
			actor.UserID = pick(d, owners...)
		}
		invite := store.InviteMember{Actor: actor, TeamID: team, Email: email, Role: pick(d, db.RoleMember, db.RoleMember, db.RoleOwner)}
		return step{params: invite, run: func(r *run) (string, string) {
			inv, token, err := r.st.InviteMember(r.ctx, invite)
			got, want := answered(answer{invitationOf(inv)}, err), answered(r.m.inviteMember(invite, inv.ID, token))
			if got != want || err != nil {
				return got, want
			}
			if user := r.m.userByEmail(email); user != nil {
				p := store.AcceptInvitation{Actor: store.Actor{UserID: user.ID, IP: anIP}, Token: token}
				seat, joined, err := r.st.AcceptInvitation(r.ctx, p)
				return answered(answer{memberOf(seat), joined}, err), answered(r.m.acceptInvitation(p, seat.ID))
			}
			p := store.SignUpWithInvitation{Token: token, Email: email, PasswordHash: "hash", IP: anIP}
			su, err := r.st.SignUpWithInvitation(r.ctx, p)
			return answered(answer{userOf(su.User, "hash"), teamOf(su.Team), memberOf(su.TeamMember)}, err), answered(r.m.signUpWithInvitation(p, su))
		}}
	}},
	{"SignUpWithInvitation", 8, true, aPending, func(d *draw) step {
		inv := d.invitation(func(inv invitationRow) bool {
			return (d.m.userByEmail(inv.Email) == nil || d.rarely()) && (d.m.owns(inv.Team, inv.By) || d.rarely())
		})
		token, id, note := d.ref(inv)
		p := store.SignUpWithInvitation{Token: token, InvitationID: id, Email: d.spelled(inv.Email), PasswordHash: "hash", IP: anIP}
		if d.quarter() {
			p.Email = d.email()
		}
		return step{params: p, note: note, run: func(r *run) (string, string) {
			su, err := r.st.SignUpWithInvitation(r.ctx, p)
			return answered(answer{userOf(su.User, "hash"), teamOf(su.Team), memberOf(su.TeamMember)}, err), answered(r.m.signUpWithInvitation(p, su))
		}}
	}},
	{"AcceptInvitation", 8, false, aPending, func(d *draw) step {
		inv := d.invitation(func(inv invitationRow) bool {
			return d.holder(inv.Email) != nil && (d.m.owns(inv.Team, inv.By) || d.rarely())
		})
		token, id, note := d.ref(inv)
		p := store.AcceptInvitation{Actor: d.invitee(inv), Token: token, InvitationID: id}
		return step{params: p, note: note, run: func(r *run) (string, string) {
			seat, joined, err := r.st.AcceptInvitation(r.ctx, p)
			return answered(answer{memberOf(seat), joined}, err), answered(r.m.acceptInvitation(p, seat.ID))
		}}
	}},
	{"SignUp", 3, true, fewTeams, func(d *draw) step {
		p := store.SignUp{Email: d.email(), PasswordHash: "hash", Name: pick(d, "", "Ada"), TeamName: pick(d, "", "Team"), IP: anIP}
		return step{params: p, run: func(r *run) (string, string) {
			su, err := r.st.SignUp(r.ctx, p)
			return answered(answer{userOf(su.User, "hash"), teamOf(su.Team), memberOf(su.TeamMember)}, err), answered(r.m.signUp(p, su))
		}}
	}},
	{"ChangeRole", 5, false, aUser, func(d *draw) step {
		team := d.team()
		p := store.ChangeRole{Actor: d.ownerOf(team), TeamID: team, MemberID: d.memberOf(team).ID, Role: d.role()}
		return plain(p, "", (*store.Store).ChangeRole, (*model).changeRole)
	}},
	{"RemoveMember", 4, false, aUser, func(d *draw) step {
		team := d.team()
		p := store.RemoveMember{Actor: d.ownerOf(team), TeamID: team, MemberID: d.memberOf(team).ID}
		return plain(p, "", (*store.Store).RemoveMember, (*model).removeMember)
	}},
	{"LeaveTeam", 4, false, aUser, func(d *draw) step {
		team := d.team()
		p := store.LeaveTeam{Actor: store.Actor{UserID: d.memberOf(team).User, IP: anIP}, TeamID: team}
		return plain(p, "", (*store.Store).LeaveTeam, (*model).leaveTeam)
	}},
	{"TransferOwnership", 3, false, aUser, func(d *draw) step {
		team := d.team()
		p := store.TransferOwnership{Actor: d.ownerOf(team), TeamID: team, MemberID: d.memberOf(team).ID}
		return plain(p, "", (*store.Store).TransferOwnership, (*model).transferOwnership)
	}},
	{"InviteMembers", 3, false, aUser, func(d *draw) step {
		team := d.team()
		p := store.InviteMembers{Actor: d.ownerOf(team), TeamID: team, TTL: d.ttl()}
		for range pick(d, 3, 5, 0, 1) {
			p.Invitees = append(p.Invitees, store.Invitee{Email: d.guest(team), Role: d.role()})
		}
		return step{params: p, run: func(r *run) (string, string) {
			list, err := r.st.InviteMembers(r.ctx, p)
			var results answer
			for _, one := range list {
				results = append(results, one.Email, answered(answer{invitationOf(one.Invitation)}, one.Err))
			}
			return answered(results, err), answered(r.m.inviteMembers(p, list))
		}}
	}},
	{"DeclineInvitation", 3, false, aPending, func(d *draw) step {
		inv := d.invitation(func(inv invitationRow) bool { return d.m.userByEmail(inv.Email) != nil })
		token, id, note := d.ref(inv)
		p := store.DeclineInvitation{Actor: d.invitee(inv), Token: token, InvitationID: id}
		return plain(p, note, (*store.Store).DeclineInvitation, (*model).declineInvitation)
	}},
	{"CancelInvitation", 3, false, aPending, func(d *draw) step {
		team, id := d.sent()
		return plain(store.CancelInvitation{Actor: d.ownerOf(team), TeamID: team, InvitationID: id}, "",
			(*store.Store).CancelInvitation, (*model).cancelInvitation)
	}},
	{"ResendInvitation", 5, false, aPending, func(d *draw) step {
		team, id := d.sent()
		p := store.ResendInvitation{Actor: d.ownerOf(team), TeamID: team, InvitationID: id, TTL: d.ttl()}
		return step{params: p, run: func(r *run) (string, string) {
			inv, token, err := r.st.ResendInvitation(r.ctx, p)
			return answered(answer{invitationOf(inv)}, err), answered(r.m.resendInvitation(p, token))
		}}
	}},
	{"SetSeatLimit", 5, false, aUser, func(d *draw) step {
		team := d.team()
		p := store.SetSeatLimit{Actor: d.anybody(), TeamID: team}
		if !d.rarely() { // about as many as there are
			seats, _ := d.m.seats(team)
			p.Limit = new(max(seats-2, -1) + pick(d, 2, 3, 1, 0))
		}
		return plain(p, "", (*store.Store).SetSeatLimit, (*model).setSeatLimit)
	}},
	{"UpdateAccount", 4, false, aUser, func(d *draw) step {
		p := store.UpdateAccount{Actor: d.anybody()}
		if d.half() {
			p.Name = new(pick(d, "", "Grace"))
		}
		if !(d.half() && !d.half()) {
			p.Email = new(d.email())
		}
		return step{params: p, run: func(r *run) (string, string) {
			u, err := r.st.UpdateAccount(r.ctx, p)
			rows, refused := r.m.updateAccount(p)
			var hash string // an answer has none
			if refused == nil {
				hash = r.m.user(p.Actor.UserID).Hash
			}
			return answered(answer{userOf(u, hash)}, err), answered(rows, refused)
		}}
	}},
	{"UpdatePassword", 2, false, aUser, func(d *draw) step {
		p := store.UpdatePassword{Actor: d.anybody(), PasswordHash: pick[db.PasswordHash](d, "hash", "other", ""), Expected: pick[db.PasswordHash](d, "", "hash", "other")}
		return plain(p, fmt.Sprintf("to %q from %q", string(p.PasswordHash), string(p.Expected)), (*store.Store).UpdatePassword, (*model).updatePassword)
	}},
	{"DeleteAccount", 3, false, aUser, func(d *draw) step {
		actor := d.anybody()
		switch pick(d, 0, 1, 2) {
		case 0: // it may be the last owner of several teams
			actor = d.ownerOf(d.team())
		case 1: // whose invitations outlived the membership
			actor.UserID = d.invitation(func(inv invitationRow) bool { return !d.m.owns(inv.Team, inv.By) }).By
		}
		return plain(actor, "", (*store.Store).DeleteAccount, (*model).deleteAccount)
	}},
	{"RecordSignIn", 1, false, aUser, func(d *draw) step {
		return plain(d.anybody(), "", (*store.Store).RecordSignIn, (*model).recordSignIn)
	}},
	{"CreateTeam", 3, false, func(m *model) bool { return aUser(m) && fewTeams(m) }, func(d *draw) step {
		p := store.CreateTeam{Actor: d.anybody(), Name: pick(d, "Team", "Second", "")}
		return step{params: p, run: func(r *run) (string, string) {
			team, seat, err := r.st.CreateTeam(r.ctx, p)
			return answered(answer{teamOf(team), memberOf(seat)}, err), answered(r.m.createTeam(p, team.ID, seat.ID))
		}}
	}},
	{"RenameTeam", 2, false, aUser, func(d *draw) step {
		team := d.team()
		p := store.RenameTeam{Actor: d.ownerOf(team), TeamID: team, Name: pick(d, "Team", "Second", "")}
		return plain(p, "", (*store.Store).RenameTeam, (*model).renameTeam)
	}},
	{"DeleteTeam", 3, false, aUser, func(d *draw) step {
		team := d.team()
		if paying := find(d.m.teams, func(t teamRow) bool {
			return !t.Deleted && (t.Status == string(db.SubscriptionActive) || t.Status == string(db.SubscriptionPastDue))
		}); paying != nil && !d.quarter() {
			team = paying.ID
		}
		p := store.DeleteTeam{Actor: d.ownerOf(team), TeamID: team, Force: d.quarter()}
		return plain(p, "", (*store.Store).DeleteTeam, (*model).deleteTeam)
	}},
	{"UpdateSubscription", 4, false, aUser, func(d *draw) step {
		p := store.UpdateSubscription{Actor: d.anybody(), TeamID: d.team(), SubscriptionID: pick(d, "sub_1", "sub_2", ""),
			ProductID: pick(d, "", "prod_1"), PlanName: pick(d, "", "Plus"),
			Status: pick(d, db.SubscriptionActive, db.SubscriptionPastDue, "", db.SubscriptionCanceled, db.SubscriptionIncompleteExpired, "ended")}
		return plain(p, "", (*store.Store).UpdateSubscription, (*model).updateSubscription)
	}},
	{"LinkStripeCustomer", 2, false, aUser, func(d *draw) step {
		p := store.LinkStripeCustomer{Actor: d.anybody(), TeamID: d.team(), CustomerID: pick(d, "cus_1", "cus_2", "")}
		return plain(p, "", (*store.Store).LinkStripeCustomer, (*model).linkStripeCustomer)
	}},
	{"time passes", 6, false, aPending, func(d *draw) step {
		inv := d.invitation(func(inv invitationRow) bool { return inv.HasToken && inv.Ends != over })
		return beside(inv, func(m *model) bool { return inv.HasToken }, func(r *run) error {
			find(r.m.invitations, func(row invitationRow) bool { return row.ID == inv.ID }).Ends = over
			_, err := admin(r.st).Exec(r.ctx, "UPDATE invitations SET expires_at = timezone('utc', now()) - interval '1 s' WHERE id = $1", inv.ID)
			return err
		})
	}},

	// What the TypeScript app writes: e-mails as they are typed, invitations by any
	// member; it leaves memberships of whoever is gone.
	{"TypeScript signs up", 1, false, fewTeams, func(d *draw) step {
		email := strings.ToUpper(d.address())
		return beside(email, func(m *model) bool { return m.userByEmail(email) == nil }, func(r *run) error {
			user, err := db.NewUser{Email: email, PasswordHash: "hash", Role: new(db.RoleOwner)}.Insert(r.ctx, admin(r.st))
			if err != nil {
				return err
			}
			team, err := db.NewTeam{Name: "Team"}.Insert(r.ctx, admin(r.st))
			if err != nil {
				return err
			}
			seat, err := db.NewTeamMember{UserID: user, TeamID: team, Role: db.RoleOwner}.Insert(r.ctx, admin(r.st))
			r.m.users = append(r.m.users, userRow{user, null, email, "hash", db.RoleOwner, false})
			r.m.teams = append(r.m.teams, newTeamRow(team, "Team"))
			r.m.members = append(r.m.members, memberRow{seat, user, team, db.RoleOwner})
			return err
		})
	}},
	{"TypeScript invites", 5, false, aUser, func(d *draw) step {
		team := d.team()
		n := db.NewInvitation{TeamID: team, Email: d.address(), Role: pick(d, db.RoleMember, db.RoleOwner), InvitedBy: d.memberOf(team).User}
		if d.half() {
			n.InvitedBy = d.ownerOf(team).UserID
		}
		member := d.memberOf(team).User
		if u := find(d.m.users, func(u userRow) bool { return u.ID == member }); u != nil && d.half() {
			n.Email = u.Email
		}
		if d.half() { // which also hides a member from it
			n.Email = strings.ToUpper(n.Email)
		}
		return beside(n, func(m *model) bool {
			return m.membership(team, n.InvitedBy) != nil && m.pending(team, n.Email) == nil
		}, func(r *run) error {
			id, err := n.Insert(r.ctx, admin(r.st))
			r.m.invitations = append(r.m.invitations, invitationRow{id, team, n.Email, n.Role, n.InvitedBy, db.InvitationPending, false, never})
			return err
		})
	}},
	{"TypeScript deletes an account", 4, false, aUser, func(d *draw) step {
		var id db.UserID
		for range 5 { // whoever the teams can do without
			if d.m.mayGo(id) != nil {
				id = d.ownerOf(d.team()).UserID
				if d.half() {
					id = d.invitation(func(inv invitationRow) bool { return d.m.owns(inv.Team, inv.By) }).By
				}
			}
		}
		return beside(id, func(m *model) bool {
			return m.mayGo(id) == nil && len(m.user(id).Email) < 200 // it can't cut
		}, func(r *run) error {
			user := r.m.user(id)
			user.Deleted, user.Email = true, fmt.Sprintf("%s-%d-deleted", user.Email, id)
			_, err := admin(r.st).Exec(r.ctx, "UPDATE users SET deleted_at = timezone('utc', now()), email = $2 WHERE id = $1", id, user.Email)
			return err
		})
	}},
}

// beside is a step beside the Store, of whom only the state is to be known.
func beside(params any, possible func(*model) bool, write func(*run) error) step {
	return step{params: params, run: func(r *run) (got, want string) {
		if !possible(r.m) {
			return "nothing", "nothing"
		}
		return answered(nil, write(r)), answered(nil, nil)
	}}
}

// holder is the user with an e-mail, or the deleted one with what became of it.
func (d *draw) holder(email string) *userRow {
	return find(d.m.users, func(u userRow) bool { return normal(u.Email) == normal(email) })
}

// invitee is who an invitation is for, if that is a user, and somebody else rarely.
func (d *draw) invitee(inv invitationRow) store.Actor {
	u := d.holder(inv.Email)
	if u == nil || d.rarely() {
		return d.anybody()
	}
	return store.Actor{UserID: u.ID, IP: anIP}
}

// sent is an invitation with its team, or rarely another.
func (d *draw) sent() (db.TeamID, db.InvitationID) {
	inv := d.invitation(func(invitationRow) bool { return true })
	if d.quarter() {
		return d.team(), inv.ID
	}
	return inv.Team, inv.ID
}
