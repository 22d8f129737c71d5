// Package testdocker says how containers are activated: one suite for the
// Docker daemon of a real host and for an in-process stand-in of its API that
// answers as dockerd 20.10 does.
package testdocker

import (
	"context"
	"strings"
	"testing"
	"time"

	"renewer/renewer"
)

// A container of the suite is named after what becomes of it.
const (
	Steady   = "steady"   // runs on, whatever happens
	Healthy  = "healthy"  // has a healthcheck that passes
	Ill      = "ill"      // has a healthcheck that passes until it is restarted, then prints "no certificate"
	Quits    = "quits"    // when it is restarted: prints "cannot load the key" and exits with code 3
	Stopped  = "stopped"  // does not run
	Paused   = "paused"   // runs, and is paused
	Reloads  = "reloads"  // takes HUP for a reload
	DiesOfIt = "diesofit" // prints "hangup" and exits with code 129 on HUP
	Missing  = "missing"  // is not there
)

// Script is the shell line that such a container runs.
var Script = map[string]string{
	Steady:   "exec sleep 1000",
	Healthy:  "exec sleep 1000",
	Stopped:  "exec sleep 1000",
	Paused:   "exec sleep 1000",
	Ill:      "[ -e /again ] && touch /ill; touch /again; exec sleep 1000",
	Quits:    "[ -e /again ] && { echo cannot load the key >&2; exit 3; }; touch /again; exec sleep 1000",
	Reloads:  "trap 'echo reloaded' HUP; while :; do sleep 0.1; done",
	DiesOfIt: "trap 'echo hangup; exit 129' HUP; while :; do sleep 0.1; done",
}

// Check is the shell line of its healthcheck; empty for none.
var Check = map[string]string{
	Healthy: "true",
	Ill:     "[ -e /ill ] && { echo no certificate; exit 1; }; true",
}

// Docker is a daemon with the containers of the suite.
type Docker interface {
	// Started is when a container was last started; another value each time.
	Started(name string) string
	// Activate activates as a host does.
	Running(ctx context.Context, a renewer.Activation) (string, error)
	Activate(ctx context.Context, a renewer.Activation) (renewer.Activated, error)
}

// Suite is what holds of an activation of containers.
func Suite(t *testing.T, d Docker) {
	for _, c := range []struct {
		container, action string
		timeout           time.Duration
		bring             bool
		notRunning        string   // what is said of one that was left alone
		says              []string // by the error
		again             bool     // it was started again
	}{
		{container: Steady, action: "restart", again: true},
		{container: Healthy, action: "restart", again: true},
		{container: Stopped, action: "restart", notRunning: "container stopped (exited with code 137)"},
		{container: Stopped, action: "kill", notRunning: "container stopped (exited with code 137)"},
		{container: Paused, action: "restart", notRunning: "container paused (paused)"},
		{container: Missing, action: "restart", says: []string{"no such container: missing"}},
		{container: Quits, action: "restart", says: []string{"container quits is not running any more: exited with code 3", "it says: cannot load the key"}, again: true},
		{container: Ill, action: "restart", says: []string{"container ill is unhealthy", "the healthcheck failed with exit code 1: no certificate"}, again: true},
		{container: Reloads, action: "kill"},
		{container: DiesOfIt, action: "kill", says: []string{"container diesofit is not running any more: exited with code 129", "it says: hangup"}},
		{container: Stopped, action: "restart", bring: true, again: true},
	} {
		name := c.container + " " + c.action
		if c.bring {
			name += " brought up"
		}
		t.Run(name, func(t *testing.T) {
			before := ""
			if c.container != Missing {
				before = d.Started(c.container)
			}
			a := renewer.Activation{Kind: renewer.ActivateDocker, Container: c.container, Action: c.action, Timeout: 20 * time.Second, Bring: c.bring}
			if c.action == "kill" {
				a.Signal = "HUP"
			}
			if stopped, err := d.Running(t.Context(), a); c.container != Missing && !c.bring && (err != nil || stopped != c.notRunning || d.Started(c.container) != before) {
				t.Errorf("asked what does not run: %q (%v), want %q", stopped, err, c.notRunning)
			}
			did, err := d.Activate(t.Context(), a)
			if did.NotRunning != c.notRunning {
				t.Errorf("not running: %q, want %q", did.NotRunning, c.notRunning)
			}
			if (err == nil) != (c.says == nil) {
				t.Fatalf("error %v, want one with %q", err, c.says)
			}
			for _, part := range c.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
			if err != nil && renewer.Hint(err) == "" {
				t.Errorf("error %q has no hint", err)
			}
			if c.container != Missing && (d.Started(c.container) != before) != c.again {
				t.Errorf("started again: %t, want %t", !c.again, c.again)
			}
		})
	}
}
