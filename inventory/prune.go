package inventory

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	pruneStep    = 1000 // entries deleted in one transaction, so that commits get their turn
	keepRollouts = 10   // of each certificate, whatever their age
)

// Pruned counts what Prune deleted.
type Pruned struct {
	Events   int
	Rollouts int
}

// Prune bounds the growth of the log. It deletes events from the log's old end
// while they are from before a time and more than keep are left, and rollouts
// that ended before it, except the last ten of each certificate. Seq goes on
// as if nothing had been deleted. Generations are never deleted. The file does
// not get smaller: its free pages are used again.
func (i *Inventory) Prune(ctx context.Context, before time.Time, keep int) (done Pruned, err error) {
	limit := timeKey(before)
	for more := true; more && err == nil; {
		n := 0
		err = i.step(ctx, func(tx *bolt.Tx) (err error) {
			n, err = pruneEvents(tx, limit, uint64(max(keep, 0)))
			return err
		})
		done.Events += n
		more = n == pruneStep
	}
	for from := []byte(nil); err == nil; {
		n := 0
		err = i.step(ctx, func(tx *bolt.Tx) (err error) {
			n, from, err = pruneRollouts(tx, limit, from)
			return err
		})
		done.Rollouts += n
		if from == nil {
			break
		}
	}
	if err != nil {
		return done, fmt.Errorf("prune inventory %s: %w", i.path, err)
	}
	return done, nil
}

func (i *Inventory) step(ctx context.Context, fn func(*bolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return i.update(fn)
}

// pruneEvents deletes up to pruneStep events. The log has no gaps, so that
// numbers count events.
func pruneEvents(tx *bolt.Tx, limit []byte, keep uint64) (n int, err error) {
	log, byName := bEvents.of(tx), bEventsByName.of(tx)
	var gone, names [][]byte
	c := log.Cursor()
	for k, v := c.First(); k != nil && len(gone) < pruneStep; k, v = c.Next() {
		if binary.BigEndian.Uint64(k)+keep > log.Sequence() {
			break
		}
		e, err := openEvent(k, v)
		if err != nil {
			return 0, err
		}
		if bytes.Compare(v[:timeSize], limit) >= 0 {
			break
		}
		gone = append(gone, bytes.Clone(k))
		for _, name := range eventNames(e) {
			names = append(names, numberKey(name, e.Seq))
		}
	}
	return len(gone), deleteAll(log, gone, byName, names)
}

// pruneRollouts looks at about pruneStep
// rollouts from a key on, and returns the key to go on from, nil at the end.
func pruneRollouts(tx *bolt.Tx, limit, from []byte) (n int, next []byte, err error) {
	history := bRollouts.of(tx)
	c := history.Cursor()
	var gone [][]byte
	var ours [][]byte // of the certificate at hand, oldest first; nil where it is too young
	flush := func() {
		for _, k := range ours[:max(len(ours)-keepRollouts, 0)] {
			if k != nil {
				gone = append(gone, k)
			}
		}
		ours = nil
	}
	var name []byte
	k, v := c.Seek(from)
	for seen := 0; k != nil; k, v = c.Next() {
		if owner := k[:max(len(k)-8, 0)]; !bytes.Equal(owner, name) {
			flush()
			if seen >= pruneStep {
				next = bytes.Clone(k)
				break
			}
			name = bytes.Clone(owner)
		}
		seen++
		if v, err = bRollouts.open(k, v); err != nil {
			return 0, nil, err
		}
		if bytes.Compare(v[:timeSize], limit) < 0 {
			ours = append(ours, bytes.Clone(k))
		} else {
			ours = append(ours, nil)
		}
	}
	flush()
	return len(gone), next, deleteAll(history, gone, nil, nil)
}

func deleteAll(a *bolt.Bucket, keysA [][]byte, b *bolt.Bucket, keysB [][]byte) error {
	for _, k := range keysA {
		if err := a.Delete(k); err != nil {
			return err
		}
	}
	for _, k := range keysB {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}
