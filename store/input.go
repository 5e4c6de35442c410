package store

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rowhouse/rowhouse/db"
)

// The widths of the columns, in characters.
const (
	maxName     = 100 // users.name, teams.name
	maxEmail    = 255 // users.email, invitations.email
	maxPlanName = 50  // teams.plan_name

	// maxStripeID is Stripe's promise for its ids (https://docs.stripe.com/upgrades);
	// the columns are text.
	maxStripeID = 255

	// maxActivityType is the Store's own: the column is text, and indexable only so far.
	maxActivityType = 100

	unlimited = 0
)

// input checks arguments before anything is sent, so that a transaction stays usable.
// err is the first complaint.
type input struct{ err error }

func (in *input) refuse(field, reason string) {
	if in.err == nil {
		in.err = &InvalidInputError{Field: field, Reason: reason}
	}
}

// at is the complaint, about an element of a list.
func (in *input) at(index int) error {
	var invalid *InvalidInputError
	if errors.As(in.err, &invalid) {
		return &InvalidInputError{Field: fmt.Sprintf("[%d].%s", index, invalid.Field), Reason: invalid.Reason}
	}
	return in.err
}

// chars checks a text that may be empty.
func (in *input) chars(field, s string, atMost int) {
	switch {
	case !utf8.ValidString(s):
		in.refuse(field, "must be valid UTF-8")
	case strings.IndexByte(s, 0) >= 0:
		in.refuse(field, "must not contain a NUL character")
	case atMost != unlimited && utf8.RuneCountInString(s) > atMost:
		in.refuse(field, "must have at most "+strconv.Itoa(atMost)+" characters")
	}
}

// optional checks a text that may be empty, or white space, which stands for NULL.
func (in *input) optional(field, s string, maxChars int) *string {
	if strings.TrimSpace(s) == "" {
		return nil
	}
	in.chars(field, s, maxChars)
	return &s
}

// required checks a text that must have more than white space.
func (in *input) required(field, s string, maxChars int) string {
	if strings.TrimSpace(s) == "" {
		in.refuse(field, "must not be empty")
	} else {
		in.chars(field, s, maxChars)
	}
	return s
}

func (in *input) hash(field string, h db.PasswordHash) db.PasswordHash {
	in.required(field, string(h), unlimited)
	if string(h) == redacted {
		in.refuse(field, "must not be the text that stands for a hash in JSON")
	}
	return h
}

// deletedEmail matches what DeleteAccount makes of an e-mail. No top-level domain
// ends so; an account that did could stand in a deletion's way.
var deletedEmail = regexp.MustCompile(`-[0-9]+-deleted$`)

// email trims and lower-cases. That there is one @ with something on both sides is all
// that can be checked: only a delivered mail proves more.
func (in *input) email(field, s string) string {
	if !utf8.ValidString(s) { // before ToLower, which would mend it, and make it the same as another
		in.refuse(field, "must be valid UTF-8")
		return s
	}
	s = strings.ToLower(strings.TrimSpace(s))
	in.required(field, s, maxEmail)
	local, domain, _ := strings.Cut(s, "@")
	switch {
	case local == "" || domain == "" || strings.Contains(domain, "@"):
		in.refuse(field, "must be an e-mail address: something, one @, something")
	case strings.HasSuffix(s, "-deleted") && deletedEmail.MatchString(s): // the suffix alone first, which takes no time
		in.refuse(field, "must not end as a deleted account's does")
	}
	return s
}

func (in *input) role(field string, r db.Role) {
	if !r.Valid() {
		in.refuse(field, "must be owner or member")
	}
}

// time returns it in UTC, as the columns hold it.
func (in *input) time(field string, t time.Time) *time.Time {
	if t.Before(beforeAll.time) || t.After(afterAll.time) {
		in.refuse(field, "must be in the years 1 to 9999")
	}
	return new(t.UTC())
}

// cutChars cuts s to its first n characters.
func cutChars(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}
