package daemon

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/rotation"
)

// refuses checks that a request is refused, and leaves everything as it was.
func refuses(w *world, r renewer.RotateRequest, want, hint string) {
	w.t.Helper()
	if r.Kind == "" {
		r.Kind = "rotate"
	}
	was := w.ls("state", "issuers", "a")
	w.with("a request to refuse", func(ctx context.Context, a *App) {
		_, err := a.Rotate(ctx, r, nil)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(renewer.Hint(err), hint) {
			w.t.Errorf("%+v: %v, hint %q", r, err, renewer.Hint(err))
		}
	})
	if now := w.ls("state", "issuers", "a"); strings.Join(now, " ") != strings.Join(was, " ") {
		w.t.Errorf("%+v: the files were %v and are %v", r, was, now)
	}
}

func TestARotationThatCannotBeginChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mutualTLS, false)
	testpki.WriteFile(t, w.in("password"), []byte("secret"), 0o600)
	w.want(w.local("a")+`, corp: {type: step-ca, url: "https://127.0.0.1:1", root_fingerprint: `+strings.Repeat("ab", 32)+`, provisioner: p, password_file: DIR/password}`, "issuer: a", "issuer: a")
	refuses(w, renewer.RotateRequest{Issuer: "corp"}, "is replaced at its server: it is of type step-ca", "renewer plan")
	refuses(w, renewer.RotateRequest{Issuer: "nobody"}, `no issuer "nobody"`, "")
	refuses(w, renewer.RotateRequest{Issuer: "a", Without: []string{"nowhere"}}, `no host "nowhere"`, "")
	refuses(w, renewer.RotateRequest{Issuer: "a", Key: "dsa-1024"}, "no key of type", "--key ecdsa-p256")
	refuses(w, renewer.RotateRequest{Issuer: "a", Kind: "import"}, "ca.next.pem", "")
	refuses(w, renewer.RotateRequest{Issuer: "a", Cancel: true}, "is not being replaced", "renewer ca show a")
	refuses(w, renewer.RotateRequest{Issuer: "a", DestroyOld: true}, "has no key of a CA that signed before", "renewer ca show a")
	must(t, os.WriteFile(w.in("state", "issuers", "a", "ca-key.pem"), testpki.KeyPEM(t, testpki.Key(t)), 0o600))
	refuses(w, renewer.RotateRequest{Issuer: "a"}, "does not belong to the certificate", "openssl")
}

// A CA that is signed anew has the same key: no answer to a key that is compromised.
func TestAReissueUnderWayIsNoRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mutualTLS, false)
	w.want(w.local("a"), "issuer: a", "issuer: a")
	w.passes()
	rotate(renewer.RotateRequest{Kind: "reissue"})(w)
	refuses(w, renewer.RotateRequest{Issuer: "a", Compromised: true}, "that has the same key", "renewer ca rotate a --cancel")
	refuses(w, renewer.RotateRequest{Issuer: "a", Now: true}, "that has the same key", "renewer ca rotate a --cancel")
}

// A plan of another request than the one under way is none; of the same one it has what
// is still ahead.
func TestThePlanOfARotationUnderWayIsWhatIsAhead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mutualTLS, false)
	w.want(w.local("a"), "issuer: a", "issuer: a")
	w.passes()
	rotate(renewer.RotateRequest{Keep: time.Hour})(w)
	refuses(w, renewer.RotateRequest{Issuer: "a", Kind: "reissue", Plan: true}, "is being replaced since", "renewer ca show a")
	refuses(w, renewer.RotateRequest{Issuer: "a", Key: renewer.Ed25519, Plan: true}, "is being replaced since", "renewer ca show a")
	stages := func() (out []string) {
		w.with("ca rotate --plan", func(ctx context.Context, a *App) {
			v, err := a.Rotate(ctx, renewer.RotateRequest{Issuer: "a", Kind: "rotate", Plan: true}, nil)
			must(t, err)
			for _, s := range v.Plan {
				out = append(out, s.Stage)
			}
		})
		return out
	}
	if got := strings.Join(stages(), " "); got != "add_root switch reissue keep drop_root" {
		t.Error(got)
	}
	w.passes()
	if got := strings.Join(stages(), " "); got != "keep drop_root" {
		t.Error(got)
	}
}

