package remote

import (
	"bytes"
	"context"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"renewer/internal/testpki"
	"renewer/renewer"
	"renewer/renewer/hosts"
)

// An adversary of another process mostly comes too late on this machine: between a
// look and what follows are microseconds. This one is always in time: before each
// operation in the directory a part of its name is a link to what is root's, and
// after it what it was.
func TestSwappedBeforeEachOperation(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root has something to lose")
	}
	rounds := 10
	if n, err := strconv.Atoi(os.Getenv("RENEWER_ATTACK")); err == nil {
		rounds = n
	}
	ca := testpki.New(t)
	root := exec.Command("sleep", "1000000")
	must(t, root.Start())
	ended := make(chan struct{})
	go func() { _ = root.Wait(); close(ended) }()
	defer func() { _ = root.Process.Kill(); <-ended }()
	swaps, done := 0, 0
	for round := range rounds {
		for _, owner := range []string{"root", "mal"} {
			v := newVictim(t)
			work := v.hire(t, ca, owner, root.Process.Pid)
			tr := &inTime{Transport: hosts.Local(""), t: t, v: v, rand: rand.New(rand.NewPCG(uint64(round), 1))}
			for _, step := range work.steps(t.Context(), t, hosts.New(renewer.Host{Name: "host-b"}, tr)) {
				if step.do() == nil {
					done++
				}
				v.check(t, step.name)
			}
			swaps += tr.swaps
		}
	}
	select {
	case <-ended:
		t.Fatal("a process of root's was signalled for mal")
	default:
	}
	t.Logf("%d rounds, %d operations with a name swapped before, without effect; %d steps done in spite of them", rounds, swaps, done)
	if swaps < rounds*100 || done < rounds*10 {
		t.Errorf("%d swaps, %d steps done: the test shows little", swaps, done)
	}
}

// inTime swaps names before each operation.
type inTime struct {
	hosts.Transport
	t     *testing.T
	v     *victim
	rand  *rand.Rand
	swaps int
}

func (a *inTime) OpenDir(ctx context.Context, name string, create bool, first ...hosts.Ahead) (hosts.Dir, error) {
	d, err := a.Transport.OpenDir(ctx, name, create, first...)
	if err != nil || name != a.v.dir {
		return d, err
	}
	return &inTimeDir{d, a}, nil
}

type inTimeDir struct {
	hosts.Dir
	a *inTime
}

// swapped has op done with a part of the name swapped, and tells which; then
// everything is as it was. last: the last part may be it.
func (d *inTimeDir) swapped(name string, last bool, op func() error) (part string, err error) {
	parts := strings.Split(name, "/")
	n := len(parts)
	if !last {
		n--
	}
	if n < 1 || name == "." {
		return "", fs.ErrInvalid
	}
	part = path.Join(parts[:1+d.a.rand.IntN(n)]...)
	at, link := d.a.v.dir+"/"+part, d.a.v.dir+"/.swapped"
	to := []string{"/secret", "/readable", "/dir/ca.pem"}
	info, err := os.Lstat(at)
	if err == nil && info.IsDir() {
		to = []string{"", "/dir"}
	}
	must(d.a.t, os.Symlink(d.a.v.private+to[d.a.rand.IntN(len(to))], link))
	defer os.Remove(link)
	if err != nil {
		if err := os.Rename(link, at); err != nil { // else it comes where nothing was
			return "", err
		}
		defer func() {
			if now, err := os.Readlink(at); err == nil && strings.HasPrefix(now, d.a.v.private) {
				must(d.a.t, os.Remove(at))
			}
		}()
	} else {
		exchange := func() error { return unix.Renameat2(unix.AT_FDCWD, at, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE) }
		must(d.a.t, exchange())
		defer exchange() // what was done may have taken one of them away
	}
	d.a.swaps++
	err = op()
	d.a.v.unchanged(d.a.t, "an operation on "+name+" with "+part+" swapped")
	return part, err
}

// change is an operation that changes something: it is done once.
func (d *inTimeDir) change(name string, last bool, op func() error) error {
	if _, err := d.swapped(name, last, op); err == nil {
		return nil
	}
	return op()
}

func (d *inTimeDir) Mkdir(name string) error {
	return d.change(name, true, func() error { return d.Dir.Mkdir(name) })
}

func (d *inTimeDir) Chmod(name string, mode fs.FileMode) error {
	return d.change(name, true, func() error { return d.Dir.Chmod(name, mode) })
}

func (d *inTimeDir) Create(files ...hosts.File) error {
	for _, f := range files {
		if err := d.change(f.Name, true, func() error { return d.Dir.Create(f) }); err != nil {
			return err
		}
	}
	return nil
}

func (d *inTimeDir) Publish(temp, name string, mode fs.FileMode, files ...hosts.File) error {
	return hosts.Publish(d, temp, name, mode, files)
}

func (d *inTimeDir) Discard(name, temp, gone string, likely []string) error {
	return d.change(name, false, func() error { return d.Dir.Discard(name, temp, gone, likely) })
}

func (d *inTimeDir) Link(target, temp, name string) error {
	return d.change(name, false, func() error { return d.Dir.Link(target, temp, name) })
}

func (d *inTimeDir) Rename(from, to string) error {
	name := from
	if d.a.rand.IntN(2) == 0 {
		name = to
	}
	return d.change(name, false, func() error { return d.Dir.Rename(from, to) })
}

func (d *inTimeDir) Remove(names ...string) error {
	for _, name := range names {
		if err := d.change(name, false, func() error { return d.Dir.Remove(name) }); err != nil {
			return err
		}
	}
	return nil
}

func (d *inTimeDir) Sync(name string) error {
	_, _ = d.swapped(name, true, func() error { return d.Dir.Sync(name) })
	return d.Dir.Sync(name)
}

func (d *inTimeDir) ReadFile(name string, limit int64) (hosts.Info, []byte, error) {
	part, err := d.swapped(name, true, func() error {
		_, data, err := d.Dir.ReadFile(name, limit)
		if bytes.Contains(data, []byte(secret)) {
			d.a.t.Errorf("reading %s read what only root may know", name)
		}
		return err
	})
	if part == name && err == nil {
		d.a.t.Errorf("a link in the place of %s was read through", name)
	}
	return d.Dir.ReadFile(name, limit)
}

func (d *inTimeDir) ReadDir(name string) ([]string, error) {
	_, _ = d.swapped(name, true, func() error {
		names, err := d.Dir.ReadDir(name)
		if err == nil && strings.Contains(strings.Join(names, " "), "readable") {
			d.a.t.Errorf("listing %s listed what is root's", name)
		}
		return err
	})
	return d.Dir.ReadDir(name)
}

func (d *inTimeDir) Lstat(name string) (hosts.Info, error) {
	var info hosts.Info
	part, err := d.swapped(name, true, func() (err error) { info, err = d.Dir.Lstat(name); return err })
	if part == name && err == nil && info.Mode&fs.ModeSymlink == 0 {
		d.a.t.Errorf("a link in the place of %s was looked through", name)
	}
	return d.Dir.Lstat(name)
}

func (d *inTimeDir) Readlink(name string) (string, error) {
	_, _ = d.swapped(name, true, func() error { _, err := d.Dir.Readlink(name); return err })
	return d.Dir.Readlink(name)
}
