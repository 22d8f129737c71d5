package renewer

import (
	"fmt"
	"strings"
	"time"
)

// policies are asked in this order whether a new certificate is needed; the
// reasons of all that say so are recorded.
var policies = []func(Certificate, Observed, time.Time) (Reason, bool){
	func(_ Certificate, o Observed, _ time.Time) (Reason, bool) {
		return Reason{ReasonFirst, "never issued"}, o.Current == nil
	},
	func(_ Certificate, o Observed, _ time.Time) (Reason, bool) {
		if o.Current == nil || o.Current.RevokedAt.IsZero() {
			return Reason{}, false
		}
		return Reason{ReasonRevoked, fmt.Sprintf("generation %d was revoked", o.Current.Number)}, true
	},
	func(_ Certificate, o Observed, now time.Time) (Reason, bool) {
		if o.Current == nil || now.Before(o.Current.NotAfter) {
			return Reason{}, false
		}
		return Reason{ReasonExpired, "expired at " + o.Current.NotAfter.Format(time.RFC3339)}, true
	},
	func(c Certificate, o Observed, _ time.Time) (Reason, bool) {
		if o.Current == nil {
			return Reason{}, false
		}
		diff := differences(o.askedFor(c), c.Request())
		return Reason{ReasonChanged, listed(diff)}, len(diff) > 0
	},
	func(_ Certificate, o Observed, now time.Time) (Reason, bool) {
		if o.Current == nil || now.Before(o.Current.RenewAt) {
			return Reason{}, false
		}
		return Reason{ReasonRenewTime, "renew time " + o.Current.RenewAt.Format(time.RFC3339) + " reached"}, true
	},
	func(c Certificate, o Observed, _ time.Time) (Reason, bool) {
		if o.Current != nil && o.Current.Request.Issuer == c.Issuer && o.Record.RollbackRequest == nil && o.Current.IssuedAt.Before(o.SignsAnew) {
			return Reason{ReasonRoot, "issuer " + c.Issuer + " has another CA under the same root"}, true
		}
		left := o.Current != nil && o.Current.Request.Issuer == c.Issuer && o.Record.RollbackRequest == nil && len(o.Under) > 0 && o.Trusted.Known() && !o.Trusted.Meets(o.Under)
		return Reason{ReasonRoot, "issuer " + c.Issuer + " has another root than the one that signed it"}, left
	},
	func(_ Certificate, o Observed, _ time.Time) (Reason, bool) {
		return Reason{ReasonKeyLost, "its private key is on no host any more"}, o.Current != nil && o.Record.KeyLost
	},
	func(_ Certificate, o Observed, _ time.Time) (Reason, bool) {
		if o.Current == nil || !o.Current.KeyCompromised {
			return Reason{}, false
		}
		return keyCompromised(*o.Current), true
	},
}

// askedFor is what the entry asked for when what is in place was issued or, after a
// rollback, when that was made. The common name that an entry has by its name changes with
// the next renewal after the entry was renamed, and is no reason for one.
func (o Observed) askedFor(c Certificate) Request {
	was := o.Current.Request
	if held := o.Record.RollbackRequest; held != nil {
		was = *held
	}
	if c.CommonName == c.Name && o.Record.WasCalled(was.CommonName) {
		was.CommonName = c.CommonName
	}
	return was
}

func keyCompromised(g Generation) Reason {
	return Reason{ReasonKeyCompromised, fmt.Sprintf("the private key of generation %d is compromised", g.Number)}
}

// filesChanged says what of a placement's files is another one than what was placed, as far
// as that is known.
func (p PlacementState) filesChanged(want Placement) string {
	if !p.MovedTo(want.Dir) {
		return "names, modes or owner of the files changed on " + want.Host
	}
	was := want
	if was.Dir = p.Dirs[0]; was.Layout() == p.Layout {
		return "directory changed on " + want.Host
	}
	return "directory, and names, modes or owner of the files changed on " + want.Host
}

func placementReason(p Placement, o Observed, now time.Time) (Reason, bool) {
	st, known := o.Record.Placements[p.Host]
	_, hasTrust := p.Files[FileCA]
	want := o.Roots.On(p.Host)
	switch {
	case !known || !st.Placed():
		return Reason{ReasonHostAdded, "new on " + p.Host}, true
	case now.Before(st.again()):
		return Reason{}, false
	case st.Interrupted != nil:
		return Reason{ReasonInterrupted, p.Host + " became unreachable during the last rollout"}, true
	case st.Origin == OriginForeign:
		return Reason{ReasonDrift, p.Host + " has files that renewer did not write"}, true
	case st.Generation != o.Record.Current:
		return Reason{ReasonBehind, fmt.Sprintf("%s has generation %d", p.Host, st.Generation)}, true
	case st.Layout != "" && st.Layout != p.Layout():
		return Reason{ReasonFiles, st.filesChanged(p)}, true
	case hasTrust && !st.Undiscovered() && want.Known() && st.Roots.Known() && !st.Roots.Same(want):
		return Reason{ReasonTrust, "the trusted roots changed on " + p.Host}, true
	case st.State == HostDrifted:
		return Reason{ReasonDrift, fmt.Sprintf("%s: %s", p.Host, st.Error)}, true
	case st.Unactivated && st.Reprobe.IsZero(): // else it is looked at first: does it run?
		return Reason{ReasonUnactivated, p.Host + ": " + p.Activate.String() + " has not succeeded since the files were placed"}, true
	}
	return Reason{}, false
}

// Differs says how a request for the certificate of r is not what r asks for: its names,
// usages and key; empty where it is.
func (r Request) Differs(other Request) string {
	other.Issuer, other.Profile = r.Issuer, r.Profile
	return listed(differences(r, other))
}

// differences says, field by field, how what is wanted differs from what was issued. The
// lifetime is not compared: it holds from the next renewal on.
func differences(was, want Request) []Difference {
	var out []Difference
	note := func(field, a, b string) {
		if a != b {
			out = append(out, Difference{Field: field, Before: a, After: b})
		}
	}
	note("issuer", was.Issuer, want.Issuer)
	note("profile", was.Profile, want.Profile)
	note("common_name", was.CommonName, want.CommonName)
	if d, differs := differ("sans", was.SANs, want.SANs); differs {
		out = append(out, d)
	}
	if d, differs := differ("usages", was.Usages, want.Usages); differs {
		out = append(out, d)
	}
	note("key", string(was.Key), string(want.Key))
	return out
}

func listed(diff []Difference) string {
	out := make([]string, 0, len(diff))
	for _, d := range diff {
		out = append(out, d.String())
	}
	return strings.Join(out, "; ")
}
