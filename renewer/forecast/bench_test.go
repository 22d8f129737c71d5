package forecast

import (
	"encoding/json"
	"fmt"
	"syscall"
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
// the decoding of what it begins with, once. A second of processor time is the goal.
func BenchmarkYear1000(b *testing.B) {
	f := thousand()
	text, err := json.Marshal(f.Certificates)
	if err != nil {
		b.Fatal(err)
	}
	const floors = 5
	begin := cpuTime(b)
	for range floors {
		var states []renewer.State
		if err := json.Unmarshal(text, &states); err != nil {
			b.Fatal(err)
		}
	}
	floor := (cpuTime(b) - begin) / floors
	var got Forecast
	begin = cpuTime(b)
	for b.Loop() {
		got = play(f, t0, t0.Add(365*day), nil, 0)
	}
	took := (cpuTime(b) - begin) / time.Duration(b.N)
	b.ReportMetric(float64(took)/float64(floor), "x-floor")
	b.ReportMetric(float64(took)/float64(time.Millisecond), "cpu-ms/year")
	b.ReportMetric(float64(len(got.of(Renewal))), "renewals")
}

// cpuTime is the processor time that this process has used.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
