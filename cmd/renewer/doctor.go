package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"renewer/renewer"
)

func newDoctor(c *cli, ask asker) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor [HOST]",
		Short: "Find out what is wrong, and say how to put it right",
		Long: `Looks at hosts, at what they serve and at the inventory, and says of everything
that is not right how to put it right. All checks are shown with -v and by
-o json. It exits with 1 if something fails.`,
		Example: `  renewer doctor
  renewer doctor host-b -o json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: c.oneHost,
		RunE: func(cmd *cobra.Command, args []string) error {
			host := ""
			if len(args) > 0 {
				host = args[0]
			}
			return ask(cmd.Context(), func(s hostService) error {
				found, err := s.Doctor(cmd.Context(), host)
				if err != nil {
					return err
				}
				return c.findings(found)
			})
		},
	}
}

// findings prints what a person has to know of: with a table, what is well is
// only counted.
func (c *cli) findings(found []renewer.Finding) error {
	columns := []string{"level", "check", "host", "certificate", "text"}
	all := !c.format.table()
	if all {
		columns = append(columns, "fix")
	}
	out := listOf(c, columns, func(f renewer.Finding) []any {
		row := []any{state(f.Level), f.Check, f.Host, f.Certificate, f.Text}
		if all {
			row = append(row, f.Fix)
		}
		return row
	})
	well := 0
	var shown []renewer.Finding
	for _, f := range found {
		if f.Level == renewer.FindingOK {
			well++
		}
		if all || c.verbose || f.Level != renewer.FindingOK {
			shown = append(shown, f)
		}
	}
	if err := out.all(shown, "nothing is wrong"); err != nil {
		return err
	}
	if c.format.table() {
		for _, f := range shown {
			if f.Fix == "" {
				continue
			}
			runbook := ""
			if f.Runbook != "" {
				runbook = " (runbook: " + f.Runbook + ")"
			}
			fmt.Fprintf(c.errOut, "hint: %s: %s%s\n", strings.TrimSpace(f.Host+" "+f.Check), f.Fix, runbook)
		}
		c.say("%s: %d well", count(len(found), "check"), well)
	}
	if renewer.AnyFail(found) {
		return exitError(exitFailed)
	}
	return nil
}
