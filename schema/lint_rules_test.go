package schema_test

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// accepted are the statements that no rule can judge, because what they run is
// in a string: the file, and the digest of what it says there. A change of one
// changes its digest, and whoever puts in the new one has looked at it again.
var accepted = map[string]string{
	"00001_baseline.sql 848970b9": "adds the constraints that an adopted database lacks; where Drizzle made them, it locks and reads nothing",
	"00001_baseline.sql 2c934687": "looks on the way down whether the tables are empty; they are dropped next",
}

// linter looks at one migration file.
type linter struct {
	file       string
	complaints []*complaint

	noTransaction bool
	alone         bool // whether the way up is a single statement
	at            int  // the statement's number
	previous      *cursor

	// What the way up has made, by table, index and so on. True is what the way
	// down has to drop; false goes with its table.
	made map[string]bool
	// tables are those that the file makes.
	tables map[string]bool
	// indexes have their table, builtAt and clearedAt the number of the statement
	// that makes an index or clears a constraint away.
	indexes            map[string]string
	builtAt, clearedAt map[string]int
	// held are the existing tables that the transaction, or the statement, has
	// locked; touched are those of all transactions.
	held, touched map[string]bool
	concurrently  bool
}

// lint returns what would make a migration a danger to a database in use, or to
// whoever has to run it again after half of it. A statement is either of a form
// that is known to be safe, or a complaint: a new form is a decision, taken here.
func lint(file, content string) []string {
	l := &linter{
		file: file, made: map[string]bool{}, tables: map[string]bool{}, indexes: map[string]string{},
		builtAt: map[string]int{}, clearedAt: map[string]int{}, held: map[string]bool{}, touched: map[string]bool{},
	}
	script, fault := readScript(content)
	if fault != nil {
		return []string{fmt.Sprintf("%s:%d: %s", file, fault.line, fault.text)}
	}
	l.noTransaction, l.alone = script.noTransaction > 0, len(script.up) == 1

	for i, s := range script.up {
		l.at = i
		if l.noTransaction {
			clear(l.held)
		}
		if !l.judged(s) {
			l.up(s)
		}
		l.previous = newCursor(s.tokens)
	}
	l.pairs(script)
	if l.noTransaction && !l.concurrently && len(l.touched) < 2 {
		l.complain(script.noTransaction, "NO TRANSACTION without need: it is for CONCURRENTLY, and for locking several tables one after another")
	}

	// No rule about locks here: these statements take back what those did, on the
	// same tables.
	for _, s := range script.down {
		if !l.judged(s) {
			l.down(s)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(l.made)) {
		if l.made[what] {
			l.complain(script.downLine, "the way down does not drop %s", what)
		}
	}

	slices.SortStableFunc(l.complaints, func(a, b *complaint) int { return cmp.Compare(a.line, b.line) })
	var all []string
	for _, c := range l.complaints {
		all = append(all, fmt.Sprintf("%s:%d: %s", file, c.line, c.text))
	}
	return all
}

var fileName = regexp.MustCompile(`^([0-9]{5})_[a-z0-9]+(_[a-z0-9]+)*\.sql$`)

// lintNames complains about the names of all files, in order: goose passes over
// what it does not take for a migration.
func lintNames(names []string) []string {
	var all []string
	for i, name := range names {
		match := fileName.FindStringSubmatch(name)
		switch {
		case match == nil:
			all = append(all, name+": the name is not NNNNN_what_it_does.sql")
		case match[1] != fmt.Sprintf("%05d", i+1):
			all = append(all, fmt.Sprintf("%s: the number is not %05d, which is next", name, i+1))
		}
	}
	return all
}

func (l *linter) complain(line int, format string, args ...any) {
	l.complaints = append(l.complaints, complain(line, format, args...))
}

// judged says whether the statement needs no look at its form.
func (l *linter) judged(s statement) bool {
	_, ok := accepted[l.file+" "+digest(s)]
	return ok
}

// digest is of the statement without its comments and spaces.
func digest(s statement) string {
	var b strings.Builder
	for _, t := range s.tokens {
		fmt.Fprintf(&b, "%d %s\n", t.kind, t.text)
	}
	return fmt.Sprintf("%x", sha256.Sum256([]byte(b.String())))[:8]
}

// lock notes that an existing table is locked until the transaction ends. A
// second one beside it is a deadlock with whoever takes them in another order.
func (l *linter) lock(line int, table string) {
	if l.tables[table] || l.held[table] {
		return
	}
	l.touched[table] = true
	l.held[table] = true
	if len(l.held) == 2 {
		l.complain(line, "locks %s in one transaction: a service that takes them in another order would deadlock; NO TRANSACTION, and a statement for each",
			strings.Join(slices.Sorted(maps.Keys(l.held)), " and "))
	}
}

// named complains about a name that PostgreSQL would cut off.
func (l *linter) named(line int, name string) {
	if len(name) > 63 {
		l.complain(line, "%s is %d bytes long, of which PostgreSQL keeps 63", name, len(name))
	}
}

// unknown complains about a statement as a whole.
func (l *linter) unknown(s statement) {
	for _, t := range s.tokens {
		if t.is("set_config") {
			l.complain(t.line, settings)
			return
		}
	}
	l.complain(s.line, "of no form that is known to be safe; if it is, teach the lint, or have it accept %q", l.file+" "+digest(s))
}

const settings = "changes a setting, which the session keeps for the migrations that follow"

func (l *linter) up(s statement) {
	c := newCursor(s.tokens)
	switch {
	case c.take("create", "table"):
		l.createTable(s, c)
	case c.take("create", "index"), c.take("create", "unique", "index"):
		l.createIndex(s, c)
	case c.take("drop", "index", "concurrently", "if", "exists"):
		l.clearIndex(s, c)
	case c.take("alter", "table"):
		l.alterTable(s, c)
	case c.take("set"), c.take("reset"), c.take("discard"):
		l.complain(s.line, settings)
	case c.take("drop", "index"):
		l.complain(s.line, "locks the index's table: DROP INDEX CONCURRENTLY IF EXISTS, before the one that is built in its place")
	case c.take("drop", "table"), c.take("truncate"):
		l.complain(s.line, "takes data away on the way up")
	default:
		l.unknown(s)
	}
}

func (l *linter) createTable(s statement, c *cursor) {
	if !c.take("if", "not", "exists") {
		l.complain(s.line, "can't be run twice: CREATE TABLE IF NOT EXISTS")
		return
	}
	table := c.name()
	elements, ok := c.group()
	if table == "" || !ok || !c.done() {
		l.unknown(s)
		return
	}
	l.named(s.line, table)
	l.tables[table] = true
	l.made["table "+table] = true
	for _, element := range splitList(elements) {
		l.element(s, table, element)
	}
}

// element is a column or a constraint of a new table.
func (l *linter) element(s statement, table string, c *cursor) {
	if c.take("like") {
		l.unknown(s)
		return
	}
	name, foreign := "", false
	for !c.done() {
		at := c.rest[0]
		if c.take("constraint") {
			name = c.name()
			l.named(at.line, name)
			continue
		}
		if c.take("not", "null") {
			name = ""
			continue
		}
		kind := c.takeAny("primary", "unique", "check", "foreign", "exclude", "references")
		if kind == "references" {
			referenced := c.name()
			if c.take(".") {
				l.complain(at.line, inSchema)
				return
			}
			l.lock(at.line, referenced)
			if foreign {
				continue // the name was at FOREIGN KEY
			}
		}
		if kind != "" {
			if name == "" {
				l.complain(at.line, "a constraint without a name: CONSTRAINT name %s …", strings.ToUpper(kind))
				return
			}
			name, foreign = "", kind == "foreign"
			continue
		}
		if _, ok := c.group(); !ok {
			c.rest = c.rest[1:]
		}
	}
}

const inSchema = "names a schema, where the search_path says which one"

func (l *linter) createIndex(s statement, c *cursor) {
	concurrently := c.take("concurrently")
	ifNotExists := c.take("if", "not", "exists")
	if c.take("on") {
		l.complain(s.line, "an index without a name")
		return
	}
	name := c.name()
	ok := name != "" && c.take("on")
	table := c.name()
	if ok && c.take(".") {
		l.complain(s.line, inSchema)
		return
	}
	if c.take("using") {
		ok = ok && c.name() != ""
	}
	_, columns := c.group()
	if c.take("include") {
		_, included := c.group()
		ok = ok && included
	}
	if !ok || table == "" || !columns || !c.done() && !c.take("where") {
		l.unknown(s)
		return
	}
	l.named(s.line, name)
	ours := l.tables[table]
	l.indexes[name], l.builtAt[name] = table, l.at
	l.made["index "+name] = !ours
	if !ours {
		l.touched[table] = true
	}
	if concurrently {
		l.concurrently = true
		switch {
		case !l.noTransaction:
			l.complain(s.line, "CONCURRENTLY needs NO TRANSACTION")
		case ifNotExists:
			l.complain(s.line, "IF NOT EXISTS keeps the invalid index of a build that failed: DROP INDEX CONCURRENTLY IF EXISTS before it")
		case l.previous == nil || !l.previous.take("drop", "index", "concurrently", "if", "exists") || l.previous.name() != name:
			l.complain(s.line, "not directly after DROP INDEX CONCURRENTLY IF EXISTS %s: a build that failed leaves an invalid index", name)
		}
		return
	}
	switch {
	case !ours:
		l.complain(s.line, "keeps writers of %s out for as long as it is built: CREATE INDEX CONCURRENTLY", table)
	case !ifNotExists:
		l.complain(s.line, "can't be run twice: CREATE INDEX IF NOT EXISTS")
	}
}

// clearIndex is on the way up, where an index is only dropped to be built again.
func (l *linter) clearIndex(s statement, c *cursor) {
	name := c.name()
	if name == "" || !c.done() {
		l.unknown(s)
		return
	}
	l.clearedAt["index "+name] = l.at
}

// pairs complains about what the way up drops without making it again.
func (l *linter) pairs(script script) {
	for what, at := range l.clearedAt {
		if _, again := l.made[what]; !again {
			l.complain(script.up[at].line, "drops %s, which this file does not make", what)
		}
	}
}
