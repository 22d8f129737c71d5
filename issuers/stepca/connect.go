package stepca

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"renewer/renewer"
)

// connection is a server whose root is known.
type connection struct {
	wire *wire
	http *http.Transport
	root *x509.Certificate
	pool *x509.CertPool
}

func (c *connection) close() { c.http.CloseIdleConnections() }

// lock waits for its turn to connect and log in.
func (i *Issuer) lock(ctx context.Context) (unlock func(), err error) {
	select {
	case i.login <- struct{}{}:
		return func() { <-i.login }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// connected returns the connection, made if there is none yet.
func (i *Issuer) connected(ctx context.Context) (*connection, error) {
	if c := i.conn.Load(); c != nil {
		return c, nil
	}
	unlock, err := i.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return i.connectLocked(ctx)
}

func (i *Issuer) connectLocked(ctx context.Context) (*connection, error) {
	if c := i.conn.Load(); c != nil {
		return c, nil
	}
	c, err := i.connect(ctx)
	if err != nil {
		return nil, err
	}
	i.conn.Store(c)
	return c, nil
}

// connect finds the root by its fingerprint.
func (i *Issuer) connect(ctx context.Context) (*connection, error) {
	root, err := i.fetchRoot(ctx)
	if err != nil {
		return nil, err
	}
	c := &connection{root: root, pool: x509.NewCertPool()}
	c.pool.AddCert(root)
	c.http = newTransport(&tls.Config{RootCAs: c.pool, MinVersion: tls.VersionTLS12})
	c.wire = i.wire(c.http)
	return c, nil
}

// fetchRoot gets the root from a server that is not trusted yet. Nothing secret
// is sent, and only the certificate with the fingerprint is believed.
func (i *Issuer) fetchRoot(ctx context.Context) (*x509.Certificate, error) {
	untrusted := newTransport(&tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}) //nolint:gosec // the answer is compared with the fingerprint
	defer untrusted.CloseIdleConnections()
	var answer struct{ CA certificate }
	err := call(ctx, i.wire(untrusted), "/root/"+strings.ToLower(i.cfg.RootFingerprint), nil, nil, &answer)
	if err != nil {
		return nil, explainRoot(err, i.cfg)
	}
	if answer.CA.Certificate == nil {
		return nil, &answerError{what: "is not a root certificate"}
	}
	if got := renewer.Fingerprint(answer.CA.Raw); !strings.EqualFold(got, i.cfg.RootFingerprint) {
		return nil, misconfigured(fingerprintHint, "%s returned a root that does not match root_fingerprint", i.base)
	}
	return answer.CA.Certificate, nil
}

// newTransport keeps connections, but for less long than step-ca does (15 s),
// so that an order is not sent into one that is just being closed.
func newTransport(cfg *tls.Config) *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        cfg,
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    32,
		IdleConnTimeout:        10 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
		// A server that vanished without a word is noticed before its
		// connection is used for every further order.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 5 * time.Second},
	}
}

// chain takes the certificates out of an answer: the leaf, then what is above
// it without a root.
func (i *Issuer) chain(res signResponse) (renewer.Chain, error) {
	texts := res.Chain
	if len(texts) == 0 {
		texts = []string{res.Leaf, res.CA}
	}
	var chain renewer.Chain
	for k, text := range texts {
		parse := i.authority
		if k == 0 {
			parse = parseCertificate
		}
		c, err := parse(text)
		switch {
		case text == "":
			return renewer.Chain{}, &answerError{what: "has no certificate"}
		case err != nil:
			return renewer.Chain{}, &answerError{what: "has a certificate that cannot be read"}
		case k == 0:
			chain.Leaf = c
		case !bytes.Equal(c.RawSubject, c.RawIssuer):
			chain.Intermediates = append(chain.Intermediates, c)
		}
	}
	return chain, nil
}

// authority parses a certificate above a leaf, which is the same for one order after
// another.
func (i *Issuer) authority(text string) (*x509.Certificate, error) {
	if known := i.above.Load(); known != nil && known.text == text {
		return known.cert, nil
	}
	c, err := parseCertificate(text)
	if err == nil {
		i.above.Store(&parsed{text, c})
	}
	return c, err
}

func contains(certs []*x509.Certificate, c *x509.Certificate) bool {
	return slices.ContainsFunc(certs, c.Equal)
}

// explainRoot tells a wrong fingerprint from a wrong address.
func explainRoot(err error, cfg Config) error {
	if a, ok := asAnswer(err); ok && a.words != "" && (a.status == http.StatusNotFound || a.status == http.StatusBadRequest) {
		return misconfigured(fingerprintHint, "the step-ca at %s has no root with the root_fingerprint %s", cfg.URL, short(cfg.RootFingerprint))
	}
	return err
}

func short(fingerprint string) string { return fmt.Sprintf("%.16s…", fingerprint) }
