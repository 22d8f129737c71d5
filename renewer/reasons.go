package renewer

import (
	"fmt"
	"slices"
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
		was := o.Current.Request
		if held := o.Record.RollbackRequest; held != nil { // a rollback holds against the entry of then
			was = *held
		}
		diff := changed(was, c.Request())
		return Reason{ReasonChanged, strings.Join(diff, "; ")}, len(diff) > 0
	},
	func(_ Certificate, o Observed, now time.Time) (Reason, bool) {
		if o.Current == nil || now.Before(o.Current.RenewAt) {
			return Reason{}, false
		}
		return Reason{ReasonRenewTime, "renew time " + o.Current.RenewAt.Format(time.RFC3339) + " has come"}, true
	},
	func(c Certificate, o Observed, _ time.Time) (Reason, bool) {
		if o.Current != nil && o.Current.Request.Issuer == c.Issuer && o.Record.RollbackRequest == nil && o.Current.IssuedAt.Before(o.SignsAnew) {
			return Reason{ReasonRoot, "issuer " + c.Issuer + " has another CA under the same root"}, true
		}
		left := o.Current != nil && o.Current.Request.Issuer == c.Issuer && o.Record.RollbackRequest == nil && len(o.Under) > 0 && o.Trusted.Known() && !o.Trusted.Meets(o.Under)
		return Reason{ReasonRoot, "issuer " + c.Issuer + " has another root than the one that it leads to"}, left
	},
	func(_ Certificate, o Observed, _ time.Time) (Reason, bool) {
		return Reason{ReasonKeyLost, "no host has its key any more"}, o.Current != nil && o.Record.KeyLost
	},
	func(_ Certificate, o Observed, _ time.Time) (Reason, bool) {
		if o.Current == nil || !o.Current.KeyCompromised {
			return Reason{}, false
		}
		return keyCompromised(*o.Current), true
	},
}

func keyCompromised(g Generation) Reason {
	return Reason{ReasonKeyCompromised, fmt.Sprintf("the private key of generation %d is compromised", g.Number)}
}

func placementReason(p Placement, o Observed, now time.Time) (Reason, bool) {
	st, known := o.Record.Placements[p.Host]
	_, hasTrust := p.Files[FileCA]
	want := o.Roots.On(p.Host)
	switch {
	case !known || !st.Placed():
		return Reason{ReasonHostAdded, p.Host + " does not have it yet"}, true
	case now.Before(st.again()):
		return Reason{}, false
	case st.Interrupted != nil:
		return Reason{ReasonInterrupted, p.Host + " was lost between two generations"}, true
	case st.Origin == OriginForeign:
		return Reason{ReasonDrift, p.Host + " has what renewer did not write"}, true
	case st.Generation != o.Record.Current:
		return Reason{ReasonBehind, fmt.Sprintf("%s has generation %d", p.Host, st.Generation)}, true
	case st.Layout != "" && st.Layout != p.Layout():
		return Reason{ReasonFiles, "directory, names, modes or owner changed on " + p.Host}, true
	case hasTrust && !st.Undiscovered() && want.Known() && st.Roots.Known() && !st.Roots.Same(want):
		return Reason{ReasonTrust, "the roots to trust changed on " + p.Host}, true
	case st.State == HostDrifted:
		return Reason{ReasonDrift, fmt.Sprintf("%s: %s", p.Host, st.Error)}, true
	case st.Unactivated && st.Reprobe.IsZero(): // else it is looked at first: does it run?
		return Reason{ReasonUnactivated, p.Host + ": " + p.Activate.String() + " has not been done since the files were placed"}, true
	}
	return Reason{}, false
}

// Differs says how a request for the certificate of r is not what r asks for: its names,
// usages and key; empty where it is.
func (r Request) Differs(other Request) string {
	other.Issuer, other.Profile = r.Issuer, r.Profile
	return strings.Join(changed(r, other), "; ")
}

// changed says, field by field, how what is wanted differs from what was
// issued. The lifetime is not compared: it holds from the next renewal on.
func changed(was, want Request) []string {
	var out []string
	note := func(field, a, b string) {
		if a != b {
			out = append(out, fmt.Sprintf("%s changed from %s to %s", field, a, b))
		}
	}
	note("issuer", was.Issuer, want.Issuer)
	note("profile", was.Profile, want.Profile)
	note("common_name", was.CommonName, want.CommonName)
	note("sans", set(was.SANs), set(want.SANs))
	note("usages", set(was.Usages), set(want.Usages))
	note("key", string(was.Key), string(want.Key))
	return out
}

func set[T ~string](items []T) string {
	out := make([]string, 0, len(items))
	for _, i := range items {
		out = append(out, string(i))
	}
	slices.Sort(out)
	return "[" + strings.Join(slices.Compact(out), " ") + "]"
}
