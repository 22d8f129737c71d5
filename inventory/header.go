package inventory

import (
	"encoding/binary"
	"hash/fnv"
	"os"
)

// The layout of bbolt's two meta pages (internal/common/meta.go of bbolt): a
// page header of 16 bytes, then magic, version and page size (32 bits each),
// flags, root page and sequence, freelist page, high-water mark, transaction
// and checksum (64 bits each), in the byte order of the machine.
const (
	pageHeader   = 16
	metaSize     = 64
	boltMagic    = 0xED0CDAED
	boltVersion  = 2
	offRoot      = 16
	offFreelist  = 32
	offHighWater = 40
	offTxID      = 48
	offChecksum  = 56
	noFreelist   = ^uint64(0)
)

type metaPage struct {
	pageSize, txID, highWater, root, freelist uint64
}

func parseMeta(b []byte) (m metaPage, magic, ok bool) {
	if len(b) < pageHeader+metaSize {
		return m, false, false
	}
	b = b[pageHeader:][:metaSize]
	order := binary.NativeEndian
	if order.Uint32(b) != boltMagic {
		return m, false, false
	}
	sum := fnv.New64a()
	_, _ = sum.Write(b[:offChecksum]) // a hash does not fail
	m = metaPage{
		pageSize: uint64(order.Uint32(b[8:])), txID: order.Uint64(b[offTxID:]), highWater: order.Uint64(b[offHighWater:]),
		root: order.Uint64(b[offRoot:]), freelist: order.Uint64(b[offFreelist:]),
	}
	return m, true, order.Uint32(b[4:]) == boltVersion && order.Uint64(b[offChecksum:]) == sum.Sum64()
}

// checkHeader finds out whether the file is a whole bbolt file before bbolt
// maps it into memory: reading a page behind the end of a mapped file ends the
// process (SIGBUS), and bbolt panics on page numbers that are not there.
//
// whole is false if one of the two meta pages is damaged. bbolt goes on with the
// other one then, which may be that of the transaction before.
func checkHeader(path string, f *os.File) (whole bool, err error) {
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	size := uint64(info.Size())
	if size == 0 {
		return false, damaged(path, "is empty; renewer never leaves an empty inventory, so its content was lost")
	}
	newest, whole, magic, found := metaPages(f)
	switch {
	case !found && !magic:
		return false, damaged(path, "is not an inventory (no bbolt file)")
	case !found:
		return false, damaged(path, "is damaged: both meta pages are invalid")
	case newest.highWater > size/max(newest.pageSize, 1):
		return false, damaged(path, "is truncated: it has %d bytes of %d", size, newest.highWater*newest.pageSize)
	case newest.root >= newest.highWater, newest.freelist >= newest.highWater && newest.freelist != noFreelist:
		return false, damaged(path, "is damaged: its meta page refers to a page behind the end of the file")
	}
	return whole, nil
}

// metaPages reads both meta pages: the newest whole one, whether both are whole,
// whether one looks like one at all, and whether one is whole.
func metaPages(f *os.File) (newest metaPage, whole, magic, found bool) {
	look := func(at int64) (metaPage, bool) {
		var b [pageHeader + metaSize]byte
		if _, err := f.ReadAt(b[:], at); err != nil {
			return metaPage{}, false
		}
		m, seen, ok := parseMeta(b[:])
		magic = magic || seen
		if ok && (!found || m.txID > newest.txID) {
			newest, found = m, true
		}
		return m, ok
	}
	if m, ok := look(0); ok {
		_, whole = look(int64(m.pageSize))
	} else {
		// The second meta page stands at the page size, which the first would
		// have said: try them all, as bbolt does.
		for at := int64(1024); at <= 1024<<14; at <<= 1 {
			if _, ok := look(at); ok {
				break
			}
		}
	}
	return newest, whole, magic, found
}
