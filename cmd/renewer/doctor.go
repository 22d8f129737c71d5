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
		Short: "Diagnose problems and print how to fix them",
		Long: `Checks hosts, what they serve, and the inventory, and prints a fix for each problem.
-v and -o json print the checks that passed, too. It exits with 1 if a check fails.`,
		Example: `  renewer doctor
  renewer doctor host-b -o json`,
		ValidArgsFunction: c.oneHost,
		RunE: func(cmd *cobra.Command, args []string) error {
			host := ""
			if len(args) > 0 {
				host = args[0]
			}
			return ask(cmd.Context(), func(s hostService) error {
				found, err := watched(c, "checking", nil, func(func(renewer.Event)) ([]renewer.Finding, error) { return s.Doctor(cmd.Context(), host) })
				if err != nil {
					return err
				}
				return c.findings(found)
			})
		},
	}
}

// findings prints problems: in a table, checks that passed are only counted.
func (c *cli) findings(found []renewer.Finding) error {
	columns := []string{"level", "check", "host", "certificate", "text"}
	all := !c.format.table()
	fixes := all || c.onScreen()
	if fixes {
		columns = append(columns, "fix")
	}
	out := listOf(c, columns, func(f renewer.Finding) []any {
		row := []any{state(f.Level), f.Check, f.Host, f.Certificate, f.Text}
		if fixes {
			row = append(row, f.Fix)
		}
		return row
	})
	passed := 0
	var shown []renewer.Finding
	for _, f := range found {
		if f.Level == renewer.FindingOK {
			passed++
		}
		if all || c.verbose || f.Level != renewer.FindingOK {
			shown = append(shown, f)
		}
	}
	if err := out.all(shown, "no problems found"); err != nil {
		return err
	}
	if c.format.table() {
		for _, f := range shown {
			if f.Fix == "" || fixes {
				continue
			}
			runbook := ""
			if f.Runbook != "" {
				runbook = " (runbook: " + f.Runbook + ")"
			}
			fmt.Fprintf(c.errOut, "hint: %s: %s%s\n", strings.TrimSpace(f.Host+" "+f.Check), f.Fix, runbook)
		}
		c.say("%s, %d passed", count(len(found), "check"), passed)
	}
	if renewer.AnyFail(found) {
		return exitError(exitFailed)
	}
	return nil
}
