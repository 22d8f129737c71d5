//go:build !race

package daemon

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"renewer/renewer"
)

// Under the race detector these take many minutes, so they run without it: make
// test-norace. What it can find is found by the tests of single scenarios.

// A CA is replaced while a client connects all the time with its current files and
// the service has the files of its last load: no connection is refused, and after at
// most six passes the new root is the only one.
func TestReplacingACARefusesNoPeer(t *testing.T) {
	for _, s := range slices.Concat(scenarios, remoteScenarios, elsewhereScenarios) {
		for _, grouped := range []bool{false, true} {
			if grouped && s.alone {
				continue
			}
			t.Run(fmt.Sprintf("%s/peer_group=%t", s.name, grouped), func(t *testing.T) {
				t.Parallel()
				s.play(newWorld(t, s.entries, grouped))
			})
		}
	}
}

// A CA is replaced, and renewer is killed at every stage: no peer is refused, and
// the result is the same as without a kill.
func TestACAIsReplacedWithAKillAtEveryStage(t *testing.T) {
	sample := []string{
		"another issuer, whose entry takes the place of the old one's",
		"other files in the place of the CA's",
		"two issuers swapped at once",
		"a trust bundle for clients without a certificate",
		"services that are each other's clients",
		"a rollback of the service after the change",
		"adopted, then another issuer",
		"step-ca, a root that is not federated",
		"Vault, a second issuer in the mount, which then becomes the default",
		"a file of roots loses the one that the client is under, which then moves",
	}
	for n, name := range sample {
		for _, s := range slices.Concat(scenarios, remoteScenarios, elsewhereScenarios) {
			if s.name != name {
				continue
			}
			for _, grouped := range []bool{false, true} {
				if grouped && s.alone {
					continue
				}
				before := grouped != (n%2 == 0)
				t.Run(fmt.Sprintf("%s/peer_group=%t,before=%t", name, grouped, before), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t, s.entries, grouped)
					w.settle = w.killed(before)
					s.play(w)
					if keys := w.ls("state", "keys"); len(keys) > 0 {
						t.Errorf("keys left behind: %s", strings.Join(keys, ", "))
					}
				})
			}
		}
	}
}

// A CA is rotated while a client connects all the time and at every commit: in each
// way, with and without a peer group, no peer is refused.
func TestRotationRefusesNoPeer(t *testing.T) {
	for _, s := range rotationScenarios {
		for _, grouped := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/peer_group=%t", s.name, grouped), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, s.entries, grouped)
				s.play(w)
				if strings.HasPrefix(s.name, "taken back") {
					w.at("cancelled")
				} else {
					w.at("done")
				}
			})
		}
	}
}

// kill -9 at every commit of a rotation.
func TestARotationWithAKillAtEveryStage(t *testing.T) {
	for n, c := range []struct {
		name    string
		request renewer.RotateRequest
		entries string
	}{
		{"rotated", renewer.RotateRequest{}, mutualTLS},
		{"compromised", renewer.RotateRequest{Compromised: true}, mutualTLS},
		{"reissued", renewer.RotateRequest{Kind: "reissue"}, mutualTLS},
		{"services that are each other's clients", renewer.RotateRequest{}, bothInOne},
	} {
		for _, grouped := range []bool{false, true} {
			before := grouped != (n%2 == 0)
			t.Run(fmt.Sprintf("%s/peer_group=%t,before=%t", c.name, grouped, before), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, c.entries, grouped)
				w.settle = w.killed(before)
				s := scenario{start: everyone("a"), steps: then(rotate(c.request)), svc: "b", cli: "b"}
				s.play(w)
				w.at("done")
			})
		}
	}
}
