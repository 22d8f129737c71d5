package main

import (
	"github.com/spf13/cobra"

	"renewer/renewer"
	"renewer/renewer/server"
)

func newPlan(c *cli) *cobra.Command {
	var exitCode bool
	cmd := &cobra.Command{
		Use:     "plan",
		Short:   "Show what would be issued, pushed and restarted, and why",
		Long:    "Shows what a run would do now, and why. Changes nothing.",
		Example: "  renewer plan\n  renewer plan -o json --exit-code",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(s server.Service) error {
				steps, err := s.Plan(cmd.Context())
				if err != nil {
					return err
				}
				out := listOf(c, []string{"certificate", "host", "action", "reason"}, func(p renewer.PlanStep) []any {
					return []any{p.Certificate, p.Host, p.Action, p.Reason}
				})
				if err := out.all(steps, "nothing to do"); err != nil {
					return err
				}
				return foundIf(exitCode && len(steps) > 0)
			})
		},
	}
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 3 if there is something to do")
	return cmd
}

func foundIf(found bool) error {
	if found {
		return exitError(exitFound)
	}
	return nil
}
