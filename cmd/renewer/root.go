package main

import (
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"renewer/configs"
	"renewer/internal/plaintext"
)

// readers are the commands that leave no state where there is none.
var readers = []string{"list", "show", "status", "plan", "forecast", "history", "impact"}

// commands are made when they are needed: most of a command's start is else
// making the others.
var commands = []struct {
	name string
	make func(*cli) *cobra.Command
}{
	{"init", newInit},
	{"check", newCheck},
	{"run", newRun},
	{"plan", newPlan},
	{"forecast", newForecast},
	{"list", newList},
	{"show", newShow},
	{"status", newStatus},
	{"renew", newRenew},
	{"verify", newVerify},
	{"rollback", newRollback},
	{"revoke", newRevoke},
	{"adopt", newAdopt},
	{"history", newHistory},
	{"ca", newCA},
	{"trust", newTrust},
	{"impact", newImpact},
	{"forget", newForget},
	{"notify", newNotify},
	{"backup", newBackup},
	{"restore", newRestore},
	{"profiles", newProfiles},
	{"rules", newRules},
	{"version", newVersion},
	{"host", func(c *cli) *cobra.Command { return newHost(c, c.askHosts) }},
	{"doctor", func(c *cli) *cobra.Command { return newDoctor(c, c.askHosts) }},
}

// newRoot makes the commands that are named in the arguments or, where none
// is, all.
func newRoot(c *cli, args []string) *cobra.Command {
	root := &cobra.Command{
		Use:   "renewer",
		Short: "Keeps the TLS certificates of a fleet valid",
		Long: `renewer issues certificates, places them on their hosts, makes services load them,
and verifies what is really served.

  renewer init          write an example fleet file
  renewer run           run the daemon
  renewer list          list the certificates, soonest expiry first
  renewer status        show problems and what to do about them`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          oneOfThese(commandNames),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if c.format == asICS && cmd.Name() != "forecast" {
				return usagef("-o ics is for renewer forecast; expected %s", strings.Join(formats, ", "))
			}
			c.began, c.reading = true, slices.Contains(readers, cmd.Name())
			c.look()
			if c.columns == 0 && !c.format.data() { // a pipe may lead to a terminal
				c.out = &plaintext.Writer{To: c.out, Whole: true}
			}
			slog.SetDefault(slog.New(notices{c: c}))
			return nil
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&c.config, "config", "", "fleet `FILE` (else $RENEWER_CONFIG, ./renewer.yaml, /etc/renewer/renewer.yaml)")
	flags.StringVar(&c.socket, "socket", "", "`SOCKET` of the daemon (else $RENEWER_SOCKET, or the one in the fleet file)")
	flags.VarP(&c.format, "output", "o", "output format: "+strings.Join(formats, "|"))
	flags.BoolVar(&c.quiet, "quiet", false, "print only errors on standard error")
	flags.BoolVarP(&c.verbose, "verbose", "v", false, "print each step; the daemon logs more")
	complete(root, "output", func() []string { return formats })
	for _, cmd := range commands {
		if slices.Contains(args, cmd.name) {
			root.AddCommand(cmd.make(c))
		}
	}
	root.SetFlagErrorFunc(wrongFlag)
	if !root.HasSubCommands() || slices.ContainsFunc(args, aboutAll) {
		root.ResetCommands()
		root.Version = versionText()
		root.SetVersionTemplate(versionLine() + "\n")
		for _, cmd := range commands {
			root.AddCommand(cmd.make(c))
		}
	}
	checkArguments(root)
	return root
}

// aboutAll reports whether an argument is one of cobra's own commands.
func aboutAll(arg string) bool {
	return arg == "help" || arg == "completion" || strings.HasPrefix(arg, "__complete")
}

// group makes a command that only holds others refuse anything else.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = oneOfThese(below)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}

// complete offers values of a flag to the shell.
func complete(cmd *cobra.Command, flag string, values func() []string) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return values(), cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic(err) // a flag that does not exist, in this program itself
	}
}

// certificates offers the names of the fleet file to the shell, at most n of
// them (0: any number). Nothing but the file is read.
func (c *cli) certificates(n int) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if n > 0 && len(args) >= n {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return c.fromFleet(func(f *configs.Fleet) (names []string) {
			seen := map[string]bool{}
			for _, cert := range f.Certificates {
				for _, name := range []string{cert.Entry, cert.Name} {
					if !seen[name] {
						seen[name] = true
						names = append(names, name)
					}
				}
			}
			return names
		})(), cobra.ShellCompDirectiveNoFileComp
	}
}

// fromFleet offers nothing where the fleet file cannot be read: the command
// itself says why.
func (c *cli) fromFleet(names func(*configs.Fleet) []string) func() []string {
	return func() []string {
		f, err := c.fleet()
		if err != nil {
			return nil
		}
		return names(f)
	}
}

func (c *cli) hostNames() []string {
	return c.fromFleet(func(f *configs.Fleet) (names []string) {
		for _, h := range f.Hosts {
			names = append(names, h.Name)
		}
		return names
	})()
}

func (c *cli) issuerNames() []string {
	return c.fromFleet(func(f *configs.Fleet) (names []string) {
		for _, i := range f.Issuers {
			names = append(names, i.Name)
		}
		return names
	})()
}
