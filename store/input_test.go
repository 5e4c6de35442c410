package store_test

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// call is an operation with its input.
type call func(*store.Store) error

// inputCase is a call that is refused and writes nothing or, where want is nil, one
// that is accepted.
type inputCase struct {
	name string
	call call
	want error

	// endsTx: its doc says that a transaction can only be rolled back afterwards.
	endsTx bool
}

// premises are what the cases refer to.
type premises struct {
	*house
	t       *testing.T
	plain   store.SignedUp // a member of the house's team, and no owner
	other   *house         // another team
	deleted db.User        // with the e-mail that the account had
	invited db.Invitation  // to the house's team, of an e-mail without an account
	token   store.Token
	guest   *house      // invited to the other team
	foreign store.Token // the guest's
	bare    db.InvitationID
}

func newPremises(t *testing.T) *premises {
	st := newStore(t)
	p := &premises{t: t, house: newHouse(t, st), other: newHouse(t, st), guest: newHouse(t, st)}
	p.plain = p.join(db.RoleMember)
	gone := newHouse(t, st)
	require.NoError(t, st.DeleteAccount(t.Context(), gone.actor))
	p.deleted = gone.owner
	p.invited, p.token = p.invite(newEmail(), db.RoleMember)
	_, p.foreign = p.other.invite(p.guest.owner.Email, db.RoleMember)
	bare, err := db.NewInvitation{TeamID: p.team.ID, Email: p.guest.owner.Email, Role: db.RoleMember, InvitedBy: p.owner.ID}.
		Insert(t.Context(), admin(st))
	require.NoError(t, err)
	p.bare = bare
	_, _, err = st.CreateTeam(t.Context(), store.CreateTeam{Actor: p.actor, Name: "Second"})
	require.NoError(t, err)
	return p
}

func TestInput(t *testing.T) {
	t.Parallel()
	for _, group := range []struct {
		name  string
		cases func(*premises) []inputCase
	}{
		{"sign-up", (*premises).signUps},
		{"accounts", (*premises).accounts},
		{"teams", (*premises).teamsAndMembers},
		{"invitations", (*premises).invitations},
		{"a team's life", (*premises).teamLife},
		{"invitations of a team's life", (*premises).invitationLife},
		{"activity of a team's life", (*premises).activityLife},
		{"activity", (*premises).activity},
		{"subscriptions", (*premises).subscriptions},
		{"pages", (*premises).pages},
	} {
		t.Run(group.name, func(t *testing.T) {
			t.Parallel()
			p := newPremises(t)
			for _, c := range group.cases(p) {
				t.Run(c.name, func(t *testing.T) { p.check(t, c) })
			}
		})
	}
}

var errRollBack = errors.New("roll back")

func (p *premises) check(t *testing.T, c inputCase) {
	before := snapshot(t, p.st)
	if c.want == nil {
		require.ErrorIs(t, p.st.InTx(t.Context(), func(tx *store.Store) error {
			require.NoError(t, c.call(tx))
			return errRollBack
		}), errRollBack)
		return
	}

	err := c.call(p.st)
	requireRefused(t, c.want, err)
	require.Equal(t, before, snapshot(t, p.st), "rows")
	require.Equal(t, c.endsTx, errors.As(err, new(*pgconn.PgError)), "a PgError is in the chain of what ends a transaction")

	err = p.st.InTx(t.Context(), func(tx *store.Store) error {
		requireRefused(t, c.want, c.call(tx))
		return tx.RecordActivity(t.Context(), store.RecordActivity{TeamID: p.team.ID, Action: "AFTERWARDS"})
	})
	if c.endsTx {
		require.Error(t, err)
	} else {
		require.NoError(t, err)
		require.Len(t, column[int](t, p.st, "DELETE FROM activity_logs WHERE action = 'AFTERWARDS' RETURNING id"), 1)
	}
	require.Equal(t, before, snapshot(t, p.st), "rows after the transaction")
}

var sentinels = []error{
	store.ErrNotFound, store.ErrForbidden, store.ErrConflict, store.ErrInvalidInput, store.ErrInvalidCursor,
	store.ErrEmailTaken, store.ErrLastOwner, store.ErrAlreadyMember, store.ErrAlreadyInvited,
	store.ErrInvitationNotPending, store.ErrInvitationExpired, store.ErrInvitationEmailMismatch,
	store.ErrSeatLimit, store.ErrActiveSubscription, store.ErrStripeIDTaken, store.ErrUnknownCustomer,
}

// requireRefused: err is want and none of the others. An InvalidInputError is for the
// field that want has, and gives a reason.
func requireRefused(t *testing.T, want, err error) {
	t.Helper()
	for _, sentinel := range sentinels {
		require.Equal(t, errors.Is(want, sentinel), errors.Is(err, sentinel), "want %v, got %v", want, err)
	}
	if field, ok := errors.AsType[*store.InvalidInputError](want); ok {
		got, ok := errors.AsType[*store.InvalidInputError](err)
		require.True(t, ok, "%T", err)
		require.Equal(t, field.Field, got.Field)
		require.NotEmpty(t, got.Reason)
	}
}

func invalid(field string) error { return &store.InvalidInputError{Field: field} }

// input is a value with a name for it.
type input[T any] struct {
	is    string
	value T
}

