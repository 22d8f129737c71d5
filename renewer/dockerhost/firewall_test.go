package dockerhost

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"renewer/renewer"
)

var clients = []netip.Addr{netip.MustParseAddr("10.0.1.9"), netip.MustParseAddr("fd00::9")}

// Whichever firewall the host uses: exactly the known clients are let in, and what lets
// them in is taken away by stopping the unit.
func TestFirewallRules(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		tools       map[string]string
		start, stop []string
		says        string // an error
	}{
		"ufw": {
			tools: map[string]string{"/usr/sbin/ufw": "Status: active\n", "/usr/sbin/nft": "", "/usr/sbin/iptables": ""},
			start: []string{"/usr/sbin/ufw allow proto tcp from 10.0.1.9 to any port 2376", "/usr/sbin/ufw allow proto tcp from fd00::9 to any port 2376", "/usr/sbin/ufw deny proto tcp to any port 2376"},
			stop:  []string{"-/usr/sbin/ufw delete allow proto tcp from 10.0.1.9 to any port 2376", "-/usr/sbin/ufw delete allow proto tcp from fd00::9 to any port 2376", "-/usr/sbin/ufw delete deny proto tcp to any port 2376"},
		},
		"nftables, ufw is off": {
			tools: map[string]string{"/usr/sbin/ufw": "Status: inactive\n", "/usr/sbin/nft": "table inet filter {\n\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n\t}\n}\n"},
			start: []string{
				"-/usr/sbin/nft delete table inet renewer_docker", "/usr/sbin/nft add table inet renewer_docker",
				`/usr/sbin/nft "add chain inet renewer_docker input { type filter hook input priority -10 ; policy accept ; }"`,
				"/usr/sbin/nft add rule inet renewer_docker input iif lo accept",
				"/usr/sbin/nft add rule inet renewer_docker input tcp dport 2376 ip saddr 10.0.1.9 accept",
				"/usr/sbin/nft add rule inet renewer_docker input tcp dport 2376 ip6 saddr fd00::9 accept",
				"/usr/sbin/nft add rule inet renewer_docker input tcp dport 2376 drop",
			},
			stop: []string{"-/usr/sbin/nft delete table inet renewer_docker"},
		},
		"iptables": {
			tools: map[string]string{"/usr/sbin/iptables": "", "/usr/sbin/ip6tables": ""},
			start: []string{
				"-/usr/sbin/iptables -D INPUT -p tcp --dport 2376 -j RENEWER-2376", "-/usr/sbin/iptables -F RENEWER-2376", "-/usr/sbin/iptables -X RENEWER-2376",
				"/usr/sbin/iptables -N RENEWER-2376", "/usr/sbin/iptables -A RENEWER-2376 -i lo -j ACCEPT", "/usr/sbin/iptables -A RENEWER-2376 -s 10.0.1.9 -j ACCEPT",
				"/usr/sbin/iptables -A RENEWER-2376 -j DROP", "/usr/sbin/iptables -I INPUT -p tcp --dport 2376 -j RENEWER-2376",
				"-/usr/sbin/ip6tables -D INPUT -p tcp --dport 2376 -j RENEWER-2376", "-/usr/sbin/ip6tables -F RENEWER-2376", "-/usr/sbin/ip6tables -X RENEWER-2376",
				"/usr/sbin/ip6tables -N RENEWER-2376", "/usr/sbin/ip6tables -A RENEWER-2376 -i lo -j ACCEPT", "/usr/sbin/ip6tables -A RENEWER-2376 -s fd00::9 -j ACCEPT",
				"/usr/sbin/ip6tables -A RENEWER-2376 -j DROP", "/usr/sbin/ip6tables -I INPUT -p tcp --dport 2376 -j RENEWER-2376",
			},
			stop: []string{
				"-/usr/sbin/iptables -D INPUT -p tcp --dport 2376 -j RENEWER-2376", "-/usr/sbin/iptables -F RENEWER-2376", "-/usr/sbin/iptables -X RENEWER-2376",
				"-/usr/sbin/ip6tables -D INPUT -p tcp --dport 2376 -j RENEWER-2376", "-/usr/sbin/ip6tables -F RENEWER-2376", "-/usr/sbin/ip6tables -X RENEWER-2376",
			},
		},
		"nothing at all": {says: "there is no firewall on host-b"},
		"rules of somebody else that drop": {
			tools: map[string]string{"/usr/sbin/nft": "table ip nat {\n\tchain input {\n\t\ttype nat hook input priority 100; policy accept;\n\t}\n}\ntable inet filter {\n\tchain in {\n\t\ttype filter hook input priority filter; policy drop;\n\t}\n}\n"},
			says:  "the chain inet filter in of the host's own nftables rules drops",
		},
	} {
		m := newMachine(debianUnit)
		m.tools = tc.tools
		wall, err := InspectWall(t.Context(), m)
		must(t, err)
		plan, err := WithWall(planOf(t, m), wall, placement(), clients)
		if tc.says != "" {
			fails(t, err, tc.says)
			continue
		}
		must(t, err)
		last := plan.Changes[len(plan.Changes)-1]
		var start, stop []string
		for _, e := range service(last.After) {
			switch e.name {
			case "ExecStart":
				start = append(start, e.value)
			case "ExecStop":
				stop = append(stop, e.value)
			}
		}
		if d := cmp.Diff(tc.start, start) + cmp.Diff(tc.stop, stop); d != "" || last.Path != firewallFile {
			t.Errorf("%s: %s: %s", name, last.Path, d)
		}
		if notes := strings.Join(plan.Notes, "\n"); strings.Contains(notes, "is not opened in a firewall") || !strings.Contains(notes, "port 2376 is opened to 10.0.1.9, fd00::9 alone") {
			t.Errorf("%s: %s", name, notes)
		}
	}
	m := newMachine(debianUnit)
	m.tools = map[string]string{"/usr/sbin/nft": ""}
	wall, err := InspectWall(t.Context(), m)
	must(t, err)
	_, err = WithWall(planOf(t, m), wall, placement(), nil)
	fails(t, err, "nobody would be let in")
}

