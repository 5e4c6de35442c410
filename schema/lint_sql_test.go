package schema_test

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// script is a migration file as goose reads it. What it says of a line is the
// line's number in the file.
type script struct {
	up, down []statement
	// noTransaction is the line that says so, 0 where none does.
	noTransaction int
	downLine      int
}

// statement is what goose sends to the server in one go.
type statement struct {
	line   int
	text   string
	tokens []token
}

// token is a word, a string, a number or a sign of a statement. Words and names
// are as the server takes them: in lower case, unless quoted.
type token struct {
	kind tokenKind
	text string
	line int
}

type tokenKind byte

const (
	wordToken tokenKind = iota
	quotedToken
	stringToken
	numberToken
	signToken
)

// is says whether the token is this word, which is no name in quotes, or sign.
func (t token) is(text string) bool {
	return t.text == text && (t.kind == wordToken || t.kind == signToken)
}

// complaint is what is wrong with a file, and where.
type complaint struct {
	line int
	text string
}

func complain(line int, format string, args ...any) *complaint {
	return &complaint{line, fmt.Sprintf(format, args...)}
}

// readScript reads a file as goose does, line by line. It stops at the first
// thing that goose refuses, or would read in another way than the server.
func readScript(content string) (s script, fault *complaint) {
	var section *[]statement // where statements go
	var pending []string     // the lines of the one that is being read
	began := 0               // the line of its StatementBegin
	first := 0
	lines := strings.Split(content, "\n")
	for i, line := range lines {
		at, trimmed, ends := i+1, strings.TrimSpace(line), false
		switch {
		case strings.HasPrefix(trimmed, "--") && strings.Contains(line, "+goose"):
			switch {
			case line == "-- +goose StatementEnd" && began > 0:
				began, ends = 0, true
			case began > 0 || len(pending) > 0:
				return s, complain(at, "%q inside of a statement", line)
			case line == "-- +goose NO TRANSACTION" && s.noTransaction == 0 && section == nil:
				s.noTransaction = at
			case line == "-- +goose Up" && section == nil:
				section = &s.up
			case line == "-- +goose Down" && section == &s.up:
				section, s.downLine = &s.down, at
			case line == "-- +goose StatementBegin" && section != nil:
				began = at
			default:
				return s, complain(at, "%q is no annotation of these files, or stands in the wrong place", line)
			}
		case len(pending) == 0 && (trimmed == "" || strings.HasPrefix(trimmed, "--")):
		case section == nil:
			return s, complain(at, "a statement before \"-- +goose Up\"")
		default:
			if len(pending) == 0 {
				first = at
			}
			pending = append(pending, line)
			ends = began == 0 && endsStatement(line)
		}
		if ends {
			statement, fault := readStatement(strings.TrimSpace(strings.Join(pending, "\n")), first)
			if fault != nil {
				return s, fault
			}
			*section = append(*section, statement)
			pending = nil
		}
	}
	switch {
	case len(pending) > 0 || began > 0:
		return s, complain(max(first, began), "the statement never ends: goose looks for a semicolon at the end of a line, or for StatementEnd")
	case s.downLine == 0:
		return s, complain(len(lines), "no \"-- +goose Down\": it could not be rolled back")
	}
	return s, nil
}

func readStatement(text string, line int) (statement, *complaint) {
	tokens, fault := tokenize(text, line)
	if fault != nil {
		return statement{}, fault
	}
	for i, t := range tokens {
		if t.is(";") && i < len(tokens)-1 {
			return statement{}, complain(t.line, "more than one statement where goose sees one: the server gets them at once")
		}
	}
	if len(tokens) == 0 {
		return statement{}, complain(line, "an empty statement")
	}
	return statement{line, text, tokens}, nil
}

// endsStatement says whether goose takes the statement to end with the line.
func endsStatement(line string) bool {
	last := ""
	for _, field := range strings.Fields(line) {
		if strings.HasPrefix(field, "--") {
			break
		}
		last = field
	}
	return strings.HasSuffix(last, ";")
}

