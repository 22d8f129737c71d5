package teststepca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"

	"go.step.sm/crypto/jose"

	"renewer/renewer"
	"renewer/renewer/pki"
)

const (
	day = 24 * time.Hour
	// iterations of PBKDF2 over the provisioner's password: few, since every
	// login of every test goes through them. The step command takes 600,000.
	iterations = 1000
)

// Make writes everything that a step-ca needs into dir and runs nothing:
// `step-ca CONFIGFILE` would. Its key is not encrypted, since opening one takes
// most of a second.
func Make(dir string, o Options) (*CA, error) {
	if o.IntermediateLife == 0 {
		o.IntermediateLife = 365 * day
	}
	if o.MaxLifetime == 0 {
		o.MaxLifetime = 31 * day
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	c := &CA{dir: dir, Address: address, URL: "https://" + address}
	c.ConfigFile, c.PasswordFile, c.X5CCertFile, c.X5CKeyFile = c.path("ca.json"), c.path("password"), c.path("x5c.crt"), c.path("x5c.key")
	w := &writer{}
	if err := c.makeChain(w, o.IntermediateLife); err != nil {
		return nil, err
	}
	provisioners, err := c.makeProvisioners(w, o.OwnLimit)
	if err != nil {
		return nil, err
	}
	cfg := map[string]any{
		"root": c.path("root.crt"), "crt": c.path("intermediate.crt"), "key": c.path("intermediate.key"),
		"federatedRoots": o.Federated, "address": address, "dnsNames": []string{"127.0.0.1", "localhost"},
		"authority": map[string]any{
			"provisioners": provisioners,
			// A token from before the start is refused, and tests set clocks.
			"disableIssuedAtCheck": true,
			"claims":               map[string]any{"minTLSCertDuration": "1s", "maxTLSCertDuration": o.MaxLifetime.String(), "defaultTLSCertDuration": "1h"},
		},
	}
	if !o.NoDatabase {
		cfg["db"] = map[string]any{"type": "bbolt", "dataSource": c.path("step.db")}
		cfg["crl"] = map[string]any{"enabled": true, "generateOnRevoke": true}
	}
	text, err := json.MarshalIndent(cfg, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", c.ConfigFile, err)
	}
	w.write(c.ConfigFile, text)
	w.write(c.PasswordFile, []byte(Password+"\n"))
	return c, w.err
}

// makeChain makes root and intermediate.
func (c *CA) makeChain(w *writer, life time.Duration) error {
	rootKey, root, err := newAuthority("Test step Root", 1, 10*365*day, nil, nil)
	if err != nil {
		return err
	}
	c.Root, c.rootKey, c.Fingerprint = root, rootKey, renewer.Fingerprint(root.Raw)
	w.write(c.path("root.crt"), pki.PEM(root))
	return c.makeIntermediate(w, life)
}

// NewIntermediate makes another intermediate below the same root. A CA that runs
// takes it at its next start.
func (c *CA) NewIntermediate() error {
	w := &writer{}
	if err := c.makeIntermediate(w, 365*day); err != nil {
		return err
	}
	return w.err
}

// Federate has the CA vouch for the roots in further PEM files. A CA that runs takes
// them at its next start.
func (c *CA) Federate(files ...string) error {
	text, err := os.ReadFile(c.ConfigFile)
	if err != nil {
		return err
	}
	var cfg map[string]any
	if err := json.Unmarshal(text, &cfg); err != nil {
		return fmt.Errorf("%s: %w", c.ConfigFile, err)
	}
	cfg["federatedRoots"] = files
	if text, err = json.MarshalIndent(cfg, "", "  "); err != nil {
		return err
	}
	return os.WriteFile(c.ConfigFile, text, 0o600)
}

func (c *CA) makeIntermediate(w *writer, life time.Duration) error {
	key, intermediate, err := newAuthority("Test step Intermediate", 0, life, c.Root, c.rootKey)
	if err != nil {
		return err
	}
	text, err := pki.EncodeKey(key)
	if err != nil {
		return err
	}
	c.Intermediate, c.intermediateKey = intermediate, key
	w.write(c.path("intermediate.crt"), pki.PEM(intermediate))
	w.write(c.path("intermediate.key"), text)
	return nil
}

// makeProvisioners returns both of them as ca.json has them.
func (c *CA) makeProvisioners(w *writer, limit time.Duration) ([]any, error) {
	jwk, err := jose.GenerateJWK("EC", "P-256", "ES256", "sig", "", 0)
	if err != nil {
		return nil, fmt.Errorf("make the key of the provisioner: %w", err)
	}
	if jwk.KeyID, err = jose.Thumbprint(jwk); err != nil {
		return nil, fmt.Errorf("name the key of the provisioner: %w", err)
	}
	sealed, err := seal(jwk)
	if err != nil {
		return nil, fmt.Errorf("encrypt the key of the provisioner: %w", err)
	}
	rootKey, root, err := newAuthority("Test X5C Root", 0, 365*day, nil, nil)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	leaf, err := sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "renewer"}, NotAfter: time.Now().Add(300 * day),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, key.Public(), root, rootKey)
	if err != nil {
		return nil, err
	}
	text, err := pki.EncodeKey(key)
	if err != nil {
		return nil, err
	}
	w.write(c.X5CCertFile, pki.PEM(leaf))
	w.write(c.X5CKeyFile, text)
	own := map[string]any{"type": "JWK", "name": Provisioner, "key": jwk.Public(), "encryptedKey": sealed}
	if limit > 0 {
		own["claims"] = map[string]any{"maxTLSCertDuration": limit.String(), "defaultTLSCertDuration": limit.String()}
	}
	return []any{
		own,
		map[string]any{"type": "X5C", "name": X5CProvisioner, "roots": pki.PEM(root)},
		map[string]any{"type": "ACME", "name": "acme"},
	}, nil
}

