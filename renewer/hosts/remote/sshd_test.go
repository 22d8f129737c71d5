package remote

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"renewer/internal/testpki"
	"renewer/internal/testssh"
	"renewer/renewer"
	"renewer/renewer/hosts"
	"renewer/renewer/pki"
)

// sshd answers connections with OpenSSH's server, one process each, for the
// user that runs the tests; more are lines of its configuration.
func sshd(t testing.TB, more ...string) (cfg Config) {
	t.Helper()
	return sshdCounted(t, &sshdCPU{}, more...)
}

func sshdCounted(t testing.TB, spent *sshdCPU, more ...string) (cfg Config) {
	t.Helper()
	const binary = "/usr/sbin/sshd"
	if _, err := os.Stat(binary); err != nil {
		t.Skipf("OpenSSH's server is not installed: %v", err)
	}
	if os.Geteuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // where it has no start script
			t.Skipf("sshd needs /run/sshd: %v", err)
		}
	}
	me, err := user.Current()
	must(t, err)
	dir := t.TempDir()
	hostKey, login := testssh.NewKey(t), testssh.NewKey(t)
	write(t, dir+"/authorized_keys", string(ssh.MarshalAuthorizedKey(login.Signer.PublicKey())))
	// Of each key sshd takes the first value.
	write(t, dir+"/sshd_config", strings.Join(more, "\n")+fmt.Sprintf(`
HostKey %s
AuthorizedKeysFile %s/authorized_keys
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
`, hostKey.File, dir))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var work sync.WaitGroup
	t.Cleanup(func() { l.Close(); work.Wait() })
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			stream, err := c.(*net.TCPConn).File()
			c.Close()
			if err != nil {
				t.Error(err)
				return
			}
			spent.running.Add(1)
			work.Go(func() {
				defer spent.running.Done()
				cmd := exec.Command(binary, "-i", "-f", dir+"/sshd_config", "-E", dir+"/log")
				cmd.Stdin, cmd.Stdout = stream, stream
				_ = cmd.Run() // with 255 where the client cuts the connection; what matters is seen at the client
				spent.ended(cmd)
				stream.Close()
			})
		}
	})
	t.Cleanup(func() {
		if log, _ := os.ReadFile(dir + "/log"); t.Failed() {
			t.Logf("sshd: %s", log)
		}
	})
	port := l.Addr().(*net.TCPAddr).Port
	write(t, dir+"/known_hosts", line(fmt.Sprintf("[127.0.0.1]:%d", port), hostKey.Signer.PublicKey()))
	return Config{Name: "host-b", Address: "127.0.0.1", Port: port, User: me.Username, IdentityFile: login.File, KnownHostsFile: dir + "/known_hosts"}
}

// realServer is where OpenSSH's SFTP server is here.
func realServer(t testing.TB) string {
	t.Helper()
	for _, file := range hosts.SFTPPlaces {
		if _, err := os.Stat(file); err == nil {
			return file
		}
	}
	t.Skip("OpenSSH's SFTP server is not installed")
	return ""
}

// OpenSSH itself: the subsystem, the server as a command, and under sudo.
func TestOpenSSH(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*testing.T, *Config){
		"subsystem": func(*testing.T, *Config) {},
		"command":   func(t *testing.T, c *Config) { c.SFTPServer = realServer(t) },
		"sudo": func(t *testing.T, c *Config) {
			if err := exec.Command("sudo", "-n", "true").Run(); err != nil {
				t.Skipf("sudo does not let this user do things here: %v", err)
			}
			realServer(t)
			c.Sudo = true
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := sshd(t)
			change(t, &cfg)
			tr := reach(t, client(t), cfg)
			placeOverOpenSSH(t, tr)
			if name != "sudo" && os.Geteuid() != 0 { // sshd sends signals to neither
				givenUp(t, tr)
			}
			if name == "sudo" {
				endedByItself(t, tr)
			}
			durable(t, tr)
			if os.Geteuid() == 0 {
				failures(t, tr)
			}
		})
	}
}

// endedByItself: sshd passes no signal on, and yet nothing is left running.
func endedByItself(t *testing.T, tr *Transport) {
	t.Helper()
	pids := filepath.Join(t.TempDir(), "pids")
	must(t, exec.Command("mkfifo", pids).Run())
	why := errors.New("timed out")
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, why)
	defer cancel()
	read := make(chan []int)
	go func() {
		f, err := os.Open(pids)
		if err != nil {
			t.Error(err)
		}
		defer f.Close()
		var parent, child int
		_, _ = fmt.Fscan(f, &parent, &child)
		read <- []int{parent, child}
	}()
	_, err := tr.Run(ctx, []string{"sh", "-c", `trap "" TERM; sleep 1000 & echo $$ $! > "$1"; wait`, "sh", pids})
	if !errors.Is(err, why) {
		t.Errorf("error %v", err)
	}
	for _, pid := range <-read {
		for deadline := time.Now().Add(10 * time.Second); alive(pid); {
			if time.Now().After(deadline) {
				t.Fatalf("process %d still runs", pid)
			}
		}
	}
}

