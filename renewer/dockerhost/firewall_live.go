package dockerhost

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// liveRules are the commands that print what the kernel goes by, by program.
var liveRules = map[string][]string{
	"ufw":       {"ufw", "status"},
	"nft":       {"nft", "list", "ruleset", "inet"},
	"iptables":  {"iptables", "-S"},
	"ip6tables": {"ip6tables", "-S"},
}

// starts are the unit's commands, by program.
func (w Wall) starts() map[string][]string {
	out := map[string][]string{}
	for _, e := range service(w.Unit.Text) {
		program, args, _ := strings.Cut(strings.TrimPrefix(e.value, "-"), " ")
		if name := path.Base(program); e.name == "ExecStart" && liveRules[name] != nil {
			out[name] = append(out[name], args)
		}
	}
	return out
}

// inspectLive reads the rules of the programs that the unit starts.
func (w *Wall) inspectLive(ctx context.Context, m Machine) {
	w.Live = map[string]string{}
	for program := range w.starts() {
		out, err := m.Output(ctx, liveRules[program])
		if err != nil {
			w.LiveErr = err
			continue
		}
		w.Live[program] = out
	}
}

// gap says how others reach the port in spite of the unit, by the rules as they are now;
// empty where they do not.
func (w Wall) gap(port string) string {
	starts := w.starts()
	for _, program := range []string{"ufw", "nft", "iptables", "ip6tables"} {
		rules, ok := w.Live[program]
		if !ok {
			continue
		}
		var why string
		switch program {
		case "ufw":
			why = gapOfUFW(rules, starts[program], port)
		case "nft":
			why = gapOfNFT(rules, starts[program])
		default:
			why = gapOfTables(rules, starts[program], port)
		}
		if why != "" {
			return program + ": " + why
		}
	}
	return ""
}

// gapOfNFT compares our chain, line by line: a packet has to pass every chain of a hook, so
// no rule of anybody else lets in what ours drops.
func gapOfNFT(rules string, starts []string) string {
	const add = "add rule inet renewer_docker input "
	var want, have []string
	for _, s := range starts {
		if rule, ok := strings.CutPrefix(s, add); ok {
			want = append(want, rule)
		}
	}
	hooked, inside := false, false
	for line := range strings.Lines(rules) {
		line = strings.ReplaceAll(strings.TrimSpace(line), `"`, "")
		switch {
		case strings.HasPrefix(line, "table "):
			inside = line == "table inet renewer_docker {"
		case !inside || line == "" || line == "}" || strings.HasPrefix(line, "chain "):
		case strings.HasPrefix(line, "type "):
			hooked = strings.HasPrefix(line, "type filter hook input ")
		default:
			have = append(have, line)
		}
	}
	switch {
	case !hooked:
		return "the table inet renewer_docker is gone"
	case !slices.Equal(have, want):
		return fmt.Sprintf("the rules of inet renewer_docker were changed: %s", strings.Join(have, "; "))
	}
	return ""
}

// gapOfUFW walks the rules of the port in their order; the first that matches counts.
func gapOfUFW(rules string, starts []string, port string) string {
	closed := map[bool]bool{} // by IPv6
	_, rows, active := strings.Cut(rules, "----\n")
	if !active || !strings.Contains(rules, "Status: active") {
		return "ufw is not active"
	}
	for line := range strings.Lines(rows) {
		six := strings.Contains(line, "(v6)")
		to, rest, ok := cutAction(strings.ReplaceAll(line, "(v6)", ""))
		if !ok || closed[six] || !ufwPort(to, port) {
			continue
		}
		action, from := rest[0], strings.Join(rest[1:], " ")
		switch {
		case from == "Anywhere" && (action == "DENY" || action == "REJECT"):
			closed[six] = true
		case (action == "ALLOW" || action == "LIMIT") && !slices.Contains(starts, "prepend allow proto tcp from "+from+" to any port "+port):
			return fmt.Sprintf("%s comes first and allows others: remove it with ufw delete", strings.Join(strings.Fields(line), " "))
		}
	}
	if !closed[false] {
		return "the rule that denies the port is gone"
	}
	return ""
}

// takenInUFW returns what ufw delete takes for a rule that differs from ours that closes the
// port only in that it opens it: ufw adds no second one.
func takenInUFW(rules, port string) string {
	for line := range strings.Lines(rules) {
		to, rest, ok := cutAction(strings.ReplaceAll(line, "(v6)", ""))
		if ok && to == port+"/tcp" && (rest[0] == "ALLOW" || rest[0] == "LIMIT") && strings.Join(rest[1:], " ") == "Anywhere" {
			return strings.ToLower(rest[0]) + " " + to
		}
	}
	return ""
}

func cutAction(line string) (to string, rest []string, ok bool) {
	words := strings.Fields(line)
	i := slices.IndexFunc(words, func(w string) bool { return slices.Contains([]string{"ALLOW", "LIMIT", "DENY", "REJECT"}, w) })
	if i < 0 || i+1 >= len(words) {
		return "", nil, false
	}
	rest = slices.DeleteFunc(slices.Clone(words[i:]), func(w string) bool { return w == "IN" })
	return strings.Join(words[:i], " "), rest, len(rest) > 1
}

