package testvault

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"
)

// mount is a PKI engine. Its default issuer is its own.
type mount struct {
	signer
	second  signer        // another issuer in it, which roles may name
	longest time.Duration // max_lease_ttl; signing is not held to it here
	roles   map[string]map[string]any
	issued  map[string]*issued
}

// signer is an issuer of a mount.
type signer struct {
	key   crypto.Signer
	ca    *x509.Certificate
	above []*x509.Certificate // what was imported with it
}

type issued struct {
	cert    *x509.Certificate
	stored  bool
	revoked time.Time
}

func (m *mount) chainPEM() (out []string) {
	for _, c := range append([]*x509.Certificate{m.ca}, m.above...) {
		out = append(out, encode("CERTIFICATE", c.Raw))
	}
	return out
}

func (c *exchange) pki(m *mount, rest string) {
	verb, name, _ := strings.Cut(rest, "/")
	switch {
	case verb == "issuer":
		ref, rest, _ := strings.Cut(name, "/")
		if at := m.at(ref); at == nil {
			c.replay("sign-issuer-ref-unknown")
		} else {
			c.pki(at, rest)
		}
	case verb == "sign" && name != "":
		if c.r.Method != http.MethodPut && c.r.Method != http.MethodPost {
			c.replay("error-method-not-supported")
			return
		}
		c.sign(m, name)
	case rest == "revoke":
		c.revoke(m)
	case verb == "roles" && c.r.Method == http.MethodGet:
		role, ok := m.roles[name]
		if !ok {
			c.replay("read-role-unknown")
			return
		}
		c.edit(c.w, "read-role-allowed", func(body map[string]any) { maps.Copy(body["data"].(map[string]any), shown(role)) })
	case verb == "roles":
		c.edit(c.w, "setup-08-role-docker-write", func(body map[string]any) {
			role := body["data"].(map[string]any)
			maps.Copy(role, map[string]any{"ttl": "0s", "max_ttl": "0s", "key_type": "rsa", "allowed_domains": []any{}, "allow_subdomains": false})
			maps.Copy(role, c.body)
			m.roles[name] = role
			body["data"] = shown(role)
		})
	case rest == "config/issuers" && c.text("default") == second:
		m.signer, m.second = m.second, m.signer
		c.replay("setup-09-policy-renewer")
	case rest == "root/generate/internal" && m.ca != nil:
		m.second = c.newSigner()
		c.edit(c.w, "setup-03-root-generate-internal", func(body map[string]any) { c.describe(body, m.second.ca, m) })
	case rest == "root/generate/internal":
		m.key = newKey()
		m.ca = c.certify(authority(c.text("common_name")), m.key.Public(), nil, m.key, duration(c.body["ttl"]))
		c.edit(c.w, "setup-03-root-generate-internal", func(body map[string]any) { c.describe(body, m.ca, m) })
	case rest == "intermediate/generate/internal":
		m.key = newKey()
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: c.text("common_name")}}, m.key)
		must(err)
		c.edit(c.w, "setup-05-intermediate-generate-internal", func(body map[string]any) {
			body["data"].(map[string]any)["csr"] = encode("CERTIFICATE REQUEST", der)
		})
	case rest == "root/sign-intermediate":
		block, _ := pem.Decode([]byte(c.text("csr")))
		csr, err := x509.ParseCertificateRequest(block.Bytes)
		must(err)
		cert := c.certify(authority(c.text("common_name")), csr.PublicKey, m.ca, m.key, duration(c.body["ttl"]))
		c.edit(c.w, "setup-06-root-sign-intermediate", func(body map[string]any) {
			c.describe(body, cert, m)
			body["data"].(map[string]any)["ca_chain"] = append([]string{encode("CERTIFICATE", cert.Raw)}, m.chainPEM()...)
		})
	case rest == "intermediate/set-signed":
		for rest := []byte(c.text("certificate")); ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			if cert := parse(block.Bytes); m.ca == nil {
				m.ca = cert
			} else {
				m.above = append(m.above, cert)
			}
		}
		c.replay("setup-07-intermediate-set-signed")
	default:
		c.replay("error-path-unknown")
	}
}

func authority(name string) *x509.Certificate {
	return &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
}

// describe fills in what Vault says of a certificate that m signed.
func (c *exchange) describe(body map[string]any, cert *x509.Certificate, m *mount) {
	data := body["data"].(map[string]any)
	data["certificate"], data["issuing_ca"] = encode("CERTIFICATE", cert.Raw), encode("CERTIFICATE", m.ca.Raw)
	data["serial_number"], data["expiration"] = colons(cert), cert.NotAfter.Unix()
	if _, ok := data["ca_chain"]; ok {
		data["ca_chain"] = m.chainPEM()
	}
}

