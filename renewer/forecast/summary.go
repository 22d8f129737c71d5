package forecast

import "time"

// Span is what happens between two times.
type Span struct {
	Start      time.Time `json:"start"`
	End        time.Time `json:"end"`
	Renewals   int       `json:"renewals"`
	Restarts   int       `json:"restarts"`
	Reloads    int       `json:"reloads"`
	Expires    int       `json:"expires"`    // certificates on hosts
	CAExpires  int       `json:"ca_expires"` // CAs
	CARotates  int       `json:"ca_rotates"` // CAs that are replaced
	Collisions int       `json:"collisions"`
}

// A Day and a Week, for Spans.
const (
	Day  = 24 * time.Hour
	Week = 7 * Day
)

// monday is one, at midnight: weeks begin there.
var monday = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// Spans counts what happens in each day or week (of UTC), empty ones included: the
// first begins before the forecast does, so that the same days are the same spans.
func (f Forecast) Spans(of time.Duration) (out []Span) {
	start := monday.Add(f.From.Sub(monday).Truncate(of))
	if f.From.Before(start) {
		start = start.Add(-of)
	}
	for at := start; at.Before(f.Until); at = at.Add(of) {
		out = append(out, Span{Start: at, End: at.Add(of)})
	}
	for _, e := range f.Events {
		i := int(e.Time.Sub(start) / of)
		if e.Time.Before(start) || i >= len(out) {
			continue
		}
		if n := out[i].count(e.Kind); n != nil {
			*n++
		}
	}
	return out
}

func (s *Span) count(k Kind) *int {
	switch k {
	case Renewal:
		return &s.Renewals
	case Restart:
		return &s.Restarts
	case Reload:
		return &s.Reloads
	case Expires:
		return &s.Expires
	case CAExpires:
		return &s.CAExpires
	case CARotates:
		return &s.CARotates
	case Collision:
		return &s.Collisions
	default:
		return nil
	}
}
