package forecast

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"renewer/renewer"
)

// thousand is an entry on 1,000 hosts, issued over two months.
func thousand() Fleet {
	f := fleetOf()
	for i := range 1000 {
		c := entry(fmt.Sprintf("web@host%04d", i), fmt.Sprintf("host%04d", i))
		c.Entry, c.Window, c.Renewal = "web", "nightly", renewer.Renewal{At: renewer.DefaultRenewAt, Jitter: renewer.DefaultJitter}
		c.Pace.MaxParallel = 5
		f.Certificates = append(f.Certificates, inPlace(c, t0.Add(-time.Duration(i)*60*day/1000)))
	}
	return f
}

// BenchmarkYear1000 is a year of 1,000 certificates that live for 90 days. The floor is
// the decoding of what it begins with, once.
func BenchmarkYear1000(b *testing.B) {
	f := thousand()
	text, err := json.Marshal(f.Certificates)
	if err != nil {
		b.Fatal(err)
	}
	begin := time.Now()
	var states []renewer.State
	if err := json.Unmarshal(text, &states); err != nil {
		b.Fatal(err)
	}
	floor := time.Since(begin)
	var got Forecast
	for b.Loop() {
		got = Play(f, t0, t0.Add(365*day), nil, 0)
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(floor), "x-floor")
	b.ReportMetric(float64(len(got.of(Renewal))), "renewals")
}
