package renewer

import (
	"cmp"
	"slices"
	"strings"
)

// Difference is one field that is not as it was: both values or, of a set, what it
// gained and lost.
type Difference struct {
	Field   string   `json:"field"`
	Host    string   `json:"host,omitempty"` // empty: on every host
	Before  string   `json:"before,omitempty"`
	After   string   `json:"after,omitempty"`
	Added   []string `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`
}

func (d Difference) String() string {
	name := d.Field
	if d.Host != "" {
		name += " on " + d.Host
	}
	if d.Before == "" && d.After == "" {
		return name + " changed: " + d.Change()
	}
	return name + " changed from " + cmp.Or(d.Before, "none") + " to " + cmp.Or(d.After, "none")
}

// Change is the difference without its field: "+ www.example.com - web0".
func (d Difference) Change() string {
	if d.Before != "" || d.After != "" {
		return cmp.Or(d.Before, "none") + " -> " + cmp.Or(d.After, "none")
	}
	var out []string
	for _, s := range d.Added {
		out = append(out, "+ "+s)
	}
	for _, s := range d.Removed {
		out = append(out, "- "+s)
	}
	return strings.Join(out, " ")
}

// Inverse is the difference the other way round.
func (d Difference) Inverse() Difference {
	d.Before, d.After, d.Added, d.Removed = d.After, d.Before, d.Removed, d.Added
	return d
}

// differ compares two sets.
func differ[T ~string](field string, was, is []T) (d Difference, differs bool) {
	d = Difference{Field: field, Added: beyond(is, was), Removed: beyond(was, is)}
	return d, len(d.Added)+len(d.Removed) > 0
}

