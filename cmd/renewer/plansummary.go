package main

import (
	"fmt"
	"strings"

	"renewer/renewer"
)

// summary is the last line of a plan.
func summary(v renewer.PlanView) string {
	n := map[string]int{}
	done, waiting := map[string]bool{}, map[string]bool{}
	for _, s := range v.Steps {
		switch s.Action {
		case "restart", "reload", "kill", "signal", "command":
			once := s.Action + " " + s.Host + " " + s.Target // for several certificates
			if done[once] {
				continue
			}
			if done[once] = true; s.Action == "restart" {
				n["restart"]++
			} else {
				n["activation"]++
			}
		case "wait":
			waiting[s.Certificate] = true
		default:
			n[s.Action]++
		}
	}
	var parts []string
	add := func(n int, what string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, what))
		}
	}
	add(n["move"], "moved")
	add(n["issue"], "to issue")
	add(n["push"], "to place")
	add(n["restore"], "to restore")
	if n["push"] == 0 {
		add(n["verify"], "to verify")
	}
	for _, what := range []string{"restart", "activation"} {
		if n[what] > 0 {
			parts = append(parts, count(n[what], what))
		}
	}
	add(n["forget"], "to forget")
	add(len(v.Orphans), "orphaned")
	if len(v.Steps) == 0 {
		verb := "are"
		if v.Certificates == 1 {
			verb = "is"
		}
		text := fmt.Sprintf("No changes. %s %s as the fleet file says.", count(v.Certificates, "certificate"), verb)
		if len(v.Orphans) > 0 {
			text += fmt.Sprintf(" %d orphaned.", len(v.Orphans))
		}
		return text
	}
	waits := "Nothing waits."
	if len(waiting) == 1 {
		waits = "1 certificate waits."
	} else if len(waiting) > 1 {
		waits = fmt.Sprintf("%d certificates wait.", len(waiting))
	}
	if len(parts) == 0 {
		return "Plan: " + waits
	}
	return "Plan: " + strings.Join(parts, ", ") + ". " + waits
}

// showChanges prints how two fleet files differ. What is the same for all certificates of an
// entry is said once.
func (c *cli) showChanges(changes []renewer.FleetChange) {
	same := func(ch renewer.FleetChange) string {
		entry, _, _ := strings.Cut(ch.Name, "@")
		from, _, _ := strings.Cut(ch.From, "@")
		if ch.Action == "move" {
			return strings.Join([]string{ch.Kind, ch.Action, entry, from}, "\x00") + fmt.Sprint(ch.Changes)
		}
		return strings.Join([]string{ch.Kind, ch.Action, entry, ch.Reason}, "\x00")
	}
	names := map[string][]string{}
	for _, ch := range changes {
		names[same(ch)] = append(names[same(ch)], ch.Name)
	}
	signs := map[string]string{"add": "+", "remove": "-", "move": ">", "change": "~"}
	for _, ch := range changes {
		all := names[same(ch)]
		if delete(names, same(ch)); all == nil {
			continue
		}
		name := strings.TrimSpace(ch.Kind + " " + strings.Join(renewer.Members(all, 0), ", "))
		if ch.From != "" {
			name += " (moved from " + ch.From + ")"
		}
		c.subject(signs[ch.Action], name)
		for _, d := range ch.Changes {
			c.change(d)
		}
	}
}

// compared is the last line of a comparison.
func compared(changes []renewer.FleetChange, certificates int) string {
	if len(changes) == 0 {
		return fmt.Sprintf("No difference. The fleet file has %s.", count(certificates, "certificate"))
	}
	n := map[string]int{}
	for _, ch := range changes {
		n[ch.Action]++
	}
	return fmt.Sprintf("Compared: %d to add, %d to change, %d to move, %d to remove.", n["add"], n["change"], n["move"], n["remove"])
}
