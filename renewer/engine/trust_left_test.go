package engine

import (
	"context"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"renewer/renewer"
	"renewer/renewer/pki"
)

// Entries and hosts of entries leave the fleet file and return, while issuers are
// changed, in every shape of a fleet: no one refuses anybody, what returns is what it
// was, and it ends with the roots that are wanted alone.
func TestWhatLeavesTheFleetFileAndReturnsRefusesNoOne(t *testing.T) {
	for _, sh := range shapes {
		for seed := range 2 {
			t.Run(fmt.Sprintf("%s/%d", sh.name, seed), func(t *testing.T) {
				t.Parallel()
				certs := func(b *bench) []renewer.Certificate {
					b.newIssuer("new")
					return under(sh.certs(b), "ca", "ca")
				}
				scene(t, Alone, certs, func(t *testing.T, b *bench) {
					synctest.Wait()
					s := &sim{bench: b, certs: b.fleet.Certificates}
					for _, h := range []string{"a", "b", "c"} {
						b.machine(h).then(s.converse)
					}
					s.comeAndGo(rand.New(rand.NewPCG(uint64(seed), 2)), sh.rests)
					if n := s.firsts(); n > len(s.certs) {
						t.Errorf("%d of %d certificates were never issued before", n, len(s.certs))
					}
					if n := len(s.refused); n > 0 {
						t.Errorf("%d refusals, the first ones:\n%s", n, strings.Join(s.refused[:min(n, 5)], "\n"))
					}
				})
			})
		}
	}
}

// comeAndGo takes parts of the fleet out of the file and puts them back.
func (s *sim) comeAndGo(r *rand.Rand, rests time.Duration) {
	t, issuer := s.t, "ca"
	set := func(certs []renewer.Certificate) {
		s.fleet.Certificates = certs
		must(t, s.eng.SetFleet(context.Background(), s.fleet, Alone))
	}
	for range 4 {
		time.Sleep(time.Duration(r.IntN(120)) * time.Minute)
		set(without(r, under(s.certs, issuer, issuer)))
		time.Sleep(time.Duration(r.IntN(60)) * time.Minute)
		if r.IntN(4) > 0 { // the others change meanwhile
			issuer = map[string]string{"ca": "new", "new": "ca"}[issuer]
			set(under(s.fleet.Certificates, issuer, issuer))
			time.Sleep(time.Duration(r.IntN(180)) * time.Minute)
		}
		if r.IntN(3) == 0 {
			s.stop()
			s.fleet.Certificates = under(s.certs, issuer, issuer)
			s.start(Alone)
		} else {
			set(under(s.certs, issuer, issuer))
		}
		time.Sleep(rests)
		s.converse()
		if over := s.expired(); over != nil {
			t.Fatalf("these have expired: %s", strings.Join(over, ", "))
		}
		for _, c := range s.fleet.Certificates {
			if rec, _, err := s.store.Record(c.Name); err != nil || len(rec.Departed) > 0 {
				t.Errorf("it came back, and the record says %+v, %v", rec, err)
			}
			for _, p := range c.Placements {
				has, err := pki.DecodeCertificates(s.machine(p.Host).has(c.Name)[renewer.FileCA])
				must(t, err)
				if want := s.rootsOf(issuer); !slices.EqualFunc(has, want, (*x509.Certificate).Equal) {
					t.Errorf("%s trusts at the end %s", p.ID(), subjects(has))
				}
			}
		}
	}
}

// firsts counts the certificates that were issued for the first time.
func (s *sim) firsts() (n int) {
	for _, e := range s.events(renewer.EventRolloutPlanned) {
		if strings.Contains(e.Message, "never issued") {
			n++
		}
	}
	return n
}

// without is a fleet without some entry, or without some host of one.
func without(r *rand.Rand, certs []renewer.Certificate) []renewer.Certificate {
	i := r.IntN(len(certs))
	if c := &certs[i]; len(c.Placements) > 1 && r.IntN(2) == 0 {
		at := r.IntN(len(c.Placements))
		c.Placements = slices.Delete(slices.Clone(c.Placements), at, at+1)
		return certs
	}
	return slices.Delete(certs, i, i+1)
}
