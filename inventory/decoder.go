package inventory

import (
	"encoding/binary"
	"encoding/hex"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// decoder takes values from the front of s. After the first bad one everything
// is zero. Texts are parts of s, so that few are copied.
type decoder struct {
	s     string
	known texts
	depth int
	bad   bool
}

// deepest is how many objects and lists may lie in each other.
const deepest = 32

func (d *decoder) fail() { d.s, d.bad = "", true }

func (d *decoder) uvarint() uint64 {
	var v uint64
	for i := 0; i < len(d.s) && i < binary.MaxVarintLen64; i++ {
		c := d.s[i]
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			d.s = d.s[i+1:]
			return v
		}
	}
	d.fail()
	return 0
}

func (d *decoder) varint() int64 {
	u := d.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// take returns the next n bytes.
func (d *decoder) take(n uint64) string {
	if n > uint64(len(d.s)) {
		d.fail()
		return ""
	}
	s := d.s[:n]
	d.s = d.s[n:]
	return s
}

func (d *decoder) text() (s string) {
	head := d.uvarint()
	n := head >> 3
	switch head & 7 {
	case formRaw:
		s = d.take(n)
	case formDigits:
		s = hex.EncodeToString([]byte(d.take(n)))
	case formWord:
		if n < firstWord || n-firstWord >= uint64(len(words)) {
			d.fail()
			return ""
		}
		return words[n-firstWord]
	case formPrefix:
		if n >= uint64(len(d.known)) {
			d.fail()
			return ""
		}
		rest := d.take(d.uvarint())
		if s = d.known[n]; rest == "" {
			return s
		}
		s += rest
	case formBinary:
		return d.take(n)
	default:
		d.fail()
	}
	d.known.add(s)
	return s
}

func (d *decoder) fraction() float64 {
	f, err := strconv.ParseFloat(d.text(), 64)
	if err != nil {
		d.fail()
	}
	return f
}

// list reads how many values of a kind follow. Each takes a byte or more, so
// that a damaged number cannot ask for much memory.
func (d *decoder) list(of kind) int {
	head := d.uvarint()
	n := head >> 2
	if n > uint64(len(d.s)) || n > 0 && kind(head&3) != of {
		d.fail()
		return 0
	}
	return int(n)
}

// field reads what stands in front of a field; ok is false at the end of the
// object.
func (d *decoder) field() (name string, number uint64, k kind, ok bool) {
	head := d.uvarint()
	if head == 0 {
		return "", 0, 0, false
	}
	number, k = head>>2, kind(head&3)
	if number == nameLiteral {
		name = d.text()
	}
	return name, number, k, !d.bad
}

// skip passes over a value.
func (d *decoder) skip(k kind) {
	if d.depth++; d.depth > deepest {
		d.fail()
	}
	defer func() { d.depth-- }()
	switch k {
	case kNumber:
		d.uvarint()
	case kText:
		d.text()
	case kObject:
		for {
			_, _, k, ok := d.field()
			if !ok {
				return
			}
			d.skip(k)
		}
	case kList:
		head := d.uvarint()
		for range min(head>>2, uint64(len(d.s))) {
			d.skip(kind(head & 3))
		}
	}
}

// digits packs a text of lower-case hexadecimal digits.
func digits(s string) ([]byte, bool) {
	if len(s) < 2*leastPrefix || len(s)%2 != 0 {
		return nil, false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return nil, false
		}
	}
	b, err := hex.DecodeString(s)
	return b, err == nil
}

func sortedKeys(v reflect.Value) []reflect.Value {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	return keys
}
