package main

import (
	"github.com/spf13/cobra"

	"renewer/cmd/renewer/daemon"
	"renewer/configs"
	"renewer/renewer"
	"renewer/renewer/server"
)

func newNotify(c *cli) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "notify",
		Short: "Test notification channels",
	})
	cmd.AddCommand(newNotifyTest(c), newNotifyDeliver(c))
	return cmd
}

func newNotifyTest(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "test CHANNEL",
		Short:   "Send a test message through a channel",
		Example: "  renewer notify test ops",
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return c.channelNames(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd.Context(), func(s server.Service) error {
				if err := s.NotifyTest(cmd.Context(), args[0]); err != nil {
					return err
				}
				c.say("test message delivered through channel %s", args[0])
				return nil
			})
		},
	}
}

func (c *cli) channelNames() []string {
	return c.fromFleet(func(f *configs.Fleet) (names []string) {
		for _, ch := range f.Channels {
			names = append(names, ch.Name)
		}
		return names
	})()
}

// newNotifyDeliver is the process that the daemon hands a message for a
// service of shoutrrr to: see package notify.
func newNotifyDeliver(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:    daemon.DeliverCommand,
		Hidden: true,
		RunE: func(*cobra.Command, []string) error {
			if err := daemon.Deliver(c.in, c.out); err != nil {
				return exitError(exitFailed) // the answer says why
			}
			return nil
		},
	}
}

func (c *cli) showChannels(list []renewer.ChannelStatus) error {
	if len(list) == 0 {
		return nil
	}
	c.heading("Channels")
	var rows [][]any
	for _, ch := range list {
		rows = append(rows, []any{ch.Name, ch.Type, ch.Open, ch.Waiting, ch.LastSuccess, ch.LastErrorAt, ch.LastError})
	}
	return c.table([]string{"channel", "type", "open", "undelivered", "last_success", "last_error_at", "last_error"}, rows)
}
