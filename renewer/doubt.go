package renewer

// Doubt is a reason for which a service might not start again, seen before it is
// touched.
type Doubt struct {
	// Sure: it would not start. Else it looks odd, and nothing is held for it.
	Sure  bool   `json:"sure"`
	Unit  string `json:"unit"`
	Peer  bool   `json:"peer"`  // Unit is a client elsewhere, which would refuse the service
	Opens bool   `json:"opens"` // it would start, and let in who has no certificate
	Text  string `json:"text"`
	Fix   string `json:"fix"`
}

// String says what would happen.
func (d Doubt) String() string {
	switch {
	case !d.Sure:
		return d.Unit + ": " + d.Text
	case d.Opens:
		return d.Unit + " must not be restarted: " + d.Text
	case d.Peer:
		return d.Unit + " would refuse it: " + d.Text
	default:
		return d.Unit + " would not start again: " + d.Text
	}
}

// Doubted is what keeps an activation from being made because of doubts: the first
// that is sure. It passes by itself when its cause is gone.
func Doubted(doubts []Doubt) Held {
	for _, d := range doubts {
		if d.Sure {
			return Held{Why: d.String(), Hint: d.Fix, Blocked: true}
		}
	}
	return Held{}
}
