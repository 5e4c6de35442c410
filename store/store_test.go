package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/store"
)

func TestOpen(t *testing.T) {
	t.Parallel()
	st, err := store.Open(t.Context(), newURL(t))
	require.NoError(t, err)
	h := newHouse(t, st)
	st.Close()
	_, err = st.User(t.Context(), h.owner.ID)
	require.Error(t, err, "after Close")

	pool := newPool(t)
	store.New(pool).Close()
	require.NoError(t, pool.Ping(t.Context()), "a pool of the caller's is left alone")
}

// What can't be opened says why, and never the password.
func TestOpenFails(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, url := range []string{
		"postgres://user:canary@127.0.0.1:1/app",
		"postgres://user:canary@127.0.0.1:not-a-port/app",
		"postgres://user:canary@[/app",
		"host=127.0.0.1 port=1 password=canary sslmode=none",
		"host=127.0.0.1 port=1 password=canary pool_max_conns=few",
	} {
		_, err := store.Open(ctx, url)
		require.ErrorContains(t, err, "open the store", url)
		require.NotContains(t, err.Error(), "canary")
	}
}

// A lock that can't be had in time fails the operation with the server's error, and
// leaves the connection as good as it was.
func TestALockThatIsNotHadInTime(t *testing.T) {
	t.Parallel()
	databaseSetting(t, "lock_timeout", "50ms")
	st := newStore(t)
	h := newHouse(t, st)
	member := h.join("member")

	require.NoError(t, newStore(t).InTx(t.Context(), func(other *store.Store) error {
		exec(t, other, "SELECT FROM teams WHERE id = $1 FOR NO KEY UPDATE", h.team.ID)
		err := st.RemoveMember(t.Context(), store.RemoveMember{Actor: h.actor, TeamID: h.team.ID, MemberID: member.TeamMember.ID})
		var pgErr *pgconn.PgError
		require.ErrorAs(t, err, &pgErr)
		require.Equal(t, "55P03", pgErr.Code)

		// Reads and log rows don't wait for it.
		_, err = st.TeamWithMembers(t.Context(), h.team.ID)
		require.NoError(t, err)
		return st.RecordSignIn(t.Context(), h.actor)
	}))
	require.NoError(t, st.RemoveMember(t.Context(), store.RemoveMember{Actor: h.actor, TeamID: h.team.ID, MemberID: member.TeamMember.ID}))
}