// tokenize reads plain SQL. What it does not know, such as E'…' or a /* comment,
// it refuses: goose does not know it either, and no migration needs it.
func tokenize(sql string, line int) ([]token, *complaint) {
	var tokens []token
	for len(sql) > 0 {
		kind, length := signToken, 1
		switch c := sql[0]; {
		case c == '\n':
			line++
			sql = sql[1:]
			continue
		case c == ' ' || c == '\t' || c == '\r':
			sql = sql[1:]
			continue
		case strings.HasPrefix(sql, "--"):
			sql = sql[len(sql)-len(afterLine(sql)):]
			continue
		case strings.HasPrefix(sql, "/*"):
			return nil, complain(line, "goose does not know this kind of comment, write --")
		case c == '\'':
			kind, length = stringToken, quotedLength(sql)
		case c == '"':
			kind, length = quotedToken, quotedLength(sql)
		case c == '$':
			kind, length = stringToken, dollarLength(sql)
		case c >= '0' && c <= '9':
			kind, length = numberToken, len(sql)-len(strings.TrimLeft(sql, "0123456789."))
		case wordCharacter(rune(c)):
			kind, length = wordToken, strings.IndexFunc(sql, func(r rune) bool { return !wordCharacter(r) })
			if length < 0 {
				length = len(sql)
			}
			if strings.HasPrefix(sql[length:], "'") {
				return nil, complain(line, "a string with a prefix, write a plain one")
			}
		case strings.HasPrefix(sql, "::"):
			length = 2
		}
		if length < 0 {
			return nil, complain(line, "a quote is never closed")
		}
		value := sql[:length]
		switch kind {
		case wordToken:
			value = strings.ToLower(value)
		case quotedToken:
			value = strings.ReplaceAll(value[1:length-1], `""`, `"`)
		}
		tokens = append(tokens, token{kind, value, line})
		line += strings.Count(sql[:length], "\n")
		sql = sql[length:]
	}
	return tokens, nil
}

func wordCharacter(r rune) bool {
	return r == '_' || r == '$' || r >= utf8.RuneSelf || r >= '0' && r <= '9' || r|0x20 >= 'a' && r|0x20 <= 'z'
}

// afterLine returns what follows the first line of s, its end included.
func afterLine(s string) string {
	if i := strings.IndexByte(s, '\n'); i >= 0 {
		return s[i:]
	}
	return ""
}

// quotedLength is the length of what stands in the quotes that s begins with, a
// doubled one inside being part of it; -1 when they are not closed.
func quotedLength(s string) int {
	quote := s[0]
	for i := 1; i < len(s); i++ {
		if s[i] != quote {
			continue
		}
		if i+1 < len(s) && s[i+1] == quote {
			i++
			continue
		}
		return i + 1
	}
	return -1
}

// dollarLength is the same for $tag$ … $tag$.
func dollarLength(s string) int {
	end := strings.IndexByte(s[1:], '$')
	if end < 0 {
		return -1
	}
	tag := s[:end+2]
	length := strings.Index(s[len(tag):], tag)
	if length < 0 {
		return -1
	}
	return length + 2*len(tag)
}

// cursor goes through the tokens of a statement, without its semicolon.
type cursor struct{ rest []token }

func newCursor(tokens []token) *cursor {
	if n := len(tokens); n > 0 && tokens[n-1].is(";") {
		tokens = tokens[:n-1]
	}
	return &cursor{tokens}
}

func (c *cursor) done() bool { return len(c.rest) == 0 }

// take goes past these words and signs if they are next.
func (c *cursor) take(all ...string) bool {
	if len(c.rest) < len(all) {
		return false
	}
	for i, want := range all {
		if !c.rest[i].is(want) {
			return false
		}
	}
	c.rest = c.rest[len(all):]
	return true
}

// takeAny goes past the next word if it is one of these, and returns it.
func (c *cursor) takeAny(any ...string) string {
	for _, one := range any {
		if c.take(one) {
			return one
		}
	}
	return ""
}

// name goes past a name and returns it, "" when none is next.
func (c *cursor) name() string {
	if c.done() || c.rest[0].kind != wordToken && c.rest[0].kind != quotedToken {
		return ""
	}
	name := c.rest[0].text
	c.rest = c.rest[1:]
	return name
}

// group goes past parentheses and returns what is in them.
func (c *cursor) group() (inside []token, ok bool) {
	depth := 0
	for i, t := range c.rest {
		switch {
		case t.is("("):
			depth++
		case t.is(")"):
			depth--
		}
		if depth <= 0 {
			if i > 0 {
				inside, c.rest = c.rest[1:i], c.rest[i+1:]
			}
			return inside, i > 0
		}
	}
	return nil, false
}

// splitList splits tokens at the commas that are in no parentheses.
func splitList(tokens []token) []*cursor {
	all := []*cursor{{}}
	depth := 0
	for _, t := range tokens {
		switch {
		case t.is("("):
			depth++
		case t.is(")"):
			depth--
		case t.is(",") && depth == 0:
			all = append(all, &cursor{})
			continue
		}
		last := all[len(all)-1]
		last.rest = append(last.rest, t)
	}
	return all
}
