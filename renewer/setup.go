package renewer

import "time"

// SetUp returns the rollout that brings a certificate to one host while that
// is set up: what is current or, where a new one is needed or on its way, a new
// generation. lost: the host's files are gone. The service is left to what
// sets the host up, and the certificate's other hosts keep what they have until
// a rollout of their own.
func SetUp(c Certificate, o Observed, host string, lost bool, now time.Time) *Rollout {
	why := Reason{ReasonRequested, "host " + host + " is set up"}
	r := plan(c, o, now).Open
	was := o.Record.Rollout
	switch {
	case was != nil && was.Phase == PhaseRolling && was.Kind == KindIssue: // what that brought somewhere is not what is current
		r = Issue(c)
	case lost && !c.IsBundle() && !o.Record.elsewhere(host): // with its key
		r = Issue(c)
	}
	if r == nil || r.Kind != KindIssue {
		r = &Rollout{
			Certificate: c.Name, Kind: KindPlace, Entry: c.Digest(), Request: c.Request(), Phase: PhaseRolling, Generation: o.Record.Current,
		}
	}
	r.Reasons, r.Steps = append(r.Reasons, why), []Step{{Host: host, State: StepPending}}
	r.Requested, r.Quiet = true, true
	return r
}

// elsewhere reports whether another host than the given one has what is
// current.
func (rec Record) elsewhere(host string) bool {
	for name, st := range rec.Placements {
		if name != host && st.Revision != "" && st.Generation == rec.Current {
			return true
		}
	}
	return false
}
