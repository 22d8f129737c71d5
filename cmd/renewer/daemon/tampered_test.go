package daemon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/renewer"
	"renewer/renewer/pki"
)

const webEntry = "  - {name: web, profile: files, issuer: ca, hosts: [here], dir: DIR/web, usages: [server], sans: [web.example.com], lifetime: 1h}\n"

// command opens the state, as each command does, and closes it again.
func (h *house) command(f func(a *App)) {
	h.t.Helper()
	a := h.open()
	f(a)
	must(h.t, a.Close())
}

// pass is one `run --once` that has to exit 0.
func (h *house) pass() {
	h.t.Helper()
	h.command(func(a *App) {
		res, err := a.RunOnce(context.Background(), nil)
		must(h.t, err)
		if res.Failed() {
			h.t.Fatalf("run --once exits 1: %+v", res.Rollouts)
		}
	})
}

func (h *house) renew(name string) {
	h.t.Helper()
	h.command(func(a *App) {
		res, err := a.Renew(context.Background(), renewer.RenewRequest{Names: []string{name}}, nil)
		must(h.t, err)
		if res.Failed() {
			h.t.Fatalf("renew exits 1: %+v", res.Rollouts)
		}
	})
}

func (h *house) rollback(name string) (err error) {
	h.t.Helper()
	h.command(func(a *App) {
		var res renewer.RunResult
		res, err = a.Rollback(context.Background(), name, nil)
		if err == nil && res.Failed() {
			err = errors.New(res.Rollouts[0].Error)
		}
	})
	return err
}

// differs returns what verify finds wrong; nil if nothing.
func (h *house) differs(name string) (problems []string) {
	h.t.Helper()
	h.command(func(a *App) {
		found, err := a.Verify(context.Background(), []string{name})
		must(h.t, err)
		for _, v := range found {
			if !v.OK {
				problems = append(problems, "differs")
			}
			problems = append(problems, v.Problems...)
		}
	})
	return problems
}

// valid checks that everything agrees that a certificate is right: the list,
// verify and the plan.
func (h *house) valid(name string, generation int) {
	h.t.Helper()
	if bad := h.differs(name); bad != nil {
		h.t.Errorf("verify: %q", bad)
	}
	h.command(func(a *App) {
		if row := a.row(h.t, name); row.Status != renewer.StatusValid || row.Generation != generation {
			h.t.Errorf("not valid with generation %d: %+v", generation, row)
		}
		steps, err := a.planned(context.Background())
		must(h.t, err)
		if len(steps) > 0 {
			h.t.Errorf("plan: %+v", steps)
		}
	})
}

// drifted checks that everything agrees that other files are in place than
// should be.
func (h *house) drifted(name string) {
	h.t.Helper()
	if h.differs(name) == nil {
		h.t.Errorf("verify finds nothing wrong with %s", name)
	}
	h.command(func(a *App) {
		if row := a.row(h.t, name); row.Status == renewer.StatusValid {
			h.t.Errorf("list calls it valid: %+v", row)
		}
		steps, err := a.planned(context.Background())
		must(h.t, err)
		if len(steps) == 0 {
			h.t.Error("the plan is empty")
		}
	})
}

// text reads a file through the name that a service uses.
func (h *house) text(parts ...string) string {
	h.t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{h.dir}, parts...)...))
	must(h.t, err)
	return string(text)
}

// add appends to a file, whatever its mode: somebody edits it by hand.
func (h *house) add(text []byte, parts ...string) {
	h.t.Helper()
	path, err := filepath.EvalSymlinks(filepath.Join(append([]string{h.dir}, parts...)...))
	must(h.t, err)
	must(h.t, os.Chmod(path, 0o600))
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0) // never empty, for who reads it meanwhile
	must(h.t, err)
	_, err = f.Write(text)
	must(h.t, errors.Join(err, f.Close()))
	must(h.t, os.Chmod(path, 0o444))
}