func ufwPort(to, port string) bool {
	to, _, _ = strings.Cut(to, " on ")
	ports, proto, given := strings.Cut(to, "/")
	return to == "Anywhere" || (!given || proto == "tcp") && inPorts(ports, port)
}

// inPorts reports whether a list such as 80,2000:3000 has the port.
func inPorts(list, port string) bool {
	n, _ := strconv.Atoi(port)
	for part := range strings.SplitSeq(list, ",") {
		from, to, span := strings.Cut(part, ":")
		low, err := strconv.Atoi(from)
		high := low
		if span {
			high, _ = strconv.Atoi(to)
		}
		if err == nil && low <= n && n <= high {
			return true
		}
	}
	return false
}

// tables are the chains of iptables -S, each rule without its chain.
type tables struct {
	chains map[string][][]string
	ours   string
	port   string
	known  []string // addresses that our chain lets in
}

// gapOfTables walks INPUT as a packet of a stranger would.
func gapOfTables(rules string, starts []string, port string) string {
	t := tables{chains: map[string][][]string{}, ours: "RENEWER-" + port, port: port}
	for line := range strings.Lines(rules) {
		if words := plainWords(line); len(words) > 2 && words[0] == "-A" {
			t.chains[words[1]] = append(t.chains[words[1]], words[2:])
		}
	}
	var want []string
	for _, s := range starts {
		if words := plainWords(s); len(words) > 2 && words[0] == "-A" && words[1] == t.ours {
			want = append(want, strings.Join(words[2:], " "))
			if i := slices.Index(words, "-s"); i > 0 {
				t.known = append(t.known, words[i+1])
			}
		}
	}
	var have []string
	for _, rule := range t.chains[t.ours] {
		have = append(have, strings.Join(rule, " "))
	}
	reached, open := t.walk("INPUT", 0)
	switch {
	case open != "":
		return fmt.Sprintf("%q comes first and allows others", open)
	case reached != ours:
		return fmt.Sprintf("INPUT has no rule any more that jumps to the chain %s", t.ours)
	case len(have) == 0:
		return fmt.Sprintf("the chain %s is empty", t.ours)
	case !slices.Equal(have, want):
		return fmt.Sprintf("the chain %s was changed: %s", t.ours, strings.Join(have, "; "))
	}
	return ""
}

// plainWords are those of a rule, single addresses without their mask.
func plainWords(line string) []string {
	words := strings.Fields(line)
	for i, w := range words {
		words[i] = strings.TrimSuffix(strings.TrimSuffix(w, "/32"), "/128")
	}
	return words
}

// way is how a packet leaves a chain.
type way int

const (
	through way = iota // at its end, to the chain before
	ours               // to our chain
	dropped            // for good
)

func (t tables) walk(chain string, depth int) (way, string) {
	if depth > 16 { // the kernel refuses loops
		return through, ""
	}
	for _, rule := range t.chains[chain] {
		i := slices.IndexFunc(rule, func(w string) bool { return w == "-j" || w == "-g" })
		if i < 0 || i+1 >= len(rule) || !t.meets(rule[:i]) {
			continue
		}
		always := t.meetsAll(rule[:i])
		switch target := rule[i+1]; {
		case target == t.ours && always:
			return ours, ""
		case target == "ACCEPT":
			return through, fmt.Sprintf("-A %s %s", chain, strings.Join(rule, " "))
		case (target == "DROP" || target == "REJECT") && always:
			return dropped, ""
		case target == "RETURN" && always:
			return through, ""
		case t.chains[target] != nil && target != t.ours:
			if where, open := t.walk(target, depth+1); open != "" || where != through && always {
				return where, open
			}
		}
	}
	return through, ""
}

// meets reports whether a stranger's first packet to the port may match; what is not
// understood may.
func (t tables) meets(match []string) bool {
	for i := 0; i+1 < len(match); i++ {
		value := match[i+1]
		if i > 0 && match[i-1] == "!" {
			continue
		}
		switch match[i] {
		case "-i":
			if value == "lo" {
				return false
			}
		case "-p":
			if value != "tcp" && value != "all" {
				return false
			}
		case "-s":
			if slices.Contains(t.known, value) || strings.HasPrefix(value, "127.") || value == "::1" {
				return false
			}
		case "-d":
			if strings.HasPrefix(value, "127.") || value == "::1" {
				return false
			}
		case "--dport", "--dports":
			if !inPorts(value, t.port) {
				return false
			}
		case "--ctstate", "--state":
			if !strings.Contains(value, "NEW") {
				return false
			}
		}
	}
	return true
}

// meetsAll reports whether every stranger's packet to the port matches.
func (t tables) meetsAll(match []string) bool {
	for i := 0; i < len(match); i++ {
		switch match[i] {
		case "-m", "-p", "--dport", "--dports":
			i++
			if i >= len(match) || match[i-1] == "-m" && match[i] != "tcp" && match[i] != "multiport" && match[i] != "comment" {
				return false
			}
		case "--comment":
			return false // its text may be of several words
		default:
			return false
		}
	}
	return true
}
