package daemon

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"renewer/configs"
	"renewer/issuers/keptroots"
	"renewer/issuers/local"
	"renewer/issuers/stepca"
	"renewer/issuers/vault"
	"renewer/renewer"
	"renewer/renewer/engine"
)

// newIssuer makes the issuer of a fleet file. It asks nobody: one that cannot
// be reached keeps no other from working.
func newIssuer(is configs.Issuer) (engine.Issuer, error) {
	switch is.Type {
	case "local":
		return &lazyCA{cfg: localConfig(is), kept: keptroots.File{Issuer: is.Name, Path: is.RootsFile}}, nil
	case "step-ca":
		return stepca.New(stepca.Config{
			Name: is.Name, URL: is.URL, RootFingerprint: is.RootFingerprint, Provisioner: is.Provisioner,
			PasswordFile: is.PasswordFile, X5CCert: is.X5CCert, X5CKey: is.X5CKey, RootsFile: is.RootsFile,
		})
	case "vault":
		return vault.New(vaultConfig(is))
	default:
		return nil, fmt.Errorf("issuer %s: type %s is not supported yet", is.Name, is.Type)
	}
}

// trustFile is a file of roots among the issuers of trust. It is read each time,
// so that what is put into it is rolled out as another root of an issuer is.
type trustFile string

// Sign refuses: a file is no issuer.
func (f trustFile) Sign(context.Context, renewer.Order) (renewer.Chain, error) {
	return renewer.Chain{}, &renewer.Error{Class: renewer.ClassRefused, Err: fmt.Errorf("%s is a file of roots, which signs nothing", f), Hint: "issuer: names an issuer of the fleet file"}
}

func (f trustFile) Roots(context.Context) ([]*x509.Certificate, error) {
	roots, err := configs.ReadRoots(string(f))
	if err != nil {
		return nil, &renewer.Error{Class: renewer.ClassMisconfigured, Err: err}
	}
	return roots, nil
}

func (f trustFile) Health(ctx context.Context) error {
	_, err := f.Roots(ctx)
	return err
}

func localConfig(is configs.Issuer) local.Config {
	return local.Config{Name: is.Name, CertFile: is.CACert, KeyFile: is.CAKey, PassphraseFile: is.PassphraseFile, CRLDir: is.CRLDir}
}

func vaultConfig(is configs.Issuer) vault.Config {
	a := is.Auth
	return vault.Config{
		Name: is.Name, Address: is.Address, Namespace: is.Namespace, CACert: is.CACert, Mount: is.Mount, Role: is.Role, RootsFile: is.RootsFile,
		Auth: vault.Auth{
			Method: a.Method, Mount: a.Mount, RoleIDFile: a.RoleIDFile, SecretIDFile: a.SecretIDFile, Wrapped: a.Wrapped,
			TokenFile: a.TokenFile, Cert: a.Cert, Key: a.Key, Role: a.Role, JWTFile: a.JWTFile,
		},
	}
}

// keeps reports whether the issuer of the fleet file so far can serve the next
// one. That of Vault has to: what it unwrapped is in its memory alone.
func keeps(was *parts, is configs.Issuer) bool {
	if was == nil || is.Type != "vault" {
		return false
	}
	old, ok := was.fleet.Issuer(is.Name)
	old.Rate, is.Rate = 0, 0
	return ok && old == is
}

// lazyCA is a local CA that is opened when it is first needed, and again when
// its files are others than those that were read: one broken issuer keeps no
// other from working, putting its files right needs no restart, and a CA whose
// files are gone is told of while there is time, not after a restart.
type lazyCA struct {
	cfg  local.Config
	kept keptroots.File
	mu   sync.Mutex
	ca   *local.Authority
	read []os.FileInfo // the files of ca as they were read
}

func (l *lazyCA) open() (*local.Authority, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.files()
	if l.ca != nil && slices.EqualFunc(now, l.read, sameFile) {
		return l.ca, nil
	}
	ca, err := local.Open(l.cfg)
	if err != nil {
		return nil, l.lost(err)
	}
	l.ca, l.read = ca, now
	return ca, nil
}

// lost says what to do about a CA that was there before: another one would be
// trusted by nobody.
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
	for _, name := range []string{l.cfg.CertFile, l.cfg.KeyFile, l.cfg.PassphraseFile} {
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

func (l *lazyCA) Revoke(ctx context.Context, r renewer.Revocation) error {
	ca, err := l.open()
	if err != nil {
		return err
	}
	return ca.Revoke(ctx, r)
}

func (l *lazyCA) CRL(ctx context.Context) ([]byte, error) {
	ca, err := l.open()
	if err != nil {
		return nil, err
	}
	return ca.CRL(ctx)
}

// Roots are kept: what they signed is still served when the CA's files are
// gone, and has to be proven.
func (l *lazyCA) Roots(ctx context.Context) ([]*x509.Certificate, error) {
	return l.kept.Roots(ctx, func(ctx context.Context) ([]*x509.Certificate, error) {
		ca, err := l.open()
		if err != nil {
			return nil, err
		}
		return ca.Roots(ctx)
	}, func(error) bool { return true })
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
