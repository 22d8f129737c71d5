package engine

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"renewer/inventory"
	"renewer/inventory/seal"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/hosts"
	"renewer/renewer/probes"
)

// fleetOf is one per_host entry on so many local hosts, each in a directory of
// its own, with real files and a file probe.
func fleetOf(dir string, ca Issuer, n int) Fleet {
	f := Fleet{Issuers: map[string]Issuer{"ca": ca}, Hosts: map[string]Host{}, Windows: map[string]Window{}}
	files := map[renewer.FileKind]string{renewer.FileCA: "ca.crt", renewer.FileCert: "tls.crt", renewer.FileKey: "tls.key"}
	modes := map[renewer.FileKind]fs.FileMode{renewer.FileCA: 0o444, renewer.FileCert: 0o444, renewer.FileKey: 0o400}
	for i := range n {
		host := fmt.Sprintf("host%05d", i)
		name := "web@" + host
		f.Hosts[host] = hosts.New(renewer.Host{Name: host}, hosts.Local(filepath.Join(dir, host)))
		f.Certificates = append(f.Certificates, renewer.Certificate{
			Name: name, Entry: "web", Issuer: "ca", Profile: "files", CommonName: host, SANs: []string{host},
			Usages: []renewer.Usage{renewer.UsageClient, renewer.UsageServer}, Key: renewer.ECDSAP256, Rekey: true,
			Lifetime: 90 * 24 * time.Hour, Renewal: renewer.Renewal{At: 0.67, Jitter: 0.05}, Trust: []string{"ca"},
			OverrideBefore: 7 * 24 * time.Hour, Pace: renewer.Pace{Canary: 1, MaxParallel: 5}, Position: fmt.Sprintf("fleet.yaml:%d:5", i),
			Placements: []renewer.Placement{{
				Certificate: name, Host: host, Dir: "/etc/web", Files: files, Modes: modes,
				Activate: renewer.Activation{Kind: renewer.ActivateNone},
				Probe:    renewer.Probe{Kind: renewer.ProbeFile, Timeout: 30 * time.Second},
			}},
		})
	}
	return f
}

// ends counts the rollouts that ended, and says when there were enough.
type ends struct {
	counts
	left atomic.Int64
	done chan struct{}
}

func (o *ends) RolloutEnded(renewer.Result, time.Duration) {
	if o.left.Add(-1) == 0 {
		close(o.done)
	}
}

// fleetRun is an engine over a real inventory that keeps a fleet of its own.
type fleetRun struct {
	b     *testing.B
	dir   string
	eng   *Engine
	store *inventory.Inventory
	fleet Fleet
	seen  *ends
	stop  func()
}

func newFleetRun(b *testing.B, n int) *fleetRun {
	dir := b.TempDir()
	ca, err := local.Create(local.Config{
		Name: "ca", CertFile: filepath.Join(dir, "ca", "ca.pem"), KeyFile: filepath.Join(dir, "ca", "ca-key.pem"),
	}, local.CreateOptions{})
	check(b, err)
	store, err := inventory.Open(filepath.Join(dir, "inventory.db"), inventory.Options{})
	check(b, err)
	keys, err := seal.Open(store, seal.Options{IdentityFile: filepath.Join(dir, "seal.key"), Create: true})
	check(b, err)
	r := &fleetRun{b: b, dir: dir, store: store, fleet: fleetOf(filepath.Join(dir, "hosts"), ca, n), seen: &ends{}}
	r.eng = New(Config{Store: store, Keys: keys, Prober: probes.New(), Observer: r.seen, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.eng.Run(ctx) }()
	r.stop = func() {
		cancel()
		check(b, <-done)
		check(b, store.Close())
	}
	return r
}

// until runs f and waits until so many rollouts have ended; it returns the CPU
// time of the process.
func (r *fleetRun) until(n int, f func()) time.Duration {
	r.seen.done = make(chan struct{})
	r.seen.left.Store(int64(n))
	begin := cpuTime(r.b)
	f()
	<-r.seen.done
	check(r.b, r.eng.do(context.Background(), func() {})) // a turn of the loop later
	return cpuTime(r.b) - begin
}

// fewest is what each certificate of the smallest fleet took.
var fewest time.Duration

// BenchmarkFromNothing brings a fleet from nothing to verified: orders, files
// of real local hosts, proofs, and the record of all that.
func BenchmarkFromNothing(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			for b.Loop() {
				r := newFleetRun(b, n)
				resetPeak(b)
				took := r.until(n, func() { check(b, r.eng.SetFleet(context.Background(), r.fleet, Alone)) })
				time.Sleep(3 * time.Second)
				rss, peak := memory(b)
				each := took / time.Duration(n)
				if n == 1000 {
					fewest = each
				} else if fewest > 0 { // the floor is the small fleet
					b.ReportMetric(float64(each)/float64(fewest), "x-floor")
				}
				b.ReportMetric(float64(each)/float64(time.Millisecond), "cpu-ms/certificate")
				b.ReportMetric(rss, "MB-idle")
				b.ReportMetric(peak, "MB-peak")
				r.stop()
			}
		})
	}
}

