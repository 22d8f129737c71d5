//go:build !race

package engine

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"renewer/renewer"
)

// Every fleet of up to three hosts, with two issuers, and any one outage while
// the CA is replaced: all end with one root, those that are on refuse no one, and
// nothing expires. Under the race detector this takes minutes, so it runs without
// it: make test-norace. The other tests of trust have the same paths.
func TestEveryFleetComesThroughAReplacedCAWithAnyOneOutage(t *testing.T) {
	for _, sh := range shapes {
		for _, move := range []struct{ name, servers, clients, nextServers, nextClients string }{
			{"one CA to another", "ca", "ca", "new", "new"},
			{"two CAs swapped", "ca", "new", "new", "ca"},
		} {
			if move.clients != move.servers && (strings.Contains(sh.name, "both") || strings.Contains(sh.name, "bundle")) {
				continue // has one side only
			}
			for _, grouped := range []bool{false, true} {
				for _, o := range outages(sh.hosts) {
					if o.fault && grouped {
						continue
					}
					t.Run(fmt.Sprintf("%s/%s/peer_group=%t/%s", sh.name, move.name, grouped, o.name), func(t *testing.T) {
						t.Parallel()
						certs := func(b *bench) []renewer.Certificate {
							b.newIssuer("new")
							all := under(sh.certs(b), move.servers, move.clients)
							for i := range all {
								if grouped {
									all[i].PeerGroup = "g"
								}
							}
							return all
						}
						scene(t, Alone, certs, func(t *testing.T, b *bench) {
							synctest.Wait()
							s := &sim{bench: b, certs: b.fleet.Certificates}
							for _, h := range []string{"a", "b", "c"} {
								b.machine(h).then(s.converse)
							}
							s.run(o, sh.rests, move.nextServers, move.nextClients)
							if n := len(s.refused); n > 0 {
								t.Errorf("%d refusals, the first ones:\n%s", n, strings.Join(s.refused[:min(n, 5)], "\n"))
							}
						})
					})
				}
			}
		}
	}
}

// Ten years with a rotation each year, every third one because the key is compromised,
// and outages at random: hosts that are off for days, an issuer that does not sign.
// No one is refused, nothing expires, and at the end one root is left.
func TestTenYearsOfRotationsAndOutages(t *testing.T) {
	for seed, sh := range []shape{shapes[5], shapes[0], shapes[3]} {
		t.Run(sh.name, func(t *testing.T) {
			t.Parallel()
			var line *dynasty
			certs := func(b *bench) []renewer.Certificate {
				line = newDynasty(t, b.dir, caLife)
				b.fleet.Issuers["ca"] = line
				all := sh.certs(b)
				for i := range all {
					all[i].Trust, all[i].Lifetime, all[i].OverrideBefore = []string{"ca"}, leafLife, 5*24*time.Hour
				}
				return all
			}
			scene(t, Alone, certs, func(t *testing.T, b *bench) {
				synctest.Wait()
				s := &sim{bench: b, certs: b.fleet.Certificates}
				hosts := strings.Fields(sh.hosts)
				for _, h := range hosts {
					b.machine(h).then(s.converse)
				}
				years := 10
				if seed > 0 || testing.Short() { // a decade costs six seconds of CPU
					years = 3
				}
				s.decade(line, rand.New(rand.NewPCG(uint64(seed), 1)), hosts, years)
			})
		})
	}
}
