package hosts

import (
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"renewer/internal/testpki"
	"renewer/renewer"
)

func TestFirstPlacement(t *testing.T) { overEach(t, firstPlacement) }

func firstPlacement(t *testing.T, b *bench) {
	p := placement()
	h := b.host()
	st, err := h.Stage(t.Context(), p, b.content(t, p, b.old))
	must(t, err)
	equal(t, "previous", st.Previous, "")
	equal(t, "live", st.Live, false)
	equalSlices(t, "before the flip", b.tree(t, dir), []string{".renewer"})

	must(t, h.Flip(t.Context(), p, st.Revision))
	equal(t, "served", b.served(p), print(b.old))
	equalSlices(t, "directory", b.tree(t, dir), []string{
		".renewer",
		"ca.pem@.renewer/docker@host-a/current/ca.pem",
		"server-cert.pem@.renewer/docker@host-a/current/server-cert.pem",
		"server-key.pem@.renewer/docker@host-a/current/server-key.pem",
	})
	equalSlices(t, "revisions", b.tree(t, dir, ".renewer", p.Certificate), []string{"current@" + st.Revision, st.Revision})
	for _, way := range []string{dir, dir + "/.renewer", dir + "/.renewer/" + p.Certificate, dir + "/.renewer/" + p.Certificate + "/" + st.Revision} {
		info, err := os.Stat(b.path(way))
		must(t, err)
		equal(t, "mode of "+way, info.Mode().Perm(), 0o755)
	}
	info, err := os.Stat(b.path(dir, "server-key.pem"))
	must(t, err)
	equal(t, "mode of the key", info.Mode().Perm(), 0o400)

	got, err := h.Inspect(t.Context(), p)
	must(t, err)
	equal(t, "revision", got.Revision, st.Revision)
	equal(t, "leaf", got.Leaf, print(b.old))
	if !got.Trusts.Same(renewer.RootSetOf([]*x509.Certificate{b.ca.Root})) {
		t.Errorf("roots %v", got.Trusts)
	}
	equal(t, "not after", got.NotAfter, b.old.Cert.NotAfter.UTC())
	equalSlices(t, "problems", got.Texts(), nil)
}

func TestStageAgainFindsWhatIsThere(t *testing.T) { overEach(t, stageAgainFindsWhatIsThere) }

func stageAgainFindsWhatIsThere(t *testing.T, b *bench) {
	p := placement()
	h := b.host()
	first := b.place(t, h, p, b.old)
	again, err := h.Stage(t.Context(), p, b.content(t, p, b.old))
	must(t, err)
	equal(t, "staged", again, renewer.Staged{Revision: first.Revision, Previous: first.Revision, Live: true})

	second, err := h.Stage(t.Context(), p, b.content(t, p, b.new))
	must(t, err)
	equal(t, "previous", second.Previous, first.Revision)
	if !strings.HasPrefix(second.Revision, "r2-") {
		t.Errorf("second revision is %s", second.Revision)
	}
	third, err := h.Stage(t.Context(), p, b.content(t, p, b.new))
	must(t, err)
	equal(t, "staged twice", third, second)
	equal(t, "served", b.served(p), print(b.old))
}

func TestOtherModesMakeAnotherRevision(t *testing.T) { overEach(t, otherModesMakeAnotherRevision) }

func otherModesMakeAnotherRevision(t *testing.T, b *bench) {
	p := placement()
	h := b.host()
	first := b.place(t, h, p, b.old)
	p.Modes[renewer.FileCA] = 0o644
	second := b.place(t, h, p, b.old)
	if second.Revision == first.Revision {
		t.Errorf("both are %s", first.Revision)
	}
	got, err := h.Inspect(t.Context(), p)
	must(t, err)
	equalSlices(t, "problems", got.Texts(), nil)
}

func TestRestoreAndPrune(t *testing.T) { overEach(t, restoreAndPrune) }

func restoreAndPrune(t *testing.T, b *bench) {
	p := placement()
	h := b.host()
	first, second := b.place(t, h, p, b.old), b.place(t, h, p, b.new)
	equal(t, "served", b.served(p), print(b.new))
	must(t, h.Flip(t.Context(), p, first.Revision))
	equal(t, "served after restore", b.served(p), print(b.old))

	rev, ok, err := h.Locate(t.Context(), p, print(b.new))
	must(t, err)
	if !ok || rev != second.Revision {
		t.Errorf("located %q, %v", rev, ok)
	}
	key, err := h.ReadKey(t.Context(), p, rev)
	must(t, err)
	equal(t, "key", string(key), string(b.new.KeyPEM))

	must(t, h.Prune(t.Context(), p, []string{second.Revision}))
	equal(t, "revisions", len(b.tree(t, dir, ".renewer", p.Certificate)), 3)
	must(t, h.Prune(t.Context(), p, nil))
	equalSlices(t, "the live one stays", b.tree(t, dir, ".renewer", p.Certificate), []string{"current@" + first.Revision, first.Revision})
	_, ok, err = h.Locate(t.Context(), p, print(b.new))
	must(t, err)
	equal(t, "located what was pruned", ok, false)
}

