package sftp

import (
	"encoding/binary"
	"io/fs"
)

type writer struct{ b []byte }

func (w *writer) uint32(n uint32) { w.b = binary.BigEndian.AppendUint32(w.b, n) }
func (w *writer) uint64(n uint64) { w.b = binary.BigEndian.AppendUint64(w.b, n) }
func (w *writer) text(s string)   { w.uint32(uint32(len(s))); w.b = append(w.b, s...) }

// reader takes a packet apart. After something that is not there it is bad,
// and everything else is zero.
type reader struct{ rest []byte }

func (r *reader) bad() bool { return r.rest == nil }

func (r *reader) take(n uint64) []byte {
	if r.rest == nil || uint64(len(r.rest)) < n {
		r.rest = nil
		return nil
	}
	out := r.rest[:n:n]
	r.rest = r.rest[n:]
	return out
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) bytes(limit uint32) []byte {
	n := r.uint32()
	if n > limit {
		r.rest = nil
		return nil
	}
	return r.take(uint64(n))
}

func (r *reader) text(limit uint32) string { return string(r.bytes(limit)) }

// Info is what a server tells of a file.
type Info struct {
	Size     uint64
	UID, GID uint32
	Mode     fs.FileMode
}

// Bits of attributes.
const (
	hasSize  = 1
	hasOwner = 2
	hasMode  = 4
	hasTimes = 8
	hasMore  = 1 << 31
)

func (r *reader) info() (i Info) {
	flags := r.uint32()
	if flags&hasSize != 0 {
		i.Size = r.uint64()
	}
	if flags&hasOwner != 0 {
		i.UID, i.GID = r.uint32(), r.uint32()
	}
	if flags&hasMode != 0 {
		i.Mode = modeOf(r.uint32())
	} else {
		i.Mode = fs.ModeIrregular
	}
	if flags&hasTimes != 0 {
		r.uint64()
	}
	if flags&hasMore != 0 {
		for n := r.uint32(); n > 0 && !r.bad(); n-- {
			r.bytes(nameLimit)
			r.bytes(nameLimit)
		}
	}
	return i
}

// modeOf: stat(2).
func modeOf(m uint32) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	switch m & 0o170000 {
	case 0o040000:
		mode |= fs.ModeDir
	case 0o120000:
		mode |= fs.ModeSymlink
	case 0o010000:
		mode |= fs.ModeNamedPipe
	case 0o140000:
		mode |= fs.ModeSocket
	case 0o060000:
		mode |= fs.ModeDevice
	case 0o020000:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case 0o100000:
	default:
		mode |= fs.ModeIrregular
	}
	if m&0o4000 != 0 {
		mode |= fs.ModeSetuid
	}
	if m&0o2000 != 0 {
		mode |= fs.ModeSetgid
	}
	if m&0o1000 != 0 {
		mode |= fs.ModeSticky
	}
	return mode
}
