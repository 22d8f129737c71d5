package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"renewer/renewer"
	"renewer/renewer/server"
)

func newRenew(c *cli) *cobra.Command {
	var req renewer.RenewRequest
	var expiring duration
	cmd := &cobra.Command{
		Use:   "renew NAME... | --all | --expiring 30d",
		Short: "Renew now, and wait until it is proven",
		Long: `Renews now, shows progress, and exits when every rollout is verified or has
failed. It does not wait for the renew time, a retry or the maintenance window,
and retries what is blocked. Guards and the trust gate still apply unless --force
is given; --without HOST passes the trust gate for one host that would refuse the
new certificate.

It exits with 1 if something failed, is blocked, or was named and cannot be done
because a host, an address or an issuer cannot be reached.`,
		Example: `  renewer renew docker@host-b
  renewer renew docker dagster-client --no-wait
  renewer renew --expiring 30d
  renewer renew docker --without host-c`,
		ValidArgsFunction: c.certificates(0),
		Args: func(_ *cobra.Command, args []string) error {
			kinds := 0
			for _, given := range []bool{len(args) > 0, req.All, expiring != 0} {
				if given {
					kinds++
				}
			}
			if kinds != 1 {
				return errors.New("expected one of: names of certificates, --all, --expiring 30d")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd.Context(), func(s server.Service) error {
				req.Names, req.ExpiringWithin = args, time.Duration(expiring)
				result, err := s.Renew(cmd.Context(), req, c.progress())
				return c.result(result, len(req.Names) > 0, interrupted(err))
			})
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&req.All, "all", false, "every certificate")
	flags.Var(&expiring, "expiring", "those that end within that time, such as 30d, or have ended")
	flags.BoolVar(&req.NoWait, "no-wait", false, "only start; renewer status and history show the rest")
	flags.BoolVar(&req.Force, "force", false, "do not wait for guards or the trust gate either")
	flags.StringArrayVar(&req.Without, "without", nil, "do not wait for `HOST` to trust the new certificate (repeatable)")
	complete(cmd, "without", c.hostNames)
	return cmd
}

// interrupted says what happens to rollouts whose wait was ended.
func interrupted(err error) error {
	if errors.Is(err, context.Canceled) {
		return renewer.WithHint(err, "what was begun is recorded, and the daemon or the next run goes on with it: renewer status")
	}
	return err
}

// progress shows events as they happen: always to a terminal, else with -v. Who will
// refuse a certificate, said before its rollout, is shown anyway.
func (c *cli) progress() func(renewer.Event) {
	all := c.verbose || isTerminal(c.errOut)
	return func(e renewer.Event) {
		switch foretold := e.Type == renewer.EventRefused && e.Rollout == ""; {
		case c.quiet:
		case foretold:
			fmt.Fprintf(c.errOut, "warning: %s: %s\n", e.Certificate, e.Message)
		case all:
			fmt.Fprintln(c.errOut, progressLine(e))
		}
	}
}

func progressLine(e renewer.Event) string {
	said := strings.Join(strings.FieldsFunc(e.Message+"\n"+e.Error, func(r rune) bool { return r == '\n' }), ": ")
	if said != "" {
		said = "  " + said
	}
	return fmt.Sprintf("%-28s %-16s %s%s", e.Certificate, e.Host, e.Type, said)
}

// waits says what a rollout waits for, a line for each reason.
func (c *cli) waits(certificate string, waits renewer.Waits) {
	for _, w := range waits {
		c.say("%s waits: %s", certificate, w)
	}
}

// result prints how rollouts ended, and fails where one failed, is blocked or,
// where the operator named it, waits for somebody who cannot be reached.
func (c *cli) result(r renewer.RunResult, named bool, err error) error {
	if err != nil && len(r.Rollouts) == 0 {
		return err
	}
	out := listOf(c, []string{"certificate", "generation", "result", "why"}, func(x renewer.RolloutResult) []any {
		return []any{x.Certificate, x.Generation, state(x.Result), cmp.Or(x.Error, x.Waiting.String())}
	})
	nothing := "nothing to do"
	if len(r.Blocked) > 0 {
		nothing = "nothing can be done"
	}
	if e := out.all(r.Rollouts, nothing); e != nil || err != nil {
		return errors.Join(err, e)
	}
	for _, v := range r.Blocked {
		c.complain(notOver(v))
	}
	hints := map[string]bool{}
	for _, x := range r.Rollouts {
		switch x.Result {
		case renewer.ResultWaiting, renewer.ResultStarted:
			c.waits(x.Certificate, x.Waiting)
		case renewer.ResultFailed, renewer.ResultBlocked:
			fmt.Fprintf(c.errOut, "error: %s: %s: %s\n", x.Certificate, x.Result, x.Error)
			c.waits(x.Certificate, x.Waiting)
		}
		if x.Hint != "" && !hints[x.Hint] {
			hints[x.Hint] = true
			_, _ = io.WriteString(c.errOut, "hint: "+x.Hint+"\n")
		}
	}
	if r.Failed() || named && r.Unreached() {
		return exitError(exitFailed)
	}
	return nil
}
