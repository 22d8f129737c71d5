package daemon

import (
	"cmp"
	"context"
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
)

// Revoke implements server.Service. It revokes at once, even a certificate that is
// still served, and reports that. With Replace it first puts a proven successor in place.
func (a *App) Revoke(ctx context.Context, r renewer.RevokeRequest, progress func(renewer.Event)) ([]renewer.Revoked, error) {
	reason, err := renewer.ParseRevocationReason(string(r.Reason))
	if err != nil {
		return nil, err
	}
	names, err := a.revocable(r)
	if err != nil {
		return nil, err
	}
	if err := a.requested(ctx, renewer.Event{Generation: r.Generation, Message: said("revocation", "reason", string(reason), "replace", r.Replace)}, names...); err != nil {
		return nil, err
	}
	first := replacement{was: map[string]int{}}
	if r.Replace {
		if first, err = a.replaced(ctx, names, reason, progress); err != nil {
			return nil, err
		}
	}
	out := make([]renewer.Revoked, 0, len(names))
	for _, name := range names {
		number := max(r.Generation, first.was[name])
		if res, failed := first.unproven[name]; failed {
			out = append(out, renewer.Revoked{
				Certificate: name, Generation: number, Reason: reason, ServedBy: []string{}, Notes: []string{},
				Error: fmt.Sprintf("not revoked, because its replacement is %s: %s", res.Result, cmp.Or(res.Error, res.Waiting.String())),
				Hint:  "without --replace it is revoked at once",
			})
			continue
		}
		done, err := a.eng.Revoke(ctx, name, number, reason)
		if r.Replace {
			done.KeySharedBy = first.shared[name]
		}
		if err != nil {
			done.Error, done.Hint = err.Error(), renewer.Hint(err)
		} else {
			done.Notes = append(a.notes(ctx, done), a.sharedKey(without(done.KeySharedBy, names, r.Generation == 0), r.Replace, first.unproven)...)
		}
		out = append(out, done)
	}
	return out, nil
}

// revocable returns the names that a request stands for: of the fleet file or,
// because what was taken out of service is worth revoking, of the inventory.
func (a *App) revocable(r renewer.RevokeRequest) ([]string, error) {
	if r.Generation < 0 || r.Generation > 0 && r.Replace {
		return nil, errors.New("a generation that is named is revoked as it is: expected one of generation and replace")
	}
	names, err := a.pick(r.Name)
	if err != nil {
		gens, failed := a.store.Generations(r.Name)
		if failed != nil || len(gens) == 0 {
			return nil, errors.Join(err, failed)
		}
		return []string{r.Name}, nil
	}
	if r.Generation > 0 && len(names) != 1 {
		return nil, renewer.WithHint(fmt.Errorf("%s stands for %d certificates, each with generations of its own", r.Name, len(names)), "name one of "+strings.Join(names, ", "))
	}
	return names, nil
}

// replacement is what was renewed before a revocation: which generation each
// had in place, what is not proven now, and who else had its key.
type replacement struct {
	was      map[string]int
	unproven map[string]renewer.RolloutResult
	shared   map[string][]string
}

// replaced renews the certificates that have a generation in place. A compromised
// key is replaced in every certificate that uses it.
func (a *App) replaced(ctx context.Context, names []string, reason renewer.RevocationReason, progress func(renewer.Event)) (replacement, error) {
	out := replacement{map[string]int{}, map[string]renewer.RolloutResult{}, map[string][]string{}}
	var inPlace []string
	for _, name := range names {
		rec, _, err := a.store.Record(name)
		if err != nil {
			return out, err
		}
		if out.was[name] = rec.Current; !rec.InPlace() {
			continue
		}
		inPlace = append(inPlace, name)
		if reason == renewer.RevokedKeyCompromise {
			if out.shared[name], err = a.eng.Distrust(ctx, name, rec.Current); err != nil {
				return out, err
			}
			inPlace = append(inPlace, out.shared[name]...)
		}
	}
	if len(inPlace) == 0 {
		return out, nil
	}
	slices.Sort(inPlace)
	result, err := a.eng.Renew(ctx, slices.Compact(inPlace), renewer.Overrides{}, true, progress)
	if err != nil {
		return out, fmt.Errorf("the replacement failed, so nothing was revoked: %w", err)
	}
	for _, r := range result.Rollouts {
		if r.Result != renewer.ResultVerified {
			out.unproven[r.Certificate] = r
		}
	}
	return out, nil
}

// without leaves out the names that are revoked themselves.
func without(shared, names []string, all bool) []string {
	return slices.DeleteFunc(slices.Clone(shared), func(name string) bool { return all && slices.Contains(names, name) })
}

// sharedKey describes what happens to the other certificates with a compromised key.
func (a *App) sharedKey(names []string, replaced bool, unproven map[string]renewer.RolloutResult) (notes []string) {
	next := "the daemon replaces it now, in its window and under its guard"
	if a.daemon.Load() == nil {
		next = "the next run replaces it"
	}
	for _, name := range names {
		how := next + "; renewer renew " + name + " waits for neither run nor window"
		if res, failed := unproven[name]; failed {
			how = fmt.Sprintf("its replacement is %s: %s", res.Result, cmp.Or(res.Error, res.Waiting.String()))
		} else if replaced {
			how = "it was replaced"
		}
		notes = append(notes, fmt.Sprintf("%s has the same key: %s; it is not revoked, renewer revoke %s --reason keyCompromise does that", name, how, name))
	}
	return notes
}

