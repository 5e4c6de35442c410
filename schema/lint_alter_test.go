package schema_test

// knownTypes are what an added column may be of, all of them without a check of
// their own, as a domain has, that would be made of every row.
var knownTypes = map[string]bool{
	"bigint": true, "boolean": true, "bytea": true, "date": true, "inet": true, "integer": true, "jsonb": true,
	"numeric": true, "smallint": true, "text": true, "timestamp": true, "uuid": true, "varchar": true,
}

func (l *linter) alterTable(s statement, c *cursor) {
	table := c.name()
	if c.take(".") {
		l.complain(s.line, inSchema)
		return
	}
	if table == "" || c.done() {
		l.unknown(s)
		return
	}
	l.lock(s.line, table)
	actions := splitList(c.rest)
	for _, action := range actions {
		if action.done() {
			l.unknown(s)
			return
		}
		line := action.rest[0].line
		switch {
		case action.take("add", "column"):
			l.addColumn(line, table, action)
		case action.take("add", "constraint"):
			l.addConstraint(s, line, table, action)
		case action.take("drop", "constraint", "if", "exists"):
			l.clearedAt["constraint "+action.name()+" of "+table] = l.at
		case action.take("validate", "constraint"):
			if len(actions) > 1 || !l.noTransaction && !l.alone {
				l.complain(line, "VALIDATE reads the whole table under the locks that the transaction has taken before: a file of its own, or NO TRANSACTION")
			}
			action.name()
		case action.take("add", "primary"), action.take("add", "unique"), action.take("add", "check"),
			action.take("add", "foreign"), action.take("add", "exclude"):
			l.complain(line, "a constraint without a name: ADD CONSTRAINT name …")
			continue
		case action.take("rename"):
			l.complain(line, "renames what a running service, or the TypeScript app, goes on calling by its name")
			continue
		case action.take("drop"):
			l.complain(line, "takes away on the way up what a running service, or the TypeScript app, still uses")
			continue
		case action.take("alter"):
			l.alterColumn(s, line, action)
			continue
		default:
			l.unknown(s)
			return
		}
		if !action.done() {
			l.unknown(s)
			return
		}
	}
}

// alterColumn knows no form that is safe, but says why some are not.
func (l *linter) alterColumn(s statement, line int, c *cursor) {
	c.take("column")
	c.name()
	switch {
	case c.take("type"), c.take("set", "data", "type"):
		l.complain(line, "retypes a column: the table is rewritten, and the TypeScript app's type is another")
	case c.take("set", "not", "null"):
		l.complain(line, "SET NOT NULL reads the whole table while nobody may use it: ADD CONSTRAINT name CHECK (… IS NOT NULL) NOT VALID")
	default:
		l.unknown(s)
	}
}

// addColumn reads what follows ADD COLUMN. It leaves nothing, or has complained.
func (l *linter) addColumn(line int, table string, c *cursor) {
	rest := *c
	c.rest = nil
	if !rest.take("if", "not", "exists") {
		l.complain(line, "can't be run twice: ADD COLUMN IF NOT EXISTS")
		return
	}
	column := rest.name()
	l.named(line, column)
	l.made["column "+column+" of "+table] = !l.tables[table]

	switch kind := rest.name(); kind {
	case "serial", "bigserial", "smallserial":
		l.complain(line, "a serial column is filled, and the table rewritten")
		return
	default:
		if !knownTypes[kind] {
			l.complain(line, "a column of type %q, of which the lint does not know whether adding it is safe", kind)
			return
		}
	}
	rest.group()
	rest.take("[", "]")

	notNull, defaults := false, false
	for !rest.done() {
		switch {
		case rest.take("not", "null"):
			notNull = true
		case rest.take("default", "null"), rest.take("null"):
		case rest.take("default"):
			defaults = true
			if !constant(&rest) {
				l.complain(line, "the default of %s is no constant: it would be computed for every row", column)
				return
			}
		case rest.take("generated"):
			l.complain(line, "%s is computed for every row, and the table rewritten", column)
			return
		case rest.take("primary"), rest.take("unique"):
			l.complain(line, "builds its index while nobody may use %s: build it CONCURRENTLY, then ADD CONSTRAINT name UNIQUE USING INDEX", table)
			return
		case rest.take("constraint"), rest.take("check"), rest.take("references"):
			l.complain(line, "a constraint of an added column reads every row: ADD CONSTRAINT name … NOT VALID")
			return
		default:
			l.complain(line, "%s has an option, from %q on, of which the lint does not know whether it is safe", column, rest.rest[0].text)
			return
		}
	}
	if notNull && !defaults {
		l.complain(line, "%s is NOT NULL without a default: it can't be added to a table with rows, nor left out by the TypeScript app", column)
	}
}

