package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rowhouse/rowhouse/schema"
)

// report is the result of a command, and its JSON. A list that a command has is there when
// it is empty; what it does not have is left out.
type report struct {
	Command     string      `json:"command"`
	Version     *int64      `json:"version,omitzero"` // of the database, afterwards
	Applied     []result    `json:"applied,omitzero"`
	RolledBack  []result    `json:"rolledBack,omitzero"`
	Redone      []result    `json:"redone,omitzero"`
	Plan        []step      `json:"plan,omitzero"` // of -dry-run
	Migrations  []migration `json:"migrations,omitzero"`
	Problems    []problem   `json:"problems,omitzero"`
	Differences []string    `json:"differences,omitzero"`
	Statements  []string    `json:"statements,omitzero"` // that grant ran or, with -dry-run, would run
	Excess      []excess    `json:"excess,omitzero"`
	File        string      `json:"file,omitzero"`
	Error       string      `json:"error,omitzero"`
}

// result is a migration that was applied or rolled back.
type result struct {
	Version      int64   `json:"version"`
	Name         string  `json:"name"`
	Milliseconds float64 `json:"milliseconds"`
}

// migration is one of status.
type migration struct {
	Version   int64      `json:"version"`
	Name      string     `json:"name"` // empty: of a newer build
	Applied   bool       `json:"applied"`
	AppliedAt *time.Time `json:"appliedAt,omitzero"`
}

// problem is one of check.
type problem struct {
	Migration string `json:"migration"`
	What      string `json:"what"`
	Show      string `json:"show,omitzero"`
	Repair    string `json:"repair,omitzero"`
}

// excess is one of grant.
type excess struct {
	Role   string `json:"role"`
	What   string `json:"what"`
	Repair string `json:"repair"`
}

// step is one that would be taken.
type step struct {
	Version     int64  `json:"version"`
	Name        string `json:"name"`
	Direction   string `json:"direction"` // up or down
	Transaction bool   `json:"transaction"`
	SQL         string `json:"sql"`
}

func resultsOf(done []schema.Result) []result {
	all := []result{}
	for _, r := range done {
		all = append(all, result{r.Version, r.Name, float64(r.Duration.Microseconds()) / 1000})
	}
	return all
}

// readVersion asks the database, unless the command has failed: then nothing more is known
// of it than the error says.
func (r *report) readVersion(ctx context.Context, pool *pgxpool.Pool, failed error) error {
	if failed != nil {
		return nil
	}
	version, err := schema.Version(ctx, pool)
	if err != nil {
		return err
	}
	r.Version = &version
	return nil
}

func (r *report) writeJSON(w io.Writer, failed error) error {
	if failed != nil {
		r.Error = failed.Error()
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// writeText prints what there is. The writer remembers a failure.
func (r *report) writeText(w io.Writer) error {
	for _, m := range r.Applied {
		fmt.Fprintf(w, "applied %s in %s\n", m.Name, m.duration())
	}
	for _, m := range r.RolledBack {
		fmt.Fprintf(w, "rolled back %s in %s\n", m.Name, m.duration())
	}
	for _, m := range r.Redone {
		fmt.Fprintf(w, "rolled back and applied %s in %s\n", m.Name, m.duration())
	}
	for _, p := range r.Problems {
		fmt.Fprintln(w, schema.Problem(p))
	}
	for _, difference := range r.Differences {
		fmt.Fprintln(w, difference)
	}
	for _, statement := range r.Statements {
		fmt.Fprintln(w, statement)
	}
	for _, e := range r.Excess { // as comments, beside statements
		fmt.Fprintln(w, "-- "+strings.ReplaceAll(schema.Excess(e).String(), "\n", "\n-- "))
	}
	if r.Excess != nil && len(r.Statements)+len(r.Excess) == 0 {
		fmt.Fprintln(w, "the roles may do what they need to, and no more")
	}
	for _, s := range r.Plan {
		how := "in a transaction"
		if !s.Transaction {
			how = "without a transaction"
		}
		fmt.Fprintf(w, "-- %s, %s, %s\n%s\n\n", s.Name, s.Direction, how, s.SQL)
	}
	if r.File != "" {
		fmt.Fprintln(w, "created", r.File)
	}
	if r.Version == nil {
		if r.Command == "check" && r.Problems != nil && len(r.Problems) == 0 {
			fmt.Fprintln(w, "nothing stands in the way of a migration")
		}
		return nil
	}
	switch r.Command {
	case "version":
		fmt.Fprintln(w, *r.Version)
	case "status":
		return r.writeStatus(w)
	case "verify":
		if r.Differences != nil && len(r.Differences) == 0 {
			fmt.Fprintf(w, "version %d, as the migrations make it\n", *r.Version)
		}
	default:
		if len(r.Applied)+len(r.RolledBack)+len(r.Redone)+len(r.Plan) == 0 {
			fmt.Fprintf(w, "already at version %d\n", *r.Version)
		}
	}
	return nil
}

func (r *report) writeStatus(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "VERSION\tNAME\tAPPLIED")
	for _, m := range r.Migrations {
		name, applied := m.Name, "pending"
		if name == "" {
			name = "(of a newer build)"
		}
		if m.Applied {
			applied = m.AppliedAt.Format(time.RFC3339)
		}
		fmt.Fprintf(table, "%d\t%s\t%s\n", m.Version, name, applied)
	}
	return table.Flush()
}

func (r result) duration() time.Duration {
	return time.Duration(r.Milliseconds * float64(time.Millisecond)).Round(time.Millisecond)
}
