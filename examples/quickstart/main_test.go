package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/db"
	"github.com/rowhouse/rowhouse/schema"
	"github.com/rowhouse/rowhouse/store"
	"github.com/rowhouse/rowhouse/store/storetest"
)

// environment is one with DATABASE_URL alone.
func environment(databaseURL string) func(string) string {
	return func(name string) string {
		if name == urlVariable {
			return databaseURL
		}
		return ""
	}
}

func TestThrowaway(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), environment(""), &out))
	steps := stepsOf(out.String())
	require.Regexp(t, `^PostgreSQL \d+`, steps[0])
	require.Equal(t, append(migrations(t), story...), steps[1:])
	requireTeamAndFeed(t, out.String())
}

func TestDatabaseURLTwice(t *testing.T) {
	t.Parallel()
	url := storetest.EmptyURL(t)
	for i, migrated := range [][]string{migrations(t), {"the database has every migration"}} {
		var out bytes.Buffer
		require.NoError(t, run(t.Context(), environment(url), &out))
		require.Equal(t, append(migrated, story...), stepsOf(out.String()))
		requireTeamAndFeed(t, out.String())

		// Ada, Grace and Alan are still there.
		st, err := store.Open(t.Context(), url)
		require.NoError(t, err)
		defer st.Close()
		var users int
		require.NoError(t, st.Conn().QueryRow(t.Context(), "SELECT count(*) FROM users").Scan(&users))
		require.Equal(t, 3*(i+1), users)
	}
}

// Also where the password has what ends it too early.
func TestErrorsHaveNoPassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"postgres://ada:s3cr3t@127.0.0.1:1/house",
		"postgres://127.0.0.1:1/house?user=ada&password=s3cr3t",
		"host=127.0.0.1 port=1 user=ada password=s3cr3t",
		"postgres://ada:s3cr3t@s3cr3t@127.0.0.1:1/house",
		"postgres://ada:s3cr3t%@127.0.0.1:1/house",
		"postgres://ada:1/s3cr3t@127.0.0.1:1/house",
		"postgres://ada:1#s3cr3t@127.0.0.1:1/house",
		"postgres://ada:1?s3cr3t@127.0.0.1:1/house",
		"postgres://ada:1?s3cr3t=@127.0.0.1:1/house",
		"host=127.0.0.1 port=1 user=ada password=s3cr3t sslmode=s3cr3t",
		"s3cr3t",
	} {
		err := run(t.Context(), environment(url), io.Discard)
		require.Error(t, err)
		require.NotContains(t, err.Error(), "s3cr3t")
	}
}

func TestWriteErrorEndsTheStory(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	out := &watcher{line: story[3], do: func() error { return full }}
	require.ErrorIs(t, run(t.Context(), environment(storetest.URL(t)), out), full)
	require.NotContains(t, out.String(), story[5])
}

func TestInterruptedInTheMiddle(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	out := &watcher{line: story[3], do: func() error { cancel(errors.New("interrupt signal received")); return nil }}
	err := run(ctx, environment(storetest.URL(t)), out)
	require.EqualError(t, err, story[4]+": interrupt signal received")
	require.Equal(t, story[:4], stepsOf(out.String())[1:])
}

// story is what run prints of it, times left out.
var story = []string{
	"Ada signs up, and owns a new team",
	"Grace signs up, with a team of her own",
	"Ada invites Alan, who has no account",
	"Ada invites Grace, who has one",
	"Ada invites Edsger",
	"Ada takes Edsger's invitation back",
	"Alan signs up with his invitation, and is a member",
	"Grace accepts hers, and is a member of two teams",
	"Grace tries to remove Ada, and is refused: she is no owner",
	"Ada comes back from the checkout, and the team has a Stripe customer",
	"Stripe reports a subscription, and the team has a plan",
	"Ada removes Alan",
	"The team with its members, as JSON:",
	"The team's activity, newest first:",
}

func migrations(t *testing.T) []string {
	files, err := schema.Files.ReadDir(".")
	require.NoError(t, err)
	var lines []string
	for _, f := range files {
		lines = append(lines, "migration "+f.Name())
	}
	return lines
}

var stepLine = regexp.MustCompile(`(?m)^ *\d+\.\d ms  (.*)$`)

func stepsOf(out string) []string {
	var steps []string
	for _, m := range stepLine.FindAllStringSubmatch(out, -1) {
		steps = append(steps, m[1])
	}
	return steps
}

func requireTeamAndFeed(t *testing.T, out string) {
	t.Helper()
	_, rest, _ := strings.Cut(out, "as JSON:\n")
	decoder := json.NewDecoder(strings.NewReader(rest))
	decoder.DisallowUnknownFields()
	var team store.TeamWithMembers
	require.NoError(t, decoder.Decode(&team))
	require.Equal(t, "Analytical Engines", team.Name)
	require.Equal(t, db.SubscriptionActive, *team.SubscriptionStatus)
	var members []string
	for _, m := range team.TeamMembers {
		members = append(members, *m.User.Name+" "+string(m.Role))
	}
	require.Equal(t, []string{"Ada owner", "Grace member"}, members)

	_, rest, _ = strings.Cut(out, "newest first:\n")
	lines := strings.Split(strings.TrimSuffix(rest, "\n"), "\n")
	for i, line := range lines { // after the date and the time
		lines[i] = strings.Join(slices.Delete(regexp.MustCompile(` {2,}`).Split(line, -1), 0, 1), ", ")
	}
	require.Equal(t, []string{
		"WHO, ACTION, FROM",
		"Ada, REMOVE_TEAM_MEMBER, 203.0.113.7",
		"the system, UPDATE_SUBSCRIPTION, -",
		"Ada, LINK_BILLING, 203.0.113.7",
		"Grace, ACCEPT_INVITATION, 203.0.113.7",
		"Alan, SIGN_UP, 203.0.113.7",
		"Alan, ACCEPT_INVITATION, 203.0.113.7",
		"Ada, CANCEL_INVITATION, 203.0.113.7",
		"Ada, INVITE_TEAM_MEMBER, 203.0.113.7",
		"Ada, INVITE_TEAM_MEMBER, 203.0.113.7",
		"Ada, INVITE_TEAM_MEMBER, 203.0.113.7",
		"Ada, SIGN_UP, 203.0.113.7",
		"Ada, CREATE_TEAM, 203.0.113.7",
	}, lines)

	require.NotRegexp(t, `[A-Za-z0-9_-]{43}`, out, "a token")
	require.NotContains(t, strings.ToLower(out), "hash")
}

// watcher does something once a line has come.
type watcher struct {
	bytes.Buffer
	line string
	do   func() error
}

func (w *watcher) Write(p []byte) (int, error) {
	n, err := w.Buffer.Write(p)
	if strings.Contains(string(p), w.line) {
		err = errors.Join(err, w.do())
	}
	return n, err
}