// constant goes past a literal, and a cast of it to a known type.
func constant(c *cursor) bool {
	literal := c.takeAny("true", "false") != ""
	if !literal {
		c.take("-")
		literal = !c.done() && (c.rest[0].kind == numberToken || c.rest[0].kind == stringToken)
		if literal {
			c.rest = c.rest[1:]
		}
	}
	if c.take("::") {
		literal = literal && knownTypes[c.name()]
		c.group()
		c.take("[", "]")
	}
	// Anything but an option goes on with the expression.
	return literal && (c.done() || c.rest[0].kind == wordToken)
}

func (l *linter) addConstraint(s statement, line int, table string, c *cursor) {
	rest := *c
	c.rest = nil
	name := rest.name()
	if name == "" {
		l.unknown(s)
		return
	}
	l.named(line, name)
	what := "constraint " + name + " of " + table
	l.made[what] = !l.tables[table]
	cleared, ok := l.clearedAt[what]

	// These two forms build the index, or take it over.
	if rest.take("unique", "using", "index") || rest.take("primary", "key", "using", "index") {
		index := rest.name()
		if !rest.done() {
			l.unknown(s)
			return
		}
		if _, ours := l.indexes[index]; !ours {
			l.complain(line, "takes over the index %s, which this file does not build", index)
			return
		}
		l.made["index "+index] = false
		if !ok || cleared >= l.builtAt[index] {
			l.complain(line, "can't be run twice: ALTER TABLE %s DROP CONSTRAINT IF EXISTS %s, before its index is dropped and built", table, name)
		}
		return
	}
	unique := rest.take("unique") || rest.take("primary", "key")
	foreign := rest.take("foreign", "key")
	if !unique && !foreign && !rest.take("check") {
		l.unknown(s)
		return
	}
	if _, group := rest.group(); !group {
		l.unknown(s)
		return
	}
	if unique && !l.tables[table] {
		l.complain(line, "builds its index while nobody may use %s: build it CONCURRENTLY, then ADD CONSTRAINT name UNIQUE USING INDEX", table)
		return
	}
	if foreign {
		if !rest.take("references") {
			l.unknown(s)
			return
		}
		l.reference(line, table, rest.name())
		rest.group()
	}
	notValid := rest.take("not", "valid")
	switch {
	case rest.take("."):
		l.complain(line, inSchema)
	case !rest.done():
		l.unknown(s)
	case !notValid && !unique && !l.tables[table]:
		l.complain(line, "reads every row of %s while nobody may write: NOT VALID, and VALIDATE CONSTRAINT in a later file", table)
	case !ok:
		l.complain(line, "can't be run twice: DROP CONSTRAINT IF EXISTS %s, before it in the same statement", name)
	}
}

// reference notes the table at the other end of a foreign key. Between two
// existing tables a statement can't but lock both, but it can be alone with it.
func (l *linter) reference(line int, table, referenced string) {
	if !l.tables[table] && l.noTransaction {
		if !l.tables[referenced] {
			l.touched[referenced] = true
		}
		return
	}
	l.lock(line, referenced)
}

// down reads a statement of the way down: it drops what the way up has made.
func (l *linter) down(s statement) {
	c := newCursor(s.tokens)
	switch {
	case c.take("drop", "index"):
		concurrently := c.take("concurrently")
		name := l.drop(s, c, "index ", "")
		if name != "" && !concurrently && !l.tables[l.indexes[name]] {
			l.complain(s.line, "locks the index's table: DROP INDEX CONCURRENTLY")
		}
	case c.take("drop", "table"):
		l.drop(s, c, "table ", "")
	case c.take("alter", "table"):
		table := c.name()
		for _, action := range splitList(c.rest) {
			switch {
			case action.take("drop", "column"):
				l.drop(s, action, "column ", " of "+table)
			case action.take("drop", "constraint"):
				l.drop(s, action, "constraint ", " of "+table)
			default:
				l.unknown(s)
				return
			}
		}
	case c.take("lock", "table"):
		// Only where the file made the tables: nobody else's locks are in its way.
		for more := true; more; more = c.take(",") {
			if !l.tables[c.name()] {
				l.unknown(s)
				return
			}
		}
		if !c.take("in", "access", "exclusive", "mode") || !c.done() {
			l.unknown(s)
		}
	case c.take("set"), c.take("reset"), c.take("discard"):
		l.complain(s.line, settings)
	default:
		l.unknown(s)
	}
}

// drop goes past the name of what is dropped and returns it, "" after a complaint.
func (l *linter) drop(s statement, c *cursor, before, after string) string {
	ifExists := c.take("if", "exists")
	name := c.name()
	if name == "" || !c.done() {
		l.unknown(s)
		return ""
	}
	what := before + name + after
	if _, ours := l.made[what]; !ours {
		l.complain(s.line, "drops %s, which the way up has not made", what)
		return ""
	}
	delete(l.made, what)
	if l.noTransaction && !ifExists {
		l.complain(s.line, "can't be run twice: DROP … IF EXISTS")
		return ""
	}
	return name
}
