package remote

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"renewer/internal/testpki"
	"renewer/renewer"
	"renewer/renewer/hosts"
	"renewer/renewer/pki"
)

// mal is the user of a service, to whom the directory of its certificates
// belongs, and who is not to be root.
const mal = 65534

// secret is in files that are root's alone.
const secret = "what only root may know"

// victim is a directory of mal's, and one of root's that it leads to.
type victim struct {
	dir     string // of mal, in which root works
	private string // of root, mode 0700
	names   []string
	before  string // what private looks like
}

func newVictim(t *testing.T) *victim {
	t.Helper()
	base, err := os.MkdirTemp("", "renewer-attack-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(base) })
	must(t, os.Chmod(base, 0o755))
	v := &victim{dir: base + "/srv", private: base + "/root", names: []string{"ca.pem", "cert.pem", "key.pem", "daemon.json", "pid"}}
	must(t, os.Mkdir(v.dir, 0o755))
	must(t, os.Chown(v.dir, mal, mal))
	must(t, os.Mkdir(v.private, 0o700))
	// Whatever a name in the directory of mal may be, there is one in root's.
	for _, name := range append([]string{"secret", "readable", ".renewer", "docker@host-b", "current", "r0-00000000", "r1-00000000", ".tmp-r1-00000000", ".tmp-link", ".owner"}, v.names...) {
		must(t, os.WriteFile(v.private+"/"+name, []byte(secret), 0o600))
	}
	must(t, os.Chmod(v.private+"/readable", 0o644))
	must(t, os.Mkdir(v.private+"/dir", 0o700))
	must(t, os.WriteFile(v.private+"/dir/ca.pem", []byte(secret), 0o644))
	v.before = v.look(t)
	return v
}

// look is all of root's directory, as text.
func (v *victim) look(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	must(t, filepath.WalkDir(v.private, func(name string, _ fs.DirEntry, err error) error {
		must(t, err)
		info, err := os.Lstat(name)
		must(t, err)
		data, _ := os.ReadFile(name)
		st := info.Sys().(*syscall.Stat_t)
		fmt.Fprintf(&out, "%s %s %d:%d %q\n", name, info.Mode(), st.Uid, st.Gid, data)
		return nil
	}))
	return out.String()
}

// check looks whether anything of root's was read, changed or removed.
func (v *victim) check(t *testing.T, what string) {
	t.Helper()
	v.unchanged(t, what)
	_ = filepath.WalkDir(v.dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0) // it may be a link by now
		if err != nil {
			return nil
		}
		defer f.Close()
		info, serr := f.Stat()
		data, err := io.ReadAll(f)
		if err != nil || serr != nil || !bytes.Contains(data, []byte(secret)) || v.holds(info) {
			return nil
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid == mal || st.Gid == mal && info.Mode()&0o040 != 0 || info.Mode()&0o004 != 0 {
			t.Fatalf("%s gave %s away: %v of user %d", what, name, info.Mode(), st.Uid)
		}
		return nil
	})
}

func (v *victim) unchanged(t *testing.T, what string) {
	t.Helper()
	if now := v.look(t); now != v.before {
		t.Fatalf("%s changed what is root's:\n%s\nbefore:\n%s", what, now, v.before)
	}
}

// holds reports whether a file is root's own one, to which a name led a moment
// ago.
func (v *victim) holds(info fs.FileInfo) (found bool) {
	_ = filepath.WalkDir(v.private, func(name string, _ fs.DirEntry, _ error) error {
		own, err := os.Lstat(name)
		found = found || err == nil && os.SameFile(own, info)
		return nil
	})
	return found
}

