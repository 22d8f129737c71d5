package remote

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// shownKey is a host key that was refused.
type shownKey struct {
	Host        string // as known_hosts has it: host or [host]:port
	File        string // the known_hosts file, or the command that prints one; empty: there is none that is kept
	Fingerprint string // SHA256:…, as ssh-keygen -l prints it
	Line        string // what would make the key known
}

// UnknownHostKeyError: known_hosts has no key for the host.
type UnknownHostKeyError struct{ shownKey }

// ChangedHostKeyError: known_hosts has other keys for the host.
type ChangedHostKeyError struct {
	shownKey
	Known []knownhosts.KnownKey
}

// RevokedHostKeyError: the host shows a key, or a certificate of an authority,
// that known_hosts marks as revoked.
type RevokedHostKeyError struct {
	shownKey
	At int // line of File
}

func (e *UnknownHostKeyError) Error() string {
	return fmt.Sprintf("host key %s of %s is unknown", e.Fingerprint, e.Host)
}

func (e *ChangedHostKeyError) Error() string {
	var known []string
	for _, k := range e.Known {
		known = append(known, fmt.Sprintf("%s (%s:%d)", ssh.FingerprintSHA256(k.Key), k.Filename, k.Line))
	}
	return fmt.Sprintf("host key of %s has changed: the host presents %s, known_hosts has %s", e.Host, e.Fingerprint, strings.Join(known, ", "))
}

func (e *RevokedHostKeyError) Error() string {
	return fmt.Sprintf("host key %s of %s is revoked (%s:%d)", e.Fingerprint, e.Host, e.File, e.At)
}

// Unwrap gives the class and the hint.
func (e *UnknownHostKeyError) Unwrap() error {
	return wayOut("verify the key (on the host: %s), then %s: %s", e.fingerprintCommand(), e.adding(), e.Line)
}

// adding says where the line belongs.
func (e *shownKey) adding() string {
	switch {
	case e.File == "":
		return "add this line to a file that known_hosts_file: of the host in the fleet file names (none is kept now: UserKnownHostsFile is /dev/null)"
	case !filepath.IsAbs(e.File):
		return "make " + e.File + " print this line"
	}
	return "add this line to " + e.File
}

// Unwrap gives the class and the hint.
func (e *ChangedHostKeyError) Unwrap() error {
	old := e.Known[0].Filename
	away := fmt.Sprintf("run: ssh-keygen -R '%s' -f %s", e.Host, old)
	if !filepath.IsAbs(old) {
		away = "make " + old + " stop printing the old key"
	}
	return wayOut("this may be an attack (man in the middle). If the host was reinstalled, verify its key (on the host: %s), then %s, and %s: %s",
		e.fingerprintCommand(), away, e.adding(), e.Line)
}

// Unwrap gives the class and the hint.
func (e *RevokedHostKeyError) Unwrap() error {
	return wayOut("line %d of %s revokes the key of this host: keep the line, and make new host keys (on the host: remove the old ones, then ssh-keygen -A)", e.At, e.File)
}

func (e *shownKey) fingerprintCommand() string {
	return "for f in /etc/ssh/ssh_host_*.pub; do ssh-keygen -lf $f; done"
}

func wayOut(format string, args ...any) error {
	return misconfigured(errRefusedKey, fmt.Sprintf(format, args...))
}

var errRefusedKey = errors.New("host key refused")