// placeOverOpenSSH takes plain files over, flips to and fro, and prunes.
func placeOverOpenSSH(t *testing.T, tr *Transport) {
	t.Helper()
	ca := testpki.New(t)
	dir := filepath.Join(t.TempDir(), "etc", "docker", "tls")
	p := renewer.Placement{
		Certificate: "docker@host-b", Host: "host-b", Dir: dir,
		Files: map[renewer.FileKind]string{renewer.FileCA: "ca.pem", renewer.FileCert: "cert.pem", renewer.FileKey: "key.pem"},
		Modes: map[renewer.FileKind]fs.FileMode{renewer.FileCA: 0o444, renewer.FileCert: 0o444, renewer.FileKey: 0o400},
	}
	h := hosts.New(renewer.Host{Name: "host-b"}, tr)
	bring := func() (renewer.Staged, testpki.Pair) {
		pair := ca.Leaf(t, testpki.Options{SANs: []string{"host-b"}})
		content, err := pki.Content(p.Files, renewer.Chain{Leaf: pair.Cert}, pair.Key, []*x509.Certificate{ca.Root})
		must(t, err)
		st, err := h.Stage(t.Context(), p, content)
		must(t, err)
		must(t, h.Flip(t.Context(), p, st.Revision))
		return st, pair
	}
	served := func() string {
		data, err := os.ReadFile(dir + "/cert.pem")
		must(t, err)
		block, _ := pem.Decode(data)
		return renewer.Fingerprint(block.Bytes)
	}
	first, old := bring()
	_, pair := bring()
	equal(t, "served", served(), renewer.Fingerprint(pair.Cert.Raw))
	must(t, h.Flip(t.Context(), p, first.Revision))
	equal(t, "served after going back", served(), renewer.Fingerprint(old.Cert.Raw))
	must(t, h.Prune(t.Context(), p, nil))
	got, err := h.Inspect(t.Context(), p)
	must(t, err)
	if len(got.Deviations) > 0 || got.Revision != first.Revision {
		t.Errorf("inspected %+v", got)
	}
	key, err := os.Stat(dir + "/key.pem")
	must(t, err)
	equal(t, "mode of the key", key.Mode().Perm(), 0o400)
	if got.Key == nil || *got.Key != (renewer.KeyFile{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o400}) {
		t.Errorf("the key is seen as %+v", got.Key)
	}
	room, err := h.Room(t.Context(), dir)
	must(t, err)
	var fs syscall.Statfs_t
	must(t, syscall.Statfs(dir, &fs))
	if all := (fs.Blocks - fs.Bfree + fs.Bavail) * uint64(fs.Frsize); room.Free == 0 || room.Free+room.Used > all+all/10 || room.Free+room.Used < all-all/10 {
		t.Errorf("room %+v of %d", room, all)
	}
	must(t, h.Check(t.Context()))
}

// durable: OpenSSH's server syncs files, and directories through a handle.
func durable(t *testing.T, tr *Transport) {
	t.Helper()
	d := open(t, tr, t.TempDir()).(*dir)
	if !d.f.syncs {
		t.Error("no fsync@openssh.com")
	}
	must(t, d.Sync("."))
	must(t, d.Create(mine("file", 10)))
	info, err := d.Lstat("file")
	must(t, err)
	equal(t, "mode of a file", info.Mode, 0o600)

	// With a root, no link leads out of it.
	root := t.TempDir()
	must(t, os.Symlink(d.path, root+"/out"))
	cfg := tr.cfg
	cfg.Root = root
	outside := reach(t, tr.client, cfg)
	if _, err := outside.OpenDir(t.Context(), "/out", true); err == nil || !strings.Contains(err.Error(), "outside of root") {
		t.Errorf("left the root: %v", err)
	}
}

// failures: what OpenSSH calls a mere failure is distinguished.
func failures(t *testing.T, tr *Transport) {
	t.Helper()
	at := t.TempDir()
	if err := syscall.Mount("tmpfs", at, "tmpfs", 0, "size=128k,mode=755"); err != nil {
		t.Logf("cannot mount a file system here: %v", err)
		return
	}
	defer func() { must(t, syscall.Unmount(at, syscall.MNT_DETACH)) }()
	d := open(t, tr, at)
	if err := d.Create(mine("file", 256<<10)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("full: error %v", err)
	}
	if err := d.Create(mine("file", 0)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("created twice: %v", err)
	}
	must(t, syscall.Mount("tmpfs", at, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	if err := d.Mkdir("dir"); !errors.Is(err, syscall.EROFS) {
		t.Errorf("read-only: error %v", err)
	}
}

// What is opened before it is known what it is may turn out to be a pipe, which holds
// up the server: that is said at once, and everything else goes on.
func TestAPipeInTheStore(t *testing.T) {
	t.Parallel()
	tr := reach(t, client(t), sshd(t))
	root := t.TempDir()
	write(t, root+"/store/file", "x")
	must(t, syscall.Mkfifo(root+"/store/pipe", 0o600))
	t.Cleanup(func() { // the server is let go
		f, err := os.OpenFile(root+"/store/pipe", os.O_RDWR, 0)
		must(t, err)
		f.Close()
	})
	start := time.Now()
	d, err := tr.OpenDir(t.Context(), root, false, hosts.Ahead{Trees: []hosts.Tree{{Dir: "store", Files: []string{"pipe", "file"}}}})
	must(t, err)
	defer d.Close()
	if _, _, err := d.ReadFile("store/pipe", 10); !errors.Is(err, errNotRegular) {
		t.Errorf("read the pipe: %v", err)
	}
	_, data, err := d.ReadFile("store/file", 10)
	must(t, err)
	equal(t, "the file", string(data), "x")
	if took := time.Since(start); took >= tr.client.Timeout {
		t.Errorf("it took %s", took)
	}
}
