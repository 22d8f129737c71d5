package renewer

import (
	"cmp"
	"crypto/x509"
	"maps"
	"slices"
	"strings"
	"time"
)

// What commands show and the API carries. Field names are part of the
// contract with scripts.

// ListFilter narrows a list. Zero fields match everything.
type ListFilter struct {
	ExpiringWithin time.Duration `json:"expiring,omitempty"` // expire within that time, or have expired; default: no limit
	Host           string        `json:"host,omitempty"`     // have a placement there
	Issuer         string        `json:"issuer,omitempty"`   // are signed by it
	Status         Status        `json:"status,omitempty"`   // have it now
}

// EventFilter narrows the audit log. Zero fields match everything.
type EventFilter struct {
	After       uint64    `json:"after,omitempty"`       // with a higher seq
	Before      uint64    `json:"before,omitempty"`      // with a lower seq; 0: no limit
	Since       time.Time `json:"since,omitzero"`        // not before that time
	Certificate string    `json:"certificate,omitempty"` // its name, or that of an entry for all its hosts
	Rollouts    []string  `json:"rollout,omitempty"`     // of one of these rollouts; repeatable
	Limit       int       `json:"limit,omitempty"`       // the newest so many, with after the first so many; 0: all, or 1,000 over the API
}

// PlanStep is one thing that a run would do.
type PlanStep struct {
	Certificate string `json:"certificate"`
	Host        string `json:"host"`   // empty for an order
	Action      string `json:"action"` // move, issue, push, restart, reload, kill, signal, command, verify, restore, wait, add_root, drop_root, forget
	Reason      string `json:"reason"`
	// Code is that of the first reason of its rollout.
	Code ReasonCode `json:"code,omitempty"`
	// Target is what is acted on: an issuer, a directory, units, a container, an address.
	Target string `json:"target,omitempty"`
	// Guard is what may hold a restart up, beside a window.
	Guard   string       `json:"guard,omitempty"`
	Changes []Difference `json:"changes,omitempty"` // that the step brings, as far as they are known
}

// PlanRequest says whose plan is asked for.
type PlanRequest struct {
	// Loaded: of the fleet file that the daemon holds, although that on disk is another.
	Loaded bool `json:"loaded,omitempty"`
}

// PlanView is what a run would do now.
type PlanView struct {
	Steps []PlanStep `json:"steps"`
	// Orphans left the fleet file before, and are still in place: nothing is done for them.
	Orphans      []Row  `json:"orphans,omitempty"`
	File         string `json:"fleet_file"`
	Certificates int    `json:"certificates"` // in the fleet file
	// Edited: the fleet file on disk is another than the daemon holds; Steps are those of the one
	// on disk unless Loaded, and Changes how it differs.
	Edited  bool          `json:"edited,omitempty"`
	Loaded  bool          `json:"loaded,omitempty"`
	Changes []FleetChange `json:"changes,omitempty"`
	Fault   string        `json:"fault,omitempty"` // of the fleet file on disk, for which it is not taken
	// Warnings are about what the fleet file says and has no effect: moved: of a name that
	// nothing has.
	Warnings []string `json:"warnings,omitempty"`
}

// Detail is one certificate, whole.
type Detail struct {
	Row
	Profile     string           `json:"profile"`
	Usages      []Usage          `json:"usages"`
	Dials       []string         `json:"dials,omitempty"` // host:port that it is a client of
	LastError   string           `json:"last_error"`
	Hint        string           `json:"hint,omitempty"`
	Chain       []ChainEntry     `json:"chain"`
	Generations []GenerationView `json:"generations"`
	Placements  []PlacementView  `json:"placements"`
	Rollout     *RolloutView     `json:"rollout,omitempty"`
	Departed    []Departed       `json:"departed,omitempty"` // hosts that left the entry with it in place; see Record
	// Tolerates is how many seconds, from now on, issuer or hosts may be away before it
	// expires; nil where nothing is in place.
	Tolerates *float64 `json:"outage_tolerance_seconds,omitempty"`
}

// GenerationView is one generation without its DER.
type GenerationView struct {
	Number      int       `json:"generation"`
	Serial      string    `json:"serial"`
	Fingerprint string    `json:"fingerprint_sha256"`
	SANs        []string  `json:"sans"`
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	RenewAt     time.Time `json:"renew_at"`
	IssuedAt    time.Time `json:"issued_at"`
	RevokedAt   time.Time `json:"revoked_at,omitzero"`
	Current     bool      `json:"current"`
}

