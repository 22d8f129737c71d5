package forecast

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"renewer/renewer"
)

func TestRestartsThatGetInEachOthersWayAreFound(t *testing.T) {
	t.Parallel()
	shared := func(name string, issued time.Time) renewer.State {
		c := entry(name, "a")
		c.Placements[0].Activate.Units = []string{"docker.service"}
		return inPlace(c, issued)
	}
	peer := func(name, host string, usage renewer.Usage) renewer.State {
		c := entry(name, host)
		c.PeerGroup, c.Usages = "dagu", []renewer.Usage{usage}
		return inPlace(c, t0)
	}
	var fleet []renewer.State
	for i := range many + 1 {
		c := entry("web"+fmt.Sprint(i), "host"+fmt.Sprint(i))
		c.Window = "nightly"
		fleet = append(fleet, inPlace(c, t0.Add(time.Duration(i)*time.Minute)))
	}
	for name, c := range map[string]struct {
		states []renewer.State
		want   string
	}{
		"one service twice":              {[]renewer.State{shared("x", t0), shared("y", t0.Add(20*time.Minute))}, "the same service is restarted twice within 20m0s: for x and for y (systemd restart docker.service)"},
		"one service, once for both":     {[]renewer.State{shared("x", t0), shared("y", t0)}, ""},
		"one service, hours later":       {[]renewer.State{shared("x", t0), shared("y", t0.Add(2*time.Hour))}, ""},
		"both sides of a peer group":     {[]renewer.State{peer("server", "a", renewer.UsageServer), peer("client", "b", renewer.UsageClient)}, "both sides of peer group dagu restart: 1 server and 1 client, one side after the other"},
		"one side of a peer group":       {[]renewer.State{peer("x", "a", renewer.UsageServer), peer("y", "b", renewer.UsageServer)}, ""},
		"many hosts when a window opens": {fleet, "11 restarts on 11 hosts begin in the same minute"},
		"few hosts when a window opens":  {fleet[:many], ""},
	} {
		var got []string
		for _, e := range play(fleetOf(c.states...), t0, t0.Add(70*day), nil, 0).Events {
			if e.Kind == Collision {
				got = append(got, e.Reason)
			}
		}
		if strings.Join(got, "\n") != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestRestartSaysUntilWhenItsGuardMayHoldItUp(t *testing.T) {
	t.Parallel()
	for then, want := range map[renewer.GuardChoice]string{
		renewer.GuardRestart: "systemd restart web.service; its guard may hold it up until 2027-02-22T00:00:00Z",
		renewer.GuardBlock:   "systemd restart web.service; its guard may hold it up; from 2027-02-22T00:00:00Z on that needs manual action",
	} {
		c := entry("web", "a")
		c.Placements[0].Guard = &renewer.Guard{Dagu: &renewer.DaguGuard{GuardDeadline: renewer.GuardDeadline{Before: 7 * day, Then: then}}}
		f := play(fleetOf(inPlace(c, t0)), t0, t0.Add(70*day), nil, 0)
		if got := f.Events[len(f.Events)-1]; got.Kind != Restart || got.Reason != want {
			t.Errorf("%+v, want %q", got, want)
		}
	}
}

func TestSpansCountEachDayAndWeek(t *testing.T) {
	t.Parallel()
	f := play(fleetOf(inPlace(entry("web", "a", "b"), t0)), t0.Add(5*time.Hour), t0.Add(90*day), nil, 0)
	for _, of := range []time.Duration{Day, Week} {
		spans := f.Spans(of)
		renewals, restarts := 0, 0
		for i, s := range spans {
			renewals, restarts = renewals+s.Renewals, restarts+s.Restarts
			if s.End.Sub(s.Start) != of || i > 0 && !s.Start.Equal(spans[i-1].End) || of == Week && s.Start.Weekday() != time.Monday {
				t.Errorf("a span from %s to %s", s.Start, s.End)
			}
			if s.Renewals > 0 && s.Start.After(t0.Add(60*day)) {
				t.Errorf("renewals counted from %s on", s.Start)
			}
		}
		if renewals != 1 || restarts != 2 || spans[0].Start.After(f.From) || spans[len(spans)-1].End.Before(f.Until) {
			t.Errorf("%d renewals and %d restarts in %d spans", renewals, restarts, len(spans))
		}
	}
}
