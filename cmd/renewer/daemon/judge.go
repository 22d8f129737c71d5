package daemon

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	"renewer/configs"
	"renewer/issuers/acme"
	"renewer/issuers/files"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/engine"
	"renewer/renewer/pki"
)

// judges say what an issuer would refuse, before anything is signed.
func judges(fleet *configs.Fleet) map[string]func(renewer.Request) error {
	out := map[string]func(renewer.Request) error{}
	for _, is := range fleet.Issuers {
		switch is.Type {
		case "acme":
			out[is.Name] = acme.Judge(acmeConfig(is))
		case "local":
			out[is.Name] = local.Judge(localConfig(is))
		}
	}
	return out
}

// missing are the local issuers whose CA cannot be read, with why.
func missing(fleet *configs.Fleet) map[string]error {
	out := map[string]error{}
	for _, is := range fleet.Issuers {
		if is.Type != "local" {
			continue
		}
		if _, err := local.Certificates(localConfig(is)); err != nil {
			out[is.Name] = err
		}
	}
	return out
}

// requestsTo calls f with what an issuer is asked for: by its entries and, where that is
// its part, for the client certificates that probes present.
func requestsTo(fleet *configs.Fleet, issuer string, f func(whose string, r renewer.Request)) {
	for _, c := range fleet.Certificates {
		if c.Issuer == issuer && !c.IsBundle() {
			f("certificate "+c.Name, c.Request())
		}
		presents := func(p renewer.Placement) bool { return p.Probe.Kind.Served() && p.Probe.Mutual && p.Probe.Client == "" }
		if len(c.Trust) > 0 && c.Trust[0] == issuer && slices.ContainsFunc(c.Placements, presents) {
			f("the client certificate for the probe of "+c.Name, engine.CredentialRequest(issuer, renewer.UsageClient))
		}
	}
}

// CheckRequests returns what the local issuers would not do of a fleet file: what their
// policies and the CAs at hand would not sign, an error for each reason with the first
// request that it concerns, and that nothing replaces an intermediate by itself.
func CheckRequests(fleet *configs.Fleet) (out []error) {
	judge := judges(fleet)
	for _, is := range fleet.Issuers {
		if judge := judge[is.Name]; judge != nil {
			out = append(out, refusals(fleet, is.Name, judge)...)
		}
		if is.Type == "files" {
			out = append(out, tooShort(fleet, is.Name)...)
		}
		if is.Type != "local" {
			continue
		}
		if path, err := local.Certificates(localConfig(is)); err == nil && len(path) > 1 && (is.RotateAt > 0 || is.StandbyRoot) {
			out = append(out, renewer.WithHint(
				fmt.Errorf("issuer %s: rotate_at and standby_root need a CA that signs itself, and %s was signed by %s", is.Name, path[0].Subject, path[1].Subject),
				"leave them out; have the next one signed there, then: renewer ca import "+is.Name+" --as-next --cert FILE --key FILE"))
		}
	}
	return out
}

// tooShort names the entries whose certificates would have expired on the way to an offline CA.
func tooShort(fleet *configs.Fleet, issuer string) (out []error) {
	for _, c := range fleet.Certificates {
		if c.Issuer == issuer && !c.IsBundle() && c.Lifetime < files.Shortest {
			out = append(out, renewer.WithHint(fmt.Errorf("certificate %s: issuer %s signs by files, for an hour or more, and not for %s", c.Name, issuer, c.Lifetime),
				"set lifetime: to more than the way to the CA and back takes"))
		}
	}
	return out
}

// NeededRecords are the TXT records that have to be in the DNS for good, by issuer and as
// a zone file has them: those of ACME's dns-persist-01, once there is an account.
func NeededRecords(fleet *configs.Fleet) (map[string][]string, error) {
	needed, err := neededRecords(fleet)
	out := map[string][]string{}
	for name, records := range needed {
		for _, r := range records {
			out[name] = append(out[name], r.String())
		}
	}
	return out, err
}

func neededRecords(fleet *configs.Fleet) (map[string][]acme.Record, error) {
	out := map[string][]acme.Record{}
	for _, is := range fleet.Issuers {
		if is.ACME == nil {
			continue
		}
		var names []string
		requestsTo(fleet, is.Name, func(_ string, r renewer.Request) { names = append(names, r.SANs...) })
		records, err := acme.Persistent(acmeConfig(is), names)
		if err != nil {
			return nil, fmt.Errorf("issuer %s: %w", is.Name, err)
		}
		if len(records) > 0 {
			out[is.Name] = records
		}
	}
	return out, nil
}

