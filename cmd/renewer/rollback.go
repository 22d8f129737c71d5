package main

import (
	"github.com/spf13/cobra"

	"renewer/renewer/server"
)

func newRollback(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "rollback NAME",
		Short: "Put the previous generation back, activate and prove it",
		Long: `Puts the previous generation back, makes the service load it, and proves that.
It stays until its own renew time, a changed entry, or renewer renew.`,
		Example:           "  renewer rollback docker@host-b",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.certificates(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd.Context(), func(s server.Service) error {
				r, err := s.Rollback(cmd.Context(), args[0], c.progress())
				return c.result(r, true, interrupted(err))
			})
		},
	}
}