// unstorable are texts that no column takes. max 0 is a column without a limit.
func unstorable(max int) []input[string] {
	inputs := []input[string]{
		{"invalid UTF-8", "a\xffb"},
		{"a cut character", "ab\xc3"},
		{"a surrogate", "a\xed\xa0\x80b"},
		{"NUL", "a\x00b"},
		{"NUL alone", "\x00"},
	}
	if max > 0 {
		inputs = append(inputs,
			input[string]{"too long", strings.Repeat("a", max+1)},
			input[string]{"too long, of 4 bytes each", strings.Repeat("𝄞", max+1)})
	}
	return inputs
}

// blank are texts that say nothing.
func blank() []input[string] {
	return []input[string]{{"empty", ""}, {"white space", " \t\r\n\u00a0\u2003"}}
}

// longest are texts that just fit.
func longest(max int) []input[string] {
	return []input[string]{
		{"the longest", strings.Repeat("a", max)},
		{"the longest, of 4 bytes each", strings.Repeat("𝄞", max)},
	}
}

const domain = "@example.com"

func badEmails() []input[string] {
	inputs := blank()
	for _, text := range unstorable(255 - len(domain)) {
		inputs = append(inputs,
			input[string]{text.is, text.value + domain},
			input[string]{text.is + " in the domain", "a@" + text.value + domain[1:]})
	}
	return append(inputs, []input[string]{
		{"no @", "ada.example.com"},
		{"two @", "ada@home@example.com"},
		{"@@", "ada@@example.com"},
		{"@ alone", " @ "},
		{"nothing before @", " @example.com"},
		{"nothing after @", "ada@ "},
		{"a deleted account's", "ada@example.com-12-deleted"},
		{"a deleted account's in another case", " ada@example.com-12-DELETED "},
	}...)
}

func goodEmails() []input[string] {
	return []input[string]{
		{"the longest", strings.Repeat("a", 255-len(domain)) + domain},
		{"the longest, of 4 bytes each", strings.Repeat("𝄞", 255-len(domain)) + domain},
		{"the longest, in white space", "  " + strings.Repeat("A", 255-len(domain)) + domain + "\n"},
		{"almost a deleted account's", "ada@example.com-12-deleted.org"},
	}
}

// badLimits are numbers of rows that no page has. Cut to 32 bits some would be.
var badLimits = []input[int]{
	{"-1", -1}, {"1001", 1001}, {"2^32+1", 1<<32 + 1}, {"the largest", math.MaxInt}, {"the smallest", math.MinInt},
}

// unknown are ids that no row has. Cut to 32 bits some would be those of a row.
func unknown[T any](known db.ID[T]) []input[db.ID[T]] {
	var inputs []input[db.ID[T]]
	for _, id := range []db.ID[T]{
		0, -1, -known, math.MaxInt32, 1 << 31, 1<<31 + known, 1<<32 + known, 1<<40 + known, math.MaxInt64, math.MinInt64,
	} {
		inputs = append(inputs, input[db.ID[T]]{strconv.FormatInt(int64(id), 10), id})
	}
	return inputs
}

// nobodies are users who can't do anything.
func (p *premises) nobodies() []input[db.UserID] {
	return append(unknown(p.owner.ID), input[db.UserID]{"deleted", p.deleted.ID})
}

// noOwners are users who can't do what an owner of the house's team can.
func (p *premises) noOwners() []input[db.UserID] {
	return append(p.nobodies(),
		input[db.UserID]{"a plain member", p.plain.User.ID},
		input[db.UserID]{"another team's owner", p.other.owner.ID})
}

// with adds a case for each of the inputs.
func with[T any](cases *[]inputCase, name string, inputs []input[T], of func(T) call, want error) {
	for _, in := range inputs {
		*cases = append(*cases, inputCase{name: name + " " + in.is, call: of(in.value), want: want})
	}
}

