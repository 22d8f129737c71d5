package rotation

import (
	"slices"
	"time"
)

// Stage is where a rotation is.
type Stage string

// The stages, in their order; cancel and cancelled in the place of all that
// follows add_root.
const (
	AddRoot   Stage = "add_root"
	Reissue   Stage = "reissue"
	Keep      Stage = "keep"
	DropRoot  Stage = "drop_root"
	Done      Stage = "done"
	Cancel    Stage = "cancel"
	Cancelled Stage = "cancelled"
)

// Over reports whether nothing is left to do.
func (s Stage) Over() bool { return s == Done || s == Cancelled }

// Kind is where the next CA comes from.
type Kind string

// The kinds.
const (
	Made     Kind = "rotate"  // another key, made by renewer
	Imported Kind = "import"  // a CA that was made elsewhere
	Reissued Kind = "reissue" // the same key and name, signed again
)

// CA is one of the two CAs of a rotation.
type CA struct {
	Subject     string    `json:"subject"`
	Fingerprint string    `json:"fingerprint_sha256"` // of what signs
	Root        string    `json:"root"`               // ID of the root above it, or of itself
	Key         string    `json:"key"`
	NotAfter    time.Time `json:"not_after"`
	TakenBack   bool      `json:"taken_back,omitempty"` // it never signed
}

// Rotation is the record of one. What an operator asked for, and when what was
// observed first; Stage is the last one that was recorded.
type Rotation struct {
	Issuer      string        `json:"issuer"`
	Kind        Kind          `json:"kind"`
	Why         string        `json:"why"`
	From        CA            `json:"from"`
	Before      []CA          `json:"before,omitempty"` // the ones before From, of a rotation that this one took over from
	To          CA            `json:"to"`
	Stage       Stage         `json:"stage"`
	Now         bool          `json:"now,omitempty"`  // certificates are reissued without waiting for windows
	Anew        bool          `json:"anew,omitempty"` // another key under the same root: what was signed before is reissued
	Compromised bool          `json:"compromised,omitempty"`
	ToldAt      time.Time     `json:"told_at,omitzero"`  // when Compromised was said, if that was not at the start
	Without     []string      `json:"without,omitempty"` // hosts that it goes on without
	Keep        time.Duration `json:"keep,omitempty"`    // how long after the switch the old root is trusted at least
	StartedAt   time.Time     `json:"started_at"`
	CancelledAt time.Time     `json:"cancelled_at,omitzero"` // asked for
	SwitchedAt  time.Time     `json:"switched_at,omitzero"`
	ReissuedAt  time.Time     `json:"reissued_at,omitzero"`
	EndedAt     time.Time     `json:"ended_at,omitzero"`
	StageAt     time.Time     `json:"stage_at"`                // when Stage began
	Said        string        `json:"said,omitempty"`          // what it needs of an operator, as it was last said
	Listed      bool          `json:"listed,omitempty"`        // the old CA's certificates are all on its last CRL
	KeyGone     bool          `json:"key_destroyed,omitempty"` // the old key was removed
	Left        []string      `json:"left,omitempty"`          // what still had the old root in its ca file when it ended
}

// KeepUntil is until when the old root is trusted at least; zero where that was
// not asked for, or signing is not switched yet.
func (r Rotation) KeepUntil() time.Time {
	if r.Keep <= 0 || r.SwitchedAt.IsZero() || r.Compromised {
		return time.Time{}
	}
	return r.SwitchedAt.Add(r.Keep)
}

// Trusts reports whether the old root belongs into the ca files although nothing
// under it may be left.
func (r Rotation) Trusts(now time.Time) bool { return now.Before(r.KeepUntil()) }

// Old are the CAs whose roots are to go: From, and those that were on their fix
// when this rotation took over.
func (r Rotation) Old() (list []CA) {
	for _, c := range append([]CA{r.From}, r.Before...) {
		if c.Root != r.To.Root {
			list = append(list, c)
		}
	}
	return list
}