// adversary swaps names of the directory for links to what is root's, and back,
// as mal, until ctx ends.
func (v *victim) adversary(ctx context.Context, swapped, rest time.Duration) (swaps int) {
	runtime.LockOSThread() // and never unlocked: the thread ends with its rights
	for _, call := range []uintptr{unix.SYS_SETFSGID, unix.SYS_SETFSUID} {
		_, _, _ = unix.RawSyscall(call, mal, 0, 0) // they return what was before
	}
	links := map[string]string{}
	for n, to := range []string{v.private + "/secret", v.private + "/readable", v.private, v.private + "/dir", v.private + "/dir/ca.pem"} {
		link := v.dir + "/.x" + strconv.Itoa(n)
		_ = os.Symlink(to, link)
		links[to] = link
	}
	other := func(name string) []string {
		info, err := os.Lstat(name)
		switch {
		case err != nil:
			return nil
		case info.IsDir():
			return []string{links[v.private], links[v.private+"/dir"]}
		}
		return []string{links[v.private+"/secret"], links[v.private+"/dir/ca.pem"], links[v.private+"/readable"]}
	}
	for turn := 0; ctx.Err() == nil; turn++ {
		names := make([]string, 0, 30)
		for _, name := range v.names {
			names = append(names, v.dir+"/"+name)
		}
		for _, pattern := range []string{"/.renewer", "/.renewer/*", "/.renewer/*/*", "/.renewer/*/*/*", "/.renewer/.owner/*/*/*"} {
			found, _ := filepath.Glob(v.dir + pattern)
			names = append(names, found...)
		}
		for n, name := range names {
			if (n+turn)%3 != 0 || ctx.Err() != nil {
				continue
			}
			for _, link := range other(name) {
				if unix.Renameat2(unix.AT_FDCWD, name, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE) == nil {
					time.Sleep(swapped) //nolint:forbidigo // an attacker waits for nothing
					_ = unix.Renameat2(unix.AT_FDCWD, name, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE)
					swaps++
					time.Sleep(rest) //nolint:forbidigo // as above
				}
			}
		}
	}
	return swaps
}

// Who owns the directory of a service's certificates gains nothing by swapping
// names in it while root works there. RENEWER_ATTACK is how many rounds are
// run; `make attack` runs 200.
func TestSwappedNamesGainNothing(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root has something to lose")
	}
	rounds := 10
	if n, err := strconv.Atoi(os.Getenv("RENEWER_ATTACK")); err == nil {
		rounds = n
	}
	for name, start := range map[string]func(t *testing.T) hosts.Transport{
		"local": func(*testing.T) hosts.Transport { return hosts.Local("") },
		"ssh": func(t *testing.T) hosts.Transport {
			if err := exec.Command("sudo", "-n", "-u", "#65534", "true").Run(); err != nil {
				t.Skipf("sudo does not let this user do things here: %v", err)
			}
			realServer(t)
			cfg := sshd(t)
			cfg.Sudo = true
			return reach(t, client(t), cfg)
		},
	} {
		for _, owner := range []string{"root", "mal"} {
			t.Run(name+", files of "+owner, func(t *testing.T) {
				t.Parallel()
				attack(t, start(t), owner, rounds, name == "local")
			})
		}
	}
}

// A settings file that is root's alone, in a directory of another user, is not read: that
// user may have led there from any place. One that they may read is.
func TestWhatIsRootsAloneIsNotReadInADirectoryOfAnother(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 || exec.Command("sudo", "-n", "-u", "#65534", "true").Run() != nil {
		t.Skip("root's sudo does not let this user do things here")
	}
	v := newVictim(t)
	realServer(t)
	cfg := sshd(t)
	cfg.Sudo = true
	h := hosts.New(renewer.Host{Name: "host-b"}, reach(t, client(t), cfg))
	must(t, os.WriteFile(v.dir+"/daemon.json", []byte(secret), 0o600))
	if data, _, err := h.ReadFile(t.Context(), v.dir+"/daemon.json"); !errors.Is(err, fs.ErrPermission) || len(data) > 0 {
		t.Errorf("%q, %v", data, err)
	}
	must(t, os.Chmod(v.dir+"/daemon.json", 0o644))
	if data, _, err := h.ReadFile(t.Context(), v.dir+"/daemon.json"); err != nil || string(data) != secret {
		t.Errorf("%q, %v", data, err)
	}
}

