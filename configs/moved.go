package configs

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// moving is an entry that says which name it had.
type moving struct {
	entry, from string
	at          pos
}

var movedSchema = schema{"from": named(fullName, "the name that the entry had: NAME, or NAME@HOST for one host of an entry with per_host")}

func readMoved(l *loader, at pos, n *yaml.Node) (any, bool) {
	s, ok := l.object(at, n, "moved", movedSchema)
	if ok && !s.has("from") {
		l.fault(at, "moved has no from", "expected moved: {from: OLD-NAME}")
	}
	return s, ok
}

// movedFrom returns the name that an entry had; empty for none.
func (r *resolver) movedFrom(d *draft) string {
	x := get[settings](d.own, "moved")["from"]
	from, _ := x.value.(string)
	if from != "" {
		r.moving = append(r.moving, moving{get[string](&d.s, "name"), from, x.at})
	}
	return from
}

// moves refuses moves that no fleet file before this one can have meant.
func (r *resolver) moves(entries map[string]pos) {
	to := map[string]string{} // where each earlier name went
	for _, m := range r.moving {
		to[m.entry] = m.from
	}
	taken := map[string]string{}
	for _, m := range r.moving {
		_, isEntry := entries[m.from]
		_, isCertificate := r.fleet.index[m.from]
		switch {
		case m.from == m.entry:
			r.fault(m.at, "certificate "+quote(m.entry)+" is moved from itself", "expected the name that it had before")
			continue
		case (isEntry || isCertificate) && to[m.from] != "":
			r.fault(m.at, fmt.Sprintf("%s is moved from %s, which is itself moved from %s", quote(m.entry), quote(m.from), quote(to[m.from])),
				"expected one move at a time: let one pass take the first over, and then make the second")
			continue
		case isEntry || isCertificate:
			r.fault(m.at, quote(m.entry)+" is moved from "+quote(m.from)+", which is still in the file", "expected the name of an entry that is gone")
			continue
		case len(r.fleet.entries[m.entry]) > 0 && strings.Contains(m.from, "@"):
			r.fault(m.at, quote(m.entry)+" is per_host, and "+quote(m.from)+" is one certificate", "expected the name of an entry: "+strings.SplitN(m.from, "@", 2)[0])
			continue
		}
		for _, i := range r.fleet.stands(m.entry) {
			for _, name := range r.fleet.Certificates[i].FormerNames() {
				if other := taken[name]; other != "" && other != m.entry {
					r.fault(m.at, fmt.Sprintf("%s and %s are both moved from %s", quote(other), quote(m.entry), quote(name)), "expected one entry for each that is gone")
					break
				}
				taken[name] = m.entry
			}
		}
	}
}
