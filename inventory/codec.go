package inventory

import (
	"encoding/binary"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What the domain keeps is written field by field, as JSON would be, but in
// fewer bytes and faster. A field has a number for its JSON name and a kind, so
// that a reader skips what it does not know; a name without a number is written
// in full. Fields that are zero are left out; a list or map that is empty but
// not nil is written.
//
//	object  fields, then 0
//	field   uvarint(number of the name<<2 | kind), its value; number 1: the name as a text first
//	number  uvarint; of signed ones the zigzag form
//	list    uvarint(how many<<2 | kind), their values
//	text    uvarint(n<<3 | form), then
//	          raw    n bytes
//	          digits n bytes, which are 2n hexadecimal digits
//	          word   nothing: it is word n
//	          prefix the nth text of this value, and what follows it: uvarint(how many), bytes
//	          binary n bytes that are no text
//
// A time is a list of its seconds since 2020 and its nanoseconds, a fraction a
// text, and a map an object with its keys as names.

type kind uint64

const (
	kNumber kind = iota
	kText
	kObject
	kList
)

const (
	formRaw = iota
	formDigits
	formWord
	formPrefix
	formBinary
)

const (
	nameLiteral = 1
	firstWord   = 2
	leastPrefix = 4  // shorter texts are not referred to
	mostTexts   = 64 // to refer to
	epoch2020   = 1577836800
)

var errCodec = errors.New("it cannot be decoded")

var wordNumbers = func() map[string]uint64 {
	m := make(map[string]uint64, len(words))
	for n, w := range words {
		m[w] = uint64(n + firstWord)
	}
	return m
}()

// encode writes the struct that v points to behind front, with room for a
// checksum. about is a text that the reader has anyway, such as the name in the
// key.
func encode(v any, about string, front []byte) []byte {
	e := encoders.Get().(*encoder)
	e.b, e.known = append(e.b[:0], front...), e.known[:0]
	e.known.add(about)
	rv := reflect.ValueOf(v).Elem()
	coderOf(rv.Type()).put(e, rv)
	out := append(make([]byte, 0, len(e.b)+sumSize), e.b...)
	clear(e.known)
	encoders.Put(e)
	return out
}

var encoders = sync.Pool{New: func() any { return &encoder{known: make(texts, 0, mostTexts)} }}

// decode reads what encode wrote into the struct that v points to.
func decode(b []byte, v any, about string) error {
	d := decoders.Get().(*decoder)
	*d = decoder{s: string(b), known: d.known[:0]}
	d.known.add(about)
	rv := reflect.ValueOf(v).Elem()
	coderOf(rv.Type()).get(d, rv)
	bad := d.bad || d.s != ""
	clear(d.known)
	decoders.Put(d)
	if bad {
		return errCodec
	}
	return nil
}

var decoders = sync.Pool{New: func() any { return &decoder{known: make(texts, 0, mostTexts)} }}

// coder writes and reads the values of one type.
type coder struct {
	kind kind
	put  func(e *encoder, v reflect.Value)
	get  func(d *decoder, v reflect.Value)
	none func(v reflect.Value) bool // left out as a field
}

var coders sync.Map // reflect.Type → *coder

func coderOf(t reflect.Type) *coder {
	if c, ok := coders.Load(t); ok {
		return c.(*coder)
	}
	c, _ := coders.LoadOrStore(t, newCoder(t))
	return c.(*coder)
}

func newCoder(t reflect.Type) *coder {
	switch t.Kind() {
	case reflect.Bool:
		return &coder{kNumber, func(e *encoder, v reflect.Value) {
			n := uint64(0)
			if v.Bool() {
				n = 1
			}
			e.uvarint(n)
		}, func(d *decoder, v reflect.Value) { v.SetBool(d.uvarint() == 1) }, reflect.Value.IsZero}
	case reflect.Int, reflect.Int64:
		return &coder{
			kNumber, func(e *encoder, v reflect.Value) { e.varint(v.Int()) },
			func(d *decoder, v reflect.Value) { v.SetInt(d.varint()) }, reflect.Value.IsZero,
		}
	case reflect.Uint32, reflect.Uint64:
		return &coder{
			kNumber, func(e *encoder, v reflect.Value) { e.uvarint(v.Uint()) },
			func(d *decoder, v reflect.Value) { v.SetUint(d.uvarint()) }, reflect.Value.IsZero,
		}
	case reflect.Float64:
		return &coder{
			kText, func(e *encoder, v reflect.Value) { e.text(strconv.FormatFloat(v.Float(), 'g', -1, 64)) },
			func(d *decoder, v reflect.Value) { v.SetFloat(d.fraction()) }, reflect.Value.IsZero,
		}
	case reflect.String:
		return &coder{
			kText, func(e *encoder, v reflect.Value) { e.text(v.String()) },
			func(d *decoder, v reflect.Value) { v.SetString(d.text()) }, reflect.Value.IsZero,
		}
	case reflect.Pointer:
		of := coderOf(t.Elem())
		return &coder{
			of.kind, func(e *encoder, v reflect.Value) { of.put(e, v.Elem()) },
			func(d *decoder, v reflect.Value) { v.Set(reflect.New(t.Elem())); of.get(d, v.Elem()) }, reflect.Value.IsNil,
		}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return &coder{
				kText, func(e *encoder, v reflect.Value) { e.binary(v.Bytes()) },
				func(d *decoder, v reflect.Value) { v.SetBytes([]byte(d.text())) }, reflect.Value.IsNil,
			}
		}
		return sliceCoder(t)
	case reflect.Map:
		return mapCoder(t)
	case reflect.Struct:
		if t == reflect.TypeFor[time.Time]() {
			return &coder{kList, putTime, getTime, func(v reflect.Value) bool { return timeIn(v).IsZero() }}
		}
		return structCoder(t)
	default:
		panic("inventory: cannot store a " + t.String())
	}
}