func attack(t *testing.T, tr hosts.Transport, owner string, rounds int, fast bool) {
	ca := testpki.New(t)
	h := hosts.New(renewer.Host{Name: "host-b"}, tr)
	root := exec.Command("sleep", "1000000")
	must(t, root.Start())
	ended := make(chan struct{})
	go func() { _ = root.Wait(); close(ended) }()
	defer func() { _ = root.Process.Kill(); <-ended }()
	swaps, done := 0, map[string]int{}
	unit := time.Millisecond
	if fast { // as what is attacked
		unit /= 50
		rounds *= 5
	}
	for round := range rounds {
		v := newVictim(t)
		job := v.hire(t, ca, owner, root.Process.Pid)
		ctx, stop := context.WithCancel(t.Context())
		var work sync.WaitGroup
		work.Go(func() { swaps += v.adversary(ctx, time.Duration(1+round%7)*unit/10, time.Duration(round%4*3)*unit) })
		for _, step := range job.steps(ctx, t, h) {
			if err := step.do(); err == nil {
				done[step.name]++
			}
			v.check(t, step.name)
		}
		stop()
		work.Wait()
		v.check(t, "round")
		select {
		case <-ended:
			t.Fatal("a process of root's was signalled for mal")
		default:
		}
	}
	var what []string
	for name, n := range done {
		what = append(what, fmt.Sprintf("%s %d", name, n))
	}
	slices.Sort(what)
	t.Logf("%d rounds, %d swaps, without effect; done in spite of them: %s", rounds, swaps, strings.Join(what, ", "))
	if swaps < rounds {
		t.Errorf("only %d swaps", swaps)
	}
}

// job is all that renewer does in the directory of a victim.
type job struct {
	v          *victim
	p          renewer.Placement
	pair, next map[renewer.FileKind][]byte
}

// hire puts into the directory what is to be taken over, and belongs to mal; the pid
// file names a process of root's.
func (v *victim) hire(t *testing.T, ca *testpki.CA, owner string, pid int) job {
	t.Helper()
	j := job{v: v, p: benchPlacement}
	j.p.Dir = v.dir
	if owner == "mal" {
		j.p.Owner, j.p.Group = strconv.Itoa(mal), strconv.Itoa(mal)
	}
	content := func() map[renewer.FileKind][]byte {
		pair := ca.Leaf(t, testpki.Options{SANs: []string{"host-b"}})
		c, err := pki.Content(j.p.Files, renewer.Chain{Leaf: pair.Cert}, pair.Key, []*x509.Certificate{ca.Root})
		must(t, err)
		return c
	}
	j.pair, j.next = content(), content()
	put := func(name string, data []byte) {
		must(t, os.WriteFile(v.dir+"/"+name, data, 0o644))
		must(t, os.Chown(v.dir+"/"+name, mal, mal))
	}
	for kind, data := range j.pair {
		put(j.p.Files[kind], data)
	}
	put("pid", []byte(strconv.Itoa(pid)))
	return j
}

type step struct {
	name string
	do   func() error
}

func (j job) steps(ctx context.Context, t *testing.T, h *hosts.Host) []step {
	v, p := j.v, j.p
	var st renewer.Staged
	return []step{
		{"adopt", func() error {
			_, err := h.Adopt(ctx, p, func(map[renewer.FileKind][]byte) error { return nil })
			return err
		}},
		{"stage", func() (err error) { st, err = h.Stage(ctx, p, j.next); return err }},
		{"flip", func() error {
			if st.Revision == "" {
				return fs.ErrNotExist
			}
			return h.Flip(ctx, p, st.Revision)
		}},
		{"inspect", func() error { _, err := h.Inspect(ctx, p); return err }},
		{"stage again", func() (err error) { st, err = h.Stage(ctx, p, j.pair); return err }},
		{"take over", func() error {
			h.As(func() renewer.Mark { return renewer.Mark{Fleet: "another", Incarnation: "another"} })
			_, err := h.TakeOver(ctx, p)
			return err
		}},
		{"prune", func() error { return h.Prune(ctx, p, nil) }},
		{"write", func() error { return h.WriteFile(ctx, v.dir+"/daemon.json", []byte("{}"), 0o644) }},
		{"read", func() error {
			data, _, err := h.ReadFile(ctx, v.dir+"/daemon.json")
			if bytes.Contains(data, []byte(secret)) {
				t.Error("what only root may read was read")
			}
			return err
		}},
		{"remove", func() error { return h.Remove(ctx, v.dir+"/daemon.json") }},
		{"signal", func() error {
			_, err := h.Activate(ctx, renewer.Activation{Kind: renewer.ActivateSignal, PIDFile: v.dir + "/pid", Signal: "TERM"})
			return err
		}},
	}
}

