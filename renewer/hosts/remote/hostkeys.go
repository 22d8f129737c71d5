package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// hostKeys is what is known about the keys of one host.
type hostKeys struct {
	name        string // as known_hosts has it: host or [host]:port
	host        string
	principal   string // the host's name in a certificate
	place       string // to which a new line belongs
	from        []*knownHosts
	ask         func(ssh.PublicKey) error // KnownHostsCommand, about the key that is shown; nil: there is none, or it was asked
	plain       []knownhosts.KnownKey
	authorities []ssh.PublicKey
	// portless: the keys are those of a line without the port, which counts
	// if it has the key but says nothing if it has another (as in ssh(1)).
	portless bool
}

// hostKeys looks a host up. An alias is looked up as it is, without the port
// (ssh_config(5), HostKeyAlias).
func (c *Client) hostKeys(ctx context.Context, to target) (*hostKeys, error) {
	if len(to.known) == 0 && to.askHosts == nil {
		return nil, misconfigured(errors.New("no known_hosts file"), "set known_hosts_file:, or UserKnownHostsFile in "+c.ssh("config"))
	}
	host := strings.ToLower(to.host)
	h := &hostKeys{host: host, principal: cmp.Or(to.alias, host), name: to.alias}
	if to.alias == "" {
		h.name = knownhosts.Normalize(net.JoinHostPort(host, to.port))
	}
	for _, f := range to.known {
		if f != os.DevNull && h.place == "" {
			h.place = f
		}
		k, err := c.known.get(f, c.readKnownHosts)
		if errors.Is(err, fs.ErrNotExist) {
			continue // then no host is known
		}
		if err != nil {
			return nil, err
		}
		h.from = append(h.from, k)
	}
	if to.revoked != "" {
		k, err := c.revoked.get(to.revoked, c.readRevoked)
		if err != nil { // as with ssh(1): better no host than one that is revoked
			return nil, misconfigured(fmt.Errorf("read RevokedHostKeys %s: %w", to.revoked, err), "the file needs one public key a line, as text, and has to be readable for renewer")
		}
		h.from = append(h.from, k)
	}
	if to.askHosts != nil {
		k, err := to.askHosts.ask(ctx, h.name, nil)
		if err != nil {
			return nil, err
		}
		rest := slices.Clip(h.from)
		h.from, h.place = append(rest, k), to.askHosts.name()
		h.ask = func(key ssh.PublicKey) error {
			k, err := to.askHosts.ask(ctx, h.name, key)
			if err == nil {
				h.from = append(rest, k)
				h.lookUp()
			}
			return err
		}
	}
	h.lookUp()
	return h, nil
}

// lookUp gathers the lines for the host.
func (h *hostKeys) lookUp() {
	h.plain, h.authorities, h.portless = nil, nil, false
	if h.find(h.name); len(h.plain) == 0 && len(h.authorities) == 0 && h.name != h.principal {
		h.portless = true
		h.find(h.host)
	}
}

// find gathers the lines for a name.
func (h *hostKeys) find(name string) {
	for _, k := range h.from {
		for i := range k.lines {
			l := &k.lines[i]
			switch {
			case !l.names(name):
			case l.authority:
				h.authorities = append(h.authorities, l.key.Key)
			default:
				h.plain = append(h.plain, l.key)
			}
		}
	}
}

// modern are the algorithms for host keys that are spoken, best first.
var modern = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
}

var modernCertificates = []string{
	ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01, ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
}

// algorithms orders them as ssh(1) does: certificates where an authority is
// known, then the types of the keys that are known, so that a host with several
// keys shows one of those; then the others, so that a host with none of them is
// distinguished as changed.
func (h *hostKeys) algorithms() []string {
	var out []string
	if len(h.authorities) > 0 {
		out = slices.Clone(modernCertificates)
	}
	known := func(algorithm string) bool {
		return slices.ContainsFunc(h.plain, func(k knownhosts.KnownKey) bool {
			return k.Key.Type() == algorithm || k.Key.Type() == ssh.KeyAlgoRSA && strings.HasPrefix(algorithm, "rsa-sha2-")
		})
	}
	for _, want := range []bool{true, false} {
		for _, a := range modern {
			if known(a) == want {
				out = append(out, a)
			}
		}
	}
	return out
}

// check is an ssh.HostKeyCallback.
func (h *hostKeys) check(_ string, _ net.Addr, key ssh.PublicKey) error {
	if ask := h.ask; ask != nil {
		h.ask = nil
		if err := ask(key); err != nil {
			return err
		}
	}
	if cert, ok := key.(*ssh.Certificate); ok {
		return h.checkCertificate(cert)
	}
	if err := h.revoked(key); err != nil {
		return err
	}
	for _, k := range h.plain {
		if string(k.Key.Marshal()) == string(key.Marshal()) {
			return nil
		}
	}
	shown := shownKey{Host: h.name, File: h.place, Fingerprint: ssh.FingerprintSHA256(key), Line: h.name + " " + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))}
	if len(h.plain) == 0 || h.portless {
		return &UnknownHostKeyError{shown}
	}
	return &ChangedHostKeyError{shown, h.plain}
}

// checkCertificate looks at a host certificate (PROTOCOL.certkeys of OpenSSH).
// One of an authority that is not known for the host counts as its bare key.
func (h *hostKeys) checkCertificate(cert *ssh.Certificate) error {
	for _, key := range []ssh.PublicKey{cert.Key, cert.SignatureKey} {
		if err := h.revoked(key); err != nil {
			return err
		}
	}
	authority := func(key ssh.PublicKey) bool {
		return slices.ContainsFunc(h.authorities, func(a ssh.PublicKey) bool { return string(a.Marshal()) == string(key.Marshal()) })
	}
	if !authority(cert.SignatureKey) {
		return h.check("", nil, cert.Key)
	}
	err := new(ssh.CertChecker).CheckCert(h.principal, cert)
	if cert.CertType != ssh.HostCert {
		err = errors.New("it is a user certificate")
	}
	if err != nil {
		return misconfigured(fmt.Errorf("the certificate of host key %s is not accepted for %s: %w", ssh.FingerprintSHA256(cert.Key), h.name, err),
			"have the SSH CA sign the host key again, with this name in its principals")
	}
	return nil
}

var nowhere = &net.TCPAddr{IP: net.IPv4zero}

func (h *hostKeys) revoked(key ssh.PublicKey) error {
	for _, k := range h.from {
		if at, ok := k.revoked[string(key.Marshal())]; ok {
			return &RevokedHostKeyError{
				shownKey: shownKey{Host: h.name, File: k.name, Fingerprint: ssh.FingerprintSHA256(key)}, At: at,
			}
		}
	}
	return nil
}
