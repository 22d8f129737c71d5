package configs

import (
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func window(t *testing.T, spec string, d time.Duration, zone string) Window {
	t.Helper()
	loc, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	fields, err := parseSchedule(spec)
	if err != nil {
		t.Fatal(err)
	}
	return Window{Spec: spec, Duration: d, Location: loc, fields: fields}
}

// at reads a time as a test writes it.
func at(t *testing.T, text string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestWindow(t *testing.T) {
	t.Parallel()
	// Europe/Paris: on 2026-03-29 the clock jumps from 02:00 to 03:00, and on
	// 2026-10-25 it shows 02:00 to 03:00 twice.
	for _, c := range []struct {
		name, spec, zone string
		duration         time.Duration
		now              string
		open             bool
		next             string
	}{
		{"before", "0 2 * * *", "Europe/Paris", 2 * time.Hour, "2026-01-10T01:59:59+01:00", false, "2026-01-10T02:00:00+01:00"},
		{"at the start", "0 2 * * *", "Europe/Paris", 2 * time.Hour, "2026-01-10T02:00:00+01:00", true, "2026-01-11T02:00:00+01:00"},
		{"just before the end", "0 2 * * *", "Europe/Paris", 2 * time.Hour, "2026-01-10T03:59:59+01:00", true, "2026-01-11T02:00:00+01:00"},
		{"at the end", "0 2 * * *", "Europe/Paris", 2 * time.Hour, "2026-01-10T04:00:00+01:00", false, "2026-01-11T02:00:00+01:00"},
		{"summer", "0 2 * * *", "Europe/Paris", 2 * time.Hour, "2026-07-10T00:30:00Z", true, "2026-07-11T00:00:00Z"},
		{"over midnight", "0 23 * * *", "UTC", 3 * time.Hour, "2026-07-10T01:59:00Z", true, "2026-07-10T23:00:00Z"},

		{"spring: a start in the gap comes at its end", "30 2 * * *", "Europe/Paris", 2 * time.Hour, "2026-03-29T00:59:59Z", false, "2026-03-29T01:00:00Z"},
		{"spring: open from the end of the gap", "30 2 * * *", "Europe/Paris", 2 * time.Hour, "2026-03-29T01:00:00Z", true, "2026-03-30T00:30:00Z"},
		{"spring: for its whole duration", "30 2 * * *", "Europe/Paris", 2 * time.Hour, "2026-03-29T02:59:59Z", true, "2026-03-30T00:30:00Z"},
		{"spring: and no longer", "30 2 * * *", "Europe/Paris", 2 * time.Hour, "2026-03-29T03:00:00Z", false, "2026-03-30T00:30:00Z"},
		{"spring: a weekly window is not lost", "30 2 * * 0", "Europe/Paris", time.Hour, "2026-03-28T12:00:00Z", false, "2026-03-29T01:00:00Z"},
		{"spring: an open window keeps its duration", "0 1 * * *", "Europe/Paris", 2 * time.Hour, "2026-03-29T01:59:59Z", true, "2026-03-29T23:00:00Z"},
		{"spring: closed after it", "0 1 * * *", "Europe/Paris", 2 * time.Hour, "2026-03-29T02:00:00Z", false, "2026-03-29T23:00:00Z"},

		{"autumn: the first of two", "30 2 * * *", "Europe/Paris", 30 * time.Minute, "2026-10-25T00:29:00Z", false, "2026-10-25T00:30:00Z"},
		{"autumn: open in the first", "30 2 * * *", "Europe/Paris", 30 * time.Minute, "2026-10-25T00:30:00Z", true, "2026-10-26T01:30:00Z"},
		{"autumn: closed in the second", "30 2 * * *", "Europe/Paris", 30 * time.Minute, "2026-10-25T01:30:00Z", false, "2026-10-26T01:30:00Z"},
		{"autumn: the duration is real time", "0 2 * * *", "Europe/Paris", 2 * time.Hour, "2026-10-25T02:00:00Z", false, "2026-10-26T01:00:00Z"},

		{"a gap at midnight", "0 0 * * *", "America/Sao_Paulo", time.Hour, "2018-11-04T02:59:59Z", false, "2018-11-04T03:00:00Z"},
		{"the south", "30 2 * * *", "Australia/Lord_Howe", time.Hour, "2026-10-03T15:29:00Z", false, "2026-10-03T15:30:00Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			open, next := window(t, c.spec, c.duration, c.zone).At(at(t, c.now))
			if open != c.open || !next.Equal(at(t, c.next)) {
				t.Errorf("at %s: open %v, next %s; want %v, %s", c.now, open, next.Format(time.RFC3339), c.open, c.next)
			}
		})
	}
}

// Around the days when clocks change, a window opens once a day, stays open
// for its duration, and what is said to come next comes.
func TestWindowOpensOnceADay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		zone := rapid.SampledFrom([]string{"Europe/Paris", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kolkata", "UTC"}).Draw(rt, "zone")
		d := time.Duration(rapid.IntRange(1, 600).Draw(rt, "minutes")) * time.Minute
		minute, hour := rapid.IntRange(0, 59).Draw(rt, "minute"), rapid.IntRange(0, 23).Draw(rt, "hour")
		w := window(t, strconv.Itoa(minute)+" "+strconv.Itoa(hour)+" * * *", d, zone)
		const days = 20
		start := time.Date(rapid.IntRange(2015, 2030).Draw(rt, "year"), time.Month(rapid.SampledFrom([]int{3, 4, 10, 11}).Draw(rt, "month")), rapid.IntRange(1, 20).Draw(rt, "day"), 0, 0, 0, 0, w.Location)
		last, opened := time.Time{}, 0
		for at := start; at.Before(start.AddDate(0, 0, days)); {
			_, next := w.At(at)
			if !next.After(at) {
				rt.Fatalf("next %v is not after %v", next, at)
			}
			if open, _ := w.At(next); !open {
				rt.Fatalf("closed at %v, when it should open", next)
			}
			if open, _ := w.At(next.Add(d - time.Second)); !open {
				rt.Fatalf("closed a second before the end of the window from %v", next)
			}
			if open, _ := w.At(next.Add(-time.Second)); open && (last.IsZero() || !next.Add(-time.Second).Before(last.Add(d))) {
				rt.Fatalf("open before %v", next)
			}
			if day, before := next.In(w.Location).YearDay(), last.In(w.Location).YearDay(); !last.IsZero() && day == before {
				rt.Fatalf("opened twice on %v", next.In(w.Location))
			}
			last, at = next, next
			opened++
		}
		if opened < days || opened > days+1 {
			rt.Fatalf("opened %d times in %d days", opened, days)
		}
	})
}

