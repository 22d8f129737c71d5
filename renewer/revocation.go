package renewer

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Revocation asks an issuer to revoke one generation that it issued.
type Revocation struct {
	Certificate string
	Serial      string // lower-case hex, as in Generation
	Chain       Chain
	Reason      RevocationReason
}

// RevokeRequest asks for a revocation of what a name stands for.
type RevokeRequest struct {
	Name string `json:"name"`
	// Generation of the one certificate that Name stands for; 0: the current
	// one of each or, before the first is proven, the latest.
	Generation int              `json:"generation,omitempty"`
	Reason     RevocationReason `json:"reason,omitempty"`
	// Replace has each renewed first, and revokes the old one only when the new
	// one is proven on every host.
	Replace bool `json:"replace,omitempty"`
}

// Revoked is how the revocation of one generation ended.
type Revoked struct {
	Certificate string           `json:"certificate"`
	Issuer      string           `json:"issuer"`
	Generation  int              `json:"generation"`
	Serial      string           `json:"serial"`
	NotAfter    time.Time        `json:"not_after"`
	Reason      RevocationReason `json:"reason"`
	RevokedAt   time.Time        `json:"revoked_at,omitzero"` // zero: it is not
	Again       bool             `json:"again,omitempty"`     // it was already, for the reason given then
	// ServedBy are the hosts that have it in place still.
	ServedBy []string `json:"served_by"`
	// KeySharedBy are the current certificates with the same key, as it may be
	// where an entry keeps its key (its own name, then) or one was adopted twice. Where that
	// is compromised they are replaced too, and not revoked.
	KeySharedBy []string `json:"key_shared_by,omitempty"`
	// Notes say who learns of it, who looks, and what helps where no one does.
	Notes []string `json:"notes"`
	Error string   `json:"error,omitempty"`
	Hint  string   `json:"hint,omitempty"`
}

// LivesOn returns the hosts on which the live names lead to a generation, sorted.
func (rec Record) LivesOn(generation int) []string {
	hosts := []string{}
	for _, host := range slices.Sorted(maps.Keys(rec.Placements)) {
		if st := rec.Placements[host]; st.Revision != "" && st.Generation == generation {
			hosts = append(hosts, host)
		}
	}
	return hosts
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
	return "", WithHint(fmt.Errorf("unknown revocation reason %q", s), "one of "+strings.Join(names, ", "))
}
