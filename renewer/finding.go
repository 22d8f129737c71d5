package renewer

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"renewer/renewer/problems"
)

// FindingLevel says how bad a finding is.
type FindingLevel string

// The levels of a finding.
const (
	FindingOK      FindingLevel = "ok"
	FindingWarn    FindingLevel = "warn"    // it works, and will hurt one day
	FindingFail    FindingLevel = "fail"    // it does not work, or clients are refused
	FindingUnknown FindingLevel = "unknown" // it could not be looked at; Text says why
)

// Finding is the result of one check of the doctor.
type Finding struct {
	Check       string       `json:"check"` // its name, such as san-mismatch
	Host        string       `json:"host"`
	Certificate string       `json:"certificate"`
	Level       FindingLevel `json:"level"`
	Text        string       `json:"text"`          // what was seen
	Fix         string       `json:"fix,omitempty"` // the remediation; empty if there is no fault
	// Problem is what it is in the catalogue, with the page about it; empty: in none.
	Problem problems.ID `json:"problem,omitempty"`
	Runbook string      `json:"runbook,omitempty"`
}

// Cataloged adds what the catalogue says of what was found.
func Cataloged(found []Finding) []Finding {
	for i := range found {
		f := &found[i]
		row, ok := problems.ByCheck(f.Check)
		if f.Problem != "" {
			row, ok = problems.ByID(f.Problem)
		}
		if !ok || f.Level == FindingOK {
			continue
		}
		if f.Problem, f.Runbook = row.ID, row.Runbook; f.Fix == "" {
			commands := row.Run(problems.Names{Certificate: f.Certificate, Host: f.Host})
			f.Fix = strings.Join(slices.DeleteFunc(commands, func(c string) bool { return strings.HasPrefix(c, "renewer doctor") }), "; ") // it runs already
		}
	}
	return found
}

// AnyFail reports whether a finding is a failure.
func AnyFail(found []Finding) bool {
	return slices.ContainsFunc(found, func(f Finding) bool { return f.Level == FindingFail })
}

// FileChange is one file of a host as it is and as it should be. What a
// configuration file holds stays within the process: only the lines that
// change, and those around them, are shown.
type FileChange struct {
	Path   string      `json:"path"`
	Exists bool        `json:"exists"` // false: there is no such file yet
	Before string      `json:"-"`
	After  string      `json:"-"`
	Mode   fs.FileMode `json:"mode"` // permissions: of what is there, else of the new file
	Diff   string      `json:"diff"` // unified
}

// SetupRequest asks for a host to be set up. Digest is that of the plan that was shown;
// empty where the plan itself is asked for.
type SetupRequest struct {
	Host     string `json:"host"` // as the fleet file names it
	Digest   string `json:"digest"`
	Firewall bool   `json:"firewall"` // the port is opened to known clients alone, too
}

// HostPlan is what a host needs to serve the Docker API over TLS. It is empty
// where nothing is to be done.
type HostPlan struct {
	Host        string       `json:"host"`
	Certificate string       `json:"certificate"`
	Changes     []FileChange `json:"changes"`
	Restart     bool         `json:"restart"` // of the Docker daemon
	Notes       []string     `json:"notes"`   // for people: what clients will notice, what was left alone
	Digest      string       `json:"digest"`  // of Changes and Restart: the same plan has the same
}

// Empty reports whether nothing is to be done.
func (p HostPlan) Empty() bool { return len(p.Changes) == 0 && !p.Restart }

// Sealed returns the plan with its digest.
func (p HostPlan) Sealed() HostPlan {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %t\n", p.Host, p.Certificate, p.Restart)
	for _, c := range p.Changes {
		fmt.Fprintf(h, "%q %t %o %q %q\n", c.Path, c.Exists, c.Mode, c.Before, c.After)
	}
	p.Digest = hex.EncodeToString(h.Sum(nil)[:8])
	return p
}