func TestParseScheduleNeverPanics(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		spec := rapid.OneOf(rapid.String(), rapid.StringMatching(`(TZ=|CRON_TZ=)?[A-Z/]{0,5} ?[-0-9*/,?@a-zL ]{0,20}`)).Draw(t, "spec")
		s, err := parseSchedule(spec)
		if err != nil {
			return
		}
		from := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
		if next := s.Next(from); !next.After(from) {
			t.Fatalf("%q: next after %v is %v", spec, from, next)
		}
	})
}

func TestWindowKnowsHowLongItIsClosed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		spec, zone     string
		duration, want time.Duration
	}{
		{"0 2 * * *", "UTC", 2 * time.Hour, 22 * time.Hour},
		{"0 2 * * *", "Europe/Paris", 2 * time.Hour, 23 * time.Hour}, // in October
		{"0 2 * * 1", "UTC", 2 * time.Hour, 7*day - 2*time.Hour},
		{"0 0 1 * *", "UTC", day, 30 * day},
		{"*/5 * * 12 *", "UTC", time.Minute, 335*day + 4*time.Minute}, // in a leap year,
		{"*/10 * * * *", "UTC", 20 * time.Minute, 0},
	} {
		if got := window(t, c.spec, c.duration, c.zone).LongestShut(); got != c.want {
			t.Errorf("%s %s for %s: closed for %s, want %s", c.spec, c.zone, c.duration, got, c.want)
		}
	}
}
