package schema

import (
	"fmt"
	"math"
	"time"
)

// Option changes how [Migrate], [Rollback], [RollbackTo] and [Redo] run.
type Option func(*options)

type options struct {
	lockTimeout *time.Duration // nil: the connection's, else the default
	report      func(Progress)
}

// DefaultLockTimeout is for how long a statement waits for a lock unless [WithLockTimeout],
// or a lock_timeout of the connection, says otherwise.
const DefaultLockTimeout = 5 * time.Second

// lockTries is how often a migration is tried that gets no lock.
const lockTries = 10

// WithLockTimeout says for how long a statement waits for a lock. Whoever wants the table
// meanwhile waits behind it, so that this is also for how long a migration can hold up a
// service. A migration that gets no lock in that time lets go, pauses for that time and
// up to as much again, and is tried anew, 10 times in all, within ctx. Zero waits for ever.
//
// Building an index CONCURRENTLY is not limited: it waits for transactions to end, but
// nobody waits for it.
func WithLockTimeout(d time.Duration) Option {
	if d > 0 { // what the server can be told: whole milliseconds, in 32 bits
		d = min(max(d, time.Millisecond), math.MaxInt32*time.Millisecond)
	}
	return func(o *options) { o.lockTimeout = new(max(d, 0)) }
}

// WithProgress has report called while a statement takes long: after 2 seconds, then each
// time that twice as long has gone by, and at its end; and when a migration got no lock
// and is tried again. Calls come from other goroutines, one at a time; the run waits for
// them.
func WithProgress(report func(Progress)) Option {
	return func(o *options) { o.report = report }
}

// Progress is what a run is at.
type Progress struct {
	Migration string // the file's name in Files
	Line      int    // at which the statement begins
	Statement string // its first line
	Elapsed   time.Duration
	Done      bool // the statement has ended, well or not
	// Retry is after how long the migration is tried again, when the statement got no
	// lock; else zero.
	Retry time.Duration
}

// String is the progress in a line.
func (p Progress) String() string {
	at := fmt.Sprintf("%s line %d: %s: ", p.Migration, p.Line, p.Statement)
	switch {
	case p.Retry > 0:
		return at + fmt.Sprintf("no lock, trying again in %s", p.Retry.Round(time.Millisecond))
	case p.Done:
		return at + fmt.Sprintf("ended after %s", p.Elapsed.Round(time.Millisecond))
	}
	return at + fmt.Sprintf("running for %s", p.Elapsed.Round(time.Second))
}