func TestTakeOverPlainFilesAndBack(t *testing.T) { overEach(t, takeOverPlainFilesAndBack) }

func takeOverPlainFilesAndBack(t *testing.T, b *bench) {
	p := placement()
	b.plain(t, p, b.old)
	h := b.host()
	got, err := h.Inspect(t.Context(), p)
	must(t, err)
	equal(t, "revision of plain files", got.Revision, "")
	equal(t, "leaf of plain files", got.Leaf, print(b.old))
	equal(t, "problems of plain files", len(got.Deviations), 3)

	st, err := h.Stage(t.Context(), p, b.content(t, p, b.new))
	must(t, err)
	if !strings.HasPrefix(st.Previous, "r0-") || !strings.HasPrefix(st.Revision, "r1-") {
		t.Fatalf("staged %+v", st)
	}
	equalSlices(t, "not touched by stage", b.tree(t, dir), []string{".renewer", "ca.pem", "server-cert.pem", "server-key.pem"})
	rev, ok, err := h.Locate(t.Context(), p, print(b.old))
	must(t, err)
	if !ok || rev != st.Previous {
		t.Errorf("located %q, %v", rev, ok)
	}
	copied := func(what string, want fs.FileMode) {
		t.Helper()
		info, err := os.Stat(b.path(dir, ".renewer", p.Certificate, st.Previous))
		must(t, err)
		equal(t, what, info.Mode().Perm(), want)
	}
	copied("the copy of what may have a key that everybody may read", 0o700)
	must(t, h.Flip(t.Context(), p, st.Revision))
	equal(t, "served", b.served(p), print(b.new))
	must(t, h.Prune(t.Context(), p, []string{st.Previous}))
	copied("that copy when another revision is live", 0o700)
	must(t, h.Flip(t.Context(), p, st.Previous))
	equal(t, "served after restore", b.served(p), print(b.old))
	must(t, h.Prune(t.Context(), p, nil))
	copied("that copy when it is live again", 0o755)
}

// The way back of a rollout that failed before its flip.
func TestFlipStraightToWhatWasTakenOver(t *testing.T) { overEach(t, flipStraightToWhatWasTakenOver) }

func flipStraightToWhatWasTakenOver(t *testing.T, b *bench) {
	p := placement()
	b.plain(t, p, b.old)
	h := b.host()
	st, err := h.Stage(t.Context(), p, b.content(t, p, b.new))
	must(t, err)
	must(t, h.Flip(t.Context(), p, st.Previous))
	equal(t, "served", b.served(p), print(b.old))
	got, err := h.Inspect(t.Context(), p)
	must(t, err)
	equal(t, "revision", got.Revision, st.Previous)
}

func TestNewNameThatIsAPlainFile(t *testing.T) { overEach(t, newNameThatIsAPlainFile) }

func newNameThatIsAPlainFile(t *testing.T, b *bench) {
	p := placement()
	h := b.host()
	small := without(p, renewer.FileCA)
	b.place(t, h, small, b.old)
	testpki.WriteFile(t, b.path(dir, "ca.pem"), []byte("somebody's"), 0o644)
	st := b.place(t, h, p, b.new)
	equal(t, "served", b.served(p), print(b.new))
	must(t, h.Flip(t.Context(), p, st.Previous))
	data, err := os.ReadFile(b.path(dir, "ca.pem"))
	must(t, err)
	equal(t, "the plain file after restore", string(data), "somebody's")
	equal(t, "served after restore", b.served(p), print(b.old))
}

func TestNameThatLeftTheLayout(t *testing.T) { overEach(t, nameThatLeftTheLayout) }

func nameThatLeftTheLayout(t *testing.T, b *bench) {
	p := placement()
	h := b.host()
	first := b.place(t, h, p, b.old)
	b.place(t, h, without(p, renewer.FileCA), b.new)
	if _, err := os.Lstat(b.path(dir, "ca.pem")); !os.IsNotExist(err) {
		t.Errorf("ca.pem is still there: %v", err)
	}
	must(t, h.Flip(t.Context(), p, first.Revision))
	if _, err := os.Stat(b.path(dir, "ca.pem")); err != nil {
		t.Error(err)
	}
}

