package store_test

import (
	"context"
	"errors"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// The targets of package store hold what its checks let through to what Postgres makes of
// it. Each has one database; what an execution writes is rolled back, as a rule, so that no
// input meets what another one left. bash .ci/fuzz runs them; go test runs what they have
// found so far, in testdata/fuzz.

// rolledBack runs f in a transaction that leaves nothing behind.
func rolledBack(t *testing.T, st *store.Store, f func(tx *store.Store)) {
	t.Helper()
	require.ErrorIs(t, st.InTx(t.Context(), func(tx *store.Store) error {
		f(tx)
		return errRollBack
	}), errRollBack)
}

// requireUsable: the transaction can go on.
func requireUsable(t *testing.T, tx *store.Store) {
	t.Helper()
	require.EqualValues(t, 'T', tx.Conn().(pgx.Tx).Conn().PgConn().TxStatus(), "the transaction's status")
}

// reasons are all that an InvalidInputError says of a text: never the text.
var reasons = regexp.MustCompile(`^must (be valid UTF-8|not contain a NUL character|have at most \d+ characters|not be empty|` +
	`be an e-mail address: something, one @, something|not end as a deleted account's does|not be the text that stands for a hash in JSON)$`)

// requireInvalid: err refuses a field, says why without saying what, and leaves the
// transaction usable.
func requireInvalid(t *testing.T, tx *store.Store, err error, field string) {
	t.Helper()
	invalid, ok := errors.AsType[*store.InvalidInputError](err)
	require.True(t, ok, "%T: %v", err, err)
	require.ErrorIs(t, err, store.ErrInvalidInput)
	require.Equal(t, field, invalid.Field)
	require.Regexp(t, reasons, invalid.Reason)
	requireUsable(t, tx)
}

// textColumn is a column that an operation writes a text to.
type textColumn struct {
	name   string
	field  string // as an InvalidInputError names it
	max    int    // in characters; 0 is no limit
	needed bool   // what is blank is refused, instead of stored as NULL
	cut    bool   // what is too long is cut, instead of refused
	quiet  bool   // written again, it changes nothing and logs nothing

	write  func(ctx context.Context, tx *store.Store, h *house, text string) error
	stored string // the query for what was written; $1 is the house's team
}

const (
	ofTeam = " FROM teams WHERE id = $1"
	newest = " ORDER BY id DESC LIMIT 1"
)

var textColumns = []textColumn{
	{name: "SignUp Name", field: "Name", max: 100, stored: "SELECT name FROM users" + newest,
		write: func(ctx context.Context, tx *store.Store, _ *house, text string) error {
			su, err := tx.SignUp(ctx, store.SignUp{Email: "new@example.com", PasswordHash: "hash", Name: text})
			return asRead(su.User, err, func() (db.User, error) { return tx.User(ctx, su.User.ID) })
		}},
	{name: "SignUp TeamName", field: "TeamName", max: 100, needed: true, stored: "SELECT name FROM teams" + newest,
		write: func(ctx context.Context, tx *store.Store, _ *house, text string) error {
			if text == "" {
				text = " " // no text is the default name, which is no matter of this one
			}
			su, err := tx.SignUp(ctx, store.SignUp{Email: "new@example.com", PasswordHash: "hash", TeamName: text})
			return asRead(su.Team, err, func() (db.Team, error) { return tx.Team(ctx, su.Team.ID) })
		}},
	{name: "SignUp PasswordHash", field: "PasswordHash", needed: true, stored: "SELECT password_hash FROM users" + newest,
		write: func(ctx context.Context, tx *store.Store, _ *house, text string) error {
			_, err := tx.SignUp(ctx, store.SignUp{Email: "new@example.com", PasswordHash: db.PasswordHash(text)})
			return err
		}},
	{name: "UpdatePassword", field: "PasswordHash", needed: true, stored: "SELECT password_hash FROM users JOIN team_members ON user_id = users.id WHERE team_id = $1",
		write: func(ctx context.Context, tx *store.Store, h *house, text string) error {
			hash := db.PasswordHash(text)
			if err := tx.UpdatePassword(ctx, store.UpdatePassword{Actor: h.actor, PasswordHash: hash}); err != nil {
				return err
			}
			// What was written is found again, by the check of a sign-in and as what is expected.
			if got, err := tx.Credentials(ctx, h.owner.Email); err != nil || got != (store.Credentials{UserID: h.owner.ID, PasswordHash: hash}) {
				return errors.Join(errors.New("Credentials has another hash"), err)
			}
			return tx.UpdatePassword(ctx, store.UpdatePassword{Actor: h.actor, PasswordHash: hash, Expected: hash})
		}},
	{name: "UpdateAccount Name", field: "Name", max: 100, stored: "SELECT users.name FROM users JOIN team_members ON user_id = users.id WHERE team_id = $1",
		write: func(ctx context.Context, tx *store.Store, h *house, text string) error {
			user, err := tx.UpdateAccount(ctx, store.UpdateAccount{Actor: h.actor, Name: &text})
			return asRead(user, err, func() (db.User, error) { return tx.User(ctx, user.ID) })
		}},
	{name: "CreateTeam Name", field: "Name", max: 100, needed: true, stored: "SELECT name FROM teams" + newest,
		write: func(ctx context.Context, tx *store.Store, h *house, text string) error {
			team, _, err := tx.CreateTeam(ctx, store.CreateTeam{Actor: h.actor, Name: text})
			return asRead(team, err, func() (db.Team, error) { return tx.Team(ctx, team.ID) })
		}},
	{name: "RenameTeam Name", field: "Name", max: 100, needed: true, quiet: true, stored: "SELECT name" + ofTeam,
		write: func(ctx context.Context, tx *store.Store, h *house, text string) error {
			return tx.RenameTeam(ctx, store.RenameTeam{Actor: h.actor, TeamID: h.team.ID, Name: text})
		}},
	{name: "LinkStripeCustomer", field: "CustomerID", max: 255, needed: true, quiet: true, stored: "SELECT stripe_customer_id" + ofTeam,
		write: func(ctx context.Context, tx *store.Store, h *house, text string) error {
			if err := tx.LinkStripeCustomer(ctx, store.LinkStripeCustomer{TeamID: h.team.ID, CustomerID: text}); err != nil {
				if _, err := tx.TeamByStripeCustomerID(ctx, text); !errors.Is(err, store.ErrNotFound) {
					return errors.Join(errors.New("what can't be a customer is looked for"), err)
				}
				return err
			}
			team, err := tx.TeamByStripeCustomerID(ctx, text)
			if err == nil && team.ID != h.team.ID {
				return errors.New("the customer is another team's")
			}
			return err
		}},
	{name: "UpdateSubscription SubscriptionID", field: "SubscriptionID", max: 255, quiet: true, stored: "SELECT stripe_subscription_id" + ofTeam,
		write: func(ctx context.Context, tx *store.Store, h *house, text string) error {
			return tx.UpdateSubscription(ctx, store.UpdateSubscription{TeamID: h.team.ID, SubscriptionID: text})
		}},
	{name: "UpdateSubscription ProductID", field: "ProductID", max: 255, quiet: true, stored: "SELECT stripe_product_id" + ofTeam,
		write: func(ctx context.Context, tx *store.Store, h *house, text string) error {
			return tx.UpdateSubscription(ctx, store.UpdateSubscription{TeamID: h.team.ID, ProductID: text})
		}},
	{name: "UpdateSubscription PlanName", field: "PlanName", max: 50, quiet: true, stored: "SELECT plan_name" + ofTeam,
		write: func(ctx context.Context, tx *store.Store, h *house, text string) error {
			return tx.UpdateSubscription(ctx, store.UpdateSubscription{TeamID: h.team.ID, PlanName: text})
		}},
	{name: "ApplySubscription EventID", field: "EventID", max: 255, needed: true, stored: "SELECT event_id FROM subscriptions WHERE team_id = $1",
		write: applied(func(in *store.ApplySubscription, text string) { in.EventID = text })},
	{name: "ApplySubscription EventType", field: "EventType", max: 255, needed: true, stored: "SELECT type FROM subscription_events ORDER BY received_at DESC LIMIT 1",
		write: applied(func(in *store.ApplySubscription, text string) { in.EventType = text })},
	{name: "ApplySubscription ID", field: "Subscription.ID", max: 255, needed: true, stored: "SELECT stripe_subscription_id" + ofTeam,
		write: applied(func(in *store.ApplySubscription, text string) { in.Subscription.ID = text })},
	{name: "ApplySubscription ProductID", field: "Subscription.ProductID", max: 255, stored: "SELECT stripe_product_id" + ofTeam,
		write: applied(func(in *store.ApplySubscription, text string) { in.Subscription.ProductID = text })},
	{name: "ApplySubscription PriceID", field: "Subscription.PriceID", max: 255, stored: "SELECT stripe_price_id FROM subscriptions WHERE team_id = $1",
		write: applied(func(in *store.ApplySubscription, text string) { in.Subscription.PriceID = text })},
	{name: "ApplySubscription PlanName", field: "Subscription.PlanName", max: 50, cut: true, stored: "SELECT plan_name" + ofTeam,
		write: applied(func(in *store.ApplySubscription, text string) { in.Subscription.PlanName = text })},
	{name: "RecordActivity Action", field: "Action", max: 100, needed: true, stored: "SELECT action FROM activity_logs" + newest,
		write: func(ctx context.Context, tx *store.Store, h *house, text string) error {
			action := db.ActivityType(text)
			err := tx.RecordActivity(ctx, store.RecordActivity{TeamID: h.team.ID, Action: action})
			logged, _, readErr := tx.TeamActivity(ctx, h.team.ID, store.ActivityPage{Actions: []db.ActivityType{action}})
			switch {
			case err != nil && !errors.Is(readErr, store.ErrInvalidInput):
				return errors.Join(errors.New("an action that can't be recorded is looked for"), err, readErr)
			case err == nil && (readErr != nil || len(logged) == 0 || logged[0].Action != action):
				return errors.Join(errors.New("an action that was recorded is not found"), readErr)
			}
			return err
		}},
	{name: "RecordActivities Action", field: "[1].Action", max: 100, needed: true, stored: "SELECT action FROM activity_logs" + newest,
		write: func(ctx context.Context, tx *store.Store, h *house, text string) error {
			return tx.RecordActivities(ctx, []store.RecordActivity{{TeamID: h.team.ID, Action: "FIRST"}, {TeamID: h.team.ID, Action: db.ActivityType(text)}})
		}},
}

// asRead: what a write returned is what is read.
func asRead[Row any](written Row, err error, read func() (Row, error)) error {
	if err != nil {
		return err
	}
	row, err := read()
	if err == nil && !assert.ObjectsAreEqual(row, written) {
		return errors.New("what was returned is not what is read")
	}
	return err
}

// applied writes by an event about a subscription of the house's customer.
func applied(change func(in *store.ApplySubscription, text string)) func(context.Context, *store.Store, *house, string) error {
	return func(ctx context.Context, tx *store.Store, h *house, text string) error {
		in := store.ApplySubscription{
			EventID: "evt_1", EventType: "customer.subscription.updated", Created: stripeEpoch,
			Subscription: store.StripeSubscription{ID: "sub_1", CustomerID: "cus_house", Status: db.SubscriptionActive, Created: stripeEpoch},
		}
		change(&in, text)
		outcome, _, err := tx.ApplySubscription(ctx, in)
		if err == nil && outcome != store.SubscriptionApplied {
			return errors.New("a first event is " + string(outcome))
		}
		return err
	}
}

// cutTo is what is left of a text that is cut.
func cutTo(text string, max int) string {
	rest := text
	for range max {
		_, size := utf8.DecodeRuneInString(rest)
		rest = rest[size:]
	}
	return text[:len(text)-len(rest)]
}

// FuzzText: a text that the doc of an operation says is stored is stored as it was given,
// in each column that one is written to; every other is refused for its field. One that is
// written again is what it was. Lengths are as Postgres counts them. As an address it is
// stored when it is one, and can be read as the same one.
func FuzzText(f *testing.F) {
	for i := range textColumns {
		for _, text := range []string{"Plus", " \u00a0\u2003", "a\x00b", "a\xed\xa0\x80b", "[redacted]", strings.Repeat("𝄞", 50), strings.Repeat("e\u0301", 51), strings.Repeat(" ", 256)} {
			f.Add(byte(i), text)
		}
	}
	for _, address := range []string{"203.0.113.7", "::ffff:203.0.113.7", "2001:db8::1", "fe80::1%a-zone-that-is-longer-than-the-column-is-wide-by-far"} {
		f.Add(byte(0), address)
	}
	st := storetest.New(f)
	h := newHouse(f, st)
	require.NoError(f, st.LinkStripeCustomer(f.Context(), store.LinkStripeCustomer{TeamID: h.team.ID, CustomerID: "cus_house"}))
	f.Fuzz(func(t *testing.T, column byte, text string) {
		c := textColumns[int(column)%len(textColumns)]
		rolledBack(t, st, func(tx *store.Store) { c.check(t, tx, h, text) })
		if ip, err := netip.ParseAddr(text); err == nil {
			rolledBack(t, st, func(tx *store.Store) { checkAddress(t, tx, h, ip) })
		}
	})
}

func (c *textColumn) check(t *testing.T, tx *store.Store, h *house, text string) {
	want := text
	if c.cut {
		want = cutTo(text, c.max)
	}
	blank := strings.TrimSpace(want) == ""
	ok := blank && !c.needed ||
		!blank && utf8.ValidString(want) && !strings.Contains(want, "\x00") && (c.max == 0 || utf8.RuneCountInString(want) <= c.max)
	if c.field == "PasswordHash" && text == "[redacted]" {
		ok = false
	}
	err := c.write(t.Context(), tx, h, text)
	if !ok {
		requireInvalid(t, tx, err, c.field)
		return
	}
	require.NoError(t, err, "%s of %q", c.name, text)
	read := func() (stored *string, chars *int, logged int64) {
		require.NoError(t, tx.Conn().QueryRow(t.Context(),
			"SELECT stored, char_length(stored), (SELECT max(id) FROM activity_logs) FROM ("+c.stored+") AS written (stored), (SELECT $1::integer) AS team", h.team.ID).
			Scan(&stored, &chars, &logged))
		return stored, chars, logged
	}
	stored, chars, logged := read()
	if blank {
		require.Nil(t, stored, c.name)
	} else {
		require.Equal(t, &want, stored, c.name)
		require.Equal(t, new(utf8.RuneCountInString(want)), chars, c.name)
	}
	if !c.quiet {
		return
	}
	require.NoError(t, c.write(t.Context(), tx, h, text), "%s again", c.name)
	again, _, loggedAgain := read()
	require.Equal(t, stored, again, c.name)
	require.Equal(t, logged, loggedAgain, "%s again is logged", c.name)
}

func checkAddress(t *testing.T, tx *store.Store, h *house, ip netip.Addr) {
	require.NoError(t, tx.RecordSignIn(t.Context(), store.Actor{UserID: h.owner.ID, IP: ip}), ip)
	require.NoError(t, tx.RecordActivities(t.Context(), []store.RecordActivity{{TeamID: h.team.ID, Action: "EXPORT", IP: ip}}), ip)
	logged, _, err := tx.TeamActivity(t.Context(), h.team.ID, store.ActivityPage{Page: store.Page{Limit: 2}})
	require.NoError(t, err)
	for _, row := range logged {
		require.NotNil(t, row.IPAddress, ip)
		stored, err := netip.ParseAddr(*row.IPAddress)
		require.NoError(t, err)
		require.Equal(t, ip.Unmap().WithZone(""), stored)
	}
}
