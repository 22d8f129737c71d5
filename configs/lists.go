package configs

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
)

// list reads a list; its value is []setting, each with the place of its entry.
func list(what string, least int, read reader) reader {
	return func(l *loader, at pos, n *yaml.Node) (any, bool) {
		if n.Kind != yaml.SequenceNode {
			l.fault(at, l.what()+" is "+kindOf(n), "expected a list of "+what)
			return nil, false
		}
		if len(n.Content) < least {
			l.fault(at, l.what()+" is an empty list", "expected a list of "+what)
			return nil, false
		}
		out, good := make([]setting, 0, len(n.Content)), true
		name := l.subject
		for _, c := range n.Content {
			l.subject, l.inList = name, true
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
			l.fault(at, l.what()+" is "+kindOf(n), "expected a list, each entry "+what)
			return nil, false
		}
		out := make([]setting, 0, len(n.Content))
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
		name := l.what()
		v, ok := read(l, at, n)
		if !ok {
			return nil, false
		}
		list := v.([]setting)
		var seen map[any]bool
		if len(list) > 8 { // few are compared with each other
			seen = make(map[any]bool, len(list))
		}
		for i, s := range list {
			twice := seen[s.value]
			if seen != nil {
				seen[s.value] = true
			} else {
				twice = slices.ContainsFunc(list[:i], func(before setting) bool { return before.value == s.value })
			}
			if twice {
				l.fault(s.at, quote(fmt.Sprint(s.value))+" is given twice in "+name, "expected it once")
				ok = false
			}
		}
		return v, ok
	}
}

// texts returns the values of a list of text.
func texts(s source, key string) []string {
	list := get[[]setting](s, key)
	if len(list) == 0 {
		return nil
	}
	out := make([]string, len(list))
	for i, x := range list {
		out[i] = x.value.(string)
	}
	return out
}
