package renewer

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// outlines draws a fleet file of few names, so that two of them have much in common.
func outlines(t *rapid.T, label string) (out Outline) {
	hosts := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"h1", "h2", "h3"}), 1, 3, rapid.ID[string])
	value := rapid.SampledFrom([]Value{{Text: "1"}, {Text: "2"}})
	set := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 3, rapid.ID[string])
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"web", "api", "db", "old"}), 0, 4, rapid.ID[string]).Draw(t, label) {
		p := Part{Kind: "certificate", Name: name, Fields: map[Field]Value{{Name: "key"}: value.Draw(t, "key")}}
		if sans := set.Draw(t, "sans"); len(sans) > 0 {
			p.Fields[Field{Name: "sans"}] = Value{Set: sans}
		}
		for _, h := range hosts.Draw(t, "hosts") {
			p.Fields[Field{"dir", h}] = value.Draw(t, "dir")
			p.At = append(p.At, h+rapid.SampledFrom([]string{"/1", "/2"}).Draw(t, "at")+name[:1])
		}
		if rapid.Bool().Draw(t, "says that it moved") {
			p.From = []string{rapid.SampledFrom([]string{"old", "gone"}).Draw(t, "from")}
		}
		out = append(out, p)
	}
	return out
}

// split says of a move what it is without it: one entry goes and another one comes.
func split(changes []FleetChange) (out []string) {
	for _, ch := range changes {
		switch ch.Action {
		case "move":
			out = append(out, "add "+ch.Name, "remove "+ch.From)
		case "change":
			for _, d := range ch.Changes {
				out = append(out, ch.Name+": "+d.String())
			}
		default:
			out = append(out, ch.Action+" "+ch.Name)
		}
	}
	slices.Sort(out)
	return out
}

func TestComparisonIsEmptyOrInverse(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := outlines(t, "a"), outlines(t, "b")
		if same := Compare(a, a); len(same) > 0 {
			t.Fatalf("with itself: %+v", same)
		}
		there, back := Compare(a, b), Compare(b, a)
		for i := range back {
			switch back[i].Action {
			case "add":
				back[i].Action = "remove"
			case "remove":
				back[i].Action = "add"
			case "move":
				back[i].Name, back[i].From = back[i].From, back[i].Name
			}
			for j, d := range back[i].Changes {
				back[i].Changes[j] = d.Inverse()
			}
		}
		if diff := cmp.Diff(split(there), split(back)); diff != "" {
			t.Fatalf("there, and back:\n%s", diff)
		}
		if len(there) == 0 {
			names := func(o Outline) (out []string) {
				for _, p := range o {
					out = append(out, p.Name)
				}
				slices.Sort(out)
				return out
			}
			if !slices.Equal(names(a), names(b)) {
				t.Fatalf("no difference between %v and %v", names(a), names(b))
			}
		}
	})
}

func TestComparisonSaysEachFieldOnce(t *testing.T) {
	t.Parallel()
	part := func(name string, hosts string, fields ...string) Part {
		p := Part{Kind: "certificate", Name: name, Fields: map[Field]Value{{Name: "hosts"}: {Set: strings.Fields(hosts)}}}
		for _, f := range fields {
			name, text, _ := strings.Cut(f, "=")
			name, host, _ := strings.Cut(name, "@")
			v := Value{Text: text}
			if strings.HasPrefix(text, "{") {
				v = Value{Set: strings.Split(strings.Trim(text, "{}"), ",")}
			}
			p.Fields[Field{name, host}] = v
		}
		for _, h := range strings.Fields(hosts) {
			p.At = append(p.At, h+" "+p.Fields[Field{"dir", h}].Text)
		}
		return p
	}
	for name, x := range map[string]struct {
		was, is Outline
		want    string
	}{
		"sans": {
			Outline{part("web", "a", "sans={web0,web1}", "dir@a=/x")},
			Outline{part("web", "a", "sans={web1,www.example.com}", "dir@a=/x")},
			"change web sans changed: + www.example.com - web0",
		},
		"a directory on all hosts": {
			Outline{part("web", "a b", "dir@a=/x", "dir@b=/x")},
			Outline{part("web", "a b", "dir@a=/y", "dir@b=/y")},
			"change web dir changed from /x to /y",
		},
		"a directory on one of two": {
			Outline{part("web", "a b", "dir@a=/x", "dir@b=/x")},
			Outline{part("web", "a b", "dir@a=/y", "dir@b=/x")},
			"change web dir on a changed from /x to /y",
		},
		"a host more": {
			Outline{part("web", "a", "dir@a=/x")},
			Outline{part("web", "a b", "dir@a=/x", "dir@b=/x")},
			"change web hosts changed: + b",
		},
		"a field that was not set": {
			Outline{part("web", "a", "dir@a=/x")},
			Outline{part("web", "a", "dir@a=/x", "window=nightly")},
			"change web window changed from none to nightly",
		},
		"renamed with the same files": {
			Outline{part("old", "a b", "dir@a=/x", "dir@b=/x")},
			Outline{part("web", "b a", "dir@a=/x", "dir@b=/x")},
			"move web renamed from old",
		},
		"one of the files is another's": {
			Outline{part("old", "a", "dir@a=/x"), part("api", "b", "dir@b=/x")},
			Outline{part("web", "a b", "dir@a=/x", "dir@b=/x")},
			"add web |remove old |remove api ",
		},
	} {
		var got []string
		for _, ch := range Compare(x.was, x.is) {
			got = append(got, fmt.Sprintf("%s %s %s", ch.Action, ch.Name, ch.Reason))
		}
		if text := strings.Join(got, "|"); text != x.want {
			t.Errorf("%s: got %q, want %q", name, text, x.want)
		}
	}
	moved := part("web", "a", "dir@a=/y", "key=rsa")
	moved.From = []string{"gone", "old"}
	got := Compare(Outline{part("old", "a", "dir@a=/x", "key=ec")}, Outline{moved})
	if len(got) != 1 || got[0].Action != "move" || got[0].From != "old" || got[0].Reason != "renamed from old; dir changed from /x to /y; key changed from ec to rsa" {
		t.Errorf("%+v", got)
	}
}
