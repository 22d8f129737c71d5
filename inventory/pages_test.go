package inventory

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"renewer/renewer"
)

// numbers returns where in a file numbers of pages are, in branches, buckets, the
// list of free pages and in front of each page, and where in leaves offsets and
// sizes of keys are: some of each kind.
func numbers(t *testing.T, path string) (at []int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	p, err := newestPages(f)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string][]int64{}
	note := func(kind string, pos int64) { kinds[kind] = append(kinds[kind], pos) }
	for id := uint64(2); id < p.meta.highWater; id++ {
		pg, err := p.read(id)
		if err != nil {
			continue // the rest of a longer one, or never written
		}
		begin := int64(id * p.meta.pageSize)
		switch pg.flags {
		case pageBranch:
			for n := range int(pg.count) {
				note("branch", begin+pageHeader+int64(n)*elementSize+8)
			}
		case pageFreelist:
			if id == p.meta.freelist {
				for n := range int(pg.count) {
					note("free", begin+pageHeader+int64(n)*8)
				}
			}
		case pageLeaf:
			for n := range int(pg.count) {
				if pg.bounds() != nil {
					break // an older one, partly overwritten
				}
				note("element", begin+pageHeader+int64(n)*elementSize+4)
				if root, err := pg.bucket(n); err == nil && root != 0 {
					e := pg.element(n)
					note("bucket", begin+pageHeader+int64(n)*elementSize+int64(binary.NativeEndian.Uint32(e[4:])+binary.NativeEndian.Uint32(e[8:])))
				}
			}
		}
		note("page", begin)
	}
	for _, kind := range []string{"branch", "free", "bucket", "page", "element"} {
		if len(kinds[kind]) == 0 {
			t.Fatalf("the file has no %s", kind)
		}
		for n, most := 0, min(30, len(kinds[kind])); n < most; n++ {
			at = append(at, kinds[kind][n*len(kinds[kind])/most])
		}
	}
	return at
}

// A damaged number leads out of the file, or in a circle: that is an error
// which names the file and has a hint, when it is opened or when it is read, and
// never the end of the process.
func TestADamagedPageNumberIsAnErrorWithAHint(t *testing.T) {
	t.Parallel()
	i := open(t)
	for first := range 10 {
		var all []renewer.Change
		for n := range 15 {
			all = append(all, issued(fmt.Sprintf("web-%04d@host", 15*first+n), 1, day(n)))
		}
		commit(t, i, all...)
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(i.Path())
	if err != nil {
		t.Fatal(err)
	}
	path, r := i.Path(), rand.New(rand.NewPCG(1, 2))
	refused := 0
	for _, at := range numbers(t, path) {
		b := append([]byte{}, content...)
		was := binary.NativeEndian.Uint64(b[at:])
		next := was ^ 1<<r.IntN(64)
		if r.IntN(2) == 0 {
			next = uint64(r.IntN(len(content) / os.Getpagesize()))
		}
		binary.NativeEndian.PutUint64(b[at:], next)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		i, err := Open(path, Options{NoSync: true})
		if err == nil {
			_, _ = everything(i)
			_ = i.CheckFull(t.Context())
			if err := i.Close(); err != nil {
				t.Error(err)
			}
			continue
		}
		refused++
		var bad *DamagedError
		if !errors.As(err, &bad) || bad.Path != path || !strings.Contains(renewer.Hint(err), "renewer restore FILE") {
			t.Fatalf("page number %d made %d: %v", was, next, err)
		}
	}
	if refused == 0 {
		t.Error("none was refused")
	}
	t.Logf("%d refused", refused)
}
