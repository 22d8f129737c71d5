package renewer

import (
	"fmt"
	"slices"
	"strings"
)

// Revocation asks an issuer to revoke one generation that it issued.
type Revocation struct {
	Certificate string
	Serial      string // lower-case hex, as in Generation
	Chain       Chain
	Reason      RevocationReason
}

// RevocationReason is a CRLReason (RFC 5280, section 5.3.1), by its name there.
type RevocationReason string

// The reasons that make sense for a leaf that is revoked for good.
const (
	RevokedUnspecified          RevocationReason = "unspecified"
	RevokedKeyCompromise        RevocationReason = "keyCompromise"
	RevokedAffiliationChanged   RevocationReason = "affiliationChanged"
	RevokedSuperseded           RevocationReason = "superseded"
	RevokedCessationOfOperation RevocationReason = "cessationOfOperation"
	RevokedPrivilegeWithdrawn   RevocationReason = "privilegeWithdrawn"
)

// RevocationReasons lists every reason, the default first.
var RevocationReasons = []RevocationReason{
	RevokedUnspecified, RevokedKeyCompromise, RevokedAffiliationChanged, RevokedSuperseded,
	RevokedCessationOfOperation, RevokedPrivilegeWithdrawn,
}

var reasonCodes = map[RevocationReason]int{
	RevokedUnspecified: 0, RevokedKeyCompromise: 1, RevokedAffiliationChanged: 3, RevokedSuperseded: 4,
	RevokedCessationOfOperation: 5, RevokedPrivilegeWithdrawn: 9,
}

// Code returns the number of the reason in RFC 5280.
func (r RevocationReason) Code() int { return reasonCodes[r] }

// ParseRevocationReason reads a reason, whatever its case; an empty one is
// unspecified.
func ParseRevocationReason(s string) (RevocationReason, error) {
	if s == "" {
		return RevokedUnspecified, nil
	}
	names := make([]string, 0, len(RevocationReasons))
	for _, r := range RevocationReasons {
		if strings.EqualFold(s, string(r)) {
			return r, nil
		}
		names = append(names, string(r))
	}
	slices.Sort(names)
	return "", WithHint(fmt.Errorf("%q is no reason of a revocation", s), "one of "+strings.Join(names, ", "))
}
