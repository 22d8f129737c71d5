package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
		Short: "Renew certificates now and wait until they are verified",
		Long: `Renews now, shows progress, and exits when every rollout is verified or has failed.
Renew times, retry times and maintenance windows are ignored, and blocked rollouts are
retried. Guards and the trust gate still apply unless --force is given; --without HOST
ignores one host that would refuse the new certificate.

It exits with 1 if a rollout failed or is blocked, or if a certificate was named and its
host, address or issuer cannot be reached.`,
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
				return usage("renewer renew --help", "renewer renew needs one of: NAME..., --all, --expiring 30d")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd.Context(), func(s server.Service) error {
				req.Names, req.ExpiringWithin = args, time.Duration(expiring)
				result, err := watched(c, "renewing", selected(cmd.Context(), s, req), func(tell func(renewer.Event)) (renewer.RunResult, error) {
					return s.Renew(cmd.Context(), req, tell)
				})
				return c.result(result, len(req.Names) > 0, interrupted(err))
			})
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&req.All, "all", false, "every certificate")
	flags.Var(&expiring, "expiring", "those that expire within that time, such as 30d, or have expired")
	flags.BoolVar(&req.NoWait, "no-wait", false, "return at once; renewer status and renewer history show the progress")
	flags.BoolVar(&req.Force, "force", false, "ignore guards and the trust gate")
	flags.StringArrayVar(&req.Without, "without", nil, "do not wait until `HOST` trusts the new certificate (repeatable)")
	complete(cmd, "without", c.hostNames)
	return cmd
}

// selected are the certificates that a request without names is about; those of names are
// known from their first events.
func selected(ctx context.Context, s reader, req renewer.RenewRequest) []string {
	if len(req.Names) > 0 {
		return nil
	}
	until := time.Now().Add(req.ExpiringWithin)
	return due(ctx, s, func(r renewer.Row) bool {
		return r.Status != renewer.StatusOrphaned && (req.All || r.NotAfter.Before(until))
	})
}

// interrupted says what happens to rollouts that the command no longer waits for.
func interrupted(err error) error {
	if errors.Is(err, context.Canceled) {
		return renewer.WithHint(err, "what was started is recorded; the daemon or the next run continues it: renewer status")
	}
	return err
}

// waits says what a rollout waits for, a line for each reason.
func (c *cli) waits(certificate string, waits renewer.Waits) {
	for _, w := range waits {
		c.say("%s waits: %s", certificate, w)
	}
}

// result prints how rollouts ended, and fails where one failed, is blocked or, where the
// operator named it, waits for a host or an issuer that cannot be reached.
func (c *cli) result(r renewer.RunResult, named bool, err error) error {
	if err != nil && len(r.Rollouts) == 0 {
		return err
	}
	columns := []string{"certificate", "generation", "result", "why"}
	if c.onScreen() {
		columns = append(columns, "waits_for", "hint")
	}
	out := listOf(c, columns, func(x renewer.RolloutResult) []any {
		row := []any{x.Certificate, x.Generation, state(x.Result), cmp.Or(x.Error, x.Waiting.String())}
		if c.onScreen() {
			row = append(row[:3], x.Error, x.Waiting.String(), x.Hint)
		}
		return row
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
	if !c.onScreen() {
		c.outcomes(r.Rollouts)
	}
	if r.Failed() || named && r.Unreached() {
		return exitError(exitFailed)
	}
	return nil
}

// outcomes says on standard error what a table on a terminal shows: an error once, with
// the certificates that have it, and not where the table is read beside it.
func (c *cli) outcomes(list []renewer.RolloutResult) {
	hints, had, seen := map[string]bool{}, map[string][]string{}, c.seen()
	ended := func(x renewer.RolloutResult) bool {
		return x.Result == renewer.ResultFailed || x.Result == renewer.ResultBlocked
	}
	about := func(x renewer.RolloutResult) string { return fmt.Sprintf("%s: %s", x.Result, x.Error) }
	for _, x := range list {
		had[about(x)] = append(had[about(x)], x.Certificate)
	}
	for _, x := range list {
		if names := had[about(x)]; ended(x) && names != nil && !seen {
			fmt.Fprintf(c.errOut, "error: %s: %s\n", few(names), about(x))
			delete(had, about(x))
		}
		if ended(x) || x.Result == renewer.ResultWaiting || x.Result == renewer.ResultStarted {
			c.waits(x.Certificate, x.Waiting)
		}
		if x.Hint != "" && !hints[x.Hint] {
			hints[x.Hint] = true
			fmt.Fprintf(c.errOut, "hint: %s\n", x.Hint)
		}
	}
}