// onlyWithList applies to every peer that is not known to check revocation.
const onlyWithList = "dockerd, the clients of Docker, Dagu and everything else on Go's TLS look at no CRL and no OCSP; " +
	"only a service that was given the list looks (nginx: ssl_crl, HAProxy: crl-file, PostgreSQL: ssl_crl_file)"

// peersOf says who the peers of a built-in profile are, and that none looks.
var peersOf = map[string]string{
	"docker-server":    "its peers are Docker's clients: none of them looks at revocation",
	"docker-client":    "its peers are Docker daemons: dockerd does not look at revocation",
	"dagu-coordinator": "its peers are Dagu's workers and clients: none of them looks at revocation",
	"dagu-worker":      "its peer is Dagu's coordinator, which does not look at revocation",
	"dagu-client":      "its peer is Dagu's coordinator, which does not look at revocation",
	"dagu-all-in-one":  "its peers are Dagu's: none of them looks at revocation",
}

// notes say who learns of a revocation, who looks, and what helps elsewhere.
func (a *App) notes(ctx context.Context, r renewer.Revoked) []string {
	fleet := a.parts.Load().fleet
	notes := []string{a.announced(ctx, fleet, r.Issuer)}
	if r.Again {
		notes = append(notes, "it was revoked before, at "+r.RevokedAt.Format(time.RFC3339)+"; the reason that counts is the one given then")
	}
	c, wanted := fleet.Certificate(r.Certificate)
	if who, ok := peersOf[c.Profile]; ok {
		notes = append(notes, who)
	}
	notes = append(notes, onlyWithList, fmt.Sprintf("peers that do not check accept it until %s; to protect them: replace it, use shorter lifetimes "+
		"and, where the private key is compromised, another CA", r.NotAfter.Format(time.RFC3339)))
	if len(r.ServedBy) > 0 {
		next := "the daemon replaces it now, in its window and under its guard; renewer renew " + r.Certificate + " waits for no window"
		if a.daemon.Load() == nil {
			next = "renewer renew " + r.Certificate + " replaces it now, the next run does in any case"
		}
		if !wanted {
			next = "it is no longer in the fleet file, so it is not replaced"
		}
		notes = append(notes, fmt.Sprintf("%s still has it in place, and peers that look refuse it from now on: %s", strings.Join(r.ServedBy, ", "), next))
	}
	return notes
}

// announced says where an issuer lists what it revoked.
func (a *App) announced(ctx context.Context, fleet *configs.Fleet, issuer string) string {
	for _, is := range fleet.Issuers {
		switch {
		case is.Name != issuer:
		case is.Type == "step-ca":
			return "step-ca renews it no more, and lists it at " + is.URL + "/1.0/crl where its CRL is switched on"
		case is.Type == "command":
			return "the program of revoke: decides where its CA lists it"
		case is.Type == "vault":
			return "Vault lists it on the CRL of its mount: " + is.Address + "/v1/" + is.Mount + "/crl"
		case is.Type != "local":
			return "its CA revoked it and keeps the list: the certificate says where its CRL or OCSP is, if it has one"
		default:
			if _, err := a.crl(ctx, issuer, ""); err != nil {
				return "it is recorded here, but on no list that peers can check: " + err.Error()
			}
			scheme := "http"
			if fleet.HTTP.WebConfig != "" {
				scheme = "https"
			}
			return "it is on the CRL of issuer " + issuer + ", which the daemon serves at " + scheme + "://" + fleet.HTTP.Listen + "/crl/" + issuer
		}
	}
	return "issuer " + issuer + " is not in the fleet file"
}

// lister is an issuer that keeps its CRL here.
type lister interface {
	CRL(ctx context.Context) ([]byte, error)
}

// crl returns the CRL of an issuer or, where ca is not empty, of the CA that signed
// for it before with that SHA-256; fs.ErrNotExist where none is kept here.
func (a *App) crl(ctx context.Context, issuer, ca string) ([]byte, error) {
	if ca != "" {
		is, _ := a.parts.Load().fleet.Issuer(issuer)
		return a.oldCRL(ctx, is, ca)
	}
	list, ok := engine.Can[lister](a.parts.Load().issuers[issuer])
	if !ok {
		return nil, fs.ErrNotExist
	}
	return list.CRL(ctx)
}

// crlInterval is how often CRLs are checked. A CRL is renewed after half of its
// validity.
const crlInterval = time.Hour

// keepCRLs renews every CRL before it expires, also if no client fetches it:
// services may use a copy of the file.
func (a *App) keepCRLs(ctx context.Context) {
	tick := time.NewTicker(crlInterval)
	defer tick.Stop()
	for {
		for _, is := range a.parts.Load().fleet.Issuers {
			_, err := a.crl(ctx, is.Name, "")
			err = errors.Join(err, a.keepOldCRLs(ctx, is))
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, local.ErrNoCRL) && ctx.Err() == nil {
				a.opts.log().Warn("renew the CRL", "issuer", is.Name, "error", err, "hint", renewer.Hint(err))
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