// rootsIn returns the common names of the roots in a ca file.
func (h *house) rootsIn(parts ...string) (names []string) {
	h.t.Helper()
	certs, err := pki.DecodeCertificates([]byte(h.text(parts...)))
	must(h.t, err)
	for _, c := range certs {
		names = append(names, c.Subject.CommonName)
	}
	slices.Sort(names)
	return names
}

// revisions returns the directories of a generation's revisions, newest last.
func (h *house) revisions(of string) []string {
	h.t.Helper()
	found, err := filepath.Glob(filepath.Join(h.dir, of, ".renewer", "[^.]*", "r*"))
	must(h.t, err)
	return found
}

func evil(t *testing.T) []byte {
	t.Helper()
	return rootCA(t, "evil").PEM()
}

// A root that somebody adds to a ca file that renewer wrote is out of it after
// the next pass, each time, without another certificate.
func TestARootAddedByHandIsGoneAfterTheNextPass(t *testing.T) {
	t.Parallel()
	h := newHouse(t, webEntry)
	h.pass()
	was := h.text("web", "ca.crt")
	for range 3 { // no backoff
		h.add(evil(t), "web", "ca.crt")
		h.drifted("web")
		h.pass()
		if h.text("web", "ca.crt") != was {
			t.Fatalf("the ca file has the roots of %q", h.rootsIn("web", "ca.crt"))
		}
		h.valid("web", 1)
	}
}

// A pass detects the root without an earlier check for drift.
func TestPassDetectsARootAddedByHand(t *testing.T) {
	t.Parallel()
	h := newHouse(t, webEntry)
	h.pass()
	was := h.text("web", "ca.crt")
	h.add(evil(t), "web", "ca.crt")
	h.pass()
	if h.text("web", "ca.crt") != was {
		t.Errorf("the ca file has the roots of %q", h.rootsIn("web", "ca.crt"))
	}
	h.valid("web", 1)
}

// A rollback puts generation 1 back: its chain from the inventory, its key, and
// the roots of today, whatever was done to the files of it.
func TestARollbackNeverRestoresTamperedFiles(t *testing.T) {
	t.Parallel()
	for name, tamper := range map[string]struct {
		file  string
		later bool // after the renewal, in the revision that is the way back
	}{
		"the ca file":                          {"ca.crt", false},
		"the certificate file":                 {"tls.crt", false},
		"the ca file when superseded":          {"ca.crt", true},
		"the certificate file when superseded": {"tls.crt", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, webEntry)
			h.pass()
			ca, crt := h.text("web", "ca.crt"), h.text("web", "tls.crt")
			first := h.revisions("web")
			if !tamper.later {
				h.add(evil(t), "web", tamper.file)
				h.drifted("web")
			}
			h.renew("web")
			if tamper.later {
				rel, err := filepath.Rel(h.dir, first[0])
				must(t, err)
				h.add(evil(t), rel, tamper.file)
			}
			must(t, h.rollback("web"))
			if now := h.text("web", "ca.crt"); now != ca {
				t.Errorf("the ca file has the roots of %q", h.rootsIn("web", "ca.crt"))
			}
			if now := h.text("web", "tls.crt"); now != crt {
				t.Error("the certificate file is not that of generation 1")
			}
			h.valid("web", 1)
			h.pass()
			h.valid("web", 1)
		})
	}
}

// After a rollback the files are compared as they are after any placement.
func TestVerifyComparesRootsAfterARollback(t *testing.T) {
	t.Parallel()
	h := newHouse(t, webEntry)
	h.pass()
	h.renew("web")
	must(t, h.rollback("web"))
	h.valid("web", 1)
	h.add(evil(t), "web", "ca.crt")
	h.drifted("web")
	h.pass()
	if roots := h.rootsIn("web", "ca.crt"); len(roots) != 1 {
		t.Errorf("the ca file has the roots of %q", roots)
	}
	h.valid("web", 1)
}