func (p *premises) signUps() (cases []inputCase) {
	signUp := func(change func(*store.SignUp)) call {
		in := store.SignUp{Email: newEmail(), PasswordHash: "hash", Name: "Ada", TeamName: "House"}
		change(&in)
		return func(st *store.Store) error { _, err := st.SignUp(p.t.Context(), in); return err }
	}
	email := func(s string) call { return signUp(func(in *store.SignUp) { in.Email = s }) }
	hash := func(s string) call { return signUp(func(in *store.SignUp) { in.PasswordHash = db.PasswordHash(s) }) }
	name := func(s string) call { return signUp(func(in *store.SignUp) { in.Name = s }) }
	teamName := func(s string) call { return signUp(func(in *store.SignUp) { in.TeamName = s }) }
	with(&cases, "SignUp Email", badEmails(), email, invalid("Email"))
	with(&cases, "SignUp Email", goodEmails(), email, nil)
	with(&cases, "SignUp PasswordHash", append(blank(), unstorable(0)...), hash, invalid("PasswordHash"))
	with(&cases, "SignUp Name", unstorable(100), name, invalid("Name"))
	with(&cases, "SignUp Name", longest(100), name, nil)
	with(&cases, "SignUp TeamName", append(blank()[1:], unstorable(100)...), teamName, invalid("TeamName"))
	with(&cases, "SignUp TeamName", longest(100), teamName, nil)
	with(&cases, "SignUp", goodEmails(), func(s string) call {
		return signUp(func(in *store.SignUp) { in.Email, in.Name, in.TeamName = s, "", "" })
	}, nil)
	cases = append(cases,
		inputCase{name: "SignUp taken", call: email(p.owner.Email), want: store.ErrEmailTaken},
		inputCase{name: "SignUp taken in another case", call: email(" " + strings.ToUpper(p.owner.Email)), want: store.ErrEmailTaken},
		inputCase{name: "SignUp of a deleted account's e-mail", call: email(p.deleted.Email)})

	join := func(change func(*store.SignUpWithInvitation)) call {
		in := store.SignUpWithInvitation{Token: p.token, Email: p.invited.Email, PasswordHash: "hash", Name: "Ada"}
		change(&in)
		return func(st *store.Store) error { _, err := st.SignUpWithInvitation(p.t.Context(), in); return err }
	}
	joinEmail := func(s string) call { return join(func(in *store.SignUpWithInvitation) { in.Email = s }) }
	joinHash := func(s string) call {
		return join(func(in *store.SignUpWithInvitation) { in.PasswordHash = db.PasswordHash(s) })
	}
	joinName := func(s string) call { return join(func(in *store.SignUpWithInvitation) { in.Name = s }) }
	with(&cases, "SignUpWithInvitation Email", badEmails(), joinEmail, invalid("Email"))
	with(&cases, "SignUpWithInvitation Email", goodEmails(), joinEmail, store.ErrInvitationEmailMismatch)
	with(&cases, "SignUpWithInvitation PasswordHash", append(blank(), unstorable(0)...), joinHash, invalid("PasswordHash"))
	with(&cases, "SignUpWithInvitation Name", unstorable(100), joinName, invalid("Name"))
	with(&cases, "SignUpWithInvitation Name", longest(100), joinName, nil)
	named := func(token store.Token, id db.InvitationID) call {
		return join(func(in *store.SignUpWithInvitation) { in.Token, in.InvitationID = token, id })
	}
	return append(append(cases, p.invitationNames("SignUpWithInvitation", named)...),
		inputCase{name: "SignUpWithInvitation", call: join(func(*store.SignUpWithInvitation) {})},
		inputCase{name: "SignUpWithInvitation another's token", want: store.ErrInvitationEmailMismatch, call: named(p.foreign, 0)},
		inputCase{name: "SignUpWithInvitation another's id", want: store.ErrInvitationEmailMismatch, call: named("", p.bare)},
		inputCase{name: "SignUpWithInvitation taken", want: store.ErrEmailTaken, call: join(func(in *store.SignUpWithInvitation) {
			in.Token, in.Email = p.foreign, p.guest.owner.Email
		})},
	)
}

// invitationNames are the ways to name no invitation, for each operation that takes a
// token or an id.
func (p *premises) invitationNames(op string, named func(store.Token, db.InvitationID) call) (cases []inputCase) {
	with(&cases, op+" InvitationID", unknown(p.bare)[1:], func(id db.InvitationID) call { return named("", id) }, store.ErrNotFound)
	flipped := []byte(p.token)
	flipped[0] ^= 1
	with(&cases, op+" Token", append(append(blank()[1:], unstorable(0)...), []input[string]{
		{"malformed", "not a token!"},
		{"redacted", p.token.String()},
		{"cut short", string(p.token[:len(p.token)-1])},
		{"too long", string(p.token) + "A"},
		{"padded", string(p.token) + "="},
		{"very long", strings.Repeat("A", 1<<16)},
		{"unknown", string(flipped)},
		{"in another case", strings.ToLower(string(p.token))},
	}...), func(s string) call { return named(store.Token(s), 0) }, store.ErrNotFound)
	return append(cases,
		inputCase{name: op + " neither", call: named("", 0), want: invalid("Token")},
		inputCase{name: op + " both", call: named(p.token, p.invited.ID), want: invalid("Token")},
		inputCase{name: op + " by the id of one with a token", call: named("", p.invited.ID), want: store.ErrNotFound})
}

