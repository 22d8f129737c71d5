package daemon

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"renewer/configs"
	"renewer/internal/atomicfile"
	"renewer/inventory"
	"renewer/issuers/acme"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/server"
)

// Init writes a commented fleet file into a directory and makes the local CA
// that it names. It overwrites nothing.
func Init(dir string) (fleetFile string, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return "", fmt.Errorf("find the directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make %s: %w", dir, cause(err))
	}
	fleetFile = filepath.Join(dir, "renewer.yaml")
	if err := atomicfile.WriteNew(fleetFile, configs.Example(dir), 0o644); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return "", renewer.WithHint(fmt.Errorf("%s is there already", fleetFile), "it is not overwritten: choose another directory, or remove it")
		}
		return "", err
	}
	fleet, err := configs.Load(fleetFile)
	if err != nil {
		return fleetFile, err
	}
	for _, is := range fleet.Issuers {
		if is.Type != "local" {
			continue
		}
		if _, err := CAInit(fleet, is.Name); err != nil && !errors.Is(err, fs.ErrExist) {
			return fleetFile, err
		}
	}
	return fleetFile, nil
}

// localIssuer returns the named local issuer; an empty name means the only one.
func localIssuer(fleet *configs.Fleet, name string) (local.Config, error) {
	var found []configs.Issuer
	var names []string
	for _, is := range fleet.Issuers {
		if is.Type != "local" {
			continue
		}
		if names = append(names, is.Name); name == "" || is.Name == name {
			found = append(found, is)
		}
	}
	switch {
	case len(found) == 1:
		return localConfig(found[0]), nil
	case len(names) == 0:
		return local.Config{}, unknown(renewer.WithHint(fmt.Errorf("%s has no local issuer", fleet.Path), "add one: issuers: {fleet-ca: {type: local}}"))
	case name != "":
		return local.Config{}, none(fleet, "local issuer", name, names)
	default:
		return local.Config{}, unknown(renewer.WithHint(fmt.Errorf("%s has %d local issuers", fleet.Path, len(found)), "name one of "+strings.Join(names, ", ")))
	}
}

// LocalIssuer is the local issuer of that name, or for an empty one the only one.
func LocalIssuer(fleet *configs.Fleet, name string) (string, error) {
	cfg, err := localIssuer(fleet, name)
	return cfg.Name, err
}

// CAInit makes the CA of a local issuer; an empty name means the only one.
func CAInit(fleet *configs.Fleet, issuer string) (local.Info, error) {
	return CAInitBelow(fleet, issuer, "", 0)
}

// CAInitBelow is CAInit with a path length and, unless it is empty, the issuer whose
// CA signs the new one.
func CAInitBelow(fleet *configs.Fleet, issuer, below string, pathLen int) (local.Info, error) {
	cfg, err := localIssuer(fleet, issuer)
	if err != nil {
		return local.Info{}, err
	}
	if err := prepareStateDir(fleet.StateDir); err != nil {
		return local.Info{}, err
	}
	o := local.CreateOptions{PathLen: pathLen}
	if below != "" {
		parent, err := localIssuer(fleet, below)
		if err != nil {
			return local.Info{}, err
		}
		if o.Parent, err = local.Open(parent); err != nil {
			return local.Info{}, err
		}
	}
	ca, err := local.Create(cfg, o)
	if err != nil {
		return local.Info{}, err
	}
	return ca.Info(), nil
}

// CA implements server.Service.
func (a *App) CA(ctx context.Context, issuer string) (renewer.CAView, error) {
	v, err := CAShow(a.parts.Load().fleet, issuer)
	if err != nil {
		return v, err
	}
	r, err := a.Rotation(ctx, cmp.Or(v.Issuer, issuer))
	if r.Stage != "" {
		v.Rotation = &r
	}
	if v.Fault == "" && err != nil {
		v.Fault, v.Hint = err.Error(), renewer.Hint(err)
	}
	return v, ctx.Err()
}

// CAShow describes the CA of a local issuer, without its replacement. What cannot be read
// is said beside the rest.
func CAShow(fleet *configs.Fleet, issuer string) (v renewer.CAView, err error) {
	cfg, err := localIssuer(fleet, issuer)
	if err != nil {
		return v, err
	}
	v.Issuer = cfg.Name
	fault := func(err error) {
		if err != nil && v.Fault == "" {
			v.Fault, v.Hint = err.Error(), renewer.Hint(err)
		}
	}
	ca, err := local.Open(cfg)
	if fault(err); err == nil {
		v.CAInfo = ca.Info()
	}
	if is, ok := fleet.Issuer(cfg.Name); ok {
		v.StrictFix = StrictFix(fleet, is)
	}
	if next, _, err := local.NextRoot(cfg); err == nil {
		v.Others = append(v.Others, otherCA("next", next, true))
	}
	if _, err := local.OpenNext(cfg); !errors.Is(err, fs.ErrNotExist) {
		fault(err)
	}
	before, err := local.OldCAs(cfg)
	fault(err)
	for _, old := range before {
		v.Others = append(v.Others, otherCA("old", old.Cert, old.Key))
	}
	return v, nil
}

func otherCA(role string, c *x509.Certificate, key bool) renewer.OtherCA {
	o := renewer.OtherCA{Role: role, Subject: c.Subject.String(), Fingerprint: renewer.Fingerprint(c.Raw), NotAfter: c.NotAfter.UTC(), Key: "kept"}
	if !key {
		o.Key = "destroyed"
	}
	return o
}

