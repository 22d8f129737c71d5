package hosts

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"renewer/renewer"
)

// BenchmarkLocalPlacement is a renewal on this machine, staged, flipped, looked at
// and pruned, in CPU time. The floor, turn by turn in the same run, makes the
// same files, links and syncs and looks at nothing.
func BenchmarkLocalPlacement(b *testing.B) {
	pki := newBench(b)
	p := placement()
	p.Dir = filepath.Join(b.TempDir(), "tls")
	must(b, os.MkdirAll(p.Dir, 0o755))
	lean := filepath.Join(b.TempDir(), "lean")
	must(b, os.MkdirAll(lean, 0o755))
	h := New(renewer.Host{Name: "host-a"}, Local("/"))
	old, next := pki.content(b, p, pki.old), pki.content(b, p, pki.new)
	var ours, floor time.Duration
	n := 0
	for b.Loop() {
		content := old
		if n++; n%2 == 0 {
			content = next
		}
		start := cpu(b)
		st, err := h.Stage(b.Context(), p, content)
		must(b, err)
		must(b, h.Flip(b.Context(), p, st.Revision))
		_, err = h.Inspect(b.Context(), p)
		must(b, err)
		must(b, h.Prune(b.Context(), p, nil))
		middle := cpu(b)
		leanPlacement(b, lean, n, content)
		ours += middle - start
		floor += cpu(b) - middle
	}
	b.ReportMetric(float64(ours.Microseconds())/float64(n), "cpu-µs/op")
	b.ReportMetric(float64(ours)/float64(floor), "x-floor")
}

func leanPlacement(b *testing.B, at string, n int, content map[renewer.FileKind][]byte) {
	dir := filepath.Join(at, fmt.Sprint("r", n))
	must(b, os.Mkdir(dir+".tmp", 0o700))
	for kind, data := range content {
		f, err := os.OpenFile(filepath.Join(dir+".tmp", string(kind)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		must(b, err)
		must(b, f.Chown(os.Geteuid(), os.Getegid()))
		must(b, f.Chmod(0o400))
		_, err = f.Write(data)
		must(b, err)
		must(b, f.Sync())
		must(b, f.Close())
	}
	sync := func(name string) {
		f, err := os.Open(name)
		must(b, err)
		must(b, f.Sync())
		must(b, f.Close())
	}
	sync(dir + ".tmp")
	must(b, os.Rename(dir+".tmp", dir))
	sync(at)
	must(b, os.Symlink(filepath.Base(dir), at+"/link"))
	must(b, os.Rename(at+"/link", at+"/current"))
	sync(at)
	if n > 1 {
		before := filepath.Join(at, fmt.Sprint("r", n-1))
		for kind := range content {
			must(b, os.Remove(filepath.Join(before, string(kind))))
		}
		must(b, os.Remove(before))
	}
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
