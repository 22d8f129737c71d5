package forecast

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"renewer/renewer"
)

func TestRenewalsComeAtTheirRenewTimeAndRestartsInTheWindow(t *testing.T) {
	t.Parallel()
	web, api := entry("web", "a"), entry("api", "b")
	api.Window = "nightly"
	f := play(fleetOf(inPlace(web, t0), inPlace(api, t0.Add(12*time.Hour))), t0, t0.Add(130*day), nil, 0)
	expect(t, f.of(Renewal, Restart),
		"2027-01-30 00:00 renewal web@ ",
		"2027-01-30 00:00 restart web@a ",
		"2027-01-30 12:00 renewal api@ ",
		"2027-01-31 02:00 restart api@b nightly",
		"2027-03-31 00:00 renewal web@ ",
		"2027-03-31 00:00 restart web@a ",
		"2027-03-31 12:00 renewal api@ ",
		"2027-04-01 02:00 restart api@b nightly",
	)
	if e := f.Events[3]; !e.Until.Equal(time.Date(2027, 1, 31, 4, 0, 0, 0, time.UTC)) {
		t.Errorf("the window closes at %s", e.Until)
	}
	expect(t, f.of(Expires))
}

func TestPauseBetweenHostsIsKept(t *testing.T) {
	t.Parallel()
	web := entry("web", "a", "b", "c", "d")
	web.Pace.Pause = time.Hour
	f := play(fleetOf(inPlace(web, t0)), t0, t0.Add(70*day), nil, 0)
	expect(t, f.of(Restart),
		"2027-01-30 00:00 restart web@a ", "2027-01-30 01:00 restart web@b ", "2027-01-30 01:00 restart web@c ", "2027-01-30 02:00 restart web@d ")
}

func TestCertificateThatWasNeverIssuedIsOrderedNow(t *testing.T) {
	t.Parallel()
	web := entry("web", "a")
	f := play(fleetOf(renewer.State{Certificate: web, Record: renewer.Record{Name: "web"}}), t0, t0.Add(day), nil, 0)
	expect(t, f.of(Renewal, Restart), "2026-12-01 00:00 renewal web@ ", "2026-12-01 00:00 restart web@a ")
}

func TestOutageThatIsTooLongExpiresACertificate(t *testing.T) {
	t.Parallel()
	web := inPlace(entry("web", "a", "b"), t0.Add(-65*day))
	for _, c := range []struct {
		of   string
		long time.Duration
		want []string
	}{
		{"ca", 20 * day, nil},
		{"ca", 26 * day, []string{"2026-12-26 00:00 expires web@a ", "2026-12-26 00:00 expires web@b "}},
		{"b", 26 * day, []string{"2026-12-26 00:00 expires web@b "}},
		{"elsewhere", 26 * day, nil},
	} {
		f := play(fleetOf(web), t0, t0.Add(40*day), []Outage{{Of: c.of, For: c.long}}, 0)
		expect(t, f.of(Expires), c.want...)
		for _, e := range f.Events {
			if e.Kind == Expires && !strings.Contains(e.Reason, c.of+" is away from 2026-12-01T00:00:00Z to 2026-12-27") {
				t.Error(e.Reason)
			}
		}
	}
}

func TestLocalCARefusesWhatWouldOutliveIt(t *testing.T) {
	t.Parallel()
	f := fleetOf(inPlace(entry("web", "a"), t0))
	end := t0.Add(140 * day)
	f.Issuers["ca"] = Issuer{CAs: []renewer.CAStatus{{Subject: "CN=ca", NotAfter: end}}, Ends: end, Refuses: true}
	got := play(f, t0, t0.Add(365*day), nil, 0)
	expect(t, got.of(Renewal, Refused, Expires, CAExpires), "2027-01-30 00:00 refused web@ ", "2027-03-01 00:00 expires web@a ", "2027-04-20 00:00 ca_expires @ ")
	f.Issuers["ca"] = Issuer{Ends: end}
	got = play(f, t0, t0.Add(365*day), nil, 0)
	if list := got.of(Expires); len(list) != 1 || !strings.HasPrefix(list[0], "2027-04-20") {
		t.Errorf("with an issuer that shortens: %s", lines(list))
	}
}

func TestManyShortLivedCertificatesAreCut(t *testing.T) {
	t.Parallel()
	web := entry("web", "a")
	web.Lifetime, web.Renewal, web.OverrideBefore = day, renewer.Renewal{At: 0.5}, 2*time.Hour
	f := play(fleetOf(inPlace(web, t0)), t0, t0.Add(365*day), nil, 100)
	if n := len(f.of(Renewal)); n != 100 || !f.Until.Before(t0.Add(52*day)) || !strings.Contains(f.Cut, "after 100 renewals") {
		t.Errorf("%d renewals until %s: %q", n, f.Until, f.Cut)
	}
}

