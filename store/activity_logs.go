package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/rowhouse/rowhouse/db"
)

// Activity is a row of the log with the name of who acted, nil for the system and for
// users without a name. A deleted user keeps the name.
type Activity struct {
	db.ActivityLog
	UserName *string `json:"userName"`
}

// RecordActivity is the input of [Store.RecordActivity].
type RecordActivity struct {
	TeamID   db.TeamID
	UserID   db.UserID // 0 for the system
	Action   db.ActivityType
	IP       netip.Addr
	Metadata map[string]any // whom and what it was about; must marshal to JSON, nested at most 1000 deep
}

// RecordActivity logs what the application itself does in a team. The Store's own
// operations have recorded themselves.
//
// Errors: [ErrNotFound] when there is no such team; [ErrInvalidInput]. After
// [ErrNotFound] because there is no such user, or [ErrInvalidInput] because jsonb can't
// hold what the metadata marshals to, a transaction can only be rolled back.
func (s *Store) RecordActivity(ctx context.Context, p RecordActivity) error {
	var in input
	in.required("Action", string(p.Action), maxActivityType)
	metadata := in.metadata("Metadata", p.Metadata)
	if in.err != nil {
		return in.err
	}
	actor := Actor{p.UserID, p.IP}
	var logged int64
	err := s.write(ctx, func(conn session) (err error) {
		logged, err = queries.RecordActivity(ctx, conn, db.RecordActivityParams{
			TeamID: p.TeamID, UserID: actor.user(), Action: p.Action, IPAddress: actor.ip(), Metadata: metadata,
		})
		return err
	})
	if err == nil && logged == 0 {
		return ErrNotFound
	}
	return explainMetadata(explain(err, nil))
}

// explainMetadata: JSON that jsonb refuses, such as half a surrogate pair or a number
// that is too large, only the server can tell, and how deep it may be is a setting of its
// (max_stack_depth).
func explainMetadata(err error) error {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && (strings.HasPrefix(pgErr.Code, dataException) || strings.HasPrefix(pgErr.Code, limitExceeded)) {
		return &refusal{&InvalidInputError{Field: "Metadata", Reason: "must be what jsonb can hold"}, pgErr}
	}
	return err
}

func (in *input) metadata(field string, m map[string]any) json.RawMessage {
	if m == nil {
		return nil
	}
	b, err := json.Marshal(m)
	if err != nil {
		in.refuse(field, "must marshal to JSON")
		return nil
	}
	// jsonb holds no NUL. An escaped backslash before u0000 makes it text.
	nul := []byte(`\u0000`)
	if bytes.Contains(b, nul) && bytes.Contains(bytes.ReplaceAll(b, []byte(`\\`), nil), nul) {
		in.refuse(field, "must not contain a NUL character")
	}
	if nestedBeyond(b, maxMetadataDepth) {
		in.refuse(field, "must be nested at most 1000 deep")
	}
	return b
}

// maxMetadataDepth is the Store's own. From 10,000 on encoding/json writes what it no longer
// reads, nor shows as a part of an [Activity]: one such row, and its page had no JSON.
const maxMetadataDepth = 1000