// A directory of the service's own user works like any other, the one who the files
// are to belong to.
func TestDirectoryOfTheService(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root may give files away")
	}
	realServer(t)
	cfg := sshd(t)
	cfg.Sudo = true
	for name, tr := range map[string]hosts.Transport{"local": hosts.Local(""), "ssh": reach(t, client(t), cfg)} {
		for _, owner := range []int{0, mal, 1} {
			t.Run(fmt.Sprint(name, ", files of ", owner), func(t *testing.T) {
				v := newVictim(t)
				p := benchPlacement
				p.Dir, p.Owner, p.Group = v.dir, strconv.Itoa(owner), strconv.Itoa(owner)
				ca := testpki.New(t)
				h := hosts.New(renewer.Host{Name: "host-b"}, tr)
				var last renewer.Staged
				for range 3 {
					pair := ca.Leaf(t, testpki.Options{SANs: []string{"host-b"}})
					content, err := pki.Content(p.Files, renewer.Chain{Leaf: pair.Cert}, pair.Key, []*x509.Certificate{ca.Root})
					must(t, err)
					last, err = h.Stage(t.Context(), p, content)
					must(t, err)
					must(t, h.Flip(t.Context(), p, last.Revision))
				}
				got, err := h.Inspect(t.Context(), p)
				must(t, err)
				if len(got.Deviations) > 0 || got.Revision != last.Revision {
					t.Errorf("inspected %+v", got)
				}
				_, err = h.ReadKey(t.Context(), p, last.Revision)
				must(t, err)
				must(t, h.Prune(t.Context(), p, nil))
				for _, name := range []string{"key.pem", "ca.pem"} {
					info, err := os.Stat(v.dir + "/" + name)
					must(t, err)
					equal(t, "owner of "+name, int(info.Sys().(*syscall.Stat_t).Uid), owner)
				}
				left, err := os.ReadDir(v.dir + "/.renewer/docker@host-b")
				must(t, err)
				equal(t, "what is left", len(left), 2)
			})
		}
	}
}

// What a third user could change is refused, with the user and a hint.
func TestWayThatOthersCanChange(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root may give directories away")
	}
	realServer(t)
	cfg := sshd(t)
	cfg.Sudo = true
	for name, tr := range map[string]hosts.Transport{"local": hosts.Local(""), "ssh": reach(t, client(t), cfg)} {
		for what, c := range map[string]struct {
			change    func(dir string) error // of /srv, in which /srv/certs is
			err, hint string
		}{
			"a third user":   {func(dir string) error { return os.Chown(dir, 1, 1) }, "belongs to user 65534, and its parent directory to user 1,", "chown 1 "},
			"everybody":      {func(dir string) error { return os.Chmod(dir, 0o777) }, "has mode 0777", "chmod go-w"},
			"a group":        {func(dir string) error { return os.Chmod(dir+"/certs", 0o775) }, "has mode 0775", "chmod go-w"},
			"a shared place": {func(dir string) error { return os.Chmod(dir+"/certs", 0o777|os.ModeSticky) }, "has mode 0777", "chmod go-w"},
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				v := newVictim(t)
				must(t, os.Mkdir(v.dir+"/certs", 0o755))
				must(t, os.Chown(v.dir+"/certs", mal, mal))
				must(t, c.change(v.dir))
				_, err := tr.OpenDir(t.Context(), v.dir+"/certs", true)
				refused(t, err, c.err, c.hint)
			})
		}
	}
}

// Where a directory changes hands, what renewer made in it before is in the way once;
// the hint says what to run, and that works.
func TestDirectoryThatChangesHands(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root may give directories away")
	}
	realServer(t)
	cfg := sshd(t)
	cfg.Sudo = true
	for name, c := range map[string]struct{ before, after int }{"to the service": {0, mal}, "to root": {mal, 0}} {
		for first, tr := range map[string]hosts.Transport{"placed locally": hosts.Local(""), "placed over SSH": reach(t, client(t), cfg)} {
			if c.after == 0 && first == "placed locally" {
				continue // that leaves nothing of another user than root
			}
			t.Run(name+", "+first, func(t *testing.T) {
				v := newVictim(t)
				must(t, os.Chown(v.dir, c.before, c.before))
				must(t, place(t, tr, v.dir))
				must(t, os.Chown(v.dir, c.after, c.after))
				again := reach(t, client(t), cfg)
				err := place(t, again, v.dir)
				refused(t, err, "/.renewer", "sudo chown -hR")
				_, command, _ := strings.Cut(renewer.Hint(err), "sudo ")
				must(t, exec.Command("sh", "-c", strings.ReplaceAll(command, "sudo ", "")).Run())
				must(t, place(t, again, v.dir))
			})
		}
	}
}

