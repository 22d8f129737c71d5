package configs

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// list reads a list; its value is []setting, each with the place of its entry.
func list(what string, least int, read reader) reader {
	return func(l *loader, at pos, n *yaml.Node) (any, bool) {
		if n.Kind != yaml.SequenceNode {
			l.fault(at, l.subject+" is "+kindOf(n), "expected a list of "+what)
			return nil, false
		}
		if len(n.Content) < least {
			l.fault(at, l.subject+" is an empty list", "expected a list of "+what)
			return nil, false
		}
		out, good := []setting{}, true
		entry := "an entry of " + l.subject
		for _, c := range n.Content {
			l.subject = entry
			v, ok := read(l, l.place(c), c)
			if good = good && ok; ok {
				out = append(out, setting{l.place(c), v})
			}
		}
		return out, good
	}
}

// rows reads a list of mappings; its value is []setting. One that had a
// fault is there without a value: the others are looked at all the same.
func rows(what string, s schema) reader {
	return func(l *loader, at pos, n *yaml.Node) (any, bool) {
		if n.Kind != yaml.SequenceNode {
			l.fault(at, l.subject+" is "+kindOf(n), "expected a list, each entry "+what)
			return nil, false
		}
		out := []setting{}
		for _, c := range n.Content {
			x := setting{at: l.place(c)}
			if v, ok := l.object(x.at, c, what, s); ok {
				x.value = v
			}
			out = append(out, x)
		}
		return out, true
	}
}

// set reads a list in which nothing may stand twice.
func set(what string, least int, read reader) reader {
	read = list(what, least, read)
	return func(l *loader, at pos, n *yaml.Node) (any, bool) {
		name := l.subject
		v, ok := read(l, at, n)
		if !ok {
			return nil, false
		}
		seen := map[any]bool{}
		for _, s := range v.([]setting) {
			if seen[s.value] {
				l.fault(s.at, quote(fmt.Sprint(s.value))+" stands twice in "+name, "expected it once")
				ok = false
			}
			seen[s.value] = true
		}
		return v, ok
	}
}

// texts returns the values of a list of text.
func texts(s settings, key string) []string {
	var out []string
	for _, x := range get[[]setting](s, key) {
		out = append(out, x.value.(string))
	}
	return out
}