// missingRecords are those that the DNS does not have, as this machine sees it.
func missingRecords(ctx context.Context, fleet *configs.Fleet) (found []renewer.Finding, err error) {
	needed, err := neededRecords(fleet)
	for _, name := range slices.Sorted(maps.Keys(needed)) {
		for _, r := range needed[name] {
			values, _ := net.DefaultResolver.LookupTXT(ctx, r.Name)
			if !slices.Contains(values, r.Value) {
				found = append(found, renewer.Finding{
					Check: "dns-persist-01", Level: renewer.FindingWarn, Text: "issuer " + name + " needs a TXT record at " + r.Name + " that this machine cannot resolve", Fix: "add to the DNS: " + r.String(),
				})
			}
		}
	}
	return found, err
}

func refusals(fleet *configs.Fleet, issuer string, judge func(renewer.Request) error) (out []error) {
	first, more := map[string]int{}, map[int]int{} // by reason, and by place in out
	requestsTo(fleet, issuer, func(whose string, r renewer.Request) {
		refused := judge(r)
		if errors.Is(refused, renewer.ErrNoNames) && r.CommonName == engine.CredentialRequest(issuer, renewer.UsageClient).CommonName {
			return // without it the probe presents nothing, and the history says so
		}
		for _, err := range each(refused) {
			if i, known := first[err.Error()]; known {
				more[i]++
				continue
			}
			first[err.Error()] = len(out)
			out = append(out, renewer.WithHint(fmt.Errorf("%s: %w", whose, err), renewer.Hint(err)))
		}
	})
	for i, n := range more {
		out[i] = renewer.WithHint(fmt.Errorf("%w (and %d more)", out[i], n), renewer.Hint(out[i]))
	}
	return out
}