// place places a new certificate in a directory.
func place(t *testing.T, tr hosts.Transport, dir string) error {
	t.Helper()
	p := benchPlacement
	p.Dir, p.Owner, p.Group = dir, strconv.Itoa(mal), strconv.Itoa(mal)
	ca := testpki.New(t)
	h := hosts.New(renewer.Host{Name: "host-b"}, tr)
	pair := ca.Leaf(t, testpki.Options{SANs: []string{"host-b"}})
	content, err := pki.Content(p.Files, renewer.Chain{Leaf: pair.Cert}, pair.Key, []*x509.Certificate{ca.Root})
	must(t, err)
	st, err := h.Stage(t.Context(), p, content)
	if err != nil {
		return err
	}
	return h.Flip(t.Context(), p, st.Revision)
}

// Files that lay in the directory of the service before are taken over with the owner,
// group and mode that they have, whosever they are.
func TestFilesFoundInTheDirectoryOfTheService(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root may give files away")
	}
	realServer(t)
	cfg := sshd(t)
	cfg.Sudo = true
	const shadow, other = 42, 1
	for name, tr := range map[string]hosts.Transport{"local": hosts.Local(""), "ssh": reach(t, client(t), cfg)} {
		for _, c := range []struct {
			uid, gid int
			mode     os.FileMode
		}{{mal, mal, 0o600}, {mal, 0, 0o400}, {mal, shadow, 0o640}, {0, 0, 0o400}, {0, 0, 0o640}, {0, mal, 0o640}, {other, other, 0o600}} {
			t.Run(fmt.Sprintf("%s, %d:%d %04o", name, c.uid, c.gid, c.mode), func(t *testing.T) {
				v := newVictim(t)
				for _, file := range benchPlacement.Files {
					must(t, os.RemoveAll(v.dir+"/"+file))
					must(t, os.WriteFile(v.dir+"/"+file, []byte("found "+file), 0o600))
					must(t, os.Chown(v.dir+"/"+file, c.uid, c.gid))
					must(t, os.Chmod(v.dir+"/"+file, c.mode))
				}
				must(t, place(t, tr, v.dir))
				kept, err := filepath.Glob(v.dir + "/.renewer/docker@host-b/r0-*/key.pem")
				must(t, err)
				equal(t, "copies of the key", len(kept), 1)
				info, err := os.Stat(kept[0])
				must(t, err)
				owner := info.Sys().(*syscall.Stat_t)
				equal(t, "owner", hosts.Owner{UID: int(owner.Uid), GID: int(owner.Gid)}, hosts.Owner{UID: c.uid, GID: c.gid})
				equal(t, "mode", info.Mode().Perm(), c.mode)
			})
		}
	}
}

// A file that root makes there and cannot fill is a full disk, and not a file that exists.
func TestFullDiskInTheDirectoryOfTheService(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root may give directories away")
	}
	realServer(t)
	cfg := sshd(t)
	cfg.Sudo = true
	v := newVictim(t)
	full := v.dir + "/full"
	must(t, os.Mkdir(full, 0o755))
	if err := syscall.Mount("tmpfs", full, "tmpfs", 0, "size=128k,mode=755,uid="+strconv.Itoa(mal)); err != nil {
		t.Skipf("cannot mount a file system here: %v", err)
	}
	defer func() { must(t, syscall.Unmount(full, syscall.MNT_DETACH)) }()
	d, err := reach(t, client(t), cfg).OpenDir(t.Context(), full, false)
	must(t, err)
	defer d.Close()
	if err := d.Create(hosts.File{Name: "file", Mode: 0o400, Data: make([]byte, 256<<10)}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("full: %v", err)
	}
}

