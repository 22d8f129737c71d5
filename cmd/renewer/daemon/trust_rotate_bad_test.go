package daemon

import (
	"context"
	"fmt"
	"os"
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
	refuses(w, renewer.RotateRequest{Issuer: "absent"}, `no issuer "absent"`, "")
	refuses(w, renewer.RotateRequest{Issuer: "a", Without: []string{"nowhere"}}, `no host "nowhere"`, "")
	refuses(w, renewer.RotateRequest{Issuer: "a", Key: "dsa-1024"}, "no key of type", "--key ecdsa-p256")
	refuses(w, renewer.RotateRequest{Issuer: "a", Kind: "import"}, "ca.next.pem", "")
	refuses(w, renewer.RotateRequest{Issuer: "a", Cancel: true}, "is not being replaced", "renewer ca show a")
	refuses(w, renewer.RotateRequest{Issuer: "a", DestroyOld: true}, "has no key of a former CA", "renewer ca show a")
	must(t, os.WriteFile(w.in("state", "issuers", "a", "ca-key.pem"), testpki.KeyPEM(t, testpki.Key(t)), 0o600))
	refuses(w, renewer.RotateRequest{Issuer: "a"}, "does not belong to the certificate", "openssl")
}

// A reissued CA has the same key, so a reissue does not replace a compromised key.
func TestAReissueUnderWayIsNoRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mutualTLS, false)
	w.want(w.local("a"), "issuer: a", "issuer: a")
	w.passes()
	rotate(renewer.RotateRequest{Kind: "reissue"})(w)
	refuses(w, renewer.RotateRequest{Issuer: "a", Compromised: true}, "that has the same key", "renewer ca rotate a --cancel")
	refuses(w, renewer.RotateRequest{Issuer: "a", Now: true}, "that has the same key", "renewer ca rotate a --cancel")
}

// plan is what ca rotate --plan says of issuer a.
func (w *world) plan(r renewer.RotateRequest) (steps []renewer.RotationStep) {
	w.t.Helper()
	if r.Issuer, r.Plan = "a", true; r.Kind == "" {
		r.Kind = "rotate"
	}
	w.with("ca rotate --plan", func(ctx context.Context, a *App) {
		v, err := a.Rotate(ctx, r, nil)
		must(w.t, err)
		steps = v.Plan
	})
	return steps
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
		for _, s := range w.plan(renewer.RotateRequest{}) {
			out = append(out, s.Stage)
		}
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
	refuses(w, renewer.RotateRequest{Issuer: "a"}, "the passphrase is wrong", "passphrase_file")
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
	w.rocky = true // a run says that it is blocked
	w.passes()
	w.rocky = false
	v := w.rotation()
	if v.Stage != "add_root" || !v.Blocked || !strings.Contains(strings.Join(v.Waiting, ";"), "ca-key.next.pem: the passphrase is wrong") || v.Ends == "" {
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
		"ends by itself when they have it":                                                                         {moving},
		"ends when cli@e is fixed (make room); it is retried automatically":                                        {moving, failing},
		"ends when svc@c is fixed (start it); renewer renew svc tries at once; or renewer ca rotate a --without c": {moving, failing, blocked},
		"ends when d can be reached; or renewer ca rotate a --without d; or retired: true in the fleet file":       {moving, blocked, away},
	} {
		if got := endsText(r, rotation.Wait{For: list}); got != want {
			t.Errorf("%s\nnot: %s", got, want)
		}
	}
}

// With any fault in the files of its CAs a rotation is shown, with the file and a
// fix. The fault is reported once, and the rotation continues after the repair.
func TestRotationIsShownWithFaultyFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mutualTLS, false)
	everyone("a")(w)
	w.passes()
	rotate(renewer.RotateRequest{})(w)
	w.rocky = true
	for _, c := range []struct{ file, text, says string }{
		{"ca.next.pem", "-----BEGIN CERTIFICATE-----\n", "ca.next.pem"},
		{"ca.next.pem", "", "ca.next.pem"},
		{"ca-key.next.pem", "", "its key is missing"},
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
		if v, err := CAShow(w.load(), "a"); err != nil || c.file != "ca.next.pem" && !strings.Contains(v.Fault, c.file) {
			t.Errorf("%s %q: %+v, %v", c.file, c.text, v, err)
		}
		testpki.WriteFile(t, file, was, 0o600)
	}
	w.passes()
	w.at("done")
	w.endsWith("svc", "b")
}
