package inventory

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// An inventory has an identity among all its copies: a fleet, which backups and
// clones share, and an incarnation, which they do not. It is another one after a
// backup was restored, and on another machine; what is in place may then be newer
// than what the inventory says, and somebody else may still be at work.

var keyIdentity = []byte("identity")

// identity is what is kept of it. The name and the time are not the inventory's.
type identity struct {
	renewer.Mark
	Machine string `json:"machine,omitempty"` // on which the incarnation began; empty: not known
}

// Identity is the inventory's identity.
func (i *Inventory) Identity() (m renewer.Mark, err error) {
	err = i.view(func(tx *bolt.Tx) error {
		id, err := identityOf(tx)
		m = id.Mark
		return err
	})
	return m, err
}

func identityOf(tx *bolt.Tx) (id identity, err error) {
	if v := bMeta.of(tx).Get(keyIdentity); v != nil {
		if err := json.Unmarshal(bytes.Clone(v), &id); err != nil {
			return id, fmt.Errorf("the identity of the inventory cannot be read: %w", err)
		}
	}
	return id, nil
}

func (id identity) put(tx *bolt.Tx) error {
	v, err := json.Marshal(id)
	if err != nil {
		return err
	}
	return bMeta.of(tx).Put(keyIdentity, v)
}

// became reports whether an inventory that is opened on a machine is another
// incarnation than before.
func (id identity) became(machine string) bool {
	return id.Machine != "" && machine != "" && id.Machine != machine
}

// settle makes what an inventory lacks of its identity, and a new incarnation where
// it is afresh.
func settle(tx *bolt.Tx, machine string, afresh bool) error {
	id, err := identityOf(tx)
	if err != nil {
		return err
	}
	if id.Fleet == "" {
		id.Fleet, afresh = newID(), true
	}
	if afresh {
		id.Incarnation, id.Machine = newID(), machine
	}
	if id.Machine == "" {
		id.Machine = machine
	}
	return id.put(tx)
}

func newID() string { return strings.ToLower(rand.Text())[:16] }

// RaiseTerm makes the inventory's term higher than another one.
func (i *Inventory) RaiseTerm(above int) error {
	return i.update(func(tx *bolt.Tx) error {
		id, err := identityOf(tx)
		if err != nil || id.Term > above {
			return err
		}
		id.Term = above + 1
		return id.put(tx)
	})
}
