package daemon

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/renewer"
)

// What a rotation replaced and dropped is not gone back to: its root would come back
// into every ca file.
func TestARollbackToADroppedCAIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		request renewer.RotateRequest
		why     string
	}{
		"rotated":            {renewer.RotateRequest{}, "which issuer a has replaced and which no ca file has any more"},
		"compromised":        {renewer.RotateRequest{Compromised: true}, "was revoked, because the key of its CA is compromised"},
		"its key is removed": {renewer.RotateRequest{DestroyOld: true}, "which issuer a has replaced"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, bothInOne, false)
			everyone("a")(w)
			w.passes()
			if c.request.DestroyOld {
				rotate(renewer.RotateRequest{})(w)
				w.passes()
			}
			rotate(c.request)(w)
			w.passes()
			w.at("done")
			for _, name := range []string{"svc", "cli"} {
				w.with("rollback "+name, func(ctx context.Context, a *App) {
					_, err := a.Rollback(ctx, name, nil)
					if err == nil || !strings.Contains(err.Error(), c.why) || !strings.Contains(renewer.Hint(err), "renewer renew "+name) {
						t.Errorf("%v, hint %q", err, renewer.Hint(err))
					}
				})
			}
			w.passes()
			w.endsWith("svc", "b")
			w.endsWith("cli", "b")
			rotate(renewer.RotateRequest{})(w) // and the next one waits for nothing
			w.passes()
			w.at("done")
			w.endsWith("svc", "c")
		})
	}
}

// As long as the root before is in the ca files, a rollback needs nothing brought back.
func TestARollbackWhileTheOldRootIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bothInOne, false)
	everyone("a")(w)
	w.passes()
	w.talk()
	rotate(renewer.RotateRequest{Keep: time.Hour})(w)
	w.passes()
	w.at("keep")
	rollback("svc")(w)
	shows("svc", "a")(w)
	w.endsWith("cli", "a b")
	if refused := w.refusals(); len(refused) > 0 {
		t.Errorf("%q", refused)
	}
}

// What an operator rolled back keeps its certificate until its renew time, and a rotation
// waits for it: it says so beforehand and while it does, with the commands that end it.
func TestARotationNamesWhatWasRolledBack(t *testing.T) {
	for name, c := range map[string]struct {
		during bool
		end    func(*world)
	}{
		"before, then renewed":         {end: renew("svc")},
		"before, then --now":           {end: rotate(renewer.RotateRequest{Now: true})},
		"during the rotation, --now":   {during: true, end: rotate(renewer.RotateRequest{Now: true})},
		"during the rotation, renewed": {during: true, end: renew("svc")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, mutualTLS, false)
			everyone("a")(w)
			w.passes()
			w.talk()
			renew("svc")(w)
			if c.during {
				rotate(renewer.RotateRequest{})(w)
			}
			rollback("svc")(w)
			w.with("ca rotate --plan", func(ctx context.Context, a *App) {
				v, err := a.Rotate(ctx, renewer.RotateRequest{Issuer: "a", Kind: "rotate", Plan: true}, nil)
				must(t, err)
				if text := strings.Join(v.Warnings, "; "); !strings.Contains(text, "svc@here was rolled back, and keeps its certificate until 20") || !strings.Contains(text, "renewer renew svc") {
					t.Errorf("the plan says %q", text)
				}
			})
			if !c.during {
				rotate(renewer.RotateRequest{})(w)
			}
			w.passes()
			w.at("reissue")
			v := w.rotation()
			if text := strings.Join(v.Waiting, "; "); !strings.Contains(text, "svc@here presents a certificate under CN=a CA: it was rolled back, and is renewed at 20") ||
				!strings.Contains(v.Ends, "renewer renew svc") || !strings.Contains(v.Ends, "renewer ca rotate a --now") || v.Blocked {
				t.Errorf("it waits for %q, which %s", text, v.Ends)
			}
			c.end(w)
			w.passes()
			w.at("done")
			w.endsWith("svc", "b")
			if refused := w.refusals(); len(refused) > 0 {
				t.Errorf("%q", refused)
			}
		})
	}
}

// A backup of a rotation that is restored when another CA signs than any of its own: what
// is left of it is its old root, and it ends by itself.
func TestARotationOfARestoredBackupEndsAfterTheNextOne(t *testing.T) {
	for name, keep := range map[string]time.Duration{"at keep": time.Hour, "at its beginning": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, mutualTLS, false)
			everyone("a")(w)
			w.passes()
			w.talk()
			rotate(renewer.RotateRequest{Keep: keep})(w)
			if keep > 0 {
				w.passes()
				w.at("keep")
			}
			file := w.backup()
			w.passes()
			over := func() { // as if it were an hour later
				w.with("an hour later", func(ctx context.Context, a *App) {
					if one, wait, _ := a.rotations.of("a"); one.Keep > 0 {
						one.Keep = time.Nanosecond
						must(t, a.recordRotation(ctx, one, wait))
					}
				})
				w.passes()
			}
			over()
			rotate(renewer.RotateRequest{})(w)
			w.passes()
			w.at("done")
			w.restore(file)
			w.passes()
			if keep > 0 {
				w.at("keep")
				refuses(w, renewer.RotateRequest{Issuer: "a", Cancel: true}, "signs already", "renewer ca rotate a")
			}
			over()
			w.at("done")
			w.endsWith("svc", "c")
			w.endsWith("cli", "c")
			if refused := w.refusals(); len(refused) > 0 {
				t.Errorf("%q", refused)
			}
		})
	}
}

// A new entry that never got a certificate, because the CA that signs cannot sign it or
// its directory cannot be written, has nothing in place: a rotation does not wait for it.
func TestARotationDoesNotWaitForWhatWasNeverPlaced(t *testing.T) {
	for name, c := range map[string]struct {
		entry string
		ends  bool // the next CA can sign it
	}{
		"the CA cannot sign it":        {"{name: new, issuer: a, usages: [server, client], common_name: other.example.com, sans: [other.example.com], default_sans: false, dir: DIR/new}", true},
		"its directory cannot be used": {"{name: new, issuer: a, usages: [client], default_sans: false, dir: DIR/open}", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, mutualTLS, false)
			must(t, os.Mkdir(w.in("open"), 0o700))
			must(t, os.Chmod(w.in("open"), 0o777))
			w.cas["a"] = writeCA(t, w.in("state", "issuers", "a"), testpki.NewWith(t, testpki.Options{
				CommonName: "a CA", NotAfter: time.Now().AddDate(9, 0, 0), Permitted: []string{"localhost", "here"},
			}))
			everyone("a")(w)
			w.passes()
			w.talk()
			w.entries += "  - " + c.entry + "\n"
			everyone("a")(w)
			w.rocky = true
			w.pass("a pass that cannot place the new one")
			if row := w.rows()["new"]; row.Hosts[0].Generation != 0 {
				t.Fatalf("%+v", row)
			}
			rotate(renewer.RotateRequest{})(w)
			for _, pass := range passNames[:3] {
				w.pass(pass)
			}
			if v := w.rotation(); v.SwitchedAt.IsZero() || (v.Stage == "done") != c.ends {
				t.Errorf("%+v", v) // what was issued and not placed is waited for until it expires at most
			}
			if row := w.rows()["new"]; (row.Hosts[0].Generation > 0) != c.ends {
				t.Errorf("%+v", row)
			}
			if c.ends {
				w.endsWith("svc", "b")
			}
			if refused := w.refusals(); len(refused) > 0 {
				t.Errorf("%q", refused)
			}
		})
	}
}
