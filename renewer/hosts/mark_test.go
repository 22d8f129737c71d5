package hosts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"renewer/internal/testpki"
	"renewer/renewer"
)

func as(fleet, incarnation string, term int) func() renewer.Mark {
	m := renewer.Mark{Fleet: fleet, Incarnation: incarnation, Term: term, Name: incarnation + ":/var/lib/renewer"}
	return func() renewer.Mark { return m }
}

// snapshot is all that lies in the placement's directory, but for marks and those
// that are being made.
func (b *bench) snapshot(t testing.TB) string {
	t.Helper()
	var out strings.Builder
	must(t, filepath.WalkDir(b.path(dir), func(name string, d fs.DirEntry, err error) error {
		must(t, err)
		if name == b.path(dir, ownerDir) || strings.HasPrefix(name, b.path(dir, storeDir, tempMark)) {
			return fs.SkipDir
		}
		if name == b.path(dir, storeDir, placement().Certificate) {
			return nil // an empty one more is no matter
		}
		if _, err := os.Lstat(filepath.Join(name, goneName)); err == nil {
			return fs.SkipDir // no revision any more, wherever it goes
		}
		info, err := d.Info()
		must(t, err)
		if r, ok := parseRevision(d.Name()); ok && r.n == 0 { // who may enter it: see mark.go
			fmt.Fprintln(&out, name)
			return nil
		}
		target, _ := os.Readlink(name)
		data, _ := os.ReadFile(name)
		fmt.Fprintf(&out, "%s %v %s %d\n", strings.TrimPrefix(name, b.root), info.Mode(), target, len(data))
		return nil
	}))
	return out.String()
}

// At every operation of one renewer another one comes: it is refused and harms
// nothing, or has the operator's word and takes over. Then the first does nothing
// any more, whatever it was about to do.
func TestTwoRenewersAtEveryOperation(t *testing.T) {
	t.Parallel()
	pki := newBench(t)
	for name, start := range machines {
		for _, s := range scenarios {
			for _, over := range []bool{false, true} {
				if !over && s.before != nil && !strings.HasPrefix(s.name, "plain files") {
					continue // it is refused by a mark that is there from the start
				}
				t.Run(fmt.Sprintf("%s/%s/taken over %v", name, s.name, over), func(t *testing.T) {
					t.Parallel()
					s.twoRenewers(t, pki, start(t), over)
				})
			}
		}
	}
}

func (s scenario) twoRenewers(t *testing.T, pki *bench, m Machine, over bool) {
	root := memory(t)
	third := pki.ca.Leaf(t, testpki.Options{SANs: []string{"host-a"}})
	run := func(at int, way string) *Count {
		b := *pki
		b.root = filepath.Join(root, fmt.Sprint(way, at))
		must(t, os.MkdirAll(b.path(dir), 0o755))
		defer os.RemoveAll(b.root)
		s.setup(t, &b, New(renewer.Host{Name: "host-a"}, &faults{Transport: Local(b.root)}).As(as("fleet", "a", 0)))
		second := New(renewer.Host{Name: "host-a"}, &faults{Transport: Local(b.root)}).As(as("fleet", "b", 0))
		var secondErr error
		var after string
		var came sync.Once
		only := over && at%2 == 1 // nothing is placed by who takes over
		comes := func(op string) {
			came.Do(func() {
				if over {
					if _, err := second.TakeOver(t.Context(), placement()); err != nil {
						t.Errorf("at operation %d, after %s: take over: %v", at, op, err)
					}
				}
				if after = b.snapshot(t); only {
					return
				}
				other := b
				other.new = third
				if secondErr = bring(placement())(t, &other, second); secondErr == nil {
					after = b.snapshot(t)
				} else if !errors.Is(secondErr, renewer.ErrKept) {
					t.Errorf("at operation %d, after %s: the second: %v", at, op, secondErr)
				}
			})
		}
		if at == 0 {
			comes = func(string) {}
		}
		broken, count := m.Break(b.root, at, way, comes)
		defer broken.Close()
		first := New(renewer.Host{Name: "host-a"}, broken).As(as("fleet", "a", 0))
		if at == 0 {
			must(t, s.act(t, &b, first))
			return count
		}
		firstErr := s.act(t, &b, first)
		came.Do(func() { secondErr = renewer.ErrKept }) // no such moment
		if firstErr != nil && !errors.Is(firstErr, renewer.ErrKept) {
			t.Errorf("%s %d: the first: %v", way, at, firstErr)
		}
		switch {
		case over && secondErr != nil && after != "":
			t.Errorf("%s %d: who takes over was refused: %v", way, at, secondErr)
		case secondErr == nil: // from then on it is the second's alone
			if now := b.snapshot(t); now != after {
				t.Errorf("%s %d: the first went on:\n%s\nbefore:\n%s", way, at, now, after)
			}
			if got := b.served(placement()); !only && got != print(third) {
				t.Errorf("%s %d: %q is live", way, at, got)
			}
		case firstErr != nil:
			t.Errorf("%s %d: both were refused: %v, and %v", way, at, firstErr, secondErr)
		default:
			if got := b.served(placement()); got != print(s.after(&b)) {
				t.Errorf("%s %d: %q is live", way, at, got)
			}
		}
		rooms := b.tree(t, dir, ownerDir)
		equal(t, "rooms", len(rooms), 1)
		return count
	}
	count := run(0, Pause)
	for at := 1; at <= count.Ops && !t.Failed(); at += m.Every() {
		run(at, Pause)
	}
	for _, at := range count.Within {
		run(at, PauseWithin)
	}
}

