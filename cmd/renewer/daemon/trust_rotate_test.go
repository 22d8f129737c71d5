package daemon

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/pki"
)

// rotate asks for something about the CA of issuer a. Its next CA is known by the
// names b, c, and so on, in the order in which they come.
func rotate(r renewer.RotateRequest) func(*world) {
	return func(w *world) {
		w.t.Helper()
		if r.Issuer = "a"; r.Kind == "" {
			r.Kind = "rotate"
		}
		w.with(fmt.Sprintf("ca rotate %+v", r), func(ctx context.Context, a *App) {
			if _, err := a.Rotate(ctx, r, nil); err != nil {
				w.t.Errorf("ca rotate %+v: %v", r, err)
			}
			w.know("state/issuers/a/ca.next.pem")
		})
	}
}

func cancel(w *world) { rotate(renewer.RotateRequest{Cancel: true})(w) }

// know takes in a CA by its file, if that is there, under the next letter.
func (w *world) know(file string) {
	w.t.Helper()
	text, err := os.ReadFile(w.in(file))
	if err != nil {
		return
	}
	certs, err := pki.DecodeCertificates(text)
	must(w.t, err)
	root := certs[len(certs)-1]
	for _, ca := range w.cas {
		if ca.Root.Equal(root) {
			return
		}
	}
	name := "a"
	for w.cas[name] != nil {
		name = string(name[0] + 1)
	}
	w.cas[name] = &testpki.CA{Cert: certs[0], Root: root}
}

// rotation is how the replacement of the CA of issuer a stands.
func (w *world) rotation() (v renewer.RotationView) {
	w.t.Helper()
	w.with("ca show", func(ctx context.Context, a *App) {
		var err error
		v, err = a.Rotation(ctx, "a")
		must(w.t, err)
	})
	return v
}

// at checks the stage, and that no file of a rotation is where it should not be.
func (w *world) at(stage string) {
	w.t.Helper()
	v := w.rotation()
	if v.Stage != stage {
		w.t.Errorf("the rotation is at stage %s, not %s: %+v", v.Stage, stage, v)
	}
	_, err := local.Open(local.Config{
		Name: "a", CertFile: w.in("state", "issuers", "a", "ca.pem"), KeyFile: w.in("state", "issuers", "a", "ca-key.pem"),
	})
	must(w.t, err)
	names := w.ls("state", "issuers", "a")
	next := slices.ContainsFunc(names, func(name string) bool { return strings.Contains(name, ".next.") })
	if want := stage == "add_root"; next != want {
		w.t.Errorf("at stage %s: %v", stage, names)
	}
}

// asNext makes a CA elsewhere and imports it as the next one of issuer a.
func asNext(make func(w *world) *testpki.CA) func(*world) {
	return func(w *world) {
		w.t.Helper()
		ca := writeCA(w.t, w.in("elsewhere"), make(w))
		w.with("ca import --as-next", func(ctx context.Context, a *App) {
			must(w.t, CAImportNext(ctx, a, w.load(), "a", w.in("elsewhere", "ca.pem"), w.in("elsewhere", "ca-key.pem"), nil))
			w.cas["b"] = ca
		})
		rotate(renewer.RotateRequest{Kind: "import"})(w)
	}
}

// issuerWith is a fleet under a whose issuer has further keys.
func issuerWith(keys string) func(*world) {
	return func(w *world) {
		w.want(strings.Replace(w.local("a"), "local}", "local, "+keys+"}", 1), "issuer: a", "issuer: a")
	}
}

// standsBy takes in the CA that standby_root made.
func standsBy(w *world) { w.know("state/issuers/a/ca.next.pem") }

