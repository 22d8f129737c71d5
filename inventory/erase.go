package inventory

import (
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
)

// eraseEvery is how long what is left of sealed keys may wait while there are
// others.
const eraseEvery = time.Minute

// erasure is what is known of the remains of deleted keys.
type erasure struct {
	mu      sync.Mutex
	remains atomic.Bool
	again   time.Time // when it is tried again after it failed, or while there are other keys
	failed  bool
}

// erase overwrites what is left of deleted keys in the pages that bbolt has
// freed: at once when no key is left, else once in a while. Where that fails, or
// somebody reads just now, it is tried again with a later commit, or Close.
func (i *Inventory) erase(closing bool) {
	e := &i.erasure
	if !e.remains.Load() || !e.mu.TryLock() {
		return
	}
	defer e.mu.Unlock()
	now := i.now()
	if !closing && now.Before(e.again) && (e.failed || i.keysLeft()) {
		return
	}
	e.remains.Store(false) // what another commit leaves from now on is for the next time
	done, err := i.overwriteFree()
	if err != nil {
		slog.Warn("could not overwrite deleted sealed private keys", "inventory", i.path, "error", err)
	}
	if e.again, e.failed = now.Add(eraseEvery), !done; !done {
		e.remains.Store(true)
	}
}

func (i *Inventory) keysLeft() (some bool) {
	_ = i.view(func(tx *bolt.Tx) error { // unknown is none
		k, _ := bKeys.of(tx).Cursor().First()
		some = k != nil
		return nil
	})
	return some
}

// overwriteFree fills free pages with zeros. A transaction goes before: pages that
// are free before and after it are of use neither to the last transaction nor to
// the one before, which bbolt goes back to if the meta page of the last is damaged.
// What was erased is noted, so that a process that is killed before leaves it to
// the next. It reports false if a reader may still see the pages.
func (i *Inventory) overwriteFree() (done bool, err error) {
	var before *pages
	var deleted []byte
	err = i.update(func(tx *bolt.Tx) (err error) {
		deleted = deletions(tx)
		before, err = newestPages(i.file)
		return err
	})
	if err != nil {
		return false, err
	}
	err = i.rolledBack(func(*bolt.Tx) error { // so no one else writes
		if done = i.reading.TryLock(); !done {
			return nil
		}
		defer i.reading.Unlock()
		after, err := newestPages(i.file)
		if err != nil {
			return err
		}
		return after.overwrite(before)
	})
	if err == nil && done && !i.noSync {
		err = i.file.Sync()
	}
	if err != nil || !done {
		return false, err
	}
	return true, i.update(func(tx *bolt.Tx) error { return bMeta.of(tx).Put(keyErased, deleted) })
}

// overwrite fills the pages with zeros that are free here and were before.
func (p *pages) overwrite(before *pages) error {
	was, err := before.free()
	if err != nil {
		return err
	}
	is, err := p.free()
	if err != nil {
		return err
	}
	free := make(map[uint64]bool, len(was))
	for _, id := range was {
		free[id] = true
	}
	zeros, b := make([]byte, p.meta.pageSize), make([]byte, p.meta.pageSize)
	for _, id := range is {
		if !free[id] {
			continue
		}
		at := int64(id * p.meta.pageSize)
		if _, err := p.file.ReadAt(b, at); err != nil {
			return fmt.Errorf("read page %d: %w", id, err)
		}
		if string(b) == string(zeros) {
			continue
		}
		if _, err := p.file.WriteAt(zeros, at); err != nil {
			return fmt.Errorf("overwrite page %d: %w", id, err)
		}
	}
	return nil
}

// deletions counts how often keys were deleted.
func deletions(tx *bolt.Tx) []byte { return strconv.AppendUint(nil, bKeys.of(tx).Sequence(), 10) }

// hasRemains reports whether keys were deleted and not erased since.
func hasRemains(tx *bolt.Tx) bool {
	return bKeys.of(tx).Sequence() > 0 && string(bMeta.of(tx).Get(keyErased)) != string(deletions(tx))
}
