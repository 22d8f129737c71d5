package engine

import (
	"context"
	"testing"
	"time"

	"renewer/renewer"
)

// BenchmarkRotate200 renews 200 certificates on as many hosts, each of which accepts
// all others, and then replaces their CA: roots, certificates, roots. x-renewals is
// the ratio of the CPU time; three are the goal.
func BenchmarkRotate200(b *testing.B) {
	const n = 200
	for b.Loop() {
		r := newFleetRun(b, n)
		line := newDynasty(b, r.dir, caLife)
		r.fleet.Issuers["ca"] = line
		var names []string
		for i := range r.fleet.Certificates {
			c := &r.fleet.Certificates[i]
			c.Placements[0].Reloads, c.Pace = renewer.Reloads{Leaf: true, Trust: true}, renewer.Pace{Canary: 1, MaxParallel: 200}
			names = append(names, c.Name)
		}
		r.until(n, func() { check(b, r.eng.SetFleet(context.Background(), r.fleet, Alone)) })
		renewed := r.until(n, func() {
			_, err := r.eng.Renew(context.Background(), names, renewer.Overrides{}, true, nil)
			check(b, err)
		})
		begin := cpuTime(b)
		r.seen.left.Store(1 << 40) // it is not counted how many rollouts it takes
		line.begin(b, caLife, false)
		check(b, r.eng.Rotate(context.Background(), nil, "ca"))
		stages := map[string]time.Duration{}
		for !line.last.Stage.Over() {
			at, from := string(line.last.Stage), cpuTime(b)
			if !line.step(b, r.eng, 90*24*time.Hour) {
				time.Sleep(100 * time.Millisecond) // the daemon gathers what is recorded in a quarter of a second
			}
			stages[at] += cpuTime(b) - from
		}
		rotated := cpuTime(b) - begin
		for stage, took := range stages {
			b.ReportMetric(took.Seconds()*1000/n, "cpu-ms/"+stage)
		}
		b.ReportMetric(renewed.Seconds()*1000/n, "cpu-ms/renewal")
		b.ReportMetric(rotated.Seconds()*1000/n, "cpu-ms/rotation")
		b.ReportMetric(float64(rotated)/float64(renewed), "x-renewals")
		r.stop()
	}
}
