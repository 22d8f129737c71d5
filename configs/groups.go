package configs

import (
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const aMember = "the name of a host, a pattern of names such as node-*, or @GROUP"

// readGroup reads what a group of hosts is made of.
func readGroup(l *loader, at pos, n *yaml.Node) (any, bool) {
	l.about("a group")
	return set("hosts: names, patterns such as node-*, and @GROUP", 1, textLike(aMember, func(s string) bool {
		_, err := path.Match(s, "")
		return err == nil
	}))(l, at, n)
}

// group is a group of hosts by their places, in the order of the file. One
// with a fault has none that counts.
type group struct {
	hosts []int
	good  bool
}

// grouper finds the hosts of groups. A group is written @NAME where hosts
// are listed.
type grouper struct {
	*loader
	fleet *Fleet
	items []item
	by    map[string]int // name → place in items
	found map[string]group
}

func (l *loader) groups(f *Fleet, items []item) map[string]group {
	g := grouper{l, f, items, map[string]int{}, map[string]group{}}
	for i, it := range items {
		g.by[it.name] = i
	}
	for _, it := range items {
		g.resolve(it, nil)
	}
	return g.found
}

// resolve finds the hosts of one group; via are those that lead to it.
func (g *grouper) resolve(it item, via []string) group {
	if found, done := g.found[it.name]; done {
		return found
	}
	members, good := it.value.([]setting)
	in := make([]bool, len(g.fleet.Hosts))
	for _, m := range members {
		good = g.member(m, in, append(via, it.name)) && good
	}
	out := group{good: good}
	for i := range in {
		if in[i] {
			out.hosts = append(out.hosts, i)
		}
	}
	if good && len(out.hosts) == 0 {
		out.good = false
		g.fault(it.at, "group "+quote(it.name)+" has no host", g.suggest(strings.Trim(members[0].value.(string), "*?"), g.fleet.HostNames()))
	}
	g.found[it.name] = out
	return out
}

// member marks the hosts that an entry of a group stands for.
func (g *grouper) member(m setting, in []bool, via []string) bool {
	text := m.value.(string)
	name, isGroup := strings.CutPrefix(text, "@")
	switch {
	case isGroup && slices.Contains(via, name):
		g.fault(m.at, "group "+quote(name)+" includes itself: @"+strings.Join(append(via, name), ", @"), "expected no loop")
	case isGroup:
		if i, ok := g.by[name]; ok {
			found := g.resolve(g.items[i], via)
			for _, h := range found.hosts {
				in[h] = true
			}
			return found.good
		}
		g.unknownGroup(m.at, text, g.items)
	case hasMeta(text):
		for i := range g.fleet.Hosts {
			if ok, _ := path.Match(text, g.fleet.Hosts[i].Name); ok {
				in[i] = true
			}
		}
		return true
	default:
		if i, ok := g.fleet.hosts[text]; ok {
			in[i] = true
			return true
		}
		g.fault(m.at, "unknown host "+quote(text), g.suggest(text, g.fleet.HostNames()))
	}
	return false
}

func (l *loader) unknownGroup(at pos, text string, items []item) {
	var known []string
	for _, it := range items {
		known = append(known, "@"+it.name)
	}
	l.fault(at, "unknown group "+quote(text), l.suggest(text, known))
}

// HostNames are the names of all hosts.
func (f *Fleet) HostNames() []string {
	out := make([]string, len(f.Hosts))
	for i := range f.Hosts {
		out[i] = f.Hosts[i].Name
	}
	return out
}
