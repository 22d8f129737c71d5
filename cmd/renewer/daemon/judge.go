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

// CheckRequests returns what the CAs at hand would not sign of a fleet file, an
// error for each reason with the first certificate that it concerns.
func CheckRequests(fleet *configs.Fleet) (out []error) {
	judge := judges(fleet)
	more := map[string]int{} // by issuer and reason
	var order []string
	first := map[string]error{}
	for _, c := range fleet.Certificates {
		if judge[c.Issuer] == nil {
			continue
		}
		if err := judge[c.Issuer](c.Request()); err != nil {
			key := c.Issuer + err.Error()
			if more[key]++; more[key] == 1 {
				order = append(order, key)
				first[key] = renewer.WithHint(fmt.Errorf("certificate %s: %w", c.Name, err), renewer.Hint(err))
			}
		}
	}
	for _, key := range order {
		if err := first[key]; more[key] > 1 {
			out = append(out, renewer.WithHint(fmt.Errorf("%w (and %d more)", err, more[key]-1), renewer.Hint(err)))
		} else {
			out = append(out, err)
		}
	}
	return out
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
