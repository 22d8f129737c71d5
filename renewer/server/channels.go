package server

import (
	"time"

	"renewer/renewer"
)

// channels writes what is known of the ways to notify people. It comes from
// what each of them keeps beside the log: a counter starts again with the
// daemon, and a channel that failed before must not look well then.
func (e *exposition) channels(all []renewer.ChannelStatus) {
	each := func(at func(c renewer.ChannelStatus) time.Time) {
		for _, c := range all {
			seconds := 0.0
			if t := at(c); !t.IsZero() {
				seconds = float64(t.Unix())
			}
			e.number(labelsOf(label{"channel", c.Name}), seconds)
		}
	}
	e.gauge("renewer_channel_last_success_timestamp_seconds", "When the channel last took a message, tests aside; 0 for never.")
	each(func(c renewer.ChannelStatus) time.Time { return c.LastSuccess })
	e.gauge("renewer_channel_failing_since_timestamp_seconds", "The first try that failed since the channel last took a message; 0 if it does not fail.")
	each(func(c renewer.ChannelStatus) time.Time { return c.FailingSince })
	e.gauge("renewer_channel_waiting_since_timestamp_seconds", "The oldest news that the channel has not taken; 0 for none.")
	each(func(c renewer.ChannelStatus) time.Time { return c.WaitingSince })
}