func seal(jwk *jose.JSONWebKey) (string, error) {
	text, err := json.Marshal(jwk)
	if err != nil {
		return "", err
	}
	enc, err := jose.NewEncrypter(jose.DefaultEncAlgorithm, jose.Recipient{
		Algorithm: jose.PBES2_HS256_A128KW, Key: []byte(Password), PBES2Count: iterations, PBES2Salt: bytes.Repeat([]byte{7}, jose.PBKDF2SaltSize),
	}, nil)
	if err != nil {
		return "", err
	}
	sealed, err := enc.Encrypt(text)
	if err != nil {
		return "", err
	}
	return sealed.CompactSerialize()
}

// newAuthority makes a CA certificate; without a parent it signs itself.
func newAuthority(name string, below int, life time.Duration, parent *x509.Certificate, parentKey crypto.Signer) (*ecdsa.PrivateKey, *x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make the key of %s: %w", name, err)
	}
	tmpl := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(life),
		IsCA: true, MaxPathLen: below, MaxPathLenZero: below == 0, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if parent == nil {
		parent, parentKey = tmpl, key
	}
	cert, err := sign(tmpl, key.Public(), parent, parentKey)
	return key, cert, err
}

// sign fills in what a template leaves out.
func sign(tmpl *x509.Certificate, pub crypto.PublicKey, parent *x509.Certificate, key crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	tmpl.SerialNumber, tmpl.BasicConstraintsValid = serial, true
	if tmpl.NotBefore.IsZero() {
		tmpl.NotBefore = time.Now().Add(-time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, key)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", tmpl.Subject, err)
	}
	return x509.ParseCertificate(der)
}

// freeAddress is a loopback port that was free a moment ago.
func freeAddress() (string, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// writer keeps the first error of several writes.
type writer struct{ err error }

func (w *writer) write(path string, data []byte) {
	if w.err == nil {
		w.err = os.WriteFile(path, data, 0o600)
	}
}
