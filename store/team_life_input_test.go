package store_test

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// The cases of TestInput for what came with the whole life of a team.

func (p *premises) foreignTeams() []input[db.TeamID] {
	return append(unknown(p.team.ID), input[db.TeamID]{"of another team", p.other.team.ID})
}

func (p *premises) teamLife() (cases []inputCase) {
	ctx := p.t.Context()
	// Another writer's: a deleted account that is an owner still.
	ghost := column[db.TeamMemberID](p.t, p.st, "INSERT INTO team_members (user_id, team_id, role) VALUES ($1, $2, 'owner') RETURNING id", p.deleted.ID, p.team.ID)[0]
	require.NoError(p.t, p.st.UpdateSubscription(ctx, store.UpdateSubscription{TeamID: p.other.team.ID, Status: db.SubscriptionActive}))
	owner, plain := p.owner.ID, p.plain.User.ID
	notMembers := append(unknown(p.plain.TeamMember.ID),
		input[db.TeamMemberID]{"of another team", p.other.seat.ID}, input[db.TeamMemberID]{"of a deleted user", ghost})

	leave := func(actor db.UserID, team db.TeamID) call {
		return func(st *store.Store) error {
			return st.LeaveTeam(ctx, store.LeaveTeam{Actor: store.Actor{UserID: actor, IP: anIP}, TeamID: team})
		}
	}
	with(&cases, "LeaveTeam Actor", append(p.nobodies(), input[db.UserID]{"another team's owner", p.other.owner.ID}), func(id db.UserID) call {
		return leave(id, p.team.ID)
	}, store.ErrNotFound)
	with(&cases, "LeaveTeam TeamID", p.foreignTeams(), func(id db.TeamID) call { return leave(plain, id) }, store.ErrNotFound)
	cases = append(cases,
		inputCase{name: "LeaveTeam", call: leave(plain, p.team.ID)},
		inputCase{name: "LeaveTeam of the last live owner", call: leave(owner, p.team.ID), want: store.ErrLastOwner})

	change := func(actor db.UserID, team db.TeamID, member db.TeamMemberID, role db.Role) call {
		return func(st *store.Store) error {
			return st.ChangeRole(ctx, store.ChangeRole{Actor: store.Actor{UserID: actor, IP: anIP}, TeamID: team, MemberID: member, Role: role})
		}
	}
	role := func(s string) call { return change(owner, p.team.ID, p.plain.TeamMember.ID, db.Role(s)) }
	transfer := func(actor db.UserID, team db.TeamID, member db.TeamMemberID) call {
		return func(st *store.Store) error {
			return st.TransferOwnership(ctx, store.TransferOwnership{Actor: store.Actor{UserID: actor, IP: anIP}, TeamID: team, MemberID: member})
		}
	}
	for op, of := range map[string]func(db.UserID, db.TeamID, db.TeamMemberID) call{
		"ChangeRole": func(actor db.UserID, team db.TeamID, member db.TeamMemberID) call {
			return change(actor, team, member, db.RoleOwner)
		},
		"TransferOwnership": transfer,
	} {
		with(&cases, op+" Actor", p.noOwners(), func(id db.UserID) call { return of(id, p.team.ID, p.plain.TeamMember.ID) }, store.ErrForbidden)
		with(&cases, op+" TeamID", p.foreignTeams(), func(id db.TeamID) call { return of(owner, id, p.plain.TeamMember.ID) }, store.ErrForbidden)
		with(&cases, op+" MemberID", notMembers, func(id db.TeamMemberID) call { return of(owner, p.team.ID, id) }, store.ErrNotFound)
		cases = append(cases, inputCase{name: op, call: of(owner, p.team.ID, p.plain.TeamMember.ID)})
	}
	with(&cases, "ChangeRole Role", append(append(blank(), unstorable(50)...), []input[string]{
		{"in another case", "Owner"}, {"in white space", " owner"}, {"unknown", "admin"},
	}...), role, invalid("Role"))
	with(&cases, "ChangeRole Role", []input[string]{{"owner", "owner"}, {"member", "member"}}, role, nil)
	cases = append(cases,
		inputCase{name: "ChangeRole of the last live owner", call: change(owner, p.team.ID, p.seat.ID, db.RoleMember), want: store.ErrLastOwner},
		inputCase{name: "TransferOwnership to oneself", call: transfer(owner, p.team.ID, p.seat.ID), want: store.ErrNotFound})

	rename := func(actor db.UserID, team db.TeamID, name string) call {
		return func(st *store.Store) error {
			return st.RenameTeam(ctx, store.RenameTeam{Actor: store.Actor{UserID: actor, IP: anIP}, TeamID: team, Name: name})
		}
	}
	name := func(s string) call { return rename(owner, p.team.ID, s) }
	with(&cases, "RenameTeam Actor", p.noOwners(), func(id db.UserID) call { return rename(id, p.team.ID, "Renamed") }, store.ErrForbidden)
	with(&cases, "RenameTeam TeamID", p.foreignTeams(), func(id db.TeamID) call { return rename(owner, id, "Renamed") }, store.ErrForbidden)
	with(&cases, "RenameTeam Name", append(blank(), unstorable(100)...), name, invalid("Name"))
	with(&cases, "RenameTeam Name", longest(100), name, nil)

	end := func(actor db.UserID, team db.TeamID, force bool) call {
		return func(st *store.Store) error {
			return st.DeleteTeam(ctx, store.DeleteTeam{Actor: store.Actor{UserID: actor, IP: anIP}, TeamID: team, Force: force})
		}
	}
	with(&cases, "DeleteTeam Actor", p.noOwners(), func(id db.UserID) call { return end(id, p.team.ID, true) }, store.ErrForbidden)
	with(&cases, "DeleteTeam TeamID", p.foreignTeams(), func(id db.TeamID) call { return end(owner, id, true) }, store.ErrForbidden)
	cases = append(cases,
		inputCase{name: "DeleteTeam", call: end(owner, p.team.ID, false)},
		inputCase{name: "DeleteTeam with a subscription", call: end(p.other.owner.ID, p.other.team.ID, false), want: store.ErrActiveSubscription},
		inputCase{name: "DeleteTeam with a subscription, forced", call: end(p.other.owner.ID, p.other.team.ID, true)})

	limit := func(actor db.UserID, team db.TeamID, limit *int) call {
		return func(st *store.Store) error {
			return st.SetSeatLimit(ctx, store.SetSeatLimit{Actor: store.Actor{UserID: actor, IP: anIP}, TeamID: team, Limit: limit})
		}
	}
	with(&cases, "SetSeatLimit TeamID", unknown(p.team.ID), func(id db.TeamID) call { return limit(owner, id, new(5)) }, store.ErrNotFound)
	with(&cases, "SetSeatLimit Limit", []input[int]{
		{"-1", -1}, {"2^31", 1 << 31}, {"2^32", 1 << 32}, {"the largest", math.MaxInt}, {"the smallest", math.MinInt},
	}, func(n int) call { return limit(owner, p.team.ID, &n) }, invalid("Limit"))
	with(&cases, "SetSeatLimit Limit", []input[*int]{{"none", nil}, {"0", new(0)}, {"the largest", new(math.MaxInt32)}}, func(n *int) call { return limit(owner, p.team.ID, n) }, nil)
	// The actor is not checked, but the log's foreign key finds one who never was.
	for _, id := range unknown(owner)[1:] {
		cases = append(cases, inputCase{name: "SetSeatLimit Actor " + id.is, call: limit(id.value, p.team.ID, new(5)), want: store.ErrNotFound})
	}
	cases = append(cases,
		inputCase{name: "SetSeatLimit Actor deleted", call: limit(p.deleted.ID, p.team.ID, new(5))},
		inputCase{name: "SetSeatLimit of the system", call: limit(0, p.team.ID, new(5))})

	membership := func(team db.TeamID, user db.UserID) call {
		return func(st *store.Store) error { _, err := st.Membership(ctx, team, user); return err }
	}
	with(&cases, "Membership TeamID", p.foreignTeams(), func(id db.TeamID) call { return membership(id, owner) }, store.ErrNotFound)
	with(&cases, "Membership UserID", append(p.nobodies(), input[db.UserID]{"another team's owner", p.other.owner.ID}), func(id db.UserID) call {
		return membership(p.team.ID, id)
	}, store.ErrNotFound)
	return append(cases, inputCase{name: "Membership", call: membership(p.team.ID, plain)})
}