func TestSeveralCertificatesShareADirectory(t *testing.T) {
	overEach(t, severalCertificatesShareADirectory)
}

func severalCertificatesShareADirectory(t *testing.T, b *bench) {
	p := placement()
	q := placement()
	q.Certificate = "web"
	q.Files = map[renewer.FileKind]string{renewer.FileCert: "web.crt", renewer.FileKey: "web.key", renewer.FileCA: "web-ca.crt"}
	h := b.host()
	done := make(chan error)
	put := func(p renewer.Placement, pair testpki.Pair) {
		st, err := h.Stage(context.WithoutCancel(t.Context()), p, b.content(t, p, pair))
		if err == nil {
			err = h.Flip(context.WithoutCancel(t.Context()), p, st.Revision)
		}
		done <- err
	}
	go put(p, b.old)
	go put(q, b.new)
	must(t, <-done)
	must(t, <-done)
	equal(t, "one", b.served(p), print(b.old))
	equal(t, "other", b.served(q), print(b.new))
	b.place(t, h, p, b.new)
	must(t, h.Prune(t.Context(), p, nil))
	equal(t, "other is left alone", b.served(q), print(b.new))
}

// A certificate that got another name in the fleet file keeps its files.
func TestLinksOfAnotherNameAreTakenOver(t *testing.T) { overEach(t, linksOfAnotherNameAreTakenOver) }

func linksOfAnotherNameAreTakenOver(t *testing.T, b *bench) {
	p := placement()
	h := b.host()
	b.place(t, h, p, b.old)
	q := p
	q.Certificate = "renamed"
	st := b.place(t, h, q, b.new)
	equal(t, "served", b.served(q), print(b.new))
	must(t, h.Flip(t.Context(), q, st.Previous))
	equal(t, "served after restore", b.served(q), print(b.old))
}

func TestWrittenThroughTheLink(t *testing.T) { overEach(t, writtenThroughTheLink) }

func writtenThroughTheLink(t *testing.T, b *bench) {
	p := placement()
	h := b.host()
	first := b.place(t, h, p, b.old)
	// What `cp new.pem server-cert.pem` does.
	for name, data := range map[string][]byte{"server-cert.pem": b.new.CertPEM, "server-key.pem": b.new.KeyPEM} {
		must(t, os.Chmod(b.path(dir, name), 0o600))
		must(t, os.WriteFile(b.path(dir, name), data, 0o600))
	}
	fails(t, h.Flip(t.Context(), p, first.Revision), "host-a", first.Revision, "changed")
	got, err := h.Inspect(t.Context(), p)
	must(t, err)
	equal(t, "leaf", got.Leaf, print(b.new))
	st, err := h.Stage(t.Context(), p, b.content(t, p, b.old))
	must(t, err)
	if !strings.HasPrefix(st.Previous, "r0-") || st.Live || st.Revision == first.Revision {
		t.Fatalf("staged %+v", st)
	}
	must(t, h.Flip(t.Context(), p, st.Revision))
	equal(t, "served", b.served(p), print(b.old))
	must(t, h.Flip(t.Context(), p, st.Previous))
	equal(t, "somebody's pair is not lost", b.served(p), print(b.new))
}

func TestChangedModeIsSeenAndFixed(t *testing.T) { overEach(t, changedModeIsSeenAndMended) }

func changedModeIsSeenAndMended(t *testing.T, b *bench) {
	p := placement()
	h := b.host()
	first := b.place(t, h, p, b.old)
	must(t, os.Chmod(b.path(dir, "server-key.pem"), 0o644))
	got, err := h.Inspect(t.Context(), p)
	must(t, err)
	equalSlices(t, "problems", got.Texts(), []string{"server-key.pem has mode 0644 instead of 0400"})
	rev, ok, err := h.Locate(t.Context(), p, print(b.old))
	must(t, err)
	if !ok || rev != first.Revision {
		t.Errorf("its key can still be read: located %q, %v", rev, ok)
	}
	b.place(t, h, p, b.old)
	got, err = h.Inspect(t.Context(), p)
	must(t, err)
	equalSlices(t, "problems after fixing", got.Texts(), nil)
}

// What a certificate's reader skips is still not what was written.
func TestJunkIsSeenAndFixed(t *testing.T) { overEach(t, junkIsSeenAndMended) }

