package dockerhost

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"renewer/renewer"
)

// document is the text of daemon.json. Changes touch only the bytes of the
// values that change: order, spacing and unknown keys stay.
type document []byte

// member is one key of the object, as offsets into the text.
type member struct {
	key        string
	start      int // of the key's opening quote
	value, end int
}

// parseDocument checks the text of daemon.json. An empty one is read as an empty
// object, as dockerd does from version 23 on.
func parseDocument(f File) (document, error) {
	text := f.Text
	d := document(text)
	if strings.TrimSpace(text) == "" {
		d = document("{}\n")
	}
	var object map[string]json.RawMessage
	err := json.Unmarshal(d, &object)
	if err == nil && object != nil {
		return d, nil
	}
	const hint = "correct the file by hand; dockerd does not start with it either, and renewer never overwrites a file that it cannot parse"
	if bytes.HasPrefix(d, []byte("\xef\xbb\xbf")) {
		return nil, misconfigured("save it as UTF-8 without a byte order mark", "%s:1:1: a byte order mark; expected an object", f.Path)
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		line, column := position(d, int(syntax.Offset))
		return nil, misconfigured(hint, "%s:%d:%d: %w", f.Path, line, column, err)
	}
	return nil, misconfigured(hint, "%s:1:1: not a JSON object in { }", f.Path)
}

// position of the byte that was read last, both from 1.
func position(text []byte, read int) (line, column int) {
	before := text[:min(max(0, read-1), len(text))]
	return 1 + bytes.Count(before, []byte("\n")), 1 + len(before) - (bytes.LastIndexByte(before, '\n') + 1)
}

// members lists the keys in order; it is of a checked document.
func (d document) members() (list []member, first int) {
	dec := json.NewDecoder(bytes.NewReader(d))
	must := func(err error) {
		if err != nil {
			panic("daemon.json was checked: " + err.Error())
		}
	}
	_, err := dec.Token()
	must(err)
	at := int(dec.InputOffset())
	first = at
	for dec.More() {
		start := at + bytes.IndexByte(d[at:], '"') // only space and a comma come before it
		token, err := dec.Token()
		must(err)
		var raw json.RawMessage
		must(dec.Decode(&raw))
		at = int(dec.InputOffset())
		key, _ := token.(string)
		list = append(list, member{key: key, start: start, value: at - len(raw), end: at})
	}
	return list, first
}

// get decodes the value of a key; ok is false if there is none.
func (d document) get(key string, v any) (ok bool, err error) {
	list, _ := d.members()
	for _, m := range slices.Backward(list) { // the last one counts
		if m.key == key {
			return true, json.Unmarshal(d[m.value:m.end], v)
		}
	}
	return false, nil
}

func (d document) has(key string) bool {
	list, _ := d.members()
	return slices.ContainsFunc(list, func(m member) bool { return m.key == key })
}

// set gives a key a value. An equal one stays as it is written.
func (d document) set(key string, value any) document {
	want := encode(value)
	list, first := d.members()
	found := false
	for _, m := range slices.Backward(list) {
		if m.key != key {
			continue
		}
		found = true
		var have, wanted any
		if json.Unmarshal(d[m.value:m.end], &have) == nil && json.Unmarshal(want, &wanted) == nil && bytes.Equal(encode(have), encode(wanted)) {
			continue
		}
		d = slices.Concat(d[:m.value], want, d[m.end:])
	}
	if found {
		return d
	}
	pair := slices.Concat(encode(key), []byte(": "), want)
	if len(list) == 0 {
		return slices.Concat(d[:first], []byte("\n  "), pair, []byte("\n"), bytes.TrimLeft(d[first:], " \t\r\n"))
	}
	last := list[len(list)-1]
	lead := d[first:list[0].start] // how the first one is set off
	if len(lead) == 0 {
		lead = []byte(" ")
	}
	return slices.Concat(d[:last.end], []byte(","), lead, pair, d[last.end:])
}

// remove takes a key out.
func (d document) remove(key string) document {
	for {
		list, _ := d.members()
		i := slices.IndexFunc(list, func(m member) bool { return m.key == key })
		switch {
		case i < 0:
			return d
		case i > 0:
			d = slices.Concat(d[:list[i-1].end], d[list[i].end:])
		case len(list) > 1:
			d = slices.Concat(d[:list[0].start], d[list[1].start:])
		default:
			d = slices.Concat(d[:list[0].start], d[list[0].end:])
		}
	}
}

func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err)) // strings, booleans, what JSON gave
	}
	return bytes.TrimSpace(b.Bytes())
}

// setting is one key that daemon.json needs.
type setting struct {
	key   string
	value any
}

// settings of a placement; liveRestore only where dockerd takes it.
func settings(p renewer.Placement, liveRestore bool) []setting {
	file := func(k renewer.FileKind) string { return p.Dir + "/" + p.Files[k] }
	list := []setting{
		{"tls", true},
		{"tlsverify", true},
		{"tlscacert", file(renewer.FileCA)},
		{"tlscert", file(renewer.FileCert)},
		{"tlskey", file(renewer.FileKey)},
	}
	if liveRestore {
		list = append(list, setting{liveRestoreKey, true})
	}
	return list
}

const liveRestoreKey = "live-restore"
