package configs

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// cpuTime is the processor time of this process so far; a busy machine changes
// it less than the time on the wall.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// fleetOf writes a fleet file that includes entries of one host each, 1,000 a
// file, on as many hosts; with perHost one entry has them all.
func fleetOf(b *testing.B, entries, hosts int, perHost bool) (file string, texts []string) {
	b.Helper()
	var text strings.Builder
	file = filepath.Join(b.TempDir(), "renewer.yaml")
	write := func(name string) {
		writeFile(b, filepath.Join(filepath.Dir(file), name), text.String())
		texts = append(texts, text.String())
		text.Reset()
	}
	text.WriteString("include: [fleet.d/*.yaml]\nstate_dir: /var/lib/renewer\nissuers:\n  fleet-ca: {type: local}\n")
	if perHost {
		text.WriteString("groups: {all: [\"host-*\"]}\ncertificates:\n  - {name: docker, issuer: fleet-ca, profile: docker-server, hosts: [\"@all\"], per_host: true}\n")
	}
	write("renewer.yaml")
	for first := 0; first < max(entries, hosts); first += 1000 {
		text.WriteString("hosts:\n")
		for i := first; i < min(first+1000, hosts); i++ {
			fmt.Fprintf(&text, "  host-%d: {address: 10.%d.%d.%d, names: [host-%d.example.com], user: renewer, sudo: true}\n", i, i>>16, i>>8&255, i&255, i)
		}
		text.WriteString("certificates:\n")
		for i := first; i < min(first+1000, entries); i++ {
			fmt.Fprintf(&text, "  - {name: web-%d, issuer: fleet-ca, profile: files, hosts: [host-%d], dir: /srv/web-%d/tls, lifetime: 30d}\n", i, i%hosts, i)
		}
		write(fmt.Sprintf("fleet.d/%06d.yaml", first))
	}
	return file, texts
}

// benchmarkLoad loads a fleet file with what it includes. Its floor decodes the
// same text into nodes of YAML.
func benchmarkLoad(b *testing.B, entries, hosts int, perHost bool, want int) {
	file, texts := fleetOf(b, entries, hosts, perHost)
	begin, size := cpuTime(b), 0
	for _, text := range texts {
		var n yaml.Node
		if err := yaml.Unmarshal([]byte(text), &n); err != nil {
			b.Fatal(err)
		}
		size += len(text)
	}
	floor := cpuTime(b) - begin
	runtime.GC()
	b.SetBytes(int64(size))
	var ours time.Duration
	for b.Loop() {
		begin = cpuTime(b)
		fleet, err := Load(file)
		if err != nil || len(fleet.Certificates) != want {
			b.Fatal(err)
		}
		ours += cpuTime(b) - begin
	}
	ours /= time.Duration(b.N)
	b.ReportMetric(float64(ours.Microseconds())/1000, "cpu-ms/load")
	b.ReportMetric(float64(ours)/float64(floor), "x-floor")
	b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "wall-ms")
}

func BenchmarkLoad10000(b *testing.B)       { benchmarkLoad(b, 10_000, 100, false, 10_000) }
func BenchmarkLoad100000(b *testing.B)      { benchmarkLoad(b, 100_000, 1000, false, 100_000) }
func BenchmarkLoad10000Hosts(b *testing.B)  { benchmarkLoad(b, 0, 10_000, true, 10_000) }
func BenchmarkLoad10000OnEach(b *testing.B) { benchmarkLoad(b, 10_000, 10_000, false, 10_000) }
