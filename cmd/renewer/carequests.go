package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"renewer/cmd/renewer/daemon"
	"renewer/renewer"
)

func newCASignRequests(c *cli) *cobra.Command {
	var issuer string
	var lifetime duration
	var yes bool
	cmd := &cobra.Command{
		Use:   "sign-requests DIR [--issuer ISSUER] [--lifetime 90d] [--yes]",
		Short: "Sign the requests of an issuer of type files",
		Long: `Signs each DIR/NAME.csr with the CA of a local issuer and writes DIR/NAME.crt. It is
for the machine that has the private key of the CA, which needs no network: the other
machine has an issuer of type files, whose directory is copied here and back.

The limits of the CA and of its issuer apply as to any order. Where the fleet file here has
certificates, a request must match the entry NAME and gets its lifetime; without
certificates it gets the lifetime that it requests.

The requests are printed first and, on a terminal, the command prompts.`,
		Example: `  renewer ca sign-requests /media/usb/orders
  renewer ca sign-requests /media/usb/orders --issuer root-ca --lifetime 90d --yes`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			f, err := c.fleet()
			if err != nil {
				return err
			}
			var named []string
			if issuer != "" {
				named = []string{issuer}
			}
			if issuer, err = localIssuer(f, named); err != nil {
				return err
			}
			requests, err := daemon.ReadCARequests(f, issuer, args[0], time.Duration(lifetime))
			if err != nil {
				return err
			}
			if n := requests.ToSign(); n > 0 && !yes && c.format.table() && c.in != nil && isTerminal(c.in) {
				if err := c.showRequests(requests.List); err != nil {
					return err
				}
				if err := c.confirm(ctx, fmt.Sprintf("sign %s with the CA of issuer %s?", count(n, "certificate"), issuer)); err != nil {
					return err
				}
			}
			if err := requests.Sign(ctx); err != nil {
				return err
			}
			return c.signed(requests.List)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&issuer, "issuer", "", "sign with the CA of this local `ISSUER` (default: the only one)")
	flags.Var(&lifetime, "lifetime", "lifetime of requests that name none, such as 90d")
	flags.BoolVar(&yes, "yes", false, "do not prompt")
	complete(cmd, "issuer", c.fromFleet(localIssuers))
	return cmd
}

// signed shows what became of the requests; those that were refused are an error.
func (c *cli) signed(list []daemon.CARequest) error {
	if err := c.showRequests(list); err != nil {
		return err
	}
	refused := 0
	for _, r := range list {
		if r.State == daemon.RequestRefused {
			refused++
			c.complain(renewer.WithHint(fmt.Errorf("%s: %w", r.Certificate, errors.New(r.Error)), r.Hint))
		}
	}
	if refused > 0 {
		return exitError(exitFailed)
	}
	return nil
}

func (c *cli) showRequests(list []daemon.CARequest) error {
	return listOf(c, []string{"certificate", "state", "common_name", "sans", "usages", "key", "not_after"}, func(r daemon.CARequest) []any {
		usages := make([]string, 0, len(r.Usages))
		for _, u := range r.Usages {
			usages = append(usages, string(u))
		}
		return []any{r.Certificate, state(r.State), r.CommonName, r.SANs, usages, r.Key, r.NotAfter}
	}).all(list, "there is no request there: a file NAME.csr")
}