func (c *exchange) chain(m *mount) {
	if m.ca == nil {
		c.fails("sign-mount-without-issuer", "no default issuer currently configured")
		return
	}
	c.edit(c.w, "read-cert-ca-chain-json", func(body map[string]any) {
		data := body["data"].(map[string]any)
		data["certificate"] = strings.Join(m.chainPEM(), "\n")
		data["ca_chain"] = data["certificate"]
	})
}

func (c *exchange) sign(m *mount, roleName string) {
	role, ok := m.roles[roleName]
	switch {
	case !ok:
		c.fails("sign-unknown-role", "unknown role: "+roleName)
		return
	case m.ca == nil:
		c.replay("sign-mount-without-issuer")
		return
	}
	if role["issuer_ref"] == second {
		m = m.at(second)
	}
	block, _ := pem.Decode([]byte(c.text("csr")))
	if block == nil {
		c.replay("sign-csr-junk")
		return
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		c.replay("sign-csr-truncated-der")
		return
	}
	if csr.CheckSignature() != nil {
		c.replay("sign-csr-bad-signature")
		return
	}
	if recording, text := refuses(role, csr); recording != "" {
		c.fails(recording, text)
		return
	}
	ttl, asked := duration(c.body["ttl"]), duration(c.body["ttl"])
	if ttl == 0 {
		ttl = duration(role["ttl"])
	}
	var warnings []string
	if most := duration(role["max_ttl"]); most > 0 && ttl > most {
		w := fmt.Sprintf("TTL %q is longer than permitted maxTTL %q, so maxTTL is being used", asked, most)
		ttl, warnings = most, []string{w, w}
	}
	if end := c.now().Add(ttl); end.After(m.ca.NotAfter) {
		c.fails("sign-past-ca-expiry-err", fmt.Sprintf("cannot satisfy request, as TTL would result in notAfter of %s that is beyond the expiration of the CA certificate at %s",
			end.UTC().Format(time.RFC3339Nano), m.ca.NotAfter.UTC().Format(time.RFC3339Nano)))
		return
	}
	tmpl := &x509.Certificate{
		Subject: pkix.Name{CommonName: csr.Subject.CommonName}, DNSNames: csr.DNSNames, IPAddresses: csr.IPAddresses,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if c.body["exclude_cn_from_sans"] != true && !slices.Contains(tmpl.DNSNames, csr.Subject.CommonName) {
		tmpl.DNSNames = append(tmpl.DNSNames, csr.Subject.CommonName)
	}
	slices.Sort(tmpl.DNSNames)
	cert := c.certify(tmpl, csr.PublicKey, m.ca, m.key, ttl)
	m.issued[colons(cert)] = &issued{cert: cert, stored: role["no_store"] != true}
	recording := "sign-ok"
	if role["generate_lease"] == true {
		recording = "sign-ok-generate-lease"
	}
	c.edit(c.w, recording, func(body map[string]any) {
		c.describe(body, cert, m)
		if warnings != nil {
			body["warnings"] = warnings
		}
	})
}

// at is the mount with one of its issuers as the only one; nil for none.
func (m *mount) at(ref string) *mount {
	switch at := *m; {
	case ref == "default":
		return &at
	case ref == second && m.second.ca != nil:
		at.signer, at.second = m.second, signer{}
		at.roles = map[string]map[string]any{}
		for name, role := range m.roles {
			at.roles[name] = maps.Clone(role)
			delete(at.roles[name], "issuer_ref")
		}
		return &at
	default:
		return nil
	}
}

// issuer answers issuer/REF/json.
func (c *exchange) issuer(m *mount, ref string) {
	at := m.at(ref)
	if at == nil {
		c.fails("sign-issuer-ref-unknown", "unable to find PKI issuer for reference: "+ref)
		return
	}
	c.edit(c.w, "read-issuer-json", func(body map[string]any) {
		data := body["data"].(map[string]any)
		data["ca_chain"], data["certificate"] = at.chainPEM(), encode("CERTIFICATE", at.ca.Raw)
	})
}

// shown is a role as Vault shows it: durations in seconds.
func shown(role map[string]any) map[string]any {
	out := maps.Clone(role)
	for _, k := range []string{"ttl", "max_ttl"} {
		out[k] = int(duration(role[k]) / time.Second)
	}
	return out
}

// refuses holds a CSR against a role and returns the recording of the refusal
// and its text.
func refuses(role map[string]any, csr *x509.CertificateRequest) (recording, text string) {
	kind := ""
	switch k := csr.PublicKey.(type) {
	case *rsa.PublicKey:
		kind = "rsa"
		if k.N.BitLen() < 2048 {
			return "sign-key-bits-rsa-1024", "RSA keys < 2048 bits are unsafe and not supported"
		}
	case *ecdsa.PublicKey:
		kind = "ec"
	case ed25519.PublicKey:
		kind = "ed25519"
	}
	if want := role["key_type"]; want != "any" && want != kind {
		return "sign-key-type-not-allowed-rsa", fmt.Sprint("role requires keys of type ", want)
	}
	cn := csr.Subject.CommonName
	switch {
	case cn == "" && role["require_cn"] != false:
		return "sign-cn-missing", `the common_name field is required, or must be provided in a CSR with "use_csr_common_name" set to true, unless "require_cn" is set to false`
	case cn != "" && !names(role, cn):
		return "sign-cn-not-allowed", "common name " + cn + " not allowed by this role"
	case len(csr.IPAddresses) > 0 && role["allow_ip_sans"] == false:
		return "sign-ip-san-not-allowed", "IP Subject Alternative Names are not allowed in this role, but was provided some via CSR"
	}
	for _, name := range csr.DNSNames {
		if !names(role, name) {
			return "sign-dns-san-not-allowed", "subject alternate name " + name + " not allowed by this role"
		}
	}
	return "", ""
}

func names(role map[string]any, name string) bool {
	if role["allow_any_name"] == true {
		return true
	}
	return slices.ContainsFunc(list(role["allowed_domains"]), func(domain string) bool {
		return role["allow_subdomains"] == true && strings.HasSuffix(name, "."+domain) || role["allow_bare_domains"] == true && name == domain
	})
}

func (c *exchange) revoke(m *mount) {
	serial := strings.ReplaceAll(c.text("serial_number"), "-", ":")
	one := m.issued[serial]
	if one != nil && !one.stored {
		one = nil
	}
	if text := c.text("certificate"); text != "" {
		if block, _ := pem.Decode([]byte(text)); block != nil {
			one = m.issued[colons(parse(block.Bytes))]
		}
	} else if serial == "" {
		c.replay("revoke-no-serial")
		return
	}
	if one == nil {
		c.fails("revoke-unknown-serial", "certificate with serial "+serial+" not found.")
		return
	}
	if one.revoked.IsZero() {
		one.revoked = c.now()
	}
	c.edit(c.w, "revoke-ok", func(body map[string]any) {
		data := body["data"].(map[string]any)
		data["revocation_time"], data["revocation_time_rfc3339"] = one.revoked.Unix(), one.revoked.UTC().Format(time.RFC3339Nano)
	})
}

// Revoked reports whether any mount has revoked cert.
func (s *Server) Revoked(cert *x509.Certificate) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.mounts {
		if one := m.issued[colons(cert)]; one != nil && !one.revoked.IsZero() {
			return true
		}
	}
	return false
}

