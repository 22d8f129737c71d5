package daemon

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"renewer/configs"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/engine"
)

// Trust implements server.Service.
func (a *App) Trust(ctx context.Context, r renewer.TrustRequest) (renewer.Trust, error) {
	var full []string
	for _, name := range r.Names {
		some, err := a.pickWithOrphans(name)
		if err == nil && len(some) == 0 {
			_, err = a.pick(name) // says which is the nearest
		}
		if err != nil {
			return renewer.Trust{}, err
		}
		full = append(full, some...)
	}
	t, err := a.eng.Trust(ctx, full)
	if r.Brief {
		t = t.Brief()
	}
	return t, err
}

// pickWithOrphans is pick for what left the fleet file too; nothing is no error.
func (a *App) pickWithOrphans(name string) (names []string, err error) {
	if a.parts.Load().fleet.Stands(name) {
		return a.pick(name)
	}
	left, err := a.orphans()
	for _, row := range left {
		if entry, _, _ := strings.Cut(row.Name, "@"); row.Name == name || entry == name {
			names = append(names, row.Name)
		}
	}
	return names, err
}

// DropRoot implements server.Service.
func (a *App) DropRoot(ctx context.Context, root string) (renewer.RootDropped, error) {
	roots, err := a.eng.Roots(ctx)
	if err != nil {
		return renewer.RootDropped{}, err
	}
	found, err := rootOf(roots, root)
	if err != nil {
		return renewer.RootDropped{}, err
	}
	if err := a.requested(ctx, renewer.Event{Message: "removal of the root " + found.Subject + " (" + found.Fingerprint + ")"}); err != nil {
		return renewer.RootDropped{}, err
	}
	return a.eng.DropRoot(ctx, found.ID)
}

// Forget implements server.Service.
func (a *App) Forget(ctx context.Context, r renewer.ForgetRequest) ([]renewer.Forgotten, error) {
	done, err := a.eng.Forget(ctx, r.Name, true)
	if err == nil && len(done) > 0 && !r.Look {
		if err = a.requested(ctx, renewer.Event{Message: "forget"}, r.Name); err == nil {
			done, err = a.eng.Forget(ctx, r.Name, false)
		}
	}
	if err != nil || len(done) > 0 {
		return done, err
	}
	if _, err := a.pick(r.Name); err == nil {
		if edited, _ := a.onDisk(); edited != nil && !edited.Stands(r.Name) { // what is wrong with that says every command
			return nil, unknown(renewer.WithHint(fmt.Errorf("%s left the fleet file on disk, and the daemon has not read that yet", r.Name), "reload the daemon first: systemctl reload renewer"))
		}
		return nil, unknown(renewer.WithHint(fmt.Errorf("%s is in the fleet file: only an entry that left it can be forgotten", r.Name), "take its entry out of the fleet file first"))
	}
	left, err := a.orphans()
	if err != nil {
		return nil, err
	}
	err = fmt.Errorf("nothing that left the fleet file is called %q", r.Name)
	if len(left) == 0 {
		return nil, unknown(renewer.WithHint(err, "see what is in place of certificates that left it (nothing now): renewer list --status orphaned"))
	}
	var names []string
	for _, row := range left {
		entry, _, _ := strings.Cut(row.Name, "@")
		names = append(names, row.Name, entry)
	}
	return nil, unknown(renewer.WithHint(err, configs.Suggest(r.Name, names)))
}

// Impact implements server.Service.
func (a *App) Impact(ctx context.Context, r renewer.ImpactRequest) (renewer.Impact, error) {
	kind, name, s, err := a.subject(ctx, r.Target)
	if err != nil {
		return renewer.Impact{}, err
	}
	switch {
	case r.Case == "" && kind == "root":
		r.Case = renewer.ImpactRemoved
	case r.Case == "":
		r.Case = renewer.ImpactRenewed
	case !slices.Contains([]renewer.ImpactCase{renewer.ImpactRenewed, renewer.ImpactExpired, renewer.ImpactRevoked, renewer.ImpactRemoved}, r.Case):
		return renewer.Impact{}, fmt.Errorf("an impact has no case %q", r.Case)
	}
	if is, ok := a.parts.Load().fleet.Issuer(s.Issuer); ok && is.Type == "local" && r.Case != renewer.ImpactRenewed {
		if path, err := local.Certificates(localConfig(is)); err == nil { // else there is no CA that others could be below
			if s.Below, err = a.below(is.Name, path[0]); err != nil {
				return renewer.Impact{}, err
			}
		}
	}
	out, err := a.eng.Impact(ctx, s, r.Case)
	if out.Kind, out.Name = kind, name; err == nil {
		out.Notes, err = a.refusedAlready(ctx, s)
		out.Notes = append(out.Notes, impactNotes(out)...)
	}
	if r.Brief {
		out = out.Brief()
	}
	return out, err
}

