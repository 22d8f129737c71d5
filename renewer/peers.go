package renewer

import (
	"fmt"
	"slices"
)

// Peer is one certificate of a group with what is in place of it.
type Peer struct {
	Certificate Certificate
	Placements  map[string]PlacementState
	// Issuer signed the generation that is in place; empty if there is none.
	Issuer string
	// Trust is the TrustDigest that its ca files should have now; empty: not
	// known.
	Trust string
}

// TrustNow returns the issuers whose roots go into the ca file of a certificate
// now. In a group that is those it is to trust, and those that still signed what its
// peers have in place: a root is dropped only when nobody shows a certificate
// under it any more.
func (c Certificate) TrustNow(peers []Peer) []string {
	trust := slices.Clone(c.Trust)
	for _, p := range peers {
		if p.Issuer != "" && p.Issuer != p.Certificate.Issuer && c.authenticates(p.Certificate) && !slices.Contains(trust, p.Issuer) {
			trust = append(trust, p.Issuer)
		}
	}
	return trust
}

// authenticates reports whether c checks the certificate of a peer: a server
// that of a client, and the other way round.
func (c Certificate) authenticates(peer Certificate) bool {
	if c.Name == peer.Name {
		return len(c.Usages) > 1
	}
	isServer, isClient := slices.Contains(c.Usages, UsageServer), !slices.Equal(c.Usages, []Usage{UsageServer})
	return isServer && slices.Contains(peer.Usages, UsageClient) || isClient && slices.Contains(peer.Usages, UsageServer)
}

// Untrusting says which peer would not accept a certificate of another issuer
// yet: one whose ca file is not what it should be. Empty if there is none.
func (c Certificate) Untrusting(peers []Peer) string {
	for _, p := range peers {
		if p.Trust == "" || !p.Certificate.authenticates(c) {
			continue
		}
		for _, placed := range p.Certificate.Placements {
			st := p.Placements[placed.Host]
			if _, has := placed.Files[FileCA]; has && st.Revision != "" && st.Trust != p.Trust {
				return fmt.Sprintf("%s does not have the roots of issuer %s yet", placed.ID(), c.Issuer)
			}
		}
	}
	return ""
}
