package daemon

import (
	"context"
	"crypto/x509"
	"fmt"
	"reflect"

	"renewer/configs"
	"renewer/inventory/seal"
	"renewer/issuers/acme"
	"renewer/issuers/command"
	"renewer/issuers/files"
	"renewer/issuers/keptroots"
	"renewer/issuers/local"
	"renewer/issuers/stepca"
	"renewer/issuers/vault"
	"renewer/renewer"
	"renewer/renewer/engine"
	"renewer/renewer/hosts"
)

// newIssuer makes an issuer of the fleet file. It opens no connection: an issuer
// that is unreachable does not stop the others. trusted returns the SHA-256 of the
// certificates of its former CAs that are still trusted.
func (p *parts) newIssuer(is configs.Issuer, trusted func(issuer string) []string) (engine.Issuer, error) {
	switch is.Type {
	case "acme":
		return p.newACME(is)
	case "local":
		ca := &lazyCA{cfg: localConfig(is), kept: keptroots.File{Issuer: is.Name, Path: is.RootsFile}}
		if trusted != nil {
			ca.trusted = func() []string { return trusted(is.Name) }
		}
		return ca, nil
	case "step-ca":
		return stepca.New(stepca.Config{
			Name: is.Name, URL: is.URL, RootFingerprint: is.RootFingerprint, Provisioner: is.Provisioner,
			PasswordFile: is.PasswordFile, X5CCert: is.X5CCert, X5CKey: is.X5CKey, RootsFile: is.RootsFile,
		})
	case "vault":
		return vault.New(vaultConfig(is))
	case "command":
		return command.New(command.Config{Name: is.Name, Sign: is.Sign, Revoke: is.RevokeWith, RootFile: is.RootFile, Timeout: is.Timeout}), nil
	case "files":
		return files.New(files.Config{Name: is.Name, Dir: is.Dir, RootFile: is.RootFile}), nil
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
	return local.Config{
		Name: is.Name, CertFile: is.CACert, KeyFile: is.CAKey, PassphraseFile: is.PassphraseFile, CRLDir: is.CRLDir,
		Policy: local.Policy{MaxLifetime: is.MaxLifetime, Names: is.AllowedNames},
	}
}

func vaultConfig(is configs.Issuer) vault.Config {
	a := is.Auth
	return vault.Config{
		Name: is.Name, Address: is.Address, Namespace: is.Namespace, CACert: is.CACert, Mount: is.Mount, Role: is.Role, RootsFile: is.RootsFile,
		IssuerRef: is.IssuerRef, RootFile: is.RootFile, RotateSecretID: is.RotateSecretID,
		Auth: vault.Auth{
			Method: a.Method, Mount: a.Mount, RoleIDFile: a.RoleIDFile, SecretIDFile: a.SecretIDFile, Wrapped: a.Wrapped,
			TokenFile: a.TokenFile, Cert: a.Cert, Key: a.Key, Role: a.Role, JWTFile: a.JWTFile,
		},
	}
}

// acmeConfig is all of it that stands in the fleet file.
func acmeConfig(is configs.Issuer) acme.Config {
	a, c := is.ACME, is.ACME.Challenge
	return acme.Config{
		Name: is.Name, Directory: a.Directory, Email: a.Email, CACert: is.CACert, EABKeyID: a.EABKeyIDFile, EABHMAC: a.EABHMACFile,
		Roots: a.Roots, Profile: a.Profile, PreferredChain: a.PreferredChain, StateFile: a.StateFile,
		Challenge: acme.Challenge{Type: c.Type, Listen: c.Listen, Exec: c.Exec, RFC2136: acme.RFC2136{Server: c.Server, Zone: c.Zone, TSIGFile: c.TSIGFile}},
	}
}

// newACME gives it what seals, what runs commands, and the host that serves answers.
func (p *parts) newACME(is configs.Issuer) (engine.Issuer, error) {
	cfg := acmeConfig(is)
	cfg.Seal = seal.Box{Options: sealOf(p.fleet)}
	cfg.Challenge.Run = func(ctx context.Context, argv []string) ([]byte, error) { return hosts.Local("").Run(ctx, argv) }
	if c := is.ACME.Challenge; c.Host != "" {
		cfg.Challenge.Files = webroot{p, c.Host, c.Dir}
	}
	return acme.New(cfg)
}

// keeps reports whether the issuer of the fleet file so far can serve the next
// one. That of Vault has to: what it unwrapped is in its memory alone.
func keeps(was *parts, is configs.Issuer) bool {
	if was == nil || is.Type != "vault" {
		return false
	}
	old, ok := was.fleet.Issuer(is.Name)
	old.Rate, is.Rate = 0, 0
	return ok && reflect.DeepEqual(old, is)
}