// certify signs tmpl, a root where parent is nil, from half a minute ago on.
func (c *exchange) certify(tmpl *x509.Certificate, pub crypto.PublicKey, parent *x509.Certificate, key crypto.Signer, ttl time.Duration) *x509.Certificate {
	if parent == nil {
		parent = tmpl
	}
	serial := make([]byte, 20)
	_, _ = rand.Read(serial) // never fails
	serial[0] = serial[0]&0x3f | 0x40
	now := c.now()
	tmpl.SerialNumber, tmpl.BasicConstraintsValid = new(big.Int).SetBytes(serial), tmpl.IsCA
	tmpl.NotBefore, tmpl.NotAfter = now.Add(-30*time.Second), now.Add(ttl)
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, key)
	must(err)
	return parse(der)
}

func parse(der []byte) *x509.Certificate {
	cert, err := x509.ParseCertificate(der)
	must(err)
	return cert
}

func newKey() crypto.Signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	return key
}

// must is for what cannot fail in a handler of a test.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func encode(kind string, der []byte) string {
	return strings.TrimSuffix(string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})), "\n")
}

func colons(c *x509.Certificate) string {
	h := hex.EncodeToString(c.SerialNumber.Bytes())
	var parts []string
	for k := 0; k < len(h); k += 2 {
		parts = append(parts, h[k:k+2])
	}
	return strings.Join(parts, ":")
}