// A passphrase that opens neither key, or not the next one: nothing is switched, it is
// said, and goes on by itself when the files are right.
func TestARotationWaitsForThePassphrase(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mutualTLS, false)
	phrase := w.in("passphrase")
	testpki.WriteFile(t, phrase, []byte("right"), 0o600)
	cfg := local.Config{Name: "a", CertFile: w.in("state", "issuers", "a", "ca.pem"), KeyFile: w.in("state", "issuers", "a", "ca-key.pem"), PassphraseFile: phrase}
	ca, err := local.Create(cfg, local.CreateOptions{})
	must(t, err)
	w.cas["a"] = &testpki.CA{Cert: ca.Root(), Root: ca.Root()}
	w.want("a: {type: local, passphrase_file: DIR/passphrase}", "issuer: a", "issuer: a")
	w.passes()
	w.talk()
	testpki.WriteFile(t, phrase, []byte("wrong"), 0o600)
	refuses(w, renewer.RotateRequest{Issuer: "a"}, "the passphrase does not open the key", "passphrase_file")
	testpki.WriteFile(t, phrase, []byte("right"), 0o600)
	rotate(renewer.RotateRequest{})(w)
	key := w.in("state", "issuers", "a", "ca-key.next.pem")
	text, err := os.ReadFile(key)
	must(t, err)
	other := cfg
	other.CertFile, other.KeyFile, other.PassphraseFile = w.in("other.pem"), w.in("other-key.pem"), w.in("other-phrase")
	testpki.WriteFile(t, other.PassphraseFile, []byte("another"), 0o600)
	_, err = local.Create(other, local.CreateOptions{})
	must(t, err)
	must(t, os.Rename(other.KeyFile, key))
	w.passes()
	v := w.rotation()
	if v.Stage != "add_root" || !v.Blocked || !strings.Contains(strings.Join(v.Waiting, ";"), "ca-key.next.pem: the passphrase does not open the key") || v.Ends == "" {
		t.Errorf("%+v", v)
	}
	w.endsWith("svc", "a b")
	testpki.WriteFile(t, key, text, 0o600)
	w.passes()
	if v := w.rotation(); v.Stage != "done" {
		t.Errorf("%+v", v)
	}
	w.endsWith("svc", "b")
	if refused := w.refusals(); len(refused) > 0 {
		t.Errorf("%q", refused)
	}
}

// A CA that expires before its certificates would: it cannot sign them any more, so
// signing is switched before every host has the new root, and certificates wait for
// that one by one.
func TestACAThatExpiresBeforeItsCertificatesIsReplacedWhileAHostIsOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, strings.Replace(farClient, "hosts: [here, far]", "hosts: [here, far], per_host: true", 1), false)
	way := w.addFar()
	w.cas["a"] = writeCA(t, w.in("state", "issuers", "a"), testpki.NewWith(t, testpki.Options{CommonName: "a CA", NotAfter: time.Now().Add(61 * time.Minute)}))
	everyone("a")(w)
	w.passes()
	w.talk()
	w.cas["short"] = w.cas["a"]
	way.shut.Store(true)
	w.want(strings.Replace(w.local("a"), "a:", "a:", 1), "issuer: a, lifetime: 2h", "issuer: a")
	rotate(renewer.RotateRequest{})(w)
	w.without("far")
	v := w.rotation()
	if v.Stage != "reissue" || v.SwitchedAt.IsZero() || !strings.Contains(strings.Join(v.Waiting, ";"), "cli@far") {
		t.Errorf("%+v", v)
	}
	shows("svc", "short")(w) // far does not have the new root
	way.shut.Store(false)
	w.rocky = true
	w.passes()
	w.rocky = false
	if v := w.rotation(); v.Stage != "done" {
		t.Errorf("%+v", v)
	}
	w.endsWith("svc", "b")
	w.endsWith("cli", "b")
	if refused := w.refusals(); len(refused) > 0 {
		t.Errorf("%q", refused)
	}
}

// ca init and ca import over a CA in use are refused and lead to rotate.
func TestACAInUseIsNotOverwritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mutualTLS, false)
	everyone("a")(w)
	writeCA(t, w.in("elsewhere"), rootCA(t, "b"))
	_, err1 := CAInit(w.load(), "a")
	_, err2 := CAImport(w.load(), "a", w.in("elsewhere", "ca.pem"), w.in("elsewhere", "ca-key.pem"), nil)
	for _, err := range []error{err1, err2} {
		if err == nil || !strings.Contains(renewer.Hint(err), "renewer ca rotate a") {
			t.Errorf("%v, hint %q", err, renewer.Hint(err))
		}
	}
}

