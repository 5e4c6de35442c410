package main

import (
	"encoding/json"
	"maps"
	"slices"
)

// omission is what a contender leaves out of what it returns or writes. The check compares
// the rest, and finds an omission that nothing shows.
type omission struct {
	table string // "" for the result of kind
	kind  kind
	// drop takes it out of a row or result, of the contender's and of the Store's alike,
	// and tells whether there is nothing left to compare.
	drop func(row map[string]any) (all bool)
	why  string
	// mayHide is set where it can be the same by chance, as an order can.
	mayHide bool
}

// columns drops some of a row.
func columns(names ...string) func(map[string]any) bool {
	return func(row map[string]any) bool {
		maps.DeleteFunc(row, func(name string, _ any) bool { return slices.Contains(names, name) })
		return false
	}
}

// departure is a case of the check in which a contender does something else than the Store.
// The check finds one that does the same after all.
type departure struct {
	on   string // the case's name
	does string
}

func (c contender) departs(on string) bool {
	return slices.ContainsFunc(c.departures, func(d departure) bool { return d.on == on })
}

// compared is a result of a kind without what a contender leaves out of it.
func compared(omissions []omission, k kind, answer string) string {
	for _, o := range omissions {
		var result map[string]any
		if o.table != "" || o.kind != k || json.Unmarshal([]byte(answer), &result) != nil {
			continue
		}
		if o.drop(result) {
			return ""
		}
		answer = text(result)
	}
	return answer
}

// change is a row that a case has removed or added.
type change struct {
	added bool
	table string
	row   map[string]any
}

// compared is the change without what a contender leaves out of it; "" if that is all.
func (c change) compared(omissions []omission) string {
	row := maps.Clone(c.row)
	for _, o := range omissions {
		if o.table == c.table && o.drop(row) {
			return ""
		}
	}
	verb := "removed"
	if c.added {
		verb = "added"
	}
	return verb + " " + c.table + " " + text(row)
}
