package daemon

import (
	"context"
	"strings"
	"testing"

	"renewer/renewer"
)

// farPair is farService with a client on the other host too.
var farPair = strings.Replace(farService, "{name: cli, usages: [client],", "{name: cli, usages: [client], hosts: [here, far], per_host: true,", 1)

// A service hangs while its CA is replaced, so what is put there fails and is put back.
// The rotation goes on without its host; when the service is back it is brought over by
// itself, although its rollout is blocked: its peers refuse what it has anyway.
func TestAServiceThatWasGoneOnWithoutIsBroughtOverWhenItIsBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, strings.Replace(farService, "timeout: 20s", "timeout: 3s", 1), false)
	w.addFar()
	everyone("a")(w)
	w.passes()
	svc := w.services["svc"]
	svc.hung.Store(true)
	rotate(renewer.RotateRequest{})(w)
	w.without("far")
	if v := w.rotation(); v.Stage != "add_root" || !v.Blocked || !strings.Contains(strings.Join(v.Waiting, ";"), "svc@far") {
		t.Errorf("%+v", v)
	}
	rotate(renewer.RotateRequest{Without: []string{"far"}})(w)
	w.without("far")
	w.at("done")
	if row := w.rows()["svc"]; row.Status != renewer.StatusBlocked {
		t.Errorf("%+v", row)
	}
	svc.hung.Store(false)
	must(t, svc.load())
	w.rocky = true
	w.passes()
	w.endsWith("svc", "b")
	w.endsWith("cli", "b")
	w.talk()
	w.ask("at the end")
	if refused := w.refusals(); len(refused) > 0 {
		t.Errorf("%q", refused)
	}
}

// Of a host that was off throughout and is back, what is each other's peer there is
// brought over as everywhere: first the roots, then the certificates.
func TestAHostThatIsBackGetsItsRootsFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, farPair, false)
	way := w.addFar()
	everyone("a")(w)
	w.passes()
	w.talk()
	way.shut.Store(true)
	rotate(renewer.RotateRequest{Without: []string{"far"}})(w)
	w.without("far")
	w.at("done")
	if left := strings.Join(w.rotation().LeftBehind, ";"); !strings.Contains(left, "svc@far presents a certificate under CN=a CA") || !strings.Contains(left, "cli@far has the root of CN=a CA still") {
		t.Errorf("left behind: %s", left)
	}
	way.shut.Store(false)
	w.rocky = true
	w.passes()
	if left := w.rotation().LeftBehind; len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	w.endsWith("svc", "b")
	w.endsWith("cli", "b")
	for _, refused := range w.refusals() {
		if strings.Contains(refused, "cli on far") { // it and svc were on, and there, all the time
			t.Error(refused)
		}
	}
}

// A cancelled rotation waits for a host that is off and has the next root. It ends
// if another rotation starts, which also removes that root from the ca files, or if
// that host is excluded. When the host is back, the root is removed there too.
func TestCancelledRotationYieldsToTheNext(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		r    renewer.RotateRequest
		ends string
		at   string
	}{
		"compromised":  {renewer.RotateRequest{Compromised: true, Without: []string{"far"}}, "c", "done"},
		"another one":  {renewer.RotateRequest{Without: []string{"far"}, Now: true}, "c", "done"},
		"without host": {renewer.RotateRequest{Without: []string{"far"}}, "a", "cancelled"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, strings.Replace(strings.Replace(farClient, "hosts: [here, far]", "hosts: [here, far], per_host: true", 1), "timeout: 20s", "timeout: 3s", 1), false)
			way := w.addFar()
			everyone("a")(w)
			w.passes()
			svc := w.services["svc"]
			svc.hung.Store(true) // it does not load the next root
			rotate(renewer.RotateRequest{})(w)
			w.without("svc")
			w.holds("cli", "far", "a b")
			way.shut.Store(true)
			cancel(w)
			svc.hung.Store(false)
			must(t, svc.load())
			w.without("far")
			if v := w.rotation(); v.Stage != "cancel" || !v.Blocked || !strings.Contains(v.Ends, "--without far") {
				t.Errorf("%+v", v)
			}
			rotate(c.r)(w)
			w.without("far")
			w.at(c.at)
			w.holds("cli", "here", c.ends)
			way.shut.Store(false)
			w.rocky = true
			w.passes()
			w.endsWith("svc", c.ends)
			w.endsWith("cli", c.ends)
			if left := w.rotation().LeftBehind; len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// The key is compromised, and a host that is gone on without answers all the same: nothing
// waits for what it cannot be known to have loaded.
func TestACompromisedCAIsReplacedWithoutAHostThatAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mutualTLS+"  - {name: kept, usages: [client], default_sans: false, hosts: [far], dir: DIR/kept, issuer: a, settle: 24h, reloads: {trust: restart}}\n", false)
	w.addFar()
	everyone("a")(w)
	w.passes()
	rotate(renewer.RotateRequest{Compromised: true, Without: []string{"far"}})(w)
	w.without("far")
	w.at("done")
	w.holds("svc", "here", "b")
	w.holds("cli", "here", "b")
	shows("svc", "b")(w)
}

// The key is compromised while a service is stopped on a host that can be reached. Its
// files are replaced, so the old root leaves every ca file and its certificates are
// revoked; what is not known to have loaded its new one is named.
func TestACompromisedCAIsReplacedWhileAServiceIsStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t, strings.Replace(mutualTLS, "timeout: 20s", "timeout: 3s", 1), false)
	everyone("a")(w)
	w.passes()
	svc := w.services["svc"]
	w.entries = strings.Replace(w.entries, "ACTIVATE-SVC", "{signal: {pid_file: DIR/stopped.pid, signal: HUP}}", 1)
	everyone("a")(w)
	svc.hung.Store(true)
	w.rocky = true
	w.pass("one that sees it")
	w.with("ca rotate --compromised --plan", func(ctx context.Context, a *App) {
		v, err := a.Rotate(ctx, renewer.RotateRequest{Issuer: "a", Kind: "rotate", Compromised: true, Plan: true}, nil)
		must(t, err)
		if text := strings.Join(v.Breaks, ";"); strings.Count(text, "svc@here differs from the desired state (probe:") != 1 {
			t.Errorf("breaks: %q", v.Breaks)
		}
	})
	rotate(renewer.RotateRequest{Compromised: true})(w)
	w.without("svc")
	w.at("done") // no ca file has the old root
	w.holds("cli", "here", "b")
	v := w.rotation()
	if left := strings.Join(v.LeftBehind, ";"); !strings.Contains(left, "svc@here presents a certificate under CN=a CA") || !strings.Contains(left, "svc@here is not known to have loaded that the root of CN=a CA is gone") {
		t.Errorf("left behind: %q", v.LeftBehind)
	}
	if v.TrustedNowhere != 0 || strings.Join(v.TrustedBy, " ") != "svc@here" {
		t.Errorf("the service trusts the old root still: %+v", v)
	}
	var said string
	w.with("what was said", func(_ context.Context, a *App) {
		events, err := a.store.Events(renewer.EventFilter{})
		must(t, err)
		for _, e := range events {
			said += e.Message + "\n"
		}
	})
	for _, want := range []string{"certificates of CN=a CA are on its CRL", "replaced there, and not known to be loaded: svc@here"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in\n%s", want, said)
		}
	}
	svc.hung.Store(false)
	must(t, svc.load())
	w.rocky = true
	w.passes()
	if left := w.rotation().LeftBehind; len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
