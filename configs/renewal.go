package configs

import (
	"fmt"
	"time"

	"renewer/renewer"
)

// renewal checks that something of the lifetime is left before the renew
// time, the earliest that jitter can make it.
func (r *resolver) renewal(d *draft, lifetime time.Duration) renewer.Renewal {
	before := get[time.Duration](&d.s, "renew_before")
	if d.s.has("renew_at") && d.s.has("renew_before") {
		r.fault(d.where("renew_before"), "renew_at and renew_before are both given", "expected one of them")
	}
	at := getOr(&d.s, "renew_at", renewer.DefaultRenewAt)
	key := "renew_at"
	if before > 0 {
		at, key = 0, "renew_before"
		if before >= lifetime {
			r.fault(d.where(key), fmt.Sprintf("renew_before (%s) is not less than lifetime (%s)", FormatDuration(before), FormatDuration(lifetime)),
				"expected less than lifetime")
			return renewer.Renewal{}
		}
	}
	share := at
	if before > 0 {
		share = 1 - renewer.Share(float64(before)/float64(lifetime))
	}
	jitter := min(renewer.DefaultJitter, share/2)
	if d.s.has("jitter") {
		if jitter = get[renewer.Share](&d.s, "jitter"); jitter >= share {
			r.fault(d.where("jitter"), fmt.Sprintf("jitter (%s) leaves no time before the renewal at %s", jitter, key),
				fmt.Sprintf("expected less than %.3g%%", float64(share)*100))
		}
	}
	return renewer.Renewal{At: at, Before: before, Jitter: jitter}
}

// override also ends what a gate or a firewall holds up, so it counts without a window.
func (r *resolver) override(d *draft, c *renewer.Certificate) {
	if c.IsBundle() && c.Window == "" {
		return
	}
	c.OverrideBefore = getOr(&d.s, "override_before", min(defaultOverride, c.Lifetime/10).Truncate(time.Second))
	if c.OverrideBefore >= c.Lifetime {
		r.fault(d.where("override_before"), fmt.Sprintf("override_before (%s) is not less than lifetime (%s)", FormatDuration(c.OverrideBefore), FormatDuration(c.Lifetime)),
			"expected less than lifetime")
	}
}

// bundle refuses to mix a trust bundle alone with a certificate.
func (r *resolver) bundle(d *draft, c *renewer.Certificate) {
	if !d.bundle {
		if c.IsBundle() && hasValue(&d.s, "usages") {
			r.fault(d.where("usages"), "a certificate without usages", "expected [server], [client] or both; the profile ca-bundle is for a trust bundle alone")
		}
		return
	}
	for _, k := range leafKeys {
		if d.own.has(k) {
			r.fault(d.where(k), fmt.Sprintf("%s is not possible in a trust bundle (profile %s), which has no certificate", k, d.profile.Name), "expected no such key")
		}
	}
}

// tolerate has an entry on so many hosts renewed so early that an outage of its issuer
// or of hosts does not expire it.
func (r *resolver) tolerate(d *draft, hosts int) {
	outage := get[time.Duration](&d.s, "tolerate")
	c := &d.base
	if outage == 0 || c.IsBundle() {
		return
	}
	r.fleet.tolerate[c.Entry] = outage
	like := *c // as one of its placements will be
	like.Placements = []renewer.Placement{{
		Activate: getOr(&d.s, "activate", renewer.Activation{Kind: renewer.ActivateNone, Timeout: defaultActivateTimeout}),
		Probe:    getOr(&d.s, "probe", probeSetting{Probe: renewer.Probe{Kind: renewer.ProbeFile, Timeout: defaultProbeTimeout}}).Probe,
	}}
	var shut time.Duration
	if w, ok := r.fleet.windows[c.Window]; ok {
		if _, known := r.shut[c.Window]; !known {
			r.shut[c.Window] = w.LongestShut()
		}
		shut = r.shut[c.Window]
	}
	need := like.RolloutTime(hosts)
	c.Renewal.Lead = like.Lead(outage, need, shut)
	most := renewer.MostLead(c.Lifetime)
	if c.Renewal.Lead <= most {
		return
	}
	parts := fmt.Sprintf("%s until the next retry, %s for the rollout", FormatDuration(renewer.RetryWithin(outage)), FormatDuration(need))
	if shut > 0 && outage+need > c.OverrideBefore {
		parts += fmt.Sprintf(", %s until window %s opens", FormatDuration(shut), c.Window)
	}
	expected := "expected a longer lifetime"
	if can := renewer.Tolerated(most, need+shut); can > 2*day {
		expected = "expected at most " + FormatDuration(can.Truncate(day)) + ", or a longer lifetime"
	} else if can > time.Minute {
		expected = "expected at most " + FormatDuration(can.Truncate(time.Minute)) + ", or a longer lifetime"
	}
	r.fault(d.where("tolerate"), fmt.Sprintf("tolerate (%s) does not fit into a lifetime of %s: it also takes %s, and all of that may take 90%% of the lifetime",
		FormatDuration(outage), FormatDuration(c.Lifetime), parts), expected)
}
