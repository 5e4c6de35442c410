package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/rowhouse/rowhouse/store"
)

// kind is what a contender knows how to do. An operation is a kind on data of some size.
type kind int

const (
	userByID kind = iota
	credentials
	teamWithMembers
	teamsOfUser
	signUp
	invite
	accept
	remove
	activityPage
	deepPage // an activityPage that begins at a cursor
	logRow
	logRows
	subscriptionEvent
	kinds // how many there are
)

const (
	pageSize = 50 // rows of a page of the log
	teamsOf  = 10 // teams of the user whose teams are listed
	ttl      = 7 * 24 * time.Hour
)

// input is what one call of an operation is given; each kind uses some of it. It is made
// before the clock starts.
type input struct {
	userID, teamID, memberID int64

	email, hash string

	// An invitation is accepted by its token, or as the starter does, by its id and e-mail.
	token        string
	invitationID int64

	// A page begins before a row of the log: the Store has it as a cursor, the others as
	// the row's place.
	cursor     store.Cursor
	beforeTime time.Time
	beforeID   int64

	rows  []store.RecordActivity
	event store.ApplySubscription
}

// contender is one way of doing the operations.
type contender struct {
	name string
	what string // a line for the report
	// differs says where it promises less than the Store; empty where it does not.
	differs string
	// What the check allows it, and the report lists.
	omissions  []omission
	departures []departure
	// outside tells the versions of what it needs besides this program, or what of that is
	// not there. nil where it needs nothing.
	outside func() (versions string, err error)
	open    func(ctx context.Context, config *pgx.ConnConfig, conns int) (*session, error)
}

// session is a contender on connections of its own.
type session struct {
	actions  [kinds]action
	noCursor bool // a deepPage is not done; else it is done as any page
	// elsewhere makes calls in a process of its own, where they are timed; nil where they
	// are made here.
	elsewhere func(ctx context.Context, k kind, inputs []input, loops int) (timing, error)
	close     func()
}

// timing is what calls took that were made elsewhere.
type timing struct {
	calls   []time.Duration
	elapsed time.Duration // by all of them
	client  time.Duration // CPU, for all of them
}

// action is how a session does a kind.
func (s *session) action(k kind) action {
	if k == deepPage && !s.noCursor {
		k = activityPage
	}
	return s.actions[k]
}

// action is a kind of operation as a contender does it. run throws away what it gets;
// result makes it comparable. A contender that does not do a kind has a nil run, and the
// one that returns nothing nil results.
type action struct {
	run    func(context.Context, *input) error
	result func(context.Context, *input) (any, error)
}

// act makes an action of a function in the contender's own types. Nothing is converted
// where run is timed: canonical is for the comparison alone.
func act[R any](native func(context.Context, *input) (R, error), canonical func(R) any) action {
	return action{
		run: func(ctx context.Context, in *input) error {
			_, err := native(ctx, in)
			return err
		},
		result: func(ctx context.Context, in *input) (any, error) {
			r, err := native(ctx, in)
			if err != nil {
				return nil, err
			}
			return canonical(r), nil
		},
	}
}

// done is act of what has no result.
func done(native func(context.Context, *input) error) action {
	return act(func(ctx context.Context, in *input) (struct{}, error) {
		return struct{}{}, native(ctx, in)
	}, func(struct{}) any { return "done" })
}

// What the peers refuse. The Store has finer errors; here it counts that nothing is
// written.
var (
	errNotFound = errors.New("not found")
	errRefused  = errors.New("refused")
)

// What every peer checks of its input, as the Store does.

func validEmail(s string) (string, error) {
	if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		return "", fmt.Errorf("%w: not text", errRefused)
	}
	s = strings.ToLower(strings.TrimSpace(s))
	local, domain, _ := strings.Cut(s, "@")
	if local == "" || domain == "" || strings.Contains(domain, "@") || utf8.RuneCountInString(s) > 255 {
		return "", fmt.Errorf("%w: not an e-mail", errRefused)
	}
	return s, nil
}

func teamNameFor(email string) string {
	name := email + "'s Team"
	for i := range name {
		if utf8.RuneCountInString(name[:i]) == 100 {
			return name[:i]
		}
	}
	return name
}

// newToken is an invitation's secret, and what the database has of it.
func newToken() (token string, hash []byte) {
	var b [32]byte
	rand.Read(b[:])
	sum := sha256.Sum256(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:]), sum[:]
}

// tokenNamed is a token that has a name, where a random one can't be known.
func tokenNamed(name string) string {
	b := sha256.Sum256([]byte(name))
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// hashOf is none, which no row has, for what is no token.
func hashOf(token string) []byte {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) != 32 {
		return []byte{}
	}
	sum := sha256.Sum256(b)
	return sum[:]
}
