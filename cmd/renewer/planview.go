package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"renewer/internal/plaintext"
	"renewer/renewer"
)

// A plan is printed by certificate: a sign and a name, and below it what changes, why, and
// what is done on each host. A text that is longer than a line goes on below itself.

// planColumn is how wide the names are before what is said of them.
const planColumn = 16

var signColours = map[string]text.Color{"+": text.FgGreen, "~": text.FgYellow, "-": text.FgRed, ">": text.FgCyan}

func (c *cli) print(format string, args ...any) { fmt.Fprintf(c.out, format+"\n", args...) }

// subject begins the part of a plan about one thing.
func (c *cli) subject(sign, name string) {
	c.print("%s %s", cell{colour: signColours[sign]}.paint(sign), cell{colour: signColours[sign]}.paint(plaintext.Text(name)))
}

// detail is a line below it; without a text there is none.
func (c *cli) detail(name, said string) {
	if said = plaintext.Text(said); said == "" {
		return
	}
	const margin = "    "
	if len(name) >= planColumn {
		c.print("%s%s", margin, name)
		name = ""
	}
	room := 0
	if c.columns > 0 {
		room = max(c.columns-len(margin)-planColumn, 20)
	}
	for _, line := range lines(said, room) {
		c.print("%s%-*s%s", margin, planColumn, name, line)
		name = ""
	}
}

// showSteps prints a plan with its summary.
func (c *cli) showSteps(v renewer.PlanView) {
	if len(v.Changes) > 0 && !v.Loaded {
		c.print("The fleet file was edited:")
		c.showChanges(v.Changes)
		c.print("\nThe plan:")
	}
	for rest := v.Steps; len(rest) > 0; {
		var names []string
		first := certificateOf(rest)
		for len(rest) > 0 && (len(names) == 0 || sameDone(first, certificateOf(rest))) {
			names = append(names, rest[0].Certificate)
			rest = rest[len(certificateOf(rest)):]
		}
		c.certificatePlan(first, names)
	}
	now := time.Now()
	for _, o := range v.Orphans {
		c.subject("-", o.Name)
		c.detail("orphaned", "left the fleet file, still in place on "+strings.Join(hostsOf(o), ", "))
		if !o.NotAfter.IsZero() {
			c.detail("expires", c.when(o.NotAfter, now))
		}
		c.detail("to let go", "renewer forget "+o.Name)
	}
	if len(v.Steps)+len(v.Orphans) > 0 {
		c.print("")
	}
	c.wrapped(summary(v))
}

// wrapped prints a sentence.
func (c *cli) wrapped(text string) {
	for _, line := range lines(text, c.columns) {
		c.print("%s", line)
	}
}

// certificateOf returns the steps of the first certificate.
func certificateOf(steps []renewer.PlanStep) []renewer.PlanStep {
	if n := slices.IndexFunc(steps, func(s renewer.PlanStep) bool { return s.Certificate != steps[0].Certificate }); n > 0 {
		return steps[:n]
	}
	return steps
}

// sameDone reports whether the same is done for two certificates of an entry with per_host,
// each on its own host.
func sameDone(a, b []renewer.PlanStep) bool {
	entry, host, _ := strings.Cut(a[0].Certificate, "@")
	other, its, _ := strings.Cut(b[0].Certificate, "@")
	same := func(x, y string) bool { return x == y || x == strings.ReplaceAll(y, its, host) }
	return entry == other && host != "" && slices.EqualFunc(a, b, func(x, y renewer.PlanStep) bool {
		return x.Action == y.Action && x.Guard == y.Guard && x.Code == y.Code && (x.Host == "") == (y.Host == "") &&
			same(x.Target, y.Target) && same(x.Reason, y.Reason) && same(fmt.Sprint(x.Changes), fmt.Sprint(y.Changes))
	})
}