// each takes an error apart that says several things.
func each(err error) []error {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		return several.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// cannotSign says what a CA would not sign first of all that its issuer is asked for; nil
// for nothing. hint is what to do where that is up to the CA or the entries.
func cannotSign(fleet *configs.Fleet, issuer string, judge func(renewer.Request) error, hint string) (first error) {
	more := 0
	requestsTo(fleet, issuer, func(whose string, r renewer.Request) {
		switch err := judge(r); {
		case err == nil:
		case first != nil:
			more++
		case renewer.ClassOf(err) == renewer.ClassRefused:
			first = renewer.WithHint(fmt.Errorf("%s: %w", whose, err), hint)
		default:
			first = fmt.Errorf("%s: %w", whose, err)
		}
	})
	if more > 0 {
		return renewer.WithHint(fmt.Errorf("%w (and %d more)", first, more), renewer.Hint(first))
	}
	return first
}

// accept refuses a next CA that cannot sign what its issuer is asked for.
func accept(fleet *configs.Fleet, issuer string, ca *local.Authority) error {
	judge, err := ca.Judge()
	if err == nil {
		err = cannotSign(fleet, issuer, judge, "renewer ca rotate "+issuer+" makes a CA without limits, for ten years or --lifetime; or change what the entry asks for")
	}
	if err != nil {
		return fmt.Errorf("%s cannot be the next CA of issuer %s: %w", ca.Info().Subject, issuer, err)
	}
	return nil
}

// StrictFix is the way to have a local CA that peers which verify strictly accept;
// empty where they do.
func StrictFix(fleet *configs.Fleet, is configs.Issuer) string {
	path, err := local.Certificates(localConfig(is))
	if err != nil {
		return ""
	}
	switch {
	case len(path) > 1:
		return strictFixBelow(fleet, is.Name, path)
	case slices.Contains(pki.StrictFaults(path[0]), pki.EmptySubject):
		return "renewer ca rotate " + is.Name + " replaces it with a CA that has a name"
	case reissueFixes(path[0]):
		return "renewer ca reissue " + is.Name + " signs the same key and name with the extensions that are missing"
	}
	return ""
}

// reissueFixes reports whether strict peers refuse a signing CA and would accept it
// once reissued.
func reissueFixes(ca *x509.Certificate) bool {
	faults := pki.StrictFaults(ca)
	return len(faults) > 0 && !slices.Contains(faults, pki.EmptySubject) && ca.CheckSignatureFrom(ca) == nil
}

// NextStrictFaults are those of the next CA of an issuer, and of its root.
func NextStrictFaults(fleet *configs.Fleet, issuer string) (faults []string) {
	is, _ := fleet.Issuer(issuer)
	signs, root, err := local.NextRoot(localConfig(is))
	if err != nil {
		return nil // who goes on with it says why
	}
	for _, c := range slices.CompactFunc([]*x509.Certificate{signs, root}, (*x509.Certificate).Equal) {
		for _, fault := range pki.StrictFaults(c) {
			faults = append(faults, cmp.Or(c.Subject.String(), "the CA with serial "+renewer.SerialHex(c))+": "+fault)
		}
	}
	return faults
}

// strictFixBelow returns the fix for an intermediate CA: only its parent can reissue it.
func strictFixBelow(fleet *configs.Fleet, name string, path []*x509.Certificate) string {
	faulty := slices.IndexFunc(path, func(c *x509.Certificate) bool { return len(pki.StrictFaults(c)) > 0 })
	if faulty < 0 {
		return ""
	}
	if above := issuerOf(fleet, path[1]); above.Name != "" {
		next := name + "-next"
		fix := fmt.Sprintf("create a replacement signed by issuer %s: add %s: {type: local} to the issuers, then renewer ca init %[2]s --intermediate-of %[1]s; "+
			"renewer ca export %[2]s --with-key --out %[2]s.pem; renewer ca import %[3]s --as-next --cert %[2]s.pem --key %[2]s.pem", above.Name, next, name)
		if first := StrictFix(fleet, above); first != "" {
			fix = "first: " + first + "; when that is done, " + fix
		}
		return fix
	}
	return fmt.Sprintf("only %s can reissue it: reissue it there with the missing extensions (RFC 5280: critical basicConstraints and keyUsage, subject and authority key identifier), then: "+
		"renewer ca import %s --as-next --cert FILE --key FILE", cmp.Or(path[faulty].Issuer.String(), "its signer"), name)
}

// issuerOf is the local issuer whose signing CA has the name and key of ca, and its
// key at hand; the zero value for none.
func issuerOf(fleet *configs.Fleet, ca *x509.Certificate) configs.Issuer {
	for _, is := range fleet.Issuers {
		if is.Type != "local" {
			continue
		}
		path, err := local.Certificates(localConfig(is))
		if err == nil && (path[0].Equal(ca) || pki.Twins(path[0], ca)) {
			return is
		}
	}
	return configs.Issuer{}
}

// strictFindings are the CAs that strict peers refuse, and what is in place.
func (a *App) strictFindings(ctx context.Context) (found []renewer.Finding) {
	fleet := a.parts.Load().fleet
	placed := a.strictlyRefused(fleet)
	for _, is := range fleet.Issuers {
		roots := a.rootsOf(ctx, []string{is.Name})
		if len(roots) == 0 {
			continue // that is said where the issuer is looked at
		}
		fixOfCA := "have the CA reissued with what is missing (RFC 5280)"
		faults := placed[is.Name]
		if is.Type == "local" {
			fixOfCA = StrictFix(fleet, is)
			if path, err := local.Certificates(localConfig(is)); err == nil && len(path) > 1 {
				faults = append(faults, pki.ChainFaults(renewer.Chain{Intermediates: path[:len(path)-1]})...)
			}
		}
		warn := func(fix, format string, args ...any) {
			found = append(found, renewer.Finding{
				Check: "strict-peers", Level: renewer.FindingWarn, Fix: fix,
				Text: "peers that verify strictly, such as Python 3.13 and later, refuse " + fmt.Sprintf(format, args...),
			})
		}
		before := len(found)
		for _, root := range roots {
			if faults := pki.StrictFaults(root); len(faults) > 0 {
				warn(fixOfCA, "the CA of issuer %s: of %s, %s", is.Name, cmp.Or(root.Subject.String(), "the root with serial "+renewer.SerialHex(root)), strings.Join(faults, "; "))
			}
		}
		slices.Sort(faults)
		for _, fault := range slices.Compact(faults) {
			fix := strictFixElsewhere(is, fault)
			if is.Type == "local" {
				fix = cmp.Or(fixOfCA, "the CA has been replaced since: renewer renew --all replaces the certificates")
			}
			warn(fix, "what issuer %s gives: %s", is.Name, fault)
		}
		if len(found) == before {
			found = append(found, renewer.Finding{Check: "strict-peers", Level: renewer.FindingOK, Text: "peers that verify strictly accept the CA of issuer " + is.Name})
		}
	}
	return found
}

// strictFixElsewhere is what to do about a fault of pki.ChainFaults where renewer does
// not sign.
func strictFixElsewhere(is configs.Issuer, fault string) string {
	at := cmp.Or(is.Mount, is.Provisioner)
	switch {
	case strings.HasPrefix(fault, "of the intermediate"):
		return strings.TrimSpace("have the intermediate reissued by the CA above it, with what is missing, and put it in place at the "+is.Type+" issuer "+at) + "; then: renewer renew --all"
	case is.Role != "":
		at = "role " + is.Role + " of mount " + at
	case at != "":
		at = "the template of provisioner " + at
	default:
		at = "what signs for this " + is.Type + " issuer"
	}
	return "change " + at + " so that its certificates have what is missing (RFC 5280); then: renewer renew --all"
}

// strictlyRefused are the faults of the chains in place, by issuer.
func (a *App) strictlyRefused(fleet *configs.Fleet) map[string][]string {
	out := map[string][]string{}
	for _, c := range fleet.Certificates {
		rec, ok, err := a.store.Record(c.Name)
		if err != nil || !ok {
			continue
		}
		g, ok, err := a.store.Generation(c.Name, rec.Current)
		if err != nil || !ok || len(g.Chain) == 0 {
			continue
		}
		if chain, err := g.Parse(); err == nil {
			out[g.Request.Issuer] = append(out[g.Request.Issuer], pki.ChainFaults(chain)...)
		}
	}
	return out
}
