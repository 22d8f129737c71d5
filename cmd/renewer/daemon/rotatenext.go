package daemon

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"renewer/configs"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/rotation"
)

// nextCA returns the next CA beside the signing one, and makes it where it is not
// there yet, unless that is only planned. One that cannot sign what the issuer is asked
// for is refused, and what was brought for this is removed.
func (a *App) nextCA(is configs.Issuer, r renewer.RotateRequest, plan bool) (one rotation.Rotation, err error) {
	cfg := localConfig(is)
	signing, err := local.Open(cfg)
	if err != nil {
		return one, err
	}
	if err := a.mustBeLowest(is, signing); err != nil {
		return one, err
	}
	var to rotation.CA
	var twins bool
	take := func(ca *local.Authority) error {
		to, twins = rotationCA(ca), local.Twins(ca.Cert(), signing.Cert())
		if err := accept(a.parts.Load().fleet, is.Name, ca); err != nil || !plan {
			return err
		}
		to.Fingerprint = "" // another one will be made
		return errPlanned
	}
	o := local.NextOptions{Key: r.Key, Lifetime: r.Lifetime, Accept: take}
	next, err := local.OpenNext(cfg)
	kind := rotation.Kind(r.Kind)
	switch missing := errors.Is(err, fs.ErrNotExist); {
	case err != nil && !missing:
		return one, err
	case !missing && (r.Key != "" && next.Info().Key != string(r.Key) || kind == rotation.Reissued && !local.Twins(next.Cert(), signing.Cert())):
		return one, renewer.WithHint(fmt.Errorf("issuer %s has a next CA already: %s with another key (%s)", is.Name, next.Info().Subject, next.Info().Key),
			"renewer ca rotate "+is.Name+" uses it; or "+removeNext(is)+", and run the command again")
	case !missing:
		switch err = take(next); {
		case err == nil || errors.Is(err, errPlanned):
			to = rotationCA(next)
		case kind == rotation.Imported:
			err = errors.Join(err, local.DropNext(cfg))
		default:
			err = renewer.WithHint(err, removeNext(is)+"; or change what the entry asks for")
		}
	case kind == rotation.Imported:
		return one, err
	case kind == rotation.Reissued:
		_, err = local.Reissue(cfg, o)
	default:
		_, err = local.CreateNext(cfg, o)
	}
	if err != nil && !errors.Is(err, errPlanned) {
		return one, err
	}
	from := rotationCA(signing)
	return rotation.Rotation{Issuer: is.Name, Kind: kind, From: from, To: to, Anew: from.Root == to.Root && !twins}, nil
}

// removeNext is how a next CA that nothing waits for is removed.
func removeNext(is configs.Issuer) string {
	text := "renewer ca rotate " + is.Name + " --cancel removes it"
	if is.StandbyRoot {
		text = "take standby_root out of the fleet file, then " + text
	}
	return text
}

// below returns the other local issuers whose signing or next CA leads to a CA of this one.
func (a *App) below(issuer string, ca *x509.Certificate) (names []string, err error) {
	for _, other := range a.parts.Load().fleet.Issuers {
		if other.Type != "local" || other.Name == issuer {
			continue
		}
		leads, err := local.LeadsTo(localConfig(other), ca)
		if err != nil {
			return nil, err
		}
		if leads {
			names = append(names, other.Name)
		}
	}
	return names, nil
}

// mustBeLowest refuses to replace a CA that others of the fleet are below: what they
// sign, and every ca file that is for them, leads to it, whatever signs for this issuer.
func (a *App) mustBeLowest(is configs.Issuer, signing *local.Authority) error {
	below, err := a.below(is.Name, signing.Cert())
	if err != nil {
		return err
	}
	if len(below) == 0 {
		return nil
	}
	first, top := below[0], is.Name+"-2"
	next := first + "-2"
	for _, name := range []*string{&top, &next} {
		for _, taken := a.parts.Load().fleet.Issuer(*name); taken; _, taken = a.parts.Load().fleet.Issuer(*name) {
			*name += "-2"
		}
	}
	dir := filepath.Join(a.parts.Load().fleet.StateDir, "issuers", next)
	return renewer.WithHint(
		fmt.Errorf("%s of issuer %s cannot be replaced yet: the CA of %s is below it, and what that CA signs would still chain to it", signing.Info().Subject, is.Name, strings.Join(below, ", ")),
		fmt.Sprintf("put %[1]s under another root first: add the issuers %[2]s: {type: local} and %[3]s: {type: local} to the fleet file; then renewer ca init %[2]s --path-length 1; renewer ca init %[3]s --intermediate-of %[2]s; renewer ca import %[1]s --as-next --cert %[4]s --key %[5]s --wait",
			first, top, next, filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem")))
}

var errPlanned = errors.New("it is only planned")

func rotationCA(a *local.Authority) rotation.CA {
	i := a.Info()
	return rotation.CA{Subject: i.Subject, Fingerprint: i.Fingerprint, Root: renewer.RootID(a.Root().Raw), Key: i.Key, NotAfter: i.NotAfter}
}
