package hosts

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"renewer/internal/testpki"
	"renewer/renewer"
)

func root(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may give files away and mount file systems")
	}
}

// Without a root the way to the directory may lead through absolute links,
// such as /var/run.
func TestWayThroughLinks(t *testing.T) {
	t.Parallel()
	b, p := newBench(t), placement()
	must(t, os.MkdirAll(b.path("real"), 0o755))
	must(t, os.Symlink(b.path("real"), b.path("link")))
	p.Dir = b.path("link", "a", "b")
	h := New(renewer.Host{Name: "host-a"}, Local("/"))
	b.place(t, h, p, b.old)
	for _, name := range []string{"a", "a/b"} {
		info, err := os.Stat(b.path("real", name))
		must(t, err)
		equal(t, "mode of "+name, info.Mode().Perm(), 0o755)
	}
	must(t, os.Symlink("nowhere", b.path("dangling")))
	p.Dir = b.path("dangling", "a")
	if _, err := h.Stage(t.Context(), p, b.content(t, p, b.old)); err == nil {
		t.Error("staged below a link that leads nowhere")
	}
	testpki.WriteFile(t, b.path("file"), nil, 0o600)
	p.Dir = b.path("file")
	if _, err := h.Stage(t.Context(), p, b.content(t, p, b.old)); err == nil {
		t.Error("staged in a file")
	}
}

// With a root no link leads out of it.
func TestRootIsNotLeft(t *testing.T) {
	t.Parallel()
	b, p := newBench(t), placement()
	outside := t.TempDir()
	must(t, os.Symlink(outside, b.path("etc")))
	if _, err := b.host().Stage(t.Context(), p, b.content(t, p, b.old)); err == nil {
		t.Error("staged outside the root")
	}
	entries, err := os.ReadDir(outside)
	must(t, err)
	equal(t, "entries outside", len(entries), 0)
}

func TestTail(t *testing.T) {
	t.Parallel()
	w := &tail{limit: 10}
	for _, s := range []string{"abc", strings.Repeat("x", 100) + "1234", "56", ""} {
		n, err := w.Write([]byte(s))
		must(t, err)
		equal(t, "written", n, len(s))
	}
	equal(t, "kept", string(w.buf), "xxxx123456")
}

// small mounts a file system of so many bytes in memory.
func small(t *testing.T, at, options string) {
	t.Helper()
	root(t)
	must(t, os.MkdirAll(at, 0o755))
	if err := syscall.Mount("tmpfs", at, "tmpfs", 0, options); err != nil {
		t.Skipf("cannot mount a file system here: %v", err)
	}
	// Detached: a process that another test is starting may still hold a file of it.
	t.Cleanup(func() { must(t, syscall.Unmount(at, syscall.MNT_DETACH)) })
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	b, p := newBench(t), placement()
	small(t, b.path(dir), "size=128k,mode=755")
	h := b.host()
	b.place(t, h, p, b.old)
	filler := bytes.Repeat([]byte("x"), 200<<10)
	err := os.WriteFile(b.path(dir, "filler"), filler, 0o600)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("not full: %v", err)
	}
	_, err = h.Stage(t.Context(), p, b.content(t, p, b.new))
	fails(t, err, "no space left on device", "stage docker"+dir)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("error %v hides its cause", err)
	}
	equal(t, "served", b.served(p), print(b.old))
	equal(t, "nothing left behind", len(b.tree(t, dir, ".renewer", p.Certificate)), 2)

	must(t, os.Remove(b.path(dir, "filler")))
	b.place(t, h, p, b.new)
	equal(t, "served", b.served(p), print(b.new))
}

func TestReadOnlyDirectory(t *testing.T) {
	t.Parallel()
	b, p := newBench(t), placement()
	small(t, b.path(dir), "size=128k,mode=755")
	h := b.host()
	first := b.place(t, h, p, b.old)
	must(t, syscall.Mount("tmpfs", b.path(dir), "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	_, err := h.Stage(t.Context(), p, b.content(t, p, b.new))
	fails(t, err, "read-only file system")
	equal(t, "served", b.served(p), print(b.old))
	st, err := h.Stage(t.Context(), p, b.content(t, p, b.old)) // there already
	must(t, err)
	equal(t, "revision", st.Revision, first.Revision)
	must(t, h.Flip(t.Context(), p, first.Revision))
}

// What a process that is not root may not do, by a process that is not root:
// this test's own binary, run again.
func TestNotRoot(t *testing.T) {
	if where := os.Getenv("RENEWER_TEST_UNPRIVILEGED"); where != "" {
		unprivileged(t, where)
		return
	}
	t.Parallel()
	root(t)
	where, err := os.MkdirTemp("", "renewer-test-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(where) })
	must(t, os.Chmod(where, 0o755))
	for _, name := range []string{"own", "foreign"} {
		must(t, os.Mkdir(filepath.Join(where, name), 0o755))
	}
	must(t, os.Chown(filepath.Join(where, "own"), 1, 1))
	binary := filepath.Join(where, "test")
	self, err := os.Executable()
	must(t, err)
	must(t, exec.Command("cp", self, binary).Run()) // written here, it would be busy while others fork
	must(t, os.Chmod(binary, 0o755))
	cmd := exec.Command(binary, "-test.run=^TestNotRoot$", "-test.v")
	cmd.Env = append(os.Environ(), "RENEWER_TEST_UNPRIVILEGED="+where, "TMPDIR="+where+"/own")
	cmd.Dir = where
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1, Gid: 1}}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestNotRoot")) {
		t.Errorf("%v\n%s", err, out)
	}
}

func unprivileged(t *testing.T, where string) {
	b, p := newBench(t), placement()
	h := New(renewer.Host{Name: "host-a"}, Local(where))

	p.Dir = "/foreign"
	_, err := h.Stage(t.Context(), p, b.content(t, p, b.old))
	fails(t, err, "permission denied", "in /foreign")

	p.Dir = "/own/tls"
	p.Owner = "root"
	_, err = h.Stage(t.Context(), p, b.content(t, p, b.old))
	fails(t, err, "writes as user 1")
	equal(t, "class", renewer.ClassOf(err), renewer.ClassMisconfigured)

	p.Owner, p.Group = "", "tty"
	_, err = h.Stage(t.Context(), p, b.content(t, p, b.old))
	fails(t, err, "group 5", "not permitted")
	if !errors.Is(err, fs.ErrPermission) {
		t.Errorf("error %v hides its cause", err)
	}

	p.Group = ""
	b.root = where
	b.place(t, h, p, b.old)
	b.place(t, h, p, b.new)
	equal(t, "served", b.served(p), print(b.new))

	testpki.WriteFile(t, where+"/own/pid", []byte("2"), 0o644)
	a := renewer.Activation{Kind: renewer.ActivateSignal, PIDFile: "/own/pid", Signal: "HUP"}
	if _, err := os.Stat("/proc/2"); err == nil { // a kernel thread of root's
		_, err = h.Activate(t.Context(), a)
		fails(t, err, "send HUP to process 2")
	}
}
