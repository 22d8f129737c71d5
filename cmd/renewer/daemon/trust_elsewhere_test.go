package daemon

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/renewer"
)

// elsewhereScenarios change roots where renewer does not: at a CA that is a
// server, in the files of an imported CA, in a file of roots.
var elsewhereScenarios = []scenario{
	{
		name:  "step-ca, a new intermediate under the same root",
		start: underStepCA("a"), steps: then(newIntermediate, all(renew("svc", "cli"), shows("svc", "a"), shows("cli", "a"))), svc: "a", cli: "a",
	},
	{
		name:  "step-ca, a new intermediate and then another root that is not federated",
		start: underStepCA("a"), steps: then(newIntermediate, underStepCA("b")), svc: "b", cli: "b",
	},
	{
		name:  "Vault, a second issuer in the mount, which then becomes the default",
		start: underVault("a"), steps: then(secondIssuer, all(renew("svc", "cli"), rootsAre("a")), switchDefault), svc: "b", cli: "b",
	},
	{
		name:  "Vault, the default is switched while renewer runs",
		start: underVault("a"), steps: then(secondIssuer, whileRunning(switchDefault)), svc: "b", cli: "b",
	},
	{
		name: "Vault, the role is switched to an issuer that is not the default, and the default after it", rocky: true,
		start: underVault("a"), steps: then(all(secondIssuer, switchRole, renew("svc", "cli"), rootsAre("a"), switchDefault)), svc: "b", cli: "b",
	},
	{
		name:  "Vault, another mount in the fleet file",
		start: underVault("a"), steps: then(anotherMount), svc: "b", cli: "b",
	},
	{
		name:  "an imported intermediate is signed again with a longer life for the same key",
		start: all(everyone("a"), intermediateCA("a")), steps: then(longerIntermediate, renew("svc", "cli")), svc: "a", cli: "a",
	},
	{
		name: "a file of roots gets another root, and loses one that nothing needs", alone: true,
		start: fileOfRoots("f"), steps: then(rootsInFile("f", "g"), rootsInFile("g")), svc: "a g", cli: "a",
	},
	{
		name: "a file of roots loses the one that the client is under, which then moves", alone: true,
		start: underFile("b", "issuer: b, trust: [a]"), steps: then(
			all(rootsInFile("a"), onePass, holdsStill("svc", "a b")),
			all(underIssuers("issuer: a, trust: [a]")),
		), svc: "a", cli: "a",
	},
	{
		name: "a file of roots is edited while renewer runs", alone: true,
		start: underFile("b", "issuer: b, trust: [a]"), steps: then(whileRunning(rootsInFile("b", "c")), rootsInFile("b")), svc: "b", cli: "a",
	},
}

// newIntermediate has the step-ca sign with another intermediate.
func newIntermediate(w *world) {
	w.t.Helper()
	must(w.t, w.step.Stop())
	must(w.t, w.step.NewIntermediate())
	must(w.t, w.step.Start())
	w.cas["a"] = &testpki.CA{Cert: w.step.Intermediate, Root: w.step.Root}
}

// secondIssuer makes another issuer in the mount, with which nothing signs yet.
func secondIssuer(w *world) { w.cas["b"] = &testpki.CA{Root: w.vault.AddIssuer("pki")} }

func switchDefault(w *world) { w.vault.SwitchDefault("pki") }

func switchRole(w *world) { w.vault.SwitchRole("pki", "docker") }

// anotherMount has the entry of the issuer lead to another PKI mount.
func anotherMount(w *world) {
	w.t.Helper()
	w.vault.Ready("pki2", "docker")
	text, err := os.ReadFile(w.file)
	must(w.t, err)
	must(w.t, os.WriteFile(w.file, []byte(strings.Replace(string(text), "mount: pki,", "mount: pki2,", 1)), 0o600))
	w.cas["b"] = &testpki.CA{Root: vaultRoot(w.t, w.vault, "pki2")}
}

// rootsAre checks that the ca files of both have these roots now.
func rootsAre(cas string) func(*world) {
	return func(w *world) {
		for _, name := range []string{"svc", "cli"} {
			holdsStill(name, cas)(w)
		}
	}
}

