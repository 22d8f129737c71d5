package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"renewer/cmd/renewer/daemon"
	"renewer/renewer"
)

// hostService is what these commands ask of renewer.
type hostService interface {
	// HostPlan returns what the host needs to serve the Docker API over TLS.
	HostPlan(ctx context.Context, r renewer.SetupRequest) (renewer.HostPlan, error)
	// HostSetup places the certificate and carries the plan out, if it is still
	// the one with that digest, and returns what was done. If it fails, all changes
	// are rolled back.
	HostSetup(ctx context.Context, r renewer.SetupRequest, progress func(renewer.Event)) (renewer.HostPlan, error)
	// Doctor diagnoses one host, or all for an empty name, and the inventory.
	Doctor(ctx context.Context, host string) ([]renewer.Finding, error)
}

// asker hands the running daemon, or the state opened in process, to do.
type asker func(ctx context.Context, do func(hostService) error) error

func newHost(c *cli, ask asker) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "host",
		Short: "Set up Docker hosts",
	})
	cmd.AddCommand(newHostCheck(c, ask), newHostSetup(c, ask), newHostSudoers(c))
	return cmd
}

func newHostCheck(c *cli, ask asker) *cobra.Command {
	var firewall bool
	cmd := &cobra.Command{
		Use:   "check HOST",
		Short: "Show what a host needs to serve Docker over TLS",
		Long: `Shows what renewer host setup would do, and changes nothing. It exits with 1 if
there is something to do, or a problem that prevents it.`,
		Example: `  renewer host check host-b
  renewer host check host-b --firewall`,
		ValidArgsFunction: c.oneHost,
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(cmd.Context(), func(s hostService) error {
				plan, err := s.HostPlan(cmd.Context(), renewer.SetupRequest{Host: args[0], Firewall: firewall})
				if err != nil {
					return err
				}
				if err := c.object(plan, func() error { return c.showPlan(plan) }); err != nil {
					return err
				}
				if plan.Empty() {
					return nil
				}
				with := map[bool]string{true: " --firewall"}[firewall]
				c.say("renewer host setup %s%s does this", args[0], with)
				return exitError(exitFailed)
			})
		},
	}
	cmd.Flags().BoolVar(&firewall, "firewall", false, "also print the rules that setup --firewall writes")
	return cmd
}

