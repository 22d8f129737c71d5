package inventory

import (
	"bytes"
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// What channels need to follow the log. Their states lie beside it, so that a
// backup has both as of the same moment and a cursor never leads behind the
// end of a log that was restored.

// EventsAfter returns up to limit events with Seq > after, oldest first.
func (i *Inventory) EventsAfter(after uint64, limit int) (out []renewer.Event, err error) {
	err = i.view(func(tx *bolt.Tx) error {
		out = nil
		c := bEvents.of(tx).Cursor()
		for k, v := c.Seek(seqKey(after + 1)); k != nil && len(out) < limit; k, v = c.Next() {
			e, err := openEvent(k, v)
			if err != nil {
				return err
			}
			out = append(out, e)
		}
		return nil
	})
	return out, err
}

// LastSeq returns the Seq of the newest event; 0 if there is none.
func (i *Inventory) LastSeq() (seq uint64, err error) {
	err = i.view(func(tx *bolt.Tx) error {
		if k, _ := bEvents.of(tx).Cursor().Last(); k != nil {
			seq = binary.BigEndian.Uint64(k)
		}
		return nil
	})
	return seq, err
}

// Channels returns the names of the channels that have a state, sorted.
func (i *Inventory) Channels() (names []string, err error) { return i.keys(bChannels) }

// LoadChannel returns the state of a channel; nil if it never had one.
func (i *Inventory) LoadChannel(name string) (state []byte, err error) {
	err = i.view(func(tx *bolt.Tx) error {
		v, err := bChannels.get(tx, []byte(name))
		state = bytes.Clone(v)
		return err
	})
	return state, err
}

// SaveChannel writes the state of a channel durably; nil removes it.
func (i *Inventory) SaveChannel(name string, state []byte) error {
	err := i.update(func(tx *bolt.Tx) error {
		if state == nil {
			return bChannels.of(tx).Delete([]byte(name))
		}
		return bChannels.put(tx, []byte(name), bytes.Clone(state))
	})
	if err != nil {
		return fmt.Errorf("save the state of channel %s: %w", name, err)
	}
	return nil
}
