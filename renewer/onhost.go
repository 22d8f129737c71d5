package renewer

import (
	"crypto/x509"
	"io/fs"
	"math"
	"time"
)

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
	Revision   string    // where current leads; empty for plain files or none
	Leaf       string    // SHA-256 of the leaf, hex; empty if there is no certificate
	Chain      Chain     // the leaf with what came along
	NotAfter   time.Time // of the leaf
	Trusts     RootSet   // the roots of the ca file; unknown if that could not be read
	Roots      []*x509.Certificate
	Deviations []Deviation // what differs from the placement
	Unmarked   bool        // no renewer keeps the directory yet, although one has placed it
	Key        *KeyFile    // the private key, as what was opened is; nil: there is none, or it was not seen
}

// KeyFile is who may read a file with a private key.
type KeyFile struct {
	UID, GID int
	Mode     fs.FileMode
}

// Room is what is left on a file system, in bytes.
type Room struct{ Free, Used uint64 }

// Full is the share of it that is used, in percent, as df(1) has it.
func (r Room) Full() int {
	if r.Used == 0 {
		return 0
	}
	return int(math.Ceil(float64(r.Used) * 100 / (float64(r.Used) + float64(r.Free))))
}

// Expected is what should be at the live names of a placement.
type Expected struct {
	Leaf string // SHA-256, hex; empty: none, of a trust bundle
	// Roots are exactly those of the ca file. Where no one has compared the file
	// yet they are unknown: then it has the Digest of a version before or, without
	// one, AtLeast those.
	Roots   RootSet
	Digest  string
	AtLeast RootSet
	Origin  Origin // of adopted files only the names may be plain; of foreign ones only the leaf counts
}

// Differs says what is not as expected; empty if all is.
func (e Expected) Differs(p Placement, d OnDisk) (wrong []string) {
	for _, problem := range d.Deviations {
		if e.Origin == OriginForeign || e.Origin == OriginAdopted && (problem.Kind == DeviationForeign || problem.Harmless) {
			continue
		}
		wrong = append(wrong, problem.Text)
	}
	if e.Leaf != "" && d.Leaf != e.Leaf {
		wrong = append(wrong, ShortPrint(d.Leaf)+" instead of "+ShortPrint(e.Leaf))
	}
	if name, has := p.Files[FileCA]; has && e.Origin != OriginForeign && !e.trusts(d) {
		wrong = append(wrong, name+" holds other roots than expected")
	}
	return wrong
}

// Content reports whether other bytes are there than expected, not only other
// modes, owners or names.
func (e Expected) Content(p Placement, d OnDisk) bool {
	for _, problem := range d.Deviations {
		switch problem.Kind {
		case DeviationMode, DeviationOwner, DeviationForeign:
		default:
			return true
		}
	}
	_, has := p.Files[FileCA]
	return e.Leaf != "" && d.Leaf != e.Leaf || has && !e.trusts(d)
}

func (e Expected) trusts(d OnDisk) bool {
	switch {
	case e.Roots.Known():
		return e.Roots.Same(d.Trusts)
	case e.Digest != "":
		return TrustDigest(d.Roots) == e.Digest
	case e.AtLeast.Known():
		return d.Trusts.Known() && len(e.AtLeast.Without(d.Trusts)) == 0
	default:
		return false // unknown equals nothing
	}
}

// ShortPrint shortens a fingerprint for people.
func ShortPrint(fingerprint string) string {
	if fingerprint == "" {
		return "no certificate"
	}
	return "certificate " + fingerprint[:min(16, len(fingerprint))] + "…"
}

// DeviationKind says what is wrong with a file.
type DeviationKind string

// The kinds of problem.
const (
	DeviationMissing    DeviationKind = "missing"
	DeviationUnreadable DeviationKind = "unreadable"
	DeviationForeign    DeviationKind = "foreign" // not renewer's link
	DeviationMode       DeviationKind = "mode"
	DeviationOwner      DeviationKind = "owner"
	DeviationContent    DeviationKind = "content" // not what should be in it, or more
	DeviationKey        DeviationKind = "key"     // no key, or not the certificate's
)

// Deviation is one thing that is wrong on disk.
type Deviation struct {
	Kind DeviationKind
	Text string // for people, with the file's name
	// Harmless: only what the owner may do himself is another than the placement
	// says. It counts for what renewer wrote, and not for what it adopted.
	Harmless bool
	// Readable: of a public file, which more may read than the placement says.
	Readable bool
}

// Texts returns the problems as people read them.
func (d OnDisk) Texts() []string {
	out := make([]string, 0, len(d.Deviations))
	for _, p := range d.Deviations {
		out = append(out, p.Text)
	}
	return out
}

// Container is one that runs, with the files and directories of its host that are
// mounted into it.
type Container struct {
	Name    string
	User    string // as configured, NAME or UID, with :GROUP maybe; empty: the image's, mostly root
	Sources []string
	Started time.Time // by the host's clock; zero: not known
}
