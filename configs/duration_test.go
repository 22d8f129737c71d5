package configs

import (
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"1s": time.Second, "90s": 90 * time.Second, "15m": 15 * time.Minute, "72h": 72 * time.Hour,
		"30d": 30 * 24 * time.Hour, "2w": 14 * 24 * time.Hour, "007d": 7 * 24 * time.Hour, "36500d": longest,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                "\"\" is not a duration; expected " + aDuration,
		"90":              "\"90\" is not a duration; expected " + aDuration,
		"1.5h":            "\"1.5h\" is not a duration; expected " + aDuration,
		"-1d":             "\"-1d\" is not a duration; expected " + aDuration,
		"1h30m":           "\"1h30m\" is not a duration; expected " + aDuration,
		"1 d":             "\"1 d\" is not a duration; expected " + aDuration,
		"1D":              "\"1D\" is not a duration; expected " + aDuration,
		"5M":              "\"5M\" is not a duration; expected " + aDuration,
		"0d":              "duration \"0d\" is zero; expected " + aDuration,
		"36501d":          "duration \"36501d\" is too long; expected at most 36500d",
		"999999999999w":   "duration \"999999999999w\" is too long; expected at most 36500d",
		"9999999999999ws": "\"9999999999999ws\" is not a duration; expected " + aDuration,
	} {
		if got, err := ParseDuration(text); err == nil || err.Error() != want {
			t.Errorf("ParseDuration(%q) = %v, %v; want error %s", text, got, err, want)
		}
	}
}

func TestDurationsSurviveBeingWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := time.Duration(rapid.Int64Range(1, int64(longest/time.Second)).Draw(t, "seconds")) * time.Second
		text := FormatDuration(want)
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Fatalf("%v is written %s and read as %v, %v", want, text, got, err)
		}
	})
}

func TestDurationsAreNeverNegativeZeroOrAbsurd(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`-?[0-9]{0,14}\.?[0-9]{0,2}[a-zµ]{0,2}`).Draw(t, "text")
		if d, err := ParseDuration(text); err == nil && (d <= 0 || d > longest || d%time.Second != 0) {
			t.Fatalf("%q is read as %v", text, d)
		}
	})
}

func TestParseShare(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 100).Draw(t, "percent")
		got, err := parseShare(strconv.Itoa(n) + "%")
		if err != nil || float64(got) != float64(n)/100 {
			t.Fatalf("%d%% is read as %v, %v", n, got, err)
		}
	})
	for _, text := range []string{"", "%", "67", "0.67", "-1%", "1e1%", "67 %", "67%%", "NaN%"} {
		if s, err := parseShare(text); err == nil {
			t.Errorf("parseShare(%q) = %v; want an error", text, s)
		}
	}
}
