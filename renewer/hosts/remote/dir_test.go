package remote

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"renewer/internal/testssh"
	"renewer/renewer"
	"renewer/renewer/hosts"
)

// open is a directory of this machine, over SSH.
func open(t testing.TB, tr *Transport, path string) hosts.Dir {
	t.Helper()
	d, err := tr.OpenDir(t.Context(), path, false)
	must(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

// TestMadeByTwo: a directory that was missing a moment ago is taken as it is.
func TestMadeByTwo(t *testing.T) {
	t.Parallel()
	s, tr := host(t, testssh.Options{})
	const stat = 17 // draft-ietf-secsh-filexfer-02, section 3
	dir := filepath.Join(t.TempDir(), "many")
	asked := 0
	s.SetFault(nil, func(r testssh.Request) {
		if r.Type == stat {
			if asked++; asked == 3 { // dir/one twice, then dir, which is missing still
				if err := os.Mkdir(dir, 0o700); err != nil {
					t.Error(err)
				}
			}
		}
	})
	d, err := tr.OpenDir(t.Context(), dir+"/one", true)
	must(t, err)
	must(t, d.Close())
}

func TestDir(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	_, tr := host(t, testssh.Options{}, func(c *Config) { c.Root = root })
	if _, err := tr.OpenDir(t.Context(), "/a/b", false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing directory: %v", err)
	}
	d, err := tr.OpenDir(t.Context(), "/a/b", true)
	must(t, err)
	defer d.Close()
	at := func(name string) string { return filepath.Join(root, "a/b", name) }
	for _, dir := range []string{"..", "."} {
		info, err := os.Stat(at(dir))
		must(t, err)
		equal(t, "mode of what was made", info.Mode().Perm(), 0o755)
	}

	must(t, d.Mkdir("private"))
	info, err := d.Lstat("private")
	must(t, err)
	equal(t, "mode", info.Mode, fs.ModeDir|0o700)
	must(t, d.Chmod("private", 0o755))

	big := bytes.Repeat([]byte("0123456789abcdef"), 8<<10) // more than one packet
	key := hosts.File{Name: "private/key", Mode: 0o400, Owner: hosts.Owner{UID: os.Geteuid(), GID: os.Getegid()}, Data: big}
	must(t, d.Create(key, hosts.File{Name: "private/empty", Mode: 0o600, Owner: key.Owner}))
	info, got, err := d.ReadFile("private/key", int64(len(big)))
	must(t, err)
	equal(t, "what was read", info, hosts.Info{Mode: key.Mode, Owner: key.Owner})
	if !bytes.Equal(got, big) {
		t.Error("read something else")
	}
	must(t, d.Remove("private/empty"))
	_, _, err = d.ReadFile("private/key", int64(len(big))-1)
	if err == nil || !strings.Contains(err.Error(), "larger than") || renewer.Hint(err) == "" {
		t.Errorf("error %v", err)
	}
	if err := d.Create(key); !errors.Is(err, fs.ErrExist) {
		t.Errorf("created twice: %v", err)
	}
	if err := d.Mkdir("private"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("made twice: %v", err)
	}

	must(t, d.Link("private/key", ".temp", "link"))
	target, err := d.Readlink("link")
	must(t, err)
	equal(t, "target", target, "private/key")
	must(t, d.Link("elsewhere", ".temp", "link"))
	target, err = d.Readlink("link")
	must(t, err)
	equal(t, "target after the second", target, "elsewhere")
	must(t, d.Link("x", ".temp", "other"))
	must(t, d.Rename("other", "link"))
	target, err = d.Readlink("link")
	must(t, err)
	equal(t, "target after the rename", target, "x")
	key.Name = "key"
	must(t, d.Publish(".temp", "whole", 0o755, key))
	for _, again := range []hosts.Dir{d, open(t, tr, "/a/b")} { // as it is remembered, and as it is
		info, got, err = again.ReadFile("whole/key", int64(len(big)))
		must(t, err)
		equal(t, "what was published", info, hosts.Info{Mode: key.Mode, Owner: key.Owner})
		if !bytes.Equal(got, big) {
			t.Error("published something else")
		}
		info, err = again.Lstat("whole")
		must(t, err)
		equal(t, "mode of what was published", info.Mode, fs.ModeDir|0o755)
	}
	must(t, d.Mkdir(".temp"))
	if err := d.Publish(".temp", "whole", 0o755, key); !errors.Is(err, fs.ErrExist) {
		t.Errorf("published over what is there: %v", err)
	}
	must(t, hosts.RemoveAll(d, ".temp"))
	must(t, d.Publish(".temp", "gone", 0o755, key))
	must(t, d.Discard("gone", ".temp", ".gone", []string{"other"}))
	must(t, d.Remove("whole/key", "whole"))
	names, err := d.ReadDir(".")
	must(t, err)
	slices.Sort(names)
	equal(t, "names", strings.Join(names, " "), "link private")
	must(t, d.Sync("."))
	if err := d.Remove("private"); err == nil {
		t.Error("removed a directory that is not empty")
	}
	must(t, d.Remove("private/key"))
	must(t, d.Remove("private"))
	must(t, d.Remove("link"))
	for what, err := range map[string]error{
		"remove": d.Remove("gone"), "sync and read": func() error { _, _, err := d.ReadFile("gone", 1); return err }(),
		"lstat": func() error { _, err := d.Lstat("gone"); return err }(), "list": func() error { _, err := d.ReadDir("gone"); return err }(),
	} {
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), root+"/a/b/gone") {
			t.Errorf("%s of what is missing: %v", what, err)
		}
	}
}