// What was put back after a failed activation is compared too.
func TestVerifyComparesRootsAfterAFailedRenewal(t *testing.T) {
	t.Parallel()
	h := newHouse(t, strings.Replace(webEntry, "lifetime", "activate: {command: [/usr/bin/test, '!', -e, DIR/broken]}, lifetime", 1))
	h.pass()
	must(t, os.WriteFile(filepath.Join(h.dir, "broken"), nil, 0o600))
	h.command(func(a *App) {
		res, err := a.Renew(context.Background(), renewer.RenewRequest{Names: []string{"web"}}, nil)
		must(t, err)
		if !res.Failed() {
			t.Fatalf("renew exits 0: %+v", res)
		}
	})
	h.add(evil(t), "web", "ca.crt")
	if h.differs("web") == nil {
		t.Error("verify finds nothing wrong")
	}
}

// Foreign bytes that a failed activation put back are looked at once in a pass, which
// ends and says what is blocked.
func TestAPassEndsWhereForeignBytesWerePutBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t, strings.Replace(webEntry, "lifetime", "activate: {command: [/usr/bin/test, '!', -e, DIR/broken]}, lifetime", 1))
	h.pass()
	h.add(evil(t), "web", "ca.crt")
	broken := filepath.Join(h.dir, "broken")
	must(t, os.WriteFile(broken, nil, 0o600))
	for _, mended := range []bool{false, true} {
		if mended {
			must(t, os.Remove(broken))
		}
		h.command(func(a *App) {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if !mended {
				_, err := a.Renew(ctx, renewer.RenewRequest{Names: []string{"web"}}, nil)
				must(t, err)
			}
			res, err := a.RunOnce(ctx, nil)
			must(t, err)
			if !res.Failed() {
				t.Errorf("run --once exits 0: %+v", res)
			}
		})
	}
}

// A rollback takes today's roots, not those of the time of its generation.
func TestARollbackTakesTheRootsOfToday(t *testing.T) {
	t.Parallel()
	h := newHouse(t, webEntry)
	writeCA(t, filepath.Join(h.dir, "other"), rootCA(t, "other"))
	h.pass()
	h.renew("web")
	text := strings.Replace(h.text("renewer.yaml"), "issuers: {", "issuers: {other: {type: local, ca_cert: DIR/other/ca.pem, ca_key: DIR/other/ca-key.pem}, ", 1)
	text = strings.Replace(text, "lifetime", "trust: [ca, other], lifetime", 1)
	must(t, os.WriteFile(h.file, []byte(strings.ReplaceAll(text, "DIR", h.dir)), 0o600))
	h.pass()
	want := h.rootsIn("web", "ca.crt")
	if len(want) != 2 {
		t.Fatalf("roots %q", want)
	}
	must(t, h.rollback("web"))
	if now := h.rootsIn("web", "ca.crt"); !slices.Equal(now, want) {
		t.Errorf("roots %q, not %q", now, want)
	}
	h.valid("web", 1)
}

// Without its key on the host a generation cannot come back: that is refused
// with the reason, and nothing changes.
func TestARollbackWithoutItsKeyIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t, webEntry)
	h.pass()
	first := h.revisions("web")
	h.renew("web")
	was := h.text("web", "tls.crt")
	for _, dir := range first {
		must(t, os.RemoveAll(dir))
	}
	if err := h.rollback("web"); err == nil || !strings.Contains(err.Error(), "key") {
		t.Errorf("the error %v does not say that the key is gone", err)
	}
	if now := h.text("web", "tls.crt"); now != was {
		t.Error("other files are in place")
	}
	h.pass()
	h.valid("web", 2)
}

// A key of somebody else's in the way back is not the key of the generation.
func TestARollbackDoesNotTakeAnotherKey(t *testing.T) {
	t.Parallel()
	h := newHouse(t, webEntry)
	h.pass()
	first := h.revisions("web")
	h.renew("web")
	key := filepath.Join(first[0], "tls.key")
	must(t, os.Chmod(key, 0o600))
	must(t, os.WriteFile(key, testpki.KeyPEM(t, testpki.Key(t)), 0o600))
	was := h.text("web", "tls.crt")
	if err := h.rollback("web"); err == nil {
		t.Error("rolled back to a pair that does not match")
	}
	if now := h.text("web", "tls.crt"); now != was {
		t.Error("other files are in place")
	}
}
