package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"renewer/renewer"
	"renewer/renewer/server"
)

func newShow(c *cli) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:               "show NAME",
		Short:             "Show one certificate: chain, generations, hosts, last error",
		Example:           "  renewer show docker@host-b\n  renewer show docker@host-b --config-snippet\n  renewer show worker --config-snippet=env > /etc/default/dagu-worker",
		ValidArgsFunction: c.certificates(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd.Context(), func(s server.Service) error {
				d, err := s.Show(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if format != "" {
					return c.showSnippet(d, format)
				}
				return c.object(d, func() error { return c.showDetail(d) })
			})
		},
	}
	cmd.Flags().StringVar(&format, "config-snippet", "", "print the lines for the service's own configuration instead; `FORMAT`: all, or for Dagu yaml, env or flags")
	cmd.Flags().Lookup("config-snippet").NoOptDefVal = allFormats
	return cmd
}

// filesIn names files of a directory; empty where nothing is known of them.
func filesIn(dir string, files []string) string {
	if len(files) == 0 {
		return ""
	}
	return fmt.Sprintf("%s/{%s}", dir, strings.Join(files, ","))
}

func (c *cli) showSnippet(d renewer.Detail, format string) error {
	text, err := snippet(d, format)
	if err != nil {
		return err
	}
	return c.object(map[string]string{"name": d.Name, "profile": d.Profile, "config_snippet": text}, func() error {
		fmt.Fprint(c.out, text)
		return nil
	})
}

// waitsFor says what keeps a rollout from going on with one host.
func waitsFor(r renewer.RolloutView, s renewer.Step) string {
	if s.State.Over() && !r.Phase.Over() {
		return ""
	}
	if r.Phase.Over() {
		return r.Waiting.String()
	}
	w, _ := r.Waiting.On(s)
	return w.Text
}

// tolerates says how long things may be away.
func tolerates(d renewer.Detail) string {
	if d.Tolerates == nil {
		return ""
	}
	return renewer.Span(time.Duration(*d.Tolerates)*time.Second) + " without issuer or hosts"
}

func (c *cli) showDetail(d renewer.Detail) error {
	var usages []string
	for _, u := range d.Usages {
		usages = append(usages, string(u))
	}
	c.facts("name", d.Name, "status", state(d.Status), "generation", d.Generation, "issuer", d.Issuer, "profile", d.Profile,
		"common name", d.CommonName, "SANs", d.SANs, "usages", usages, "key", d.Key,
		"not before", d.NotBefore, "not after", end{d.Row}, "renew at", d.RenewAt, "tolerates", tolerates(d),
		"serial", d.Serial, "SHA-256", d.Fingerprint, "last error", d.LastError, "hint", d.Hint)
	for _, left := range d.Departed {
		what := fmt.Sprintf("has generation %d in place until %s", left.Generation, plain(left.NotAfter))
		if left.NotAfter.IsZero() {
			what = "has its trust bundle in place"
		}
		c.facts("left", fmt.Sprintf("%s, which is no longer in the entry, %s; renewer forget %s removes it from the inventory", left.Host, what, d.Name))
	}
	if r := d.Rollout; r != nil {
		var reasons []string
		for _, reason := range r.Reasons {
			reasons = append(reasons, reason.Text)
		}
		c.heading("Rollout " + r.ID)
		c.facts("kind", r.Kind, "phase", state(r.Phase), "generation", r.Generation, "because", strings.Join(reasons, "; "),
			"started", r.StartedAt, "waits for", strings.Join(r.Waiting.Texts(), "\n"), "error", r.Error)
		var rows [][]any
		for _, s := range r.Steps {
			rows = append(rows, []any{s.Host, state(s.State), s.Revision, s.Attempts, waitsFor(*r, s), s.Error})
		}
		if err := c.table([]string{"host", "state", "revision", "attempts", "waits_for", "error"}, rows); err != nil {
			return err
		}
	}
	c.heading("Hosts")
	var rows [][]any
	for _, p := range d.Placements {
		var files []string
		for _, kind := range slices.Sorted(maps.Keys(p.Files)) {
			files = append(files, p.Files[kind])
		}
		rows = append(rows, []any{
			p.Name, state(p.State), p.Generation, p.VerifiedAt, p.Revision,
			filesIn(p.Dir, files), p.Activate, p.Probe, p.Error,
		})
	}
	if err := c.table([]string{"host", "state", "generation", "verified_at", "revision", "files", "activate", "probe", "error"}, rows); err != nil {
		return err
	}
	if len(d.Chain) > 0 {
		c.heading("Chain")
		rows = nil
		for _, e := range d.Chain {
			rows = append(rows, []any{e.Subject, e.Issuer, e.NotAfter, e.Serial, e.Fingerprint})
		}
		if err := c.table([]string{"subject", "issuer", "not_after", "serial", "sha-256"}, rows); err != nil {
			return err
		}
	}
	if len(d.Generations) == 0 {
		return nil
	}
	c.heading("Generations")
	rows = nil
	for _, g := range d.Generations {
		current := ""
		if g.Current {
			current = "yes"
		}
		rows = append(rows, []any{g.Number, current, g.IssuedAt, g.NotAfter, g.RevokedAt, g.Serial})
	}
	return c.table([]string{"generation", "current", "issued_at", "not_after", "revoked_at", "serial"}, rows)
}
