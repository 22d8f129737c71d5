package renewer

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Acceptance is how a verifier takes a leaf, by what is in place and loaded.
type Acceptance string

// The ways in which a verifier takes a leaf. Only the first two accept it.
const (
	Accepted   Acceptance = "accepted"
	Assumed    Acceptance = "assumed"    // the root is in place, and assumed to be loaded: nothing is activated there
	NotLoaded  Acceptance = "not_loaded" // the root is in place, and not known to be loaded
	NoRoot     Acceptance = "no_root"    // its ca file lacks the root
	HasExpired Acceptance = "expired"    // the leaf or its root
	NotKnown   Acceptance = "unknown"    // the roots of the leaf or of the ca file are unknown
	// Of an impact alone.
	WouldExpire Acceptance = "would_expire" // the leaf, or its root
	IfChecked   Acceptance = "if_checked"   // refused by those that check revocation
)

// Works reports whether the leaf is accepted.
func (a Acceptance) Works() bool { return a == Accepted || a == Assumed }

// Trust is who accepts whom, from what is in place. Placements of which the same
// holds are one.
type Trust struct {
	At    time.Time   `json:"at"`
	Pairs []TrustPair `json:"pairs"`
	Roots []TrustRoot `json:"roots"`
}

// TrustPair is some presenters and how some verifiers take what they show.
type TrustPair struct {
	Presenters []string   `json:"presenters"` // placements, as Placement.ID has them; sorted
	As         Usage      `json:"as"`         // what they show it as
	Issuer     string     `json:"issuer"`     // who signed it
	Under      RootSet    `json:"under"`      // IDs of the roots that it leads to; null: unknown
	NotAfter   time.Time  `json:"not_after"`  // of the leaf that expires first
	Verifiers  []string   `json:"verifiers"`
	State      Acceptance `json:"state"`
	Until      time.Time  `json:"until,omitzero"` // not_loaded: when it counts as loaded at the latest; zero: not by time
	Since      time.Time  `json:"since,omitzero"` // expired: since when
	Coming     bool       `json:"coming"`         // it is on its way, and not presented yet
}

// TrustRoot is one root of the fleet.
type TrustRoot struct {
	ID          string    `json:"id"`
	Fingerprint string    `json:"fingerprint_sha256"`
	Subject     string    `json:"subject"`
	NotAfter    time.Time `json:"not_after"`
	Issuers     []string  `json:"issuers"`    // that have it now
	Presenters  int       `json:"presenters"` // placements with a leaf under it
	Verifiers   int       `json:"verifiers"`  // placements with it in their ca file
	Foreign     []string  `json:"foreign"`    // those of them where it was found and is kept until it is dropped by name
	NeededBy    []string  `json:"needed_by"`  // of a root that no issuer has now: the presenters for which it stays
}

// Name returns the CN of the subject, or all of it.
func (r TrustRoot) Name() string {
	for part := range strings.SplitSeq(r.Subject, ",") {
		if cn, ok := strings.CutPrefix(part, "CN="); ok {
			return cn
		}
	}
	return r.Subject
}

// ImpactCase is what an impact supposes.
type ImpactCase string

// The cases.
const (
	ImpactRenewed ImpactCase = "renewed" // renewed now, under the roots that the issuer has now
	ImpactExpired ImpactCase = "expired"
	ImpactRevoked ImpactCase = "revoked"
	ImpactRemoved ImpactCase = "removed"
)

// Impact is who would refuse whom if something happened, and what else to know.
type Impact struct {
	At      time.Time  `json:"at"`
	Kind    string     `json:"kind"` // certificate, host, issuer or root
	Name    string     `json:"name"`
	Case    ImpactCase `json:"case"`
	Refused []Refusal  `json:"refused"`
	Notes   []string   `json:"notes"`
}

