package store_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rowhouse/rowhouse/store"
)

// scale is on for the sizes that a large service has:
//
//	ROWHOUSE_SCALE=1 go test ./store -run 'TestPurgeActivityBesideWriters|TestPagesAreAsCheapFarDown' -v -timeout 30m
var scale = os.Getenv("ROWHOUSE_SCALE") == "1"

// Two purges share what is to go, while four writers keep recording. A writer that
// waited 100 ms for a lock would fail, and so would a purge that waited for the other
// one: by lock_timeout, not by the clock.
func TestPurgeActivityBesideWriters(t *testing.T) {
	t.Parallel()
	const (
		writers = 4
		longest = 100 * time.Millisecond
	)
	old := 20_000 + repeats(180_000)
	if scale {
		old = 1_000_000
	}
	st := racers(t, 2)
	waitingAtMost := func(d time.Duration, connections int) *store.Store {
		databaseSetting(t, "lock_timeout", strconv.FormatInt(d.Milliseconds(), 10))
		pool := newPool(t)
		open(t, pool, connections) // with this setting; and so that no purge is done before the other has connected
		return store.New(pool)
	}
	writing, purging := waitingAtMost(longest, writers), waitingAtMost(50*time.Millisecond, 2)
	crews := newCrews(t, st, 100, 1, 0)
	before := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	team := crews[0][0].team.ID
	exec(t, st, `INSERT INTO activity_logs (team_id, user_id, action, "timestamp") SELECT $1 + i % 100, $2 + i % 100, 'OLD', $3::timestamp - i * interval '1 ms' FROM generate_series(1, $4::integer) AS i`,
		team, crews[0][0].owner.ID, before, old)
	exec(t, st, `INSERT INTO activity_logs (team_id, action, "timestamp") SELECT $1, 'NEWER', $2::timestamp + i * interval '1 microsecond' FROM generate_series(0, 999) AS i`, team, before)
	exec(t, st, "ANALYZE")

	waits := make([][]time.Duration, writers)
	purged := make(chan struct{})
	var all, started sync.WaitGroup
	started.Add(writers)
	for i := range writers {
		all.Go(func() {
			for {
				begin := time.Now()
				err := writing.RecordActivity(t.Context(), store.RecordActivity{TeamID: crews[i][0].team.ID, UserID: crews[i][0].owner.ID, Action: "WRITTEN"})
				waits[i] = append(waits[i], time.Since(begin))
				if len(waits[i]) == 1 {
					started.Done()
				}
				if !assert.NoError(t, err) {
					return
				}
				select {
				case <-purged:
					return
				default:
				}
			}
		})
	}
	started.Wait()
	begin := time.Now()
	removed := make([]int64, 2)
	errs := race(crowdOf(2, func(i int) (err error) {
		removed[i], err = purging.PurgeActivity(t.Context(), before, 20_000) // a batch takes longer than a purge may wait
		return err
	})...)
	took := time.Since(begin)
	close(purged)
	all.Wait()

	require.Equal(t, 2, allBut(t, errs))
	require.EqualValues(t, old, removed[0]+removed[1])
	require.Equal(t, []string{"NEWER 1000", "SIGN_UP 100", fmt.Sprint("WRITTEN ", len(slices.Concat(waits...)))},
		column[string](t, st, "SELECT action || ' ' || count(*) FROM activity_logs GROUP BY action ORDER BY action"))
	for i := range writers {
		require.Equal(t, []int{len(waits[i])}, column[int](t, st, "SELECT count(*) FROM activity_logs WHERE team_id = $1 AND action = 'WRITTEN'", crews[i][0].team.ID))
	}
	for i := range waits {
		waits[i] = waits[i][1:] // it opened the connection, before the purges
	}
	sorted := slices.Sorted(slices.Values(slices.Concat(waits...)))
	within := func(permille int) time.Duration { return sorted[(len(sorted)-1)*permille/1000] }
	t.Logf("%d rows removed in %v (%d and %d); %d rows were written meanwhile: half of them within %v, 99%% within %v, 99.9%% within %v, all within %v",
		old, took.Round(time.Millisecond), removed[0], removed[1], len(sorted), within(500), within(990), within(999), within(1000))
	if scale { // by the clock, a busy machine lets a few wait for a processor
		require.Less(t, within(999), longest)
	}
}

// What another purge is removing, a purge passes over: here the oldest 30, held as one
// would hold them.
func TestPurgesShareTheWork(t *testing.T) {
	t.Parallel()
	databaseSetting(t, "lock_timeout", "1s")
	st := newStore(t)
	h := newHouse(t, st)
	before := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	exec(t, st, `INSERT INTO activity_logs (team_id, action, "timestamp") SELECT $1, 'OLD', $2::timestamp - i * interval '1 ms' FROM generate_series(1, 100) AS i`, h.team.ID, before)
	require.NoError(t, newStore(t).InTx(t.Context(), func(tx *store.Store) error {
		exec(t, tx, `SELECT FROM activity_logs WHERE "timestamp" < $1 ORDER BY "timestamp" LIMIT 30 FOR UPDATE`, before)
		removed, err := st.PurgeActivity(t.Context(), before, 10)
		require.EqualValues(t, 70, removed)
		return err
	}))
	removed, err := st.PurgeActivity(t.Context(), before, 10)
	require.NoError(t, err)
	require.EqualValues(t, 30, removed)
}
