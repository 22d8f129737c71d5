package dockerhost

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"renewer/renewer"
)

// The unit that holds the rules: systemd starts it before Docker at every boot, and
// takes the rules away when it is stopped.
const (
	firewallUnit = "renewer-docker-firewall.service"
	firewallFile = "/etc/systemd/system/" + firewallUnit
)

// Wall is the host's own firewall, as far as it was seen.
type Wall struct {
	Looked bool   // with --firewall, or because renewer has written rules
	Tool   string // ufw, nft, iptables; empty: there is none
	Path   string // of its program
	IPv6   string // of ip6tables; empty: there is none
	// Closed is the chain of somebody else's nftables rules that drops by default.
	Closed string
	UFW    string // what ufw status says, where it is active
	Unit   File   // ours
	Active bool   // it is loaded
	// Live are the rules that the kernel goes by now, by program; LiveErr: some could not be read.
	Live    map[string]string
	LiveErr error
}

var walls = []struct{ tool, path string }{
	{"ufw", "/usr/sbin/ufw"}, {"nft", "/usr/sbin/nft"}, {"iptables", "/usr/sbin/iptables"},
}

func wallState() []string {
	return systemctl("show", "--property=ActiveState", "--value", "--", firewallUnit)
}

func firewallCommands() [][]string {
	return [][]string{
		wallState(),
		{"ufw", "status"},
		{"nft", "list", "chains"},
		liveRules["nft"], liveRules["iptables"], liveRules["ip6tables"],
		systemctl("enable", "--now", "--", firewallUnit), systemctl("restart", "--", firewallUnit), systemctl("disable", "--now", "--", firewallUnit),
	}
}

// InspectWall looks which firewall the host uses. It changes nothing.
func InspectWall(ctx context.Context, m Machine) (w Wall, err error) {
	w.Looked = true
	if w.Unit, err = readFile(ctx, m, firewallFile); err != nil {
		return w, err
	}
	if w.Unit.Exists {
		state, err := m.Output(ctx, wallState())
		if err != nil {
			return w, err
		}
		if w.Active = strings.TrimSpace(state) == "active"; w.Active {
			w.inspectLive(ctx, m)
		}
	}
	for _, wall := range walls {
		has, err := m.Has(ctx, wall.path)
		if err != nil {
			return w, err
		}
		if !has {
			continue
		}
		switch wall.tool {
		case "ufw":
			out, err := m.Output(ctx, []string{"ufw", "status"})
			if err != nil {
				return w, err
			}
			if !strings.Contains(out, "Status: active") {
				continue
			}
			w.UFW = out
		case "nft":
			out, err := m.Output(ctx, []string{"nft", "list", "chains"})
			if err != nil {
				return w, err
			}
			w.Closed = closedChain(out)
		case "iptables":
			if has, err := m.Has(ctx, "/usr/sbin/ip6tables"); err == nil && has {
				w.IPv6 = "/usr/sbin/ip6tables"
			}
		}
		w.Tool, w.Path = wall.tool, wall.path
		return w, nil
	}
	return w, nil
}

// closedChain finds a chain that drops what comes in by default: a packet has to pass
// every table, so a rule in one of our own does not admit it there.
func closedChain(chains string) string {
	table, chain := "", ""
	for line := range strings.Lines(chains) {
		words := strings.Fields(line)
		switch {
		case len(words) >= 3 && words[0] == "table":
			table = words[1] + " " + words[2]
		case len(words) >= 2 && words[0] == "chain":
			chain = words[1]
		case strings.Contains(line, "hook input") && strings.Contains(line, "policy drop"):
			return table + " " + chain
		}
	}
	return ""
}

// WithWall adds the rules that admit the clients alone to a plan.
func WithWall(plan renewer.HostPlan, w Wall, p renewer.Placement, clients []netip.Addr) (renewer.HostPlan, error) {
	port, err := probePort(p)
	if err != nil {
		return plan, err
	}
	list := make([]string, 0, len(clients))
	for _, a := range clients {
		list = append(list, a.String())
	}
	switch {
	case len(clients) == 0:
		return plan, misconfigured("give hosts that have client certificates an address:", "no address of a client of %s is known, so no client would be allowed", p.Certificate)
	case w.Tool == "":
		return plan, misconfigured("apt-get install nftables", "no firewall on %s: neither an active ufw, nor nft, nor iptables", p.Host)
	case w.Closed != "":
		rule := fmt.Sprintf("tcp dport %s ip saddr { %s } accept", port, strings.Join(list, ", "))
		return plan, misconfigured("nft insert rule "+w.Closed+" "+rule+", and the same into /etc/nftables.conf",
			"the chain %s of the host's nftables rules drops packets by default, so the rule has to be in that chain", w.Closed)
	}
	if taken := takenInUFW(w.UFW, port); taken != "" {
		return plan, misconfigured("ufw delete "+taken+" on the host, then run the setup again, which allows the clients",
			"ufw allows port %s for everyone, and that rule comes before the new one", port)
	}
	want := wallUnit(w, port, clients)
	if want == w.Unit.Text && w.Active && w.gap(port) == "" {
		return plan, nil
	}
	if w.Unit.Link {
		return plan, misconfigured("replace the link by a copy of the file", "%s is a symbolic link: another tool keeps this file", firewallFile)
	}
	mode := w.Unit.Mode
	if !w.Unit.Exists {
		mode = 0o644
	}
	plan.Changes = append(slices.Clone(plan.Changes), change(w.Unit, want, mode))
	plan.Notes = slices.DeleteFunc(slices.Clone(plan.Notes), func(n string) bool { return strings.Contains(n, "is not opened in the firewall") })
	if why := w.gap(port); why != "" {
		plan.Notes = append(plan.Notes, "the rules are not in force: "+why+"; loading them again")
	}
	plan.Notes = append(plan.Notes, fmt.Sprintf("port %s is opened for %s only, by %s; systemctl disable --now %s reverts this", port, strings.Join(list, ", "), w.Tool, firewallUnit))
	return plan.Sealed(), nil
}

