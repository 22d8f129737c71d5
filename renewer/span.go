package renewer

import (
	"fmt"
	"time"
)

var units = []struct {
	size time.Duration
	name string
}{{365 * aDay, "y"}, {aDay, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}}

// Span tells a duration in its largest unit, and in the next one too while
// there are fewer than three of the first; empty for less than a second.
func Span(d time.Duration) string {
	for i, u := range units {
		n := d / u.size
		if n == 0 {
			continue
		}
		text := fmt.Sprintf("%d %s", n, u.name)
		if n < 3 && i+1 < len(units) {
			next := units[i+1]
			if rest := (d % u.size) / next.size; rest > 0 {
				text += fmt.Sprintf(" %d %s", rest, next.name)
			}
		}
		return text
	}
	return ""
}
