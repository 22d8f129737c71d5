package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"renewer/cmd/renewer/daemon"
	"renewer/configs"
	"renewer/renewer"
	"renewer/renewer/server"
)

func newCheck(c *cli) *cobra.Command {
	var online bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Validate the fleet file",
		Long: `Validates the fleet file; it needs no CA and no state. A certificate that
max_lifetime or allowed_names of a local issuer does not allow, or that its CA may not
sign, is an error. The URL, the keys and the program of each channel are read, where
they are on this machine. With --online it also logs in at each issuer, connects to each
host, connects to the server of each channel without sending a message, and checks
whether the services that a renewal restarts would start again.`,
		Example: "  renewer check\n  renewer --config fleet.yaml check --online",
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := c.fleet()
			if err != nil {
				return err
			}
			if unusable := f.Unusable(); len(unusable) > 0 {
				return usageError{unusable}
			}
			found := checked{File: f.Path, OK: true, Certificates: len(f.Certificates), Hosts: placedOn(f), Issuers: len(f.Issuers)}
			if err := daemon.CheckPort(f); err != nil {
				return err
			}
			if f.SocketGroup != "" {
				if _, err := server.LookupGroup(f.SocketGroup); err != nil {
					c.caution(err) // the daemon may run elsewhere
				}
			}
			refused := daemon.CheckRequests(f)
			found.Refused, found.OK = len(refused), len(refused) == 0
			found.Findings = daemon.CheckChannels(cmd.Context(), f, online)
			found.OK = found.OK && !renewer.AnyFail(found.Findings)
			if online {
				var seen []renewer.Finding
				found.IssuerStatus, found.HostStatus, seen, err = daemon.CheckOnline(cmd.Context(), f)
				if err != nil {
					return err
				}
				found.Findings = append(found.Findings, seen...)
				found.OK = found.OK && !renewer.AnyFail(seen) && !slices.ContainsFunc(found.IssuerStatus, func(i renewer.IssuerStatus) bool { return !i.Up }) &&
					!slices.ContainsFunc(found.HostStatus, func(h renewer.HostStatus) bool { return !h.Up })
			}
			if found.Records, err = daemon.NeededRecords(f); err != nil {
				return err
			}
			if err := c.object(found, func() error { return c.showChecked(found, online) }); err != nil {
				return err
			}
			for _, err := range refused {
				c.complain(err)
			}
			if err := c.down(found); err != nil || len(refused) == 0 {
				return err
			}
			return exitError(exitFailed)
		},
	}
	cmd.Flags().BoolVar(&online, "online", false, "also log in at each issuer and connect to each host and channel")
	return cmd
}

// checked is what check found.
type checked struct {
	File         string                 `json:"file"`
	OK           bool                   `json:"ok"`
	Certificates int                    `json:"certificates"`
	Hosts        int                    `json:"hosts"` // with a placement
	Issuers      int                    `json:"issuers"`
	Refused      int                    `json:"refused"` // reasons for which a local issuer would not sign
	IssuerStatus []renewer.IssuerStatus `json:"issuer_status,omitempty"`
	HostStatus   []renewer.HostStatus   `json:"host_status,omitempty"`
	Findings     []renewer.Finding      `json:"findings,omitempty"`
	// Records are those that have to be in the DNS, by issuer (dns-persist-01).
	Records map[string][]string `json:"records,omitempty"`
}

func placedOn(f *configs.Fleet) int {
	hosts := map[string]bool{}
	for _, cert := range f.Certificates {
		for _, p := range cert.Placements {
			hosts[p.Host] = true
		}
	}
	return len(hosts)
}

