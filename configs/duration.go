package configs

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"renewer/internal/pattern"
	"renewer/renewer"
)

const (
	aDuration = "a duration such as 90s, 15m, 72h, 30d or 2w"
	aShare    = "a share such as 67%"
	day       = 24 * time.Hour
	// longest is what no policy needs and no arithmetic overflows at.
	longest = 100 * 365 * day
)

var (
	shareForm = pattern.New(`^[0-9]{1,3}(\.[0-9]{1,6})?%$`)
	unit      = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": day, "w": 7 * day}
)

// ParseDuration reads a duration of the fleet file: one whole number and one
// of the units s, m, h, d (24 hours) and w (7 days). It is more than zero and
// at most 36500d.
func ParseDuration(s string) (time.Duration, error) {
	number, u := s, time.Duration(0)
	if len(s) > 0 {
		number, u = s[:len(s)-1], unit[s[len(s)-1:]]
	}
	if u == 0 || number == "" || len(number) > 12 || strings.Trim(number, "0123456789") != "" {
		return 0, fmt.Errorf("%s is not a duration; expected %s", quote(s), aDuration)
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n > int64(math.MaxInt64/u) || time.Duration(n)*u > longest {
		return 0, fmt.Errorf("duration %s is too long; expected at most 36500d", quote(s))
	}
	if n == 0 {
		return 0, fmt.Errorf("duration %s is zero; expected %s", quote(s), aDuration)
	}
	return time.Duration(n) * u, nil
}

// FormatDuration writes a duration of whole seconds as ParseDuration reads it: in
// days rather than weeks, as fleet files have it.
func FormatDuration(d time.Duration) string {
	for _, u := range []string{"d", "h", "m"} {
		if d != 0 && d%unit[u] == 0 {
			return strconv.FormatInt(int64(d/unit[u]), 10) + u
		}
	}
	return strconv.FormatInt(int64(d/time.Second), 10) + "s"
}

func parseShare(s string) (renewer.Share, error) {
	if !shareForm.MatchString(s) {
		return 0, errors.New("not a share")
	}
	f, err := strconv.ParseFloat(s[:len(s)-1], 64)
	return renewer.Share(f / 100), err
}
