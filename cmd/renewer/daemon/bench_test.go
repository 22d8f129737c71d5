package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"renewer/configs"
	"renewer/inventory"
	"renewer/renewer"
	"renewer/renewer/server"
	"renewer/renewer/server/page"
)

// many is a fleet file of 10,000 entries, every certificate of which is valid
// for 90 days.
type many struct {
	b         *testing.B
	dir, file string
	fleet     *configs.Fleet
}

func newMany(b *testing.B) many {
	dir := b.TempDir()
	m := many{b: b, dir: dir, file: filepath.Join(dir, "renewer.yaml")}
	must(b, os.Chmod(dir, 0o700))
	var text strings.Builder
	fmt.Fprintf(&text, "state_dir: %s\nissuers: {ca: {type: local}}\nhosts: {here: {type: local}}\ncertificates:\n", dir)
	for i := range 10_000 {
		fmt.Fprintf(&text, "  - {name: web-%05d, issuer: ca, profile: files, hosts: [here], dir: /srv/%d, sans: [www-%d.example.com]}\n", i, i, i)
	}
	must(b, os.WriteFile(m.file, []byte(text.String()), 0o600))
	var err error
	m.fleet, err = configs.Load(m.file)
	must(b, err)
	inv, err := inventory.Open(filepath.Join(dir, "inventory.db"), inventory.Options{NoSync: true})
	must(b, err)
	var changes []renewer.Change
	now := time.Now()
	for _, c := range m.fleet.Certificates {
		g := &renewer.Generation{
			Certificate: c.Name, Number: 1, Request: c.Request(), Serial: "0a", Fingerprint: renewer.Fingerprint([]byte(c.Name)), Chain: [][]byte{make([]byte, 600)},
			CommonName: c.CommonName, SANs: c.SANs, Usages: c.Usages, NotBefore: now, IssuedAt: now, NotAfter: now.AddDate(0, 0, 90), RenewAt: now.AddDate(0, 0, 60),
		}
		rec := renewer.Record{Name: c.Name, Entry: c.Entry, Issuer: c.Issuer, Current: 1, Latest: 1, NextAt: g.RenewAt, Placements: map[string]renewer.PlacementState{
			"here": {State: renewer.HostVerified, Generation: 1, Served: g.Fingerprint, ServedEnd: g.NotAfter, Matches: true, VerifiedAt: now},
		}}
		row := renewer.NewRow(c, rec, g)
		changes = append(changes, renewer.Change{Record: &rec, Row: &row, Generation: g})
	}
	_, err = inv.Commit(b.Context(), changes...)
	must(b, err)
	must(b, inv.SetHolds("v1 "+m.fleet.Digest))
	must(b, inv.Close())
	return m
}

// measure runs a command again and again, from the start of its process to its
// end, and reports the median of the time, and that of the processor in it.
func (m many) measure(args ...string) {
	m.b.Helper()
	program := filepath.Join(m.dir, "renewer")
	build := exec.Command("go", "build", "-ldflags", "-s -w -X main.version=v1", "-o", program, "renewer/cmd/renewer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	must(m.b, build.Run())
	var wall, cpu []time.Duration
	for m.b.Loop() {
		cmd := exec.Command(program, append(args, "--config", m.file)...)
		begin := time.Now()
		out, err := cmd.CombinedOutput()
		wall = append(wall, time.Since(begin))
		if err != nil || string(out) != "[]\n" {
			m.b.Fatalf("%v: %s", err, out)
		}
		cpu = append(cpu, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
	}
	report(m.b, "wall-ms", wall)
	report(m.b, "client-cpu-ms", cpu)
}

func report(b *testing.B, unit string, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, unit)
}

// BenchmarkListThroughSocket10000 is `list --expiring 30d` without a hit.
func BenchmarkListThroughSocket10000(b *testing.B) {
	m := newMany(b)
	a, err := Open(b.Context(), m.fleet, Options{Version: "v1"})
	must(b, err)
	s, err := server.New(server.Options{Service: a, Socket: m.fleet.Socket, Log: slog.New(slog.DiscardHandler)})
	must(b, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	m.measure("list", "--expiring", "30d", "-o", "json")
	stop()
	must(b, <-ended)
	must(b, a.Close())
}

// BenchmarkListWithoutDaemon10000 is the same from the inventory alone.
func BenchmarkListWithoutDaemon10000(b *testing.B) {
	newMany(b).measure("list", "--expiring", "30d", "-o", "json")
}

// BenchmarkPort10000 is what the daemon's port answers: the status page and a
// scrape, each after a commit as probes make them, over HTTP to a client in the same process.
// Their floor is an answer of the same size that is ready in memory.
func BenchmarkPort10000(b *testing.B) {
	m := newMany(b)
	a, err := Open(b.Context(), m.fleet, Options{Version: "v1"})
	must(b, err)
	a.daemon.Store(&renewer.DaemonStatus{Running: true})
	state := &lateState{}
	state.app.Store(a)
	var ready []byte
	mux := http.NewServeMux()
	mux.Handle("/metrics", server.NewMetrics("v1", state))
	mux.HandleFunc("/ready", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(ready) })
	mux.Handle("/", page.Handler(page.Options{Source: newPages(a), Log: slog.New(slog.DiscardHandler)}))
	srv := httptest.NewServer(mux)
	get := func(path string) (body []byte, wall, cpu time.Duration) {
		begin, used := time.Now(), processor(b)
		resp, err := http.Get(srv.URL + path)
		must(b, err)
		body, err = io.ReadAll(resp.Body)
		must(b, errors.Join(err, resp.Body.Close()))
		if resp.StatusCode != http.StatusOK {
			b.Fatalf("%s: %s", path, resp.Status)
		}
		return body, time.Since(begin), processor(b) - used
	}
	n := 0
	for name, path := range map[string]string{"page": "/", "scrape": "/metrics"} {
		b.Run(name, func(b *testing.B) {
			var wall, cpu, floor []time.Duration
			for b.Loop() {
				c := m.fleet.Certificates[n%len(m.fleet.Certificates)]
				n++
				rec, _, err := a.inv.Record(c.Name)
				must(b, err)
				_, err = a.inv.Commit(b.Context(), renewer.Change{Record: &rec})
				must(b, err)
				body, w, p := get(path)
				wall, cpu, ready = append(wall, w), append(cpu, p), body
				_, _, p = get("/ready")
				floor = append(floor, p)
			}
			report(b, "wall-ms", wall)
			report(b, "cpu-ms/answer", cpu)
			report(b, "floor-cpu-ms", floor)
			b.ReportMetric(float64(len(ready))/1e6, "MB")
			b.ReportMetric(float64(cpu[len(cpu)/2])/float64(floor[len(floor)/2]), "x-floor")
		})
	}
	srv.Close()
	must(b, a.Close())
}

// processor is the time of the processor in this process so far.
func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
