package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"renewer/configs"
	"renewer/renewer/forecast"
	"renewer/renewer/server"
)

func newForecast(c *cli) *cobra.Command {
	ahead := years(365 * 24 * time.Hour)
	var away outages
	cmd := &cobra.Command{
		Use:   "forecast",
		Short: "Show what renewer will do in the time ahead: renewals, restarts, windows, CAs that expire",
		Long: `Plays the time ahead by the same decisions that the daemon makes, on a simulated clock:
renewals, restarts and their windows, restarts that get in each other's way, and CAs that
expire or rotate. Changes nothing, and asks no issuer and no host.

--outage has an issuer or a host away from now on, for that long, and shows what expires. It
also lists what the same outage would expire if it began at the worst moment (at_risk);
tolerate: in the fleet file has such certificates renewed earlier.

The table counts by day, or by week for more than 60 days. -o wide, csv, yaml and json have every
event; ics is a calendar.`,
		Example: `  renewer forecast --for 30d
  renewer forecast --outage corp-vault=7d --outage host-b=2d
  renewer forecast -o ics > /var/www/renewer.ics`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(s server.Service) error {
				f, err := s.Forecast(cmd.Context(), forecast.Request{For: time.Duration(ahead), Outages: away})
				if err != nil {
					return err
				}
				return c.showForecast(f)
			})
		},
	}
	cmd.Flags().Var(&ahead, "for", "how far ahead, such as 90d or 1y")
	cmd.Flags().Var(&away, "outage", "an issuer or a host that is away from now on, such as corp-vault=7d; may be repeated")
	return cmd
}

// years is a duration that may be written in years.
type years time.Duration

func (y *years) String() string {
	const year = 365 * 24 * time.Hour
	if d := time.Duration(*y); d%year == 0 {
		return strconv.FormatInt(int64(d/year), 10) + "y"
	}
	return configs.FormatDuration(time.Duration(*y))
}
func (y *years) Type() string { return "DURATION" }
func (y *years) Set(s string) error {
	if n, ok := strings.CutSuffix(s, "y"); ok {
		if number, err := strconv.Atoi(n); err == nil && number > 0 && number <= 100 {
			*y = years(time.Duration(number) * 365 * 24 * time.Hour)
			return nil
		}
	}
	d, err := configs.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is not a time that a forecast can have; expected a duration such as 72h, 30d, 2w or 1y", s)
	}
	*y = years(d)
	return nil
}

// outages are written NAME=DURATION.
type outages []forecast.Outage

func (o *outages) String() string { return "" }
func (o *outages) Type() string   { return "NAME=DURATION" }
func (o *outages) Set(s string) error {
	of, long, ok := strings.Cut(s, "=")
	if !ok || of == "" {
		return errors.New("expected the name of an issuer or a host and how long it is away, such as fleet-ca=7d")
	}
	var d years
	if err := d.Set(long); err != nil {
		return err
	}
	*o = append(*o, forecast.Outage{Of: of, For: time.Duration(d)})
	return nil
}

func (c *cli) showForecast(f forecast.Forecast) error {
	if f.Cut != "" {
		c.say("warning: %s", f.Cut)
	}
	if c.format == asICS {
		_, err := c.out.Write(f.Calendar())
		return err
	}
	columns := []string{"time", "kind", "certificate", "host", "issuer", "window", "reason"}
	out := listOf(c, columns, func(e forecast.Event) []any {
		return []any{e.Time, state(e.Kind), e.Certificate, e.Host, e.Issuer, e.Window, e.Reason}
	})
	if c.format.String() != string(asTable) {
		return out.all(f.Events, "nothing happens")
	}
	more := 0
	for _, e := range f.Events {
		switch {
		case !e.Kind.Remarkable():
		case out.n < mostRemarkable:
			if err := out.add(e); err != nil {
				return err
			}
		default:
			more++
		}
	}
	if out.n > 0 {
		fmt.Fprintln(c.out, text.Bold.Sprint("Needs attention"))
		if err := out.end(""); err != nil {
			return err
		}
		if more > 0 {
			fmt.Fprintf(c.out, "and %d more: -o wide has all of them\n", more)
		}
		fmt.Fprintln(c.out)
	}
	return c.spans(f)
}

const (
	mostRemarkable = 30
	byDay          = 60 * forecast.Day // a longer forecast is counted by week
)

// spans counts by day or week; those in which nothing happens are left out.
func (c *cli) spans(f forecast.Forecast) error {
	of, name := forecast.Day, "day"
	if f.Until.Sub(f.From) > byDay {
		of, name = forecast.Week, "week"
	}
	var rows [][]any
	renewals, restarts := 0, 0
	for _, s := range f.Spans(of) {
		renewals, restarts = renewals+s.Renewals, restarts+s.Restarts
		if s.Renewals+s.Restarts+s.Reloads+s.Expires+s.CAExpires+s.CARotates+s.Collisions > 0 {
			rows = append(rows, []any{s.Start.Format(time.DateOnly), s.Renewals, s.Restarts, s.Reloads, s.Collisions, s.Expires, s.CAExpires + s.CARotates})
		}
	}
	if len(rows) == 0 {
		c.say("nothing happens until %s", f.Until.Format(time.DateOnly))
		return nil
	}
	fmt.Fprintln(c.out, text.Bold.Sprintf("%s and %s from %s to %s", count(renewals, "renewal"), count(restarts, "restart"), f.From.Format(time.DateOnly), f.Until.Format(time.DateOnly)))
	return c.table([]string{name, "renewals", "restarts", "reloads", "collisions", "expires", "cas"}, rows)
}
