package renewer

import (
	"encoding/json"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// Layout identifies how files are laid out: directory, names, modes, owner.
// A placement whose layout changed is staged again. It is the digest of these fields
// as JSON, written by hand because a start asks every placement of a fleet.
func (p Placement) Layout() string {
	b := make([]byte, 0, 256)
	for i, field := range [...]string{"Dir", p.Dir, "Owner", p.Owner, "Group", p.Group} {
		b = appendJSON(append(b, "{:,:,:"[i]), field)
	}
	b = appendMap(append(b, `,"Files":`...), p.Files, appendJSON[string])
	b = appendMap(append(b, `,"Modes":`...), p.Modes, func(b []byte, m fs.FileMode) []byte { return strconv.AppendUint(b, uint64(m), 10) })
	return digestOf(append(b, '}'))
}

func appendMap[V any](b []byte, m map[FileKind]V, value func([]byte, V) []byte) []byte {
	if m == nil {
		return append(b, "null"...)
	}
	keys := make([]FileKind, 0, len(FileKinds))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	b = append(b, '{')
	for i, k := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = value(append(appendJSON(b, k), ':'), m[k])
	}
	return append(b, '}')
}

// appendJSON writes a text as package json does.
func appendJSON[T ~string](b []byte, s T) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || strings.IndexByte("\"\\<>&", c) >= 0 {
			quoted, _ := json.Marshal(s) // of a text there is no error
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
