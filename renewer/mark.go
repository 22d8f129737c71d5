package renewer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Mark says which renewer keeps a directory of a host: an inventory among all its
// copies. What differs is compared, what is for people is not.
type Mark struct {
	Fleet       string `json:"fleet"`       // of an inventory, its backups and its clones
	Incarnation string `json:"incarnation"` // another one after a restore, and on another machine
	Term        int    `json:"term"`        // a higher one of the same fleet takes over
	// Place is a state directory on a machine, where only one renewer can run at a time;
	// empty: not known.
	Place string    `json:"place,omitempty"`
	Name  string    `json:"name"` // for people: machine and state directory
	Since time.Time `json:"since,omitzero"`
}

// Claim is what a renewer may do about a directory.
type Claim int

// The claims.
const (
	ClaimRefused Claim = iota // somebody else keeps it
	ClaimMine
	ClaimFree // no one keeps it yet
	ClaimOver // it was kept by one that this renewer comes after, or took the place of
)

// Claims says what the mark that was found, nil for none, lets this renewer do.
func (m Mark) Claims(found *Mark) Claim {
	switch {
	case found == nil:
		return ClaimFree
	case found.Fleet == m.Fleet && found.Term < m.Term:
		return ClaimOver
	case found.Fleet == m.Fleet && found.Incarnation == m.Incarnation:
		return ClaimMine
	case m.Place != "" && found.Place == m.Place:
		return ClaimOver
	default:
		return ClaimRefused
	}
}

// After is the mark with which a renewer takes a directory over from another one,
// which may come back: that one's term is no higher then.
func (m Mark) After(found *Mark) Mark {
	if found != nil {
		m.Term = max(m.Term, found.Term)
	}
	return m
}

// Token is what is compared, as one name of a directory.
func (m Mark) Token() string { return m.Fleet + "." + m.Incarnation + "." + strconv.Itoa(m.Term) }

// ParseToken is the mark of a token.
func ParseToken(token string) (Mark, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || !isID(parts[0]) || !isID(parts[1]) {
		return Mark{}, false
	}
	m := Mark{Fleet: parts[0], Incarnation: parts[1]}
	var err error
	m.Term, err = strconv.Atoi(parts[2])
	return m, err == nil && m.Token() == token && m.Term >= 0
}

func isID(s string) bool {
	const most = 32
	return s != "" && len(s) <= most && strings.Trim(s, "0123456789abcdefghijklmnopqrstuvwxyz") == ""
}

// String names a renewer.
func (m Mark) String() string {
	name := m.Name
	if name == "" {
		name = "renewer"
	}
	return fmt.Sprintf("%s (fleet %s, incarnation %s, term %d)", name, short(m.Fleet), short(m.Incarnation), m.Term)
}

func short(id string) string { return id[:min(8, len(id))] }

// ErrKept is what errors.Is finds where another renewer keeps a directory.
var ErrKept = errors.New("kept by another renewer")

// KeptError says which renewer keeps a directory, and which one was refused.
type KeptError struct {
	Host, Dir  string
	Keeper, Me Mark
}

func (e *KeptError) Error() string {
	since := ""
	if !e.Keeper.Since.IsZero() {
		since = " since " + e.Keeper.Since.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("%s is kept by another renewer, %s%s; this one is %s", e.Dir, e.Keeper, since, e.Me)
}

// Is finds ErrKept.
func (e *KeptError) Is(target error) bool { return target == ErrKept }

// Hint is what to type.
func (e *KeptError) Hint() string {
	if e.Keeper.Fleet != e.Me.Fleet {
		return fmt.Sprintf("two fleets use this directory: remove it from one of the fleet files; or, if the other renewer is gone, run renewer adopt --take-over %s", e.Host)
	}
	return fmt.Sprintf("stop the other renewer, a copy of this one; then run renewer adopt --take-over %s, or --all for every host", e.Host)
}

// TakenOver is a directory that was taken over, or not.
type TakenOver struct {
	Host  string `json:"host"`
	Dir   string `json:"dir"`
	From  string `json:"from,omitempty"` // who kept it; empty: no one, or this renewer
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
}
