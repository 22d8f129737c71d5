package page

import (
	"testing"

	"renewer/renewer"
)

// A rollout that waits for its window explains nothing of what a host serves
// meanwhile; one that has touched the host does.
func TestWhatARolloutExplains(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		status renewer.Status
		host   renewer.HostRow
		want   bool
	}{
		{"as it should be", renewer.StatusRenewing, renewer.HostRow{State: renewer.HostStaged, Served: "9f", Matches: true}, false},
		{"never looked at", renewer.StatusRenewing, renewer.HostRow{State: renewer.HostStaged}, false},
		{"replaced, and the repair waits", renewer.StatusRenewing, renewer.HostRow{State: renewer.HostStaged, Served: "9f"}, true},
		{"between two generations", renewer.StatusRenewing, renewer.HostRow{State: renewer.HostActivated, Served: "9f"}, false},
		{"replaced, and nothing under way", renewer.StatusValid, renewer.HostRow{State: renewer.HostDrifted, Served: "9f"}, true},
	} {
		if got := (renewer.Row{Status: c.status}).Wrong(c.host); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
