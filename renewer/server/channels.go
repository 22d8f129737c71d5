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
	e.gauge("renewer_channel_last_success_timestamp_seconds", "Time of the last message that the channel delivered, test messages excluded; 0 for never.")
	each(func(c renewer.ChannelStatus) time.Time { return c.LastSuccess })
	e.gauge("renewer_channel_failing_since_timestamp_seconds", "First failed attempt since the channel last delivered a message; 0 if it is not failing.")
	each(func(c renewer.ChannelStatus) time.Time { return c.FailingSince })
	e.gauge("renewer_channel_waiting_since_timestamp_seconds", "Oldest event that waits for delivery to the channel; 0 for none.")
	each(func(c renewer.ChannelStatus) time.Time { return c.WaitingSince })
}
