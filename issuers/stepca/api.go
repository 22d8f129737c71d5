package stepca

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// The part of step-ca's API that is used here, with the names of its package
// api. Of answers only these fields are read.

type signRequest struct {
	CSR   string `json:"csr"` // PEM
	Token string `json:"ott"`
	// NotAfter is a duration, so that it counts on the server's clock: the
	// longest one allowed is not refused because ours is ahead.
	NotAfter string `json:"notAfter"`
}

func newSignRequest(csr []byte, token string, lifetime time.Duration) signRequest {
	return signRequest{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})), token, lifetime.String()}
}

// signResponse has each certificate twice: they are parsed where they are needed.
type signResponse struct {
	Leaf  string   `json:"crt"`
	CA    string   `json:"ca"`
	Chain []string `json:"certChain"`
}

type revokeRequest struct {
	Serial     string `json:"serial"` // decimal
	Token      string `json:"ott"`
	ReasonCode int    `json:"reasonCode"`
	Reason     string `json:"reason"`
	Passive    bool   `json:"passive"`
}

type rootsResponse struct {
	Certificates []certificate `json:"crts"`
}

type provisionersResponse struct {
	Provisioners []provisioner `json:"provisioners"`
	NextCursor   string        `json:"nextCursor"`
}

// provisioner is a JWK or X5C provisioner; of one of another type the name alone.
type provisioner struct {
	Type string `json:"type"`
	Name string `json:"name"`
	jwkProvisioner
	Roots []byte // of an X5C provisioner, PEM
	most  time.Duration
}

// limits are a provisioner's own; those of the whole CA are not shown.
type limits struct {
	Claims struct {
		Most string `json:"maxTLSCertDuration"`
	} `json:"claims"`
}

type jwkProvisioner struct {
	Key struct {
		ID string `json:"kid"`
	} `json:"key"`
	EncryptedKey string `json:"encryptedKey"`
}

// The types of provisioners that can be logged in with.
const (
	typeJWK = "JWK"
	typeX5C = "X5C"
)

func (p *provisioner) UnmarshalJSON(text []byte) error {
	var head struct{ Type, Name string }
	if err := json.Unmarshal(text, &head); err != nil {
		return err
	}
	*p = provisioner{Type: head.Type, Name: head.Name}
	var own limits
	if json.Unmarshal(text, &own) == nil {
		p.most, _ = time.ParseDuration(own.Claims.Most) // or none
	}
	switch upper := strings.ToUpper(head.Type); upper { // ca.json may have it otherwise
	case typeJWK:
		p.Type = upper
		return json.Unmarshal(text, &p.jwkProvisioner)
	case typeX5C:
		p.Type = upper
		return json.Unmarshal(text, &struct{ Roots *[]byte }{&p.Roots})
	}
	return nil
}

// certificate is one in PEM, nil for null and for nothing.
type certificate struct{ *x509.Certificate }

func (c *certificate) UnmarshalJSON(text []byte) (err error) {
	var s string
	if err := json.Unmarshal(text, &s); err != nil || s == "" {
		return err
	}
	c.Certificate, err = parseCertificate(s)
	return err
}

func parseCertificate(text string) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("no PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// call asks one thing of the server, through what wire lets pass.
func call(ctx context.Context, via *wire, path string, query url.Values, request, answer any) error {
	at := via.issuer.base.ResolveReference(&url.URL{Path: path, RawQuery: query.Encode()})
	method, body := http.MethodGet, io.Reader(http.NoBody)
	if request != nil {
		text, err := json.Marshal(request)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		method, body = http.MethodPost, bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, at.String(), body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "renewer")
	return via.ask(req, answer)
}