func sliceCoder(t reflect.Type) *coder {
	of := coderOf(t.Elem())
	put := func(e *encoder, v reflect.Value) {
		e.uvarint(uint64(v.Len())<<2 | uint64(of.kind))
		for i := range v.Len() {
			of.put(e, v.Index(i))
		}
	}
	get := func(d *decoder, v reflect.Value) {
		n := d.list(of.kind)
		v.Set(reflect.MakeSlice(t, n, n))
		for i := range n {
			of.get(d, v.Index(i))
		}
	}
	return &coder{kList, put, get, reflect.Value.IsNil}
}

func mapCoder(t reflect.Type) *coder {
	of := coderOf(t.Elem())
	put := func(e *encoder, v reflect.Value) {
		at := reflect.New(t.Elem()).Elem() // what is in a map has no address
		for _, k := range sortedKeys(v) {
			at.Set(v.MapIndex(k))
			e.uvarint(nameLiteral<<2 | uint64(of.kind))
			e.text(k.String())
			of.put(e, at)
		}
		e.uvarint(0)
	}
	get := func(d *decoder, v reflect.Value) {
		v.Set(reflect.MakeMap(t))
		for {
			name, _, k, ok := d.field()
			if !ok {
				return
			}
			if k != of.kind {
				d.fail()
				return
			}
			at := reflect.New(t.Elem()).Elem()
			of.get(d, at)
			v.SetMapIndex(reflect.ValueOf(name).Convert(t.Key()), at)
		}
	}
	return &coder{kObject, put, get, reflect.Value.IsNil}
}

type fieldCoder struct {
	*coder
	index  int
	header uint64
	name   string // if the header has no number for it
}

