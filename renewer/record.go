package renewer

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"renewer/renewer/problems"
)

// Record is what the inventory keeps of one certificate: which generation is
// proven in place, what is on each host, and the rollout under way. One
// record is written in one transaction with the events that explain it.
type Record struct {
	Name   string `json:"name"`
	Entry  string `json:"entry"`
	Issuer string `json:"issuer"`
	// Current is the generation that every placement was last proven to have;
	// 0 before the first. Latest is the highest number given so far.
	Current int `json:"current"`
	Latest  int `json:"latest"`
	// Adopted: generation 0 is one, what was in place when renewer came.
	Adopted bool `json:"adopted,omitempty"`
	// KeyLost: no host has the key of the current generation any more.
	KeyLost bool `json:"key_lost,omitempty"`
	// RollbackRequest is what the entry asked for when a rollback was made; nil without
	// one. Only an entry that asks for something else ends the rollback.
	RollbackRequest *Request `json:"held,omitempty"`
	// ExpiredNoted is the generation whose end the log has.
	ExpiredNoted int `json:"expired_noted,omitempty"`
	// ExpiringNoted is what the log has of the approach of an end.
	ExpiringNoted ExpiryNote `json:"expiring_noted,omitzero"`
	// Rollouts counts the rollouts so far and makes their names.
	Rollouts   int                       `json:"rollouts"`
	Placements map[string]PlacementState `json:"placements,omitempty"` // by host
	// Departed are placements that left the fleet file with something in place, and
	// Role is what the entry said last of what they are to their peers.
	Departed []Departed `json:"departed,omitempty"`
	Role     Role       `json:"role,omitzero"`
	Rollout  *Rollout   `json:"rollout,omitempty"` // under way, or blocked
	// Asked is a renewal that is requested and not begun; nil for none.
	Asked *Overrides `json:"asked,omitempty"`
	// NextAt is when somebody has to look at this certificate again.
	NextAt time.Time `json:"next_at,omitzero"`
}

// Recorded is what the inventory has of one certificate, with its current
// generation; nil if there is none.
type Recorded struct {
	Record  Record
	Found   bool // else there never was a record
	Current *Generation
}

// HostState is the state of one placement as users see it.
type HostState string

// The states of a placement.
const (
	HostPending    HostState = "pending"
	HostStaged     HostState = "staged"
	HostActivated  HostState = "activated"
	HostVerified   HostState = "verified"
	HostRolledBack HostState = "rolled_back"
	HostBlocked    HostState = "blocked"
	HostDrifted    HostState = "drifted"
	HostUnknown    HostState = "unknown" // a backup was restored, and no one has looked since
)

// PlacementState is what was last known of one placement.
type PlacementState struct {
	State HostState `json:"state"`
	// Generation and Revision are what the live names lead to.
	Generation int        `json:"generation"`
	Revision   string     `json:"revision,omitempty"`
	Revisions  []Revision `json:"revisions,omitempty"` // kept on the host, newest last
	// Dirs are where it was placed, the directory of the live names first; none:
	// unknown. Earlier ones may have the keys of generations still.
	Dirs []string `json:"dirs,omitempty"`
	// Files are the names of the live names in the first of Dirs; none: unknown.
	Files []string `json:"files,omitempty"`
	// Machine is where that is, whatever its host was called then; empty: unknown.
	Machine string `json:"machine,omitempty"`
	// Names are those of the certificate under which its revisions lie there, that of
	// the live names first; none: it was never renamed.
	Names []string `json:"names,omitempty"`
	// Layout and Roots say what was placed beside the leaf: Placement.Layout and
	// the roots of the ca file. Roots of a file that no one has compared yet are
	// unknown; Digest is what a version before kept of them.
	Layout string  `json:"layout,omitempty"`
	Roots  RootSet `json:"roots,omitempty"`
	Digest string  `json:"trust,omitempty"`
	// Foreign are those of Roots that were found in the file and that no one
	// but their owner drops; Unwanted is since when others are no longer asked
	// for by the entry, and kept for peers.
	Foreign  RootSet              `json:"foreign,omitempty"`
	Unwanted map[string]time.Time `json:"unwanted,omitempty"`
	// Origin is of what was placed; Seen is what the last look found instead,
	// nil where it found that or no one has looked since. Only Origin issued or
	// adopted without Seen can be a match.
	Origin   Origin    `json:"origin,omitempty"`
	Seen     *Seen     `json:"seen,omitempty"`
	Loaded   *Loaded   `json:"loaded,omitempty"` // nil: unknown
	PlacedAt time.Time `json:"placed_at,omitzero"`
	// Same counts the rollouts of kind place in a row that were not requested, that left what
	// they found, and without a look in between that found anything wrong; see again.
	Same   int    `json:"again,omitempty"`
	Unseen Unseen `json:"unseen,omitempty"`
	// Interrupted is the step that a rollout left here when the host was lost
	// between two generations; nil for none.
	Interrupted *Step     `json:"interrupted,omitempty"`
	Served      string    `json:"served_sha256,omitempty"` // what the last probe saw
	ServedEnd   time.Time `json:"served_not_after,omitzero"`
	Matches     bool      `json:"matches"` // the last probe saw what it should
	VerifiedAt  time.Time `json:"verified_at,omitzero"`
	ProbedAt    time.Time `json:"probed_at,omitzero"`
	DriftedAt   time.Time `json:"drifted_at,omitzero"` // something else was seen than was placed, last
	// OverBudgetAt is when an activation last took longer than its restart budget.
	OverBudgetAt time.Time `json:"over_budget_at,omitzero"`
	Error        string    `json:"error,omitempty"`
	Hint         string    `json:"hint,omitempty"`
	// Unactivated: no activation of what is live was proven since it was placed.
	// That is how the last one ended, not how the service is: whether it runs is
	// asked (see Look), and a probe that sees only files proves no activation.
	Unactivated bool `json:"unactivated,omitempty"`
	// Failures counts the probes since the last good one; Reprobe is when the
	// next is due outside the probe schedule.
	Failures int       `json:"failures,omitempty"`
	Reprobe  time.Time `json:"reprobe,omitzero"`
}

