package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"renewer/cmd/renewer/daemon"
	"renewer/configs"
	"renewer/inventory"
	"renewer/renewer"
	"renewer/renewer/server"
)

// many is a fleet file of 10,000 entries, every certificate of which is valid
// for 90 days, and the program.
type many struct {
	b             *testing.B
	program, file string
	fleet         *configs.Fleet
}

func newMany(b *testing.B) many {
	dir := b.TempDir()
	m := many{b: b, program: filepath.Join(dir, "renewer"), file: filepath.Join(dir, "renewer.yaml")}
	must(b, os.Chmod(dir, 0o700))
	build := exec.Command("go", "build", "-ldflags", "-s -w -X main.version=v1", "-o", m.program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	must(b, build.Run())
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

// measure runs a command again and again, and reports the median of its time,
// and that of the processor in it.
func (m many) measure(args ...string) {
	m.b.Helper()
	var wall, cpu []time.Duration
	for m.b.Loop() {
		cmd := exec.Command(m.program, append(args, "--config", m.file)...)
		begin := time.Now()
		out, err := cmd.CombinedOutput()
		wall = append(wall, time.Since(begin))
		if err != nil || string(out) != "[]\n" {
			m.b.Fatalf("%v: %s", err, out)
		}
		cpu = append(cpu, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
	}
	for unit, all := range map[string][]time.Duration{"wall-ms": wall, "client-cpu-ms": cpu} {
		slices.Sort(all)
		m.b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, unit)
	}
}

// BenchmarkListThroughSocket10000 is `list --expiring 30d` without a hit, from
// the start of the process to its end.
func BenchmarkListThroughSocket10000(b *testing.B) {
	m := newMany(b)
	a, err := daemon.Open(b.Context(), m.fleet, daemon.Options{Version: "v1"})
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

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
