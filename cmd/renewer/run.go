package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"renewer/cmd/renewer/daemon"
	"renewer/configs"
	"renewer/renewer"
	"renewer/renewer/server"
)

func newRun(c *cli) *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon, or one pass with --once",
		Long: `Runs the daemon: it renews what is due and verifies what is served. SIGHUP reloads
the fleet file; SIGTERM stops the daemon, and the next start continues what is in progress.

--once makes one pass over everything that is due, and prints its progress on standard
error unless --quiet is given. It exits with 1 if a rollout failed or is blocked, and with
0 if one only waits: for its window, a guard, the trust gate, an issuer that signs later,
or a host that cannot be reached.`,
		Example: "  renewer run\n  renewer run --once",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if once {
				return c.runOnce(cmd.Context())
			}
			path, err := c.path()
			if err != nil {
				return err
			}
			reload := make(chan os.Signal, 1)
			signal.Notify(reload, syscall.SIGHUP)
			defer signal.Stop(reload)
			slog.SetDefault(c.daemonLog())
			return daemon.Run(cmd.Context(), path, c.options(path), reload)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "one pass over everything that is due, then exit")
	return cmd
}

func (c *cli) runOnce(ctx context.Context) error {
	return c.withFleet(ctx, configs.Load, func(s server.Service) error {
		result, err := watched(c, "checking what is due", due(ctx, s, func(r renewer.Row) bool {
			return r.Status != renewer.StatusValid && r.Status != renewer.StatusBlocked && r.Status != renewer.StatusOrphaned
		}), func(tell func(renewer.Event)) (renewer.RunResult, error) { return s.RunOnce(ctx, tell) })
		return c.result(result, false, interrupted(err))
	})
}
