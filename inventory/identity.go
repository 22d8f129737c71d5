package inventory

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// An inventory has an identity among all its copies: a fleet, which backups and
// clones share, and an incarnation, which they do not. It is another one after a
// backup was restored, on another machine, and in a copy of the file; what is in place
// may then be newer than what the inventory says, and the original may still be at work.

var keyIdentity = []byte("identity")

// identity is what is kept of it. The name, the place and the time are not the inventory's.
type identity struct {
	renewer.Mark
	origin
}

// origin is where an incarnation began: there alone it goes on.
type origin struct {
	Machine string `json:"machine,omitempty"` // empty: not known
	File    fileID `json:"file,omitzero"`
}

// Identity is the inventory's identity. A copy that is opened read-only has none of its
// own yet: it is said to be another incarnation than the one that it is a copy of.
func (i *Inventory) Identity() (m renewer.Mark, err error) {
	err = i.view(func(tx *bolt.Tx) error {
		id, err := identityOf(tx)
		if m = id.Mark; id.copied(i.here) {
			m.Incarnation = "copy"
		}
		return err
	})
	m.Place = homeOf(filepath.Dir(i.path), i.here.Machine)
	return m, err
}

// homeOf tells a state directory from all others, also those of the same path in
// other containers; empty where that is not known. Only one renewer can run there at
// a time: so which one kept something before, from an inventory that was lost or that a
// backup took the place of, does not matter.
func homeOf(dir, machine string) string {
	f, err := os.Open(dir)
	if err != nil || machine == "" {
		return ""
	}
	id := fileIDOf(f)
	if err := f.Close(); err != nil || id.Inode == 0 {
		return ""
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d %s", machine, id.Inode, id.Born, dir))
	return hex.EncodeToString(sum[:8])
}

func identityOf(tx *bolt.Tx) (id identity, err error) {
	if v := bMeta.of(tx).Get(keyIdentity); v != nil {
		if err := json.Unmarshal(bytes.Clone(v), &id); err != nil {
			return id, fmt.Errorf("cannot read the identity of the inventory: %w", err)
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

// copied reports whether an inventory that is opened here is a copy of what it was. A
// machine that says nothing of itself is another one than one that did: so is what an
// image of its disk was made into, before it has a number of its own.
func (o origin) copied(here origin) bool {
	return o.Machine != "" && o.Machine != here.Machine || o.File.other(here.File)
}

// lacks reports whether something of it is known only now.
func (o origin) lacks(here origin) bool {
	return o.Machine == "" && here.Machine != "" || o.File.Inode == 0 && here.File.Inode != 0 || o.File.Born == 0 && here.File.Born != 0
}

// settle makes what an inventory lacks of its identity, and a new incarnation where
// it is afresh.
func settle(tx *bolt.Tx, here origin, afresh bool) error {
	id, err := identityOf(tx)
	if err != nil {
		return err
	}
	if id.Fleet == "" {
		id.Fleet, afresh = newID(), true
	}
	if afresh {
		id.Incarnation, id.origin = newID(), here
	}
	id.Machine = cmp.Or(id.Machine, here.Machine)
	id.File.Inode, id.File.Born = cmp.Or(id.File.Inode, here.File.Inode), cmp.Or(id.File.Born, here.File.Born)
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