// refusedAlready says who refuses a host, or a certificate, as it is: that is no part of
// what would be.
func (a *App) refusedAlready(ctx context.Context, s engine.Subject) (notes []string, err error) {
	names, notes := s.Certificates, []string{}
	for _, c := range a.parts.Load().fleet.Certificates {
		if _, on := c.Placement(s.Host); on {
			names = append(names, c.Name)
		}
	}
	if len(names) == 0 {
		return notes, nil
	}
	t, err := a.eng.Trust(ctx, names)
	meant := func(id string) bool { return s.Host == "" || strings.HasSuffix(id, "@"+s.Host) }
	for _, p := range t.Pairs {
		if p.State != renewer.NoRoot && p.State != renewer.HasExpired || p.Coming || !slices.ContainsFunc(p.Presenters, meant) && !slices.ContainsFunc(p.Verifiers, meant) {
			continue
		}
		if len(notes) == 3 {
			return append(notes, "and more are refused already"), err
		}
		notes = append(notes, fmt.Sprintf("%s is refused by %s already: renewer trust shows it", strings.Join(renewer.Members(p.Presenters, 3), ", "), strings.Join(renewer.Members(p.Verifiers, 3), ", ")))
	}
	return notes, err
}

// impactNotes say what an impact does not show.
func impactNotes(i renewer.Impact) (notes []string) {
	switch {
	case i.Case == renewer.ImpactRenewed && len(i.Refused) > 0:
		return []string{"a renewal waits until they have the root and have loaded it; renew --force and --without HOST do not"}
	case i.Case == renewer.ImpactRevoked && i.Kind == "root":
		return []string{"no peer learns that a root is revoked: to distrust it, take it out of their ca files (--removed)"}
	case i.Case == renewer.ImpactRevoked:
		return []string{onlyWithList}
	case i.Case == renewer.ImpactRemoved && i.Kind == "root":
		return []string{"renewer takes a root out of a ca file only when no certificate that is in place needs it there"}
	case i.Case == renewer.ImpactRemoved:
		return []string{"the current certificates stay in place and are accepted until they expire; renewer does not renew them"}
	case i.Case == renewer.ImpactExpired && i.Kind != "root":
		return []string{"a certificate that is renewed in time does not expire: renewer plan shows what is due"}
	}
	return nil
}

// kinds are what an impact can be about; KIND:NAME says which is meant.
var kinds = []string{"certificate", "host", "issuer", "root"}

// subject finds out what the target of an impact is.
func (a *App) subject(ctx context.Context, target string) (kind, name string, s engine.Subject, err error) {
	wanted, rest, explicit := strings.Cut(target, ":")
	if explicit = explicit && slices.Contains(kinds, wanted); explicit {
		target = rest
	}
	is := func(kind string) bool { return !explicit || wanted == kind }
	roots, err := a.eng.Roots(ctx)
	if err != nil {
		return "", "", s, err
	}
	var found []string
	if is("certificate") {
		if s.Certificates, err = a.pickWithOrphans(target); len(s.Certificates) > 0 {
			found = append(found, "certificate")
		} else if explicit && err == nil {
			_, err = a.pick(target) // says which is the nearest
		}
		if err != nil {
			return "", "", s, err
		}
	}
	if is("host") && a.hasHost(target) {
		s.Host, found = target, append(found, "host")
	}
	if is("issuer") && a.knows(renewer.ListFilter{Issuer: target}) == nil && target != "" {
		s.Issuer, found = target, append(found, "issuer")
	}
	if is("root") && len(found) == 0 {
		root, err := rootOf(roots, target)
		if err == nil {
			s.Root = root
			return "root", root.Fingerprint, s, nil
		}
		if explicit || renewer.Hint(err) != "" && strings.Contains(err.Error(), "stands for") {
			return "", "", s, err
		}
	}
	switch len(found) {
	case 1:
		return found[0], target, s, nil
	case 0:
		return "", "", s, a.nothingCalled(target, roots)
	default:
		return "", "", s, unknown(renewer.WithHint(fmt.Errorf("%s stands for a %s", target, strings.Join(found, " and for a ")), "renewer impact "+found[0]+":"+target+" names the one that is meant"))
	}
}

func (a *App) hasHost(name string) bool {
	if _, ok := a.parts.Load().fleet.Host(name); ok {
		return true
	}
	left, err := a.orphans()
	return err == nil && slices.ContainsFunc(left, func(r renewer.Row) bool {
		return slices.ContainsFunc(r.Hosts, func(h renewer.HostRow) bool { return h.Name == name })
	})
}