var rotationScenarios = []scenario{
	{name: "rotated", start: everyone("a"), steps: then(rotate(renewer.RotateRequest{})), svc: "b", cli: "b"},
	{name: "rotated, now", start: everyone("a"), steps: then(rotate(renewer.RotateRequest{Now: true})), svc: "b", cli: "b"},
	{name: "rotated to another key type", start: everyone("a"), steps: then(rotate(renewer.RotateRequest{Key: renewer.Ed25519})), svc: "b", cli: "b"},
	{name: "rotated twice", start: everyone("a"), steps: then(rotate(renewer.RotateRequest{}), rotate(renewer.RotateRequest{})), svc: "c", cli: "c"},
	{name: "taken back at once", start: everyone("a"), steps: then(all(rotate(renewer.RotateRequest{}), cancel)), svc: "a", cli: "a"},
	{name: "compromised", start: everyone("a"), steps: then(rotate(renewer.RotateRequest{Compromised: true})), svc: "b", cli: "b"},
	{name: "trust bundles", entries: trustBundle, start: under([]string{"a"}, "issuer: a", "trust: [a]"), steps: then(rotate(renewer.RotateRequest{})), svc: "b", cli: "b"},
	{name: "services that are each other's clients", entries: bothInOne, start: everyone("a"), steps: then(rotate(renewer.RotateRequest{})), svc: "b", cli: "b"},
	{name: "services that are each other's clients, compromised", entries: bothInOne, start: everyone("a"), steps: then(rotate(renewer.RotateRequest{Compromised: true})), svc: "b", cli: "b"},
	{name: "a probe that presents the client's certificate", entries: probedAsClient, start: all(everyone("a"), first), steps: then(rotate(renewer.RotateRequest{})), svc: "b", cli: "b"},
	{name: "a CA that was made elsewhere", start: everyone("a"), steps: then(asNext(func(w *world) *testpki.CA { return rootCA(w.t, "b") })), svc: "b", cli: "b"},
	{name: "an intermediate that was made elsewhere", start: everyone("a"), steps: then(asNext(func(w *world) *testpki.CA {
		return rootCA(w.t, "top").Intermediate(w.t, testpki.Options{CommonName: "b CA", NotAfter: time.Now().AddDate(5, 0, 0)})
	})), svc: "b", cli: "b"},
	{name: "adopted, then rotated", start: adopted, steps: then(rotate(renewer.RotateRequest{})), svc: "b", cli: "b"},
	{name: "a root of somebody else's was there before renewer", start: foreignUnderOne, steps: then(rotate(renewer.RotateRequest{})), svc: "b corp", cli: "b"},
	{name: "an edit of trust in the midst of it", start: everyone("a"), steps: then(all(rotate(renewer.RotateRequest{}), under([]string{"a", "z"}, "issuer: a, trust: [a, z]", "issuer: a, trust: [a]"))), svc: "b z", cli: "b"},
}

// foreignUnderOne is foreign with a client of somebody else's that trusts every CA.
func foreignUnderOne(w *world) {
	everyone("a")(w)
	w.openssl("svc", w.corp())
}

// A certificate chains to every certificate of its CA's key: none is reissued.
func TestReissuedCARefusesNoPeerAndIssuesNothing(t *testing.T) {
	for _, grouped := range []bool{false, true} {
		t.Run(fmt.Sprintf("peer_group=%t", grouped), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, mutualTLS, grouped)
			s := scenario{start: everyone("a"), steps: then(rotate(renewer.RotateRequest{Kind: "reissue"})), svc: "b", cli: "b"}
			s.play(w)
			w.at("done")
			for name, row := range w.rows() {
				if row.Generation != 1 {
					t.Errorf("%s has generation %d", name, row.Generation)
				}
			}
			old, now := w.cas["a"].Cert, w.cas["b"].Cert
			if !pki.Twins(old, now) || !now.NotAfter.After(old.NotAfter.AddDate(0, 0, -1)) || len(now.SubjectKeyId) == 0 || !now.BasicConstraintsValid {
				t.Errorf("%+v", now)
			}
			renew("svc", "cli")(w)
			if refused := w.refusals(); len(refused) > 0 {
				t.Errorf("after a renewal: %q", refused)
			}
		})
	}
}

// standby_root makes the next CA by itself and has it trusted; rotate_at uses it when
// its time has come, and another one is made.
func TestAStandbyRootIsTrustedAheadAndUsedWhenItsTimeHasCome(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mutualTLS, false)
	w.cas["a"] = writeCA(t, w.in("state", "issuers", "a"), testpki.NewWith(t, testpki.Options{
		CommonName: "a CA", NotBefore: time.Now().AddDate(-9, 0, 0), NotAfter: time.Now().AddDate(1, 0, 0),
	}))
	s := scenario{start: issuerWith("standby_root: true"), steps: then(standsBy, func(w *world) {
		w.endsWith("svc", "a b")
		w.endsWith("cli", "a b")
		for _, r := range []renewer.RotateRequest{{Key: renewer.Ed25519}, {Kind: "reissue"}} {
			r.Issuer = "a"
			refuses(w, r, "has a next CA already: CN=a CA 2 with another key", "take standby_root out of the fleet file, then renewer ca rotate a --cancel removes it")
		}
		if plan := w.plan(renewer.RotateRequest{}); plan[0].Placements != 0 || plan[0].Restarts != 0 || plan[3].Placements != 2 {
			t.Errorf("the next root is in every ca file: %+v", plan)
		}
		issuerWith("standby_root: true, rotate_at: 80%")(w)
	}), svc: "b c", cli: "b c"}
	w.settle = func() {
		w.passes()
		standsBy(w)
	}
	s.play(w)
	if v := w.rotation(); v.Stage != "done" || !strings.Contains(v.Why, "80%") {
		t.Errorf("%+v", v)
	}
}

