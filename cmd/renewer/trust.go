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
		Short: "Show who accepts whom, by what is in place",
		Long: `Shows who presents which certificate to whom, under which root, and whether those
who check it have that root in place and loaded. Placements of which the same
holds are one line; docker×24 is 24 hosts of the entry docker. What does not
work comes first:

  no_root     the ca file lacks the root
  expired     the certificate, or its root
  not_loaded  the root is in place, and the service is not known to have loaded it
  unknown     nothing is known of the roots yet
  assumed     the root is in place, and is assumed to be loaded: nothing is
              activated there
  accepted    the root is in place and loaded

A certificate that is on its way waits until those who accept the one before it
have its root in place and loaded.

A root that was found in a ca file, and that renewer does not ask for, stays
there until it is dropped by name: by fingerprint, the beginning of one, or
subject. That is refused while a certificate under it is in place. The ca files
follow with the next pass, as with any other root.`,
		Example: `  renewer trust
  renewer trust docker@host-b
  renewer trust -o json | jq '.pairs[] | select(.state != "accepted")'
  renewer trust --drop 9c1d22e0`,
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("drop") && len(args) > 0 {
				return usagef("--drop takes a root out of every ca file that it was found in; expected no certificate beside it")
			}
			if len(args) > 1 {
				return usagef("%d names are given; expected one certificate, or none for all", len(args))
			}
			return nil
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
	cmd.Flags().StringVar(&drop, "drop", "", "take this foreign `ROOT` out of the ca files that it was found in")
	return cmd
}

func (c *cli) dropRoot(ctx context.Context, s server.Service, root string) error {
	done, err := s.DropRoot(ctx, root)
	if err != nil {
		return err
	}
	return c.object(done, func() error {
		fmt.Fprintf(c.out, "root %s (%s) is dropped from %s\n", done.Root.ID[:8], done.Root.Subject, strings.Join(renewer.Members(done.Placements, 5), ", "))
		c.say("the ca files follow with the next pass: renewer plan shows it")
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
			note = "on its way"
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
		if err := pairs.all(t.Pairs, "nothing is in place yet that presents or checks a certificate"); err != nil || len(t.Roots) == 0 {
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

// one expects exactly one argument.
func one(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usagef("%d arguments are given; expected %s", len(args), what)
		}
		return nil
	}
}

func newImpact(c *cli) *cobra.Command {
	var cases [3]bool
	var exitCode bool
	kinds := []renewer.ImpactCase{renewer.ImpactExpired, renewer.ImpactRevoked, renewer.ImpactRemoved}
	cmd := &cobra.Command{
		Use:   "impact NAME|HOST|ISSUER|ROOT",
		Short: "Show who would refuse whom",
		Long: `Shows who would refuse whom of those that accept each other now, which services
that touches, and from when on. It is the same function that keeps a renewal
waiting until its peers accept it. Nothing is changed.

Without a flag a certificate, a host's or an issuer's certificates are supposed
to be renewed now, and a root to be removed from every ca file. A root is named
by its fingerprint, the beginning of one, or its subject. Where a name stands for
several, KIND:NAME says which: certificate, host, issuer or root.`,
		Example: `  renewer impact docker              # if it were renewed now
  renewer impact fleet-ca --expired  # the certificates of an issuer
  renewer impact host:host-b --removed
  renewer impact 9c1d22e0 -o json    # a root, taken out of every ca file`,
		Args:              one("a certificate, host, issuer or root"),
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
	flags.BoolVar(&cases[0], "expired", false, "if it expired, as it will if it is not renewed")
	flags.BoolVar(&cases[1], "revoked", false, "if it were revoked now")
	flags.BoolVar(&cases[2], "removed", false, "if it left the fleet file; a root: every ca file")
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
		Short: "Let go of what left the fleet file and is still in place",
		Long: `A certificate, or a host of one, that left the fleet file stays in place on its
host, and renewer goes on to count it until it expires: the roots that it needs
stay in the ca files of its peers, a certificate that it would refuse waits for it,
and it is listed as orphaned. A trust bundle counts until it is let go. This lets go
of it now, after it has shown where it is and who accepts it. Its files stay.

NAME is that of a certificate, or of an entry for all its hosts. On a terminal it
asks first.`,
		Example: "  renewer list --status orphaned\n  renewer forget old-api --yes",
		Args:    one("the name of what left the fleet file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd.Context(), func(s server.Service) error { return c.forget(cmd.Context(), s, args[0], yes) })
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
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
		if err := c.confirm(ctx, "let go of it? from now on its peers may refuse it, and it may refuse them"); err != nil {
			return err
		}
	}
	if _, err := s.Forget(ctx, renewer.ForgetRequest{Name: name}); err != nil {
		return err
	}
	c.say("%s is let go: its files stay where they are, and the ca files of its peers follow with the next pass", name)
	return nil
}
