package daemon

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"

	"renewer/configs"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/engine"
	"renewer/renewer/hosts"
)

// parts is what a fleet file builds: a fleet file that is read again builds
// new ones, and nothing of the old is changed.
type parts struct {
	fleet      *configs.Fleet
	issuers    map[string]engine.Issuer
	hosts      map[string]engine.Host
	transports []hosts.Transport
}

func build(fleet *configs.Fleet) (*parts, error) {
	p := &parts{fleet: fleet, issuers: map[string]engine.Issuer{}, hosts: map[string]engine.Host{}}
	for _, is := range fleet.Issuers {
		switch is.Type {
		case "local":
			p.issuers[is.Name] = &lazyCA{cfg: localConfig(is)}
		default:
			return nil, fmt.Errorf("issuer %s: type %s is not supported yet", is.Name, is.Type)
		}
	}
	for _, h := range fleet.Hosts {
		switch h.Type {
		case "local":
			t := hosts.Local(h.Root)
			p.transports = append(p.transports, t)
			p.hosts[h.Name] = hosts.New(h.Host, t)
		default:
			return nil, fmt.Errorf("host %s: type %s is not supported yet", h.Name, h.Type)
		}
	}
	return p, nil
}

func (p *parts) close() error {
	var errs []error
	for _, t := range p.transports {
		errs = append(errs, t.Close())
	}
	return errors.Join(errs...)
}

func (p *parts) engineFleet() engine.Fleet {
	f := engine.Fleet{Certificates: p.fleet.Certificates, Issuers: p.issuers, Hosts: p.hosts, Windows: map[string]engine.Window{}}
	for _, c := range p.fleet.Certificates {
		if w, ok := p.fleet.Window(c.Window); ok {
			f.Windows[c.Window] = w
		}
	}
	return f
}

func localConfig(is configs.Issuer) local.Config {
	return local.Config{Name: is.Name, CertFile: is.CACert, KeyFile: is.CAKey, PassphraseFile: is.PassphraseFile}
}

// lazyCA is a local CA that is opened when it is first needed, and tried again
// for as long as it cannot be: one broken issuer keeps no other from working,
// and putting its files right needs no restart.
type lazyCA struct {
	cfg local.Config
	mu  sync.Mutex
	ca  *local.Authority
}

func (l *lazyCA) open() (*local.Authority, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ca == nil {
		ca, err := local.Open(l.cfg)
		if err != nil {
			return nil, err
		}
		l.ca = ca
	}
	return l.ca, nil
}

func (l *lazyCA) Sign(ctx context.Context, o renewer.Order) (renewer.Chain, error) {
	ca, err := l.open()
	if err != nil {
		return renewer.Chain{}, err
	}
	return ca.Sign(ctx, o)
}

func (l *lazyCA) Roots(ctx context.Context) ([]*x509.Certificate, error) {
	ca, err := l.open()
	if err != nil {
		return nil, err
	}
	return ca.Roots(ctx)
}

func (l *lazyCA) Health(ctx context.Context) error {
	ca, err := l.open()
	if err != nil {
		return err
	}
	return ca.Health(ctx)
}
