package vault

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"renewer/renewer"
	"renewer/renewer/pki"
)

// maxChain is the most certificates above a leaf; real chains have one to four.
const maxChain = 16

// Sign has the role sign the order's CSR. The lifetime counts from now; Vault
// lets the certificate begin half a minute earlier.
func (i *Issuer) Sign(ctx context.Context, o renewer.Order) (renewer.Chain, error) {
	if err := ctx.Err(); err != nil {
		return renewer.Chain{}, err
	}
	body, err := i.ask(o)
	if err != nil {
		return renewer.Chain{}, err
	}
	// No one is to sign what no peer could trust afterwards.
	if !i.rooted.Load() {
		if err := i.checkRoots(ctx); err != nil {
			return renewer.Chain{}, err
		}
	}
	secret, err := withToken(ctx, i, request{op: opSign, what: "sign " + o.Certificate}, func(c *api.Client) func(context.Context) (*api.Secret, error) {
		return write(c, i.signPath(), body)
	})
	if err != nil {
		return renewer.Chain{}, err
	}
	if secret.LeaseID != "" {
		return renewer.Chain{}, i.leased()
	}
	chain, err := i.parseAnswer(secret.Data)
	if err != nil {
		return renewer.Chain{}, i.odd("sign "+o.Certificate, err)
	}
	return chain, nil
}

// signPath is what an order is sent to.
func (i *Issuer) signPath() string {
	if i.cfg.IssuerRef == "" {
		return i.cfg.Mount + "/sign/" + i.cfg.Role
	}
	return i.cfg.Mount + "/issuer/" + i.cfg.IssuerRef + "/sign/" + i.cfg.Role
}

// ask checks an order and makes the request's body out of it.
func (i *Issuer) ask(o renewer.Order) (map[string]any, error) {
	refuse := func(hint, format string, args ...any) error {
		return &renewer.Error{
			Class: renewer.ClassRefused, Hint: hint,
			Err: fmt.Errorf("issuer %s: the order for %s "+format, append([]any{i.cfg.Name, o.Certificate}, args...)...),
		}
	}
	if o.Key == nil {
		return nil, refuse("", "has no key")
	}
	if o.Lifetime < time.Second {
		return nil, refuse("set lifetime to a second or more", "has the lifetime %s", o.Lifetime)
	}
	if o.CommonName == "" && len(o.SANs) == 0 {
		return nil, refuse("set common_name or sans", "has neither a common name nor a SAN")
	}
	der, err := o.CSR()
	if err != nil {
		return nil, refuse("write names in ASCII; internationalized ones in their xn-- form", "cannot be made: %w", err)
	}
	return map[string]any{
		"csr":    string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})),
		"format": "pem",
		"ttl":    strconv.FormatInt(int64(o.Lifetime/time.Second), 10) + "s",
		// The order's SANs are all that it wants; the CN is no name of its own.
		"exclude_cn_from_sans": true,
	}, nil
}

// above is what stood above a leaf: each certificate is known to have signed
// the one before.
type above struct {
	text string // that it was read from
	path []*x509.Certificate
}

// parseAnswer takes leaf and chain out of the data of a sign request. The chain
// is the same for one order after the other, so it is proven once.
func (i *Issuer) parseAnswer(data map[string]any) (renewer.Chain, error) {
	leaves, err := certificates(data["certificate"])
	if err != nil {
		return renewer.Chain{}, fmt.Errorf("certificate: %w", err)
	}
	if len(leaves) == 0 {
		return renewer.Chain{}, errors.New("the answer has no certificate")
	}
	leaf, text := leaves[0], fmt.Sprint(data["ca_chain"], data["issuing_ca"])
	if known := i.above.Load(); known != nil && known.text == text && names(leaf, known.path) {
		return renewer.Chain{Leaf: leaf, Intermediates: slices.Clone(known.path)}, nil
	}
	among, err := certificates(data["ca_chain"])
	if err != nil {
		return renewer.Chain{}, fmt.Errorf("ca_chain: %w", err)
	}
	issuing, err := certificates(data["issuing_ca"])
	if err != nil {
		return renewer.Chain{}, fmt.Errorf("issuing_ca: %w", err)
	}
	path := pki.Between(leaf, slices.Concat(among, issuing, i.Intermediates()))
	i.above.Store(&above{text: text, path: path})
	return renewer.Chain{Leaf: leaf, Intermediates: slices.Clone(path)}, nil
}

// names reports whether leaf names the first of path as its issuer, by key
// too. That it was really signed by it is checked for every issuer alike, by
// renewer.CheckIssued.
func names(leaf *x509.Certificate, path []*x509.Certificate) bool {
	return len(path) > 0 && bytes.Equal(leaf.RawIssuer, path[0].RawSubject) &&
		len(leaf.AuthorityKeyId) > 0 && bytes.Equal(leaf.AuthorityKeyId, path[0].SubjectKeyId)
}

// certificates reads PEM: one text, or a list of them; nothing is none.
func certificates(v any) ([]*x509.Certificate, error) {
	var text strings.Builder
	switch v := v.(type) {
	case nil:
	case string:
		text.WriteString(v)
	case []any:
		for _, one := range v {
			s, ok := one.(string)
			if !ok {
				return nil, fmt.Errorf("a %T where PEM should be", one)
			}
			text.WriteString(strings.TrimSuffix(s, "\n") + "\n")
		}
	default:
		return nil, fmt.Errorf("a %T where PEM should be", v)
	}
	var out []*x509.Certificate
	for rest := []byte(text.String()); len(bytes.TrimSpace(rest)) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return nil, errors.New("it is not PEM with certificates")
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if out = append(out, c); len(out) > maxChain {
			return nil, fmt.Errorf("more than %d certificates", maxChain)
		}
	}
	return out, nil
}

// Revoke revokes by serial and, where Vault does not know it (a role with
// no_store), by the certificate itself. Vault's engine records no reason.
// What is revoked or expired already is no error.
func (i *Issuer) Revoke(ctx context.Context, r renewer.Revocation) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	revoke := func(body map[string]any) error {
		_, err := withToken(ctx, i, request{op: opRevoke, what: "revoke " + r.Certificate}, func(c *api.Client) func(context.Context) (*api.Secret, error) {
			return write(c, i.cfg.Mount+"/revoke", body)
		})
		return err
	}
	err := revoke(map[string]any{"serial_number": colons(r.Serial)})
	var no *answered
	if r.Chain.Leaf != nil && errors.As(err, &no) && no.status == 400 && strings.Contains(no.says, "not found") {
		return revoke(map[string]any{"certificate": string(pki.PEM(r.Chain.Leaf))})
	}
	return err
}

// colons writes a serial as Vault does: 0a:1b:2c.
func colons(hex string) string {
	var b strings.Builder
	for k := 0; k < len(hex); k += 2 {
		if k > 0 {
			b.WriteByte(':')
		}
		b.WriteString(hex[k:min(k+2, len(hex))])
	}
	return b.String()
}