// Revision is one directory DIR/.renewer/CERT/rN-HASH8 on a host.
type Revision struct {
	Name       string  `json:"name"`
	Generation int     `json:"generation"`
	Roots      RootSet `json:"roots,omitempty"`
	Layout     string  `json:"layout,omitempty"`
	Origin     Origin  `json:"origin,omitempty"`
}

// Row is one line of a list: the columns that the inventory's indexes hold, so
// that no record is decoded to show them. Status depends on the time; the rest
// is as of the last transition.
type Row struct {
	Name        string    `json:"name"`
	Issuer      string    `json:"issuer"` // who signed it; before the first: who is to
	Generation  int       `json:"generation"`
	Status      Status    `json:"status"`
	Serial      string    `json:"serial"`
	Fingerprint string    `json:"fingerprint_sha256"`
	CommonName  string    `json:"common_name"`
	SANs        []string  `json:"sans"`
	Key         KeyType   `json:"key"`
	NotBefore   time.Time `json:"not_before,omitzero"`
	NotAfter    time.Time `json:"not_after,omitzero"`
	RenewAt     time.Time `json:"renew_at,omitzero"`
	Hosts       []HostRow `json:"hosts"`
	// RolloutProblem is what stopped its rollout or has it retry, as recorded; see Problems
	// for all that is wrong. Gate is the trust gate that it waits at; nil: none, or not looked at.
	RolloutProblem problems.ID `json:"rollout_problem,omitempty"`
	Gate           *Waiting    `json:"gate,omitempty"`
}

// HostRow is one host's column of a Row.
type HostRow struct {
	Name       string    `json:"name"`
	State      HostState `json:"state"`
	Generation int       `json:"generation"`
	Served     string    `json:"served_sha256"`
	ServedEnd  time.Time `json:"served_not_after,omitzero"`
	Matches    bool      `json:"matches"` // the last probe saw what it should
	VerifiedAt time.Time `json:"verified_at,omitzero"`
	// When something else was last seen than was placed, and an activation last took
	// longer than its restart budget.
	DriftedAt    time.Time `json:"drifted_at,omitzero"`
	OverBudgetAt time.Time `json:"over_budget_at,omitzero"`
	Error        string    `json:"error"`
}

// Status is the state of a certificate as users see it.
type Status string

// The states of a certificate.
const (
	StatusPending  Status = "pending"  // nothing issued, or the first generation not proven yet
	StatusValid    Status = "valid"    // proven on every host
	StatusDue      Status = "due"      // to be renewed or repaired, not begun
	StatusRenewing Status = "renewing" // a rollout is under way
	StatusBlocked  Status = "blocked"  // only an operator can go on
	StatusExpired  Status = "expired"
	StatusRevoked  Status = "revoked"
	StatusUnknown  Status = "unknown"  // a backup was restored, and no one has looked at a host since
	StatusOrphaned Status = "orphaned" // left the fleet file, and is still in place
)

