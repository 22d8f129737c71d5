package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"renewer/renewer"
	"renewer/renewer/server"
)

func newTrust(c *cli) *cobra.Command {
	var drop string
	cmd := &cobra.Command{
		Use:   "trust [NAME]",
		Short: "Show who accepts whose certificate, from what is in place",
		Long: `Shows who presents which certificate to whom, under which root, and whether the
verifiers have that root in place and loaded. Placements in the same state are one line;
docker×24 is 24 hosts of the entry docker. Problems come first:

  no_root     the ca file lacks the root
  expired     the certificate or its root has expired
  not_loaded  the root is in place, but the service may not have loaded it
  unknown     the roots of the verifier are not known yet
  assumed     the root is in place and assumed to be loaded: renewer activates
              nothing there
  accepted    the root is in place and loaded

A new certificate is activated when every verifier that accepts the current one has its
root in place and loaded.

A root that was found in a ca file and is not in trust: stays there until --drop removes
it, by fingerprint, a prefix of one, or subject. That is refused while a certificate under
it is in place. The next pass updates the ca files.`,
		Example: `  renewer trust
  renewer trust docker@host-b
  renewer trust -o json | jq '.pairs[] | select(.state != "accepted")'
  renewer trust --drop 9c1d22e0`,
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("drop") && len(args) > 0 {
				return usagef("--drop removes a root from every ca file that it was found in; expected no NAME")
			}
			return takes(cmd, args)
		},
		ValidArgsFunction: c.certificates(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("drop") {
				return c.with(cmd.Context(), func(s server.Service) error { return c.dropRoot(cmd.Context(), s, drop) })
			}
			c.reading = true
			return c.with(cmd.Context(), func(s server.Service) error {
				t, err := s.Trust(cmd.Context(), renewer.TrustRequest{Names: args, Brief: c.brief()})
				if err != nil {
					return err
				}
				return c.showTrust(t)
			})
		},
	}
	cmd.Flags().StringVar(&drop, "drop", "", "remove this foreign `ROOT` from the ca files that it was found in")
	return cmd
}

func (c *cli) dropRoot(ctx context.Context, s server.Service, root string) error {
	done, err := s.DropRoot(ctx, root)
	if err != nil {
		return err
	}
	return c.object(done, func() error {
		fmt.Fprintf(c.out, "root %s (%s) is removed from %s\n", done.Root.ID[:8], done.Root.Subject, strings.Join(renewer.Members(done.Placements, 5), ", "))
		c.say("the next pass updates the ca files: renewer plan shows it")
		return nil
	})
}

// pairColumns are those of a table and of -o csv.
var pairColumns = []string{"presenter", "as", "root", "verifier", "state", "until", "note"}

// showTrust prints the matrix, and the roots below it; -o csv has the former alone.
func (c *cli) showTrust(t renewer.Trust) error {
	names := map[string]string{}
	for _, r := range t.Roots {
		names[r.ID] = r.ID[:8] + " " + r.Name()
	}
	pairs := listOf(c, pairColumns, func(p renewer.TrustPair) []any {
		until, note := p.Until, ""
		if p.Coming {
			note = "in progress"
		}
		if p.State == renewer.HasExpired {
			until = p.Since
		}
		return []any{c.members(p.Presenters), p.As, c.rootNames(p.Under, names), c.members(p.Verifiers), state(p.State), until, note}
	})
	if c.format == asCSV {
		return pairs.all(t.Pairs, "")
	}
	return c.object(t, func() error {
		if err := pairs.all(t.Pairs, "nothing is in place yet that presents or verifies a certificate"); err != nil || len(t.Roots) == 0 {
			return err
		}
		c.heading("Roots")
		var rows [][]any
		for _, r := range t.Roots {
			why := slices.Clone(r.Issuers)
			if len(r.NeededBy) > 0 {
				why = append(why, fmt.Sprint("needed by ", c.members(r.NeededBy)))
			}
			if len(r.Foreign) > 0 {
				why = append(why, fmt.Sprint("foreign in ", c.members(r.Foreign)))
			}
			rows = append(rows, []any{r.ID[:8], r.Name(), r.NotAfter, r.Presenters, r.Verifiers, strings.Join(why, "; ")})
		}
		return c.table([]string{"root", "subject", "not_after", "presenters", "ca_files", "why"}, rows)
	})
}

// brief: a table names members of one entry together, and not all entries; with
// -o wide all of those.
func (c *cli) brief() bool { return c.format.table() && c.format != asWide }

// members names placements, which are brief already where the table is.
func (c *cli) members(ids []string) any {
	switch {
	case c.brief():
		return strings.Join(ids, ", ")
	case c.format == asWide:
		return strings.Join(renewer.Members(ids, 0), ", ")
	default:
		return ids
	}
}

func (c *cli) rootNames(under renewer.RootSet, names map[string]string) string {
	if !under.Known() {
		return "unknown"
	}
	if c.format == asCSV {
		return strings.Join(under, " ")
	}
	var out []string
	for _, id := range under {
		if name, ok := names[id]; ok && c.format == asWide {
			out = append(out, name)
		} else {
			out = append(out, id[:min(8, len(id))])
		}
	}
	return strings.Join(out, ", ")
}

