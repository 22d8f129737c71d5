package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"renewer/inventory"
	"renewer/renewer"
)

// followEvery is how often a follower asks for new events.
const followEvery = time.Second

func newHistory(c *cli) *cobra.Command {
	var filter renewer.EventFilter
	var since duration
	var follow bool
	cmd := &cobra.Command{
		Use:   "history [NAME]",
		Short: "Show the audit log",
		Long: `Shows the audit log, oldest first. With --follow it prints new events as they
happen; JSON is then one object a line.`,
		Example: `  renewer history docker@host-b --since 24h
  renewer history --follow`,
		ValidArgsFunction: c.certificates(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				filter.Certificate = args[0]
			}
			if since != 0 {
				filter.Since = time.Now().Add(-time.Duration(since))
			}
			if follow {
				return c.follow(cmd.Context(), filter)
			}
			return c.read(cmd.Context(), func(s reader) error {
				events, err := s.Events(cmd.Context(), filter)
				if err != nil {
					return err
				}
				return c.eventList().all(events, "no events")
			})
		},
	}
	cmd.Flags().Var(&since, "since", "only events within that time, such as 24h")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "print new events as they happen")
	return cmd
}

// colourOfEvent is for --follow on a terminal.
var colourOfEvent = map[renewer.EventType]text.Color{
	renewer.EventVerified: text.FgGreen, renewer.EventRolloutDone: text.FgGreen, renewer.EventRecovered: text.FgGreen,
	renewer.EventExpiring: text.FgYellow, renewer.EventIssueWarning: text.FgYellow, renewer.EventUnreachable: text.FgYellow,
	renewer.EventRenewalFailed: text.FgRed, renewer.EventStageFailed: text.FgRed, renewer.EventActivateFailed: text.FgRed,
	renewer.EventProbeFailed: text.FgRed, renewer.EventRestoreFailed: text.FgRed, renewer.EventRolledBack: text.FgRed,
	renewer.EventRolloutBlocked: text.FgRed, renewer.EventDrifted: text.FgRed, renewer.EventExpired: text.FgRed,
}

func (c *cli) eventList() *list[renewer.Event] {
	return listOf(c, []string{"time", "type", "certificate", "host", "generation", "rollout", "message", "error"}, func(e renewer.Event) []any {
		return []any{plain(e.Time), string(e.Type), e.Certificate, e.Host, number(e.Generation), e.Rollout, e.Message, e.Error}
	})
}

// number leaves out what does not apply.
func number(n int) any {
	if n == 0 {
		return ""
	}
	return n
}

// follow asks again and again, each time afresh: a daemon may come or go, and
// without one nothing is locked in between.
func (c *cli) follow(ctx context.Context, filter renewer.EventFilter) error {
	out := c.eventList()
	out.lines = true
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		var events []renewer.Event
		err := c.read(ctx, func(s reader) (err error) {
			events, err = s.Events(ctx, filter)
			return err
		})
		var locked *inventory.LockedError
		if err != nil && ctx.Err() == nil && !errors.As(err, &locked) { // another process works on it just now
			return err
		}
		for _, e := range events {
			filter.After = max(filter.After, e.Seq)
			if c.format.table() {
				fmt.Fprintf(c.out, "%s %s\n", e.Time.UTC().Format(time.RFC3339), coloured(strings.Map(harmless, eventLine(e)), colourOfEvent[e.Type]))
				continue
			}
			if err := out.add(e); err != nil {
				return err
			}
		}
		if err := out.flush(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
