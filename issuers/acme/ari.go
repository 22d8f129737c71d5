package acme

import (
	"context"
	"crypto/x509"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"renewer/renewer"
)

// RenewBy asks the server when it wants a certificate renewed (ARI, RFC 9773): at a time
// in its window that is the same for a certificate each time. A server without ARI has
// no opinion.
func (i *Issuer) RenewBy(ctx context.Context, leaf *x509.Certificate) (renewer.Suggestion, error) {
	const doing = "ask when to renew"
	none := renewer.Suggestion{Again: 24 * time.Hour}
	within, cancel := i.within(noted(ctx), i.timeout)
	defer cancel()
	s := i.session.Load()
	if s == nil {
		var err error
		if s, err = i.connect(within); err != nil { // no account is needed for it
			return renewer.Suggestion{}, i.failed(ctx, doing, err)
		}
		defer s.close()
	}
	id, err := acme.ARIUniqueIdentifier(leaf)
	if s.dir.RenewalInfo == "" || err != nil || len(leaf.AuthorityKeyId) == 0 {
		return none, nil
	}
	var info acme.RenewalInfo
	if err := s.wire.get(within, strings.TrimSuffix(s.dir.RenewalInfo, "/")+"/"+id, &info); err != nil {
		return renewer.Suggestion{}, i.failed(ctx, doing, err)
	}
	w := info.SuggestedWindow
	if w.Start.IsZero() || !w.End.After(w.Start) {
		return none, nil
	}
	return renewer.Suggestion{By: renewer.Pick(w.Start, w.End, renewer.Fingerprint(leaf.Raw)), Why: clean(info.ExplanationURL), Again: asked(within)}, nil
}