// wallUnit is the text of the unit. Its commands are systemd's, without a shell.
func wallUnit(w Wall, port string, clients []netip.Addr) string {
	var start, stop []string
	switch w.Tool {
	case "ufw":
		// Each goes in front of what is there, so the last comes first.
		rules := []string{"deny proto tcp to any port " + port}
		for _, a := range clients {
			rules = append(rules, "allow proto tcp from "+a.String()+" to any port "+port)
		}
		for _, rule := range rules {
			start, stop = append(start, w.Path+" prepend "+rule), append(stop, w.Path+" delete "+rule)
		}
	case "nft":
		const table = "inet renewer_docker"
		rule := w.Path + " add rule " + table + " input "
		start = []string{
			"-" + w.Path + " delete table " + table, w.Path + " add table " + table,
			w.Path + ` "add chain ` + table + ` input { type filter hook input priority -10 ; policy accept ; }"`, // one word: -10 is no option, ; no other command
			rule + "iif lo accept",
		}
		for _, a := range clients {
			family := "ip"
			if a.Is6() {
				family = "ip6"
			}
			start = append(start, rule+"tcp dport "+port+" "+family+" saddr "+a.String()+" accept")
		}
		start, stop = append(start, rule+"tcp dport "+port+" drop"), []string{w.Path + " delete table " + table}
	case "iptables":
		start, stop = chainOf(w.Path, port, clients, netip.Addr.Is4)
		if w.IPv6 != "" {
			more, less := chainOf(w.IPv6, port, clients, netip.Addr.Is6)
			start, stop = append(start, more...), append(stop, less...)
		}
	}
	var b strings.Builder
	b.WriteString("# Written by renewer host setup --firewall: who may reach the Docker API.\n[Unit]\nDescription=The known clients of the Docker API\nBefore=docker.service\n\n[Service]\nType=oneshot\nRemainAfterExit=yes\n")
	for _, line := range start {
		b.WriteString("ExecStart=" + line + "\n")
	}
	for _, line := range stop {
		b.WriteString("ExecStop=-" + line + "\n")
	}
	b.WriteString("\n[Install]\nWantedBy=multi-user.target\n")
	return b.String()
}

// chainOf makes a chain of our own, so that nothing of anybody else's is touched.
func chainOf(program, port string, clients []netip.Addr, family func(netip.Addr) bool) (start, stop []string) {
	chain := "RENEWER-" + port
	jump := " INPUT -p tcp --dport " + port + " -j " + chain
	stop = []string{program + " -D" + jump, program + " -F " + chain, program + " -X " + chain}
	for _, line := range stop { // what a start that was cut off has left
		start = append(start, "-"+line)
	}
	start = append(start, program+" -N "+chain, program+" -A "+chain+" -i lo -j ACCEPT")
	for _, a := range clients {
		if family(a) {
			start = append(start, program+" -A "+chain+" -s "+a.String()+" -j ACCEPT")
		}
	}
	return append(start, program+" -A "+chain+" -j DROP", program+" -I"+jump), stop
}

// firewall looks at rules that renewer has written.
func firewall(c Case) verdict {
	w := c.Facts.Wall
	if !w.Looked || !w.Unit.Exists {
		return verdict{}
	}
	port, err := probePort(c.Placement)
	if err != nil {
		return verdict{}
	}
	again := "renewer host setup " + c.Placement.Host + " --firewall"
	switch {
	case !w.Active:
		return bad("systemctl enable --now "+firewallUnit+" on the host", "%s is not running: the firewall does not protect port %s", firewallUnit, port)
	case w.gap(port) != "":
		return bad(again+" loads the rules again, first in the chain", "the firewall does not protect port %s: %s", port, w.gap(port))
	case w.LiveErr != nil:
		return unknown(renewer.Hint(w.LiveErr), "could not check whether the firewall rules for port %s are active: %v", port, w.LiveErr)
	case len(c.Clients) > 0 && wallUnit(w, port, c.Clients) != w.Unit.Text:
		return warn(again+" writes them again", "the firewall rules for port %s do not match the clients of the fleet file", port)
	}
	return fine("the firewall allows only the known clients to port %s", port)
}
