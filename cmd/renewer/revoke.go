package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"renewer/configs"
	"renewer/renewer"
	"renewer/renewer/server"
)

func newRevoke(c *cli) *cobra.Command {
	var req renewer.RevokeRequest
	var reason string
	cmd := &cobra.Command{
		Use:   "revoke NAME",
		Short: "Revoke a certificate at its issuer",
		Long: `Revokes at the issuer at once and records it: the daemon or the next run replaces
the revoked certificate, and a rollback never returns to it. With --replace the
certificate is renewed first, and revoked when the new one is verified, so that peers
that check revocation see no gap.

Few peers check revocation: dockerd, Docker's clients, Dagu and other software that uses
Go's TLS do not. The command prints which peers check, and what to do about the others.

The reasons are those of RFC 5280: ` + reasonWords() + `.`,
		Example: `  renewer revoke docker@host-b --reason keyCompromise
  renewer revoke docker@host-b --replace --reason superseded
  renewer revoke docker@host-b --generation 3`,
		ValidArgsFunction: c.certificates(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if req.Reason, err = renewer.ParseRevocationReason(reason); err != nil {
				return usage(configs.Suggest(reason, strings.Split(reasonWords(), ", ")), "--reason is %q; expected a reason of RFC 5280", reason)
			}
			if cmd.Flags().Changed("generation") && req.Generation < 1 {
				return usage("renewer show "+args[0]+" lists its generations", "--generation is %d; expected a number from 1", req.Generation)
			}
			if req.Generation > 0 && req.Replace {
				return usagef("expected one of --generation and --replace")
			}
			req.Name = args[0]
			return c.with(cmd.Context(), func(s server.Service) error {
				done, err := watched(c, "revoking", nil, func(tell func(renewer.Event)) ([]renewer.Revoked, error) { return s.Revoke(cmd.Context(), req, tell) })
				if err != nil {
					return interrupted(err)
				}
				return c.revoked(done)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&reason, "reason", "", "`REASON` of RFC 5280 (default unspecified)")
	flags.IntVar(&req.Generation, "generation", 0, "revoke this `GENERATION` instead of the current one")
	flags.BoolVar(&req.Replace, "replace", false, "renew first, and revoke the old one when the new one is verified")
	complete(cmd, "reason", func() []string { return strings.Split(reasonWords(), ", ") })
	return cmd
}

func reasonWords() string {
	words := make([]string, 0, len(renewer.RevocationReasons))
	for _, r := range renewer.RevocationReasons {
		words = append(words, string(r))
	}
	return strings.Join(words, ", ")
}

// revoked prints what was revoked and what that means, and fails where
// something was not.
func (c *cli) revoked(done []renewer.Revoked) error {
	columns := []string{"certificate", "generation", "serial", "revoked", "reason", "in_place_on", "error"}
	if c.onScreen() {
		columns = append(columns, "hint")
	}
	out := listOf(c, columns, func(r renewer.Revoked) []any {
		return []any{r.Certificate, r.Generation, r.Serial, r.RevokedAt, r.Reason, strings.Join(r.ServedBy, ", "), r.Error, r.Hint}[:len(columns)]
	})
	if err := out.all(done, "nothing to revoke"); err != nil {
		return err
	}
	said, failed := map[string]bool{}, false
	for _, r := range done {
		for _, note := range r.Notes {
			if !said[note] && c.format.table() {
				said[note] = true
				fmt.Fprintln(c.out, strings.Join(lines("note: "+note, c.width()), "\n"))
			}
		}
		if r.Error != "" {
			failed = true
			if !c.onScreen() {
				c.complain(renewer.WithHint(fmt.Errorf("%s: %s", r.Certificate, r.Error), r.Hint))
			}
		}
	}
	if failed {
		return exitError(exitFailed)
	}
	return nil
}