func badTTLs() []input[time.Duration] {
	return []input[time.Duration]{
		{"negative", -1}, {"over a year", 365*24*time.Hour + 1}, {"the longest", math.MaxInt64}, {"the most negative", math.MinInt64},
	}
}

func (p *premises) invitationLife() (cases []inputCase) {
	ctx := p.t.Context()
	some := []store.Invitee{{newEmail(), db.RoleMember}, {newEmail(), db.RoleOwner}}
	invite := func(change func(*store.InviteMembers)) call {
		in := store.InviteMembers{Actor: p.actor, TeamID: p.team.ID, Invitees: some}
		change(&in)
		return func(st *store.Store) error { _, err := st.InviteMembers(ctx, in); return err }
	}
	list := func(n int) call {
		invitees := make([]store.Invitee, n)
		for i := range invitees {
			invitees[i] = store.Invitee{newEmail(), db.RoleMember}
		}
		return invite(func(in *store.InviteMembers) { in.Invitees = invitees })
	}
	with(&cases, "InviteMembers Actor", p.noOwners(), func(id db.UserID) call {
		return invite(func(in *store.InviteMembers) { in.Actor.UserID = id })
	}, store.ErrForbidden)
	with(&cases, "InviteMembers TeamID", p.foreignTeams(), func(id db.TeamID) call {
		return invite(func(in *store.InviteMembers) { in.TeamID = id })
	}, store.ErrForbidden)
	with(&cases, "InviteMembers TTL", badTTLs(), func(d time.Duration) call {
		return invite(func(in *store.InviteMembers) { in.TTL = d })
	}, invalid("TTL"))
	with(&cases, "InviteMembers Invitees", []input[int]{{"1001", 1001}, {"2^16", 1 << 16}}, list, invalid("Invitees"))
	with(&cases, "InviteMembers Invitees", []input[int]{{"none", 0}, {"one", 1}, {"1000", 1000}}, list, nil)
	cases = append(cases, inputCase{name: "InviteMembers Invitees 1001 of one", want: invalid("Invitees"), call: invite(func(in *store.InviteMembers) {
		in.Invitees = make([]store.Invitee, 1001) // though repeats collapse
	})})

	resend := func(actor db.UserID, team db.TeamID, id db.InvitationID, ttl time.Duration) call {
		return func(st *store.Store) error {
			_, _, err := st.ResendInvitation(ctx, store.ResendInvitation{Actor: store.Actor{UserID: actor, IP: anIP}, TeamID: team, InvitationID: id, TTL: ttl})
			return err
		}
	}
	ttl := func(d time.Duration) call { return resend(p.owner.ID, p.team.ID, p.invited.ID, d) }
	with(&cases, "ResendInvitation Actor", p.noOwners(), func(id db.UserID) call { return resend(id, p.team.ID, p.invited.ID, 0) }, store.ErrForbidden)
	with(&cases, "ResendInvitation TeamID", p.foreignTeams(), func(id db.TeamID) call { return resend(p.owner.ID, id, p.invited.ID, 0) }, store.ErrForbidden)
	with(&cases, "ResendInvitation InvitationID", unknown(p.invited.ID), func(id db.InvitationID) call { return resend(p.owner.ID, p.team.ID, id, 0) }, store.ErrNotFound)
	with(&cases, "ResendInvitation TTL", badTTLs(), ttl, invalid("TTL"))
	with(&cases, "ResendInvitation TTL", []input[time.Duration]{{"none", 0}, {"a second", time.Second}, {"a year", 365 * 24 * time.Hour}}, ttl, nil)
	cases = append(cases, inputCase{name: "ResendInvitation of another team's", call: resend(p.other.owner.ID, p.other.team.ID, p.invited.ID, 0), want: store.ErrNotFound})

	byToken := func(token store.Token, _ db.InvitationID) call {
		return func(st *store.Store) error { _, err := st.InvitationByToken(ctx, token); return err }
	}
	for _, c := range p.invitationNames("InvitationByToken", byToken) {
		if strings.HasPrefix(c.name, "InvitationByToken Token") {
			cases = append(cases, c)
		}
	}
	forEmail := func(email string, page store.Page) call {
		return func(st *store.Store) error { _, _, err := st.InvitationsForEmail(ctx, email, page); return err }
	}
	with(&cases, "InvitationsForEmail", append(badEmails(), goodEmails()...), func(s string) call { return forEmail(s, store.Page{}) }, nil)
	return append(cases,
		inputCase{name: "InvitationByToken empty", call: byToken("", 0), want: store.ErrNotFound},
		inputCase{name: "InvitationByToken", call: byToken(p.token, 0)},
		inputCase{name: "InvitationsForEmail of what is none, Limit", call: forEmail("none", store.Page{Limit: -1}), want: invalid("Limit")},
		inputCase{name: "InvitationsForEmail of what is none, After", call: forEmail("none", store.Page{After: "x"}), want: store.ErrInvalidCursor})
}

