package main

import (
	"time"

	"github.com/spf13/cobra"

	"renewer/renewer"
	"renewer/renewer/server"
)

func newList(c *cli) *cobra.Command {
	var filter renewer.ListFilter
	var expiring duration
	var exitCode bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the certificates, soonest expiry first",
		Example: `  renewer list
  renewer list --expiring 30d --exit-code
  renewer list --host host-b -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list := func(s reader) error {
				filter.ExpiringWithin = time.Duration(expiring)
				out := listOf(c, c.rowColumns(), c.rowCells)
				if err := s.List(cmd.Context(), filter, out.add); err != nil {
					return err
				}
				if err := out.end("no certificates"); err != nil {
					return err
				}
				return foundIf(exitCode && out.n > 0)
			}
			if filter.Host != "" || filter.Issuer != "" { // only the fleet file knows whether there is one
				return c.with(cmd.Context(), func(s server.Service) error { return list(s) })
			}
			return c.read(cmd.Context(), list)
		},
	}
	flags := cmd.Flags()
	flags.Var(&expiring, "expiring", "only those that expire within that time, such as 30d, or have expired")
	flags.StringVar(&filter.Host, "host", "", "only those on this `HOST`")
	flags.StringVar(&filter.Issuer, "issuer", "", "only those of this `ISSUER`")
	flags.Var(choice{(*string)(&filter.Status), statuses, "STATUS"}, "status", "only those with this status: pending, valid, due, …")
	flags.BoolVar(&exitCode, "exit-code", false, "exit with 3 if the list is not empty")
	complete(cmd, "host", c.hostNames)
	complete(cmd, "issuer", c.issuerNames)
	complete(cmd, "status", func() []string { return statuses })
	return cmd
}

// all reports whether lists have every column.
func (f *format) all() bool { return *f == asWide || *f == asCSV }

func (c *cli) rowColumns() []string {
	columns := []string{"name", "status", "generation", "not_after", "renew_at", "issuer", "hosts"}
	switch {
	case c.format.all():
		columns = append(columns, "serial", "fingerprint_sha256", "common_name", "sans", "key", "not_before")
	case c.onScreen():
		columns = append(columns, "error")
	}
	return columns
}

func (c *cli) rowCells(r renewer.Row) []any {
	cells := []any{r.Name, state(r.Status), r.Generation, end{r}, r.RenewAt, r.Issuer, hostStates(r.Hosts)}
	switch {
	case c.format.all():
		cells = append(cells, r.Serial, r.Fingerprint, r.CommonName, r.SANs, r.Key, r.NotBefore)
	case c.onScreen():
		cells = append(cells, firstError(r.Hosts))
	}
	return cells
}

// firstError is that of the first host that has one, and how many more have.
func firstError(hosts []renewer.HostRow) string {
	first, more := "", 0
	for _, h := range hosts {
		switch {
		case h.Error == "":
		case first == "":
			first = renewer.OnHost(h.Name, h.Error)
		default:
			more++
		}
	}
	if more > 0 {
		first += " (and " + count(more, "more host") + ")"
	}
	return first
}

// hostStates names each host, and its state where that is not verified.
func hostStates(hosts []renewer.HostRow) []string {
	var out []string
	for _, h := range hosts {
		s := h.Name
		if h.State != renewer.HostVerified {
			s += "(" + string(h.State) + ")"
		}
		out = append(out, s)
	}
	return out
}
