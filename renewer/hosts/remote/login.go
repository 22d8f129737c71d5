package remote

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// talk is what a host said while somebody logged in.
type talk struct {
	to       target
	keys     []ssh.Signer
	skipped  []error  // what was named and is no key
	allowed  []string // ways to log in that the host offered last
	accepted []string // those that it took, without being content with them
	asked    string   // a question that only an operator can answer
	said     string   // its banner
}

// next only listens.
func (t *talk) next(ctx *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
	t.allowed, t.accepted = ctx.AllowedMethods, ctx.PartialSuccessMethods
	return nil, nil
}

func (t *talk) banner(message string) error {
	const most = 512
	t.said = lineOf([]byte(message[:min(most, len(message))]))
	return nil
}

var errQuestion = errors.New("the host asks an interactive question")

// answer gives none: a second factor that is waived asks nothing (RFC 4256).
func (t *talk) answer(_, instruction string, questions []string, _ []bool) ([]string, error) {
	if len(questions) == 0 {
		return nil, nil
	}
	t.asked = lineOf([]byte(instruction + " " + questions[0]))
	return nil, errQuestion
}

// explain adds a hint. The library has no type for a refused login.
func (t *talk) explain(err error) error {
	var none *ssh.AlgorithmNegotiationError
	text := err.Error()
	switch {
	case errors.As(err, &none):
		return misconfigured(err, "the host offers only weak algorithms: update its SSH server")
	case slices.Contains(t.accepted, "publickey"):
		return t.wantsMore()
	case strings.Contains(text, "Too many authentication failures"):
		return misconfigured(fmt.Errorf("login as user %s failed: the host accepted none of the first keys of %d%s", t.to.user, len(t.keys), t.quote()),
			"set identity_file: of the host, or IdentityFile with IdentitiesOnly yes in ~/.ssh/config")
	case errors.Is(err, errQuestion), strings.Contains(text, "unable to authenticate"), strings.Contains(text, "no common public key signature algorithm"),
		strings.Contains(text, "unexpected message type 51 (expected 60)"): // keyboard-interactive, which the host offers, is refused without a question
		return t.refused()
	}
	if t.said != "" {
		return fmt.Errorf("%w%s", err, t.quote())
	}
	return err
}

func (t *talk) quote() string {
	if t.said == "" {
		return ""
	}
	return "; the host says: " + t.said
}

// wantsMore: the key is right, and it is not enough.
func (t *talk) wantsMore() error {
	more := strings.Join(t.allowed, " or ")
	if t.asked != "" {
		more += " (" + t.asked + ")"
	}
	return misconfigured(fmt.Errorf("the host accepted the key of user %s and requires another factor: %s%s", t.to.user, more, t.quote()),
		fmt.Sprintf("renewer cannot provide a second factor; in sshd_config of the host: Match User %s, then AuthenticationMethods publickey", t.to.user))
}

func (t *talk) refused() error {
	var shown, faults []string
	certified := false
	for _, k := range t.keys {
		print := ssh.FingerprintSHA256(k.PublicKey())
		if cert, ok := k.PublicKey().(*ssh.Certificate); ok {
			certified = true
			print = fmt.Sprintf("certificate %q of %s", cert.KeyId, ssh.FingerprintSHA256(cert.Key))
			if fault := certificateFault(cert, t.to.user, time.Now()); fault != "" {
				faults = append(faults, fmt.Sprintf("certificate %q %s", cert.KeyId, fault))
			}
		}
		shown = append(shown, print)
	}
	err := fmt.Errorf("login as user %s failed with %s%s", t.to.user, strings.Join(shown, ", "), t.quote())
	if len(t.skipped) > 0 {
		err = fmt.Errorf("%w; not used: %w", err, listed(t.skipped))
	}
	switch {
	case len(t.allowed) > 0 && !slices.Contains(t.allowed, "publickey"):
		return misconfigured(fmt.Errorf("%w: the host does not accept public keys, only %s", err, strings.Join(t.allowed, ", ")), "set PubkeyAuthentication yes in sshd_config of the host")
	case len(faults) > 0:
		return misconfigured(fmt.Errorf("%w: %s", err, strings.Join(faults, "; ")),
			fmt.Sprintf("have the SSH CA sign the key again: ssh-keygen -s AUTHORITY -I NAME -n %s -V +52w KEY.pub", t.to.user))
	case certified:
		return misconfigured(err, fmt.Sprintf("add the SSH CA to TrustedUserCAKeys in sshd_config of the host, put the public key of the identity into ~%s/.ssh/authorized_keys, or set user:", t.to.user))
	}
	return misconfigured(err, fmt.Sprintf("put the public key of the identity into ~%s/.ssh/authorized_keys on the host, or set user: or identity_file:", t.to.user))
}

// certificateFault is why a host can refuse a user certificate, as far as it is to be seen
// in it; empty if nothing is.
func certificateFault(c *ssh.Certificate, user string, now time.Time) string {
	at := func(seconds uint64) string {
		return time.Unix(int64(min(seconds, math.MaxInt64)), 0).UTC().Format(time.RFC3339)
	}
	switch unix := uint64(max(0, now.Unix())); {
	case c.ValidBefore != ssh.CertTimeInfinity && unix >= c.ValidBefore:
		return "expired at " + at(c.ValidBefore)
	case unix < c.ValidAfter:
		return "is valid from " + at(c.ValidAfter) + " on only"
	case len(c.ValidPrincipals) == 0:
		return "names no user"
	case !slices.Contains(c.ValidPrincipals, user):
		return fmt.Sprintf("is for %s, and not for %s", strings.Join(c.ValidPrincipals, ", "), user)
	}
	return ""
}
