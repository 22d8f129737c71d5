package daemon

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/issuers/local"
	"renewer/renewer"
)

// belowTop is a fleet under a, which is an intermediate below the issuer top.
func belowTop(w *world) *testpki.CA {
	w.t.Helper()
	top := rootCA(w.t, "top")
	writeCA(w.t, w.in("state", "issuers", "top"), top)
	w.cas["a"] = writeCA(w.t, w.in("state", "issuers", "a"), sub(w, top, "a CA"))
	w.want("a: {type: local}, top: {type: local}", "issuer: a", "issuer: a")
	return top
}

func sub(w *world, top *testpki.CA, name string) *testpki.CA {
	return top.Intermediate(w.t, testpki.Options{CommonName: name, NotAfter: time.Now().AddDate(5, 0, 0)})
}

// takeNext takes a CA as the next one of issuer a, and asks for more about that.
func takeNext(w *world, ca *testpki.CA, more renewer.RotateRequest) {
	w.t.Helper()
	writeCA(w.t, w.in("elsewhere"), ca)
	w.with("ca import --as-next", func(ctx context.Context, a *App) {
		must(w.t, CAImportNext(ctx, a, w.load(), "a", w.in("elsewhere", "ca.pem"), w.in("elsewhere", "ca-key.pem"), nil))
	})
	rotate(renewer.RotateRequest{Kind: "import"})(w)
	if more.Now || more.Compromised {
		rotate(more)(w)
	}
}

// A CA that others of the fleet are below: its replacement is refused, whatever is asked
// for, with the name of those and what to do. When nothing is below it, it is not.
func TestACAThatOthersAreBelowIsNotReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mutualTLS, false)
	belowTop(w)
	w.passes()
	w.talk()
	for _, r := range []renewer.RotateRequest{{}, {Compromised: true}, {Now: true}, {Plan: true}, {Plan: true, Compromised: true}, {Kind: "reissue"}, {Keep: time.Hour}, {Without: []string{"here"}}} {
		r.Issuer = "top"
		refuses(w, r, "the CA of a is below it", "renewer ca import a --as-next")
	}
	if names := w.ls("state", "issuers", "top"); len(names) > 3 {
		t.Errorf("%v", names)
	}
	takeNext(w, sub(w, rootCA(t, "other"), "a CA 2"), renewer.RotateRequest{})
	refuses(w, renewer.RotateRequest{Issuer: "top"}, "the CA of a is below it", "renewer ca import a --as-next") // it signs still
	w.passes()
	w.at("done")
	w.with("ca rotate top", func(ctx context.Context, a *App) {
		_, err := a.Rotate(ctx, renewer.RotateRequest{Issuer: "top", Kind: "rotate", Compromised: true}, nil)
		must(t, err)
	})
	w.passes()
	if refused := w.refusals(); len(refused) > 0 {
		t.Errorf("%q", refused)
	}
}

// A CA that comes below another one while that is replaced: it is not over, not said to
// be trusted nowhere, and its key is kept, as long as anything leads to it.
func TestARotationIsNotOverWhileAnotherIssuerLeadsToTheRoot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mutualTLS, false)
	top := rootCA(t, "top")
	writeCA(t, w.in("state", "issuers", "top"), top)
	w.cas["a"] = writeCA(t, w.in("state", "issuers", "a"), sub(w, top, "a CA"))
	w.want("a: {type: local}", "issuer: a", "issuer: a")
	w.passes()
	w.want("top: {type: local}, b: {type: local}", "issuer: b", "issuer: b")
	_, err := local.Create(local.Config{Name: "b", CertFile: w.in("state", "issuers", "b", "ca.pem"), KeyFile: w.in("state", "issuers", "b", "ca-key.pem")}, local.CreateOptions{})
	must(t, err)
	w.with("ca rotate top", func(ctx context.Context, a *App) { // before the entries follow
		_, err := a.Rotate(ctx, renewer.RotateRequest{Issuer: "top", Kind: "rotate", Compromised: true}, nil)
		must(t, err)
		_, err = a.stepRotations(ctx)
		must(t, err)
		if v := a.rotationView("top"); v.Stage != "drop_root" || v.TrustedNowhere > 0 || len(v.Waiting) == 0 {
			t.Errorf("%+v", v)
		}
	})
	refuses(w, renewer.RotateRequest{Issuer: "top", DestroyOld: true}, "its old key cannot be removed before the rotation is complete", "--wait")
	w.passes()
	w.with("its end", func(_ context.Context, a *App) {
		if v := a.rotationView("top"); v.Stage != "done" || v.TrustedNowhere <= 0 {
			t.Errorf("%+v", v)
		}
	})
}