// What is wrong with one e-mail of a list is in its result, and writes nothing.
func TestInputOfEachInvitee(t *testing.T) {
	t.Parallel()
	p := newPremises(t)
	var list []store.Invitee
	fields := make(map[string]string) // by the e-mail
	for _, email := range badEmails() {
		list = append(list, store.Invitee{email.value, db.RoleMember})
	}
	for _, role := range append(append(blank(), unstorable(50)...), input[string]{"in another case", "Owner"}, input[string]{"unknown", "admin"}) {
		email := newEmail()
		fields[email] = "Role"
		list = append(list, store.Invitee{email, db.Role(role.value)})
	}
	writesNothing(t, p.st, nil, func() error {
		results, err := p.inviteAll(list...)
		require.Greater(t, len(results), len(list)-4, "few of them repeat")
		for _, r := range results {
			field := fields[r.Email]
			if field == "" {
				field = "Email"
			}
			requireRefused(t, invalid(field), r.Err)
			require.Empty(t, r.Token)
			require.NotContains(t, r.Err.Error(), "example")
		}
		return err
	})

	// Beside them the good ones are invited, and the transaction stays usable.
	good := make(map[string]bool)
	for _, email := range goodEmails() {
		good[strings.ToLower(strings.TrimSpace(email.value))] = true
		list = append(list, store.Invitee{email.value, db.RoleMember})
	}
	require.ErrorIs(t, p.st.InTx(t.Context(), func(tx *store.Store) error {
		results, err := tx.InviteMembers(t.Context(), store.InviteMembers{Actor: p.actor, TeamID: p.team.ID, Invitees: list})
		require.NoError(t, err)
		for _, r := range results {
			require.Equal(t, good[r.Email], r.Err == nil, "%v", r.Err)
		}
		return errRollBack
	}), errRollBack)
}

