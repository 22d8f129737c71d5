package engine

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"renewer/renewer"
	"renewer/renewer/forecast"
)

// night is open from 02:00 to 04:00 UTC.
type night struct{}

func (night) At(t time.Time) (bool, time.Time) {
	opening := t.Truncate(24 * time.Hour).Add(2 * time.Hour)
	if open := !t.Before(opening) && t.Before(opening.Add(2*time.Hour)); open || !t.Before(opening) {
		return open, opening.Add(24 * time.Hour)
	}
	return false, opening
}

// The engine renews and restarts when the forecast said that it would: with windows,
// pauses, peer groups and services that several certificates share, and through outages.
func TestEngineDoesWhatTheForecastSaid(t *testing.T) {
	certs := func(b *bench) (out []renewer.Certificate) {
		b.fleet.Windows["night"] = night{}
		add := func(name, entry string, life time.Duration, change func(*renewer.Certificate), hosts ...string) {
			c := b.cert(name, life, hosts...)
			c.Entry, c.SANs, c.Renewal.Jitter, c.OverrideBefore = entry, []string{entry + ".test"}, 0, life/10
			if change != nil {
				change(&c)
			}
			out = append(out, c)
		}
		for _, host := range []string{"a", "b", "c"} {
			add("web@"+host, "web", month, func(c *renewer.Certificate) { c.Pace = renewer.Pace{Canary: 1, MaxParallel: 1, Pause: time.Hour} }, host)
		}
		add("api", "api", 20*24*time.Hour, func(c *renewer.Certificate) {
			c.Window, c.Pace = "night", renewer.Pace{Canary: 1, MaxParallel: 1, Pause: 90 * time.Minute}
		}, "a", "b", "c")
		add("server", "server", month, func(c *renewer.Certificate) { c.PeerGroup, c.Window = "peers", "night" }, "a")
		add("client", "client", month, func(c *renewer.Certificate) {
			c.PeerGroup, c.Usages = "peers", []renewer.Usage{renewer.UsageClient}
			c.Placements[0].Probe = renewer.Probe{Kind: renewer.ProbeFile, Timeout: time.Second}
		}, "b")
		add("short", "short", 3*24*time.Hour, func(c *renewer.Certificate) { c.Placements[0].Activate.Units = []string{"web@c.service"} }, "c")
		return out
	}
	for name, of := range map[string]string{"nothing is away": "", "the issuer is away": "ca", "a host is away": "b"} {
		t.Run(name, func(t *testing.T) {
			scene(t, Alone, certs, func(t *testing.T, b *bench) {
				time.Sleep(12 * time.Hour) // everything is in place
				states, _, err := b.eng.States(context.Background())
				must(t, err)
				begin := time.Now()
				var outages []forecast.Outage
				if of != "" {
					outages = []forecast.Outage{{Of: of, From: begin.Add(10 * 24 * time.Hour), For: 10 * 24 * time.Hour}}
				}
				f, err := forecast.Play(t.Context(), forecast.Fleet{
					Certificates: states, Windows: map[string]forecast.Window{"night": {At: night{}.At, Duration: 2 * time.Hour}},
				}, forecast.Terms{From: begin, Until: begin.Add(45 * 24 * time.Hour), Outages: outages})
				must(t, err)
				if of != "" {
					time.Sleep(10 * 24 * time.Hour)
					b.away(of, true)
					time.Sleep(10 * 24 * time.Hour)
					b.away(of, false)
				}
				time.Sleep(time.Until(f.Until))
				b.didWhat(f, map[bool]time.Duration{true: time.Minute, false: 30 * time.Minute}[of == ""])
			})
		})
	}
}

// away takes the issuer or a host away, or brings it back.
func (b *bench) away(name string, is bool) {
	if name == "ca" {
		b.ca.breakWith(map[bool]error{true: errors.New("connection refused")}[is])
		return
	}
	m := b.machine(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = is
}

// didWhat compares what a forecast said with what the engine did.
func (b *bench) didWhat(f forecast.Forecast, within time.Duration) {
	b.t.Helper()
	said, did := map[string][]time.Time{}, map[string][]time.Time{}
	note := func(in map[string][]time.Time, what string, at time.Time) {
		if last := in[what]; len(last) == 0 || at.Sub(last[len(last)-1]) > time.Second { // else services of one host
			in[what] = append(in[what], at)
		}
	}
	for _, e := range f.Events {
		switch e.Kind {
		case forecast.Renewal:
			note(said, "issued "+e.Certificate, e.Time)
		case forecast.Restart:
			note(said, "restart "+e.Host, e.Time)
		}
	}
	for _, e := range b.events(renewer.EventIssued, renewer.EventActivated) {
		switch {
		case e.Time.Before(f.From) || e.Time.After(f.Until):
		case e.Type == renewer.EventIssued:
			note(did, "issued "+e.Certificate, e.Time)
		default:
			note(did, "restart "+e.Host, e.Time)
		}
	}
	for what, times := range said {
		if got := did[what]; len(got) != len(times) || slices.ContainsFunc(times, func(at time.Time) bool {
			return !slices.ContainsFunc(got, func(x time.Time) bool { return x.Sub(at).Abs() <= within })
		}) {
			b.t.Errorf("%s: said %s, did %s", what, texts(times), texts(got))
		}
	}
	if len(said) < 8 {
		b.t.Errorf("too little was said: %v", said)
	}
}

func texts(times []time.Time) (out []string) {
	for _, t := range times {
		out = append(out, t.UTC().Format("01-02T15:04:05"))
	}
	return out
}

// A host that was left behind has an earlier generation. When that is about to expire, its
// window no longer counts, however long the current one lives.
func TestHostLeftBehindGetsTheCertificateBeforeItExpires(t *testing.T) {
	scene(t, Alone, func(b *bench) []renewer.Certificate {
		c := b.cert("web", month, "a", "b")
		c.Renewal, c.OverrideBefore = renewer.Renewal{Before: 24 * time.Hour}, 48*time.Hour
		return []renewer.Certificate{c}
	}, func(t *testing.T, b *bench) {
		time.Sleep(time.Hour)
		fleet := b.fleet // the engine reads the one that it has
		fleet.Windows, fleet.Certificates = maps.Clone(fleet.Windows), slices.Clone(fleet.Certificates)
		fleet.Windows["shut"] = shutWindow{}
		fleet.Certificates[0].Window = "shut"
		must(t, b.eng.SetFleet(context.Background(), fleet, Alone))
		end := b.row("web").NotAfter
		b.away("b", true)
		time.Sleep(time.Until(end.Add(-20 * time.Hour)))
		if b.row("web").Generation != 2 {
			t.Fatal("it is not renewed on the host that is there")
		}
		b.away("b", false)
		time.Sleep(time.Until(end))
		for _, h := range b.row("web").Hosts {
			if h.Generation != 2 || h.State != renewer.HostVerified {
				t.Errorf("when generation 1 expires, %s has generation %d (%s)", h.Name, h.Generation, h.State)
			}
		}
	})
}
