package hosts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"renewer/internal/testpki"
	"renewer/renewer"
)

var errInjected = errors.New("injected fault")

// faults is a transport that fails at its nth operation, and looks at the
// host after each. Sync is counted, not done: nothing here loses power.
type faults struct {
	Transport
	at   int    // 0: never
	way  string // how it fails
	look func(op string)

	within func() // in the middle of a rename

	mu sync.Mutex
	Count
}

func (f *faults) do(op string, effect func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Ops++
	n := f.Ops
	switch verb, _, _ := strings.Cut(op, " "); verb {
	case "open", "read", "list", "lstat", "readlink", "sync":
	default:
		f.Wrote = append(f.Wrote, n)
	}
	if f.at > 0 && (n == f.at && f.way == Once || n > f.at && f.way == Crash) {
		return fmt.Errorf("%s: %w", op, errInjected)
	}
	f.within = func() {}
	if f.way == PauseWithin {
		f.within = func() {
			if n == f.at {
				f.look(op + ", half")
			}
		}
	}
	err := effect()
	if f.way == PauseWithin {
		return err
	}
	if f.look != nil && n >= f.at { // up to there it is as without a fault
		f.look(op)
	}
	if n == f.at && f.way != Pause {
		return fmt.Errorf("%s: %w", op, errInjected)
	}
	return err
}

func (f *faults) OpenDir(ctx context.Context, path string, create bool, _ ...Ahead) (d Dir, err error) {
	err = f.do("open "+path, func() error {
		inner, err := f.Transport.OpenDir(ctx, path, create)
		d = &faultyDir{inner, f}
		return err
	})
	return d, err
}

type faultyDir struct {
	Dir
	f *faults
}

func (d *faultyDir) Mkdir(name string) error {
	return d.f.do("mkdir "+name, func() error { return d.Dir.Mkdir(name) })
}

func (d *faultyDir) Chmod(name string, mode fs.FileMode) error {
	return d.f.do("chmod "+name, func() error { return d.Dir.Chmod(name, mode) })
}

