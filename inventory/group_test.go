package inventory

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// held makes every commit wait in the queue until the returned function is
// called, by keeping bbolt's only write transaction.
func held(t *testing.T, i *Inventory) (release func()) {
	t.Helper()
	tx, err := i.db.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	return sync.OnceFunc(func() { _ = tx.Rollback() })
}

// queued waits until n callers are in the queue behind the one that writes.
func queued(t *testing.T, i *Inventory, n int) {
	t.Helper()
	for {
		i.group.mu.Lock()
		waiting, leading := len(i.group.waiting), i.group.leading
		i.group.mu.Unlock()
		if leading && waiting == n {
			return
		}
		select {
		case <-t.Context().Done():
			t.Fatal("they never came")
		case <-time.After(time.Millisecond):
		}
	}
}

func TestCallersShareATransaction(t *testing.T) {
	t.Parallel()
	i := open(t)
	release := held(t, i)
	defer release()
	var wg sync.WaitGroup
	seqs := make([]uint64, 100)
	commitAs := func(n int) {
		wg.Go(func() {
			events, err := i.Commit(t.Context(), issued(fmt.Sprintf("c%03d", n), 1, day(n)))
			if err != nil {
				t.Error(err)
				return
			}
			seqs[n] = events[0].Seq
		})
	}
	commitAs(0)
	queued(t, i, 0) // it leads, and waits for bbolt
	for n := 1; n < 100; n++ {
		commitAs(n)
		queued(t, i, n)
	}
	before := i.lastTx()
	release()
	wg.Wait()
	if n := i.lastTx() - before; n != 2 {
		t.Errorf("100 commits took %d transactions, want 2: the one under way, and one for all that waited", n)
	}
	if !slices.IsSorted(seqs) || seqs[0] != 1 || seqs[99] != 100 {
		t.Errorf("events are not in the order of the callers: %v", seqs)
	}
	sound(t, i)
}

func TestOneBadChangeFailsItsCallerAlone(t *testing.T) {
	t.Parallel()
	i := open(t)
	commit(t, i, issued("taken", 5, day(5)))
	release := held(t, i)
	defer release()
	var wg sync.WaitGroup
	errs := make([]error, 9)
	for n := range errs {
		c := issued(fmt.Sprintf("c%d", n), 1, day(n))
		if n%4 == 2 {
			c = issued("taken", 4, day(n)) // its counters would fall
		}
		wg.Go(func() { _, errs[n] = i.Commit(t.Context(), c) })
		queued(t, i, n)
	}
	release()
	wg.Wait()
	for n, err := range errs {
		if bad := n%4 == 2; bad != errors.Is(err, ErrConflict) || !bad && err != nil {
			t.Errorf("caller %d: %v", n, err)
		}
	}
	events, err := i.Events(renewer.EventFilter{})
	if err != nil || len(events) != 8 || events[7].Seq != 8 {
		t.Errorf("%d events, %v", len(events), err)
	}
	sound(t, i)
}

func TestCancelledWhileWaiting(t *testing.T) {
	t.Parallel()
	i := open(t)
	release := held(t, i)
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	run := func(ctx context.Context, name string, err *error) {
		wg.Go(func() { _, *err = i.Commit(ctx, issued(name, 1, day(1))) })
	}
	var first, second, third error
	run(ctx, "first", &first)
	queued(t, i, 0)
	run(ctx, "second", &second)
	queued(t, i, 1)
	run(t.Context(), "third", &third)
	queued(t, i, 2)
	cancel()
	queued(t, i, 1) // the second took itself back
	release()
	wg.Wait()
	if first != nil || !errors.Is(second, context.Canceled) || third != nil {
		t.Error(first, second, third)
	}
	names, _ := i.Names()
	equal(t, "names", names, []string{"first", "third"})
}

// The one who is woken to lead must lead, even if its context has just ended:
// otherwise those behind it would wait for ever.
func TestCancelledLeaderStillLeads(t *testing.T) {
	t.Parallel()
	for range 200 {
		var g group
		entered, goOn := make(chan struct{}), make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			_ = g.do(context.Background(), &request{wake: make(chan struct{})}, func([]*request) {
				close(entered)
				<-goOn
			})
		})
		<-entered
		ctx, cancel := context.WithCancel(context.Background())
		for _, ctx := range []context.Context{ctx, context.Background()} {
			wg.Go(func() { _ = g.do(ctx, &request{wake: make(chan struct{})}, func([]*request) {}) })
		}
		wg.Go(cancel)
		close(goOn)
		wg.Wait()
		if g.leading || len(g.waiting) > 0 {
			t.Fatal("somebody is left")
		}
	}
}

// Readers and writers at once, for the race detector; every read sees whole
// commits only.
func TestReadersAndWriters(t *testing.T) {
	t.Parallel()
	i := open(t)
	ctx, stop := context.WithCancel(t.Context())
	var readers, writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for n := 1; n <= 40; n++ {
				if _, err := i.Commit(ctx, issued(fmt.Sprintf("w%d", w), n, day(n))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 3 {
		readers.Go(func() {
			for ctx.Err() == nil {
				names, err := i.Names()
				for _, name := range names {
					rec, ok, err := i.Record(name)
					g, ok2, err2 := i.Generation(name, rec.Latest)
					if !ok || !ok2 || err != nil || err2 != nil || g.Number != rec.Latest {
						t.Errorf("%s: %v %v %v %v", name, ok, ok2, err, err2)
					}
				}
				if err := errors.Join(err, i.Rows(time.Time{}, func(renewer.Row) bool { return true })); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	stop()
	readers.Wait()
	sound(t, i)
}

// The defaults are the durable ones.
func TestCommitsAreSynced(t *testing.T) {
	t.Parallel()
	i, err := Open(filepath.Join(t.TempDir(), "inventory.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = i.Close() }()
	if db := i.db; db.NoSync || db.NoGrowSync || db.NoFreelistSync || db.FreelistType != bolt.FreelistMapType {
		t.Errorf("NoSync %t, NoGrowSync %t, NoFreelistSync %t, freelist %s", db.NoSync, db.NoGrowSync, db.NoFreelistSync, db.FreelistType)
	}
}
