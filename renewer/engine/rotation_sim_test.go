package engine

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/pki"
	"renewer/renewer/rotation"
)

// dynasty is an issuer whose local CA is replaced, as the daemon does it: it sees
// every commit, decides, and switches.
type dynasty struct {
	cfg  local.Config
	mu   sync.Mutex
	ca   *local.Authority
	next *local.Authority // nil: none
	down error
	last rotation.Rotation
}

func newDynasty(t testing.TB, dir string, life time.Duration) *dynasty {
	t.Helper()
	d := &dynasty{cfg: local.Config{Name: "ca", CertFile: filepath.Join(dir, "line", "ca.pem"), KeyFile: filepath.Join(dir, "line", "ca-key.pem")}}
	var err error
	if d.ca, err = local.Create(d.cfg, local.CreateOptions{Lifetime: life}); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *dynasty) both() (ca, next *local.Authority, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ca, d.next, d.down
}

func (d *dynasty) Sign(ctx context.Context, o renewer.Order) (renewer.Chain, error) {
	ca, _, err := d.both()
	if err != nil {
		return renewer.Chain{}, err
	}
	return ca.Sign(ctx, o)
}

func (d *dynasty) Roots(context.Context) ([]*x509.Certificate, error) {
	ca, next, _ := d.both()
	roots := []*x509.Certificate{ca.Root()}
	if next != nil {
		roots = append(roots, next.Root())
	}
	return roots, nil
}

func (d *dynasty) Health(context.Context) error { return nil }

func (d *dynasty) SignsUnder() renewer.RootSet {
	ca, _, _ := d.both()
	return renewer.NewRootSet(renewer.RootID(ca.Root().Raw))
}

func (d *dynasty) failWith(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = err
}