func (a *App) nothingCalled(target string, roots []renewer.TrustRoot) error {
	fleet := a.parts.Load().fleet
	var names []string
	for i := range fleet.Certificates {
		names = append(names, fleet.Certificates[i].Name, fleet.Certificates[i].Entry)
	}
	for i := range fleet.Hosts {
		names = append(names, fleet.Hosts[i].Name)
	}
	for _, is := range fleet.Issuers {
		names = append(names, is.Name)
	}
	for _, r := range roots {
		names = append(names, r.Name())
	}
	return unknown(renewer.WithHint(fmt.Errorf("no certificate, host, issuer or root is called %q", target), configs.Suggest(target, names)))
}

// leastPrefix is how much of a fingerprint has to be given.
const leastPrefix = 4

// rootOf finds a root by its SHA-256 fingerprint, as openssl prints it too, the
// beginning of that, its subject, or an issuer that has no other.
func rootOf(roots []renewer.TrustRoot, text string) (renewer.TrustRoot, error) {
	digits := strings.ToLower(strings.ReplaceAll(text, ":", ""))
	var found []renewer.TrustRoot
	if isHex(digits) && len(digits) >= leastPrefix {
		for _, r := range roots {
			if strings.HasPrefix(r.Fingerprint, digits) {
				found = append(found, r)
			}
		}
	}
	if len(found) == 0 {
		for _, r := range roots {
			if strings.EqualFold(r.Subject, text) || strings.EqualFold(r.Name(), text) || slices.Contains(r.Issuers, text) {
				found = append(found, r)
			}
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		names := []string{}
		for _, r := range roots {
			names = append(names, r.Name(), r.ID[:8])
		}
		return renewer.TrustRoot{}, unknown(renewer.WithHint(fmt.Errorf("no root is called %q", text), configs.Suggest(text, names)))
	default:
		var which []string
		for _, r := range found {
			which = append(which, r.ID[:12]+" ("+r.Subject+")")
		}
		return renewer.TrustRoot{}, unknown(renewer.WithHint(fmt.Errorf("%q stands for %d roots: %s", text, len(found), strings.Join(which, ", ")), "give more of the fingerprint of one of them"))
	}
}

func isHex(s string) bool {
	_, err := hex.DecodeString(s + strings.Repeat("0", len(s)%2))
	return err == nil
}

// mostTrustFindings is how many lines of the matrix doctor tells one by one.
const mostTrustFindings = 20

// trustFindings are what the matrix has that does not work: of one host, or of
// all for an empty name.
func (a *App) trustFindings(ctx context.Context, host string) ([]renewer.Finding, error) {
	t, err := a.eng.Trust(ctx, nil)
	if err != nil {
		return nil, err
	}
	on := func(ids []string) bool {
		return slices.ContainsFunc(ids, func(id string) bool { return host == "" || strings.HasSuffix(id, "@"+host) })
	}
	found := []renewer.Finding{}
	checked := false
	for _, p := range t.Pairs {
		if p.Coming || !on(p.Presenters) && !on(p.Verifiers) {
			continue
		}
		checked = true
		f := renewer.Finding{Check: "trust", Host: host, Fix: "see all of it: renewer trust; and what is done about it: renewer plan"}
		who, by := strings.Join(renewer.Members(p.Presenters, 3), ", "), strings.Join(renewer.Members(p.Verifiers, 3), ", ")
		switch p.State {
		case renewer.NoRoot:
			f.Level, f.Text = renewer.FindingFail, by+" refuse what "+who+" presents: the root of it is not in their ca file"
		case renewer.HasExpired:
			f.Level, f.Text = renewer.FindingFail, by+" refuse what "+who+" presents: it, or its root, expired at "+p.Since.UTC().Format(time.RFC3339)
		case renewer.NotLoaded:
			f.Level, f.Text = renewer.FindingWarn, by+" may refuse what "+who+" presents: the root of it is in place, and not known to be loaded"
		case renewer.NotKnown:
			f.Level, f.Text = renewer.FindingUnknown, "the roots of what "+who+" presents to "+by+" are not known yet"
			f.Fix = "look at every placement: renewer verify"
		default:
			continue
		}
		if len(found) < mostTrustFindings && !slices.Contains(found, f) { // as server, and as client
			found = append(found, f)
		}
	}
	if len(found) == 0 && checked {
		found = append(found, renewer.Finding{Check: "trust", Host: host, Level: renewer.FindingOK, Text: "every certificate in place is accepted by those that check it"})
	}
	return found, nil
}