// BenchmarkRenewAll renews 1,000 certificates on request: all are accepted, and
// done as room comes.
func BenchmarkRenewAll(b *testing.B) {
	const n = 1000
	for b.Loop() {
		r := newFleetRun(b, n)
		r.until(n, func() { check(b, r.eng.SetFleet(context.Background(), r.fleet, Alone)) })
		var names []string
		for _, c := range r.fleet.Certificates {
			names = append(names, c.Name)
		}
		debug.FreeOSMemory()
		resetPeak(b)
		var res renewer.RunResult
		took := r.until(n, func() {
			var err error
			res, err = r.eng.Renew(context.Background(), names, renewer.Overrides{}, true, nil)
			check(b, err)
		})
		if res.Failed() || len(res.Rollouts) != n {
			b.Fatalf("%d rollouts", len(res.Rollouts))
		}
		_, peak := memory(b)
		b.ReportMetric(took.Seconds()*1000/n, "cpu-ms/renewal")
		b.ReportMetric(peak, "MB-peak")
		r.stop()
	}
}

// BenchmarkProbeRound looks at 1,000 placements of which none has changed.
func BenchmarkProbeRound(b *testing.B) {
	const n = 1000
	r := newFleetRun(b, n)
	r.until(n, func() { check(b, r.eng.SetFleet(context.Background(), r.fleet, Alone)) })
	var took time.Duration
	for b.Loop() {
		begin := cpuTime(b)
		seen, err := r.eng.Verify(context.Background(), nil)
		check(b, err)
		for _, v := range seen {
			if !v.OK {
				b.Fatalf("%+v", v)
			}
		}
		took += cpuTime(b) - begin
	}
	b.ReportMetric(took.Seconds()*1000/float64(b.N), "cpu-ms/round")
	r.stop()
}

// BenchmarkIdle100000 starts on a fleet of which nothing is due, and ticks.
func BenchmarkIdle100000(b *testing.B) {
	const n = 100_000
	r := newFleetRun(b, 1)
	r.until(1, func() { check(b, r.eng.SetFleet(context.Background(), r.fleet, Alone)) })
	r.multiply(n)
	begin, at := cpuTime(b), time.Now()
	check(b, r.eng.SetFleet(context.Background(), r.fleet, Alone))
	start, wall := cpuTime(b)-begin, time.Since(at)
	var took time.Duration
	for b.Loop() {
		begin := cpuTime(b)
		r.eng.Tick(context.Background())
		took += cpuTime(b) - begin
	}
	if len(r.eng.entries) > 0 {
		b.Fatalf("%d are under way", len(r.eng.entries))
	}
	b.ReportMetric(took.Seconds()*1000/float64(b.N), "cpu-ms/tick")
	b.ReportMetric(start.Seconds(), "cpu-s/start") // with the collector's work on an idle processor
	b.ReportMetric(wall.Seconds(), "wall-s/start")
	r.stop()
}

// multiply gives a fleet of one many more like it.
func (r *fleetRun) multiply(n int) {
	c := r.fleet.Certificates[0]
	rec, _, err := r.store.Record(c.Name)
	check(r.b, err)
	gen, _, err := r.store.Generation(c.Name, 1)
	check(r.b, err)
	var changes []Change
	for i := 1; i < n; i++ {
		c := c
		c.Name = fmt.Sprintf("web@more%06d", i)
		c.Placements = slices.Clone(c.Placements)
		c.Placements[0].Certificate = c.Name
		rec, gen := rec.Clone(), gen
		rec.Name, gen.Certificate = c.Name, c.Name
		row := renewer.NewRow(c, rec, &gen)
		changes = append(changes, Change{Record: &rec, Row: &row, Generation: &gen})
		if r.fleet.Certificates = append(r.fleet.Certificates, c); len(changes) == 1000 || i == n-1 {
			_, err := r.store.Commit(context.Background(), changes...)
			check(r.b, err)
			changes = changes[:0]
		}
	}
}

// memory is what the process has resident now, and had at most.
func memory(b *testing.B) (now, peak float64) {
	text, err := os.ReadFile("/proc/self/status")
	check(b, err)
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kB, _ := strconv.ParseFloat(f[1], 64)
		switch f[0] {
		case "VmRSS:":
			now = kB / 1024
		case "VmHWM:":
			peak = kB / 1024
		}
	}
	return now, peak
}

func resetPeak(b *testing.B) { check(b, os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)) }
