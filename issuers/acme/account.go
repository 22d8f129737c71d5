package acme

import (
	"cmp"
	"context"
	"crypto"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/mholt/acmez/v3/acme"

	"renewer/internal/atomicfile"
	"renewer/renewer"
	"renewer/renewer/pki"
)

// loggedIn returns the session, making it and the account where there is none.
func (i *Issuer) loggedIn(ctx context.Context) (*session, error) {
	select {
	case i.login <- struct{}{}:
		defer func() { <-i.login }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s := i.session.Load(); s != nil {
		return s, nil
	}
	s, err := i.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := i.register(ctx, s); err != nil {
		return nil, err
	}
	i.session.Store(s)
	return s, nil
}

// register takes the account that there is, or makes one. The key is on disk before the
// server learns of it, so that no account is made whose key is lost.
func (i *Issuer) register(ctx context.Context, s *session) error {
	key, url, err := i.accountKey()
	if err != nil {
		return err
	}
	s.account = acme.Account{PrivateKey: key, Location: url, Status: acme.StatusValid}
	if url != "" {
		return nil
	}
	asked := acme.Account{PrivateKey: key, TermsOfServiceAgreed: true}
	if i.cfg.Email != "" {
		asked.Contact = []string{"mailto:" + i.cfg.Email}
	}
	var bound acme.EAB
	if i.cfg.EABKeyID != "" {
		if bound, err = i.externalAccount(); err != nil {
			return err
		}
		if err := asked.SetExternalAccountBinding(ctx, s.client, bound); err != nil {
			return misconfigured(eabHint, "eab: %w", err)
		}
	}
	made, err := s.client.NewAccount(ctx, asked)
	if err != nil {
		return i.noAccount(err)
	}
	if made.Status != "" && made.Status != acme.StatusValid {
		return i.deactivated(made.Status)
	}
	s.account.Location = made.Location
	return i.with(func(a *account) (bool, error) {
		a.URL, a.Bind, a.CAs = made.Location, bound.KeyID, nil
		if s.dir.Meta != nil {
			a.CAs = s.dir.Meta.CAAIdentities
		}
		return true, nil
	})
}

// accountKey opens the key of the account, and makes and saves one where there is none.
func (i *Issuer) accountKey() (key crypto.Signer, url string, err error) {
	err = i.with(func(a *account) (bool, error) {
		if a.Key != nil {
			text, err := i.cfg.Seal.Open(a.Key)
			if err == nil {
				key, err = pki.DecodeKey(text)
			}
			if err != nil {
				return false, misconfigured("add the former identity to the identity file of seal:, or run rm "+i.cfg.StateFile+": the next order creates a new account", "open the key of the ACME account: %w", err)
			}
			url = a.URL
			return false, nil
		}
		if key, err = pki.NewKey(renewer.ECDSAP256); err != nil {
			return false, err
		}
		text, err := pki.EncodeKey(key)
		if err != nil {
			return false, err
		}
		if a.Key, err = i.cfg.Seal.Seal(text); err != nil {
			return false, err
		}
		return true, nil
	})
	return key, url, err
}

// externalAccount reads what binds the account to one that the CA knows.
func (i *Issuer) externalAccount() (eab acme.EAB, err error) {
	read := func(what, file string) (string, error) {
		text, err := atomicfile.ReadSecret(file, 64<<10)
		if err != nil {
			return "", misconfigured(cmp.Or(renewer.Hint(err), eabHint), "read eab.%s: %w", what, err)
		}
		if strings.TrimSpace(string(text)) == "" {
			return "", misconfigured(eabHint, "eab.%s: %s is empty", what, file)
		}
		return strings.TrimSpace(string(text)), nil
	}
	if eab.KeyID, err = read("kid_file", i.cfg.EABKeyID); err != nil {
		return eab, err
	}
	if eab.MACKey, err = read("hmac_file", i.cfg.EABHMAC); err != nil {
		return eab, err
	}
	eab.MACKey = strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(eab.MACKey), "=") // however it was written down
	if _, err := base64.RawURLEncoding.DecodeString(eab.MACKey); err != nil {
		return eab, misconfigured(eabHint, "eab.hmac_file: %s does not contain a base64url key", i.cfg.EABHMAC)
	}
	return eab, nil
}

// canRegister finds without asking for an account what would keep one from being made.
func (i *Issuer) canRegister(d acme.Directory) error {
	if i.cfg.EABKeyID != "" {
		_, err := i.externalAccount()
		return err
	}
	if d.Meta != nil && d.Meta.ExternalAccountRequired {
		return misconfigured(eabHint, "the ACME server requires an external account (externalAccountRequired), but eab is not set")
	}
	return nil
}

// verified makes a session with an account that the server knows. Without a state
// directory none is made, and only what would keep it from being made is looked for.
func (i *Issuer) verified(ctx context.Context) error {
	if !i.hasState() {
		s, err := i.connect(ctx)
		if err != nil {
			return err
		}
		defer s.close()
		if err := i.hasProfile(s.dir); err != nil {
			return err
		}
		return i.canRegister(s.dir)
	}
	s, err := i.loggedIn(ctx)
	if err != nil {
		return err
	}
	return i.verify(ctx, s)
}

// verify looks whether the server still knows the account, and has the profile.
func (i *Issuer) verify(ctx context.Context, s *session) error {
	if p := i.cfg.Profile; p != "" {
		if err := i.hasProfile(s.dir); err != nil {
			return err
		}
	}
	got, err := s.client.GetAccount(ctx, acme.Account{PrivateKey: s.account.PrivateKey})
	if problemOf(err) == acme.ProblemTypeAccountDoesNotExist {
		return i.again(ctx, s)
	}
	if err != nil {
		return i.noAccount(err)
	}
	if got.Status != "" && got.Status != acme.StatusValid {
		return i.deactivated(got.Status)
	}
	return nil
}

// again makes the account again, with its key: the server lost it.
func (i *Issuer) again(ctx context.Context, s *session) error {
	if err := i.with(func(a *account) (bool, error) { a.URL, a.Orders = "", nil; return true, nil }); err != nil {
		return err
	}
	return i.register(ctx, s)
}

// asAccount calls f with a session. Where the server does not know the account any
// more, it is rebuilt, once.
func (i *Issuer) asAccount(ctx context.Context, f func(s *session) error) error {
	s, err := i.loggedIn(ctx)
	if err != nil {
		return err
	}
	if err = f(s); problemOf(err) != acme.ProblemTypeAccountDoesNotExist {
		return err
	}
	i.session.CompareAndSwap(s, nil)
	if err := i.with(func(a *account) (bool, error) {
		if a.URL != s.account.Location {
			return false, nil // another call has done so
		}
		a.URL, a.Orders = "", nil
		return true, nil
	}); err != nil {
		return err
	}
	if s, err = i.loggedIn(ctx); err != nil {
		return err
	}
	return f(s)
}

func (i *Issuer) deactivated(status string) error {
	return misconfigured("run rm "+i.cfg.StateFile+": the next order creates a new account", "the ACME account is %s", status)
}

// hasState reports whether there is a place for an account: a state directory.
func (i *Issuer) hasState() bool {
	_, err := os.Stat(filepath.Dir(filepath.Dir(filepath.Dir(i.cfg.StateFile))))
	return !errors.Is(err, fs.ErrNotExist)
}