// The old root stays for clients that renewer does not manage, and the old key until
// an operator has it removed.
func TestTheOldRootAndKeyAreKeptAsLongAsAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mutualTLS, false)
	s := scenario{start: everyone("a"), steps: then(rotate(renewer.RotateRequest{Keep: time.Hour})), svc: "a b", cli: "a b"}
	s.play(w)
	w.at("keep")
	w.with("too early", func(ctx context.Context, a *App) {
		if _, err := a.Rotate(ctx, renewer.RotateRequest{Issuer: "a", Kind: "rotate", DestroyOld: true}, nil); err == nil || renewer.Hint(err) == "" {
			t.Errorf("--destroy-old while the old root is trusted: %v", err)
		}
		one, wait, _ := a.rotations.of("a")
		one.SwitchedAt = one.SwitchedAt.Add(-2 * time.Hour) // so that hour has passed
		must(t, a.recordRotation(ctx, one, wait))
	})
	w.passes()
	w.at("done")
	w.endsWith("svc", "b")
	rotate(renewer.RotateRequest{DestroyOld: true})(w)
	if names := w.ls("state", "issuers", "a"); slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, "ca-key.old") }) || len(names) != 4 {
		t.Errorf("%v", names) // ca.pem, ca-key.pem, the old certificate and its last CRL
	}
	if v := w.rotation(); v.OldKey != "destroyed" {
		t.Errorf("%+v", v)
	}
	w.with("its last CRL", func(ctx context.Context, a *App) {
		der, err := a.crl(ctx, "a", renewer.Fingerprint(w.cas["a"].Cert.Raw))
		must(t, err)
		if len(der) == 0 {
			t.Error("no CRL")
		}
	})
	if refused := w.refusals(); len(refused) > 0 {
		t.Errorf("%q", refused)
	}
}

// A CA whose key is compromised: its certificates are all on its last CRL, and how
// long it took is recorded.
func TestACompromisedCAIsListedAndTrustedNowhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mutualTLS, false)
	everyone("a")(w)
	old, err := local.Create(local.Config{Name: "z", CertFile: w.in("z", "ca.pem"), KeyFile: w.in("z", "ca-key.pem")}, local.CreateOptions{})
	must(t, err)
	must(t, os.Rename(w.in("z", "ca.pem"), w.in("state", "issuers", "a", "ca.pem"))) // one that may sign CRLs
	must(t, os.Rename(w.in("z", "ca-key.pem"), w.in("state", "issuers", "a", "ca-key.pem")))
	w.cas["a"] = &testpki.CA{Cert: old.Root(), Root: old.Root()}
	w.passes()
	w.talk()
	serials := map[string]bool{}
	for _, row := range w.rows() {
		serials[row.Serial] = true
	}
	rotate(renewer.RotateRequest{Compromised: true})(w)
	w.passes()
	v := w.rotation()
	if v.Stage != "done" || v.TrustedNowhere <= 0 {
		t.Errorf("%+v", v)
	}
	w.with("the CRLs", func(ctx context.Context, a *App) {
		last, err := a.crl(ctx, "a", v.From.Fingerprint)
		must(t, err)
		now, err := a.crl(ctx, "a", "")
		must(t, err)
		listed := revokedIn(t, last, w.cas["a"].Cert)
		for serial := range serials {
			if !listed[serial] {
				t.Errorf("%s is not on the last CRL: %v", serial, listed)
			}
		}
		if more := revokedIn(t, now, w.cas["b"].Cert); len(more) > 0 {
			t.Errorf("on the CRL of the new CA: %v", more)
		}
	})
	if refused := w.refusals(); len(refused) > 0 {
		t.Errorf("%q", refused)
	}
}

