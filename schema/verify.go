package schema

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// What a [*VersionError] is, for errors.Is.
var (
	// ErrDatabaseOlder is returned when migrations of this build are pending.
	ErrDatabaseOlder = errors.New("the database is older than this build")

	// ErrDatabaseNewer is returned when the database has migrations that this build does
	// not know, and all that it does know.
	ErrDatabaseNewer = errors.New("the database is newer than this build")
)

// VersionError is returned by [Verify] for a database of another version than the build's.
// It is [ErrDatabaseOlder] or [ErrDatabaseNewer].
type VersionError struct {
	Database int64    // the highest version that the database has, 0 for none
	Build    int64    // that of the newest migration in Files
	Pending  []string // the build's migrations that the database lacks, by their names in Files
}

// Error says which of the two is behind, and what to do.
func (e *VersionError) Error() string {
	if len(e.Pending) == 0 {
		return fmt.Sprintf("%v: it is at version %d, the build at %d; deploy the build that migrated it", ErrDatabaseNewer, e.Database, e.Build)
	}
	return fmt.Sprintf("%v: it lacks %s; migrate it", ErrDatabaseOlder, strings.Join(e.Pending, ", "))
}

// Is makes the error one of the two.
func (e *VersionError) Is(target error) bool {
	if len(e.Pending) == 0 {
		return target == ErrDatabaseNewer
	}
	return target == ErrDatabaseOlder
}

// DriftError is returned by [Verify] when the database is not what the migrations make.
type DriftError struct {
	Differences []string // at least one; each names an object, what it is and what it must be
}

// Error has each difference on a line of its own.
func (e *DriftError) Error() string {
	return "the database is not what the migrations make:\n  " + strings.Join(e.Differences, "\n  ")
}

// Verify compares the database with what the migrations make: tables, columns with types
// and defaults, constraints, indexes. It is for the start of a service, and for CI: it
// reads the server's catalog only, whatever the size of the tables, and takes no lock that
// anybody waits for. It waits, within ctx, for whoever has a table to itself.
//
// An integer column that was widened to bigint is right, too, and so is a key from another
// sequence, or that is an identity. Your own tables, and columns of yours on these that an insert may leave out, are no
// differences, and neither are your own indexes that are not unique. Whatever else is on
// the tables and could refuse or change a write is: constraints, unique indexes, triggers,
// rules, row level security. So is an invalid index, which a CREATE INDEX CONCURRENTLY that
// failed has left; not one of yours that is being built. And so is a
// default_transaction_isolation, of the sessions that the pool opens, other than READ
// COMMITTED: the Store's rules rest on that one.
//
// It returns a [*VersionError] for a database of another version, which is not compared:
// [ErrDatabaseOlder], or [ErrDatabaseNewer], which an older build may go on with, because
// migrations only add; a [*DriftError]; or another error when the database can't be read.
func Verify(ctx context.Context, pool *pgxpool.Pool) error {
	s, err := open(ctx, pool)
	if err != nil {
		return err
	}
	defer s.close()

	applied, err := s.applied(ctx)
	if err != nil {
		return err
	}
	if err := sameVersion(applied); err != nil {
		return err
	}
	live, err := readCatalog(ctx, s.conn, tableNames())
	if err != nil {
		return fmt.Errorf("read the catalog: %w", err)
	}
	differences := compare(catalog(), live)
	isolation, err := readIsolation(ctx, s.conn)
	if err != nil {
		return fmt.Errorf("read default_transaction_isolation: %w", err)
	}
	if isolation != "" {
		differences = append(differences, isolation)
	}
	if len(differences) > 0 {
		return &DriftError{Differences: differences}
	}
	return nil
}

// readIsolation returns how the isolation that sessions begin with differs from the one
// on which the Store's rules rest. PostgreSQL takes read uncommitted for read committed.
func readIsolation(ctx context.Context, conn *pgx.Conn) (string, error) {
	var is string
	err := conn.QueryRow(ctx, `SELECT current_setting('default_transaction_isolation')`).Scan(&is)
	if err != nil || is == "read committed" || is == "read uncommitted" {
		return "", err
	}
	return fmt.Sprintf("setting default_transaction_isolation is %s, must be read committed: reset it for this role, database or connection", is), nil
}

func sameVersion(applied []MigrationStatus) error {
	e := &VersionError{Build: Latest()}
	if len(applied) > 0 {
		e.Database = applied[len(applied)-1].Version
	}
	for _, m := range pending(applied) {
		e.Pending = append(e.Pending, m.Name)
	}
	if len(e.Pending) > 0 || e.Database > e.Build {
		return e
	}
	return nil
}

// noTable matches the definition of what has a table's name, but not its parts.
var noTable = regexp.MustCompile(`^(a view|of kind)`)

// compare returns how the live objects differ from those wanted.
func compare(want, live []object) []string {
	byName := make(map[string]object, len(live))
	for _, o := range live {
		byName[o.String()] = o
	}
	var differences []string
	missing := make(map[string]bool) // tables, or what is there is none: its parts are not told, too
	for _, w := range want {
		is, found := byName[w.String()]
		is = is.asWanted(w)
		delete(byName, w.String())
		switch {
		case missing[w.table]:
		case !found:
			missing[w.table] = w.kind == "table"
			differences = append(differences, fmt.Sprintf("%s is missing%s", w, described(": ", w.definition)))
		case w.kind == "table" && noTable.MatchString(is.definition):
			missing[w.table] = true
			differences = append(differences, fmt.Sprintf("%s is %s, must be %s", w, is.definition, orOrdinary(w.definition)))
		case is.definition == w.definition+invalid:
			differences = append(differences, fmt.Sprintf("%s is invalid: REINDEX INDEX CONCURRENTLY %s", w, w.name))
		case is.definition != w.definition:
			differences = append(differences, fmt.Sprintf("%s is %s, must be %s", w, orOrdinary(is.definition), orOrdinary(w.definition)))
		}
	}
	for _, o := range live {
		if _, extra := byName[o.String()]; !extra || missing[o.table] {
			continue
		}
		switch _, notNull, value := o.column(); {
		case o.kind == "index" && strings.HasSuffix(o.definition, invalid):
			differences = append(differences, fmt.Sprintf("%s is invalid, and not of the migrations: DROP INDEX CONCURRENTLY %s", o, o.name))
		case o.kind == "index" && (!strings.HasPrefix(o.definition, "UNIQUE ") || strings.HasSuffix(o.definition, building)),
			o.kind == "column" && (!notNull || value != ""):
		default:
			differences = append(differences, fmt.Sprintf("%s is not of the migrations%s", o, described(": ", o.definition)))
		}
	}
	return differences
}

func described(separator, definition string) string {
	if definition == "" {
		return ""
	}
	return separator + definition
}

func orOrdinary(definition string) string {
	if definition == "" {
		return "an ordinary table"
	}
	return definition
}