// Replaced are the CAs whose certificates are reissued.
func (r Rotation) Replaced() []CA {
	if r.Anew {
		return append([]CA{r.From}, r.Before...)
	}
	return r.Old()
}

// Gone are the roots that no leaf keeps in a ca file any more: a presenter of one is
// refused from now on.
func (r Rotation) Gone() (roots []string) {
	if (r.Stage == DropRoot || r.Stage == Done) && (r.Compromised || len(r.Without) > 0) {
		for _, c := range r.Old() {
			roots = append(roots, c.Root)
		}
	}
	return roots
}

// Revoked are the CAs whose certificates are all void because their key is
// compromised, and the roots of those that go: nothing goes back to them.
func (r Rotation) Revoked() (ids []string) {
	if !r.Compromised {
		return nil
	}
	for _, c := range r.Old() {
		ids = append(ids, c.Root)
	}
	for _, c := range append([]CA{r.From}, r.Before...) {
		ids = append(ids, c.Fingerprint)
	}
	return ids
}

// TakeOver has a rotation go on for one whose CA signs and cannot sign what is left:
// what was asked for with that one holds, and its old CAs are to go as well. Of one that
// was taken back only that remains: its next CA's root is an old one.
func (r Rotation) TakeOver(from Rotation) Rotation {
	if !from.CancelledAt.IsZero() {
		from.To.TakenBack = true
		r.Before = append(slices.Clone(from.Before), from.To)
		return r
	}
	r.Before = append(slices.Clone(from.Before), from.From)
	r.Anew = r.Anew || slices.ContainsFunc(r.Before, func(c CA) bool { return c.Root == r.To.Root })
	r.Now, r.Keep = r.Now || from.Now, max(r.Keep, from.Keep)
	for _, host := range from.Without {
		if !slices.Contains(r.Without, host) {
			r.Without = append(r.Without, host)
		}
	}
	if from.Compromised && !r.Compromised {
		r.Compromised, r.ToldAt = true, from.CompromisedAt()
	}
	return r
}

// CompromisedAt is when it was said that the key is compromised.
func (r Rotation) CompromisedAt() time.Time {
	if r.ToldAt.IsZero() {
		return r.StartedAt
	}
	return r.ToldAt
}

// Switched reports whether the next CA signs, or another one after it.
func (r Rotation) Switched(o Observed) bool { return o.Signing == r.To.Fingerprint || o.Followed }

// Holder is a placement that a stage waits for.
type Holder struct {
	Name        string // of the placement
	Certificate string
	Host        string
	Why         string    // what is waited for, as a sentence that begins with Name
	Hint        string    // what to do about that; empty: nothing is known
	Away        bool      // its host cannot be reached
	Blocked     bool      // only an operator can change it
	Until       time.Time // when it ends by time; zero: not by time
	Left        bool      // it left the fleet file: Blocked until it is back, or let go
	Replaced    bool      // its files have the certificate that it is to present
	Kept        time.Time // an operator rolled it back, and it is renewed then; zero: not that
}

// Stuck reports whether its files are as they should be, and only its service is not.
func (h Holder) Stuck() bool { return h.Replaced && h.Blocked && !h.Away }

// Observed is what is in place.
type Observed struct {
	Signing    string    // SHA-256 of the certificate that signs now
	Followed   bool      // that is none of this rotation, whose next CA signed before it: the record is of a backup
	Next       string    // and of the next one; empty: none
	NextErr    error     // why signing cannot be switched: the next CA cannot be opened
	SigningErr error     // why the CA that signs cannot sign what Presenting is to get
	Hurried    bool      // some of all these are done now whatever their window, from now on
	SwitchBy   time.Time // from then on the CA cannot sign a certificate of full life
	Lacking    []Holder  // verifiers without the next root in place and loaded
	Presenting []Holder  // placements that present a leaf under the old root and not under the new one
	Holding    []Holder  // verifiers with the root that is to go in their ca file
	Trusting   []string  // all with an old root in their ca file, placed by renewer or not
}