// Several at once, without an order: one of them has the directory at each moment,
// and what is live is whole and of somebody who was not refused.
func TestManyRenewersAtOnce(t *testing.T) {
	t.Parallel()
	pki := newBench(t)
	rapid.Check(t, func(t *rapid.T) {
		root, err := os.MkdirTemp("/dev/shm", "renewer-test-")
		if err != nil {
			t.Skip("no memory for files")
		}
		defer os.RemoveAll(root)
		b := *pki
		b.root = root
		fleets, terms := rapid.SliceOfN(rapid.IntRange(0, 1), 3, 3).Draw(t, "fleets"), rapid.SliceOfN(rapid.IntRange(0, 2), 3, 3).Draw(t, "terms")
		var work sync.WaitGroup
		errs := make([]error, len(fleets))
		p := placement()
		if err := os.MkdirAll(b.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
		content, err := contentOf(&b, p, b.new)
		if err != nil {
			t.Fatal(err)
		}
		for n := range fleets {
			work.Go(func() {
				h := New(renewer.Host{Name: "host-a"}, Local(b.root)).As(as(fmt.Sprint("fleet", fleets[n]), fmt.Sprint("n", n), terms[n]))
				st, err := h.Stage(context.Background(), p, content)
				if err == nil {
					err = h.Flip(context.Background(), p, st.Revision)
				}
				errs[n] = err
			})
		}
		work.Wait()
		refused := 0
		for _, err := range errs {
			if errors.Is(err, renewer.ErrKept) {
				refused++
			} else if err != nil {
				t.Errorf("%v", err)
			}
		}
		if refused == len(errs) {
			t.Errorf("everybody was refused: %v", errs)
		}
		if b.served(p) != print(b.new) {
			t.Error("what is live is no pair")
		}
	})
}

// Who lost the directory restarts nothing any more: over SSH that is seen in the very
// command line that would.
func TestWhoLostTheDirectoryActivatesNothing(t *testing.T) {
	overEach(t, func(t *testing.T, b *bench) {
		p := placement()
		first := b.host().As(as("fleet", "a", 0))
		b.place(t, first, p, b.old)
		touched := b.path("touched by '$me")
		how := renewer.Activation{Kind: renewer.ActivateCommand, Command: []string{"touch", touched}, Dirs: []string{dir}}
		_, err := first.Activate(t.Context(), how)
		must(t, err)
		must(t, os.Remove(touched))

		_, err = b.host().As(as("fleet", "b", 0)).TakeOver(t.Context(), p)
		must(t, err)
		for name, h := range map[string]*Host{"it": first, "its next process": b.host().As(as("fleet", "a", 0))} {
			_, err = h.Activate(t.Context(), how)
			if !errors.Is(err, renewer.ErrKept) || renewer.Hint(err) == "" {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := os.Stat(touched); err == nil {
				t.Errorf("%s ran the command", name)
			}
		}
		how.Command = []string{"false"}
		if _, err := b.host().As(as("fleet", "b", 0)).Activate(t.Context(), how); err == nil || errors.Is(err, renewer.ErrKept) {
			t.Errorf("a command of its own that fails: %v", err)
		}
	})
}

// What lies at the mark's place and is none is an error with a hint, and no
// reason to write.
func TestAMarkThatIsNone(t *testing.T) {
	overEach(t, func(t *testing.T, b *bench) {
		p := placement()
		for name, make := range map[string]func(at string) error{
			"a file": func(at string) error { return os.WriteFile(at, nil, 0o644) },
			"words":  func(at string) error { return os.MkdirAll(filepath.Join(at, "of somebody"), 0o755) },
			"two of them": func(at string) error {
				return errors.Join(os.MkdirAll(filepath.Join(at, "f.a.0"), 0o755), os.Mkdir(filepath.Join(at, "f.b.0"), 0o755))
			},
		} {
			at := b.path(dir, ownerDir)
			must(t, os.RemoveAll(at))
			must(t, os.MkdirAll(filepath.Dir(at), 0o755))
			must(t, make(at))
			_, err := b.host().Stage(t.Context(), p, b.content(t, p, b.new))
			if err == nil || !strings.Contains(renewer.Hint(err), "rm -r "+dir+"/"+ownerDir) {
				t.Errorf("%s: %v, hint %q", name, err, renewer.Hint(err))
			}
		}
		must(t, os.RemoveAll(b.path(dir, ownerDir))) // as the hint says
		must(t, os.MkdirAll(b.path(dir, ownerDir), 0o755))
		b.place(t, b.host(), p, b.new)
	})
}