// A window that is closed for long: what waits for it is said and is no block; --now,
// given later too, and --compromised wait for no window.
func TestARotationKeepsToWindowsUnlessItIsHurried(t *testing.T) {
	for _, r := range []renewer.RotateRequest{{Now: true}, {Compromised: true}} {
		t.Run(fmt.Sprintf("compromised=%t", r.Compromised), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, mutualTLS, false)
			everyone("a")(w)
			w.passes()
			w.talk()
			w.want(w.local("a")+"}\nwindows: {w: {cron: \"0 3 29 2 *\", duration: 1m}", "issuer: a, window: w, override_before: 1m", "issuer: a")
			rotate(renewer.RotateRequest{})(w)
			for n := range 2 {
				w.pass(passNames[n])
			}
			v := w.rotation()
			if text := strings.Join(v.Waiting, ";"); v.Stage != "add_root" || v.Blocked || !strings.Contains(text, "svc@here") || !strings.Contains(text, "window") {
				t.Errorf("%+v", v)
			}
			shows("svc", "a")(w)
			rotate(r)(w)
			w.pass("one pass does it all")
			if v := w.rotation(); v.Stage != "done" || strings.Contains(v.Why, "compromised (before: requested by operator)") != r.Compromised {
				t.Errorf("%+v", v)
			}
			w.endsWith("svc", "b")
			w.endsWith("cli", "b")
			if refused := w.refusals(); len(refused) > 0 {
				t.Errorf("%q", refused)
			}
		})
	}
}

// limited are CAs that cannot sign what a fleet asks for.
func limited(w *world) map[string]struct {
	make func() *testpki.CA
	says string
} {
	far := time.Now().AddDate(5, 0, 0)
	type one = struct {
		make func() *testpki.CA
		says string
	}
	return map[string]one{
		"lifetime": {func() *testpki.CA {
			return testpki.NewWith(w.t, testpki.Options{CommonName: "short CA", NotAfter: time.Now().Add(10 * time.Minute)})
		}, "certificate svc: it would"},
		"names": {func() *testpki.CA {
			return testpki.NewWith(w.t, testpki.Options{CommonName: "narrow CA", NotAfter: far, Permitted: []string{"example.org"}})
		}, "certificate svc: "},
		"clients": {func() *testpki.CA {
			return testpki.NewWith(w.t, testpki.Options{CommonName: "server CA", NotAfter: far, Usages: testpki.ServerUsage})
		}, "the client certificate for the probe of svc"},
		"above it": {func() *testpki.CA {
			return testpki.NewWith(w.t, testpki.Options{CommonName: "old root", NotAfter: time.Now().Add(10 * time.Minute)}).Intermediate(w.t, testpki.Options{CommonName: "new CA", NotAfter: far})
		}, "certificate svc: it would"},
	}
}

// A next CA that cannot sign what the issuer is asked for is refused before anything is
// recorded: the entry, what is in its way, and a command.
func TestANextCAThatCannotSignTheFleetIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mutualTLS, false)
	everyone("a")(w)
	w.passes()
	refuses(w, renewer.RotateRequest{Issuer: "a", Lifetime: 10 * time.Minute}, "certificate svc: it would", "renewer ca rotate a makes")
	refuses(w, renewer.RotateRequest{Issuer: "a", Lifetime: 10 * time.Minute, Compromised: true}, "certificate svc: it would", "renewer ca rotate a makes")
	refuses(w, renewer.RotateRequest{Issuer: "a", Lifetime: 10 * time.Minute, Plan: true}, "certificate svc: it would", "renewer ca rotate a makes")
	refuses(w, renewer.RotateRequest{Issuer: "a", Key: "foo", Plan: true}, "no key of type", "--key ecdsa-p256")
	refuses(w, renewer.RotateRequest{Issuer: "a", Kind: "reissue", Lifetime: 2 * time.Minute}, "before the one that it has", "renewer ca reissue a")
	for name, c := range limited(w) {
		dir := w.in("elsewhere", name)
		writeCA(t, dir, c.make())
		was := w.ls("state", "issuers", "a")
		w.with("ca import --as-next", func(ctx context.Context, a *App) {
			err := CAImportNext(ctx, a, w.load(), "a", dir+"/ca.pem", dir+"/ca-key.pem", nil)
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(renewer.Hint(err), "renewer ca rotate a makes") {
				t.Errorf("%s: %v, hint %q", name, err, renewer.Hint(err))
			}
		})
		if now := w.ls("state", "issuers", "a"); strings.Join(now, " ") != strings.Join(was, " ") {
			t.Errorf("%s: the files were %v and are %v", name, was, now)
		}
	}
	// The fleet file of the daemon asks for more than the one that the command read.
	c := limited(w)["names"]
	writeCA(t, w.in("state", "issuers", "a", "x"), c.make())
	must(t, os.Rename(w.in("state", "issuers", "a", "x", "ca.pem"), w.in("state", "issuers", "a", "ca.next.pem")))
	must(t, os.Rename(w.in("state", "issuers", "a", "x", "ca-key.pem"), w.in("state", "issuers", "a", "ca-key.next.pem")))
	refuses(w, renewer.RotateRequest{Issuer: "a"}, c.says, "renewer ca rotate a --cancel removes it")
	w.with("ca import --as-next", func(ctx context.Context, a *App) {
		if _, err := a.Rotate(ctx, renewer.RotateRequest{Issuer: "a", Kind: "import"}, nil); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Error(err)
		}
	})
	if names := strings.Join(w.ls("state", "issuers", "a"), " "); strings.Contains(names, "next") {
		t.Error(names)
	}
	if v := w.rotation(); v.Stage != "" {
		t.Errorf("%+v", v)
	}
}

