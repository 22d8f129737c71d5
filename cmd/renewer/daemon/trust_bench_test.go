package daemon

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"renewer/inventory"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/server"
)

// placed has everything in place and loaded, under the root of the CA, but for
// a root that half of the fleet does not have yet.
func (m many) placed() {
	m.b.Helper()
	_, err := CAInit(m.fleet, "")
	must(m.b, err)
	ca, err := local.Open(localConfig(m.fleet.Issuers[0]))
	must(m.b, err)
	roots, err := ca.Roots(m.b.Context())
	must(m.b, err)
	has := renewer.RootSetOf(roots)
	more := has.With(renewer.NewRootSet(renewer.RootID([]byte("another"))))
	inv, err := inventory.Open(filepath.Join(m.dir, "inventory.db"), inventory.Options{NoSync: true})
	must(m.b, err)
	var changes []renewer.Change
	for i, c := range m.fleet.Certificates {
		rec, _, err := inv.Record(c.Name)
		must(m.b, err)
		g, _, err := inv.Generation(c.Name, 1)
		must(m.b, err)
		st, in := rec.Placements["here"], [2]renewer.RootSet{has, more}[i%2]
		st.Revision, st.Origin, st.Roots, st.Loaded, st.PlacedAt = "r1-0", renewer.OriginIssued, in, &renewer.Loaded{Generation: 1, Roots: in}, time.Now()
		rec.Placements["here"], g.Under = st, has
		changes = append(changes, renewer.Change{Record: &rec, Generation: &g, Roots: [][]byte{roots[0].Raw}})
	}
	_, err = inv.Commit(m.b.Context(), changes...)
	must(m.b, err)
	must(m.b, inv.Close())
}

// BenchmarkTrust10000 is what `trust` and `impact` take through the socket, from
// the start of their process to its end, of 10,000 placements each of which
// presents to all and checks all.
func BenchmarkTrust10000(b *testing.B) {
	m := newMany(b)
	m.placed()
	program := filepath.Join(m.dir, "renewer")
	build := exec.Command("go", "build", "-ldflags", "-s -w -X main.version=v1", "-o", program, "renewer/cmd/renewer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	must(b, build.Run())
	a, err := Open(b.Context(), m.fleet, Options{Version: "v1"})
	must(b, err)
	s, err := server.New(server.Options{Service: a, Socket: m.fleet.Socket, Log: slog.New(slog.DiscardHandler)})
	must(b, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	_, err = a.Trust(ctx, renewer.TrustRequest{}) // a daemon has the graph from its first check on
	must(b, err)
	for name, args := range map[string][]string{
		"trust": {"trust"}, "trust-one": {"trust", "web-00007"}, "trust-json": {"trust", "-o", "json"},
		"impact": {"impact", "ca"}, "impact-expired": {"impact", "ca", "--expired"}, "impact-one": {"impact", "web-00007", "--expired"}, "impact-root": {"impact", "root:ca"},
	} {
		b.Run(name, func(b *testing.B) {
			var wall, cpu, both []time.Duration
			for b.Loop() {
				cmd := exec.Command(program, append(args, "--config", m.file)...)
				begin, used := time.Now(), processor(b)
				out, err := cmd.CombinedOutput()
				took, daemon := time.Since(begin), processor(b)-used
				if err != nil || len(out) < 20 {
					b.Fatalf("%v: %s", err, out)
				}
				client := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
				wall, cpu, both = append(wall, took), append(cpu, client), append(both, client+daemon)
			}
			report(b, "wall-ms", wall)
			report(b, "client-cpu-ms", cpu)
			report(b, "cpu-ms/command", both)
		})
	}
	stop()
	must(b, <-ended)
	must(b, a.Close())
}
