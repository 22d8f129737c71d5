package daemon

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"renewer/configs"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/engine"
	"renewer/renewer/pki"
)

// judges say what a local issuer would refuse, before anything is signed. An
// issuer without a CA, or with one that cannot be read, has none: that is said
// where the CA is needed.
func judges(fleet *configs.Fleet) map[string]func(renewer.Request) error {
	out := map[string]func(renewer.Request) error{}
	for _, is := range fleet.Issuers {
		if is.Type != "local" {
			continue
		}
		if judge, err := local.Judge(localConfig(is)); err == nil {
			out[is.Name] = judge
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

// CheckRequests returns what the CAs at hand would not sign of a fleet file, an
// error for each reason with the first request that it concerns.
func CheckRequests(fleet *configs.Fleet) (out []error) {
	for _, is := range fleet.Issuers {
		if is.Type != "local" {
			continue
		}
		if judge, err := local.Judge(localConfig(is)); err == nil {
			out = append(out, refusals(fleet, is.Name, judge)...)
		}
	}
	return out
}

func refusals(fleet *configs.Fleet, issuer string, judge func(renewer.Request) error) (out []error) {
	first, more := map[string]int{}, map[int]int{} // by reason, and by place in out
	requestsTo(fleet, issuer, func(whose string, r renewer.Request) {
		err := judge(r)
		if err == nil {
			return
		}
		if i, known := first[err.Error()]; known {
			more[i]++
			return
		}
		first[err.Error()] = len(out)
		out = append(out, renewer.WithHint(fmt.Errorf("%s: %w", whose, err), renewer.Hint(err)))
	})
	for i, n := range more {
		out[i] = renewer.WithHint(fmt.Errorf("%w (and %d more)", out[i], n), renewer.Hint(out[i]))
	}
	return out
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

// StrictFix is the way to have a CA that peers which verify strictly accept, by why they
// refuse the one that is there.
func StrictFix(issuer string, faults ...string) string {
	if slices.ContainsFunc(faults, func(fault string) bool { return strings.Contains(fault, pki.EmptySubject) }) {
		return "renewer ca rotate " + issuer + " replaces it with a CA that has a name"
	}
	return "renewer ca reissue " + issuer + " signs the same key and name with the extensions that are missing"
}

// strictFindings are the CAs that strict peers refuse.
func (a *App) strictFindings(ctx context.Context) (found []renewer.Finding) {
	for _, is := range a.parts.Load().fleet.Issuers {
		roots := a.rootsOf(ctx, []string{is.Name})
		if len(roots) == 0 {
			continue // that is said where the issuer is looked at
		}
		f := renewer.Finding{Check: "strict-peers", Level: renewer.FindingOK, Text: "peers that verify strictly accept the CA of issuer " + is.Name}
		for _, root := range roots {
			for _, fault := range pki.StrictFaults(root) {
				f.Level = renewer.FindingWarn
				f.Text = fmt.Sprintf("peers that verify strictly, such as Python 3.13 and later, refuse the CA of issuer %s: of %s, %s",
					is.Name, cmp.Or(root.Subject.String(), "the root with serial "+renewer.SerialHex(root)), fault)
				f.Fix = "have the CA signed anew with what is missing (RFC 5280)"
				if is.Type == "local" {
					f.Fix = StrictFix(is.Name, fault)
				}
			}
		}
		found = append(found, f)
	}
	return found
}
