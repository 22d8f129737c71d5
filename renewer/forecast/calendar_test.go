package forecast

import (
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// readCalendar reads a calendar by the rules of RFC 5545, written from its text: content
// lines end in CRLF and have at most 75 octets, a line that begins with a blank goes on,
// and components nest. It returns the properties of each VEVENT.
func readCalendar(t fataler, text string) (events []map[string]string) {
	t.Helper()
	if !strings.HasSuffix(text, "\r\n") || strings.Contains(strings.ReplaceAll(text, "\r\n", ""), "\n") || strings.Contains(strings.ReplaceAll(text, "\r\n", ""), "\r") {
		t.Fatalf("lines do not end in CRLF alone")
	}
	var unfolded []string
	for _, l := range strings.Split(strings.TrimSuffix(text, "\r\n"), "\r\n") {
		if len(l) > 75 || !utf8.ValidString(l) {
			t.Fatalf("a line has %d octets, or half a character: %q", len(l), l)
		}
		if rest, folded := strings.CutPrefix(l, " "); folded {
			unfolded[len(unfolded)-1] += rest
		} else {
			unfolded = append(unfolded, l)
		}
	}
	var open []string
	var event map[string]string
	property := regexp.MustCompile(`^([A-Z-]+):(.*)$`)
	for _, l := range unfolded {
		m := property.FindStringSubmatch(l)
		if m == nil {
			t.Fatalf("not a content line: %q", l)
		}
		switch name, value := m[1], m[2]; name {
		case "BEGIN":
			if open = append(open, value); value == "VEVENT" {
				event = map[string]string{}
			}
		case "END":
			if len(open) == 0 || open[len(open)-1] != value {
				t.Fatalf("END:%s in %v", value, open)
			}
			if open = open[:len(open)-1]; value == "VEVENT" {
				events, event = append(events, event), nil
			}
		default:
			if event != nil {
				if _, twice := event[name]; twice {
					t.Fatalf("%s stands twice", name)
				}
				event[name] = value
			}
		}
	}
	if len(open) > 0 || unfolded[0] != "BEGIN:VCALENDAR" {
		t.Fatalf("it is not one VCALENDAR: %v", open)
	}
	return events
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func TestCalendarFollowsRFC5545(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := Forecast{From: t0}
		for range rapid.IntRange(0, 20).Draw(t, "events") {
			at := t0.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "hour")) * time.Hour)
			f.Events = append(f.Events, Event{
				Time: at, Until: at.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "long")) * time.Hour), Kind: rapid.SampledFrom([]Kind{Renewal, Restart, Expires, CAExpires, Collision}).Draw(t, "kind"),
				Certificate: rapid.StringN(1, 60, -1).Draw(t, "certificate"), Host: "host", Reason: rapid.String().Draw(t, "reason"),
			})
		}
		stamps := regexp.MustCompile(`^\d{8}T\d{6}Z$`)
		uids := map[string]bool{}
		for _, e := range readCalendar(t, string(f.Calendar())) {
			for _, name := range []string{"UID", "DTSTAMP", "DTSTART", "DTEND", "SUMMARY", "DESCRIPTION"} {
				if e[name] == "" && name != "DESCRIPTION" {
					t.Fatalf("no %s in %v", name, e)
				}
			}
			for _, name := range []string{"DTSTAMP", "DTSTART", "DTEND"} {
				if !stamps.MatchString(e[name]) {
					t.Fatalf("%s is %s", name, e[name])
				}
			}
			if e["DTEND"] <= e["DTSTART"] {
				t.Fatalf("it ends at %s and begins at %s", e["DTEND"], e["DTSTART"])
			}
			if plain := strings.NewReplacer(`\\`, "", `\;`, "", `\,`, "", `\n`, ""); strings.ContainsAny(plain.Replace(e["DESCRIPTION"]+e["SUMMARY"]), `\;,`) {
				t.Fatalf("not escaped: %q", e["DESCRIPTION"])
			}
			uids[e["UID"]] = true
		}
	})
}

func TestCalendarHasOneEventAWindow(t *testing.T) {
	t.Parallel()
	web, api := entry("web", "a"), entry("api", "b")
	web.Window, api.Window = "nightly", "nightly"
	f := fleetOf(inPlace(web, t0), inPlace(api, t0))
	f.Issuers["ca"] = Issuer{CAs: cas("CN=ca, O=\"example\"", t0.Add(80*day))}
	events := readCalendar(t, string(play(f, t0, t0.Add(90*day), nil, 0).Calendar()))
	var got []string
	uids := map[string]bool{}
	for _, e := range events {
		got = append(got, e["DTSTART"]+" "+e["DTEND"]+" "+e["SUMMARY"])
		uids[e["UID"]] = true
	}
	expect(t, got,
		"20270219T000000Z 20270219T001500Z CA expires: ca",
		"20270130T000000Z 20270130T001500Z api: 1 renewal",
		"20270130T000000Z 20270130T001500Z web: 1 renewal",
		"20270130T020000Z 20270130T040000Z 2 restarts in window nightly")
	if len(uids) != 4 {
		t.Errorf("%d UIDs", len(uids))
	}
	later := readCalendar(t, string(play(f, t0.Add(day), t0.Add(90*day), nil, 0).Calendar()))
	for _, e := range later {
		if !uids[e["UID"]] {
			t.Errorf("a day later %q has another UID", e["SUMMARY"])
		}
	}
}

// Renewals every few minutes are one event a day, which lasts a day at most, and a day's
// event stays the same one when some of its renewals have passed.
func TestCalendarOfShortLives(t *testing.T) {
	t.Parallel()
	short := entry("short", "a")
	short.Lifetime, short.Renewal.Before, short.OverrideBefore = time.Hour, 20*time.Minute, 6*time.Minute
	always := entry("always", "b")
	always.Lifetime, always.Renewal.Before, always.Window = 12*time.Hour, 4*time.Hour, "always"
	f := fleetOf(inPlace(short, t0), inPlace(always, t0))
	f.Windows["always"] = Window{Duration: day, At: func(t time.Time) (bool, time.Time) { return true, t.Truncate(day).Add(day) }}
	begin := map[string]string{}
	for _, from := range []time.Duration{0, 50 * time.Minute, 5 * time.Hour} {
		got := play(f, t0.Add(from), t0.Add(10*day-time.Minute), nil, 0)
		got.Fleet = "prod, north"
		text := string(got.Calendar())
		if !strings.Contains(text, `X-WR-CALNAME:renewer prod\, north`+"\r\n") {
			t.Error("the calendar does not have the name of the fleet")
		}
		events := readCalendar(t, text)
		if len(events) != 20 {
			t.Errorf("%d events in 10 days of 2 entries", len(events))
		}
		days := map[string]bool{}
		for _, e := range events {
			start, err := time.Parse("20060102T150405Z", e["DTSTART"])
			end, err2 := time.Parse("20060102T150405Z", e["DTEND"])
			if err != nil || err2 != nil || end.Sub(start) > day {
				t.Errorf("%s lasts from %s to %s", e["SUMMARY"], start, end)
			}
			name, _, _ := strings.Cut(e["SUMMARY"], ":")
			id := name + " " + start.Format(time.DateOnly)
			if was := begin[id]; was != "" && was != e["UID"] || days[id] {
				t.Errorf("%s has another UID from %s on", id, from)
			}
			begin[id], days[id] = e["UID"], true
		}
	}
}
