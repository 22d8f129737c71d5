package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jedib0t/go-pretty/v6/text"

	"renewer/renewer"
)

// examplePlan has each kind of step.
func examplePlan() renewer.PlanView {
	step := func(certificate, host, action, target, reason string) renewer.PlanStep {
		return renewer.PlanStep{Certificate: certificate, Host: host, Action: action, Target: target, Reason: reason}
	}
	var steps []renewer.PlanStep
	for _, host := range []string{"host-a", "host-b", "host-c"} {
		name, why := "docker@"+host, "sans changed: + www.example.com - web0"
		issue := step(name, "", "issue", "fleet-ca", why)
		issue.Changes = []renewer.Difference{{Field: "sans", Added: []string{"www.example.com"}, Removed: []string{"web0"}}}
		restart := step(name, host, "restart", "docker.service", why)
		restart.Guard = "containers run without live-restore"
		steps = append(steps, issue, step(name, host, "push", "/etc/docker/tls", why), restart, step(name, host, "verify", "docker "+host+":2376", why))
	}
	first := step("web", "", "issue", "fleet-ca", "never issued")
	first.Code = renewer.ReasonFirst
	steps = append(steps, first)
	for _, host := range []string{"web1", "web2"} {
		steps = append(steps, step("web", host, "add_root", "9c1d22e0 (CN=next CA)", "root 9c1d22e0 is to be trusted"), step("web", host, "push", "/web", "never issued"),
			step("web", host, "wait", "", "window nightly opens 2026-11-29T02:00:00Z"), step("web", host, "restart", "nginx.service", "never issued"))
	}
	move := step("api", "", "move", "", "renamed from old-api; its generations and files are taken over")
	move.Changes = []renewer.Difference{{Field: "name", Before: "old-api", After: "api"}}
	push := step("api", "web3", "push", "/srv/api", "directory changed on web3; /old-api is left as it is: nothing should read it any more")
	push.Changes = []renewer.Difference{{Field: "dir", Before: "/old-api", After: "/srv/api"}}
	return renewer.PlanView{
		Steps: append(steps, move, push, step("blocked", "", "wait", "", "rollout blocked#2 is blocked: needs manual action"),
			renewer.ForgetStep("gone", "", []renewer.Departed{{}})),
		Orphans:      []renewer.Row{{Name: "legacy", NotAfter: time.Date(2027, 2, 26, 0, 0, 0, 0, time.UTC), Hosts: []renewer.HostRow{{Name: "web4"}}}},
		Certificates: 7, File: "renewer.yaml",
	}
}

func TestPlanIsGroupedByCertificate(t *testing.T) {
	t.Parallel()
	const want = `~ docker@host-a and 2 more: docker@host-b, docker@host-c
    sans            + www.example.com - web0
    issue           new certificate from fleet-ca
    each host       place in /etc/docker/tls, restart docker.service, verify
    waits           each host: restart is held while containers run without live-restore
+ web
    reason          never issued
    issue           new certificate from fleet-ca
    2 hosts         add root 9c1d22e0 (CN=next CA), place in /web, restart nginx.service: web1, web2
    waits           web1, web2: window nightly opens 2026-11-29T02:00:00Z
> api
    dir             /old-api -> /srv/api
    reason          renamed from old-api; its generations and files are taken over; directory changed on web3; /old-api is left as it is: nothing should read it any more
    web3            place in /srv/api
~ blocked
    waits           rollout blocked#2 is blocked: needs manual action
- gone
    reason          left the fleet file; its files stay in place, and it is listed as orphaned until it expires or you run: renewer forget gone
- legacy
    orphaned        left the fleet file, still in place on web4
    expires         2027-02-26T00:00:00Z
    to let go       renewer forget legacy

Plan: 1 moved, 4 to issue, 6 to place, 5 restarts, 1 to forget, 1 orphaned. 2 certificates wait.
`
	var out bytes.Buffer
	(&cli{out: &out}).showSteps(examplePlan())
	if diff := cmp.Diff(want, text.StripEscape(out.String())); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for want, v := range map[string]renewer.PlanView{
		"No changes. 1 certificate is as the fleet file says.":                {Certificates: 1},
		"No changes. 40 certificates are as the fleet file says. 1 orphaned.": {Certificates: 40, Orphans: []renewer.Row{{Name: "x"}}},
		"Plan: 1 to verify. Nothing waits.":                                   {Steps: []renewer.PlanStep{{Certificate: "a", Host: "h", Action: "verify"}}},
		"Plan: 1 certificate waits.":                                          {Steps: []renewer.PlanStep{{Certificate: "a", Action: "wait"}}},
		"Plan: 2 to place, 1 activation. Nothing waits.": {Steps: []renewer.PlanStep{
			{Certificate: "a", Host: "h", Action: "push"},
			{Certificate: "a", Host: "h", Action: "reload", Target: "x.service"},
			{Certificate: "b", Host: "h", Action: "push"},
			{Certificate: "b", Host: "h", Action: "reload", Target: "x.service"},
		}},
	} {
		if got := summary(v); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
