package hosts

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"renewer/internal/testpki"
	"renewer/renewer"
	"renewer/renewer/dockerhost"
)

var _ dockerhost.Machine = (*Host)(nil)

func TestFiles(t *testing.T) { overEach(t, testFiles) }

func testFiles(t *testing.T, b *bench) {
	h, ctx := b.host(), t.Context()
	const name = "/etc/docker/daemon.json"
	_, _, err := h.ReadFile(ctx, name) // not even the directory
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read what is not there: %v", err)
	}
	must(t, h.Remove(ctx, name))
	for _, mode := range []fs.FileMode{0o644, 0o600} {
		must(t, h.WriteFile(ctx, name, []byte("{}"), mode))
		data, got, err := h.ReadFile(ctx, name)
		must(t, err)
		equal(t, "content", string(data), "{}")
		equal(t, "mode", got, mode)
		equalSlices(t, "directory", b.tree(t, "/etc/docker"), []string{"daemon.json"})
	}
	info, err := os.Stat(b.path("/etc/docker"))
	must(t, err)
	equal(t, "mode of the new directory", info.Mode().Perm(), 0o755)

	must(t, os.Symlink("daemon.json", b.path("/etc/docker/near")))
	must(t, os.Symlink("/etc/docker/near", b.path("/etc/docker/far")))
	must(t, os.Symlink("/etc/docker/gone", b.path("/etc/docker/nowhere")))
	must(t, os.Symlink("loop", b.path("/etc/docker/loop")))
	for _, link := range []string{"/etc/docker/near", "/etc/docker/far"} {
		data, mode, err := h.ReadFile(ctx, link)
		must(t, err)
		equal(t, "content through "+link, string(data), "{}")
		equal(t, "mode of "+link, mode, 0o600|fs.ModeSymlink)
		fails(t, h.WriteFile(ctx, link, []byte("x"), 0o644), "host host-a: write "+link, "symbolic link")
	}
	if _, _, err = h.ReadFile(ctx, "/etc/docker/nowhere"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a link that leads nowhere: %v", err)
	}
	must(t, h.Remove(ctx, "/etc/docker/near"))
	equalSlices(t, "directory", b.tree(t, "/etc/docker"), []string{"daemon.json", "far@/etc/docker/near", "loop@loop", "nowhere@/etc/docker/gone"})

	must(t, os.Mkdir(b.path("/etc/docker/dir"), 0o755))
	large := bytes.Repeat([]byte("x"), maxPlain+1)
	testpki.WriteFile(t, b.path("/etc/docker/large"), large, 0o600)
	for what, err := range map[string]error{
		"read a loop":         second(h.ReadFile(ctx, "/etc/docker/loop")),
		"read a directory":    second(h.ReadFile(ctx, "/etc/docker/dir")),
		"write a directory":   h.WriteFile(ctx, "/etc/docker/dir", nil, 0o644),
		"remove a directory":  h.Remove(ctx, "/etc/docker/dir"),
		"read a large one":    second(h.ReadFile(ctx, "/etc/docker/large")),
		"write a large one":   h.WriteFile(ctx, "/etc/docker/other", large, 0o644),
		"a relative path":     h.WriteFile(ctx, "etc/x", nil, 0o644),
		"an unclean path":     h.WriteFile(ctx, "/etc/../x", nil, 0o644),
		"the root":            h.Remove(ctx, "/"),
		"a name with newline": h.WriteFile(ctx, "/etc/a\nb", nil, 0o644),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := h.WriteFile(cancelled, name, []byte("new"), 0o644); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func second(_ []byte, _ fs.FileMode, err error) error { return err }

// A file that was there keeps its owner.
func TestWriteFileKeepsTheOwner(t *testing.T) { root(t); overEach(t, testKeepsTheOwner) }

func testKeepsTheOwner(t *testing.T, b *bench) {
	h := b.host()
	testpki.WriteFile(t, b.path("/etc/default/docker"), []byte("a"), 0o640)
	must(t, os.Chown(b.path("/etc/default/docker"), 54321, 54322))
	must(t, h.WriteFile(t.Context(), "/etc/default/docker", []byte("b"), 0o640))
	dir, err := Local(b.root).OpenDir(t.Context(), "/etc/default", false)
	must(t, err)
	defer dir.Close()
	info, err := dir.Lstat("docker")
	must(t, err)
	equal(t, "owner", info.Owner, Owner{54321, 54322})
	equal(t, "mode", info.Mode, 0o640)
}

// Whatever operation fails, the old content is there whole, and nothing else.
func TestWriteFileFailsAtEveryOperation(t *testing.T) {
	t.Parallel()
	const name = "/etc/docker/daemon.json"
	for at := 1; ; at++ {
		b := &bench{root: memory(t)} // no keys are needed
		testpki.WriteFile(t, b.path(name), []byte("old"), 0o640)
		f := &faults{Transport: Local(b.root), at: at, way: Once}
		err := New(renewer.Host{Name: "host-a"}, f).WriteFile(t.Context(), name, []byte("new"), 0o640)
		if f.Ops < at {
			must(t, err)
			if at < 6 {
				t.Fatalf("only %d operations", at)
			}
			return
		}
		data, rerr := os.ReadFile(b.path(name))
		must(t, rerr)
		names := strings.Join(b.tree(t, "/etc/docker"), " ")
		if err == nil || names != "daemon.json" || string(data) != "old" && string(data) != "new" {
			t.Errorf("operation %d: %v, %q, %s", at, err, data, names)
		}
	}
}

// stand writes an executable in the place of another.
func stand(t *testing.T, script string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "command")
	testpki.WriteFile(t, name, []byte("#!/bin/sh\n"+script), 0o700)
	return name
}