func structCoder(t reflect.Type) *coder {
	var fields []fieldCoder
	byNumber, byName := make([]int, len(words)+firstWord), map[string]int{} // 1 + index
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		f := fieldCoder{coder: coderOf(t.Field(i).Type), index: i}
		if n, ok := wordNumbers[name]; ok {
			byNumber[n], f.header = len(fields)+1, n<<2|uint64(f.kind)
		} else {
			f.name, f.header = name, nameLiteral<<2|uint64(f.kind)
		}
		byName[name] = len(fields) + 1
		fields = append(fields, f)
	}
	put := func(e *encoder, v reflect.Value) {
		for i := range fields {
			f := &fields[i]
			at := v.Field(f.index)
			if f.none(at) {
				continue
			}
			if e.uvarint(f.header); f.name != "" {
				e.text(f.name)
			}
			f.put(e, at)
		}
		e.uvarint(0)
	}
	get := func(d *decoder, v reflect.Value) {
		for {
			name, number, k, ok := d.field()
			if !ok {
				return
			}
			i := 0
			if number == nameLiteral {
				i = byName[name]
			} else if number < uint64(len(byNumber)) {
				i = byNumber[number]
			}
			switch {
			case i == 0:
				d.skip(k)
			case fields[i-1].kind != k:
				d.fail()
				return
			default:
				fields[i-1].get(d, v.Field(fields[i-1].index))
			}
		}
	}
	return &coder{kObject, put, get, reflect.Value.IsZero}
}

// timeIn returns the time in an addressable value without a copy of it.
func timeIn(v reflect.Value) *time.Time { return v.Addr().Interface().(*time.Time) }

func putTime(e *encoder, v reflect.Value) {
	t := timeIn(v)
	switch nano := t.Nanosecond(); {
	case t.IsZero():
		e.uvarint(0)
	case nano == 0:
		e.uvarint(1<<2 | uint64(kNumber))
		e.varint(t.Unix() - epoch2020)
	default:
		e.uvarint(2<<2 | uint64(kNumber))
		e.varint(t.Unix() - epoch2020)
		e.uvarint(uint64(nano))
	}
}

func getTime(d *decoder, v reflect.Value) {
	n := d.list(kNumber)
	if n == 0 {
		return
	}
	sec, nano := d.varint()+epoch2020, uint64(0)
	if n > 1 {
		nano = d.uvarint()
	}
	if n > 2 || nano >= 1e9 {
		d.fail()
		return
	}
	*timeIn(v) = time.Unix(sec, int64(nano)).UTC()
}

// texts are those of a value that later ones may begin with.
type texts []string

func (k *texts) add(s string) {
	if len(s) >= leastPrefix && len(*k) < mostTexts {
		*k = append(*k, s)
	}
}

// prefix returns the longest known text that s begins with; -1 if none does.
func (k texts) prefix(s string) int {
	best := -1
	for i, t := range k {
		if strings.HasPrefix(s, t) && (best < 0 || len(t) > len(k[best])) {
			best = i
		}
	}
	return best
}

type encoder struct {
	b     []byte
	known texts
}

func (e *encoder) uvarint(n uint64) { e.b = binary.AppendUvarint(e.b, n) }
func (e *encoder) varint(n int64)   { e.b = binary.AppendVarint(e.b, n) }

func (e *encoder) binary(b []byte) {
	e.uvarint(uint64(len(b))<<3 | formBinary)
	e.b = append(e.b, b...)
}

func (e *encoder) text(s string) {
	if n, ok := wordNumbers[s]; ok {
		e.uvarint(n<<3 | formWord)
		return
	}
	if i := e.known.prefix(s); i >= 0 {
		rest := s[len(e.known[i]):]
		e.uvarint(uint64(i)<<3 | formPrefix)
		e.uvarint(uint64(len(rest)))
		if e.b = append(e.b, rest...); rest != "" {
			e.known.add(s)
		}
		return
	}
	e.known.add(s)
	if b, ok := digits(s); ok {
		e.uvarint(uint64(len(b))<<3 | formDigits)
		e.b = append(e.b, b...)
		return
	}
	e.uvarint(uint64(len(s))<<3 + formRaw)
	e.b = append(e.b, s...)
}