// PlacementView is one host's part of a certificate.
type PlacementView struct {
	HostRow
	Hint     string              `json:"hint,omitempty"` // the hint of the error
	Dir      string              `json:"dir"`
	Files    map[FileKind]string `json:"files"`
	Revision string              `json:"revision"`
	Activate string              `json:"activate"`
	Probe    string              `json:"probe"`
}

// SystemStatus is what `renewer status` shows.
type SystemStatus struct {
	Daemon   DaemonStatus    `json:"daemon"`
	Keeper   Mark            `json:"keeper"` // which renewer this is
	Issuers  []IssuerStatus  `json:"issuers"`
	Hosts    []HostStatus    `json:"hosts"`
	Channels []ChannelStatus `json:"channels,omitempty"`
	Rollouts []RolloutView   `json:"rollouts"` // under way or blocked
	Counts   map[Status]int  `json:"certificates"`
	// Problems is what needs attention, the worst first, and MoreProblems how
	// many certificates do besides.
	Problems     []Problem `json:"problems"`
	MoreProblems int       `json:"more_problems,omitempty"`
}

// DaemonStatus is about the process and its scheduler.
type DaemonStatus struct {
	Running      bool      `json:"running"`
	Fleet        string    `json:"fleet"` // its name: the key fleet of the fleet file, or the host's name
	PID          int       `json:"pid,omitempty"`
	Version      string    `json:"version"`
	FleetFile    string    `json:"fleet_file"`
	Page         string    `json:"page,omitempty"`        // where the status page is served
	FleetError   string    `json:"fleet_error,omitempty"` // of the last reload that failed
	FleetErrorAt time.Time `json:"fleet_error_at,omitzero"`
	StartedAt    time.Time `json:"started_at,omitzero"`
	LastCheck    time.Time `json:"last_check,omitzero"`
	// CheckWithin is how old LastCheck may be; 0: there is no schedule.
	CheckWithin time.Duration `json:"-"`
	NextCheck   time.Time     `json:"next_check,omitzero"`
	LastProbe   time.Time     `json:"last_probe,omitzero"`
	NextDue     time.Time     `json:"next_due,omitzero"`
}

// IssuerStatus is one issuer's health.
type IssuerStatus struct {
	Name  string    `json:"name"`
	Type  string    `json:"type"`
	Up    bool      `json:"up"`
	Since time.Time `json:"since,omitzero"` // when Up last changed, or was first seen
	Error string    `json:"error,omitempty"`
	Hint  string    `json:"hint,omitempty"`
	// ClockOffset is how many seconds the issuer's clock is ahead of ours; nil
	// while no answer said so.
	ClockOffset *float64   `json:"clock_offset_seconds,omitempty"`
	CAs         []CAStatus `json:"cas,omitempty"` // what it signs with, and the roots above
	// Rotation is the replacement of its CA that is under way, or was the last one.
	Rotation *RotationView `json:"rotation,omitempty"`
}

// Found takes what was found at now into the status.
func (s *IssuerStatus) Found(err error, now time.Time) {
	if up := err == nil; up != s.Up || s.Since.IsZero() {
		s.Up, s.Since = up, now.UTC()
	}
	s.Error, s.Hint = "", Hint(err)
	if err != nil {
		s.Error = strings.Join(strings.Fields(err.Error()), " ") // one line, whatever a server said
	}
}

// CAStatus is one CA certificate of an issuer.
type CAStatus struct {
	Subject  string    `json:"subject"`
	NotAfter time.Time `json:"not_after"`
}

// HostStatus is one host's health.
type HostStatus struct {
	Name  string    `json:"name"`
	Type  string    `json:"type"`
	Up    bool      `json:"up"`
	Since time.Time `json:"since,omitzero"` // when Up last changed, or was first seen
	Error string    `json:"error,omitempty"`
	Hint  string    `json:"hint,omitempty"`
}