func newHostSetup(c *cli, ask asker) *cobra.Command {
	var yes, firewall bool
	cmd := &cobra.Command{
		Use:   "setup HOST",
		Short: "Make a host serve Docker over TLS",
		Long: `Issues and places the certificate of the host's Docker daemon, merges its
settings into daemon.json, lets it listen by a drop-in of its systemd unit,
restarts it once, and verifies what is served. It prints a diff first and prompts. If
anything fails, all changes are rolled back. A second run changes nothing.
With --firewall the host's own firewall (ufw, nftables or iptables) also allows only the
known clients to connect to the port, across reboots.`,
		Example: `  renewer host setup host-b
  renewer host setup host-b --firewall --yes`,
		ValidArgsFunction: c.oneHost,
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(cmd.Context(), func(s hostService) error {
				return c.setupHost(cmd.Context(), s, renewer.SetupRequest{Host: args[0], Firewall: firewall}, yes)
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not prompt")
	cmd.Flags().BoolVar(&firewall, "firewall", false, "also allow only the known clients to connect, in the host's firewall")
	return cmd
}

func newHostSudoers(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "sudoers HOST",
		Short: "Print the sudoers file that a host needs",
		Long: `Prints a file for /etc/sudoers.d of a host with sudo: true: every command that
renewer runs there as root for the entries of the fleet file, with its arguments.
Setup, renewal, rollback and doctor need no more. It does not connect to the host.`,
		Example: `  renewer host sudoers host-b > renewer.sudoers
  visudo -c -f renewer.sudoers    # then, on the host: visudo -f /etc/sudoers.d/renewer`,
		ValidArgsFunction: c.oneHost,
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := c.fleet()
			if err != nil {
				return err
			}
			text, err := daemon.Sudoers(f, args[0])
			if err != nil {
				return err
			}
			return c.object(map[string]string{"host": args[0], "sudoers": text}, func() error {
				_, err := io.WriteString(c.out, text)
				return err
			})
		},
	}
}

func (c *cli) setupHost(ctx context.Context, s hostService, r renewer.SetupRequest, yes bool) error {
	host := r.Host
	plan, err := s.HostPlan(ctx, r)
	if err != nil {
		return err
	}
	if plan.Empty() {
		return c.object(plan, func() error { return c.showPlan(plan) })
	}
	switch {
	case c.format.table():
		err = c.showPlan(plan)
	case !yes:
		err = usage("renewer host check "+host+" shows what would be done; then give --yes", "-o %s does not show what would be done", c.format)
	}
	if err == nil && !yes {
		err = c.confirm(ctx, "do this on "+host+"?")
	}
	if err != nil {
		return err
	}
	r.Digest = plan.Digest
	did, err := watched(c, "setting up "+host, nil, func(tell func(renewer.Event)) (renewer.HostPlan, error) { return s.HostSetup(ctx, r, tell) })
	if err != nil {
		return err
	}
	return c.object(did, func() error {
		c.say("%s serves Docker over TLS: verified", host)
		return nil
	})
}

// showPlan prints the diff on standard output and what else there is to say
// beside it.
func (c *cli) showPlan(p renewer.HostPlan) error {
	if p.Empty() {
		c.say("%s is set up for %s; nothing to do", p.Host, p.Certificate)
		c.notes(p)
		return nil
	}
	for _, change := range p.Changes {
		for line := range strings.Lines(change.Diff) {
			if _, err := fmt.Fprintln(c.out, diffLine(strings.TrimSuffix(line, "\n"))); err != nil {
				return err
			}
		}
	}
	c.notes(p)
	if p.Restart {
		c.say("then the Docker daemon is restarted once")
	}
	return nil
}

func (c *cli) notes(p renewer.HostPlan) {
	for _, note := range p.Notes {
		c.say("note: %s", note)
	}
}

// diffLine colours a line of a unified diff, where colours are on.
func diffLine(line string) string {
	switch {
	case strings.HasPrefix(line, "---"), strings.HasPrefix(line, "+++"):
		return text.Bold.Sprint(line)
	case strings.HasPrefix(line, "@@"):
		return text.FgCyan.Sprint(line)
	case strings.HasPrefix(line, "+"):
		return text.FgGreen.Sprint(line)
	case strings.HasPrefix(line, "-"):
		return text.FgRed.Sprint(line)
	}
	return line
}

// confirm prompts. Without a terminal that is an error of usage, so that no script
// continues by accident.
func (c *cli) confirm(ctx context.Context, question string) error {
	if c.in == nil || !isTerminal(c.in) {
		return usage("give --yes to continue without a prompt", "cannot prompt: standard input is not a terminal (%s)", question)
	}
	yes, err := askYes(ctx, c.in, c.errOut, question)
	if err == nil && !yes {
		c.say("nothing was done")
		err = exitError(exitFailed)
	}
	return err
}

// askYes waits for an answer, or for ctx: a read from a terminal cannot be
// ended, and goes on until the process does.
func askYes(ctx context.Context, in io.Reader, out io.Writer, question string) (bool, error) {
	fmt.Fprintf(out, "%s [y/N] ", question)
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(in).ReadString('\n') // no answer is a no
		answer <- line
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(out)
		return false, ctx.Err()
	case line := <-answer:
		line = strings.ToLower(strings.TrimSpace(line))
		return line == "y" || line == "yes", nil
	}
}

// oneHost offers the names of hosts to the shell.
func (c *cli) oneHost(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c.hostNames(), cobra.ShellCompDirectiveNoFileComp
}