// Create leaves half of a file where it fails after it began.
func (d *faultyDir) Create(files ...File) error {
	for _, f := range files {
		half := f
		half.Data = f.Data[:len(f.Data)/2]
		err := d.f.do("create "+f.Name, func() error { return d.Dir.Create(half) })
		if err != nil {
			return err
		}
		err = d.f.do("write "+f.Name, func() error {
			if err := d.Dir.Remove(f.Name); err != nil {
				return err
			}
			return d.Dir.Create(f)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *faultyDir) ReadFile(name string, limit int64) (info Info, data []byte, err error) {
	err = d.f.do("read "+name, func() error { info, data, err = d.Dir.ReadFile(name, limit); return err })
	return info, data, err
}

func (d *faultyDir) ReadDir(name string) (names []string, err error) {
	err = d.f.do("list "+name, func() error { names, err = d.Dir.ReadDir(name); return err })
	return names, err
}

func (d *faultyDir) Lstat(name string) (info Info, err error) {
	err = d.f.do("lstat "+name, func() error { info, err = d.Dir.Lstat(name); return err })
	return info, err
}

func (d *faultyDir) Readlink(name string) (target string, err error) {
	err = d.f.do("readlink "+name, func() error { target, err = d.Dir.Readlink(name); return err })
	return target, err
}

func (d *faultyDir) Publish(temp, name string, mode fs.FileMode, files ...File) error {
	return Publish(d, temp, name, mode, files)
}

func (d *faultyDir) Discard(name, temp, gone string, _ []string) error {
	if err := d.Link(name, temp, path.Join(name, gone)); err != nil {
		return err
	}
	if err := d.Rename(name, temp); err != nil {
		return err
	}
	return RemoveAll(d, temp)
}

// Link and Rename do not sync: nothing here loses power.
func (d *faultyDir) Link(target, temp, name string) error {
	inner := d.Dir.(*localDir)
	inner.anew(temp)
	err := d.f.do("symlink "+temp, func() error {
		return inner.at("symlink", temp, func(dir int, base string) error { return unix.Symlinkat(target, dir, base) })
	})
	if err != nil {
		return err
	}
	return d.Rename(temp, name)
}

func (d *faultyDir) Rename(from, to string) error {
	inner := d.Dir.(*localDir)
	err := d.f.do("rename to "+to, func() error {
		inner.anew(from, to)
		defer inner.leave(from, to)
		return inner.at("rename", to, func(dir int, base string) error {
			return inner.at("rename", from, func(old int, name string) error {
				if _, revision := parseRevision(path.Base(from)); revision || inRoom(from) { // a link that leaves the layout may go still: see mark.go
					d.f.Within = append(d.f.Within, d.f.Ops)
					d.f.within()
				}
				return unix.Renameat(old, name, dir, base)
			})
		})
	})
	if err != nil {
		return err
	}
	return d.Sync(".")
}

func (d *faultyDir) Remove(names ...string) error {
	for _, name := range names {
		if err := d.f.do("remove "+name, func() error { return d.Dir.Remove(name) }); err != nil {
			return err
		}
	}
	return nil
}

func (d *faultyDir) Sync(name string) error {
	return d.f.do("sync "+name, func() error { return nil })
}

// scenario is a state of the host, something to do with it, and how it must
// look then.
type scenario struct {
	name  string
	setup func(t *testing.T, b *bench, h *Host)
	act   func(t *testing.T, b *bench, h *Host) error
	// before and after are what is served; before may be a torn pair only
	// where somebody else made it.
	before, after func(b *bench) testpki.Pair
}

func oldPair(b *bench) testpki.Pair { return b.old }
func newPair(b *bench) testpki.Pair { return b.new }

func bring(p renewer.Placement) func(*testing.T, *bench, *Host) error {
	return func(t *testing.T, b *bench, h *Host) error {
		st, err := h.Stage(t.Context(), p, b.content(t, p, b.new))
		if err != nil {
			return err
		}
		return h.Flip(t.Context(), p, st.Revision)
	}
}

// back flips to the revision that holds the old pair.
func back(t *testing.T, b *bench, h *Host) error {
	rev, ok, err := h.Locate(t.Context(), placement(), print(b.old))
	if err != nil {
		return err
	}
	if !ok {
		return errors.New("the old pair is lost")
	}
	return h.Flip(t.Context(), placement(), rev)
}

var scenarios = []scenario{
	{
		name:  "first placement",
		setup: func(*testing.T, *bench, *Host) {},
		act:   bring(placement()), after: newPair,
	},
	{
		name:  "renewal",
		setup: func(t *testing.T, b *bench, h *Host) { b.place(t, h, placement(), b.old) },
		act:   bring(placement()), before: oldPair, after: newPair,
	},
	{
		name:  "plain files",
		setup: func(t *testing.T, b *bench, _ *Host) { b.plain(t, placement(), b.old) },
		act:   bring(placement()), before: oldPair, after: newPair,
	},
	{
		name: "plain files, one of them new to the layout",
		setup: func(t *testing.T, b *bench, h *Host) {
			b.place(t, h, without(placement(), renewer.FileCA), b.old)
			testpki.WriteFile(t, b.path(dir, "ca.pem"), b.ca.PEM(), 0o444)
		},
		act: bring(placement()), before: oldPair, after: newPair,
	},
	{
		name: "plain files put over links",
		setup: func(t *testing.T, b *bench, h *Host) {
			b.place(t, h, placement(), b.new)
			must(t, os.Remove(b.path(dir, "server-cert.pem")))
			must(t, os.Remove(b.path(dir, "server-key.pem")))
			b.plain(t, without(placement(), renewer.FileCA), b.old)
		},
		act: bring(placement()), before: oldPair, after: newPair,
	},
	{
		name: "written through the links",
		setup: func(t *testing.T, b *bench, h *Host) {
			b.place(t, h, placement(), b.new)
			b.plain(t, placement(), b.old)
		},
		act: bring(placement()), before: oldPair, after: newPair,
	},
	{
		name: "a name leaves the layout",
		setup: func(t *testing.T, b *bench, h *Host) {
			b.place(t, h, placement(), b.old)
		},
		act: bring(without(placement(), renewer.FileCA)), before: oldPair, after: newPair,
	},
	{
		name: "restore",
		setup: func(t *testing.T, b *bench, h *Host) {
			b.place(t, h, placement(), b.old)
			b.place(t, h, placement(), b.new)
		},
		act: back, before: newPair, after: oldPair,
	},
	{
		name: "restore of plain files",
		setup: func(t *testing.T, b *bench, h *Host) {
			b.plain(t, placement(), b.old)
			b.place(t, h, placement(), b.new)
		},
		act: back, before: newPair, after: oldPair,
	},
	{
		name: "prune",
		setup: func(t *testing.T, b *bench, h *Host) {
			b.place(t, h, placement(), b.old)
			b.place(t, h, placement(), b.new)
		},
		act: func(t *testing.T, b *bench, h *Host) error {
			return h.Prune(t.Context(), placement(), nil)
		},
		before: newPair, after: newPair,
	},
}

// check says what is wrong with the live names: they must give the pair from
// before or the one of after, and none may be missing.
func (s scenario) check(b *bench) error {
	p := without(placement(), renewer.FileCA)
	if s.before == nil { // names appear one by one
		if _, err := os.Stat(b.path(dir, p.Files[renewer.FileCert])); err != nil {
			return nil
		}
		if _, err := os.Stat(b.path(dir, p.Files[renewer.FileKey])); err != nil {
			return nil
		}
	} else {
		for _, name := range p.Files {
			if _, err := os.Stat(b.path(dir, name)); err != nil {
				return fmt.Errorf("a name is missing: %w", err)
			}
		}
	}
	switch got := b.served(p); {
	case got == print(s.after(b)), s.before != nil && got == print(s.before(b)):
		return nil
	case got == "":
		return errors.New("the pair is torn")
	default:
		return fmt.Errorf("another certificate is live: %s", got)
	}
}

// The server of a connection that broke continues with the requests that it has: what it puts
// into a leftover that is being removed does not end the next Stage.
func TestALeftoverThatGrowsWhileItIsRemoved(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	leftover := []string{dir, storeDir, placement().Certificate, tempMark + "r9"}
	testpki.WriteFile(t, b.path(append(leftover, "one")...), nil, 0o600)
	grown := false
	h := New(renewer.Host{Name: "host-a"}, &faults{Transport: Local(b.root), look: func(op string) {
		if !grown && strings.HasPrefix(op, "list ") && strings.HasSuffix(op, tempMark+"r9") {
			grown = true
			testpki.WriteFile(t, b.path(append(leftover, "two")...), nil, 0o600)
		}
	}})
	p := placement()
	_, err := h.Stage(t.Context(), p, b.content(t, p, b.new))
	must(t, err)
	if !grown {
		t.Error("nothing was put there: the test shows nothing")
	}
}

// At every operation of every scenario, and after a failure of each of them,
// the live names give a whole pair; and the same call, made again, gets there.
func TestEveryFault(t *testing.T) {
	t.Parallel()
	pki := newBench(t)
	for name, start := range machines {
		for _, s := range scenarios {
			t.Run(name+"/"+s.name, func(t *testing.T) {
				t.Parallel()
				s.everyFault(t, pki, start(t))
			})
		}
	}
}

func (s scenario) everyFault(t *testing.T, pki *bench, m Machine) {
	root := memory(t)
	run := func(at int, way string) *Count {
		b := *pki
		b.root = filepath.Join(root, fmt.Sprint(way, at))
		must(t, os.MkdirAll(b.path(dir), 0o755))
		defer os.RemoveAll(b.root)
		unsynced := New(renewer.Host{Name: "host-a"}, &faults{Transport: Local(b.root)})
		s.setup(t, &b, unsynced)
		broken, count := m.Break(b.root, at, way, func(op string) {
			if err := s.check(&b); err != nil {
				t.Errorf("%s at operation %d: after %s: %v", way, at, op, err)
			}
		})
		defer broken.Close()
		err := s.act(t, &b, New(renewer.Host{Name: "host-a"}, broken))
		switch {
		case at == 0 && err != nil:
			t.Fatal(err)
		case err != nil && !errors.Is(err, m.Injected()):
			t.Errorf("%s at operation %d: the fault is not in the error: %v", way, at, err)
		}
		if err := s.check(&b); err != nil {
			t.Errorf("%s at operation %d: %v", way, at, err)
		}
		// The next one finds what is there and goes on.
		if err := s.act(t, &b, New(renewer.Host{Name: "host-a"}, m.Mend(broken))); err != nil {
			t.Errorf("%s at operation %d: again: %v", way, at, err)
		}
		if got := b.served(placement()); got != print(s.after(&b)) {
			t.Errorf("%s at operation %d: after trying again %q is live", way, at, got)
		}
		s.clean(t, &b, unsynced)
		return count
	}
	count := run(0, "no fault")
	ops, wrote := count.Ops, count.Wrote
	if ops < 5 || len(wrote) < 2 {
		t.Fatalf("only %d operations, %d of them write", ops, len(wrote))
	}
	every := m.Every()
	if os.Getenv("RENEWER_TEST_EVERY_FAULT") != "" {
		every = 1
	}
	for at := 1; at <= ops && !t.Failed(); at++ {
		if at%(every*every) == 0 {
			run(at, Once)
		}
		if n := slices.Index(wrote, at); n >= 0 && n%every == 0 {
			run(at, Crash)
		}
	}
}

// clean checks that nothing temporary outlives the next Stage, and that what
// is in place has no problem.
func (s scenario) clean(t *testing.T, b *bench, h *Host) {
	t.Helper()
	p := placement()
	pair := s.after(b)
	if _, err := os.Lstat(b.path(dir, "ca.pem")); os.IsNotExist(err) {
		p = without(p, renewer.FileCA)
	}
	st, err := h.Stage(t.Context(), p, b.content(t, p, pair))
	must(t, err)
	if !st.Live && !strings.HasPrefix(st.Previous, "r0-") {
		t.Errorf("the same content is not found live: %+v", st)
	}
	rooms := b.tree(t, dir, ownerDir)
	equal(t, "rooms", len(rooms), 1)
	for _, name := range append(b.tree(t, dir, storeDir, p.Certificate), b.tree(t, dir, ownerDir, rooms[0])...) {
		if strings.HasPrefix(name, tempMark) {
			t.Errorf("left behind: %s", name)
		}
	}
	got, err := h.Inspect(t.Context(), p)
	must(t, err)
	equalSlices(t, "problems", got.Texts(), nil)
}