// nestedBeyond reports whether JSON has arrays and objects in each other, more than so many.
func nestedBeyond(b []byte, most int) bool {
	if bytes.Count(b, []byte{'['})+bytes.Count(b, []byte{'{'}) <= most {
		return false
	}
	depth, text := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '[' || c == '{':
			if depth++; depth > most {
				return true
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return false
}

// maxActivityBatch bounds the memory of RecordActivities: what one statement carries.
const maxActivityBatch = 10_000

// RecordActivities logs many activities at once, with one time, all of them or none. Up
// to 10,000 are one statement; more are one transaction of such statements.
//
// Errors: [ErrNotFound], [ErrInvalidInput], each as of [Store.RecordActivity]; a Field
// names the index as well, but for metadata that only the server found wrong.
func (s *Store) RecordActivities(ctx context.Context, list []RecordActivity) error {
	if len(list) <= maxActivityBatch {
		return s.recordActivities(ctx, list, 0)
	}
	return s.InTx(ctx, func(tx *Store) error {
		from := 0
		for batch := range slices.Chunk(list, maxActivityBatch) {
			if err := tx.recordActivities(ctx, batch, from); err != nil {
				return err
			}
			from += len(batch)
		}
		return nil
	})
}

func (s *Store) recordActivities(ctx context.Context, list []RecordActivity, from int) error {
	if len(list) == 0 {
		return nil
	}
	arg := db.RecordActivitiesParams{
		TeamIDs:     make([]int64, len(list)),
		UserIDs:     make([]int64, len(list)),
		Actions:     make([]string, len(list)),
		IPAddresses: make([]string, len(list)),
		Metadata:    make([]string, len(list)),
	}
	var in input
	for i, p := range list {
		in.required("Action", string(p.Action), maxActivityType)
		arg.TeamIDs[i], arg.UserIDs[i], arg.Actions[i] = int64(p.TeamID), int64(p.UserID), string(p.Action)
		if p.IP.IsValid() {
			arg.IPAddresses[i] = addressText(p.IP)
		}
		arg.Metadata[i] = string(in.metadata("Metadata", p.Metadata))
		if in.err != nil {
			return in.at(from + i)
		}
		if p.UserID < 0 || p.UserID > math.MaxInt32 { // no row has it, and the column can't hold it
			return ErrNotFound
		}
	}
	missing, err := queries.RecordActivities(ctx, s.pipeline(), arg)
	if err == nil && missing {
		return ErrNotFound
	}
	return explainMetadata(explain(err, nil))
}

// ActivityPage asks for a part of a log: a [Page] of what matches.
type ActivityPage struct {
	Page
	Actions []db.ActivityType // these alone, 100 at most; empty for all
	Since   time.Time         // not before; zero for the beginning
	Until   time.Time         // before; zero for now
}

// The log of one team or user does not repeat whose it is.
var (
	teamActivity = rows[Activity]{decode: func(d *decoder, a *Activity) {
		a.ID, a.UserID = db.ActivityLogID(d.int()), d.userOrNil()
		d.activity(a)
	}}
	userActivity = rows[Activity]{decode: func(d *decoder, a *Activity) {
		a.ID, a.TeamID = db.ActivityLogID(d.int()), db.TeamID(d.int())
		d.activity(a)
	}}
	activityOfTeams = rows[Activity]{decode: func(d *decoder, a *Activity) {
		a.TeamID, a.ID, a.UserID = db.TeamID(d.int()), db.ActivityLogID(d.int()), d.userOrNil()
		d.activity(a)
	}}
)

func (d *decoder) activity(a *Activity) {
	a.Action, a.Timestamp = db.ActivityType(d.word()), d.time()
	a.IPAddress, a.Metadata, a.UserName = d.textOrNil(), d.json(), d.textOrNil()
}

// start says where the page begins and ends, and which actions it has.
func (p ActivityPage) start(l list, of int64) (limit int, before position, since time.Time, actions []string, err error) {
	limit, before, err = p.Page.start(l, of, afterAll)
	// The end of a range that no row can be in needs no look at the columns' limits.
	since = beforeAll.time
	if p.Since.After(since) {
		since = p.Since.UTC()
	}
	if since.After(afterAll.time) {
		since = afterAll.time
	}
	since = nextMicrosecond(since)
	if !p.Until.IsZero() && !p.Until.After(before.time) {
		before = position{p.Until.UTC(), 0}
		if before.time.Before(beforeAll.time) {
			before = beforeAll
		}
		before.time = nextMicrosecond(before.time)
	}
	var in input
	if len(p.Actions) > 100 {
		in.refuse("Actions", "must be 100 at most")
	}
	for _, a := range p.Actions {
		actions = append(actions, in.required("Actions", string(a), maxActivityType))
	}
	if err == nil {
		err = in.err
	}
	return limit, before, since, actions, err
}

// nextMicrosecond is the first time not before t that a row can have. Without it a bound of
// nanoseconds would be cut to a microsecond before it, whose rows are on its other side.
func nextMicrosecond(t time.Time) time.Time {
	if cut := t.Truncate(time.Microsecond); cut.Before(t) {
		return cut.Add(time.Microsecond)
	}
	return t
}

// TeamActivity returns a page of a team's log, newest first: by time, then by id.
// A team that does not exist has none.
//
// Errors: [ErrInvalidInput], [ErrInvalidCursor].
func (s *Store) TeamActivity(ctx context.Context, team db.TeamID, page ActivityPage) ([]Activity, Cursor, error) {
	limit, before, since, actions, err := page.start(listTeamActivity, int64(team))
	if err != nil {
		return nil, "", err
	}
	var list []Activity
	if actions == nil {
		list, err = teamActivity.read(ctx, s.conn, db.ListTeamActivityPage, team, since, before.time, before.id, int32(limit+1))
	} else {
		list, err = teamActivity.read(ctx, s.conn, db.ListTeamActivityOfPage, actions, team, since, before.time, before.id, int32(limit+1))
	}
	if err != nil {
		return nil, "", err
	}
	for i := range list {
		list[i].TeamID = team
	}
	activity, next := cutItems(list, limit, listTeamActivity, int64(team), func(a *Activity) position {
		return position{a.Timestamp, int64(a.ID)}
	})
	return activity, next, nil
}

// UserActivity returns a page of what a user did, in any team, as [Store.TeamActivity]
// does. A user who does not exist did nothing; a deleted one's log stays. Of some
// actions alone, it reads over the user's other rows.
//
// Errors: [ErrInvalidInput], [ErrInvalidCursor].
func (s *Store) UserActivity(ctx context.Context, user db.UserID, page ActivityPage) ([]Activity, Cursor, error) {
	limit, before, since, actions, err := page.start(listUserActivity, int64(user))
	if err != nil {
		return nil, "", err
	}
	var list []Activity
	if actions == nil {
		list, err = userActivity.read(ctx, s.conn, db.ListUserActivityPage, user, since, before.time, before.id, int32(limit+1))
	} else {
		list, err = userActivity.read(ctx, s.conn, db.ListUserActivityOfPage, user, actions, since, before.time, before.id, int32(limit+1))
	}
	if err != nil {
		return nil, "", err
	}
	users := make([]db.UserID, len(list)) // a pointer to each, and one allocation
	for i := range list {
		users[i] = user
		list[i].UserID = &users[i]
	}
	activity, next := cutItems(list, limit, listUserActivity, int64(user), func(a *Activity) position {
		return position{a.Timestamp, int64(a.ID)}
	})
	return activity, next, nil
}

// PurgeActivity removes log rows older than a time, of all teams, the oldest first, and
// returns how many. It removes at most batch of them (0 is 5,000; 100,000 at most) in
// one transaction, and goes on until none is left, but for those that another purge is
// removing, or ctx ends; what it has removed by then stays removed. No writer waits for
// it. Retention is a rule of the application:
// it decides what is old, and that it may forget.
//
// After an error, removed is what is known to be; when the outcome is unknown one batch
// more may be. Repeating it is safe: it goes on with what is left.
//
// Inside InTx all batches are that one transaction, and hold their rows until it ends.
//
// Errors: [ErrInvalidInput].
func (s *Store) PurgeActivity(ctx context.Context, before time.Time, batch int) (removed int64, err error) {
	return purge(before, batch, func(since, before time.Time, batch int32) (int64, time.Time, error) {
		row, err := queries.PurgeActivity(ctx, s.pipeline(), db.PurgeActivityParams{Since: since, Before: before, BatchSize: batch})
		return row.Removed, row.Until, err
	})
}

// purge removes rows from before a time, a batch after the other, each from where the
// last one ended.
func purge(before time.Time, batch int, remove func(since, before time.Time, batch int32) (removed int64, until time.Time, err error)) (removed int64, err error) {
	if batch == 0 {
		batch = 5000
	}
	if batch < 0 || batch > 100_000 {
		return 0, &InvalidInputError{Field: "batch", Reason: "must be from 1 to 100000, or 0 for 5000"}
	}
	var in input
	in.time("before", before)
	if in.err != nil {
		return 0, in.err
	}
	since := beforeAll.time
	for {
		n, until, err := remove(since, nextMicrosecond(before.UTC()), int32(batch))
		removed += n
		if err != nil || n < int64(batch) {
			return removed, err
		}
		since = until
	}
}

// ActivityOfTeams returns the newest log rows of each team, bounded as
// [Store.MembersOfTeams] is.
//
// Errors: [ErrInvalidInput].
func (s *Store) ActivityOfTeams(ctx context.Context, teams []db.TeamID, limitEach int) (map[db.TeamID][]Activity, error) {
	ids, limitEach, err := many("teams", teams, limitEach)
	if err != nil {
		return nil, err
	}
	list, err := activityOfTeams.read(ctx, s.conn, db.ListActivityOfTeams, int32(limitEach), ids)
	return group(list, func(a *Activity) (db.TeamID, Activity) { return a.TeamID, *a }), err
}
