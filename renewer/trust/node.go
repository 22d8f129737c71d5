package trust

import (
	"slices"
	"time"

	"renewer/renewer"
)

// Side is what a leaf is shown as.
type Side int

// The sides.
const (
	Server Side = iota
	Client
	sides
)

// ID names a placement.
type ID struct{ Certificate, Host string }

func (id ID) String() string {
	return renewer.Placement{Certificate: id.Certificate, Host: id.Host}.ID()
}

// Leaf is a certificate that a placement shows, or is about to.
type Leaf struct {
	Issuer   string // by name, that signed it
	Under    renewer.RootSet
	IssuedAt time.Time
	NotAfter time.Time
	Coming   bool // on its way: it is not shown yet
}

// Node is what is known of one placement.
type Node struct {
	ID
	name   string      // of the placement; given by Put
	Shows  [sides]bool // its leaves, as a server, as a client
	Issuer string      // that its certificate names now
	Leaves []Leaf      // in place, loaded, or on their way

	Placed   bool        // its ca file, with Roots that may be unknown
	Checks   [sides]bool // the leaves of others
	Trust    []string    // issuers whose presenters it is to accept
	Roots    renewer.RootSet
	Loaded   renewer.RootSet
	Settles  time.Time       // from then on Roots count as loaded; zero: never by time
	Assumed  bool            // Loaded is assumed: nothing is activated there
	Foreign  renewer.RootSet // those of Roots that no one but their owner drops
	Unwanted map[string]time.Time

	// Left: it left the fleet file, so nothing changes its files any more. It counts
	// until Until; zero: until it is let go.
	Left  bool
	Until time.Time
}

// over reports whether a placement that left the fleet file verifies nothing any
// more.
func (n *Node) over(now time.Time) bool { return n.Left && !n.Until.IsZero() && !now.Before(n.Until) }

// unknown stands for the roots of a leaf that are not known.
const unknown = "?"

// roots are those that a leaf leads to, with a name for what is not known.
func (l Leaf) roots() renewer.RootSet {
	if l.Under.Known() {
		return l.Under
	}
	return renewer.RootSet{unknown}
}

// NewNode returns the node of a placement without anything in place.
func NewNode(id ID, issuer string, r renewer.Role) Node {
	n := Node{ID: id, Issuer: issuer, Trust: r.Trust}
	n.Shows[Server] = slices.Contains(r.Usages, renewer.UsageServer)
	n.Shows[Client] = slices.Contains(r.Usages, renewer.UsageClient)
	if len(r.Trust) > 0 {
		n.Checks[Client] = n.Shows[Server]
		n.Checks[Server] = n.Shows[Client] || len(r.Usages) == 0
	}
	return n
}

// Left returns the node of a placement that left the fleet file, with the leaf that
// it shows. Where a version before recorded it, its ca file is not known: it is
// taken for a verifier of its own issuer, with roots that are unknown.
func Left(certificate string, d renewer.Departed) Node {
	r := d.Role
	if !r.Known() {
		r = renewer.Role{Usages: d.Usages, Trust: []string{d.Issuer}}
	}
	n := NewNode(ID{certificate, d.Host}, d.Issuer, r)
	n.Left, n.Until, n.Placed = true, d.NotAfter, len(r.Trust) > 0
	if len(d.Usages) > 0 {
		n.Leaves = []Leaf{{Issuer: d.Issuer, Under: d.Under, IssuedAt: d.IssuedAt, NotAfter: d.NotAfter}}
	}
	return n
}

// LeafOf returns a generation as a leaf.
func LeafOf(g *renewer.Generation) Leaf {
	return Leaf{Issuer: g.Request.Issuer, Under: g.Under, IssuedAt: g.IssuedAt, NotAfter: g.NotAfter}
}