func (p *premises) activityLife() (cases []inputCase) {
	ctx := p.t.Context()
	record := func(change func(*store.RecordActivity)) call {
		list := make([]store.RecordActivity, 3)
		for i := range list {
			list[i] = store.RecordActivity{TeamID: p.team.ID, UserID: p.owner.ID, Action: "EXPORT", Metadata: map[string]any{"rows": 7}}
		}
		change(&list[1])
		return func(st *store.Store) error { return st.RecordActivities(ctx, list) }
	}
	action := func(s string) call { return record(func(in *store.RecordActivity) { in.Action = db.ActivityType(s) }) }
	metadata := func(m map[string]any) call { return record(func(in *store.RecordActivity) { in.Metadata = m }) }
	with(&cases, "RecordActivities TeamID", unknown(p.team.ID), func(id db.TeamID) call {
		return record(func(in *store.RecordActivity) { in.TeamID = id })
	}, store.ErrNotFound)
	for _, id := range unknown(p.owner.ID)[1:] {
		cases = append(cases, inputCase{name: "RecordActivities UserID " + id.is, want: store.ErrNotFound, endsTx: id.value == math.MaxInt32,
			call: record(func(in *store.RecordActivity) { in.UserID = id.value })})
	}
	with(&cases, "RecordActivities Action", append(blank(), unstorable(100)...), action, invalid("[1].Action"))
	with(&cases, "RecordActivities Action", longest(100), action, nil)
	with(&cases, "RecordActivities Metadata", []input[map[string]any]{
		{"NUL", map[string]any{"a": "b\x00c"}}, {"NUL in a key", map[string]any{"a\x00": 1}},
		{"a channel", map[string]any{"a": make(chan int)}}, {"not a number", map[string]any{"a": math.NaN()}},
	}, metadata, invalid("[1].Metadata"))
	with(&cases, "RecordActivities Metadata", []input[map[string]any]{
		{"none", nil}, {"empty", map[string]any{}}, {"what looks like NUL", map[string]any{"a": `\u0000`}},
	}, metadata, nil)
	for _, m := range []input[any]{{"half a surrogate pair", json.RawMessage(`"\ud800"`)}, {"a huge number", json.Number("1e400000")}} {
		cases = append(cases, inputCase{name: "RecordActivities Metadata " + m.is, want: store.ErrInvalidInput, endsTx: true, call: metadata(map[string]any{"v": m.value})})
	}
	cases = append(cases,
		inputCase{name: "RecordActivities of the system", call: record(func(in *store.RecordActivity) { in.UserID = 0 })},
		inputCase{name: "RecordActivities of a deleted user", call: record(func(in *store.RecordActivity) { in.UserID = p.deleted.ID })},
		inputCase{name: "RecordActivities of nothing", call: func(st *store.Store) error { return st.RecordActivities(ctx, nil) }})

	distant := []input[time.Time]{
		{"none", time.Time{}}, {"before Christ", time.Date(-4712, 1, 1, 0, 0, 0, 0, time.UTC)}, {"before any", time.Unix(math.MinInt64, 0)},
		{"9999", time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)}, {"300000", time.Date(300000, 1, 1, 0, 0, 0, 0, time.UTC)}, {"after any", time.Unix(math.MaxInt64/2, 0)},
	}
	for list, read := range map[string]func(*store.Store, store.ActivityPage) error{
		"TeamActivity": func(st *store.Store, page store.ActivityPage) error {
			_, _, err := st.TeamActivity(ctx, p.team.ID, page)
			return err
		},
		"UserActivity": func(st *store.Store, page store.ActivityPage) error {
			_, _, err := st.UserActivity(ctx, p.owner.ID, page)
			return err
		},
	} {
		of := func(page store.ActivityPage) call {
			return func(st *store.Store) error { return read(st, page) }
		}
		actions := func(s string) call {
			return of(store.ActivityPage{Actions: []db.ActivityType{"EXPORT", db.ActivityType(s)}})
		}
		with(&cases, list+" Actions", append(blank(), unstorable(100)...), actions, invalid("Actions"))
		with(&cases, list+" Actions", longest(100), actions, nil)
		with(&cases, list+" Since", distant, func(at time.Time) call { return of(store.ActivityPage{Since: at}) }, nil)
		with(&cases, list+" Until", distant, func(at time.Time) call { return of(store.ActivityPage{Until: at}) }, nil)
		cases = append(cases,
			inputCase{name: list + " no Actions", call: of(store.ActivityPage{Actions: []db.ActivityType{}})},
			inputCase{name: list + " 100 Actions", call: of(store.ActivityPage{Actions: slices.Repeat([]db.ActivityType{"EXPORT"}, 100)})},
			inputCase{name: list + " 101 Actions", call: of(store.ActivityPage{Actions: slices.Repeat([]db.ActivityType{"EXPORT"}, 101)}), want: invalid("Actions")})
	}

	purge := func(before time.Time, batch int) call {
		return func(st *store.Store) error { _, err := st.PurgeActivity(ctx, before, batch); return err }
	}
	now := time.Now()
	with(&cases, "PurgeActivity batch", []input[int]{
		{"-1", -1}, {"100001", 100_001}, {"2^32+1", 1<<32 + 1}, {"the largest", math.MaxInt}, {"the smallest", math.MinInt},
	}, func(n int) call { return purge(now, n) }, invalid("batch"))
	with(&cases, "PurgeActivity batch", []input[int]{{"none", 0}, {"1", 1}, {"100000", 100_000}}, func(n int) call { return purge(now, n) }, nil)
	with(&cases, "PurgeActivity before", []input[time.Time]{
		distant[1], distant[2], distant[4], distant[5], {"the year 0", time.Date(0, 12, 31, 23, 59, 59, 0, time.UTC)},
	}, func(at time.Time) call { return purge(at, 0) }, invalid("before"))
	with(&cases, "PurgeActivity before", []input[time.Time]{distant[0], {"the end", time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)}}, func(at time.Time) call {
		return purge(at, 0)
	}, nil)
	return cases
}
