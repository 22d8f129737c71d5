package configs

import (
	"strings"
	"testing"
	"time"
)

// Dialects of cron: what crontab(5) allows is taken, and what other crons have
// is named.
func TestDialectsOfCron(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC) // a Monday
	for spec, want := range map[string]string{
		"0 2 * * 7":              "Sun",
		"0 2 * * 0":              "Sun",
		"0 2 * * sun":            "Sun",
		"0 2 * * Sunday":         "Sun",
		"0 2 * * 5-7":            "Fri Sat Sun",
		"0 2 * * fri-sun":        "Fri Sat Sun",
		"0 2 * * 6-7,3":          "Wed Sat Sun",
		"0 2 * * 7,1":            "Mon Sun",
		"0 2 * * 0-7":            "Mon Tue Wed Thu Fri Sat Sun",
		"0 2 * * 1-7/2":          "Mon Wed Fri Sun",
		"0 2 * * 7-7":            "Sun",
		"0 2 * * 7/3":            "Wed Sat Sun",
		"0 2 * * sun-tue":        "Mon Tue Sun",
		"0 2 * * 1-5":            "Mon Tue Wed Thu Fri",
		"0 2 * * ?":              "Mon Tue Wed Thu Fri Sat Sun",
		"  0   2 * DEC tue ":     "Tue", // the first of December
		"0 2 * november tuesday": "",    // not this week
		"@Weekly":                "Sun",
		"@daily":                 "Mon Tue Wed Thu Fri Sat Sun",

		"0 2 * * 7-2":     "beginning of range (7) beyond end of range (2): 7-2",
		"0 2 * * fri-mon": "beginning of range (5) beyond end of range (1): 5-1",
		"0 2 * * 5L":      "L is not supported in cron specs",
		"0 2 * * 5#2":     "# is not supported in cron specs",
		"0 2 L * *":       "L is not supported in cron specs",
		"0 2 15W * *":     "W is not supported in cron specs",
		"H 2 * * *":       "H is not supported in cron specs",
		"0 2 * * son":     `"son" is not a number`,
		"0 feb * * *":     `"feb" is not a number`,
		"0 0 2 * * *":     "a cron spec has five fields, not 6: seconds and years are not supported",
		"0 0 2 * * * 26":  "a cron spec has five fields, not 7: seconds and years are not supported",
		"0 2 * * 8":       "weekday 8: expected 0-7, where 0 and 7 are Sunday",
		"0 2 * * 5-9/2":   "weekday 9: expected 0-7, where 0 and 7 are Sunday",
		"0 2 * *":         "a cron spec has five fields, not 4",
		"Sun 02:00":       "a cron spec has five fields, not 2",
		"0 2 * * 5-7/0":   "end of range (7) above maximum (6): 5-7/0",
		"@reboot":         "unrecognized descriptor: @reboot",
		"":                "a cron spec has five fields, not 0",
	} {
		s, err := parseSchedule(spec)
		if err != nil {
			if err.Error() != want {
				t.Errorf("%q: %v, want %q", spec, err, want)
			}
			continue
		}
		at := map[string]bool{}
		for next := s.Next(begin.Add(-time.Second)); next.Before(begin.AddDate(0, 0, 7)); next = s.Next(next) {
			at[next.Format("Mon")] = true
		}
		var days []string
		for i := range 7 {
			if day := begin.AddDate(0, 0, i).Format("Mon"); at[day] {
				days = append(days, day)
			}
		}
		if got := strings.Join(days, " "); got != want {
			t.Errorf("%q fires on %q, want %q", spec, got, want)
		}
	}
}
