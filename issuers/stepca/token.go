package stepca

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"time"

	"go.step.sm/crypto/jose"

	"renewer/renewer"
)

const (
	tokenLifetime = 5 * time.Minute
	leeway        = time.Minute // that step-ca allows for its clock and ours
)

// claims are what step-ca looks at beside the registered ones (RFC 7519).
type claims struct {
	Subject      string        `json:"-"` // goes with the registered ones
	SANs         []string      `json:"sans,omitempty"`
	Root         string        `json:"sha,omitempty"`
	Confirmation *confirmation `json:"cnf,omitempty"`
}

// confirmation binds the token to one CSR, by the hash of its DER.
type confirmation struct {
	Fingerprint string `json:"x5rt#S256"`
}

// claimsOf authorizes one order and nothing else. A token without SANs stands for its
// subject as the only one.
func claimsOf(o renewer.Order, csr []byte) claims {
	sum := sha256.Sum256(csr)
	c := claims{Subject: o.CommonName, SANs: o.SANs, Confirmation: &confirmation{base64.RawURLEncoding.EncodeToString(sum[:])}}
	if c.Subject == "" {
		c.Subject = o.SANs[0]
	}
	return c
}

// token signs a one-time token for a path of the server.
func (i *Issuer) token(creds *credentials, path string, c claims) (string, error) {
	c.Root = strings.ToLower(i.cfg.RootFingerprint)
	now := i.now()
	payload := struct { // at once: each set of claims is encoded, decoded and merged
		jose.Claims
		claims
	}{jose.Claims{
		ID: rand.Text(), Issuer: i.cfg.Provisioner, Subject: c.Subject,
		Audience:  jose.Audience{i.base.ResolveReference(&url.URL{Path: path, Fragment: creds.fragment}).String()},
		NotBefore: jose.NewNumericDate(now), IssuedAt: jose.NewNumericDate(now), Expiry: jose.NewNumericDate(now.Add(tokenLifetime)),
	}, c}
	text, err := jose.Signed(creds.signer).Claims(payload).CompactSerialize()
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return text, nil
}
