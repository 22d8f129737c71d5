package main

import (
	"github.com/spf13/cobra"

	"renewer/cmd/renewer/daemon"
)

func newInit(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "init [DIR]",
		Short: "Write an example fleet file and create its local CA",
		Long: `Writes a commented fleet file into DIR (default: the current directory), with
state_dir and socket there, and creates the local CA that it names. Nothing is overwritten.`,
		Example: "  renewer init /etc/renewer",
		RunE: func(_ *cobra.Command, args []string) error {
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			file, err := daemon.Init(dir)
			if err != nil {
				return err
			}
			c.say("next: edit %s, then renewer --config %s check", file, file)
			return c.object(map[string]string{"fleet_file": file}, func() error {
				c.facts("fleet file", file)
				return nil
			})
		},
	}
}
