package forecast

import (
	"fmt"
	"testing"
	"time"

	"renewer/renewer"

	"pgregory.net/rapid"
)

// An outage of at most tolerate: expires nothing, whenever it begins and whatever it is of:
// windows, pauses between hosts, peer groups and backoff included.
func TestToleratedOutageExpiresNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, names, tolerate := randomFleet(t)
		outage := Outage{
			Of:   rapid.SampledFrom(names).Draw(t, "of"),
			For:  tolerate,
			From: t0.Add(time.Duration(rapid.Int64Range(0, int64(100*day)).Draw(t, "from"))),
		}
		if rapid.Bool().Draw(t, "shorter") {
			outage.For = time.Duration(rapid.Int64Range(int64(time.Minute), int64(tolerate)).Draw(t, "for"))
		}
		if rapid.IntRange(0, 4).Draw(t, "worst moment") > 0 { // when something is renewed or restarted, or just before
			calm := play(f, t0, t0.Add(100*day), nil, 0)
			if n := len(calm.Events); n > 0 {
				outage.From = calm.Events[rapid.IntRange(0, n-1).Draw(t, "event")].Time.Add(-time.Duration(rapid.IntRange(0, 60).Draw(t, "before")) / 40 * time.Second)
			}
		}
		got := play(f, t0, t0.Add(200*day), []Outage{outage}, 0)
		if expires := got.of(Expires); len(expires) > 0 {
			t.Fatalf("%s away from %s for %s, tolerated %s, expires\n%s", outage.Of, outage.From, outage.For, tolerate, lines(expires))
		}
	})
}

// randomFleet is a fleet of certificates that all tolerate the same outage, with the names
// of what can be away.
func randomFleet(t *rapid.T) (f Fleet, names []string, tolerate time.Duration) {
	hosts := []string{"a", "b", "c", "d"}
	names = append([]string{"ca"}, hosts...)
	tolerate = time.Duration(rapid.Int64Range(int64(time.Minute), int64(20*day)).Draw(t, "tolerate"))
	f = fleetOf()
	for i := range rapid.IntRange(1, 4).Draw(t, "entries") {
		perHost, n := rapid.Bool().Draw(t, "per_host"), rapid.IntRange(1, len(hosts)).Draw(t, "hosts")
		name := fmt.Sprintf("cert%d", i)
		base := entry(name, hosts[:n]...)
		base.Lifetime = rapid.SampledFrom([]time.Duration{30 * day, 45 * day, 90 * day}).Draw(t, "lifetime")
		base.OverrideBefore = min(7*day, base.Lifetime/10)
		base.Renewal = renewer.Renewal{
			At: rapid.SampledFrom([]renewer.Share{0.3, 0.67, 0.95, 0.99}).Draw(t, "renew_at"), Jitter: rapid.SampledFrom([]renewer.Share{0, 0.05}).Draw(t, "jitter"),
		}
		base.Pace = renewer.Pace{Canary: rapid.IntRange(0, 2).Draw(t, "canary"), MaxParallel: rapid.IntRange(1, 3).Draw(t, "max_parallel"), Pause: time.Duration(rapid.IntRange(0, 24).Draw(t, "pause")) * time.Hour}
		if rapid.Bool().Draw(t, "shared") {
			for j := range base.Placements {
				base.Placements[j].Activate.Units = []string{"shared.service"}
			}
		}
		if rapid.Bool().Draw(t, "peers") {
			base.PeerGroup = "peers"
			if rapid.Bool().Draw(t, "client") {
				base.Usages = []renewer.Usage{renewer.UsageClient}
			}
		}
		var shut time.Duration
		if rapid.Bool().Draw(t, "windowed") {
			base.Window, shut = "nightly", 22*time.Hour
		}
		base.Renewal.Lead = base.Lead(tolerate, base.RolloutTime(n), shut)
		if base.Renewal.Lead > renewer.MostLead(base.Lifetime) {
			t.Skip("refused by the fleet file")
		}
		issued := t0.Add(-time.Duration(rapid.Int64Range(0, int64(base.Lifetime/20)).Draw(t, "age")))
		if !perHost {
			f.Certificates = append(f.Certificates, inPlace(base, issued))
			continue
		}
		for j, host := range hosts[:n] {
			c := base
			c.Name, c.Placements = name+"@"+host, base.Placements[j:j+1:j+1]
			f.Certificates = append(f.Certificates, inPlace(c, issued))
		}
	}
	return f, names, tolerate
}

// What the metric says is what the forecast shows.
func TestToleranceIsWhatTheForecastShows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := entry("web", "a")
		if rapid.Bool().Draw(t, "windowed") {
			c.Window = "nightly"
		}
		age := time.Duration(rapid.Int64Range(0, int64(c.Lifetime-time.Minute)).Draw(t, "age"))
		state := inPlace(c, t0.Add(-age))
		row := renewer.NewRow(c, state.Record, state.Current)
		d, ok := row.Tolerance(c.RolloutTime(1), t0)
		if !ok {
			t.Fatal("nothing is known of it")
		}
		of := rapid.SampledFrom([]string{"ca", "a"}).Draw(t, "of")
		if d > 0 {
			if got := play(fleetOf(state), t0, t0.Add(200*day), []Outage{{Of: of, For: d}}, 0).of(Expires); len(got) > 0 {
				t.Fatalf("%s away for %s expires %s", of, d, lines(got))
			}
		}
		if got := play(fleetOf(state), t0, t0.Add(200*day), []Outage{{Of: of, For: c.Lifetime - age + time.Second}}, 0).of(Expires); len(got) == 0 {
			t.Fatal("an outage for longer than it lives expires nothing")
		}
		if most := c.Lifetime - age; d > most || d < most*3/7-renewer.BackoffMax {
			t.Fatalf("tolerates %s of %s", d, most)
		}
	})
}
