package notify

import (
	"testing"

	"renewer/renewer"
	"renewer/renewer/problems"
)

// The other surfaces are compared with the catalogue in renewer/server.
func TestMessagesSayWhatTheCatalogueSays(t *testing.T) {
	t.Parallel()
	opened := map[renewer.EventType]bool{}
	for _, row := range problems.All() {
		for _, name := range row.Events {
			typ := renewer.EventType(name)
			e := renewer.Event{Seq: 1, Time: start, Type: typ, Certificate: "web", Host: "a"}
			if typ == renewer.EventIssuerDown || typ == renewer.EventCARotationWaiting {
				e = renewer.Event{Seq: 1, Time: start, Type: typ, Issuer: "ca"}
			}
			wanted := map[renewer.EventType]bool{typ: true}
			if k, ok := opens(e); ok {
				wanted[k.kind] = true
			}
			s := newState(0)
			s.take(e, wanted, start)
			problem := s.notes
			for _, open := range s.sorted() {
				problem = append(problem, *open)
			}
			if len(problem) != 1 {
				t.Errorf("%s: event %s opens %d problems", row.ID, typ, len(problem))
				continue
			}
			want := row.Run(problems.Names{Certificate: e.Certificate, Host: e.Host, Issuer: e.Issuer})
			describe(&problem[0])
			if p := problem[0]; p.Means != row.Meaning || p.Command != want[0] {
				t.Errorf("%s: event %s says %q, run %q; the catalogue says %q, run %q", row.ID, typ, p.Means, p.Command, row.Meaning, want[0])
			}
			opened[problem[0].Kind] = true
		}
	}
	for typ := range kinds {
		if !opened[typ] {
			t.Errorf("%s opens a problem, and no row names the event", typ)
		}
	}
}
