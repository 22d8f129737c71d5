package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"renewer/renewer"
	"renewer/renewer/server"
)

func newRevoke(c *cli) *cobra.Command {
	var req renewer.RevokeRequest
	var reason string
	cmd := &cobra.Command{
		Use:   "revoke NAME",
		Short: "Revoke at the issuer",
		Long: `Revokes at the issuer, at once, and records it: what was revoked is replaced by
the daemon or the next run, and is never rolled back to. With --replace it is the
other way round: first renewed, and revoked only when the new one is proven, so
that peers that look at revocation miss nothing.

Few peers look: dockerd, Docker's clients, Dagu and everything else on Go's TLS
do not. It says who learns of it, and what helps where nobody looks.

The reasons are those of RFC 5280: ` + reasonWords() + `.`,
		Example: `  renewer revoke docker@host-b --reason keyCompromise
  renewer revoke docker@host-b --replace --reason superseded
  renewer revoke docker@host-b --generation 3`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.certificates(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if req.Reason, err = renewer.ParseRevocationReason(reason); err != nil {
				return usageError{err}
			}
			if cmd.Flags().Changed("generation") && req.Generation < 1 {
				return usagef("--generation is %d; expected a number from 1, as renewer show %s lists them", req.Generation, args[0])
			}
			if req.Generation > 0 && req.Replace {
				return usagef("a generation that is named is revoked as it is; expected one of --generation and --replace")
			}
			req.Name = args[0]
			return c.with(cmd.Context(), func(s server.Service) error {
				done, err := s.Revoke(cmd.Context(), req, c.progress())
				if err != nil {
					return interrupted(err)
				}
				return c.revoked(done)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&reason, "reason", "", "why (default unspecified)")
	flags.IntVar(&req.Generation, "generation", 0, "revoke this one instead of the current one")
	flags.BoolVar(&req.Replace, "replace", false, "renew first, and revoke the old one when the new one is proven")
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
	out := listOf(c, []string{"certificate", "generation", "serial", "revoked", "reason", "in_place_on", "error"}, func(r renewer.Revoked) []any {
		return []any{r.Certificate, r.Generation, r.Serial, r.RevokedAt, r.Reason, strings.Join(r.ServedBy, ", "), r.Error}
	})
	if err := out.all(done, "nothing to revoke"); err != nil {
		return err
	}
	said, failed := map[string]bool{}, false
	for _, r := range done {
		for _, note := range r.Notes {
			if !said[note] && c.format.table() {
				said[note] = true
				fmt.Fprintf(c.out, "note: %s\n", note)
			}
		}
		if r.Error != "" {
			failed = true
			c.complain(renewer.WithHint(fmt.Errorf("%s: %s", r.Certificate, r.Error), r.Hint))
		}
	}
	if failed {
		return exitError(exitFailed)
	}
	return nil
}
