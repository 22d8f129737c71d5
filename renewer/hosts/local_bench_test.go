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
// and pruned, in CPU time, where there are as many placements. The floor, turn by
// turn in the same run, makes the same files, links and syncs and looks at nothing.
func BenchmarkLocalPlacement(b *testing.B) {
	for _, hosts := range []int{1, 50, 1000} {
		b.Run(fmt.Sprint(hosts), func(b *testing.B) { localPlacements(b, hosts) })
	}
}

func localPlacements(b *testing.B, hosts int) {
	pki := newBench(b)
	root, lean := b.TempDir(), filepath.Join(b.TempDir(), "lean")
	must(b, os.MkdirAll(lean, 0o755))
	all, placements := make([]*Host, hosts), make([]renewer.Placement, hosts)
	old, next := pki.content(b, placement(), pki.old), pki.content(b, placement(), pki.new)
	place := func(n int, content map[renewer.FileKind][]byte) {
		st, err := all[n].Stage(b.Context(), placements[n], content)
		must(b, err)
		must(b, all[n].Flip(b.Context(), placements[n], st.Revision))
	}
	for n := range hosts {
		all[n], placements[n] = New(renewer.Host{Name: fmt.Sprint("host-", n)}, Local("/")), placement()
		placements[n].Dir = filepath.Join(root, fmt.Sprint(n), "tls")
		must(b, os.MkdirAll(placements[n].Dir, 0o755))
		place(n, old)
	}
	var ours, floor time.Duration
	n := 0
	for b.Loop() {
		content := next
		if n/hosts%2 == 1 {
			content = old
		}
		at := n % hosts
		n++
		start := cpu(b)
		place(at, content)
		_, err := all[at].Inspect(b.Context(), placements[at])
		must(b, err)
		must(b, all[at].Prune(b.Context(), placements[at], nil))
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
