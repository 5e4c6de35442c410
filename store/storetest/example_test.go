package storetest_test

import (
	"testing"

	"github.com/rowhouse/rowhouse/store/storetest"
)

var t *testing.T

// TestExample runs the example: what it shows needs a test's t.
func TestExample(tt *testing.T) {
	t = tt
	Example()
}

// The body of a service's test. It gets a Store on a database of its own, hands it
// to the code under test, and looks at the result with SQL.
func Example() {
	// func TestListTeams(t *testing.T) {
	t.Parallel()
	st := storetest.New(t)
	_ = st // service.New(st) …

	var teams int
	err := storetest.Pool(t).QueryRow(t.Context(), "SELECT count(*) FROM teams").Scan(&teams)
	if err != nil {
		t.Fatal(err)
	}
	if teams != 0 {
		t.Errorf("a new database has %d teams", teams)
	}
}
