package renewer

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"slices"
)

// RootSet is a set of roots by their RootID, sorted. nil is "unknown", which
// equals nothing, not even itself; an empty one is known to hold none.
type RootSet []string

// RootID identifies a root certificate: the first 16 bytes of the SHA-256 of
// its DER, in hex.
func RootID(der []byte) string { return Fingerprint(der)[:32] }

// NewRootSet returns the set of the given IDs; never unknown.
func NewRootSet(ids ...string) RootSet {
	out := append(RootSet{}, ids...)
	slices.Sort(out)
	return slices.Compact(out)
}

// RootSetOf returns the set of the given roots; never unknown.
func RootSetOf(roots []*x509.Certificate) RootSet {
	ids := make([]string, 0, len(roots))
	for _, c := range roots {
		ids = append(ids, RootID(c.Raw))
	}
	return NewRootSet(ids...)
}

// Known reports whether the set is known at all.
func (s RootSet) Known() bool { return s != nil }

// Same reports whether both are known and equal.
func (s RootSet) Same(o RootSet) bool { return s != nil && o != nil && slices.Equal(s, o) }

// Has reports whether a root is known to be in the set.
func (s RootSet) Has(id string) bool {
	_, ok := slices.BinarySearch(s, id)
	return ok
}

// Meets reports whether a root is known to be in both.
func (s RootSet) Meets(o RootSet) bool { return slices.ContainsFunc(s, o.Has) }

// With returns the union; what is unknown adds nothing.
func (s RootSet) With(o RootSet) RootSet {
	if len(o) == 0 {
		return s
	}
	return NewRootSet(slices.Concat(s, o)...)
}

// Without returns what is in s and not known to be in o.
func (s RootSet) Without(o RootSet) RootSet {
	return slices.DeleteFunc(slices.Clone(s), o.Has)
}

// Origin says where the bytes at a placement's live names came from.
type Origin string

// The origins. Only the bytes of the first two can be a match.
const (
	OriginUnknown Origin = ""
	OriginIssued  Origin = "issued"  // written by renewer, exactly as it wanted them then
	OriginAdopted Origin = "adopted" // there before renewer, compared with the entry and taken over
	OriginForeign Origin = "foreign" // somebody else's
	OriginNone    Origin = "none"    // there are none, as of the last look: nothing was placed yet
)

// Seen is what the last look found at a placement's live names where that is
// not what was placed.
type Seen struct {
	Content  bool    `json:"content"`        // other bytes, not only modes, owners or names
	Leaf     string  `json:"leaf,omitempty"` // SHA-256, hex; empty: no certificate
	Under    RootSet `json:"under"`          // the known roots that it leads to
	NotAfter int64   `json:"not_after,omitempty"`
	Roots    RootSet `json:"roots"` // of the ca file
}

// Loaded is what a service is known to use: what was in place when it was last
// made to load its files and proven.
type Loaded struct {
	Generation int     `json:"generation"`
	Roots      RootSet `json:"roots,omitempty"`
}

// TrustDigest identifies a set of roots, whatever their order: 16 hex digits
// of a SHA-256. Empty for no roots. Versions before kept it instead of a RootSet.
func TrustDigest(roots []*x509.Certificate) string {
	if len(roots) == 0 {
		return ""
	}
	prints := make([]string, 0, len(roots))
	for _, c := range roots {
		prints = append(prints, Fingerprint(c.Raw))
	}
	slices.Sort(prints)
	prints = slices.Compact(prints)
	h := sha256.New()
	for _, p := range prints {
		h.Write([]byte(p))
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