func newImpact(c *cli) *cobra.Command {
	var cases [3]bool
	var exitCode bool
	kinds := []renewer.ImpactCase{renewer.ImpactExpired, renewer.ImpactRevoked, renewer.ImpactRemoved}
	cmd := &cobra.Command{
		Use:   "impact NAME|HOST|ISSUER|ROOT",
		Short: "Show which connections a change would break",
		Long: `Shows which peers that accept each other now would refuse each other after a change,
which services that affects, and from when. The trust gate uses the same function.
Nothing is changed.

Without a flag, the change is a renewal of a certificate, or of the certificates of a host
or an issuer; for a root it is its removal from every ca file. A root is named by its
fingerprint, a prefix of one, or its subject. Where a name is ambiguous, write KIND:NAME:
certificate, host, issuer or root.`,
		Example: `  renewer impact docker              # if it were renewed now
  renewer impact fleet-ca --expired  # the certificates of an issuer
  renewer impact host:host-b --removed
  renewer impact 9c1d22e0 -o json    # a root, taken out of every ca file`,
		ValidArgsFunction: c.impactTargets,
		RunE: func(cmd *cobra.Command, args []string) error {
			req := renewer.ImpactRequest{Target: args[0], Brief: c.brief()}
			for i, set := range cases {
				if set && req.Case != "" {
					return usagef("--%s and --%s are given; expected one of them", req.Case, kinds[i])
				}
				if set {
					req.Case = kinds[i]
				}
			}
			return c.with(cmd.Context(), func(s server.Service) error {
				found, err := s.Impact(cmd.Context(), req)
				if err != nil {
					return err
				}
				if err := c.showImpact(found); err != nil {
					return err
				}
				return foundIf(exitCode && len(found.Refused) > 0)
			})
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&cases[0], "expired", false, "if it expired")
	flags.BoolVar(&cases[1], "revoked", false, "if it were revoked now")
	flags.BoolVar(&cases[2], "removed", false, "if it were removed from the fleet file; a root: from every ca file")
	flags.BoolVar(&exitCode, "exit-code", false, "exit with 3 if a peer would refuse another")
	return cmd
}

// impactTargets offers names of the fleet file to the shell.
func (c *cli) impactTargets(cmd *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
	names, how := c.certificates(1)(cmd, args, text)
	if len(args) == 0 {
		names = slices.Concat(names, c.hostNames(), c.issuerNames())
	}
	return names, how
}

var caseWords = map[renewer.ImpactCase]string{
	renewer.ImpactRenewed: "were renewed now", renewer.ImpactExpired: "expired", renewer.ImpactRevoked: "were revoked now", renewer.ImpactRemoved: "were removed",
}

func (c *cli) showImpact(i renewer.Impact) error {
	refused := listOf(c, []string{"presenter", "as", "verifier", "state", "since", "services"}, func(r renewer.Refusal) []any {
		return []any{c.members(r.Presenters), r.As, c.members(r.Verifiers), state(r.State), r.Since, c.members(r.Services)}
	})
	if c.format == asCSV {
		return refused.all(i.Refused, "")
	}
	return c.object(i, func() error {
		name := i.Name
		if i.Kind == "root" {
			name = name[:8]
		}
		none := fmt.Sprintf("if %s %s %s, no peer would refuse another", i.Kind, name, caseWords[i.Case])
		if err := refused.all(i.Refused, strings.Join(lines(none, c.width()), "\n")); err != nil {
			return err
		}
		for _, note := range i.Notes {
			c.say("%s", strings.Join(lines("note: "+note, c.width()), "\n"))
		}
		return nil
	})
}

func newForget(c *cli) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "forget NAME",
		Short: "Forget a certificate that was removed from the fleet file",
		Long: `A certificate, or one of its hosts, that was removed from the fleet file stays in
place on its host, and renewer keeps track of it until it expires: the roots that it needs
stay in the ca files of its peers, a certificate that it would refuse waits for it, and it
is listed as orphaned. A trust bundle is tracked until it is forgotten. This command
prints where it is and who accepts it, and forgets it. Its files stay.

NAME is the name of a certificate, or of an entry for all its hosts. On a terminal the
command prompts first.`,
		Example: "  renewer list --status orphaned\n  renewer forget old-api --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd.Context(), func(s server.Service) error { return c.forget(cmd.Context(), s, args[0], yes) })
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not prompt")
	return cmd
}

func (c *cli) forget(ctx context.Context, s server.Service, name string, yes bool) error {
	found, err := s.Forget(ctx, renewer.ForgetRequest{Name: name, Look: true})
	if err != nil {
		return err
	}
	out := listOf(c, []string{"certificate", "host", "generation", "not_after", "issuer", "accepted_by"}, func(f renewer.Forgotten) []any {
		return []any{f.Certificate, f.Host, f.Generation, f.NotAfter, f.Issuer, c.members(renewer.Members(f.Accepted, 3))}
	})
	if err := out.all(found, ""); err != nil {
		return err
	}
	if !yes && c.in != nil && isTerminal(c.in) && c.format.table() {
		if err := c.confirm(ctx, "forget it? its peers may then refuse it, and it may refuse them"); err != nil {
			return err
		}
	}
	if _, err := s.Forget(ctx, renewer.ForgetRequest{Name: name}); err != nil {
		return err
	}
	c.say("%s is forgotten; its files stay, and the next pass updates the ca files of its peers", name)
	return nil
}