func (p *premises) accounts() (cases []inputCase) {
	ctx := p.t.Context()
	notFound := append(badEmails(), []input[string]{
		{"unknown", "nobody@example.com"},
		{"deleted", p.deleted.Email},
		{"deleted, rewritten", p.deleted.Email + "-" + strconv.FormatInt(int64(p.deleted.ID), 10) + "-deleted"},
	}...)
	credentials := func(s string) call {
		return func(st *store.Store) error { _, err := st.Credentials(ctx, s); return err }
	}
	userByEmail := func(s string) call {
		return func(st *store.Store) error { _, err := st.UserByEmail(ctx, s); return err }
	}
	with(&cases, "Credentials", notFound, credentials, store.ErrNotFound)
	with(&cases, "UserByEmail", notFound, userByEmail, store.ErrNotFound)
	typed := "\t" + strings.ToUpper(p.owner.Email) + " "
	cases = append(cases,
		inputCase{name: "Credentials in another case", call: credentials(typed)},
		inputCase{name: "UserByEmail in another case", call: userByEmail(typed)})

	nobodies := p.nobodies()
	as := func(op func(*store.Store, store.Actor) error) func(db.UserID) call {
		return func(id db.UserID) call {
			return func(st *store.Store) error { return op(st, store.Actor{UserID: id, IP: anIP}) }
		}
	}
	with(&cases, "User", nobodies, as(func(st *store.Store, a store.Actor) error {
		_, err := st.User(ctx, a.UserID)
		return err
	}), store.ErrNotFound)
	with(&cases, "RecordSignIn", nobodies, as(func(st *store.Store, a store.Actor) error {
		return st.RecordSignIn(ctx, a)
	}), store.ErrNotFound)
	with(&cases, "RecordSignOut", nobodies, as(func(st *store.Store, a store.Actor) error {
		return st.RecordSignOut(ctx, a)
	}), store.ErrNotFound)
	with(&cases, "DeleteAccount", nobodies, as(func(st *store.Store, a store.Actor) error {
		return st.DeleteAccount(ctx, a)
	}), store.ErrNotFound)

	update := func(in store.UpdateAccount) call {
		return func(st *store.Store) error { _, err := st.UpdateAccount(ctx, in); return err }
	}
	name := func(s string) call { return update(store.UpdateAccount{Actor: p.actor, Name: &s}) }
	email := func(s string) call { return update(store.UpdateAccount{Actor: p.actor, Email: &s}) }
	with(&cases, "UpdateAccount Actor", nobodies, as(func(st *store.Store, a store.Actor) error {
		return update(store.UpdateAccount{Actor: a, Name: new("Ada"), Email: new("new@example.com")})(st)
	}), store.ErrNotFound)
	with(&cases, "UpdateAccount Name", unstorable(100), name, invalid("Name"))
	with(&cases, "UpdateAccount Name", append(longest(100), input[string]{"empty", ""}), name, nil)
	with(&cases, "UpdateAccount Email", badEmails(), email, invalid("Email"))
	with(&cases, "UpdateAccount Email", goodEmails(), email, nil)
	cases = append(cases,
		inputCase{name: "UpdateAccount of nothing", call: update(store.UpdateAccount{Actor: p.actor}), want: invalid("Name")},
		inputCase{name: "UpdateAccount taken", call: email(p.other.owner.Email), want: store.ErrEmailTaken, endsTx: true},
		inputCase{name: "UpdateAccount taken in another case", call: email(strings.ToUpper(p.other.owner.Email)), want: store.ErrEmailTaken, endsTx: true},
		inputCase{name: "UpdateAccount of what it is", call: email(p.owner.Email)})

	password := func(in store.UpdatePassword) call {
		return func(st *store.Store) error { return st.UpdatePassword(ctx, in) }
	}
	with(&cases, "UpdatePassword Actor", nobodies, as(func(st *store.Store, a store.Actor) error {
		return password(store.UpdatePassword{Actor: a, PasswordHash: "new", Expected: "hash"})(st)
	}), store.ErrNotFound)
	with(&cases, "UpdatePassword PasswordHash", append(blank(), unstorable(0)...), func(s string) call {
		return password(store.UpdatePassword{Actor: p.actor, PasswordHash: db.PasswordHash(s)})
	}, invalid("PasswordHash"))
	with(&cases, "UpdatePassword Expected", unstorable(0), func(s string) call {
		return password(store.UpdatePassword{Actor: p.actor, PasswordHash: "new", Expected: db.PasswordHash(s)})
	}, invalid("Expected"))
	return append(cases,
		inputCase{name: "UpdatePassword", call: password(store.UpdatePassword{Actor: p.actor, PasswordHash: "new"})},
		inputCase{name: "UpdatePassword with another one expected", want: store.ErrConflict,
			call: password(store.UpdatePassword{Actor: p.actor, PasswordHash: "new", Expected: "Hash"})})
}

func (p *premises) teamsAndMembers() (cases []inputCase) {
	ctx := p.t.Context()
	with(&cases, "Team", unknown(p.team.ID), func(id db.TeamID) call {
		return func(st *store.Store) error { _, err := st.Team(ctx, id); return err }
	}, store.ErrNotFound)
	with(&cases, "TeamWithMembers", unknown(p.team.ID), func(id db.TeamID) call {
		return func(st *store.Store) error { _, err := st.TeamWithMembers(ctx, id); return err }
	}, store.ErrNotFound)
	with(&cases, "TeamForUser", p.nobodies(), func(id db.UserID) call {
		return func(st *store.Store) error { _, err := st.TeamForUser(ctx, id); return err }
	}, store.ErrNotFound)

	create := func(in store.CreateTeam) call {
		return func(st *store.Store) error { _, _, err := st.CreateTeam(ctx, in); return err }
	}
	name := func(s string) call { return create(store.CreateTeam{Actor: p.actor, Name: s}) }
	with(&cases, "CreateTeam Actor", p.nobodies(), func(id db.UserID) call {
		return create(store.CreateTeam{Actor: store.Actor{UserID: id}, Name: "Third"})
	}, store.ErrNotFound)
	with(&cases, "CreateTeam Name", append(blank(), unstorable(100)...), name, invalid("Name"))
	with(&cases, "CreateTeam Name", longest(100), name, nil)

	remove := func(actor db.UserID, team db.TeamID, member db.TeamMemberID) call {
		return func(st *store.Store) error {
			return st.RemoveMember(ctx, store.RemoveMember{Actor: store.Actor{UserID: actor}, TeamID: team, MemberID: member})
		}
	}
	with(&cases, "RemoveMember Actor", p.noOwners(), func(id db.UserID) call {
		return remove(id, p.team.ID, p.plain.TeamMember.ID)
	}, store.ErrForbidden)
	with(&cases, "RemoveMember TeamID", append(unknown(p.team.ID), input[db.TeamID]{"of another team", p.other.team.ID}), func(id db.TeamID) call {
		return remove(p.owner.ID, id, p.plain.TeamMember.ID)
	}, store.ErrForbidden)
	with(&cases, "RemoveMember MemberID", append(unknown(p.plain.TeamMember.ID), input[db.TeamMemberID]{"of another team", p.other.seat.ID}), func(id db.TeamMemberID) call {
		return remove(p.owner.ID, p.team.ID, id)
	}, store.ErrNotFound)
	return append(cases, inputCase{name: "RemoveMember", call: remove(p.owner.ID, p.team.ID, p.plain.TeamMember.ID)})
}

