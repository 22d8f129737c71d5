package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"renewer/cmd/renewer/daemon"
	"renewer/configs"
	"renewer/renewer"
)

func newRules(c *cli) *cobra.Command {
	var page string
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "Print the alert rules for Prometheus",
		Long: `Prints the alert rules for Prometheus. Their runbook links lead to the page of
the daemon: the address that is given, or else http.listen of the fleet file.
Without either they are paths in the repository.`,
		Example: `  renewer rules > /etc/prometheus/renewer.rules.yml
  renewer rules --url https://renewer.example.com:9925`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("url") {
				switch f, err := c.fleet(); {
				case err == nil:
					page = daemon.PageOf(f)
				case !errors.Is(err, errNoFleet):
					c.caution(renewer.WithHint(errors.New("the fleet file cannot be read: runbook links are paths in the repository"), "renewer check"))
				}
			}
			rules, err := configs.AlertRules(page)
			if err != nil {
				return usageError{renewer.WithHint(err, "renewer rules --url http://127.0.0.1:9925")}
			}
			_, err = fmt.Fprint(c.out, rules)
			return err
		},
	}
	cmd.Flags().StringVar(&page, "url", "", "`URL` of the daemon's page, to which runbook links lead")
	return cmd
}
