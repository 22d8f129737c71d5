package daemon

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"renewer/configs"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/engine"
	"renewer/renewer/rotation"
)

// destroyOld removes the keys of the CAs that signed before, each after its last CRL.
func (a *App) destroyOld(ctx context.Context, is configs.Issuer) error {
	a.rotations.stepping.Lock()
	defer a.rotations.stepping.Unlock()
	one, wait, ok := a.rotations.of(is.Name)
	if ok && !one.Stage.Over() {
		return renewer.WithHint(fmt.Errorf("the CA of issuer %s is being replaced (stage %s): its old key cannot be removed before the rotation is complete", is.Name, one.Stage),
			"renewer ca rotate "+is.Name+" --wait waits for it")
	}
	cfg, destroyed := localConfig(is), 0
	before, err := local.OldCAs(cfg)
	if err != nil {
		return err
	}
	for _, old := range before {
		print := renewer.Fingerprint(old.Cert.Raw)
		if !old.Key && (one.KeyGone || one.From.Fingerprint != print) { // else this was cut short before it was recorded
			continue
		}
		if old.Key {
			if err := a.needsKey(ctx, is, old, one); err != nil {
				return err
			}
		}
		if err := destroy(ctx, cfg, print, old.Key); err != nil {
			return err
		}
		destroyed++
		one.KeyGone = one.KeyGone || one.From.Fingerprint == print
		err := a.recordOld(ctx, is.Name, one, wait, ok, renewer.Event{Type: renewer.EventCAKeyDestroyed, Message: "the key of " + old.Cert.Subject.String() + " was removed; its certificate and its last CRL stay"})
		if err != nil {
			return err
		}
	}
	if destroyed == 0 {
		return renewer.WithHint(fmt.Errorf("issuer %s has no key of a former CA", is.Name), "renewer ca show "+is.Name+" shows what it has")
	}
	return nil
}

// needsKey returns an error that names what still chains to a former CA or trusts it.
// Hosts that an operator excluded from the rotation do not count.
func (a *App) needsKey(ctx context.Context, is configs.Issuer, old local.Old, one rotation.Rotation) error {
	cfg := localConfig(is)
	signing, root, err := local.SigningRoot(cfg)
	if err != nil || local.Twins(signing, old.Cert) {
		return err
	}
	users, err := a.eng.Users(ctx, is.Name, renewer.RootID(old.Root.Raw), renewer.RootID(root.Raw), old.Cert.Equal(old.Root), one.SwitchedAt)
	if err != nil {
		return err
	}
	users = slices.DeleteFunc(users, func(h engine.Blocker) bool { return slices.Contains(one.Without, h.Host) || h.Left && one.Compromised })
	if len(users) == 0 {
		return nil
	}
	var names []string
	for _, h := range users {
		names = append(names, h.Name)
	}
	return renewer.WithHint(fmt.Errorf("cannot remove the key of %s: %s still chain to it or trust it", old.Cert.Subject, strings.Join(renewer.Members(names, mostWaits), ", ")),
		"see why: renewer trust; run the command again when none of them needs the CA")
}

// destroy removes a key after its last CRL.
func destroy(ctx context.Context, cfg local.Config, print string, there bool) error {
	if !there {
		return nil
	}
	if err := local.LastCRL(ctx, cfg, print); err != nil && !errors.Is(err, local.ErrNoCRL) {
		return err
	}
	_, err := local.DestroyOld(cfg, print)
	return err
}

// recordOld records an event of an issuer, with its last rotation if there was one.
func (a *App) recordOld(ctx context.Context, issuer string, one rotation.Rotation, wait rotation.Wait, rotated bool, e renewer.Event) error {
	if rotated {
		return a.recordRotation(ctx, one, wait, e)
	}
	e.Issuer, e.Time = issuer, time.Now()
	_, err := a.store.Commit(ctx, engine.Change{Events: []renewer.Event{e}})
	return err
}

// listOld puts every certificate of a compromised CA that has not expired on its
// last CRL.
func (a *App) listOld(ctx context.Context, is configs.Issuer, was rotation.CA) (int, error) {
	cfg := localConfig(is)
	before, err := local.OldCAs(cfg)
	if err != nil {
		return 0, err
	}
	var old *x509.Certificate
	for _, o := range before {
		if renewer.Fingerprint(o.Cert.Raw) == was.Fingerprint {
			old = o.Cert
		}
	}
	if old == nil {
		return 0, fmt.Errorf("the certificate of %s is not there any more: %w", was.Subject, fs.ErrNotExist)
	}
	var serials []string
	err = a.inv.EachGeneration(func(g renewer.Generation) error {
		if !time.Now().Before(g.NotAfter) || len(g.Chain) == 0 {
			return nil
		}
		leaf, err := x509.ParseCertificate(g.Chain[0])
		if err != nil || leaf.CheckSignatureFrom(old) != nil {
			return nil //nolint:nilerr // another CA's
		}
		serials = append(serials, g.Serial)
		return nil
	})
	if err != nil {
		return 0, err
	}
	ca, err := local.OpenOld(cfg, was.Fingerprint)
	if err != nil {
		return 0, err
	}
	return len(serials), ca.RevokeAll(ctx, serials, renewer.RevokedSuperseded)
}

// oldCRL returns the CRL of a CA that signed for an issuer before. Where its key was
// removed it is the last one.
func (a *App) oldCRL(ctx context.Context, is configs.Issuer, print string) ([]byte, error) {
	if is.Type != "local" {
		return nil, fs.ErrNotExist
	}
	cfg := localConfig(is)
	before, err := local.OldCAs(cfg)
	for _, old := range before {
		full := renewer.Fingerprint(old.Cert.Raw)
		switch {
		case len(print) < 16 || !strings.HasPrefix(full, strings.ToLower(print)):
			continue
		case !old.Key:
			return local.KeptCRL(cfg, full)
		}
		ca, err := local.OpenOld(cfg, full)
		if err != nil {
			return nil, err
		}
		return ca.CRL(ctx)
	}
	return nil, cmp.Or(err, fs.ErrNotExist)
}

// keepOldCRLs renews the CRLs of former CAs while their keys exist and a ca file
// still trusts them.
func (a *App) keepOldCRLs(ctx context.Context, is configs.Issuer) (err error) {
	if is.Type != "local" {
		return nil
	}
	before, err := local.OldCAs(localConfig(is))
	for _, old := range before {
		if !old.Key || time.Now().After(old.Cert.NotAfter) {
			continue
		}
		if _, failed := a.oldCRL(ctx, is, renewer.Fingerprint(old.Cert.Raw)); failed != nil && !errors.Is(failed, local.ErrNoCRL) {
			err = errors.Join(err, failed)
		}
	}
	return err
}
