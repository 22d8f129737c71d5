package daemon

import (
	"context"
	"fmt"
	"os"
	"testing"

	"renewer/internal/testpki"
	"renewer/renewer"
	"renewer/renewer/pki"
)

// rotate begins to replace the CA of issuer a. Its next CA is known by the names b, c,
// and so on, in the order in which they come.
func rotate(r renewer.RotateRequest) func(*world) {
	return func(w *world) {
		w.t.Helper()
		if r.Issuer = "a"; r.Kind == "" {
			r.Kind = "rotate"
		}
		w.with(fmt.Sprintf("ca rotate %+v", r), func(ctx context.Context, a *App) {
			v, err := a.Rotate(ctx, r, nil)
			must(w.t, err)
			if w.know("state/issuers/a/ca.next.pem"); v.Stage != "add_root" {
				w.t.Errorf("%+v", v)
			}
		})
	}
}

// know takes in a CA by its file, under the next letter.
func (w *world) know(file string) {
	w.t.Helper()
	text, err := os.ReadFile(w.in(file))
	must(w.t, err)
	certs, err := pki.DecodeCertificates(text)
	must(w.t, err)
	cert := certs[len(certs)-1]
	for _, ca := range w.cas {
		if ca.Root.Equal(cert) {
			return
		}
	}
	w.cas[string(rune('a'+len(w.cas)))] = &testpki.CA{Cert: cert, Root: cert}
}

func (w *world) stage(want string) {
	w.t.Helper()
	w.with("ca show", func(_ context.Context, a *App) {
		if v := a.rotationView("a"); v.Stage != want {
			w.t.Errorf("the rotation is at stage %s, not %s: %+v", v.Stage, want, v)
		}
	})
}

var rotationScenarios = []scenario{
	{name: "rotated", start: everyone("a"), steps: then(rotate(renewer.RotateRequest{})), svc: "b", cli: "b"},
}

func TestARotationRefusesNobody(t *testing.T) {
	for _, s := range rotationScenarios {
		for _, grouped := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/peer_group=%t", s.name, grouped), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, s.entries, grouped)
				s.play(w)
				w.stage("done")
			})
		}
	}
}
