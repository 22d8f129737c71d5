package server

import "time"

// channels writes what is known of the ways to notify people. It comes from
// what each of them keeps beside the log: a counter starts again with the
// daemon, and a channel that failed before must not look well then.
func (s stateGauges) channels(declare func(name, help string, labels ...string) *gauge) {
	success := declare("renewer_channel_last_success_timestamp_seconds", "When the channel last took a message, tests aside; 0 for never.", "channel")
	failing := declare("renewer_channel_failing_since_timestamp_seconds", "The first try that failed since the channel last took a message; 0 if it does not fail.", "channel")
	waiting := declare("renewer_channel_waiting_since_timestamp_seconds", "The oldest news that the channel has not taken; 0 for none.", "channel")
	at := func(t time.Time) float64 {
		if t.IsZero() {
			return 0
		}
		return float64(t.Unix())
	}
	for _, c := range s.state.Channels() {
		success.number(at(c.LastSuccess), c.Name)
		failing.number(at(c.FailingSince), c.Name)
		waiting.number(at(c.WaitingSince), c.Name)
	}
}