func (p *premises) invitations() (cases []inputCase) {
	ctx := p.t.Context()
	invite := func(change func(*store.InviteMember)) call {
		in := store.InviteMember{Actor: p.actor, TeamID: p.team.ID, Email: newEmail(), Role: db.RoleMember}
		change(&in)
		return func(st *store.Store) error { _, _, err := st.InviteMember(ctx, in); return err }
	}
	email := func(s string) call { return invite(func(in *store.InviteMember) { in.Email = s }) }
	role := func(s string) call { return invite(func(in *store.InviteMember) { in.Role = db.Role(s) }) }
	ttl := func(d time.Duration) call { return invite(func(in *store.InviteMember) { in.TTL = d }) }
	const year = 365 * 24 * time.Hour
	with(&cases, "InviteMember Actor", p.noOwners(), func(id db.UserID) call {
		return invite(func(in *store.InviteMember) { in.Actor.UserID = id })
	}, store.ErrForbidden)
	with(&cases, "InviteMember TeamID", append(unknown(p.team.ID), input[db.TeamID]{"of another team", p.other.team.ID}), func(id db.TeamID) call {
		return invite(func(in *store.InviteMember) { in.TeamID = id })
	}, store.ErrForbidden)
	with(&cases, "InviteMember Email", badEmails(), email, invalid("Email"))
	with(&cases, "InviteMember Email", append(goodEmails(), input[string]{"of a deleted account", p.deleted.Email}), email, nil)
	with(&cases, "InviteMember Email", []input[string]{
		{"of a member", p.plain.User.Email}, {"of the actor in another case", strings.ToUpper(p.owner.Email)},
	}, email, store.ErrAlreadyMember)
	with(&cases, "InviteMember Email", []input[string]{
		{"invited", p.invited.Email}, {"invited, in another case", " " + strings.ToUpper(p.invited.Email)},
	}, email, store.ErrAlreadyInvited)
	with(&cases, "InviteMember Role", append(append(blank(), unstorable(50)...), []input[string]{
		{"in another case", "Owner"}, {"in white space", "owner "}, {"unknown", "admin"},
	}...), role, invalid("Role"))
	with(&cases, "InviteMember Role", []input[string]{{"owner", "owner"}, {"member", "member"}}, role, nil)
	with(&cases, "InviteMember TTL", []input[time.Duration]{
		{"negative", -1}, {"a week ago", -7 * 24 * time.Hour}, {"over a year", year + 1},
		{"the longest", math.MaxInt64}, {"the most negative", math.MinInt64},
	}, ttl, invalid("TTL"))
	with(&cases, "InviteMember TTL", []input[time.Duration]{{"none", 0}, {"a second", time.Second}, {"a year", year}}, ttl, nil)

	accept := func(actor db.UserID, token store.Token, id db.InvitationID) call {
		return func(st *store.Store) error {
			_, _, err := st.AcceptInvitation(ctx, store.AcceptInvitation{Actor: store.Actor{UserID: actor}, Token: token, InvitationID: id})
			return err
		}
	}
	decline := func(actor db.UserID, token store.Token, id db.InvitationID) call {
		return func(st *store.Store) error {
			return st.DeclineInvitation(ctx, store.DeclineInvitation{Actor: store.Actor{UserID: actor}, Token: token, InvitationID: id})
		}
	}
	guest := p.guest.owner.ID
	for op, take := range map[string]func(db.UserID, store.Token, db.InvitationID) call{
		"AcceptInvitation": accept, "DeclineInvitation": decline,
	} {
		with(&cases, op+" Actor", p.nobodies(), func(id db.UserID) call { return take(id, p.foreign, 0) }, store.ErrNotFound)
		cases = append(cases, p.invitationNames(op, func(token store.Token, id db.InvitationID) call { return take(guest, token, id) })...)
		cases = append(cases,
			inputCase{name: op + " another's token", call: take(guest, p.token, 0), want: store.ErrInvitationEmailMismatch},
			inputCase{name: op + " another's id", call: take(p.plain.User.ID, "", p.bare), want: store.ErrInvitationEmailMismatch},
			inputCase{name: op + " by token", call: take(guest, p.foreign, 0)},
			inputCase{name: op + " by id", call: take(guest, "", p.bare)})
	}

	cancel := func(actor db.UserID, team db.TeamID, id db.InvitationID) call {
		return func(st *store.Store) error {
			return st.CancelInvitation(ctx, store.CancelInvitation{Actor: store.Actor{UserID: actor}, TeamID: team, InvitationID: id})
		}
	}
	with(&cases, "CancelInvitation Actor", p.noOwners(), func(id db.UserID) call {
		return cancel(id, p.team.ID, p.invited.ID)
	}, store.ErrForbidden)
	with(&cases, "CancelInvitation TeamID", append(unknown(p.team.ID), input[db.TeamID]{"of another team", p.other.team.ID}), func(id db.TeamID) call {
		return cancel(p.owner.ID, id, p.invited.ID)
	}, store.ErrForbidden)
	with(&cases, "CancelInvitation InvitationID", unknown(p.invited.ID), func(id db.InvitationID) call {
		return cancel(p.owner.ID, p.team.ID, id)
	}, store.ErrNotFound)
	return append(cases,
		inputCase{name: "CancelInvitation of another team's", call: cancel(p.other.owner.ID, p.other.team.ID, p.invited.ID), want: store.ErrNotFound},
		inputCase{name: "CancelInvitation", call: cancel(p.owner.ID, p.team.ID, p.invited.ID)})
}

