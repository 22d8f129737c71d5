package configs

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"renewer/internal/near"

	"go.yaml.in/yaml/v3"
)

// setting is a value that was read, and the place of its key or list entry.
type setting struct {
	at    pos
	value any
}

// settings are the values of a mapping by key. A key that had a fault is
// there without a value, so that it is not found missing as well.
type settings map[string]setting

// source is what settings are looked for in.
type source interface {
	find(key string) (setting, bool)
}

func (s settings) find(key string) (setting, bool) {
	x, ok := s[key]
	return x, ok
}

// get returns a value, or zero where the key is absent. The type is that
// which the key's reader returns.
func get[V any](s source, key string) (v V) {
	return getOr(s, key, v)
}

func getOr[V any](s source, key string, fallback V) V {
	if x, _ := s.find(key); x.value != nil {
		return x.value.(V)
	}
	return fallback
}

func hasValue(s source, key string) bool {
	x, _ := s.find(key)
	return x.value != nil
}

func (s settings) has(key string) bool {
	_, ok := s[key]
	return ok
}

// reader reads one value; at is the place of its key or list entry. It
// reports false after a fault.
type reader func(l *loader, at pos, n *yaml.Node) (any, bool)

// schema says which keys a mapping may have, and how each is read; nil for what
// only the fleet file may have, and not what it includes.
type schema map[string]reader

func (s schema) keys() []string {
	var out []string
	for k, read := range s {
		if read != nil {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// with returns the schema with more keys.
func (s schema) with(more schema) schema {
	out := maps.Clone(s)
	maps.Copy(out, more)
	return out
}

// without returns the schema with fewer keys.
func (s schema) without(keys ...string) schema {
	out := maps.Clone(s)
	for _, k := range keys {
		delete(out, k)
	}
	return out
}

// entries hands each key of a mapping to do, in its order. Keys that stand
// twice are faults.
func (l *loader) entries(at pos, n *yaml.Node, what string, do func(key string, at pos, n *yaml.Node)) bool {
	if n.Kind != yaml.MappingNode {
		l.fault(at, what+" is "+kindOf(n), "expected a mapping of keys and values")
		return false
	}
	var first map[string]*yaml.Node
	if len(n.Content) > 40 { // few keys are compared with each other
		first = make(map[string]*yaml.Node, len(n.Content)/2)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		kat := l.place(k)
		if k.Kind != yaml.ScalarNode || isNull(k) {
			l.fault(kat, "a key that is "+kindOf(k), "expected a word")
		} else if before := earlier(first, n.Content[:i], k); before != nil {
			l.fault(kat, fmt.Sprintf("key %s is given twice in %s", quote(k.Value), what), "expected it once; "+l.first(l.locate(before), kat))
		} else {
			do(k.Value, kat, n.Content[i+1])
		}
	}
	return true
}

// earlier returns the key that is the same as k among those before it, or nil.
func earlier(first map[string]*yaml.Node, before []*yaml.Node, k *yaml.Node) *yaml.Node {
	if first != nil {
		if is := first[k.Value]; is != nil {
			return is
		}
		first[k.Value] = k
		return nil
	}
	for i := 0; i < len(before); i += 2 {
		if is := before[i]; is.Value == k.Value && is.Kind == yaml.ScalarNode && !isNull(is) {
			return is
		}
	}
	return nil
}

// object reads a mapping that has a schema.
func (l *loader) object(at pos, n *yaml.Node, what string, s schema) (settings, bool) {
	out := make(settings, len(n.Content)/2)
	ok := l.entries(at, n, what, func(key string, at pos, n *yaml.Node) {
		read, known := s[key]
		if !known {
			if meant := l.unknownKey(key, at, what, s); meant != "" && !out.has(meant) {
				out[meant] = setting{at: at}
			}
			return
		}
		if read == nil {
			l.fault(at, key+" in "+what, "expected it in "+l.main+", which includes this file")
			return
		}
		l.about(key)
		v, ok := read(l, at, n)
		if !ok {
			v = nil
		}
		out[key] = setting{at, v}
	})
	if !ok {
		return nil, false
	}
	return out, true
}

// secretWords are what people call a secret when they write it in place.
var secretWords = []string{"passphrase", "password", "token", "secret", "secret_id", "role_id", "jwt", "hmac", "private_key"}

// unknownKey returns the key that was probably meant, or none.
func (l *loader) unknownKey(key string, at pos, what string, s schema) string {
	word := strings.ReplaceAll(strings.ToLower(key), "-", "_")
	if _, ok := s[word+"_file"]; ok || slices.Contains(secretWords, word) {
		l.fault(at, fmt.Sprintf("key %s in %s holds a secret, and secrets must not be in the fleet file", quote(key), what),
			"expected "+secretKey(word, s)+": the path of a file that holds it")
		return secretKey(word, s)
	}
	l.fault(at, fmt.Sprintf("unknown key %s in %s", quote(key), what), l.suggest(key, s.keys()))
	meant, _ := near.Word(key, s.keys())
	return meant
}

func secretKey(word string, s schema) string {
	if _, ok := s[word+"_file"]; ok {
		return word + "_file"
	}
	var files []string
	for _, k := range s.keys() {
		if strings.HasSuffix(k, "_file") {
			files = append(files, k)
		}
	}
	if len(files) == 0 {
		return "a passphrase_file, password_file or token_file of an issuer"
	}
	return strings.Join(files, " or ")
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// kindOf says what a node is, for messages.
func kindOf(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "empty"
	}
	switch n.Tag {
	case "!!bool":
		return n.Value
	case "!!int", "!!float":
		return "a number"
	case "!!timestamp":
		return "a date"
	default:
		return "text"
	}
}
