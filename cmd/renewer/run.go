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
	"renewer/renewer/server"
)

func newRun(c *cli) *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon, or one pass with --once",
		Long: `Runs the daemon: checks what is due, renews it, and proves it. SIGHUP reads the
fleet file again; SIGTERM ends it, and what is under way goes on at the next start.

--once makes one pass over all that is due. It exits with 1 if anything failed
or is blocked, and with 0 if something only waits: for its window, a guard, the
trust gate, an issuer that says later, or a host that cannot be reached.`,
		Example: "  renewer run\n  renewer run --once",
		Args:    cobra.NoArgs,
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
	cmd.Flags().BoolVar(&once, "once", false, "one pass over all that is due, then exit")
	return cmd
}

func (c *cli) runOnce(ctx context.Context) error {
	return c.withFleet(ctx, configs.Load, func(s server.Service) error {
		result, err := s.RunOnce(ctx, c.progress())
		return c.result(result, false, interrupted(err))
	})
}