// begin makes the next CA.
func (d *dynasty) begin(t testing.TB, life time.Duration, compromised bool) {
	t.Helper()
	next, err := local.CreateNext(d.cfg, local.NextOptions{Lifetime: life})
	if err != nil {
		t.Fatal(err)
	}
	of := func(a *local.Authority) rotation.CA {
		return rotation.CA{Subject: a.Info().Subject, Fingerprint: a.Info().Fingerprint, Root: renewer.RootID(a.Root().Raw), NotAfter: a.Info().NotAfter}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next = next
	d.last = rotation.Rotation{Issuer: "ca", Kind: rotation.Made, Stage: rotation.AddRoot, From: of(d.ca), To: of(next), StartedAt: time.Now(), Compromised: compromised}
}

// step goes as far as it can, and reports whether that changed anything.
func (d *dynasty) step(t testing.TB, e *Engine, longest time.Duration) (changed bool) {
	t.Helper()
	for !d.last.Stage.Over() && d.last.Stage != "" {
		ca, next, _ := d.both()
		look := func() Progress {
			at, err := e.Succession(context.Background(), Succeeding{Issuer: "ca", From: []string{d.last.From.Root}, To: d.last.To.Root, Switched: next == nil})
			if err != nil {
				t.Fatal(err)
			}
			return at
		}
		at := look()
		o := rotation.Observed{Signing: ca.Info().Fingerprint, SwitchBy: ca.Info().NotAfter.Add(-longest), Lacking: holders(at.Lacking), Presenting: holders(at.Presenting), Holding: holders(at.Holding)}
		if next != nil {
			o.Next = next.Info().Fingerprint
		}
		decided := rotation.Decide(d.last, o, time.Now())
		if decided.Switch {
			if err := local.Switch(d.cfg, d.last.To.Fingerprint); err != nil {
				t.Fatal(err)
			}
			d.mu.Lock()
			d.ca, d.next, d.last.SwitchedAt = d.next, nil, time.Now()
			d.mu.Unlock()
			_, next, _ = d.both()
			at = look()
			o.Signing, o.Presenting, o.Holding = d.last.To.Fingerprint, holders(at.Presenting), holders(at.Holding)
			decided = rotation.Decide(d.last, o, time.Now())
		}
		if decided.Stage == d.last.Stage && !decided.Switch {
			return changed
		}
		changed, d.last.Stage = true, decided.Stage
		if err := e.Rotate(context.Background(), map[string]Rotation{"ca": {Without: d.last.Without, Gone: d.last.Gone()}}, "ca"); err != nil {
			t.Fatal(err)
		}
	}
	return changed
}

func holders(list []Blocker) (out []rotation.Holder) {
	for _, h := range list {
		out = append(out, rotation.Holder{Name: h.Name, Certificate: h.Certificate, Host: h.Host, Away: h.Lost})
	}
	return out
}

const (
	caLife   = 3 * 365 * 24 * time.Hour
	leafLife = 60 * 24 * time.Hour
)

func (s *sim) decade(line *dynasty, r *rand.Rand, hosts []string, years int) {
	t, begin, year := s.t, time.Now(), 365*24*time.Hour
	var off string
	change, next := time.Now().Add(24*time.Hour), time.Now().Add(year/2)
	rotated := 0
	for rotated < years || !line.last.Stage.Over() {
		if time.Since(begin) > time.Duration(years+2)*year {
			t.Fatalf("after %s it is at stage %s: %+v", time.Since(begin), line.last.Stage, line.last)
		}
		now := time.Now()
		if !now.Before(change) {
			switch {
			case off == "issuer":
				line.failWith(nil)
			case off != "":
				s.machine(off).set(func(m *machine) { m.down = false })
			}
			was := off
			if off = ""; was != "" {
				change = now.Add(time.Duration(4+r.IntN(20)) * 24 * time.Hour)
			} else if off = append(slices.Clone(hosts), "issuer")[r.IntN(len(hosts)+1)]; off == "issuer" {
				line.failWith(&renewer.Error{Class: renewer.ClassRetry, Err: errors.New("connection refused")})
				change = now.Add(time.Duration(1+r.IntN(72)) * time.Hour)
			} else {
				s.machine(off).set(func(m *machine) { m.down = true })
				change = now.Add(time.Duration(1+r.IntN(9*24)) * time.Hour)
			}
		}
		if !now.Before(next) && (line.last.Stage == "" || line.last.Stage.Over()) && rotated < years {
			line.begin(t, caLife, rotated%3 == 2)
			rotated++
			next = now.Add(year)
			must(t, s.eng.Rotate(context.Background(), nil, "ca"))
		}
		line.step(t, s.eng, leafLife)
		time.Sleep(4 * time.Hour)
		if over := s.expired(); over != nil {
			t.Fatalf("%s after the begin these have expired: %s", time.Since(begin), strings.Join(over, ", "))
		}
		if n := len(s.refused); n > 0 {
			t.Fatalf("%s after the begin (%s is off, %+v): %s", time.Since(begin), off, line.last, strings.Join(s.refused[:min(n, 5)], "\n"))
		}
	}
	s.converse()
	if len(s.refused) > 0 {
		t.Errorf("at the end: %v", s.refused)
	}
	root := s.rootsOf("ca")
	for _, p := range s.placements() {
		has, err := pki.DecodeCertificates(s.machine(p.Host).has(p.Certificate)[renewer.FileCA])
		must(t, err)
		if !slices.EqualFunc(has, root, (*x509.Certificate).Equal) {
			t.Errorf("%s trusts at the end %s, not %s", p.ID(), subjects(has), subjects(root))
		}
	}
	if name := fmt.Sprintf("renewer ca CA %d", years+1); root[0].Subject.CommonName != name {
		t.Errorf("at the end %s signs, not %s", root[0].Subject.CommonName, name)
	}
}

// A host without room for the next root: the rotation waits for it, says why, and goes
// on when there is room.
func TestARotationWaitsForAHostWithoutRoom(t *testing.T) {
	var line *dynasty
	certs := func(b *bench) []renewer.Certificate {
		line = newDynasty(t, b.dir, caLife)
		b.fleet.Issuers["ca"] = line
		return under(shapes[2].certs(b), "ca", "ca")
	}
	scene(t, Alone, certs, func(t *testing.T, b *bench) {
		synctest.Wait()
		s := &sim{bench: b, certs: b.fleet.Certificates}
		for _, h := range []string{"a", "b", "c"} {
			b.machine(h).then(s.converse)
		}
		b.machine("b").set(func(m *machine) { m.fail = failOn("stage", syscall.ENOSPC) })
		line.begin(t, caLife, false)
		must(t, b.eng.Rotate(context.Background(), nil, "ca"))
		for range 6 {
			time.Sleep(10 * time.Minute)
			line.step(t, b.eng, simLife)
		}
		at, err := b.eng.Succession(context.Background(), Succeeding{Issuer: "ca", From: []string{line.last.From.Root}, To: line.last.To.Root})
		must(t, err)
		if line.last.Stage != rotation.AddRoot || len(at.Lacking) != 1 || at.Lacking[0].Name != "c@b" || !strings.Contains(at.Lacking[0].Why, "no space left") {
			t.Errorf("stage %s, %+v", line.last.Stage, at)
		}
		b.machine("b").set(func(m *machine) { m.fail = nil })
		for range 24 * 6 {
			time.Sleep(10 * time.Minute)
			line.step(t, b.eng, simLife)
		}
		if line.last.Stage != rotation.Done || len(s.refused) > 0 {
			t.Errorf("stage %s, refused %q", line.last.Stage, s.refused)
		}
	})
}