func (c *cli) showChecked(found checked, online bool) error {
	verdict := "ok"
	if !found.OK {
		verdict = "the file is valid, but an issuer, a host or a channel has a problem"
		if !online {
			verdict = "the file is valid, but a channel cannot send"
		}
		if found.Refused > 0 {
			verdict = "the file is valid, but an issuer would refuse a certificate"
		}
	}
	fmt.Fprintf(c.out, "%s: %s (%s on %s, %s)\n", found.File, verdict, count(found.Certificates, "certificate"),
		count(found.Hosts, "host"), count(found.Issuers, "issuer"))
	for _, name := range slices.Sorted(maps.Keys(found.Records)) {
		for _, r := range found.Records[name] {
			fmt.Fprintf(c.out, "issuer %s needs this DNS record: %s\n", name, r)
		}
	}
	if !online {
		return nil
	}
	return c.reachable(found.IssuerStatus, found.HostStatus, nil)
}

// down complains about everything that has a problem.
func (c *cli) down(found checked) error {
	n := 0
	about := func(kind, name, what, hint string) error {
		if name != "" { // else what says itself what it is about
			what = named(kind, name, what)
		}
		return renewer.WithHint(errors.New(what), hint)
	}
	complain := func(kind, name, what, hint string, shown bool) {
		if n++; !shown {
			c.complain(about(kind, name, what, hint))
		}
	}
	for _, i := range found.IssuerStatus {
		if !i.Up {
			complain("issuer", i.Name, i.Error, i.Hint, c.seen())
		}
	}
	for _, h := range found.HostStatus {
		if !h.Up {
			complain("host", h.Name, h.Error, h.Hint, c.seen())
		}
	}
	for _, f := range found.Findings {
		kind, name := "host", f.Host
		if name == "" {
			kind, name = "certificate", f.Certificate
		}
		if f.Level == renewer.FindingFail {
			complain(kind, name, f.Text, f.Fix, false)
		} else {
			c.caution(about(kind, name, f.Text, f.Fix))
		}
	}
	if n > 0 {
		return exitError(exitFailed)
	}
	return nil
}

// reachable prints the health of issuers and hosts. The errors of those that said names are
// left out.
func (c *cli) reachable(issuers []renewer.IssuerStatus, hosts []renewer.HostStatus, said map[string]bool) error {
	var rows [][]any
	for _, i := range issuers {
		var ends time.Time // expiry of the CA that expires first
		for _, ca := range i.CAs {
			if ends.IsZero() || ca.NotAfter.Before(ends) {
				ends = ca.NotAfter
			}
		}
		rows = append(rows, c.fault([]any{"issuer", i.Name, i.Type, upDown(i.Up), i.Since, offset(i.ClockOffset), ends}, i.Error, i.Hint, said))
	}
	for _, h := range hosts {
		rows = append(rows, c.fault([]any{"host", h.Name, h.Type, upDown(h.Up), "", "", ""}, h.Error, h.Hint, said))
	}
	if len(rows) == 0 {
		return nil
	}
	columns := []string{"kind", "name", "type", "state", "since", "clock", "ca_expires", "error"}
	if c.onScreen() {
		columns = append(columns, "hint")
	}
	return c.table(columns, rows)
}

// fault adds an error and its hint to the row of an issuer or a host: in one cell where that
// is a line.
func (c *cli) fault(row []any, err, hint string, said map[string]bool) []any {
	about := fmt.Sprint(row[0], " ", row[1])
	err = strings.TrimPrefix(err, about+": ")
	if said[about] {
		err, hint = "", ""
	}
	switch {
	case c.onScreen():
		return append(row, err, hint)
	case hint != "":
		err += "; " + hint
	}
	return append(row, err)
}

// named says what a text is about, once.
func named(kind, name, text string) string {
	if about := kind + " " + name; !strings.HasPrefix(text, about) {
		return about + ": " + text
	}
	return text
}

// offset says how far an issuer's clock is ahead (+) or behind (-).
func offset(seconds *float64) string {
	if seconds == nil {
		return ""
	}
	return fmt.Sprintf("%+.0fs", *seconds)
}

func upDown(up bool) state {
	if up {
		return "up"
	}
	return "down"
}