func (p *premises) activity() (cases []inputCase) {
	record := func(change func(*store.RecordActivity)) call {
		in := store.RecordActivity{TeamID: p.team.ID, UserID: p.owner.ID, Action: "EXPORT", Metadata: map[string]any{"rows": 7}}
		change(&in)
		return func(st *store.Store) error { return st.RecordActivity(p.t.Context(), in) }
	}
	action := func(s string) call { return record(func(in *store.RecordActivity) { in.Action = db.ActivityType(s) }) }
	metadata := func(m map[string]any) call { return record(func(in *store.RecordActivity) { in.Metadata = m }) }
	with(&cases, "RecordActivity TeamID", unknown(p.team.ID), func(id db.TeamID) call {
		return record(func(in *store.RecordActivity) { in.TeamID = id })
	}, store.ErrNotFound)
	for _, id := range unknown(p.owner.ID)[1:] {
		cases = append(cases, inputCase{name: "RecordActivity UserID " + id.is, want: store.ErrNotFound, endsTx: true,
			call: record(func(in *store.RecordActivity) { in.UserID = id.value })})
	}
	with(&cases, "RecordActivity Action", append(blank(), unstorable(100)...), action, invalid("Action"))
	with(&cases, "RecordActivity Action", longest(100), action, nil)
	with(&cases, "RecordActivity Metadata", []input[map[string]any]{
		{"NUL", map[string]any{"a": "b\x00c"}},
		{"NUL in a key", map[string]any{"a\x00": 1}},
		{"NUL further down", map[string]any{"a": []any{map[string]string{"b": "\x00"}}}},
		{"NUL after a backslash", map[string]any{"a": "\\\x00"}},
		{"a channel", map[string]any{"a": make(chan int)}},
		{"not a number", map[string]any{"a": math.NaN()}},
		{"endless", map[string]any{"a": math.Inf(1)}},
	}, metadata, invalid("Metadata"))
	with(&cases, "RecordActivity Metadata", []input[map[string]any]{
		{"none", nil},
		{"empty", map[string]any{}},
		{"what looks like NUL", map[string]any{"a": `\u0000`, `\\u0000`: `\\\u0000`}},
		{"nested", map[string]any{"a": []any{nil, true, 1.5, "𝄞", map[string]any{}}}},
	}, metadata, nil)
	return append(cases, inputCase{name: "RecordActivity of the system", call: record(func(in *store.RecordActivity) { in.UserID = 0 })})
}

