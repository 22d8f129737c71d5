package notify

import (
	"fmt"
	"testing"
	"time"

	"renewer/renewer"
)

// A fleet of 10,000 thhat has problems everywhere at once, and one more event.
func BenchmarkTakeWith10000Open(b *testing.B) {
	s, wanted := newState(0), all()
	for i := range 10_000 {
		e := event(renewer.EventRolloutBlocked, fmt.Sprintf("docker@host-%05d", i), "")
		e.Seq, e.Time = uint64(i)+1, start
		s.take(e, wanted, start)
	}
	for b.Loop() {
		s.take(event(renewer.EventStaged, "docker@host-00001", "host-00001"), wanted, start.Add(time.Hour))
	}
	data, err := encode(s)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(len(data)), "state-bytes")
}