// switchedTo has a CA sign for issuer a as a version did that did not look whether it can.
func switchedTo(w *world, ca *testpki.CA) {
	w.t.Helper()
	w.cas["b"] = writeCA(w.t, w.in("elsewhere"), ca)
	must(w.t, os.Rename(w.in("elsewhere", "ca.pem"), w.in("state", "issuers", "a", "ca.next.pem")))
	must(w.t, os.Rename(w.in("elsewhere", "ca-key.pem"), w.in("state", "issuers", "a", "ca-key.next.pem")))
	w.with("a switch", func(ctx context.Context, a *App) {
		is, _ := a.parts.Load().fleet.Issuer("a")
		signing, err := local.Open(localConfig(is))
		must(w.t, err)
		next, err := local.OpenNext(localConfig(is))
		must(w.t, err)
		must(w.t, a.recordStart(ctx, rotation.Rotation{Issuer: "a", Kind: rotation.Imported, From: rotationCA(signing), To: rotationCA(next)}))
		must(w.t, local.Switch(localConfig(is), renewer.Fingerprint(ca.Cert.Raw)))
	})
}

// A CA signs that cannot sign all that is left: the rotation says so, and another next CA
// takes over. What stands under the first CA and under the second is all replaced.
func TestARotationWhoseCACannotSignGivesWayToAnother(t *testing.T) {
	for name, c := range map[string]struct {
		limit func(w *world) *testpki.CA
		next  func(*world)
	}{
		"made":        {narrow, rotate(renewer.RotateRequest{})},
		"compromised": {narrow, rotate(renewer.RotateRequest{Compromised: true})},
		"imported": {narrow, func(w *world) {
			was := w.cas["b"]
			asNext(func(w *world) *testpki.CA { return rootCA(w.t, "c") })(w)
			w.cas["b"], w.cas["c"] = was, w.cas["b"]
		}},
		"reissued": {func(w *world) *testpki.CA {
			return testpki.NewWith(w.t, testpki.Options{CommonName: "b CA", NotAfter: time.Now().Add(15 * time.Minute)})
		}, rotate(renewer.RotateRequest{Kind: "reissue"})},
		"going back": {narrow, func(w *world) {
			for from, to := range map[string]string{"ca.old-": "ca.pem", "ca-key.old-": "ca-key.pem"} {
				names, err := filepath.Glob(w.in("state", "issuers", "a", from+"*"))
				must(w.t, err)
				must(w.t, os.Rename(names[0], w.in("elsewhere", to)))
			}
			w.with("ca import --as-next", func(ctx context.Context, a *App) {
				must(w.t, CAImportNext(ctx, a, w.load(), "a", w.in("elsewhere", "ca.pem"), w.in("elsewhere", "ca-key.pem"), nil))
			})
			rotate(renewer.RotateRequest{Kind: "import"})(w)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, mutualTLS, false)
			everyone("a")(w)
			w.passes()
			w.talk()
			w.rocky = true // orders are refused
			switchedTo(w, c.limit(w))
			for n := range 3 {
				w.pass(passNames[n])
			}
			v := w.rotation()
			if v.Stage != "reissue" || !v.Blocked || !strings.Contains(strings.Join(v.Waiting, ";"), "cannot sign what is asked for: certificate svc") || !strings.Contains(v.Ends, "renewer ca rotate a makes") {
				t.Errorf("%+v", v)
			}
			shows("svc", "a")(w)
			c.next(w)
			w.passes()
			end := map[string]string{"going back": "a"}[name]
			if end == "" {
				end = "c"
			}
			w.endsWith("svc", end)
			w.endsWith("cli", end)
			shows("svc", end)(w)
			shows("cli", end)(w)
			w.at("done")
			if refused := w.refusals(); len(refused) > 0 {
				t.Errorf("%q", refused)
			}
		})
	}
}