// beyond returns what only the first of two lists has.
func beyond[T ~string](list, other []T) (out []string) {
	for _, x := range list {
		if !slices.Contains(other, x) {
			out = append(out, string(x))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Outline is a fleet file as two of them are compared: its entries, in its order, with
// what each stands for as text.
type Outline []Part

// Part is one entry of a fleet file.
type Part struct {
	Kind   string // settings, issuer, window, host, certificate or channel
	Name   string
	Fields map[Field]Value // those that say something
	From   []string        // names that it had: see moved
	At     []string        // where its files are; no two parts of a kind share one
}

// Field names a setting; Host is set where each host of a certificate has its own.
type Field struct{ Name, Host string }

// Value is a text or, where Set says so, a set of them.
type Value struct {
	Text string
	Flag bool // Text is true; what lacks it is false
	Set  []string
}

// FleetChange is one entry that another fleet file has not, or has otherwise. Its
// action is add, change, move or remove.
type FleetChange struct {
	PlanStep
	Kind string `json:"kind"`
	Name string `json:"name"`
	From string `json:"from,omitempty"` // of a move
}

type partID struct{ kind, name string }

// Compare returns how a fleet file differs from the one before it. It is pure, and
// the other way round it says the inverse, but for moves.
func Compare(was, is Outline) []FleetChange {
	before, after := was.index(), is.index()
	from := moves(was, is, before, after)
	moved := map[partID]bool{}
	var out []FleetChange
	for _, p := range is {
		id := partID{p.Kind, p.Name}
		old, known := before[id]
		switch source, renamed := from[id]; {
		case known:
			if diff := p.differences(old); len(diff) > 0 {
				out = append(out, p.change("change", "", diff))
			}
		case renamed:
			moved[partID{p.Kind, source}] = true
			out = append(out, p.change("move", source, p.differences(before[partID{p.Kind, source}])))
		default:
			out = append(out, p.change("add", "", nil))
		}
	}
	for _, p := range was {
		id := partID{p.Kind, p.Name}
		if _, stays := after[id]; !stays && !moved[id] {
			out = append(out, p.change("remove", "", nil))
		}
	}
	slices.SortStableFunc(out, func(a, b FleetChange) int {
		return cmp.Compare(slices.Index(kinds, a.Kind), slices.Index(kinds, b.Kind))
	})
	return out
}

// kinds are the kinds of part, in the order in which they are shown.
var kinds = []string{"settings", "issuer", "window", "channel", "host", "certificate"}

func (o Outline) index() map[partID]Part {
	out := make(map[partID]Part, len(o))
	for _, p := range o {
		out[partID{p.Kind, p.Name}] = p
	}
	return out
}

// moves finds the entries that had another name: those that say so, and those whose
// files are the very ones of an entry that is gone.
func moves(was, is Outline, before, after map[partID]Part) map[partID]string {
	at := map[partID]string{} // of what is gone
	for _, p := range was {
		if _, stays := after[partID{p.Kind, p.Name}]; !stays {
			for _, place := range p.At {
				at[partID{p.Kind, place}] = p.Name
			}
		}
	}
	out, taken := map[partID]string{}, map[partID]bool{}
	take := func(p Part, name string) bool {
		source := partID{p.Kind, name}
		_, existed := before[source]
		_, stays := after[source]
		if !existed || stays || taken[source] {
			return false
		}
		out[partID{p.Kind, p.Name}], taken[source] = name, true
		return true
	}
	for _, explicit := range []bool{true, false} {
		for _, p := range is {
			id := partID{p.Kind, p.Name}
			if _, known := before[id]; known || out[id] != "" {
				continue
			}
			if explicit {
				_ = slices.ContainsFunc(p.From, func(name string) bool { return take(p, name) })
				continue
			}
			if len(p.At) == 0 {
				continue
			}
			name := at[partID{p.Kind, p.At[0]}]
			if !slices.ContainsFunc(p.At, func(place string) bool { return at[partID{p.Kind, place}] != name }) {
				take(p, name)
			}
		}
	}
	return out
}

func (p Part) change(action, from string, diff []Difference) FleetChange {
	c := FleetChange{PlanStep: PlanStep{Action: action, Changes: diff}, Kind: p.Kind, Name: p.Name, From: from}
	switch p.Kind {
	case "certificate":
		c.Certificate = p.Name
	case "host":
		c.Host = p.Name
	}
	var why []string
	if from != "" {
		why = append(why, "renamed from "+from)
	}
	for _, d := range diff {
		why = append(why, d.String())
	}
	c.Reason = strings.Join(why, "; ")
	return c
}

// differences compares an entry with what it was, field by field. What is the same on
// all hosts that it was on and stays on is said once.
func (p Part) differences(was Part) []Difference {
	fields, common := map[Field]bool{}, map[string]bool{}
	hosts := func(of Part) map[string]bool {
		out := map[string]bool{}
		for f := range of.Fields {
			if f.Host != "" {
				out[f.Host] = true
			}
		}
		return out
	}
	is := hosts(p)
	for host := range hosts(was) {
		common[host] = is[host]
	}
	for _, of := range []Part{was, p} {
		for f := range of.Fields {
			if f.Host == "" || common[f.Host] {
				fields[f] = true
			}
		}
	}
	var out []Difference
	for f := range fields {
		a, b := was.Fields[f], p.Fields[f]
		d, differs := differ(f.Name, a.Set, b.Set)
		if a.Set == nil && b.Set == nil {
			d.Before, d.After, differs = a.Text, b.Text, a.Text != b.Text
			if a.Flag || b.Flag {
				d.Before, d.After = cmp.Or(a.Text, "false"), cmp.Or(b.Text, "false")
			}
		}
		if d.Host = f.Host; differs {
			out = append(out, d)
		}
	}
	shared := 0
	for _, stays := range common {
		if stays {
			shared++
		}
	}
	same := map[string]int{}
	for _, d := range out {
		if d.Host != "" {
			same[d.onAll()]++
		}
	}
	for i, d := range out {
		if d.Host != "" && same[d.onAll()] == shared {
			out[i].Host = ""
		}
	}
	slices.SortFunc(out, func(a, b Difference) int {
		return cmp.Or(cmp.Compare(a.Field, b.Field), cmp.Compare(a.Host, b.Host))
	})
	return slices.CompactFunc(out, func(a, b Difference) bool { return a.Field == b.Field && a.Host == "" && b.Host == "" })
}

func (d Difference) onAll() string {
	d.Host = ""
	return d.String()
}