func (p *premises) subscriptions() (cases []inputCase) {
	ctx := p.t.Context()
	customer := p.other.linkCustomer()
	require.NoError(p.t, p.st.UpdateSubscription(ctx, store.UpdateSubscription{TeamID: p.other.team.ID, SubscriptionID: "sub_other"}))
	notFound := append(append(blank(), unstorable(255)...), []input[string]{
		{"unknown", "cus_unknown"}, {"in another case", strings.ToUpper(customer)},
	}...)
	byCustomer := func(s string) call {
		return func(st *store.Store) error { _, err := st.TeamByStripeCustomerID(ctx, s); return err }
	}
	with(&cases, "TeamByStripeCustomerID", notFound, byCustomer, store.ErrNotFound)
	cases = append(cases, inputCase{name: "TeamByStripeCustomerID", call: byCustomer(customer)})

	link := func(change func(*store.LinkStripeCustomer)) call {
		in := store.LinkStripeCustomer{Actor: p.actor, TeamID: p.team.ID, CustomerID: "cus_new"}
		change(&in)
		return func(st *store.Store) error { return st.LinkStripeCustomer(ctx, in) }
	}
	customerID := func(s string) call { return link(func(in *store.LinkStripeCustomer) { in.CustomerID = s }) }
	with(&cases, "LinkStripeCustomer TeamID", unknown(p.team.ID), func(id db.TeamID) call {
		return link(func(in *store.LinkStripeCustomer) { in.TeamID = id })
	}, store.ErrNotFound)
	with(&cases, "LinkStripeCustomer CustomerID", append(blank(), unstorable(255)...), customerID, invalid("CustomerID"))
	with(&cases, "LinkStripeCustomer CustomerID", longest(255), customerID, nil)

	update := func(change func(*store.UpdateSubscription)) call {
		in := store.UpdateSubscription{Actor: p.actor, TeamID: p.team.ID, SubscriptionID: "sub_new", ProductID: "prod_new", PlanName: "Plus", Status: db.SubscriptionActive}
		change(&in)
		return func(st *store.Store) error { return st.UpdateSubscription(ctx, in) }
	}
	with(&cases, "UpdateSubscription TeamID", unknown(p.team.ID), func(id db.TeamID) call {
		return update(func(in *store.UpdateSubscription) { in.TeamID = id })
	}, store.ErrNotFound)
	for field, set := range map[string]struct {
		max int
		of  func(string) call
	}{
		"SubscriptionID": {255, func(s string) call { return update(func(in *store.UpdateSubscription) { in.SubscriptionID = s }) }},
		"ProductID":      {255, func(s string) call { return update(func(in *store.UpdateSubscription) { in.ProductID = s }) }},
		"PlanName":       {50, func(s string) call { return update(func(in *store.UpdateSubscription) { in.PlanName = s }) }},
	} {
		with(&cases, "UpdateSubscription "+field, unstorable(set.max), set.of, invalid(field))
		with(&cases, "UpdateSubscription "+field, append(longest(set.max), blank()[0]), set.of, nil)
	}
	status := func(s string) call {
		return update(func(in *store.UpdateSubscription) { in.Status = db.SubscriptionStatus(s) })
	}
	with(&cases, "UpdateSubscription Status", append(append(blank()[1:], unstorable(20)...), []input[string]{
		{"in another case", "Active"}, {"in white space", "active "}, {"unknown", "ended"},
	}...), status, invalid("Status"))
	with(&cases, "UpdateSubscription Status", []input[string]{{"empty", ""}, {"the longest", string(db.SubscriptionIncompleteExpired)}}, status, nil)

	// What actors may is not checked, but that they ever were.
	for _, id := range unknown(p.owner.ID)[1:] {
		cases = append(cases,
			inputCase{name: "LinkStripeCustomer Actor " + id.is, want: store.ErrNotFound,
				call: link(func(in *store.LinkStripeCustomer) { in.Actor.UserID = id.value })},
			inputCase{name: "UpdateSubscription Actor " + id.is, want: store.ErrNotFound,
				call: update(func(in *store.UpdateSubscription) { in.Actor.UserID = id.value })})
	}
	return append(cases,
		inputCase{name: "LinkStripeCustomer of the system", call: link(func(in *store.LinkStripeCustomer) { in.Actor = store.Actor{} })},
		inputCase{name: "LinkStripeCustomer taken", call: customerID(customer), want: store.ErrStripeIDTaken, endsTx: true},
		inputCase{name: "UpdateSubscription taken", want: store.ErrStripeIDTaken, endsTx: true,
			call: update(func(in *store.UpdateSubscription) { in.SubscriptionID = "sub_other" })})
}