func junkIsSeenAndMended(t *testing.T, b *bench) {
	p := placement()
	h := b.host()
	for what, name := range map[string]string{"a line more": "server-cert.pem", "a file more": ".renewer/" + p.Certificate + "/current/more"} {
		b.place(t, h, p, b.old)
		must(t, os.Chmod(b.path(dir, filepath.Dir(name)), 0o755))
		_ = os.Chmod(b.path(dir, name), 0o644)
		f, err := os.OpenFile(b.path(dir, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		must(t, err)
		_, err = f.WriteString("junk\n")
		must(t, errors.Join(err, f.Close()))
		_ = os.Chmod(b.path(dir, name), 0o444)
		got, err := h.Inspect(t.Context(), p)
		must(t, err)
		if len(got.Deviations) != 1 || got.Deviations[0].Kind != renewer.DeviationContent {
			t.Errorf("%s: problems %q", what, got.Texts())
		}
		b.place(t, h, p, b.old)
		got, err = h.Inspect(t.Context(), p)
		must(t, err)
		equalSlices(t, what+", fixed", got.Texts(), nil)
	}
}

func TestInspectNamesWhatIsWrong(t *testing.T) { overEach(t, inspectNamesWhatIsWrong) }

func inspectNamesWhatIsWrong(t *testing.T, b *bench) {
	p := placement()
	h := b.host()
	got, err := h.Inspect(t.Context(), p)
	must(t, err)
	equalSlices(t, "nothing there", got.Texts(), []string{"directory /etc/docker/tls is missing"})

	b.plain(t, p, b.old)
	must(t, os.Remove(b.path(dir, "ca.pem")))
	must(t, os.Remove(b.path(dir, "server-key.pem")))
	testpki.WriteFile(t, b.path(dir, "server-key.pem"), b.new.KeyPEM, 0o400)
	got, err = h.Inspect(t.Context(), p)
	must(t, err)
	equalSlices(t, "mixed pair", got.Texts(), []string{
		"ca.pem is missing", "server-cert.pem is a regular file, not a link that renewer made",
		"server-key.pem is a regular file, not a link that renewer made", "server-key.pem is not the key of server-cert.pem",
	})

	must(t, os.Remove(b.path(dir, "server-cert.pem")))
	must(t, os.Symlink("nowhere", b.path(dir, "server-cert.pem")))
	testpki.WriteFile(t, b.path(dir, "ca.pem"), []byte("garbage"), 0o444)
	got, err = h.Inspect(t.Context(), p)
	must(t, err)
	equalSlices(t, "garbage", got.Texts(), []string{
		"ca.pem is a regular file, not a link that renewer made", "ca.pem: no certificate in PEM",
		"server-cert.pem points to nowhere, which is missing", "server-key.pem is a regular file, not a link that renewer made",
	})
	equal(t, "leaf", got.Leaf, "")
}

func TestNamesThatCannotBeTakenOver(t *testing.T) { overEach(t, namesThatCannotBeTakenOver) }

func namesThatCannotBeTakenOver(t *testing.T, b *bench) {
	p := placement()
	h := b.host()
	b.plain(t, p, b.old)
	cert := b.path(dir, "server-cert.pem")
	must(t, os.Remove(cert))
	for what, make := range map[string]func(){
		"is a directory":                        func() { must(t, os.Mkdir(cert, 0o755)) },
		"to outside of the directory":           func() { must(t, os.Symlink("../../ssl/cert.pem", cert)) },
		"link to outside of the directory":      func() { must(t, os.Symlink("/etc/ssl/cert.pem", cert)) },
		"server-cert.pem is not a regular file": func() { must(t, mkfifo(cert)) },
		"server-cert.pem: too many links":       func() { must(t, os.Symlink("server-cert.pem", cert)) },
	} {
		make()
		_, err := h.Stage(t.Context(), p, b.content(t, p, b.new))
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("error %v does not say %q", err, what)
		} else if renewer.Hint(err) == "" {
			t.Errorf("%v: no hint", err)
		}
		got, err := h.Inspect(t.Context(), p)
		must(t, err)
		if !strings.Contains(strings.Join(got.Texts(), "\n"), what) {
			t.Errorf("problems %+v do not say %q", got.Deviations, what)
		}
		must(t, os.Remove(cert))
	}
}

func TestLinksInsideTheDirectoryAreTakenOver(t *testing.T) {
	overEach(t, linksInsideTheDirectoryAreTakenOver)
}

func linksInsideTheDirectoryAreTakenOver(t *testing.T, b *bench) {
	p := placement()
	h := b.host()
	b.plain(t, p, b.old)
	for name, target := range map[string]string{"server-cert.pem": "archive/../archive/cert.pem", "server-key.pem": dir + "/archive/key.pem"} {
		testpki.WriteFile(t, b.path(dir, "keep"), nil, 0o600)
		must(t, os.MkdirAll(b.path(dir, "archive"), 0o755))
		must(t, os.Rename(b.path(dir, name), b.path(dir, "archive", filepath.Base(target))))
		must(t, os.Symlink(target, b.path(dir, name)))
	}
	st := b.place(t, h, p, b.new)
	equal(t, "served", b.served(p), print(b.new))
	must(t, h.Flip(t.Context(), p, st.Previous))
	equal(t, "served after restore", b.served(p), print(b.old))
}

func TestRefusesWhatLeadsElsewhere(t *testing.T) { overEach(t, refusesWhatLeadsElsewhere) }

func refusesWhatLeadsElsewhere(t *testing.T, b *bench) {
	h := b.host()
	for what, change := range map[string]func(*renewer.Placement){
		"not an absolute":                   func(p *renewer.Placement) { p.Dir = "etc" },
		"clean path":                        func(p *renewer.Placement) { p.Dir = "/etc/../root" },
		"cannot be a directory's name":      func(p *renewer.Placement) { p.Certificate = "../x" },
		`file name "../key"`:                func(p *renewer.Placement) { p.Files[renewer.FileKey] = "../key" },
		`file name ".renewer"`:              func(p *renewer.Placement) { p.Files[renewer.FileKey] = ".renewer" },
		"both claim the file ca.pem":        func(p *renewer.Placement) { p.Files[renewer.FileKey] = "ca.pem" },
		"every user could read the private": func(p *renewer.Placement) { p.Modes[renewer.FileKey] = 0o444 },
		"cannot read it":                    func(p *renewer.Placement) { p.Modes[renewer.FileKey] = 0o040 },
	} {
		p := placement()
		content := b.content(t, p, b.old)
		change(&p)
		if _, err := h.Stage(t.Context(), p, content); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("error %v does not say %q", err, what)
		}
	}
	if entries := b.tree(t); len(entries) != 0 {
		t.Errorf("something was written: %q", entries)
	}
	p := placement()
	for _, rev := range []string{"", "..", "current", "r1-0000000g", "r1-00000000"} {
		if err := h.Flip(t.Context(), p, rev); err == nil {
			t.Errorf("flipped to %q", rev)
		}
	}
}

