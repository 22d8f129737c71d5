package remote

import (
	"bufio"
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

// knownHosts is a known_hosts file.
type knownHosts struct {
	look        ssh.HostKeyCallback
	authorities map[int]bool // lines with @cert-authority
}

// readKnownHosts reads a file as sshd(8) describes it under SSH_KNOWN_HOSTS
// FILE FORMAT.
func readKnownHosts(file string) (*knownHosts, error) {
	look, err := knownhosts.New(file)
	if err != nil {
		return nil, misconfigured(fmt.Errorf("read known hosts: %w", err), "correct or remove that line of "+file)
	}
	k := &knownHosts{look: look, authorities: map[int]bool{}}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		k.authorities[n] = strings.HasPrefix(strings.TrimSpace(lines.Text()), "@cert-authority")
	}
	return k, lines.Err()
}

// hostKeys is what is known about the keys of one host.
type hostKeys struct {
	name        string // as known_hosts has it: host or [host]:port
	address     string // host:port
	file        string // to which a new line belongs
	from        []*knownHosts
	plain       []knownhosts.KnownKey
	authorities bool
	// portless: the keys are those of a line without the port, which counts
	// if it has the key but says nothing if it has another (as in ssh(1)).
	portless bool
}

// hostKeys looks a host up: in the file given, else in ~/.ssh/known_hosts and
// in the one of the whole machine.
func (c *Client) hostKeys(file, host, port string) (*hostKeys, error) {
	files := []string{file}
	if file == "" {
		files = []string{c.ssh("known_hosts"), c.allHosts}
	}
	h := &hostKeys{file: files[0], address: net.JoinHostPort(strings.ToLower(host), port)}
	h.name = knownhosts.Normalize(h.address)
	for _, f := range files {
		k, err := c.known.get(f, readKnownHosts)
		if errors.Is(err, fs.ErrNotExist) {
			continue // then no host is known
		}
		if err != nil {
			return nil, err
		}
		h.from = append(h.from, k)
	}
	if h.find(); len(h.plain) == 0 && !h.authorities && port != "22" {
		h.address = net.JoinHostPort(strings.ToLower(host), "22")
		h.portless = true
		h.find()
	}
	return h, nil
}

// find gathers the lines for the host. The library tells them to who shows a
// key that no line has.
func (h *hostKeys) find() {
	for _, k := range h.from {
		var unknown *knownhosts.KeyError
		if !errors.As(k.look(h.address, nowhere, noKey{}), &unknown) {
			continue
		}
		for _, key := range unknown.Want {
			if k.authorities[key.Line] {
				h.authorities = true
			} else {
				h.plain = append(h.plain, key)
			}
		}
	}
}

var nowhere = &net.TCPAddr{IP: net.IPv4zero}

// noKey is a key that nobody has.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

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
// told apart as changed.
func (h *hostKeys) algorithms() []string {
	var out []string
	if h.authorities {
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
	shown := shownKey{Host: h.name, File: h.file, Fingerprint: ssh.FingerprintSHA256(key), Line: knownhosts.Line([]string{h.name}, key)}
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
	var refused error
	for _, k := range h.from {
		err := k.look(h.address, nowhere, cert)
		if err == nil {
			return nil
		}
		if !strings.Contains(err.Error(), "no authorities for hostname") {
			refused = err
		}
	}
	if refused != nil {
		return misconfigured(fmt.Errorf("the certificate of host key %s is not accepted for %s: %w", ssh.FingerprintSHA256(cert.Key), h.name, refused),
			"have the SSH authority sign the host's key again, with this name among its principals")
	}
	return h.check("", nil, cert.Key)
}

func (h *hostKeys) revoked(key ssh.PublicKey) error {
	for _, k := range h.from {
		var revoked *knownhosts.RevokedError
		if errors.As(k.look(h.address, nowhere, key), &revoked) {
			return &RevokedHostKeyError{
				shownKey: shownKey{Host: h.name, File: revoked.Revoked.Filename, Fingerprint: ssh.FingerprintSHA256(key)}, At: revoked.Revoked.Line,
			}
		}
	}
	return nil
}
