package daemon

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"renewer/renewer"
)

// failure is what a command of an app ended with, as it would be printed.
func failure(res renewer.RunResult, err error) string {
	out := ""
	if err != nil {
		out = err.Error() + "\n" + renewer.Hint(err)
	}
	for _, r := range res.Rollouts {
		out += "\n" + r.Error + "\n" + r.Hint
	}
	return out
}

// A plain copy of the state directory runs beside the original on the same machine: it
// says who keeps the directory and what to type, places nothing and orders nothing.
// When it has taken the directory over, the same holds of the original.
func TestACopyOfTheStateDirectoryIsRefusedBesideTheOriginal(t *testing.T) {
	h := newHouse(t, "  - {name: web, profile: files, issuer: ca, hosts: [here], dir: DIR/out, lifetime: 1h}\n")
	ctx := t.Context()
	first := h.open()
	res, err := first.RunOnce(ctx, nil)
	if must(t, err); res.Failed() {
		t.Fatalf("result %+v", res)
	}
	copied := &house{t: t, dir: shortDir(t)} // while the daemon runs
	out, err := exec.CommandContext(ctx, "cp", "-a", filepath.Join(h.dir, "state"), copied.dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	copied.file = filepath.Join(copied.dir, "renewer.yaml")
	copied.write("  - {name: web, profile: files, issuer: ca, hosts: [here], dir: " + h.dir + "/out, lifetime: 1h}\n")
	second := copied.open()

	refused := func(a *App, by *house) {
		t.Helper()
		before := a.row(t, "web")
		for name, run := range map[string]func() (renewer.RunResult, error){
			"renew": func() (renewer.RunResult, error) {
				return a.Renew(ctx, renewer.RenewRequest{Names: []string{"web"}}, nil)
			},
			"run --once": func() (renewer.RunResult, error) { return a.RunOnce(ctx, nil) },
		} {
			said := failure(run())
			for _, want := range []string{"is kept by another renewer", by.dir + "/state", "renewer adopt --take-over here"} {
				if !strings.Contains(said, want) {
					t.Errorf("%s beside the renewer that keeps the directory says nothing of %q: %s", name, want, said)
				}
			}
		}
		events, err := a.Events(ctx, renewer.EventFilter{})
		must(t, err)
		issued := 0
		for _, e := range events {
			if e.Type == renewer.EventIssued {
				issued++
			}
		}
		if issued != before.Generation {
			t.Errorf("a certificate was ordered that cannot be placed: %d orders of %d generations", issued, before.Generation)
		}
	}
	renews := func(a *App) {
		t.Helper()
		before := a.row(t, "web").Generation
		res, err := a.Renew(ctx, renewer.RenewRequest{Names: []string{"web"}}, nil)
		if must(t, err); res.Failed() || a.row(t, "web").Generation != before+1 {
			t.Errorf("a renewal by who keeps the directory: %+v", res)
		}
	}
	refused(second, h)
	renews(first)
	first = h.again(first) // it is the same one after a restart
	renews(first)

	taken, err := second.TakeOver(ctx, "here")
	if must(t, err); len(taken) != 1 || !strings.Contains(taken[0].From, h.dir+"/state") {
		t.Fatalf("taken over: %+v", taken)
	}
	renews(second)
	refused(first, copied)
}