func TestStoreThatIsALink(t *testing.T) { overEach(t, storeThatIsALink) }

func storeThatIsALink(t *testing.T, b *bench) {
	p := placement()
	b.plain(t, p, b.old)
	must(t, os.MkdirAll(b.path("elsewhere"), 0o755))
	must(t, os.Symlink("../../../elsewhere", b.path(dir, ".renewer")))
	_, err := b.host().Stage(t.Context(), p, b.content(t, p, b.new))
	if err == nil {
		t.Fatal("staged through a link")
	}
	equal(t, "files elsewhere", len(b.tree(t, "elsewhere")), 0)
}

// Readers at full speed while names are taken over and revisions go to and fro.
func TestReadersNeverMissANameNorSeeATornPair(t *testing.T) {
	overEach(t, readersNeverMissANameNorSeeATornPair)
}

func readersNeverMissANameNorSeeATornPair(t *testing.T, b *bench) {
	p := placement()
	b.plain(t, p, b.old)
	h := b.host()
	st, err := h.Stage(t.Context(), p, b.content(t, p, b.new))
	must(t, err)

	var stop, pairs atomic.Int64
	bad := make(chan string, 2)
	go func() { // by one look at `current`
		for stop.Load() == 0 {
			rev, err := os.Readlink(b.path(dir, ".renewer", p.Certificate, "current"))
			if os.IsNotExist(err) {
				continue // not taken over yet
			}
			at := p
			at.Dir = filepath.Join(dir, ".renewer", p.Certificate, rev)
			if err != nil || b.served(at) == "" {
				bad <- "no pair below " + rev
				return
			}
			pairs.Add(1)
		}
		bad <- ""
	}()
	go func() { // by the names
		for stop.Load() == 0 {
			for _, name := range p.Files {
				if data, err := os.ReadFile(b.path(dir, name)); err != nil || len(data) == 0 {
					bad <- name + " is missing"
					return
				}
			}
		}
		bad <- ""
	}()
	for i := 0; i < 40 || pairs.Load() < 100; i++ {
		rev := st.Revision
		if i%2 == 1 {
			rev = st.Previous
		}
		if err := h.Flip(t.Context(), p, rev); err != nil {
			t.Error(err)
			break
		}
		if len(bad) > 0 {
			break
		}
	}
	stop.Store(1)
	for range 2 {
		if what := <-bad; what != "" {
			t.Error(what)
		}
	}
}
