package stepca

import (
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"renewer/renewer"
)

// maxBackdate is what a lifetime may grow by between order and certificate:
// step-ca backdates by a minute unless set otherwise.
const maxBackdate = 2 * time.Minute

// renewable reports whether a renewal of the previous certificate gives what
// the order asks: step-ca keeps key, names, usages and lifetime of what it
// renews.
func renewable(o renewer.Order, now time.Time) bool {
	leaf := o.Previous.Leaf
	if leaf == nil || now.After(leaf.NotAfter) || leaf.Subject.CommonName != o.CommonName {
		return false
	}
	if pub, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(o.Key.Public()) {
		return false
	}
	asked := o.SANs
	if len(asked) == 0 {
		asked = []string{o.CommonName} // step-ca's way with an order that has none
	}
	if !slices.Equal(sorted(asked), sorted(renewer.SANs(leaf))) {
		return false
	}
	has := renewer.UsagesOf(leaf)
	if slices.ContainsFunc(o.Usages, func(u renewer.Usage) bool { return !slices.Contains(has, u) }) {
		return false
	}
	more := leaf.NotAfter.Sub(leaf.NotBefore) - o.Lifetime
	return more >= -time.Second && more <= maxBackdate
}

// sorted is names in a form that can be compared.
func sorted(names []string) []string {
	out := make([]string, 0, len(names))
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			n = ip.String()
		}
		out = append(out, strings.ToLower(n))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// renew asks for the previous certificate once more, over TLS with itself.
func (i *Issuer) renew(ctx context.Context, o renewer.Order) (renewer.Chain, error) {
	c, err := i.connected(ctx)
	if err != nil {
		return renewer.Chain{}, err
	}
	own := tls.Certificate{PrivateKey: o.Key, Leaf: o.Previous.Leaf, Certificate: [][]byte{o.Previous.Leaf.Raw}}
	for _, above := range o.Previous.Intermediates {
		own.Certificate = append(own.Certificate, above.Raw)
	}
	transport := newTransport(&tls.Config{RootCAs: c.pool, MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{own}})
	defer transport.CloseIdleConnections()
	var res signResponse
	if err := call(ctx, i.wire(transport), "/renew", nil, struct{}{}, &res); err != nil {
		return renewer.Chain{}, err
	}
	return i.chain(res)
}

// signInstead reports whether a renewal failed for a reason that a token may not
// have: the certificate expired on the server's clock, is revoked or of another
// CA, or renewals are switched off. With TLS 1.3 a server refuses a certificate after
// the handshake, so the alert can be lost and what is seen is a broken pipe.
func signInstead(err error) bool {
	if a, ok := asAnswer(err); ok {
		return a.words != "" && a.status >= 400 && a.status < 500 && a.status != http.StatusTooManyRequests
	}
	var op *net.OpError
	dialed := !errors.As(err, &op) || op.Op != "dial"
	return dialed && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled)
}
