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
			start: []string{"/usr/sbin/ufw prepend deny proto tcp to any port 2376", "/usr/sbin/ufw prepend allow proto tcp from 10.0.1.9 to any port 2376", "/usr/sbin/ufw prepend allow proto tcp from fd00::9 to any port 2376"},
			stop:  []string{"-/usr/sbin/ufw delete deny proto tcp to any port 2376", "-/usr/sbin/ufw delete allow proto tcp from 10.0.1.9 to any port 2376", "-/usr/sbin/ufw delete allow proto tcp from fd00::9 to any port 2376"},
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
		"ufw, with the port open to all": {
			tools: map[string]string{"/usr/sbin/ufw": "Status: active\n\n--\n2376/tcp                   ALLOW       Anywhere\n"},
			says:  "ufw allows port 2376",
		},
		"nothing at all": {says: "no firewall on host-b"},
		"rules of somebody else that drop": {
			tools: map[string]string{"/usr/sbin/nft": "table ip nat {\n\tchain input {\n\t\ttype nat hook input priority 100; policy accept;\n\t}\n}\ntable inet filter {\n\tchain in {\n\t\ttype filter hook input priority filter; policy drop;\n\t}\n}\n"},
			says:  "the chain inet filter in of the host's nftables rules drops",
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
		if notes := strings.Join(plan.Notes, "\n"); strings.Contains(notes, "is not opened in the firewall") || !strings.Contains(notes, "port 2376 is opened for 10.0.1.9, fd00::9 only") {
			t.Errorf("%s: %s", name, notes)
		}
	}
	m := newMachine(debianUnit)
	m.tools = map[string]string{"/usr/sbin/nft": ""}
	wall, err := InspectWall(t.Context(), m)
	must(t, err)
	_, err = WithWall(planOf(t, m), wall, placement(), nil)
	fails(t, err, "no client would be allowed")
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
	m.flushed = true
	if got, plan := level(more), walled(t, m, more); got != renewer.FindingFail || plan.Restart || !strings.Contains(strings.Join(plan.Notes, ""), "not in force: nft") {
		t.Errorf("flushed: %s, %s", got, shown(plan, nil))
	}
	must(t, setup(m).Apply(t.Context(), walled(t, m, more)))
	if got := level(more); got != renewer.FindingOK {
		t.Errorf("fixed: %s", got)
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

// Each tool's own listing was taken from a Debian host that setup --firewall had been run on,
// and after the change that the name says.
func TestFirewallRulesInForce(t *testing.T) {
	t.Parallel()
	unit := func(tool string) Wall {
		w := Wall{Looked: true, Tool: tool, Path: "/usr/sbin/" + tool, Active: true}
		if tool == "iptables" {
			w.IPv6 = "/usr/sbin/ip6tables"
		}
		w.Unit = file(firewallFile, wallUnit(w, "2376", clients))
		return w
	}
	const (
		input  = "-P INPUT ACCEPT\n-P FORWARD DROP\n-N RENEWER-2376\n"
		jump   = "-A INPUT -p tcp -m tcp --dport 2376 -j RENEWER-2376\n"
		chain4 = "-A RENEWER-2376 -i lo -j ACCEPT\n-A RENEWER-2376 -s 10.0.1.9/32 -j ACCEPT\n-A RENEWER-2376 -j DROP\n"
		chain6 = "-A RENEWER-2376 -i lo -j ACCEPT\n-A RENEWER-2376 -s fd00::9/128 -j ACCEPT\n-A RENEWER-2376 -j DROP\n"
		good6  = input + jump + chain6
		table  = "table inet renewer_docker {\n\tchain input {\n\t\ttype filter hook input priority filter - 10; policy accept;\n"
		first  = "\t\tiif \"lo\" accept\n\t\ttcp dport 2376 ip saddr 10.0.1.9 accept\n\t\ttcp dport 2376 ip6 saddr fd00::9 accept\n"
		drop   = "\t\ttcp dport 2376 drop\n"
		end    = "\t}\n}\n"
		head   = "Status: active\n\nTo                         Action      From\n--                         ------      ----\n"
		allows = "2376/tcp                   ALLOW       10.0.1.9\n"
		deny   = "2376/tcp                   DENY        Anywhere\n"
		six    = "2376/tcp                   ALLOW       fd00::9\n2376/tcp (v6)              DENY        Anywhere (v6)\n"
	)
	for name, tc := range map[string]struct {
		tool, rules, rules6 string
		gap                 string
	}{
		"iptables":                         {"iptables", input + jump + chain4, good6, ""},
		"flushed":                          {"iptables", input + chain4, good6, "iptables: INPUT has no rule any more"},
		"flushed for IPv6":                 {"iptables", input + jump + chain4, input, "ip6tables: INPUT has no rule"},
		"the chain is empty":               {"iptables", input + jump, good6, "RENEWER-2376 is empty"},
		"the chain does not drop":          {"iptables", input + jump + strings.ReplaceAll(chain4, "DROP", "RETURN"), good6, "RENEWER-2376 was changed"},
		"another client in the chain":      {"iptables", input + jump + "-A RENEWER-2376 -s 10.9.9.9/32 -j ACCEPT\n" + chain4, good6, "was changed"},
		"the port, for all, in front":      {"iptables", input + "-A INPUT -p tcp -m tcp --dport 2376 -j ACCEPT\n" + jump + chain4, good6, `"-A INPUT -p tcp -m tcp --dport 2376 -j ACCEPT" comes first and allows others`},
		"everything in front":              {"iptables", input + "-A INPUT -j ACCEPT\n" + jump + chain4, good6, "comes first and allows others"},
		"a network in front":               {"iptables", input + "-A INPUT -s 10.0.0.0/8 -j ACCEPT\n" + jump + chain4, good6, "comes first and allows others"},
		"all but one in front":             {"iptables", input + "-A INPUT ! -s 10.0.1.9/32 -p tcp -j ACCEPT\n" + jump + chain4, good6, "comes first and allows others"},
		"ports in front":                   {"iptables", input + "-A INPUT -p tcp -m multiport --dports 22,2000:3000 -j ACCEPT\n" + jump + chain4, good6, "comes first and allows others"},
		"by another chain":                 {"iptables", input + "-N my\n-A INPUT -p tcp -j my\n-A my -m state --state NEW -j ACCEPT\n" + jump + chain4, good6, `"-A my -m state --state NEW -j ACCEPT"`},
		"a chain that only returns":        {"iptables", input + "-N f2b\n-A INPUT -p tcp -j f2b\n-A f2b -s 1.2.3.4/32 -j REJECT\n-A f2b -j RETURN\n-A f2b -j ACCEPT\n" + jump + chain4, good6, ""},
		"what others have in front":        {"iptables", input + "-A INPUT -i lo -j ACCEPT\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A INPUT -p icmp -j ACCEPT\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n-A INPUT -s 10.0.1.9/32 -p tcp -m tcp --dport 2376 -j ACCEPT\n-A INPUT -j LOG\n" + jump + chain4, good6, ""},
		"behind":                           {"iptables", input + jump + "-A INPUT -j ACCEPT\n" + chain4, good6, ""},
		"everything is dropped before":     {"iptables", input + "-A INPUT -j DROP\n" + jump + chain4, good6, "INPUT has no rule any more"},
		"only some come to the chain":      {"iptables", input + "-A INPUT -s 10.0.0.0/8 -p tcp -m tcp --dport 2376 -j RENEWER-2376\n" + chain4, good6, "INPUT has no rule any more"},
		"nftables":                         {"nft", table + first + drop + end, "", ""},
		"a table of others before":         {"nft", "table inet filter {\n\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n\t\taccept\n\t}\n}\n" + table + first + drop + end, "", ""},
		"the table is gone":                {"nft", "", "", "renewer_docker is gone"},
		"the rules are flushed":            {"nft", table + end, "", "rules of inet renewer_docker were changed"},
		"the last rule is gone":            {"nft", table + first + end, "", "were changed"},
		"a rule was inserted":              {"nft", table + "\t\ttcp dport 2376 accept\n" + first + drop + end, "", "were changed: tcp dport 2376 accept;"},
		"the chain hangs on another hook":  {"nft", strings.Replace(table, "hook input", "hook output", 1) + first + drop + end, "", "is gone"},
		"ufw":                              {"ufw", head + allows + deny + six, "", ""},
		"ufw with others":                  {"ufw", head + "22/tcp                     ALLOW       Anywhere\nOpenSSH                    ALLOW       Anywhere\n2376/udp                   ALLOW       Anywhere\n" + allows + deny + six, "", ""},
		"ufw is off":                       {"ufw", "Status: inactive\n", "", "ufw is not active"},
		"ufw lets all in first":            {"ufw", head + "2376/tcp                   ALLOW IN    Anywhere\n" + allows + deny + six, "", "2376/tcp ALLOW IN Anywhere comes first and allows others"},
		"ufw lets all in first, by a span": {"ufw", head + "2000:3000/tcp              LIMIT       Anywhere\n" + allows + deny + six, "", "comes first and allows others"},
		"ufw lets a network in first":      {"ufw", head + "Anywhere                   ALLOW       10.0.0.0/8\n" + allows + deny + six, "", "comes first and allows others"},
		"ufw lets all of IPv6 in":          {"ufw", head + allows + deny + "2376/tcp (v6)              ALLOW       Anywhere (v6)\n", "", "comes first and allows others"},
		"ufw lets all in behind":           {"ufw", head + allows + deny + "2376                       ALLOW       Anywhere\n" + six, "", ""},
		"ufw without the last rule":        {"ufw", head + allows, "", "the rule that denies the port is gone"},
	} {
		w := unit(tc.tool)
		w.Live = map[string]string{tc.tool: tc.rules}
		if tc.tool == "iptables" {
			w.Live["ip6tables"] = tc.rules6
		}
		if got := w.gap("2376"); (got == "") != (tc.gap == "") || !strings.Contains(got, tc.gap) {
			t.Errorf("%s: %q, want %q", name, got, tc.gap)
		}
	}
}
