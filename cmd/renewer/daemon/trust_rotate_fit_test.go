package daemon

import (
	"context"
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
	refuses(w, renewer.RotateRequest{Issuer: "a", Kind: "reissue", Lifetime: 2 * time.Minute}, "before the current one", "renewer ca reissue a")
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
	w.rocky = true // a run says that it is blocked
	w.passes()
	w.rocky = false
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