// CAImportNext takes a CA that was made elsewhere as the next one of a local issuer.
// Whether it may take over from a rotation that is blocked is looked at by what then asks
// for the rotation, which knows the fleet file that holds.
func CAImportNext(ctx context.Context, s server.Service, fleet *configs.Fleet, issuer, certFile, keyFile string, passphrase func() ([]byte, error)) error {
	cfg, err := localIssuer(fleet, issuer)
	if err != nil {
		return err
	}
	ca, err := s.CA(ctx, issuer)
	if err != nil {
		return err
	}
	if v := ca.Rotation; v != nil && v.EndedAt.IsZero() && (v.SwitchedAt.IsZero() || !v.Blocked) {
		return renewer.WithHint(fmt.Errorf("the CA of issuer %s is being replaced already (stage %s)", issuer, v.Stage), "renewer ca show "+issuer+" shows it")
	}
	_, err = local.ImportNext(cfg, certFile, keyFile, passphrase, func(ca *local.Authority) error { return accept(fleet, issuer, ca) })
	return err
}

// CAImport takes over a CA that was made elsewhere.
func CAImport(fleet *configs.Fleet, issuer, certFile, keyFile string, passphrase func() ([]byte, error)) (local.Info, error) {
	cfg, err := localIssuer(fleet, issuer)
	if err != nil {
		return local.Info{}, err
	}
	if err := prepareStateDir(fleet.StateDir); err != nil {
		return local.Info{}, err
	}
	ca, err := local.Import(cfg, certFile, keyFile, passphrase)
	if err != nil {
		return local.Info{}, err
	}
	return ca.Info(), nil
}

// Restore puts a backup in the place of the inventory, once it is found to be
// whole; what was there is kept beside it, under the name that is returned
// (empty if there was nothing). It refuses while anybody has the inventory
// open.
func Restore(fleet *configs.Fleet, file string) (kept string, err error) {
	if _, err := server.Dial(fleet.Socket, func() string { return fleet.StateDir }); err == nil {
		return "", renewer.WithHint(errors.New("the daemon is running and has the inventory open"), "stop it first")
	} else if !errors.Is(err, server.ErrNoDaemon) {
		return "", err
	}
	if err := prepareStateDir(fleet.StateDir); err != nil {
		return "", err
	}
	place := filepath.Join(fleet.StateDir, "inventory.db")
	if _, err := os.Lstat(place); errors.Is(err, fs.ErrNotExist) {
		return "", inventory.Restore(file, place)
	}
	whole := filepath.Join(fleet.StateDir, fmt.Sprintf("inventory.db.restoring-%d", os.Getpid()))
	if err := inventory.Restore(file, whole); err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(whole) }()
	var locked *inventory.LockedError
	if inv, err := inventory.Open(place, inventory.Options{}); errors.As(err, &locked) {
		return "", err
	} else if err == nil { // a damaged one is no reason to stop
		if err := inv.Close(); err != nil {
			return "", err
		}
	}
	kept = place + ".before-" + time.Now().UTC().Format("20060102T150405Z")
	err = os.Link(place, kept)
	for n := 2; errors.Is(err, fs.ErrExist); n++ { // another restore in this second
		kept = fmt.Sprintf("%s-%d", strings.TrimSuffix(kept, fmt.Sprintf("-%d", n-1)), n)
		err = os.Link(place, kept)
	}
	if err != nil {
		return "", fmt.Errorf("keep the inventory that is there: %w", err)
	}
	if err := os.Rename(whole, place); err != nil {
		return kept, fmt.Errorf("put the backup in place: %w", err)
	}
	return kept, nil
}

// CheckOnline logs in afresh at every issuer, reaches every host of a fleet file,
// and looks there whether what is activated would start again, and which renewer keeps
// the directories. It needs no state, but for the account of an ACME server.
func CheckOnline(ctx context.Context, fleet *configs.Fleet) ([]renewer.IssuerStatus, []renewer.HostStatus, []renewer.Finding, error) {
	if slices.ContainsFunc(fleet.Issuers, func(is configs.Issuer) bool { return is.ACME != nil && is.ACME.Challenge.Type == acme.DNSPersist01 }) {
		if err := prepareStateDir(fleet.StateDir); err != nil { // the record names the account, which has to be kept
			return nil, nil, nil, err
		}
	}
	me, isKnown := whoIs(ctx, fleet)
	p, err := build(fleet, nil, nil, nil, func() renewer.Mark { return me }, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, nil, nil, err
	}
	var h health
	h.askWith(ctx, p, logIn)
	issuers, hosts := h.all()
	down := func(pl renewer.Placement) bool {
		return !slices.ContainsFunc(hosts, func(h renewer.HostStatus) bool { return h.Name == pl.Host && h.Up })
	}
	var placements []renewer.Placement
	for _, c := range fleet.Certificates {
		placements = append(placements, c.Placements...)
	}
	placements = slices.DeleteFunc(placements, down)
	found := slices.DeleteFunc(p.keeperFindings(ctx, slices.DeleteFunc(directories(fleet, ""), down), isKnown),
		func(f renewer.Finding) bool { return f.Level == renewer.FindingOK })
	found = append(found, p.shortened()...)
	missing, err := missingRecords(ctx, fleet)
	if err != nil {
		return nil, nil, nil, err
	}
	found = append(found, missing...)
	doubts := p.doubted(ctx, placements)
	for _, pl := range placements {
		found = append(found, findings(pl, doubts[pl.ID()])...)
	}
	return issuers, hosts, found, errors.Join(ctx.Err(), p.close(nil))
}
