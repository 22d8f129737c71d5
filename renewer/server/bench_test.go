package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"renewer/inventory"
	"renewer/renewer"
)

// stored is a State whose rows are an inventory's.
type stored struct {
	fakeState
	inv *inventory.Inventory
}

func (s *stored) Rows(until time.Time, yield func(renewer.Row) bool) error {
	return s.inv.Rows(until, yield)
}

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

// BenchmarkScrape10000 is a scrape of 10,000 certificates over HTTP, each after
// a commit as probes make them. Its floor is an answer of the same size that is
// ready in memory, sent to the same client.
func BenchmarkScrape10000(b *testing.B) {
	inv, err := inventory.Open(filepath.Join(b.TempDir(), "inventory.db"), inventory.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer inv.Close()
	s := &stored{inv: inv}
	var changes []renewer.Change
	for i := range 10_000 {
		r := row(fmt.Sprintf("docker@host-%d", i), fmt.Sprintf("host-%d", i))
		changes = append(changes, renewer.Change{Record: &renewer.Record{Name: r.Name, Entry: "docker", Issuer: r.Issuer}, Row: &r})
		s.hosts = append(s.hosts, renewer.HostStatus{Name: r.CommonName, Up: true})
	}
	if _, err := inv.Commit(b.Context(), changes...); err != nil {
		b.Fatal(err)
	}
	made := &readyAnswer{}
	mux := http.NewServeMux()
	m := NewMetrics("1.2.3", s)
	m.state.now = func() time.Time { return start.Add(time.Hour) } // the fleet is healthy then
	mux.Handle("/metrics", m)
	mux.Handle("/made", made)
	srv := httptest.NewServer(mux)
	defer srv.Close()
	fetch(b, srv.URL+"/metrics", &made.text)
	const rounds = 20
	begin := cpuTime(b)
	for range rounds {
		fetch(b, srv.URL+"/made", io.Discard)
	}
	floor := (cpuTime(b) - begin) / rounds

	size, n := int64(0), 0
	var ours time.Duration
	for b.Loop() {
		if _, err := inv.Commit(b.Context(), changes[n%len(changes)]); err != nil {
			b.Fatal(err)
		}
		n++
		begin = cpuTime(b)
		size = fetch(b, srv.URL+"/metrics", io.Discard)
		ours += cpuTime(b) - begin
	}
	ours /= time.Duration(n)
	b.ReportMetric(float64(ours.Microseconds()), "cpu-µs/scrape")
	b.ReportMetric(float64(ours)/float64(floor), "x-floor")
	b.ReportMetric(float64(size)/1e6, "MB/scrape")
}

type readyAnswer struct{ text bytes.Buffer }

func (a *readyAnswer) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	_, _ = w.Write(a.text.Bytes())
}

// fetch hands the body to w and returns its size.
func fetch(b *testing.B, url string, w io.Writer) int64 {
	b.Helper()
	resp, err := http.Get(url)
	if err != nil {
		b.Fatal(err)
	}
	n, err := io.Copy(w, resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != http.StatusOK {
		b.Fatal(resp.Status, err)
	}
	return n
}
