package main

import (
	"cmp"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/store"
)

// outcome is what the Store told of an operation.
type outcome string

const (
	acknowledged outcome = "acknowledged" // it happened
	refused      outcome = "refused"      // by a rule: it did nothing
	rolledBack   outcome = "rolled back"  // by its own InTx: it did nothing
	failed       outcome = "failed"       // it did nothing
	unknown      outcome = "unknown"      // all of it or nothing
)

// refusals are the Store's own, with the names to report them by.
var refusals = []struct {
	name string
	err  error
}{
	{"ErrNotFound", store.ErrNotFound},
	{"ErrForbidden", store.ErrForbidden},
	{"ErrConflict", store.ErrConflict},
	{"ErrInvalidInput", store.ErrInvalidInput},
	{"ErrInvalidCursor", store.ErrInvalidCursor},
	{"ErrEmailTaken", store.ErrEmailTaken},
	{"ErrLastOwner", store.ErrLastOwner},
	{"ErrAlreadyMember", store.ErrAlreadyMember},
	{"ErrAlreadyInvited", store.ErrAlreadyInvited},
	{"ErrInvitationNotPending", store.ErrInvitationNotPending},
	{"ErrInvitationExpired", store.ErrInvitationExpired},
	{"ErrInvitationEmailMismatch", store.ErrInvitationEmailMismatch},
	{"ErrSeatLimit", store.ErrSeatLimit},
	{"ErrActiveSubscription", store.ErrActiveSubscription},
	{"ErrStripeIDTaken", store.ErrStripeIDTaken},
	{"ErrUnknownCustomer", store.ErrUnknownCustomer},
}

// errOnPurpose makes an InTx roll back.
var errOnPurpose = errors.New("rolled back on purpose")

// classify is what an operation's error says of it, and the refusal's name.
func classify(err error) (outcome, string) {
	switch {
	case err == nil:
		return acknowledged, ""
	case errors.Is(err, store.ErrOutcomeUnknown):
		return unknown, ""
	case errors.Is(err, errOnPurpose):
		return rolledBack, ""
	}
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return refused, r.name
		}
	}
	return failed, ""
}

// rows are the log rows of one action that an operation writes. In most cases least and
// most are the same.
type rows struct {
	action      db.ActivityType
	least, most int
	home        bool // logged in the user's team: none when the user has none, whatever least
}

func one(action db.ActivityType) rows { return rows{action: action, least: 1, most: 1} }

// entry is what is kept of an operation.
type entry struct {
	operation string
	outcome   outcome
	err       string       // of what failed
	team      db.TeamID    // of its log rows, 0 for any
	user      db.UserID    // whose account it changes
	rows      []rows       // that it writes when it happens
	event     *stripeEvent // that it applies
	deletes   bool         // the user's account
}

// stripeEvent is what decides which of a subscription's events counts.
type stripeEvent struct {
	id, subscription string
	created          time.Time
	standing         int // of the status; 0 has ended
}

// compare orders a subscription's events as the Store documents it: an end after all
// else, then by time, standing and id.
func (e *stripeEvent) compare(other *stripeEvent) int {
	ended := func(e *stripeEvent) int {
		if e.standing == 0 {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(ended(e), ended(other)),
		e.created.Compare(other.created),
		cmp.Compare(e.standing, other.standing),
		strings.Compare(e.id, other.id),
	)
}

// ledger has an entry for each number of an operation that writes.
type ledger struct {
	mu      sync.Mutex
	entries []entry // by number; 0 is no operation's
}

func newLedger() *ledger { return &ledger{entries: make([]entry, 1)} }

// open gives the next number.
func (l *ledger) open() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, entry{})
	return uint64(len(l.entries) - 1)
}

func (l *ledger) enter(number uint64, e entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries[number] = e
}

// The Store writes the actor's address in each log row of an operation: here it is the
// operation's number.
func address(number uint64) netip.Addr {
	bytes := [16]byte{0: 0xfd}
	binary.BigEndian.PutUint64(bytes[8:], number)
	return netip.AddrFrom16(bytes)
}

func numberOf(address string) (uint64, bool) {
	ip, err := netip.ParseAddr(address)
	if err != nil || !ip.Is6() {
		return 0, false
	}
	bytes := ip.As16()
	return binary.BigEndian.Uint64(bytes[8:]), bytes[0] == 0xfd
}