func holdsStill(of, cas string) func(*world) {
	return func(w *world) {
		w.t.Helper()
		in, err := readPeer(w.place(of, "here"))
		must(w.t, err)
		if have := w.names(in); have != cas {
			w.t.Errorf("the ca file of %s has the roots of %s on the way, not of %s", of, have, cas)
		}
	}
}

// intermediateCA puts an intermediate in the place of a local CA that has signed
// nothing yet.
func intermediateCA(name string) func(*world) {
	return func(w *world) {
		top := rootCA(w.t, "top")
		w.imported(name, top.Intermediate(w.t, testpki.Options{CommonName: "a CA", NotAfter: time.Now().AddDate(0, 1, 0)}))
		w.top = top
	}
}

// longerIntermediate is the same CA, signed again to live longer.
func longerIntermediate(w *world) {
	w.imported("a", w.top.Intermediate(w.t, testpki.Options{CommonName: "a CA", NotAfter: time.Now().AddDate(5, 0, 0), Key: w.cas["a"].Key}))
}

// imported puts a CA in the place of the files of a local one.
func (w *world) imported(name string, ca *testpki.CA) {
	w.t.Helper()
	must(w.t, os.RemoveAll(w.in("state", "issuers", name)))
	w.cas[name] = writeCA(w.t, w.in("state", "issuers", name), ca)
}

// rootsInFile writes the roots of some CAs into the file that trust: names.
func rootsInFile(cas ...string) func(*world) {
	return func(w *world) {
		w.t.Helper()
		var text []byte
		for _, name := range cas {
			if w.cas[name] == nil {
				w.cas[name] = rootCA(w.t, name)
			}
			text = append(text, w.cas[name].PEM()...)
		}
		must(w.t, os.WriteFile(w.in("more.pem"), text, 0o600))
	}
}

// fileOfRoots is a fleet under one CA whose service trusts the roots of a file
// besides.
func fileOfRoots(cas ...string) func(*world) {
	return all(rootsInFile(cas...), under([]string{"a"}, "issuer: a, trust: [a, {file: DIR/more.pem}]", "issuer: a"))
}

// underFile is a fleet whose service trusts the roots of a file alone, which are
// those of a CA that the client is under.
func underFile(ca, cli string) func(*world) {
	return func(w *world) {
		issuers := w.local("a", ca)
		rootsInFile(ca)(w)
		w.want(issuers, "issuer: a, trust: [{file: DIR/more.pem}]", cli)
	}
}

func underIssuers(cli string) func(*world) {
	return func(w *world) { w.want(w.local("a", "b"), "issuer: a, trust: [{file: DIR/more.pem}]", cli) }
}

// During a change of a CA at its server, impact reports the peers that the gate
// waits for.
func TestImpactAgreesWithTheGate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mutualTLS, false)
	underVault("a")(w)
	w.passes()
	secondIssuer(w)
	refused := func(target string) (out renewer.Impact) {
		w.with("impact "+target, func(ctx context.Context, a *App) {
			var err error
			out, err = a.Impact(ctx, renewer.ImpactRequest{Target: target})
			must(t, err)
		})
		return out
	}
	if got := refused("svc"); len(got.Refused) != 0 {
		t.Errorf("before the default is switched: %+v", got)
	}
	switchDefault(w)
	for target, want := range map[string]string{"svc": "svc@here cli@here", "cli": "cli@here svc@here", "issuer:corp": "cli@here svc@here svc@here cli@here"} {
		var got []string
		for _, r := range refused(target).Refused {
			got = append(got, slices.Concat(r.Presenters, r.Verifiers)...)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
	w.with("plan", func(ctx context.Context, a *App) {
		steps, err := a.planned(ctx)
		must(t, err)
		if !slices.ContainsFunc(steps, func(s renewer.PlanStep) bool {
			return s.Certificate == "svc" && s.Action == "wait" && strings.Contains(s.Reason, "cli@here")
		}) {
			t.Errorf("plan does not say that svc waits for cli: %+v", steps)
		}
	})
	w.passes()
	for _, target := range []string{"svc", "cli", "issuer:corp"} {
		if got := refused(target); len(got.Refused) != 0 {
			t.Errorf("afterwards: %+v", got)
		}
	}
}