func walled(t *testing.T, m *machine, who []netip.Addr) renewer.HostPlan {
	t.Helper()
	plan := planOf(t, m)
	wall, err := InspectWall(t.Context(), m)
	must(t, err)
	plan, err = WithWall(plan, wall, placement(), who)
	must(t, err)
	m.calls = nil
	return plan
}

// The rules are there before the port is; the second time nothing is done; other clients
// cost no restart of Docker; and doctor sees all of it.
func TestSetupWithAFirewall(t *testing.T) {
	t.Parallel()
	m := newMachine(debianUnit)
	m.tools = map[string]string{"/usr/sbin/nft": ""}
	must(t, setup(m).Apply(t.Context(), walled(t, m, clients)))
	on := slices.IndexFunc(m.calls, func(c string) bool { return strings.Contains(c, "enable --now") })
	started := slices.IndexFunc(m.calls, func(c string) bool { return strings.Contains(c, "restart -- docker.service") })
	if !m.walled || on < 0 || on > started {
		t.Errorf("on %t, rules at %d, restart at %d: %q", m.walled, on, started, m.calls)
	}
	if again := walled(t, m, clients); !again.Empty() {
		t.Errorf("a second plan: %s", shown(again, nil))
	}
	more := append(slices.Clone(clients), netip.MustParseAddr("10.0.1.10"))
	plan := walled(t, m, more)
	if plan.Restart || len(plan.Changes) != 1 {
		t.Errorf("for another client: %s", shown(plan, nil))
	}
	must(t, setup(m).Apply(t.Context(), plan))
	if m.starts != 1 || !strings.Contains(m.files[firewallFile].text, "10.0.1.10") {
		t.Errorf("%d starts, %s", m.starts, m.files[firewallFile].text)
	}
	level := func(who []netip.Addr) renewer.FindingLevel {
		f, err := Inspect(t.Context(), m, placement())
		must(t, err)
		return firewall(Case{Placement: placement(), Facts: f, Clients: who}).level
	}
	if got := level(more); got != renewer.FindingOK {
		t.Errorf("as it should be: %s", got)
	}
	if got := level(clients); got != renewer.FindingWarn {
		t.Errorf("a client too many: %s", got)
	}
	m.walled = false
	if got := level(more); got != renewer.FindingFail {
		t.Errorf("stopped: %s", got)
	}
}

// Whatever call fails, the rules and the files are as they were.
func TestAFirewallIsTakenBack(t *testing.T) {
	t.Parallel()
	for _, before := range []bool{false, true} {
		for _, effect := range []bool{false, true} {
			for at := 1; ; at++ {
				m := newMachine(debianUnit)
				m.tools = map[string]string{"/usr/sbin/nft": ""}
				if before {
					must(t, setup(m).Apply(t.Context(), walled(t, m, clients[:1])))
				}
				plan := walled(t, m, clients)
				files, on := maps.Clone(m.files), m.walled
				m.at, m.effect = at, effect
				err := setup(m).Apply(t.Context(), plan)
				if len(m.calls) < at {
					must(t, err)
					break
				}
				if err != nil && (!errors.Is(err, errInjected) || m.walled != on || !maps.Equal(m.files, files) || !m.running) {
					t.Errorf("before %t, call %d (%s), effect %t: on %t, %v", before, at, m.calls[at-1], effect, m.walled, err)
				}
			}
		}
	}
	m := newMachine(debianUnit)
	m.tools, m.broken = map[string]string{"/usr/sbin/nft": ""}, true
	plan, files := walled(t, m, clients), maps.Clone(m.files)
	if err := setup(m).Apply(t.Context(), plan); err == nil || m.starts > 0 || !maps.Equal(m.files, files) {
		t.Errorf("rules that cannot be loaded: %v, %d starts", err, m.starts)
	}
}