func TestForecastIsTheSameEachTime(t *testing.T) {
	t.Parallel()
	var states []renewer.State
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		c := entry(name, "host-"+name)
		c.Renewal.Jitter, c.Entry, c.Window = 0.05, "all", "nightly"
		states = append(states, inPlace(c, t0))
	}
	first := play(fleetOf(states...), t0, t0.Add(365*day), nil, 0)
	again := play(fleetOf(states...), t0, t0.Add(365*day), nil, 0)
	if string(first.Calendar()) != string(again.Calendar()) || len(first.of(Renewal)) < 25 {
		t.Errorf("%d renewals, and then %d", len(first.of(Renewal)), len(again.of(Renewal)))
	}
}

func TestReplacedCAMakesThreeWaves(t *testing.T) {
	t.Parallel()
	for standby, want := range map[bool][]string{
		false: {
			"2026-12-11 00:00 ca_rotates @ ",
			"2026-12-11 00:00 restart web@a ",
			"2026-12-11 02:00 restart api@b nightly",
			"2026-12-11 02:01 ca_rotates @ ",
			"2026-12-11 02:01 renewal api@ ",
			"2026-12-11 02:01 renewal web@ ",
			"2026-12-11 02:01 restart api@b nightly",
			"2026-12-11 02:01 restart web@a ",
			"2026-12-11 02:02 ca_rotates @ ",
			"2026-12-11 02:02 restart api@b nightly",
			"2026-12-11 02:02 restart web@a ",
			"2026-12-11 02:03 ca_rotates @ ",
		},
		true: { // the next root is in place: two waves
			"2026-12-11 00:00 ca_rotates @ ",
			"2026-12-11 00:00 ca_rotates @ ",
			"2026-12-11 00:00 renewal api@ ",
			"2026-12-11 00:00 renewal web@ ",
			"2026-12-11 00:00 restart web@a ",
			"2026-12-11 02:00 restart api@b nightly",
			"2026-12-11 02:01 ca_rotates @ ",
			"2026-12-11 02:01 restart api@b nightly",
			"2026-12-11 02:01 restart web@a ",
			"2026-12-11 02:02 ca_rotates @ ",
		},
	} {
		web, api := entry("web", "a"), entry("api", "b")
		api.Window = "nightly"
		f := fleetOf(inPlace(web, t0), inPlace(api, t0))
		end := t0.Add(400 * day)
		f.Issuers["ca"] = Issuer{Ends: end, Refuses: true, RotateAt: t0.Add(10 * day), Next: 3650 * day, Share: 0.8, Standby: standby}
		got := play(f, t0, t0.Add(30*day), nil, 0)
		expect(t, got.of(Renewal, Restart, CARotates), want...)
		long := play(f, t0, t0.Add(20*365*day), nil, 0)
		expect(t, long.of(Expires))
		if n := len(long.of(CARotates)); n < 9 {
			t.Errorf("%d events of three replacements in twenty years", n)
		}
	}
}

func TestForecastEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Play(ctx, fleetOf(inPlace(entry("web", "a"), t0)), Terms{From: t0, Until: t0.Add(365 * day)}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// What left the fleet file, all of a certificate or one host of it, is not renewed.
func TestDepartedPlacementsExpire(t *testing.T) {
	t.Parallel()
	left := func(host string, days int) renewer.Departed {
		return renewer.Departed{Host: host, Issuer: "ca", NotAfter: t0.Add(time.Duration(days) * day)}
	}
	web := inPlace(entry("web", "a"), t0)
	web.Record.Departed = []renewer.Departed{left("a", 3), left("b", 4)} // a is back
	f := fleetOf(web)
	f.Orphans = map[string][]renewer.Departed{"old": {left("a", 10), left("b", 200), left("c", -1), left("gone", 5), {Host: "bundle"}}}
	f.Retired = func(host string) bool { return host == "gone" }
	got := play(f, t0, t0.Add(30*day), nil, 0)
	expect(t, got.of(Expires), "2026-12-05 00:00 expires web@b ", "2026-12-11 00:00 expires old@a ")
	if ics := string(got.Calendar()); !strings.Contains(ics, "expires: old@a") {
		t.Errorf("the calendar lacks it:\n%s", ics)
	}
}