// Statuses lists every status.
var Statuses = []Status{
	StatusPending, StatusValid, StatusDue, StatusRenewing, StatusBlocked, StatusExpired, StatusRevoked, StatusOrphaned, StatusUnknown,
}

// At returns the row with the status that holds at now: what was valid when
// it was written becomes due, and then expired, by time alone. Its lists are not nil.
func (r Row) At(now time.Time) Row {
	if r.SANs == nil {
		r.SANs = []string{}
	}
	switch {
	case r.Status == StatusRevoked, r.Status == StatusOrphaned, r.NotAfter.IsZero():
	case !now.Before(r.NotAfter):
		r.Status = StatusExpired
	case r.Status == StatusValid && !r.RenewAt.IsZero() && !now.Before(r.RenewAt):
		r.Status = StatusDue
	}
	return r
}

// NewRow makes the row of a certificate from its record and the generation to
// show: the current one or, before the first is proven, the latest.
func NewRow(c Certificate, rec Record, gen *Generation) Row {
	row := Row{
		Name: c.Name, Issuer: c.Issuer, Status: rec.status(c, gen), CommonName: c.CommonName,
		SANs: append([]string{}, c.SANs...), Key: c.Key, Hosts: make([]HostRow, 0, len(c.Placements)), RolloutProblem: rec.Problem(),
	}
	if gen != nil {
		row.Generation, row.Serial, row.Fingerprint = gen.Number, gen.Serial, gen.Fingerprint
		row.NotBefore, row.NotAfter, row.RenewAt = gen.NotBefore, gen.NotAfter, gen.RenewAt
		if gen.Fingerprint != "" {
			row.Issuer, row.CommonName, row.SANs, row.Key = cmp.Or(gen.Request.Issuer, c.Issuer), gen.CommonName, gen.SANs, gen.Request.Key
		}
	}
	if c.IsBundle() {
		row.Key, row.CommonName = "", ""
	}
	for _, p := range c.Placements {
		h, st := rec.hostRow(p.Host), rec.Placements[p.Host]
		if st.Unactivated && st.State == HostActivated && h.Generation == row.Generation && h.Served != "" && h.Served == row.Fingerprint {
			h.Matches = true // seen, although it waits for its activation
		}
		row.Hosts = append(row.Hosts, h)
	}
	return row
}

// Shown returns the generation that lists show: the current one or, before the
// first is proven, the one that is on its way or in place somewhere.
func (rec Record) Shown(current, rolling *Generation) *Generation {
	if current != nil || rolling == nil {
		return current
	}
	if rec.Rollout != nil && !rec.Rollout.Phase.Over() {
		return rolling
	}
	for _, st := range rec.Placements {
		if st.Generation == rolling.Number {
			return rolling
		}
	}
	return nil
}

func (rec Record) hostRow(host string) HostRow {
	st, ok := rec.Placements[host]
	h := HostRow{Name: host, State: HostPending}
	if ok && st.State != "" {
		h = HostRow{
			Name: host, State: st.State, Generation: st.Generation, Served: st.Served, ServedEnd: st.ServedEnd,
			Matches: st.Matches, VerifiedAt: st.VerifiedAt, DriftedAt: st.DriftedAt, OverBudgetAt: st.OverBudgetAt, Error: st.Error,
		}
	}
	if rec.Rollout != nil {
		if step, ok := rec.Rollout.Step(host); ok {
			h.State, h.Error = step.shown(h)
		}
	}
	return h
}

// InPlace reports whether a generation was ever proven, or adopted.
func (rec Record) InPlace() bool { return rec.Current > 0 || rec.Adopted }

func (rec Record) status(c Certificate, gen *Generation) Status {
	open := rec.Rollout != nil && !rec.Rollout.Phase.Over()
	switch {
	case gen != nil && !gen.RevokedAt.IsZero():
		return StatusRevoked
	case rec.Rollout != nil && rec.Rollout.Phase == PhaseBlocked, open && rec.Rollout.GuardBlocked():
		return StatusBlocked
	case !rec.InPlace() && !c.IsBundle():
		return StatusPending
	case open:
		return StatusRenewing
	}
	for _, p := range c.Placements {
		st := rec.Placements[p.Host]
		switch st.State {
		case HostVerified, HostRolledBack:
			if st.Generation != rec.Current && !c.IsBundle() { // it was only another host's turn
				return StatusDue
			}
		case HostBlocked:
			return StatusBlocked
		case HostUnknown:
			return StatusUnknown
		case HostPending, "":
			if c.IsBundle() {
				return StatusPending
			}
			return StatusDue
		default:
			return StatusDue
		}
	}
	return StatusValid
}