// What cannot be removed costs no renewal and no taking over. Prune says what it is, with
// the commands that remove it.
func TestLeftoversThatCannotBeRemoved(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root may give directories away")
	}
	realServer(t)
	cfg := sshd(t)
	cfg.Sudo = true
	for name, tr := range map[string]hosts.Transport{"local": hosts.Local(""), "ssh": reach(t, client(t), cfg)} {
		for _, owner := range []int{0, mal} {
			t.Run(fmt.Sprint(name, ", directory of ", owner), func(t *testing.T) {
				base, err := os.MkdirTemp("", "renewer-left-")
				must(t, err)
				defer os.RemoveAll(base)
				must(t, os.Chmod(base, 0o755))
				dir := base + "/certs"
				must(t, os.Mkdir(dir, 0o755))
				must(t, os.Chown(dir, owner, owner))
				p := benchPlacement
				p.Dir, p.Owner, p.Group = dir, strconv.Itoa(owner), strconv.Itoa(owner)
				h := hosts.New(renewer.Host{Name: "host-b"}, tr)
				ca, said := testpki.New(t), error(nil)
				bring := func() {
					pair := ca.Leaf(t, testpki.Options{SANs: []string{"host-b"}})
					content, err := pki.Content(p.Files, renewer.Chain{Leaf: pair.Cert}, pair.Key, []*x509.Certificate{ca.Root})
					must(t, err)
					st, err := h.Stage(t.Context(), p, content)
					must(t, err)
					must(t, h.Flip(t.Context(), p, st.Revision))
					said = h.Prune(t.Context(), p, nil)
				}
				bring()
				must(t, said)
				key, err := filepath.EvalSymlinks(dir + "/key.pem")
				must(t, err)
				if out, err := exec.Command("chattr", "+i", key).CombinedOutput(); err != nil {
					t.Skipf("files cannot be made immutable here: %v: %s", err, out)
				}
				defer exec.Command("chattr", "-R", "-i", dir).Run()
				for range 3 {
					if bring(); !strings.Contains(renewer.Hint(said), "chattr -R -ia "+dir) {
						t.Fatalf("said %v, hint %q", said, renewer.Hint(said))
					}
				}
				h.As(func() renewer.Mark { return renewer.Mark{Fleet: "another", Incarnation: "another"} })
				_, err = h.TakeOver(t.Context(), p)
				must(t, err)
				bring()
				_, command, _ := strings.Cut(renewer.Hint(said), "then ")
				if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
					t.Fatalf("%s: %v: %s", command, err, out)
				}
				bring()
				must(t, said)
			})
		}
	}
}

// A host whose directories belong to many users needs a session for each; they
// give way to each other, and to commands.
func TestDirectoriesOfManyUsers(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root may give directories away")
	}
	realServer(t)
	cfg := sshd(t, "MaxSessions 3")
	cfg.Sudo = true
	tr := reach(t, client(t), cfg)
	base := newVictim(t).dir
	must(t, os.Chown(base, 0, 0))
	for uid := 1; uid <= 4; uid++ { // those that every Unix has
		dir := base + "/" + strconv.Itoa(uid)
		must(t, os.Mkdir(dir, 0o755))
		must(t, os.Chown(dir, uid, uid))
		d, err := tr.OpenDir(t.Context(), dir, false)
		must(t, err)
		must(t, d.Mkdir("made"))
		i, err := d.Lstat("made")
		must(t, err)
		equal(t, "owner", i.Owner.UID, uid)
		must(t, d.Close())
		must(t, oneRun(t, tr))
	}
	const unnamed = 20_001
	must(t, os.Chown(base+"/1", unnamed, unnamed))
	_, err := tr.OpenDir(t.Context(), base+"/1/made", true)
	refused(t, err, "belongs to user 1, and its parent directory to user 20001", "chown")
	must(t, os.Mkdir(base+"/unnamed", 0o755))
	must(t, os.Chown(base+"/unnamed", unnamed, unnamed))
	_, err = tr.OpenDir(t.Context(), base+"/unnamed", true)
	refused(t, err, "has no name on the host", "useradd -M -s /usr/sbin/nologin -u 20001")
}
