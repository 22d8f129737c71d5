package renewer

import "time"

// Staged is what staging a placement found and wrote.
type Staged struct {
	Revision string // the revision that now lies beside what is live
	Previous string // the live revision; r0-… for files to be taken over; empty for none
	Live     bool   // Revision is the live one already
}

// Activated is what activating did.
type Activated struct {
	// NotRunning names what does not run and was therefore left alone:
	// a service that somebody stopped is not started. Empty: all ran.
	NotRunning string
}

// OnDisk is what the live names of a placement hold.
type OnDisk struct {
	Revision string    // where current leads; empty for plain files or none
	Leaf     string    // SHA-256 of the leaf, hex; empty if there is no certificate
	NotAfter time.Time // of the leaf
	Trust    string    // TrustDigest of the ca file; empty if there is none
	Problems []Problem // what differs from the placement
}

// ProblemKind says what is wrong with a file.
type ProblemKind string

// The kinds of problem.
const (
	ProblemMissing    ProblemKind = "missing"
	ProblemUnreadable ProblemKind = "unreadable"
	ProblemForeign    ProblemKind = "foreign" // not renewer's link
	ProblemMode       ProblemKind = "mode"
	ProblemOwner      ProblemKind = "owner"
	ProblemContent    ProblemKind = "content" // not what should be in it, or more
	ProblemKey        ProblemKind = "key"     // no key, or not the certificate's
)

// Problem is one thing that is wrong on disk.
type Problem struct {
	Kind ProblemKind
	Text string // for people, with the file's name
}

// Texts returns the problems as people read them.
func (d OnDisk) Texts() []string {
	out := make([]string, 0, len(d.Problems))
	for _, p := range d.Problems {
		out = append(out, p.Text)
	}
	return out
}