// ChannelStatus is one way to notify people.
type ChannelStatus struct {
	Name         string    `json:"name"`
	Type         string    `json:"type"`                   // shoutrrr, webhook, smtp or exec
	Open         int       `json:"open"`                   // problems that are not over
	Waiting      int       `json:"waiting"`                // problems and resolutions that are still to be sent
	WaitingSince time.Time `json:"waiting_since,omitzero"` // of the oldest of these
	LastSuccess  time.Time `json:"last_success,omitzero"`  // a message was taken, tests aside
	FailingSince time.Time `json:"failing_since,omitzero"` // the first try that failed after the last success
	LastError    string    `json:"last_error,omitempty"`   // of the last try; empty if that was a success
	LastErrorAt  time.Time `json:"last_error_at,omitzero"` // as LastError
	Hint         string    `json:"hint,omitempty"`
}

// Verification is what `renewer verify` found at one placement.
type Verification struct {
	Certificate string    `json:"certificate"`
	Host        string    `json:"host"`
	OK          bool      `json:"ok"`
	Generation  int       `json:"generation"`
	Expected    string    `json:"expected_sha256"`
	OnDisk      string    `json:"on_disk_sha256"`
	Served      string    `json:"served_sha256"`
	Problems    []string  `json:"problems"`
	Unreachable bool      `json:"unreachable,omitempty"` // its host: nothing was looked at
	NotChecked  []string  `json:"not_checked,omitempty"`
	At          time.Time `json:"at"`
}

// Adoption is what was taken into the inventory as generation 0.
type Adoption struct {
	Certificate string    `json:"certificate"`
	Host        string    `json:"host"`
	Generation  int       `json:"generation"`
	Fingerprint string    `json:"fingerprint_sha256"`
	NotAfter    time.Time `json:"not_after"`
	RenewAt     time.Time `json:"renew_at"`
	Warnings    []string  `json:"warnings"` // what differs from the entry, and will be as it says from the next renewal on
}

// RenewRequest asks for renewals now.
type RenewRequest struct {
	Names          []string      `json:"names,omitempty"`
	All            bool          `json:"all,omitempty"`
	ExpiringWithin time.Duration `json:"expiring_within,omitempty"`
	Force          bool          `json:"force,omitempty"`   // guards too, and the trust gate
	Without        []string      `json:"without,omitempty"` // hosts for which the trust gate does not wait
	NoWait         bool          `json:"no_wait,omitempty"` // return when the rollouts are written
}

// RunResult is how a pass or a request ended, one entry a rollout.
type RunResult struct {
	Rollouts []RolloutResult `json:"rollouts"`
	// Blocked are the replacements of CAs that need manual action.
	Blocked []RotationView `json:"blocked_rotations,omitempty"`
}

// Then is what came of a request and of one after it: of each certificate the last
// word, sorted.
func (r RunResult) Then(next RunResult) RunResult {
	all := slices.Clone(next.Rollouts)
	for _, one := range r.Rollouts {
		if !slices.ContainsFunc(next.Rollouts, func(n RolloutResult) bool { return n.Certificate == one.Certificate }) {
			all = append(all, one)
		}
	}
	slices.SortStableFunc(all, func(a, b RolloutResult) int { return cmp.Compare(a.Certificate, b.Certificate) })
	return RunResult{Rollouts: all, Blocked: next.Blocked}
}

// RolloutResult is how one rollout stands.
type RolloutResult struct {
	Certificate string `json:"certificate"`
	Rollout     string `json:"rollout"`
	Generation  int    `json:"generation"`
	Result      Result `json:"result"`
	Waiting     Waits  `json:"waiting,omitempty"` // for what
	Error       string `json:"error,omitempty"`
	Hint        string `json:"hint,omitempty"`
}

// Result is the end, or not, of a rollout.
type Result string

// The results of a rollout.
const (
	ResultVerified Result = "verified"
	ResultFailed   Result = "failed"  // not done yet, an error, retried later
	ResultBlocked  Result = "blocked" // rolled back or refused
	ResultWaiting  Result = "waiting" // nothing went wrong: see RolloutResult.Waiting
	ResultStarted  Result = "started" // asked not to wait
)

// Failed reports whether anything failed or is blocked.
func (r RunResult) Failed() bool {
	return len(r.Blocked) > 0 || slices.ContainsFunc(r.Rollouts, func(x RolloutResult) bool { return x.Result == ResultFailed || x.Result == ResultBlocked })
}