// No name leads out of the directory, and no link is followed where one can
// see it.
func TestDirIsNotLeft(t *testing.T) {
	t.Parallel()
	_, tr := host(t, testssh.Options{})
	root := t.TempDir()
	write(t, root+"/dir/file", "x")
	write(t, root+"/outside", "secret")
	must(t, os.Symlink("../outside", root+"/dir/link"))
	must(t, os.Symlink("nowhere", root+"/dangling"))
	must(t, syscall.Mkfifo(root+"/dir/pipe", 0o600))
	d := open(t, tr, root+"/dir")
	for _, name := range []string{"../outside", "/etc/passwd", "", "a/../../outside", "a//b", "./file"} {
		if _, err := d.Lstat(name); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%q: error %v", name, err)
		}
		if err := d.Rename(name, "file"); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("rename of %q: error %v", name, err)
		}
	}
	for _, name := range []string{"link", "pipe", "."} {
		if _, _, err := d.ReadFile(name, 100); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("read %s: %v", name, err)
		}
	}
	if err := d.Chmod("link", 0o777); !errors.Is(err, errLink) {
		t.Errorf("chmod through a link: %v", err)
	}
	if err := d.Create(hosts.File{Name: "link"}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("created through a link: %v", err)
	}
	must(t, d.Remove("link"))
	data, err := os.ReadFile(root + "/outside")
	must(t, err)
	equal(t, "outside", string(data), "secret")

	for _, path := range []string{"relative", "/a/../b", "/a/", ""} {
		if _, err := tr.OpenDir(t.Context(), path, true); err == nil {
			t.Errorf("opened %q", path)
		}
	}
	for _, path := range []string{root + "/dangling", root + "/dangling/x", root + "/outside/x"} {
		if _, err := tr.OpenDir(t.Context(), path, true); err == nil {
			t.Errorf("made %s", path)
		}
	}
	if _, err := os.Lstat(root + "/nowhere"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("made what a link leads to")
	}
}

// mine is a file of so many bytes.
func mine(name string, size int) hosts.File {
	return hosts.File{Name: name, Mode: 0o600, Owner: hosts.Owner{UID: os.Geteuid(), GID: os.Getegid()}, Data: make([]byte, size)}
}

func TestFullAndReadOnly(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root may mount file systems")
	}
	at := t.TempDir()
	if err := syscall.Mount("tmpfs", at, "tmpfs", 0, "size=128k,mode=755"); err != nil {
		t.Skipf("cannot mount a file system here: %v", err)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(at, syscall.MNT_DETACH)) })
	_, tr := host(t, testssh.Options{})
	d, err := tr.OpenDir(t.Context(), at, false)
	must(t, err)
	defer d.Close()
	if err := d.Create(mine("file", 256<<10)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("full: error %v", err)
	}
	readOnly := func() error { return syscall.Mount("tmpfs", at, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, "") }
	err = readOnly()
	for n := 0; errors.Is(err, syscall.EBUSY) && n < 10_000; n++ { // the server lets go of the file after its answer
		runtime.Gosched()
		err = readOnly()
	}
	must(t, err)
	if err := d.Mkdir("dir"); !errors.Is(err, syscall.EROFS) {
		t.Errorf("read-only: error %v", err)
	}
}

// The server is looked for only where it is not in its usual place, and what
// was found is remembered.
func TestSFTPServerIsFound(t *testing.T) {
	t.Parallel()
	const there = "/usr/libexec/openssh/sftp-server"
	s, tr := host(t, testssh.Options{SFTPServer: there}, func(c *Config) { c.Sudo = true })
	write(t, s.Bin+"/ls", "#!/bin/sh\necho "+there+"\nexit 2\n")
	must(t, os.Chmod(s.Bin+"/ls", 0o700))
	open(t, tr, "/")
	equal(t, "found", tr.sftpServer, there)
	s.Cut()
	must(t, os.Remove(s.Bin+"/ls"))
	open(t, tr, "/")

	write(t, s.Bin+"/ls", "#!/bin/sh\nexit 2\n")
	must(t, os.Chmod(s.Bin+"/ls", 0o700))
	tr.sftpServer = ""
	s.Cut()
	_, err := tr.OpenDir(t.Context(), "/usr", false)
	refused(t, err, "no SFTP server found", "openssh-sftp-server")

	_, tr = host(t, testssh.Options{}, func(c *Config) { c.Sudo = true; c.SFTPServer = "/opt/sftp-server" })
	_, err = tr.OpenDir(t.Context(), "/", false)
	refused(t, err, "start SFTP server /opt/sftp-server: exit status 1: sudo: sftp-server: command not found", "sftp_server")
	_, tr = host(t, testssh.Options{NoFiles: true})
	_, err = tr.OpenDir(t.Context(), "/", false)
	refused(t, err, "start SFTP server (the subsystem)", "Subsystem sftp")
}

func TestTail(t *testing.T) {
	t.Parallel()
	w := &tail{limit: 10}
	for _, s := range []string{"abc", strings.Repeat("x", 100) + "12\x1b\n34", "56", ""} {
		n, err := w.Write([]byte(s))
		must(t, err)
		equal(t, "written", n, len(s))
	}
	if !slices.Equal(w.bytes(), []byte("xx12\x1b\n3456")) {
		t.Errorf("kept %q", w.bytes())
	}
	equal(t, "line", w.line(), "xx12 3456")
}
