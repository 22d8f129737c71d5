package daemon

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"strings"

	"renewer/configs"
	"renewer/renewer"
	"renewer/renewer/engine"
	"renewer/renewer/hosts"
	"renewer/renewer/hosts/remote"
)

// parts is what a fleet file builds. A fleet file that is read again builds
// new ones, and takes over the connections to hosts that are as they were.
type parts struct {
	fleet      *configs.Fleet
	issuers    map[string]engine.Issuer
	hosts      map[string]engine.Host
	ssh        *remote.Client
	transports map[string]hosts.Transport
}

// build makes the parts of a fleet file. was is the current parts, nil at the start.
// met receives the result of each contact with a host; it may be nil. trusted is that
// of newIssuer. me identifies this renewer; it is nil where nothing is placed.
func build(fleet *configs.Fleet, was *parts, met func(host string, err error), trusted func(issuer string) []string, me func() renewer.Mark, log *slog.Logger) (*parts, error) {
	p := &parts{fleet: fleet, issuers: map[string]engine.Issuer{}, hosts: map[string]engine.Host{}, transports: map[string]hosts.Transport{}}
	for _, is := range fleet.Issuers {
		if keeps(was, is) {
			p.issuers[is.Name] = was.issuers[is.Name]
			continue
		}
		issuer, err := p.newIssuer(is, trusted)
		if err != nil {
			return nil, err
		}
		p.issuers[is.Name] = p.pace(is, issuer, was)
	}
	for i := range fleet.Certificates {
		for _, name := range fleet.Certificates[i].Trust {
			if file, ok := renewer.IsTrustFile(name); ok {
				p.issuers[name] = trustFile(file)
			}
		}
	}
	p.ssh = remote.NewClient(remote.Options{Log: log})
	if was != nil {
		p.ssh = was.ssh
	}
	for _, h := range fleet.Hosts {
		if h.Retired {
			continue
		}
		t, err := p.transport(h.Name, was, nil)
		if err != nil {
			return nil, err
		}
		if h.Sudo {
			t = rights{t, h.Name}
		}
		if met != nil {
			t = contacts{t, h.Name, met}
		}
		host := hosts.New(h.Host, t)
		if me != nil {
			host.As(me)
		}
		if p.hosts[h.Name] = host; h.Root == "" || h.Root == "/" { // below another root systemd's paths mean nothing
			p.hosts[h.Name] = machine{host, p}
		}
	}
	return p, nil
}

// typeFile is the type of a file of roots that trust: names.
const typeFile = "file"

// typeOf returns the type of an issuer.
func (p *parts) typeOf(name string) string {
	for _, is := range p.fleet.Issuers {
		if is.Name == name {
			return is.Type
		}
	}
	return typeFile
}

// transport returns the way to a host, and to the hosts that it jumps over.
func (p *parts) transport(name string, was *parts, via []string) (hosts.Transport, error) {
	if t, ok := p.transports[name]; ok {
		return t, nil
	}
	if slices.Contains(via, name) {
		return nil, fmt.Errorf("jump: of host %s leads back to it: %s", name, strings.Join(append(via, name), " → "))
	}
	h, ok := p.fleet.Host(name)
	if !ok {
		return nil, fmt.Errorf("host %s is not in the fleet file", name)
	}
	cfg := remote.Config{
		Name: h.Name, Address: h.Address, Port: h.Port, User: h.User, Sudo: h.Sudo, SFTPServer: h.SFTPServer,
		IdentityFile: h.IdentityFile, KnownHostsFile: h.KnownHostsFile, Root: h.Root,
	}
	same := was != nil
	if h.Jump != "" {
		over, err := p.transport(h.Jump, was, append(via, name))
		if err != nil {
			return nil, err
		}
		if cfg.Jump, ok = over.(*remote.Transport); !ok {
			return nil, renewer.WithHint(fmt.Errorf("host %s jumps over %s, which is this machine", name, h.Jump), "leave jump: out")
		}
		same = same && was.transports[h.Jump] == over
	}
	if same {
		if old, ok := was.fleet.Host(name); ok && reflect.DeepEqual(old, h) {
			p.transports[name] = was.transports[name]
			return p.transports[name], nil
		}
	}
	switch h.Type {
	case "local":
		p.transports[name] = hosts.Local(h.Root)
	case "ssh":
		p.transports[name] = p.ssh.Transport(cfg)
	default:
		return nil, fmt.Errorf("host %s: type %s is not supported yet", name, h.Type)
	}
	return p.transports[name], nil
}

// close lets go of every connection that the next parts did not take over; nil
// for none to come.
func (p *parts) close(next *parts) error {
	var errs []error
	for name, is := range p.issuers {
		if c, ok := is.(io.Closer); ok && (next == nil || next.issuers[name] != is) {
			errs = append(errs, c.Close())
		}
	}
	for name, t := range p.transports {
		if next == nil || next.transports[name] != t {
			errs = append(errs, t.Close())
		}
	}
	return errors.Join(errs...)
}

// engineFleet is the fleet of the engine: the fleet file, and the rotations that are
// under way.
func (a *App) engineFleet() engine.Fleet {
	f := a.parts.Load().engineFleet()
	f.Rotations = a.rotations.engine()
	return f
}

func (p *parts) engineFleet() engine.Fleet {
	f := engine.Fleet{
		Certificates: p.fleet.Certificates, Issuers: p.issuers, Hosts: p.hosts, Windows: map[string]engine.Window{}, Retired: map[string]bool{},
	}
	for _, host := range p.fleet.Retired() {
		f.Retired[host] = true
	}
	for _, c := range p.fleet.Certificates {
		if w, ok := p.fleet.Window(c.Window); ok {
			f.Windows[c.Window] = w
		}
	}
	return f
}
