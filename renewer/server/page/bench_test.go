package page

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"renewer/internal/testfleet"
	"renewer/inventory"
	"renewer/renewer"
)

// stored is a fleet whose list is an inventory's.
type stored struct {
	*testfleet.Fleet
	inv *inventory.Inventory
}

func (s *stored) List(_ context.Context, f renewer.ListFilter, yield func(renewer.Row) error) (err error) {
	listed := s.inv.Rows(time.Time{}, func(r renewer.Row) bool {
		if r = r.At(now); f.Matches(r) {
			err = yield(r)
		}
		return err == nil
	})
	return errors.Join(listed, err)
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

// BenchmarkPage10000 is the first page of 10,000 certificates, made whole
// before its first byte is sent. Its floor is one list of them from an
// inventory. TestPagesOfALargeFleetAreSmall holds the size.
func BenchmarkPage10000(b *testing.B) {
	inv, err := inventory.Open(filepath.Join(b.TempDir(), "inventory.db"), inventory.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer inv.Close()
	f := &stored{testfleet.Well(now, many10k), inv}
	var changes []renewer.Change
	for _, d := range f.Details {
		rec := renewer.Record{Name: d.Name, Entry: "docker", Issuer: d.Issuer}
		changes = append(changes, renewer.Change{Record: &rec, Row: &d.Row})
	}
	if _, err := inv.Commit(b.Context(), changes...); err != nil {
		b.Fatal(err)
	}
	const rounds = 10
	begin := cpuTime(b)
	for range rounds {
		if err := f.List(b.Context(), renewer.ListFilter{}, func(renewer.Row) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
	floor := (cpuTime(b) - begin) / rounds
	h := handler(f)
	size := 0
	begin = cpuTime(b)
	for b.Loop() {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
		if rec.Code != 200 {
			b.Fatal(rec.Body)
		}
		size = rec.Body.Len()
	}
	ours := (cpuTime(b) - begin) / time.Duration(b.N)
	b.ReportMetric(float64(ours.Microseconds()), "cpu-µs/page")
	b.ReportMetric(float64(ours)/float64(floor), "x-floor")
	b.ReportMetric(float64(size)/1e3, "kB/page")
}
