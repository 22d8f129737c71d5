package main

import (
	"github.com/spf13/cobra"

	"renewer/renewer"
	"renewer/renewer/server"
)

func newRollback(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "rollback NAME",
		Short: "Roll back to the previous generation, activate and verify it",
		Long: `Puts the previous generation in place, makes the service load it, and verifies what
is served. It stays until its own renew time, a changed entry, or renewer renew.`,
		Example:           "  renewer rollback docker@host-b",
		ValidArgsFunction: c.certificates(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd.Context(), func(s server.Service) error {
				r, err := watched(c, "rolling back", nil, func(tell func(renewer.Event)) (renewer.RunResult, error) {
					return s.Rollback(cmd.Context(), args[0], tell)
				})
				return c.result(r, true, interrupted(err))
			})
		},
	}
}
