package main

import (
	"errors"

	"github.com/spf13/cobra"

	"renewer/renewer"
	"renewer/renewer/server"
)

func newAdopt(c *cli) *cobra.Command {
	var certificate string
	cmd := &cobra.Command{
		Use:   "adopt HOST --certificate NAME",
		Short: "Take what is in place into the inventory",
		Long: `Takes the files that are in place on a host into the inventory as generation 0,
once they are found right and proven to be served. Nothing is issued, nothing is
restarted, and no live file is touched; a copy is kept on the host as the way
back of the next renewal. Do it before the daemon knows the entry: what it finds
in the fleet file and not in the inventory it issues.`,
		Example:           "  renewer adopt host-b --certificate docker",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.oneHost,
		RunE: func(cmd *cobra.Command, args []string) error {
			if certificate == "" {
				return usageError{renewer.WithHint(errors.New("no certificate is named"), "renewer adopt "+args[0]+" --certificate NAME")}
			}
			return c.with(cmd.Context(), func(s server.Service) error {
				a, err := s.Adopt(cmd.Context(), args[0], certificate)
				if err != nil {
					return err
				}
				for _, w := range a.Warnings {
					c.say("note: %s", w)
				}
				return c.object(a, func() error {
					c.say("%s on %s is adopted as generation %d: valid until %s, to be renewed %s", a.Certificate, a.Host, a.Generation,
						a.NotAfter.Format("2006-01-02 15:04:05Z"), a.RenewAt.Format("2006-01-02 15:04:05Z"))
					return nil
				})
			})
		},
	}
	cmd.Flags().StringVar(&certificate, "certificate", "", "`NAME` of its entry in the fleet file")
	complete(cmd, "certificate", func() []string { names, _ := c.certificates(0)(cmd, nil, ""); return names })
	return cmd
}
