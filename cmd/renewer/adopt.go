package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"renewer/renewer"
	"renewer/renewer/server"
)

func newAdopt(c *cli) *cobra.Command {
	var certificate string
	var takeOver, all bool
	cmd := &cobra.Command{
		Use:   "adopt HOST --certificate NAME | --take-over HOST | --take-over --all",
		Short: "Take existing certificates into the inventory, or take over from another renewer",
		Long: `Takes the files that are in place on a host into the inventory as generation 0, after
checking them and verifying that they are served. Nothing is issued or restarted, and no
live file is changed; a copy is kept on the host so that the next renewal can be restored
to it. Run it before the daemon reads the entry: the daemon issues a certificate for each
entry that the inventory does not have.

Each directory belongs to one renewer: a copy of it, such as a restored backup beside the
old machine or a copied state directory, is refused, and so is another fleet. With
--take-over the directories of a host, or of all hosts, belong to this renewer from now on,
and the other one is refused. Stop that one first.`,
		Example: "  renewer adopt host-b --certificate docker\n  renewer adopt --take-over host-b\n  renewer adopt --take-over --all",
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case all && !takeOver:
				return usageError{renewer.WithHint(errors.New("adopt --all without --take-over is not supported yet"), "renewer adopt HOST --certificate NAME, or renewer adopt --take-over --all")}
			case takeOver && certificate != "":
				return usageError{renewer.WithHint(errors.New("--take-over is for the directories of a host, and not for one certificate"), "renewer adopt --take-over HOST")}
			case all && len(args) > 0:
				return usage("renewer adopt --take-over HOST, or renewer adopt --take-over --all", "--all is for every host, and %q is given", args[0])
			case all:
				return nil
			case takeOver && len(args) != 1:
				return usageError{renewer.WithHint(errors.New("--take-over needs the name of one host, or --all"), "renewer adopt --take-over HOST, or renewer adopt --take-over --all")}
			}
			return takes(cmd, args)
		},
		ValidArgsFunction: c.oneHost,
		RunE: func(cmd *cobra.Command, args []string) error {
			if takeOver {
				return c.takeOver(cmd.Context(), strings.Join(args, ""))
			}
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
					c.say("%s on %s is adopted as generation %d: expires %s, renewal at %s", a.Certificate, a.Host, a.Generation,
						a.NotAfter.Format("2006-01-02 15:04:05Z"), a.RenewAt.Format("2006-01-02 15:04:05Z"))
					return nil
				})
			})
		},
	}
	cmd.Flags().StringVar(&certificate, "certificate", "", "`NAME` of its entry in the fleet file")
	cmd.Flags().BoolVar(&takeOver, "take-over", false, "take the directories of HOST over from another renewer")
	cmd.Flags().BoolVar(&all, "all", false, "with --take-over: those of every host")
	complete(cmd, "certificate", func() []string { names, _ := c.certificates(0)(cmd, nil, ""); return names })
	return cmd
}

// takeOver takes over the directories of a host; of all for an empty name.
func (c *cli) takeOver(ctx context.Context, host string) error {
	return c.with(ctx, func(s server.Service) error {
		list, err := s.TakeOver(ctx, host)
		if err != nil {
			return err
		}
		if err := c.object(list, func() error {
			for _, t := range list {
				switch {
				case t.Error != "":
				case t.From != "":
					c.say("%s: this renewer keeps %s now; before, it was %s", t.Host, t.Dir, t.From)
				default:
					c.say("%s: this renewer keeps %s", t.Host, t.Dir)
				}
			}
			return nil
		}); err != nil {
			return err
		}
		for _, t := range list {
			if t.Error != "" {
				c.complain(renewer.WithHint(fmt.Errorf("%s: %s was not taken over: %s", t.Host, t.Dir, t.Error), t.Hint))
			}
		}
		if slices.ContainsFunc(list, func(t renewer.TakenOver) bool { return t.Error != "" }) {
			return exitError(exitFailed)
		}
		return nil
	})
}
