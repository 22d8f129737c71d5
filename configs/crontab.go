package configs

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"renewer/internal/pattern"
)

var (
	monthNames = []string{"", "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"}
	dayNames   = []string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}
	cronWord   = pattern.New(`[^0-9*?,/-]+`)
)

// crontab writes a spec as the library reads it: what crontab(5) and people
// say besides, and a reason for what only other crons have.
func crontab(spec string) (string, error) {
	spec = strings.TrimSpace(spec)
	if strings.HasPrefix(spec, "@") {
		return strings.ToLower(spec), nil
	}
	fields := strings.Fields(spec)
	switch n := len(fields); {
	case n == 6 || n == 7:
		return "", fmt.Errorf("a cron spec has five fields, not %d: seconds and years are not supported", n)
	case n != 5:
		return "", fmt.Errorf("a cron spec has five fields, not %d", n)
	}
	names := [][]string{3: monthNames, 4: dayNames}
	for i, field := range fields {
		var wrong error
		fields[i] = cronWord.Regexp().ReplaceAllStringFunc(field, func(word string) string {
			number, err := named3(word, names[i])
			wrong = errors.Join(wrong, err)
			return number
		})
		if wrong != nil {
			return "", wrong
		}
	}
	var days []string
	for part := range strings.SplitSeq(fields[4], ",") {
		span, _, _ := strings.Cut(part, "/")
		for day := range strings.SplitSeq(span, "-") {
			if n, err := strconv.Atoi(day); err == nil && n > 7 {
				return "", fmt.Errorf("weekday %s: expected 0-7, where 0 and 7 are Sunday", day)
			}
		}
		days = append(days, sundays(part))
	}
	fields[4] = strings.Join(days, ",")
	return strings.Join(fields, " "), nil
}

// named3 returns the number of a month or day by its name or the first three
// letters of it.
func named3(word string, names []string) (string, error) {
	for i, name := range names {
		if lower := strings.ToLower(word); name != "" && (lower == name || lower == name[:3]) {
			return strconv.Itoa(i), nil
		}
	}
	if slices.Contains([]string{"l", "w", "lw", "h", "#"}, strings.ToLower(word)) {
		return "", fmt.Errorf("%s is not supported in cron specs", word)
	}
	return "", fmt.Errorf("%s is not a number", quote(word))
}

// sundays writes weekdays in which Sunday is 7, or the end of a range, by their
// numbers from 0 to 6.
func sundays(part string) string {
	span, step, _ := strings.Cut(part, "/")
	first, last, isRange := strings.Cut(span, "-")
	if !isRange && first == "7" {
		return "0" + strings.TrimPrefix(part, "7")
	}
	from, err := strconv.Atoi(first)
	by, bad := strconv.Atoi(step)
	if step == "" {
		by, bad = 1, nil
	}
	if last != "7" && (last != "0" || from == 0) || err != nil || bad != nil || from > 7 || by < 1 {
		return part // the library says what is wrong with it, if anything is
	}
	var days []string
	for d := from; d <= 7; d += by {
		days = append(days, strconv.Itoa(d%7))
	}
	return strings.Join(days, ",")
}
