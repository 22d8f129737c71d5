package daemon

import (
	"errors"
	"fmt"
	"io/fs"

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
	var to rotation.CA
	take := func(ca *local.Authority) error {
		to = rotationCA(ca)
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
	case !missing && (r.Key != "" && next.Info().Key != string(r.Key) || kind == rotation.Reissued && next.Info().Key != signing.Info().Key):
		return one, renewer.WithHint(fmt.Errorf("issuer %s has a next CA already: %s with a key of type %s", is.Name, next.Info().Subject, next.Info().Key),
			"renewer ca rotate "+is.Name+" uses it; renewer ca rotate "+is.Name+" --cancel removes it")
	case !missing:
		switch err = take(next); {
		case err == nil || errors.Is(err, errPlanned):
			to = rotationCA(next)
		case kind == rotation.Imported:
			err = errors.Join(err, local.DropNext(cfg))
		default:
			err = renewer.WithHint(err, "renewer ca rotate "+is.Name+" --cancel removes it (take standby_root out of the fleet file first); or change what the entry asks for")
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
	return rotation.Rotation{Issuer: is.Name, Kind: kind, From: rotationCA(signing), To: to}, nil
}

var errPlanned = errors.New("it is only planned")

func rotationCA(a *local.Authority) rotation.CA {
	i := a.Info()
	return rotation.CA{Subject: i.Subject, Fingerprint: i.Fingerprint, Root: renewer.RootID(a.Root().Raw), Key: i.Key, NotAfter: i.NotAfter}
}