// Refusal is some presenters that some verifiers would refuse although they
// accept them now.
type Refusal struct {
	Presenters []string   `json:"presenters"`
	As         Usage      `json:"as"`
	Issuer     string     `json:"issuer"`
	Under      RootSet    `json:"under"`
	Verifiers  []string   `json:"verifiers"`
	State      Acceptance `json:"state"`    // how they would take it
	Since      time.Time  `json:"since"`    // from when on
	Services   []string   `json:"services"` // at either end, as UNIT@HOST; sorted
}

// TrustRequest asks for all, or for what concerns the certificates that the names
// stand for.
type TrustRequest struct {
	Names []string `json:"names,omitempty"` // of certificates or entries; repeatable
	Brief bool     `json:"brief,omitempty"` // name a few members of a group and count the others
}

// briefMembers is how many entries a brief answer names.
const briefMembers = 3

// Brief has members as Members names them: a large fleet's are not carried around
// to be counted.
func (t Trust) Brief() Trust {
	for i := range t.Pairs {
		t.Pairs[i].Presenters, t.Pairs[i].Verifiers = Members(t.Pairs[i].Presenters, briefMembers), Members(t.Pairs[i].Verifiers, briefMembers)
	}
	for i := range t.Roots {
		t.Roots[i].Foreign, t.Roots[i].NeededBy = Members(t.Roots[i].Foreign, briefMembers), Members(t.Roots[i].NeededBy, briefMembers)
	}
	return t
}

// Brief is that of Trust.
func (i Impact) Brief() Impact {
	for n := range i.Refused {
		r := &i.Refused[n]
		r.Presenters, r.Verifiers, r.Services = Members(r.Presenters, briefMembers), Members(r.Verifiers, briefMembers), Members(r.Services, briefMembers)
	}
	return i
}

// ImpactRequest asks for an impact. The target is a certificate, host, issuer or
// root; KIND:NAME where a name stands for several.
type ImpactRequest struct {
	Target string     `json:"target"`          // a certificate, host, issuer or root; KIND:NAME where a name stands for several
	Case   ImpactCase `json:"case,omitempty"`  // what happens to it; default: renewed, or removed for a root
	Brief  bool       `json:"brief,omitempty"` // name a few members of a group and count the others
}

// ForgetRequest lets go of what left the fleet file under a name: of a
// certificate, or of an entry for all its hosts.
type ForgetRequest struct {
	Name string `json:"name"`
	Look bool   `json:"look,omitempty"` // only say what that is
}

// RootDropped is a root that leaves the ca files by name.
type RootDropped struct {
	Root       TrustRoot `json:"root"`
	Placements []string  `json:"placements"` // whose ca files it leaves
}

// Forgotten is what left the fleet file and is let go.
type Forgotten struct {
	Certificate string    `json:"certificate"`
	Host        string    `json:"host"` // that had it in place
	Generation  int       `json:"generation"`
	Issuer      string    `json:"issuer"`
	NotAfter    time.Time `json:"not_after"`
	Accepted    []string  `json:"accepted_by"` // verifiers that accept it now, and may refuse it from now on
}

// Service names what an activation is about; empty for none.
func (a Activation) Service() string {
	switch a.Kind {
	case ActivateSystemd:
		return strings.Join(a.Units, "+")
	case ActivateDocker:
		return a.Container
	case ActivateSignal:
		return a.PIDFile
	case ActivateCommand:
		return a.Command[0]
	default:
		return ""
	}
}

// Members names placements in few words: those of one entry together. Up to most
// entries are named (0: all).
func Members(ids []string, most int) []string {
	var out []string
	count := map[string]int{}
	for _, id := range ids {
		entry, _, _ := strings.Cut(id, "@")
		if count[entry]++; count[entry] == 1 {
			out = append(out, id)
		}
	}
	for i, id := range out {
		if entry, _, _ := strings.Cut(id, "@"); count[entry] > 1 {
			out[i] = fmt.Sprintf("%s×%d", entry, count[entry])
		}
	}
	if more := len(out) - most; most > 0 && more > 0 {
		out = append(slices.Clone(out[:most]), fmt.Sprintf("%d more", more))
	}
	return out
}