// One host is off while the CA is rotated: signing does not switch, the reason is
// shown with a fix, and no peer is refused. Then the host comes back, or the rotation
// is cancelled, or it continues without the host, which later gets first the roots,
// then the certificate.
func TestARotationWithOneHostOff(t *testing.T) {
	for _, grouped := range []bool{false, true} {
		for name, c := range map[string]struct {
			then func(w *world, way *door)
			ends string
		}{
			"it comes back": {func(w *world, way *door) { way.shut.Store(false) }, "b"},
			"taken back": {func(w *world, way *door) {
				cancel(w)
				w.without("far")
				w.at("cancelled") // far never had the new root
				way.shut.Store(false)
			}, "a"},
			"gone on without": {func(w *world, way *door) {
				w.rocky = true
				rotate(renewer.RotateRequest{Without: []string{"far"}})(w)
				w.without("far")
				w.rocky = true
				w.at("done")
				w.holds("svc", "here", "b")
				w.holds("cli", "here", "b")
				w.holds("cli", "far", "a") // and its certificate is refused now
				for _, refused := range w.refusals() {
					if !strings.Contains(refused, "cli on far") {
						w.t.Error(refused)
					}
				}
				way.shut.Store(false)
			}, "b"},
		} {
			t.Run(fmt.Sprintf("%s/peer_group=%t", name, grouped), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, farClient, grouped)
				way := w.addFar()
				everyone("a")(w)
				w.passes()
				w.talk()
				way.shut.Store(true)
				rotate(renewer.RotateRequest{})(w)
				w.without("far")
				w.at("add_root")
				v := w.rotation()
				if !v.Blocked || len(v.Waiting) != 1 || !strings.Contains(v.Waiting[0], "cli@far") || !strings.Contains(v.Ends, "--without far") {
					t.Errorf("what it waits for: %+v", v)
				}
				w.holds("svc", "here", "a b")
				if refused := w.refusals(); len(refused) > 0 {
					t.Errorf("%q", refused)
				}
				c.then(w, way)
				w.rocky = true // the first pass may find that it was gone
				w.passes()
				w.endsWith("svc", c.ends)
				w.endsWith("cli", c.ends)
				w.at(map[string]string{"a": "cancelled", "b": "done"}[c.ends])
				w.ask("at the end")
				if refused := w.refusals(); len(refused) > 0 && (name != "gone on without" || strings.Contains(refused[len(refused)-1], "at the end")) {
					t.Errorf("%q", refused[len(refused)-1])
				}
			})
		}
	}
}

func revokedIn(t *testing.T, der []byte, ca *x509.Certificate) map[string]bool {
	t.Helper()
	list, err := x509.ParseRevocationList(der)
	must(t, err)
	must(t, list.CheckSignatureFrom(ca))
	out := map[string]bool{}
	for _, e := range list.RevokedCertificateEntries {
		out[fmt.Sprintf("%x", e.SerialNumber)] = true
	}
	return out
}

// The command that takes a rotation back is cut short after it was recorded.
func TestARotationThatIsTakenBackIsTakenBackAfterACrash(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mutualTLS, false)
	s := scenario{start: everyone("a"), steps: then(all(rotate(renewer.RotateRequest{}), func(w *world) {
		w.with("ca rotate --cancel, killed", func(ctx context.Context, a *App) {
			one, wait, _ := a.rotations.of("a")
			one.CancelledAt = time.Now()
			must(w.t, a.recordRotation(ctx, one, wait))
		})
	})), svc: "a", cli: "a"}
	s.play(w)
	w.at("cancelled")
}

// The key is compromised while a host is off: what breaks is named first, and the
// host is gone on without. When it is back it gets the new root and certificate.
func TestACompromisedCAIsReplacedWhileAHostIsOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, strings.Replace(farClient, "hosts: [here, far]", "hosts: [here, far], per_host: true", 1), false)
	way := w.addFar()
	everyone("a")(w)
	w.passes()
	w.talk()
	way.shut.Store(true)
	request := renewer.RotateRequest{Issuer: "a", Kind: "rotate", Compromised: true}
	w.with("what breaks", func(ctx context.Context, a *App) {
		ask := request
		ask.Plan = true
		v, err := a.Rotate(ctx, ask, nil)
		must(t, err)
		if text := strings.Join(v.Breaks, "\n"); !slices.Equal(v.Without, []string{"far"}) || !strings.Contains(text, "far is excluded: its cli@far") || !strings.Contains(text, "does not manage") {
			t.Errorf("%+v", v)
		}
		if len(v.Plan) != 4 || v.Plan[1].Stage != "switch" || !strings.Contains(v.Plan[1].When, "at once") || v.Plan[2].Placements != 3 || v.Plan[2].Restarts != 1 {
			t.Errorf("%+v", v.Plan)
		}
		request.Without = v.Without
	})
	rotate(request)(w)
	w.without("far")
	if v := w.rotation(); v.Stage != "done" || v.TrustedNowhere != 0 || !slices.Equal(v.TrustedBy, []string{"cli@far"}) { // far has it
		t.Errorf("%+v", v)
	}
	w.holds("svc", "here", "b")
	w.holds("cli", "far", "a")
	for _, refused := range w.refusals() {
		if !strings.Contains(refused, "cli on far") {
			t.Error(refused)
		}
	}
	way.shut.Store(false)
	w.rocky = true
	w.passes()
	w.endsWith("cli", "b")
	w.endsWith("svc", "b")
	asked := len(w.refusals())
	w.ask("at the end")
	if refused := w.refusals(); len(refused) > asked {
		t.Errorf("%q", refused[asked:])
	}
}
