package engine

import (
	"context"
	"crypto/x509"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"renewer/renewer"
	"renewer/renewer/pki"
)

// sparing counts what is read and written.
type sparing struct {
	Store
	read, written int
}

func (s *sparing) Recorded(names []string) ([]renewer.Recorded, error) {
	s.read += len(names)
	return s.Store.Recorded(names)
}

func (s *sparing) Commit(ctx context.Context, changes ...Change) ([]renewer.Event, error) {
	s.written += len(changes)
	return s.Store.Commit(ctx, changes...)
}

func pair(b *bench) []renewer.Certificate {
	return []renewer.Certificate{b.cert("docker", month, "a", "b"), b.cert("web", month, "c")}
}

func TestAStartWithNothingToDoReadsEachRecordOnceAndWritesNothing(t *testing.T) {
	scene(t, Alone, pair, func(t *testing.T, b *bench) {
		synctest.Wait()
		b.stop()
		var s *sparing
		b.wrap = func(is Store) Store { s = &sparing{Store: is}; return s }
		b.start(Alone)
		synctest.Wait()
		if s.read != 2 || s.written > 0 {
			t.Errorf("%d records were read and %d written", s.read, s.written)
		}
	})
}

// What an entry trusts is compared with the ca files at a start, although
// nothing else is to be done for it.
func TestAStartSeesThatOtherRootsAreToBeTrusted(t *testing.T) {
	certs := func(b *bench) []renewer.Certificate {
		b.newIssuer("new")
		return pair(b)
	}
	scene(t, Alone, certs, func(t *testing.T, b *bench) {
		synctest.Wait()
		b.stop()
		b.fleet.Certificates[1].Trust = []string{"ca", "new"}
		b.start(Alone)
		time.Sleep(time.Minute)
		has, err := pki.DecodeCertificates(b.machine("c").has("web")[renewer.FileCA])
		must(t, err)
		for _, root := range slices.Concat(b.rootsOf("ca"), b.rootsOf("new")) {
			if !slices.ContainsFunc(has, func(c *x509.Certificate) bool { return c.Equal(root) }) {
				t.Errorf("%s is not trusted, only %s", root.Subject, subjects(has))
			}
		}
	})
}