// certificatePlan prints the steps of one certificate, which are those of all the names.
func (c *cli) certificatePlan(steps []renewer.PlanStep, names []string) {
	sign := "~"
	switch {
	case !slices.ContainsFunc(steps, func(s renewer.PlanStep) bool { return s.Action != "forget" }):
		sign = "-"
	case steps[0].Action == "move":
		sign = ">"
	case slices.ContainsFunc(steps, func(s renewer.PlanStep) bool { return s.Action == "issue" && s.Code == renewer.ReasonFirst }):
		sign = "+"
	}
	subject := names[0]
	if len(names) > 1 {
		subject += fmt.Sprintf(" and %d more: ", len(names)-1) + few(names[1:])
		_, host, _ := strings.Cut(names[0], "@")
		steps = slices.Clone(steps)
		for i, s := range steps {
			if steps[i].Reason = strings.TrimSuffix(strings.ReplaceAll(s.Reason, " on "+host+";", ";"), " on "+host); s.Host != "" {
				steps[i].Host = "each host"
			}
		}
	}
	c.subject(sign, subject)
	said := map[string]bool{} // each part of a reason once, and none that a change says
	for _, s := range steps {
		for _, d := range s.Changes {
			said[d.String()] = true
			if s.Action != "move" {
				c.change(d)
			}
		}
	}
	var why []string
	for _, s := range steps {
		if s.Action == "wait" || s.Action == "add_root" || s.Action == "drop_root" {
			continue
		}
		for part := range strings.SplitSeq(s.Reason, "; ") {
			if !said[part] {
				said[part], why = true, append(why, part)
			}
		}
	}
	if more := len(why) - mostNamed; more > 1 {
		why = append(why[:mostNamed], fmt.Sprintf("%d more", more))
	}
	c.detail("reason", strings.Join(why, "; "))
	doings, on := map[string]string{}, map[string][]string{} // by host, and the hosts by what is done there
	var hosts []string
	for _, s := range steps {
		if done := doing(s); done != "" {
			if doings[s.Host] == "" {
				hosts = append(hosts, s.Host)
			} else {
				done = doings[s.Host] + ", " + done
			}
			doings[s.Host] = done
		}
	}
	for _, host := range hosts {
		on[doings[host]] = append(on[doings[host]], host)
	}
	for _, host := range hosts {
		done := doings[host]
		switch all := on[done]; {
		case host == "":
			c.detail("issue", done)
		case len(all) == 1:
			c.detail(host, done)
		case host == all[0]:
			c.detail(count(len(all), "host"), done+": "+few(all))
		}
	}
	held := map[string][]string{}
	var waits []string
	for _, s := range steps {
		text := ""
		switch {
		case s.Action == "wait":
			text = s.Reason
		case s.Guard != "":
			text = s.Action + " is held while " + s.Guard
		}
		if text != "" {
			if held[text] == nil {
				waits = append(waits, text)
			}
			held[text] = append(held[text], s.Host)
		}
	}
	for _, text := range waits {
		if all := held[text]; all[0] != "" {
			text = few(all) + ": " + text
		}
		c.detail("waits", text)
	}
}

// mostNamed is how many of a kind are named where there are more.
const mostNamed = 5

func few(names []string) string {
	if more := len(names) - mostNamed; more > 1 {
		names = append(slices.Clone(names[:mostNamed]), fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

// doing is a step in words; empty for what has a line of its own.
func doing(s renewer.PlanStep) string {
	switch s.Action {
	case "issue":
		return "new certificate from " + s.Target
	case "push":
		return "place in " + s.Target
	case "add_root":
		return "add root " + s.Target
	case "drop_root":
		return "drop root " + s.Target
	case "signal":
		return "signal the process in " + s.Target
	case "command":
		return "run " + s.Target
	case "verify":
		return "verify"
	case "restore":
		return "restore the previous files"
	case "wait", "move", "forget":
		return ""
	}
	return s.Action + " " + s.Target
}

func (c *cli) change(d renewer.Difference) {
	name := d.Field
	if d.Host != "" {
		name += " on " + d.Host
	}
	c.detail(name, d.Change())
}

func hostsOf(r renewer.Row) (names []string) {
	for _, h := range r.Hosts {
		names = append(names, h.Name)
	}
	return names
}
