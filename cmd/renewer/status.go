package main

import (
	"cmp"
	"fmt"

	"github.com/spf13/cobra"

	"renewer/configs"
	"renewer/renewer"
	"renewer/renewer/server"
)

func newStatus(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Show daemon, issuers, hosts and rollouts in progress",
		Example: "  renewer status",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(_ *configs.Fleet, s server.Service) error {
				st, err := s.Status(cmd.Context())
				if err != nil {
					return err
				}
				return c.object(st, func() error { return c.showStatus(st) })
			})
		},
	}
}

func (c *cli) showStatus(st renewer.SystemStatus) error {
	d := st.Daemon
	running := "not running"
	if d.Running {
		running = fmt.Sprintf("running, process %d, version %s", d.PID, d.Version)
	}
	c.facts("daemon", running, "fleet file", d.FleetFile, "last reload", d.FleetError, "started", d.StartedAt,
		"last check", d.LastCheck, "next check", d.NextCheck, "last probe", d.LastProbe, "next due", d.NextDue)
	var counts []string
	for _, s := range statuses {
		if n := st.Counts[renewer.Status(s)]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, s))
		}
	}
	c.facts("certificates", counts)
	if len(st.Issuers)+len(st.Hosts) > 0 {
		c.heading("Issuers and hosts")
		if err := c.reachable(st.Issuers, st.Hosts); err != nil {
			return err
		}
	}
	if err := c.showChannels(st.Channels); err != nil || len(st.Rollouts) == 0 {
		return err
	}
	c.heading("Rollouts")
	var rows [][]any
	for _, r := range st.Rollouts {
		for _, s := range r.Steps {
			rows = append(rows, []any{r.ID, r.Kind, r.Generation, state(r.Phase), s.Host, state(s.State), waitsFor(r, s), cmp.Or(r.Error, why(s))})
		}
	}
	return c.table([]string{"rollout", "kind", "generation", "phase", "host", "state", "waits_for", "error"}, rows)
}
