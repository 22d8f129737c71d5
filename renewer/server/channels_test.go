package server

import (
	"testing"
	"time"

	"renewer/renewer"
)

// What is known of a channel is there from the first scrape of a process on.
func TestChannelsAreGauges(t *testing.T) {
	t.Parallel()
	m := NewMetrics("1", &fakeState{told: []renewer.ChannelStatus{
		{Name: "new"},
		{Name: "failing", LastSuccess: start, FailingSince: start.Add(time.Minute), WaitingSince: start.Add(30 * time.Second)},
	}})
	got := families(t, m)
	for name, want := range map[string][2]time.Duration{
		"renewer_channel_last_success_timestamp_seconds":  {-1, 0},
		"renewer_channel_failing_since_timestamp_seconds": {-1, time.Minute},
		"renewer_channel_waiting_since_timestamp_seconds": {-1, 30 * time.Second},
	} {
		series := got[name].GetMetric()
		if len(series) != 2 {
			t.Fatalf("%s: %d series", name, len(series))
		}
		for i, s := range series {
			value := 0.0
			if want[i] >= 0 {
				value = float64(start.Add(want[i]).Unix())
			}
			if s.GetGauge().GetValue() != value || s.GetLabel()[0].GetName() != "channel" || len(s.GetLabel()) != 1 {
				t.Errorf("%s: %v, want %v", name, s, value)
			}
		}
	}
}