// narrow may sign the client alone.
func narrow(w *world) *testpki.CA {
	return testpki.NewWith(w.t, testpki.Options{CommonName: "b CA", NotAfter: time.Now().AddDate(5, 0, 0), Permitted: []string{"example.org"}})
}

// The entries change while the roots are on their way, to what the next CA cannot sign:
// nothing is switched, and it can be taken back.
func TestASwitchIsNotMadeToACAThatTheEntriesHaveOutgrown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mutualTLS, false)
	everyone("a")(w)
	w.passes()
	w.talk()
	rotate(renewer.RotateRequest{Lifetime: 2 * time.Hour})(w)
	w.want(w.local("a"), "issuer: a", "issuer: a, lifetime: 3h")
	w.passes()
	v := w.rotation()
	if v.Stage != "add_root" || !v.Blocked || !strings.Contains(strings.Join(v.Waiting, ";"), "cannot sign yet: certificate cli: it would") || !strings.Contains(v.Ends, "renewer ca rotate a --cancel") {
		t.Errorf("%+v", v)
	}
	w.endsWith("svc", "a b")
	cancel(w)
	w.passes()
	w.at("cancelled")
	w.endsWith("svc", "a")
	if refused := w.refusals(); len(refused) > 0 {
		t.Errorf("%q", refused)
	}
}

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

// Of several that are waited for, the one that does not change by itself is named, with
// what to do.
func TestTheWayOnNamesWhatDoesNotChangeByItself(t *testing.T) {
	t.Parallel()
	r := rotation.Rotation{Issuer: "a", Stage: rotation.AddRoot}
	moving := rotation.Holder{Name: "cli@b", Certificate: "cli", Host: "b"}
	blocked := rotation.Holder{Name: "svc@c", Certificate: "svc", Host: "c", Blocked: true, Hint: "start it"}
	away := rotation.Holder{Name: "svc@d", Certificate: "svc", Host: "d", Away: true, Blocked: true}
	failing := rotation.Holder{Name: "cli@e", Certificate: "cli", Host: "e", Hint: "make room"}
	for want, list := range map[string][]rotation.Holder{
		"ends by itself when they have it":                                                                             {moving},
		"ends when cli@e is put right (make room); it is tried again by itself":                                        {moving, failing},
		"ends when svc@c is put right (start it); renewer renew svc tries at once; or renewer ca rotate a --without c": {moving, failing, blocked},
		"ends when d can be reached; or renewer ca rotate a --without d; or retired: true in the fleet file":           {moving, blocked, away},
	} {
		if got := endsText(r, rotation.Wait{For: list}); got != want {
			t.Errorf("%s\nnot: %s", got, want)
		}
	}
}

// Whatever is wrong with the files of its CAs: a rotation is shown, with the file and
// what to do; it is said once, and goes on when that is put right.
func TestARotationIsShownWhateverIsWrongWithItsFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mutualTLS, false)
	everyone("a")(w)
	w.passes()
	rotate(renewer.RotateRequest{})(w)
	w.rocky = true
	for _, c := range []struct{ file, text, says string }{
		{"ca.next.pem", "-----BEGIN CERTIFICATE-----\n", "ca.next.pem"},
		{"ca.next.pem", "", "ca.next.pem"},
		{"ca-key.next.pem", "", "its key is gone"},
		{"ca-key.next.pem", "-----BEGIN PRIVATE KEY-----\n", "ca-key.next.pem"},
		{"ca-key.pem", "-----BEGIN PRIVATE KEY-----\n", "ca-key.pem"},
		{"ca.pem", "-----BEGIN CERTIFICATE-----\n", "ca.pem"},
	} {
		file := w.in("state", "issuers", "a", c.file)
		was, err := os.ReadFile(file)
		must(t, err)
		must(t, os.Remove(file))
		if c.text != "" {
			testpki.WriteFile(t, file, []byte(c.text), 0o600)
		}
		if v := w.rotation(); v.Stage != "add_root" || !v.Blocked || len(v.Waiting) == 0 || !strings.Contains(v.Waiting[0], c.says) || v.Ends == "" {
			t.Errorf("%s %q: %+v", c.file, c.text, v)
		}
		if info, err := CAShow(w.load(), "a"); c.file != "ca.next.pem" && (err == nil || !strings.Contains(err.Error(), c.file)) {
			t.Errorf("%s %q: %+v, %v", c.file, c.text, info, err)
		}
		testpki.WriteFile(t, file, was, 0o600)
	}
	w.passes()
	w.at("done")
	w.endsWith("svc", "b")
}
