package schema

import (
	"context"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// reportAfter is how long a statement runs before a report of it, doubled each time.
const reportAfter = 2 * time.Second

// statements is a tracer that sees the statements of a session: goose runs them, and tells
// little. It sets how long one may wait for a lock, reports one that takes long, and keeps
// the first that failed. It locks, because database/sql rolls a transaction back in a
// goroutine of its own when ctx ends.
type statements struct {
	mu sync.Mutex

	running, failed string

	watching    bool // from the first migration on
	rollback    bool
	lockTimeout time.Duration // for a statement that others would wait behind
	conn        *pgx.Conn     // another one after a connection was lost
	session     time.Duration // lock_timeout as conn has it; negative when that is not known
	report      func(Progress)
	stop        func() // ends the reports of the statement that runs
}

// watch begins with what a run needs.
func (s *statements) watch(rollback bool, lockTimeout time.Duration, report func(Progress)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watching, s.rollback, s.lockTimeout, s.session, s.report = true, rollback, lockTimeout, -1, report
	s.running, s.failed = "", ""
}

// concurrently matches what waits for others to end, but makes nobody wait.
var concurrently = regexp.MustCompile(`(?i)^\s*(CREATE( UNIQUE)?|DROP|REINDEX) INDEX CONCURRENTLY\b`)

// TraceQueryStart implements [pgx.QueryTracer].
func (s *statements) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = data.SQL
	if !s.watching {
		return ctx
	}
	limit := s.lockTimeout
	if concurrently.MatchString(data.SQL) {
		limit = 0
	}
	if conn != s.conn {
		s.conn, s.session = conn, -1
	}
	if limit != s.session {
		// On the connection below pgx's, which is traced. A failure is the statement's, too:
		// the connection is broken, or in a transaction that can only be rolled back.
		_, err := conn.PgConn().Exec(ctx, fmt.Sprintf("SET lock_timeout = %d", limit.Milliseconds())).ReadAll()
		if err == nil {
			s.session = limit
		}
	}
	if s.report != nil {
		if name, line := find(data.SQL, s.rollback); line > 0 {
			first, _, _ := strings.Cut(data.SQL, "\n")
			s.stop = s.reports(Progress{Migration: name, Line: line, Statement: first})
		}
	}
	return ctx
}

// reports begins to report a statement, and returns what ends that.
func (s *statements) reports(p Progress) (stop func()) {
	started, after := time.Now(), reportAfter
	reported, ended := false, false
	var timer *time.Timer
	timer = time.AfterFunc(after, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if ended {
			return
		}
		reported = true
		p.Elapsed = time.Since(started)
		s.report(p)
		timer.Reset(after)
		after *= 2
	})
	return func() {
		ended = true
		timer.Stop()
		if reported {
			p.Elapsed, p.Done = time.Since(started), true
			s.report(p)
		}
	}
}

// TraceQueryEnd implements [pgx.QueryTracer].
func (s *statements) TraceQueryEnd(_ context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
	if data.Err != nil && s.failed == "" {
		s.failed = s.running
	}
}

// failure returns the statement that failed first.
func (s *statements) failure() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// retry reports that the migration will be tried again, and forgets the failure.
func (s *statements) retry(name string, line int, pause time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.report != nil {
		first, _, _ := strings.Cut(s.failed, "\n")
		s.report(Progress{Migration: name, Line: line, Statement: first, Retry: pause})
	}
	s.running, s.failed = "", ""
}

// find returns the migration that has a statement, and its line; 0 when none has.
func find(statement string, rollback bool) (name string, line int) {
	for _, m := range known() {
		if line := lineOf(m.Name, statement, rollback); line > 0 {
			return m.Name, line
		}
	}
	return "", 0
}

// lineOf returns the line of the named file at which the statement begins, 0
// when it isn't in there. Goose sends a statement as it stands in the file.
func lineOf(name, statement string, rollback bool) int {
	content, err := fs.ReadFile(Files, name)
	if err != nil || statement == "" {
		return 0
	}
	text := string(content)
	// The way down may repeat a statement of the way up.
	from := 0
	if rollback {
		from = max(0, strings.Index(text, "-- +goose Down"))
	}
	at := strings.Index(text[from:], "\n"+statement)
	if at < 0 {
		return 0
	}
	return 2 + strings.Count(text[:from+at], "\n")
}
