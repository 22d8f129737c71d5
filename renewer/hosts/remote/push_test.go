package remote

import (
	"bufio"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/renewer"
	"renewer/renewer/hosts"
	"renewer/renewer/pki"
)

// BenchmarkPush200 renews on 200 hosts at the same time, over a connection each, and
// reports the most memory that this process had by then. The hosts are another one.
func BenchmarkPush200(b *testing.B) {
	const many = 200
	ca := testpki.New(b)
	pair := ca.Leaf(b, testpki.Options{SANs: []string{"127.0.0.1"}})
	cfg, _ := elsewhere(b, b.TempDir(), ca, pair)
	contents := func() map[renewer.FileKind][]byte {
		pair := ca.Leaf(b, testpki.Options{SANs: []string{"127.0.0.1"}})
		c, err := pki.Content(benchFiles, renewer.Chain{Leaf: pair.Cert}, pair.Key, []*x509.Certificate{ca.Root})
		must(b, err)
		return c
	}
	root, p := b.TempDir(), benchPlacement
	for n := range many {
		cfg.Root = filepath.Join(root, strconv.Itoa(n))
		must(b, os.MkdirAll(cfg.Root+p.Dir, 0o755))
		prepare(b, hosts.Local(cfg.Root), p, contents())
	}
	cl := client(b)
	var cpu, peak float64
	n := 0
	for b.Loop() {
		n++
		content := contents()
		debug.FreeOSMemory()
		must(b, os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)) // the peak starts again: proc(5)
		start := cpuTime(b)
		var all sync.WaitGroup
		for n := range many {
			all.Go(func() {
				cfg := cfg
				cfg.Root = filepath.Join(root, strconv.Itoa(n))
				renewal{cl, p, content}.steps(b, cfg, func(string, time.Duration) {})
			})
		}
		all.Wait()
		cpu += float64((cpuTime(b) - start).Microseconds())
		peak += peakMB(b)
	}
	b.ReportMetric(peak/float64(n), "MB-peak")
	b.ReportMetric(cpu/float64(n*many), "cpu-µs/host")
}

// peakMB is the most memory that was resident: proc_pid_status(5).
func peakMB(b *testing.B) (mb float64) {
	f, err := os.Open("/proc/self/status")
	must(b, err)
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if kb, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			_, err := fmt.Sscan(kb, &mb)
			must(b, err)
		}
	}
	return mb / 1024
}