// Unreached reports whether anything waits for a host, an address or an issuer
// that cannot be reached.
func (r RunResult) Unreached() bool {
	return slices.ContainsFunc(r.Rollouts, func(x RolloutResult) bool {
		return slices.ContainsFunc(x.Waiting, func(w Waiting) bool { return w.Kind == WaitUnreachable })
	})
}

// Unreached reports whether all that went wrong in a rollout is that hosts
// cannot be reached, each of which still has what it had.
func (r *Rollout) Unreached() bool {
	lost := false
	for _, s := range r.Steps {
		apart := s.Lost() && !s.State.Live() && !s.State.Over()
		if s.Wait.For(WaitPerson) || s.State.failed() || s.State == StepUnproven || s.Error != "" && !apart {
			return false
		}
		lost = lost || apart
	}
	return lost && r.Error == "" && r.Phase == PhaseRolling
}

// Matches reports whether a row, with the status that holds now, passes the
// filter. ExpiringWithin is the reader's part.
func (f ListFilter) Matches(r Row) bool {
	if f.Issuer != "" && r.Issuer != f.Issuer || f.Status != "" && r.Status != f.Status {
		return false
	}
	return f.Host == "" || slices.ContainsFunc(r.Hosts, func(h HostRow) bool { return h.Name == f.Host })
}

// NewDetail gathers what is known of one certificate; gens are all its
// generations, newest first, shown the one that its row shows, and waits what its
// rollout waits for.
func NewDetail(c Certificate, rec Record, shown *Generation, gens []Generation, waits Waits, now time.Time) (Detail, error) {
	d := Detail{
		Row: NewRow(c, rec, shown).At(now), Profile: c.Profile, Usages: append([]Usage{}, c.Usages...), Dials: c.Dials,
		Chain: []ChainEntry{}, Generations: []GenerationView{}, Placements: []PlacementView{},
	}
	d.Rollout = rec.View(rec.currentOf(gens), waits)
	d.LastError, d.Hint = rec.LastError()
	if d.Rollout != nil {
		d.Gate = d.Rollout.Waiting.Gate()
	}
	for _, left := range rec.Departed {
		if !left.Over(now) {
			left.State, left.Role = nil, Role{}
			d.Departed = append(d.Departed, left)
		}
	}
	if shown != nil && len(shown.Chain) > 0 {
		chain, err := shown.Parse()
		if err != nil {
			return d, err
		}
		for _, x := range append([]*x509.Certificate{chain.Leaf}, chain.Intermediates...) {
			d.Chain = append(d.Chain, NewChainEntry(x))
		}
	}
	for _, g := range gens {
		d.Generations = append(d.Generations, GenerationView{
			Number: g.Number, Serial: g.Serial, Fingerprint: g.Fingerprint, SANs: g.SANs, NotBefore: g.NotBefore, NotAfter: g.NotAfter,
			RenewAt: g.RenewAt, IssuedAt: g.IssuedAt, RevokedAt: g.RevokedAt, Current: g.Number == rec.Current,
		})
	}
	for i, p := range c.Placements {
		d.Placements = append(d.Placements, PlacementView{
			HostRow: d.Hosts[i], Hint: rec.hintOf(d.Hosts[i]), Dir: p.Dir, Files: p.Files, Revision: rec.Placements[p.Host].Revision,
			Activate: p.Activate.String(), Probe: p.Probe.String(),
		})
	}
	return d, nil
}

// hintOf returns the hint of the error that a host's row shows.
func (rec Record) hintOf(h HostRow) string {
	if rec.Rollout != nil {
		if s, ok := rec.Rollout.Step(h.Name); ok && h.Error != "" && (h.Error == s.Error || s.Wait != nil && h.Error == s.Wait.Why) {
			return s.hint()
		}
	}
	if st := rec.Placements[h.Name]; h.Error != "" && h.Error == st.Error {
		return st.Hint
	}
	return ""
}

// LastError returns the first error that stands, with its hint; empty if
// there is none.
func (rec Record) LastError() (text, hint string) {
	if rec.Rollout != nil {
		if text, hint = rec.Rollout.LastError(); text != "" {
			return text, hint
		}
	}
	for _, host := range slices.Sorted(maps.Keys(rec.Placements)) {
		if st := rec.Placements[host]; st.Error != "" {
			return OnHost(host, st.Error), st.Hint
		}
	}
	return "", ""
}