// A rotation to another intermediate under the same root reissues the certificates of
// the old one, at once if its key is compromised. They are then on its last CRL. The
// old key is not removed before that, and the text about the root is correct.
func TestAnIntermediateUnderTheSameRootIsReplacedForGood(t *testing.T) {
	for name, more := range map[string]renewer.RotateRequest{"rotated": {}, "now": {Now: true}, "compromised": {Compromised: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, mutualTLS, false)
			top := belowTop(w)
			w.passes()
			w.talk()
			serials := map[string]bool{}
			for _, row := range w.rows() {
				serials[row.Serial] = true
			}
			takeNext(w, sub(w, top, "a CA 2"), more)
			w.with("the switch", func(ctx context.Context, a *App) {
				_, err := a.stepRotations(ctx)
				must(t, err)
				if v := a.rotationView("a"); v.Stage != "reissue" || len(v.Waiting) == 0 {
					t.Errorf("%+v", v)
				}
			})
			refuses(w, renewer.RotateRequest{Issuer: "a", DestroyOld: true}, "its old key cannot be removed before the rotation is complete", "--wait")
			w.passes()
			v := w.rotation()
			if v.Stage != "done" || v.TrustedNowhere > 0 {
				t.Errorf("%+v", v)
			}
			for _, row := range w.rows() {
				if serials[row.Serial] {
					t.Errorf("%s was not reissued", row.Name)
				}
			}
			if more.Compromised {
				w.with("the last CRL", func(ctx context.Context, a *App) {
					last, err := a.crl(ctx, "a", v.From.Fingerprint)
					must(t, err)
					listed := revokedIn(t, last, w.cas["a"].Cert)
					for serial := range serials {
						if !listed[serial] {
							t.Errorf("%s is not on the last CRL: %v", serial, listed)
						}
					}
					events, err := a.Events(ctx, renewer.EventFilter{})
					must(t, err)
					if end := events[len(events)-1].Message; !strings.Contains(end, "trusted still") || strings.Contains(end, "nowhere") {
						t.Errorf("%s", end)
					}
				})
			}
			rotate(renewer.RotateRequest{DestroyOld: true})(w)
			if refused := w.refusals(); len(refused) > 0 {
				t.Errorf("%q", refused)
			}
		})
	}
}

// A reissued intermediate has the same key and name: no certificate is reissued.
func TestReissuedIntermediateIssuesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mutualTLS, false)
	top := belowTop(w)
	w.passes()
	before := w.rows()
	signed := top.Intermediate(t, testpki.Options{CommonName: "a CA", NotAfter: time.Now().AddDate(6, 0, 0), Key: w.cas["a"].Key})
	takeNext(w, signed, renewer.RotateRequest{})
	w.passes()
	if v := w.rotation(); v.Stage != "done" {
		t.Errorf("%+v", v)
	}
	for i, row := range w.rows() {
		if row.Serial != before[i].Serial {
			t.Errorf("%s was reissued", row.Name)
		}
	}
}

// A rotation that its CAs block: a run says so, exits with 1, and it can be taken back
// without the passphrase that is missing.
func TestARunSaysThatARotationIsBlockedAndItCanBeTakenBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mutualTLS, false)
	phrase := w.in("passphrase")
	testpki.WriteFile(t, phrase, []byte("right"), 0o600)
	ca, err := local.Create(local.Config{Name: "a", CertFile: w.in("state", "issuers", "a", "ca.pem"), KeyFile: w.in("state", "issuers", "a", "ca-key.pem"), PassphraseFile: phrase}, local.CreateOptions{})
	must(t, err)
	w.cas["a"] = &testpki.CA{Cert: ca.Root(), Root: ca.Root()}
	w.want("a: {type: local, passphrase_file: DIR/passphrase}", "issuer: a", "issuer: a")
	w.passes()
	rotate(renewer.RotateRequest{})(w)
	must(t, os.WriteFile(phrase, []byte("wrong"), 0o600))
	w.with("run --once", func(ctx context.Context, a *App) {
		res, err := a.RunOnce(ctx, nil)
		must(t, err)
		if !res.Failed() || len(res.Blocked) != 1 || !strings.Contains(strings.Join(res.Blocked[0].Waiting, ""), "passphrase") {
			t.Errorf("%+v", res)
		}
	})
	w.rocky = true
	rotate(renewer.RotateRequest{Cancel: true})(w)
	must(t, os.WriteFile(phrase, []byte("right"), 0o600))
	w.passes()
	if v := w.rotation(); v.Stage != "cancelled" {
		t.Errorf("%+v", v)
	}
	w.endsWith("svc", "a")
}
