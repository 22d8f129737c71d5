package inventory

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"renewer/renewer"
)

// finished is the change that ends the rollout of ordered.
func finished(name string, generation int) renewer.Change {
	c := ordered(name, generation)
	c.Generation, c.Key = nil, nil
	c.Record.Current, c.Record.Rollout = generation, nil
	for host := range c.Record.Placements {
		c.Record.Placements[host] = renewer.PlacementState{Generation: generation}
	}
	return c
}

// remains says how often what is in keys named like this is in the file.
func remains(t *testing.T, path, name string) int {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(content, []byte("sealed key of "+name+"#"))
}

func TestADeletedKeyIsOverwritten(t *testing.T) {
	t.Parallel()
	now := epoch
	i, err := Open(filepath.Join(t.TempDir(), "inventory.db"), Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = i.Close() }()
	commit(t, i, ordered("web", 2))
	for n := range 40 { // every commit leaves a copy
		commit(t, i, issued(fmt.Sprintf("more%d", n), 1, day(n)))
	}
	if remains(t, i.Path(), "web") < 2 {
		t.Fatal("there is nothing to overwrite")
	}
	commit(t, i, finished("web", 2))
	if n := remains(t, i.Path(), "web"); n > 0 {
		t.Errorf("the only key is in the file %d times after its rollout", n)
	}

	commit(t, i, ordered("a", 2), ordered("b", 2))
	commit(t, i, finished("a", 2))
	now = now.Add(eraseEvery)
	commit(t, i, issued("later", 1, day(1)))
	if n := remains(t, i.Path(), "a"); n > 0 {
		t.Errorf("a key is in the file %d times when another one has outlived it for a while", n)
	}
	if sealed, ok, err := i.Key("b", 2); !ok || err != nil || string(sealed) != "sealed key of b#2" {
		t.Errorf("the other key: %q %v %v", sealed, ok, err)
	}
	commit(t, i, finished("b", 2), ordered("c", 1))
	sound(t, i)
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	if n := remains(t, i.Path(), "b"); n > 0 {
		t.Errorf("a key is in the file %d times after Close", n)
	}
}

// What a reader may still see stays, and so does what a process that was killed
// did not come to: until the next time.
func TestADeletedKeyIsOverwrittenByTheNextWhoCan(t *testing.T) {
	t.Parallel()
	i := open(t)
	var begin, end []renewer.Change
	for n := range 100 { // in more pages than the next commits use again
		name := fmt.Sprintf("web%d", n)
		begin, end = append(begin, ordered(name, 1)), append(end, finished(name, 1))
		begin[n].Key.Sealed = append(begin[n].Key.Sealed, make([]byte, 2000)...)
	}
	commit(t, i, begin...)
	i.reading.RLock()
	commit(t, i, end...)
	i.reading.RUnlock()
	left := func(path string) (n int) {
		for _, c := range begin {
			n += remains(t, path, c.Record.Name)
		}
		return n
	}
	content, err := os.ReadFile(i.Path())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "inventory.db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	before := left(path)
	next := openAt(t, path)
	commit(t, next, issued("more", 1, day(1)))
	if n := left(path); n > 0 || before == 0 {
		t.Errorf("keys are in the file %d times, %d before", n, before)
	}
}

// The transaction before the last one is whole still, for when the meta page of
// the last one is damaged.
func TestOverwritingKeysLeavesTheTransactionBefore(t *testing.T) {
	t.Parallel()
	i := open(t)
	commit(t, i, ordered("web", 2), issued("other", 1, day(1)))
	commit(t, i, finished("web", 2))
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(i.Path())
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2 {
		path := filepath.Join(t.TempDir(), "inventory.db")
		if err := os.WriteFile(path, zero2(bytes.Clone(content), n*os.Getpagesize()+16), 0o600); err != nil {
			t.Fatal(err)
		}
		next := openAt(t, path)
		rec, ok, err := next.Record("web")
		if !ok || err != nil || rec.Current != 2 {
			t.Errorf("%+v %v", rec, err)
		}
		if found := next.CheckFull(t.Context()); len(found) != 1 { // the meta page
			t.Error(found)
		}
	}
}

// The one who reads meanwhile sees nothing of it.
func TestReadingWhileKeysAreOverwritten(t *testing.T) {
	t.Parallel()
	i := open(t)
	for n := range 30 {
		commit(t, i, issued(fmt.Sprintf("more%d", n), 1, day(n)))
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for r := range 3 {
		readers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				name := fmt.Sprintf("more%d", (n+r)%30)
				if rec, ok, err := i.Record(name); !ok || err != nil || rec.Name != name {
					t.Errorf("%+v %v %v", rec, ok, err)
					return
				}
				if got := len(rowNames(t, i, time.Time{})); got < 30 {
					t.Errorf("%d rows", got)
				}
			}
		})
	}
	for n := range 50 {
		name := fmt.Sprintf("web%d", n)
		commit(t, i, ordered(name, 1))
		commit(t, i, finished(name, 1))
	}
	close(done)
	readers.Wait()
	sound(t, i)
}
