package daemon

import (
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
	w := newWorld(t, strings.Replace(farService, "timeout: 3s", "timeout: 1s", 1), false)
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
