package daemon

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"renewer/issuers/keptroots"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/pki"
)

// lazyCA is a local CA that is opened on first use and reopened when its files
// change. A broken issuer does not stop the others, repaired files need no restart,
// and missing files are reported at once rather than after a restart. A Switch of
// its CA is picked up in the same way.
type lazyCA struct {
	cfg     local.Config
	kept    keptroots.File
	trusted func() []string // CAs before, whose roots are trusted still
	mu      sync.Mutex
	ca      *local.Authority
	next    *x509.Certificate // root of the next CA; nil: none
	read    []os.FileInfo     // the files of ca as they were read

	successor *local.Authority // the next CA, once somebody asked; opening costs much where its key is encrypted
	opened    []os.FileInfo    // the files of that

	judges map[*local.Authority]func(renewer.Request) error // of both
}

func (l *lazyCA) open() (*local.Authority, error) {
	ca, _, err := l.both()
	return ca, err
}

// both returns the CA and the root of the next one, as of one reading.
func (l *lazyCA) both() (*local.Authority, *x509.Certificate, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.files()
	if l.ca != nil && slices.EqualFunc(now, l.read, sameFile) {
		return l.ca, l.next, nil
	}
	ca, err := local.Open(l.cfg)
	if err != nil {
		return nil, nil, l.lost(err)
	}
	_, next, err := local.NextRoot(l.cfg)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	l.ca, l.next, l.read = ca, next, now
	return ca, next, nil
}

// openNext opens the next CA; fs.ErrNotExist where there is none.
func (l *lazyCA) openNext() (*local.Authority, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.files()
	if l.successor != nil && slices.EqualFunc(now, l.opened, sameFile) {
		return l.successor, nil
	}
	next, err := local.OpenNext(l.cfg)
	if err != nil {
		return nil, err
	}
	l.successor, l.opened = next, now
	return next, nil
}

// judge says what the CA would sign, judgeNext what the next one would.
func (l *lazyCA) judge() (func(renewer.Request) error, error) { return l.judged(l.open()) }

func (l *lazyCA) judgeNext() (func(renewer.Request) error, error) { return l.judged(l.openNext()) }

func (l *lazyCA) judged(ca *local.Authority, err error) (func(renewer.Request) error, error) {
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.judges[ca]; f != nil {
		return f, nil
	}
	maps.DeleteFunc(l.judges, func(has *local.Authority, _ func(renewer.Request) error) bool {
		return has != l.ca && has != l.successor
	})
	f, err := ca.Judge()
	if l.judges == nil {
		l.judges = map[*local.Authority]func(renewer.Request) error{}
	}
	l.judges[ca] = f
	return f, err
}

// lost says what to do about a CA that was there before: another one would be
// trusted nowhere.
func (l *lazyCA) lost(err error) error {
	var gone []string
	for _, name := range []string{l.cfg.CertFile, l.cfg.KeyFile} {
		if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
			gone = append(gone, name)
		}
	}
	if len(gone) == 0 || l.kept.Kept() == nil {
		return err
	}
	return &renewer.Error{
		Class: renewer.ClassOf(err),
		Err:   fmt.Errorf("%w; it was there before: what it signed is still looked at, with the root that was kept, and nothing is signed until it is back", err),
		Hint: fmt.Sprintf("put %s back, from where it was moved to or from your own backup (renewer backup has no keys); if it is lost, renewer ca init %s makes a new CA, whose root every host and client then needs",
			strings.Join(gone, " and "), l.cfg.Name),
	}
}

// files looks at what a CA is made of; nil stands for what is not there.
func (l *lazyCA) files() []os.FileInfo {
	var out []os.FileInfo
	for _, name := range l.cfg.Files() {
		info, _ := os.Stat(name) // opening says what is wrong
		out = append(out, info)
	}
	return out
}

func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

func (l *lazyCA) Sign(ctx context.Context, o renewer.Order) (renewer.Chain, error) {
	ca, err := l.open()
	if err != nil {
		return renewer.Chain{}, err
	}
	return ca.Sign(ctx, o)
}

// Revoke asks the CA that signed: it may be one that was replaced.
func (l *lazyCA) Revoke(ctx context.Context, r renewer.Revocation) error {
	ca, err := l.open()
	if err != nil {
		return err
	}
	if r.Chain.Leaf == nil || ca.Signed(r.Chain.Leaf) {
		return ca.Revoke(ctx, r)
	}
	before, err := local.OldCAs(l.cfg)
	for _, old := range before {
		if r.Chain.Leaf.CheckSignatureFrom(old.Cert) != nil {
			continue
		}
		if !old.Key {
			return &renewer.Error{Class: renewer.ClassRefused, Err: fmt.Errorf("issuer %s: the key of the CA that signed %s, %s, was destroyed: its CRL cannot be extended", l.cfg.Name, r.Certificate, old.Cert.Subject)}
		}
		was, err := local.OpenOld(l.cfg, renewer.Fingerprint(old.Cert.Raw))
		if err != nil {
			return err
		}
		return was.Revoke(ctx, r)
	}
	return errors.Join(ca.Revoke(ctx, r), err) // it says why not
}

func (l *lazyCA) CRL(ctx context.Context) ([]byte, error) {
	ca, err := l.open()
	if err != nil {
		return nil, err
	}
	return ca.CRL(ctx)
}

// Roots are kept: what they signed is still served when the CA's files are
// gone, and has to be proven. The next root comes with them, and those before
// that are trusted still. A next root that verifies what this one does takes its place:
// of two by one name OpenSSL looks at the first alone, and strict peers may refuse that.
func (l *lazyCA) Roots(ctx context.Context) ([]*x509.Certificate, error) {
	return l.kept.Roots(ctx, func(ctx context.Context) ([]*x509.Certificate, error) {
		ca, next, err := l.both()
		if err != nil {
			return nil, err
		}
		roots, err := ca.Roots(ctx)
		if err != nil {
			return nil, err
		}
		if next != nil && !slices.ContainsFunc(roots, next.Equal) {
			roots = append(slices.DeleteFunc(roots, func(root *x509.Certificate) bool { return pki.Twins(root, next) }), next)
		}
		var trusted []string
		if l.trusted != nil {
			trusted = l.trusted()
		}
		if len(trusted) == 0 {
			return roots, nil
		}
		before, err := local.OldCAs(l.cfg)
		for _, old := range before {
			if slices.Contains(trusted, renewer.Fingerprint(old.Cert.Raw)) && !slices.ContainsFunc(roots, old.Root.Equal) {
				roots = append(roots, old.Root)
			}
		}
		return roots, err
	}, func(error) bool { return true })
}

// SignsUnder implements engine.Succession.
func (l *lazyCA) SignsUnder() renewer.RootSet {
	ca, next, err := l.both()
	if err != nil {
		return nil // Roots said why
	}
	under := renewer.NewRootSet(renewer.RootID(ca.Root().Raw))
	if next != nil && pki.Twins(ca.Root(), next) {
		under = under.With(renewer.NewRootSet(renewer.RootID(next.Raw)))
	}
	return under
}

// Intermediates implements engine.Intermediate.
func (l *lazyCA) Intermediates() []*x509.Certificate {
	ca, err := l.open()
	if err != nil {
		return nil // Health says why
	}
	return ca.Intermediates()
}

func (l *lazyCA) Health(ctx context.Context) error {
	ca, err := l.open()
	if err != nil {
		return err
	}
	return ca.Health(ctx)
}
