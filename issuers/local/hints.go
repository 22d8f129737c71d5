package local

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"renewer/renewer/pki"
)

// source is where a CA comes from that is not in its place yet: for hints.
type source struct {
	cert, key string
	pkcs12    bool // both, in one container
	legacy    bool // which is encrypted so that OpenSSL 3 opens it only with -legacy
	next      bool // of an issuer that has a CA
}

// origin returns the files that openssl is given, and what has to be done first.
func (c Config) origin() (first, cert, key string) {
	if c.from.pkcs12 {
		return c.unpack(c.from.cert) + "; ", "NEW-ALL.pem", "NEW-ALL.pem"
	}
	return "", cmp.Or(c.from.cert, c.CertFile), cmp.Or(c.from.key, c.from.cert, c.KeyFile)
}

// unpack is the command that writes what is in PKCS #12 as PEM.
func (c Config) unpack(file string) string { return c.openPKCS12(file) + " -nodes -out NEW-ALL.pem" }

func (c Config) openPKCS12(file string) string {
	legacy := ""
	if c.from.legacy {
		legacy = " -legacy"
	}
	return "openssl pkcs12" + legacy + " -in " + file
}

// take is the command that puts into place what openssl wrote.
func (c Config) take(cert, key string) string {
	switch {
	case c.from.next:
		return "renewer ca import " + c.Name + " --as-next --cert " + cert + " --key " + key
	case c.from.cert != "":
		return "renewer ca import " + c.Name + " --cert " + cert + " --key " + key
	case key == c.KeyFile:
		return "mv " + cert + " " + c.CertFile
	default:
		return "mv " + cert + " " + c.CertFile + "; mv " + key + " " + c.KeyFile
	}
}

// anotherCA is how the issuer gets one where this cannot be used.
func (c Config) anotherCA() string {
	if c.from.next {
		return "renewer ca rotate " + c.Name + " creates the next CA"
	}
	if _, err := os.Lstat(c.CertFile); errors.Is(err, fs.ErrNotExist) {
		return "create a new CA, with an ECDSA P-256 key: renewer ca init " + c.Name
	}
	return fmt.Sprintf("move it away and create a new CA: mv %s %[1]s.unused; mv %s %[2]s.unused; renewer ca init %s", c.CertFile, c.KeyFile, c.Name)
}

// instead is how the issuer gets another CA once this one is not valid any more.
func (c Config) instead(path []*x509.Certificate) string {
	_, missing := os.Lstat(c.CertFile)
	switch {
	case missing != nil && !c.from.next:
		return "import one that is valid; or " + c.anotherCA()
	case len(path) > 1:
		return fromAbove(c.Name)
	default:
		return "renewer ca rotate " + c.Name + " replaces it"
	}
}

// fromAbove is how an intermediate is replaced: only what is above it can.
func fromAbove(issuer string) string {
	return "have a new one signed there, then: renewer ca import " + issuer + " --as-next --cert FILE --key FILE"
}

// resign has openssl sign a root again with its own key: the same name, key and
// extensions.
func (c Config) resign() string {
	first, cert, key := c.origin()
	return "sign it again with its own key: " + first + "openssl x509 -in " + cert + " -signkey " + key + " -sha256 -days 3650 -out NEW.pem; " + c.take("NEW.pem", key)
}

// reextend is resign with the extensions of a CA, and no other.
func (c Config) reextend(ca *x509.Certificate) string {
	if !bytes.Equal(ca.RawIssuer, ca.RawSubject) {
		return "have " + ca.Issuer.String() + " sign it again as a CA; or " + c.anotherCA()
	}
	first, cert, key := c.origin()
	return "sign it again with its own key, as a CA: " + first + "openssl x509 -x509toreq -in " + cert + " -signkey " + key + " -out NEW.csr; openssl req -x509 -in NEW.csr -key " + key +
		" -days 3650 -addext keyUsage=critical,keyCertSign,cRLSign -out NEW.pem; " + c.take("NEW.pem", key)
}

// unknownKey says of a kind of key that TLS peers do not know what to do: to write it
// in another way where it is one that they know.
func unknownKey(cfg Config, name, file, whose string) error {
	first, cert, key := cfg.origin()
	var rewrite string
	switch {
	case strings.Contains(name, "explicit") && strings.Contains(name, "of P-"):
		rewrite = "write the key with the name of its curve: " + first + "openssl pkey -in " + key + " -ec_param_enc named_curve -out NEW-KEY.pem"
	case name == "RSA-PSS":
		rewrite = "write the key as RSA: " + first + "(umask 077; openssl rsa -in " + key + " -traditional | sed s/RSA-PSS/RSA/ > NEW-KEY.pem)"
	default:
		return misconfigured(cfg.anotherCA(), "%s: the key of %s is %s, which Go programs such as dockerd do not support", file, whose, name)
	}
	return misconfigured(rewrite+"; openssl x509 -in "+cert+" -signkey NEW-KEY.pem -sha256 -days 3650 -out NEW.pem; "+cfg.take("NEW.pem", "NEW-KEY.pem"),
		"%s: the key of %s is %s, which Go programs such as dockerd do not support", file, whose, name)
}

// checkAlgorithms names what Go, and with it dockerd, does not understand, before
// its signature is taken for one of another CA.
func checkAlgorithms(cfg Config, c *x509.Certificate, file string) error {
	if c.PublicKey == nil || c.PublicKeyAlgorithm == x509.UnknownPublicKeyAlgorithm {
		return unknownKey(cfg, pki.KeyAlgorithm(c.Raw), file, subject(c))
	}
	if c.SignatureAlgorithm != x509.UnknownSignatureAlgorithm {
		return nil
	}
	name := pki.SignatureAlgorithm(c.Raw)
	if name == "RSA-PSS" {
		name = "RSA-PSS with parameters"
	}
	hint := cfg.resign()
	if !bytes.Equal(c.RawIssuer, c.RawSubject) {
		hint = "have " + c.Issuer.String() + " sign it again with SHA-256; of RSA-PSS the salt has to be as long as the hash: -sigopt rsa_pss_saltlen:digest"
	}
	return misconfigured(hint, "%s: %s is signed by %s, which Go programs such as dockerd do not support", file, subject(c), name)
}

// unparsable explains a certificate that crypto/x509 refuses to read.
func unparsable(cfg Config, der []byte, file string, n int, err error) error {
	if name := pki.KeyAlgorithm(der); strings.HasPrefix(name, "ECDSA") && !strings.HasPrefix(name, "ECDSA on P-") {
		return unknownKey(cfg, name, file, fmt.Sprintf("certificate %d", n))
	}
	return misconfigured("openssl x509 -in "+file+" -noout -text shows how openssl reads it; have it signed again without that fault",
		"%s: certificate %d cannot be read by Go programs, such as dockerd: %w", file, n, err)
}
