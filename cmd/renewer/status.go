package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"renewer/renewer"
	"renewer/renewer/server"
)

func newStatus(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Show problems, daemon, issuers, hosts and rollouts in progress",
		Example: "  renewer status",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(s server.Service) error {
				st, err := s.Status(cmd.Context())
				if err != nil {
					return err
				}
				return c.object(st, func() error { return c.showStatus(st) })
			})
		},
	}
}

// showProblems says what needs attention, each with what to type and to read.
func (c *cli) showProblems(st renewer.SystemStatus) {
	if len(st.Problems) == 0 {
		return
	}
	c.heading("Needs attention")
	for i, p := range st.Problems {
		if i > 0 {
			fmt.Fprintln(c.out)
		}
		c.showProblem(p, st.Daemon.Page)
	}
	if st.MoreProblems > 0 {
		fmt.Fprintf(c.out, "\nand %s: renewer list\n", count(st.MoreProblems, "more certificate"))
	}
}

func (c *cli) showProblem(p renewer.Problem, page string) {
	severity := c.shown(state(p.Severity), time.Time{})
	indent := severity.paint(severity.text) + gap
	for _, line := range lines(p.Kind+" "+p.Name+": "+p.What, c.width()-len(severity.text)-len(gap)) {
		fmt.Fprintf(c.out, "%s%s\n", indent, line)
		indent = strings.Repeat(" ", len(severity.text)) + gap
	}
	runbook := p.Runbook
	if page != "" {
		runbook = page + "/runbooks/" + p.Runbook
	}
	for _, one := range [][2]string{{"error", strings.TrimPrefix(p.Error, p.Kind+" "+p.Name+": ")}, {"hint", p.Hint}} {
		if one[1] != "" {
			labelled(c.out, one[0], one[1], c.width())
		}
	}
	for _, command := range p.Commands {
		if command == "renewer status" { // it is what is read
			continue
		}
		fmt.Fprintf(c.out, "  run: %s\n", command) // whole, to be copied
	}
	fmt.Fprintf(c.out, "  runbook: %s\n", runbook)
}

func (c *cli) showStatus(st renewer.SystemStatus) error {
	d := st.Daemon
	running := "not running"
	if d.Running {
		running = fmt.Sprintf("running, process %d, version %s", d.PID, d.Version)
	}
	c.facts("fleet", d.Fleet, "daemon", running, "fleet file", d.FleetFile, "last reload", d.FleetError, "started", d.StartedAt,
		"last check", d.LastCheck, "next check", d.NextCheck, "last probe", d.LastProbe, "next due", d.NextDue)
	var counts []string
	for _, s := range statuses {
		if n := st.Counts[renewer.Status(s)]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, s))
		}
	}
	c.facts("certificates", counts)
	c.showProblems(st)
	if len(st.Issuers)+len(st.Hosts) > 0 {
		c.heading("Issuers and hosts")
		said := map[string]bool{}
		for _, p := range st.Problems {
			said[p.Kind+" "+p.Name] = p.Error != ""
		}
		if err := c.reachable(st.Issuers, st.Hosts, said); err != nil {
			return err
		}
	}
	for _, i := range st.Issuers {
		if i.Rotation != nil && i.Rotation.EndedAt.IsZero() {
			c.heading("The CA of " + i.Name + " is being replaced")
			c.showRotation(*i.Rotation)
		}
	}
	if err := c.showChannels(st.Channels); err != nil || len(st.Rollouts) == 0 {
		return err
	}
	c.heading("Rollouts")
	var rows [][]any
	said := map[string]bool{}
	for _, p := range st.Problems {
		said[p.Error] = true
	}
	for _, r := range st.Rollouts {
		for _, s := range r.Steps {
			text := cmp.Or(r.Error, s.Error)
			if said[text] {
				text = ""
			}
			rows = append(rows, []any{r.ID, r.Kind, r.Generation, state(r.Phase), s.Host, state(s.State), waitsFor(r, s), text})
		}
	}
	return c.table([]string{"rollout", "kind", "generation", "phase", "host", "state", "waits_for", "error"}, rows)
}