// Clone returns a copy that shares nothing that Apply writes to.
func (rec Record) Clone() Record {
	rec.Placements = maps.Clone(rec.Placements)
	if rec.Rollout != nil {
		r := *rec.Rollout
		r.Steps = slices.Clone(r.Steps)
		rec.Rollout = &r
	}
	return rec
}

// Unseen says what is recorded of a placement and was never seen there; empty where
// it was, or where renewer itself put it there since. ProbedAt is when somebody tried
// to look: as long as that is zero, nothing is decided.
type Unseen string

// What no one has seen.
const (
	UnseenRestored Unseen = "restored" // all of it: a backup was restored, and time has gone on since it was made
	UnseenRoots    Unseen = "roots"    // the roots of its ca file: a version before placed it
)

// unseen forgets what a look would have to tell.
func (p *PlacementState) unseen(what Unseen) {
	p.Unseen, p.ProbedAt, p.Reprobe = what, time.Time{}, time.Time{}
}

// Undiscovered reports whether the placement has to be discovered again: what is there may
// be another thing altogether.
func (p PlacementState) Undiscovered() bool { return p.Unseen != "" && p.Unseen != UnseenRoots }

// LookDue reports whether somebody has to look, outside of the probe schedule.
func (p PlacementState) LookDue(now time.Time) bool {
	if !p.Reprobe.IsZero() {
		return !p.Reprobe.After(now)
	}
	return p.Unseen != "" && p.ProbedAt.IsZero()
}

// Restored makes the record that of a backup: what was under way then is not,
// and what is in place is unknown until somebody looks.
func (rec *Record) Restored() {
	if r := rec.Rollout; r != nil && !r.Phase.Over() {
		rec.Rollout = nil
	}
	for host, st := range rec.Placements {
		if st.Placed() {
			st.unseen(UnseenRestored)
			st.State, st.Matches, st.Served, st.ServedEnd, st.Error, st.Hint = HostUnknown, false, "", time.Time{}, "", ""
			rec.Placements[host] = st
		}
	}
	rec.Departed = slices.Clone(rec.Departed)
	for i, d := range rec.Departed { // should it come back
		if d.State != nil {
			st := *d.State
			st.Unseen = UnseenRestored
			rec.Departed[i].State = &st
		}
	}
}

// Restored is the row of a record that Record.Restored made.
func (r Row) Restored(rec Record) Row {
	r.Hosts = slices.Clone(r.Hosts)
	for i, h := range r.Hosts {
		if r.Hosts[i] = rec.hostRow(h.Name); r.Hosts[i].State == HostUnknown && r.Status != StatusRevoked {
			r.Status = StatusUnknown
		}
	}
	return r
}

// Unseen reports whether a placement is still to be looked at before anything is
// decided.
func (rec Record) Unseen() bool {
	for _, st := range rec.Placements {
		if st.Unseen != "" && st.ProbedAt.IsZero() {
			return true
		}
	}
	return false
}

// Upgrade gives a record of a version before what it did not say of itself: that
// version placed what it has a generation of, and adopted generation 0.
func (rec *Record) Upgrade() {
	for host, st := range rec.Placements {
		if !st.Placed() || st.Origin != OriginUnknown {
			continue
		}
		if !st.Roots.Known() {
			st.unseen(UnseenRoots)
		}
		switch {
		case st.Generation > 0 || !rec.Adopted && st.Layout != "": // 0 with a layout: of a trust bundle
			st.Origin = OriginIssued
		case rec.Adopted:
			st.Origin = OriginAdopted
		default:
			st.Origin = OriginForeign
		}
		for i, r := range st.Revisions {
			switch {
			case r.Generation > 0 || r.Name == st.Revision:
				st.Revisions[i].Origin = OriginIssued
			default:
				st.Revisions[i].Origin = OriginForeign
			}
		}
		if i := slices.IndexFunc(st.Revisions, func(r Revision) bool { return r.Name == st.Revision }); i >= 0 {
			st.Revisions[i].Origin = st.Origin
		}
		rec.Placements[host] = st
	}
}