// pages has every read that takes a page, a limit or a list of ids.
func (p *premises) pages() (cases []inputCase) {
	ctx := p.t.Context()

	// The first house of a database: its team and its owner have the same id, so that
	// only the list tells the cursors apart.
	of, other := int64(p.team.ID), int64(p.other.team.ID)
	require.EqualValues(p.t, of, p.owner.ID)
	exec(p.t, p.st, `INSERT INTO invitations (team_id, email, role, invited_by) SELECT id, 'pages' || $1::integer || '@example.com', 'member', $1 FROM teams`, of)
	firstOf := func(list pagedList) store.Cursor {
		_, next, err := list.read(ctx, p.st, of, store.Page{Limit: 1})
		require.NoError(p.t, err)
		require.NotEmpty(p.t, next, list.name)
		return next
	}
	for _, list := range pagedLists {
		if strings.Contains(list.name, "of two actions") { // a part of the same list: its cursors are the list's
			continue
		}
		read := func(of int64, page store.Page) call {
			return func(st *store.Store) error { _, _, err := list.read(ctx, st, of, page); return err }
		}
		limit := func(n int) call { return read(of, store.Page{Limit: n}) }
		after := func(cursor string) call { return read(of, store.Page{After: store.Cursor(cursor)}) }
		next := firstOf(list)
		with(&cases, list.name+" Limit", badLimits, limit, invalid("Limit"))
		with(&cases, list.name+" Limit", []input[int]{{"none", 0}, {"1", 1}, {"1000", 1000}}, limit, nil)
		with(&cases, list.name+" After", append(append(blank()[1:], unstorable(0)...), []input[string]{
			{"garbage", "not a cursor!"},
			{"cut short", string(next[:len(next)-1])},
			{"half", string(next[:len(next)/2])},
			{"too long", string(next) + "A"},
			{"padded", string(next) + "="},
			{"twice", string(next + next)},
			{"all zero", strings.Repeat("A", len(next))},
			{"very long", strings.Repeat("A", 1<<16)},
		}...), after, store.ErrInvalidCursor)
		for _, another := range pagedLists {
			if another.name != list.name && !strings.Contains(another.name, "of two actions") {
				cases = append(cases, inputCase{name: list.name + " After of " + another.name, call: after(string(firstOf(another))), want: store.ErrInvalidCursor})
			}
		}
		cases = append(cases,
			inputCase{name: list.name + " After another's", call: read(other, store.Page{After: next}), want: store.ErrInvalidCursor},
			inputCase{name: list.name + " After of its own", call: after(string(next))},
			inputCase{name: list.name + " After with a bit flipped", want: store.ErrInvalidCursor, call: func(st *store.Store) error {
				for i := range 8 * len(next) {
					flipped := []byte(next)
					flipped[i/8] ^= 1 << (i % 8)
					if err := after(string(flipped))(st); !errors.Is(err, store.ErrInvalidCursor) {
						return fmt.Errorf("%q is accepted: %w", flipped, err)
					}
				}
				return store.ErrInvalidCursor
			}})
	}

	many := func(name, field string, read func(st *store.Store, ids []int64, limitEach int) error) {
		of := func(ids []int64, limitEach int) call {
			return func(st *store.Store) error { return read(st, ids, limitEach) }
		}
		with(&cases, name, []input[int]{{"1001", 1001}, {"1<<16", 1 << 16}}, func(n int) call { return of(make([]int64, n), 1) }, invalid(field))
		with(&cases, name, []input[[]int64]{
			{"none", nil}, {"1000", make([]int64, 1000)}, {"unknown", []int64{-1, math.MaxInt64, math.MinInt64, 1 << 31, 1<<32 + 1}},
		}, func(ids []int64) call { return of(ids, 1000) }, nil)
		with(&cases, name+" limitEach", badLimits, func(limit int) call { return of([]int64{1}, limit) }, invalid("limitEach"))
	}
	many("MembersOfTeams", "teams", func(st *store.Store, ids []int64, n int) error {
		_, err := st.MembersOfTeams(ctx, idsOf[db.TeamID](ids), n)
		return err
	})
	many("ActivityOfTeams", "teams", func(st *store.Store, ids []int64, n int) error {
		_, err := st.ActivityOfTeams(ctx, idsOf[db.TeamID](ids), n)
		return err
	})
	many("InvitationsOfTeams", "teams", func(st *store.Store, ids []int64, n int) error {
		_, err := st.InvitationsOfTeams(ctx, idsOf[db.TeamID](ids), n)
		return err
	})
	many("MembershipsOfUsers", "users", func(st *store.Store, ids []int64, n int) error {
		_, err := st.MembershipsOfUsers(ctx, idsOf[db.UserID](ids), n)
		return err
	})
	many("InvitationsSentByUsers", "users", func(st *store.Store, ids []int64, n int) error {
		_, err := st.InvitationsSentByUsers(ctx, idsOf[db.UserID](ids), n)
		return err
	})
	return append(cases,
		inputCase{name: "Users 1001", want: invalid("ids"), call: func(st *store.Store) error {
			_, err := st.Users(ctx, make([]db.UserID, 1001))
			return err
		}},
		inputCase{name: "Teams 1001", want: invalid("ids"), call: func(st *store.Store) error {
			_, err := st.Teams(ctx, make([]db.TeamID, 1001))
			return err
		}})
}

func idsOf[ID ~int64](ids []int64) []ID {
	typed := make([]ID, len(ids))
	for i, id := range ids {
		typed[i] = ID(id)
	}
	return typed
}

// What a list answers for an id that no row has, or that a cut to 32 bits would make
// the id of one: nothing.
func TestUnknownIDsHaveNoRows(t *testing.T) {
	t.Parallel()
	p := newPremises(t)
	ctx := t.Context()
	var ids []int64
	for _, id := range unknown(p.team.ID) { // and of the owner, whose id it is too
		ids = append(ids, int64(id.value))
	}
	require.EqualValues(t, p.team.ID, p.owner.ID)
	teamIDs, userIDs := idsOf[db.TeamID](ids), idsOf[db.UserID](ids)
	for name, read := range map[string]func() (any, error){
		"Users":                  func() (any, error) { return p.st.Users(ctx, userIDs) },
		"Teams":                  func() (any, error) { return p.st.Teams(ctx, teamIDs) },
		"MembersOfTeams":         func() (any, error) { return p.st.MembersOfTeams(ctx, teamIDs, 0) },
		"ActivityOfTeams":        func() (any, error) { return p.st.ActivityOfTeams(ctx, teamIDs, 0) },
		"InvitationsOfTeams":     func() (any, error) { return p.st.InvitationsOfTeams(ctx, teamIDs, 0) },
		"MembershipsOfUsers":     func() (any, error) { return p.st.MembershipsOfUsers(ctx, userIDs, 0) },
		"InvitationsSentByUsers": func() (any, error) { return p.st.InvitationsSentByUsers(ctx, userIDs, 0) },
	} {
		rows, err := read()
		require.NoError(t, err, name)
		require.Empty(t, rows, name)
		require.NotNil(t, rows, name)
	}
	for _, list := range pagedLists {
		for _, id := range ids {
			rows, next, err := list.read(ctx, p.st, id, store.Page{})
			require.NoError(t, err, list.name)
			require.Empty(t, rows, "%s of %d", list.name, id)
			require.Empty(t, next, list.name)
		}
	}
}
