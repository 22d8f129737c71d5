package acme

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"renewer/renewer"
)

const (
	// A server that does not say when it wants to be asked again is asked soon, and then
	// more and more rarely.
	firstPoll, longestPoll = 100 * time.Millisecond, 5 * time.Second
	profileHint            = "set profile to one of those, or remove it"
)

// Sign has the order signed, or goes on with what an earlier call began.
func (i *Issuer) Sign(ctx context.Context, o renewer.Order) (renewer.Chain, error) {
	doing := "sign " + o.Certificate
	if o.Key == nil {
		return renewer.Chain{}, refused("", "issuer %s: %s: the order has no key", i.cfg.Name, doing)
	}
	names, err := names(i.cfg, o.Request)
	if err != nil {
		return renewer.Chain{}, i.failed(ctx, doing, err)
	}
	within, cancel := i.within(noted(ctx), i.patience)
	defer cancel()
	mine := i.claim(o.Certificate)
	if mine {
		defer i.unclaim(o.Certificate)
	}
	var chain renewer.Chain
	err = i.asAccount(within, func(s *session) error {
		j := &job{Issuer: i, s: s, order: o, names: names, key: keyOf(o), mine: mine, longer: -1}
		chain, err = j.obtain(within)
		if err != nil && j.longer >= 0 {
			i.undated.Store(j.longer) // that was not it
		}
		return err
	})
	if err != nil {
		return renewer.Chain{}, i.failed(ctx, doing, i.limited(within, err))
	}
	i.signers.Store(&chain.Intermediates)
	return chain, nil
}

// keyOf names the key of an order.
func keyOf(o renewer.Order) string {
	der, err := x509.MarshalPKIXPublicKey(o.Key.Public())
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// job is one order at the server.
type job struct {
	*Issuer
	s     *session
	order renewer.Order
	names []string
	key   string
	mine  bool // see claim
	// resumed: an earlier call made the order. over: the server gave it up.
	resumed, over bool
	alone         bool // the order says nothing of the certificate that it replaces
	// dated: the order says when the certificate is to expire. longer is what undated
	// was before this job changed it; less than 0: it did not.
	dated  bool
	longer int64
	is     acme.Order
}

// obtain takes the order from wherever it is to its certificate. Each state is saved
// before the server is asked for the next, so that an order that is cut off goes on.
func (j *job) obtain(ctx context.Context) (renewer.Chain, error) {
	if err := j.begin(ctx); err != nil {
		return renewer.Chain{}, err
	}
	for {
		var err error
		switch j.is.Status {
		case acme.StatusPending:
			err = j.authorize(ctx)
		case acme.StatusReady:
			err = j.finalize(ctx)
		case acme.StatusProcessing:
			err = j.leave(ctx, acme.StatusProcessing)
		case acme.StatusValid:
			chain, err := j.download(ctx)
			if err == nil {
				err = j.drop()
			}
			return chain, err
		case acme.StatusInvalid:
			err = j.invalid()
		default:
			err = fmt.Errorf("the order has the unknown state %q", clean(j.is.Status))
		}
		if err != nil && j.tooLong(err) {
			err = j.make(ctx)
		}
		if err != nil && j.resumed && j.over { // for what an earlier call was cut off in
			j.resumed, j.over = false, false
			err = j.make(ctx)
		}
		if err != nil {
			return renewer.Chain{}, err
		}
	}
}

// begin goes on with the order that is under way, or makes one.
func (j *job) begin(ctx context.Context) error {
	was, err := j.saved()
	if err != nil {
		return err
	}
	if was.goesOn(j.names, j.cfg.Profile, j.key, j.now()) {
		j.is, err = j.s.client.GetOrder(ctx, j.s.account, acme.Order{Location: was.URL})
		begun := j.is.Status == acme.StatusProcessing || j.is.Status == acme.StatusValid
		switch p, isProblem := asProblem(err); {
		case err == nil && j.is.Status != acme.StatusInvalid && (!begun || was.Key == j.key):
			j.resumed = true
			return nil
		case err != nil && (!isProblem || p.Status >= 500 || p.Type == acme.ProblemTypeRateLimited || p.Type == acme.ProblemTypeAccountDoesNotExist):
			return err
		} // else it is gone
	}
	return j.make(ctx)
}

func (j *job) make(ctx context.Context) error {
	if err := j.hasProfile(j.s.dir); err != nil {
		return err
	}
	o := acme.Order{Profile: j.cfg.Profile}
	for _, name := range j.names {
		id := acme.Identifier{Type: "dns", Value: name}
		if net.ParseIP(name) != nil {
			id.Type = "ip"
		}
		o.Identifiers = append(o.Identifiers, id)
	}
	refused := time.Duration(j.undated.Load())
	if j.dated = !j.cfg.Public() && j.cfg.Profile == "" && (refused == 0 || j.order.Lifetime < refused); j.dated {
		end := j.now().Add(j.order.Lifetime).Truncate(time.Second)
		o.NotAfter = &end
	}
	// What is renewed when ARI says so counts less for rate limits (RFC 9773, section 5).
	if was := j.order.Replaces; j.s.dir.RenewalInfo != "" && was != nil && len(was.AuthorityKeyId) > 0 && !j.alone {
		o.Replaces, _ = acme.ARIUniqueIdentifier(was)
	}
	made, err := j.s.client.NewOrder(ctx, j.s.account, o)
	if p, _ := asProblem(err); o.Replaces != "" && (p.Status == http.StatusNotFound || slices.Contains([]string{
		acme.ProblemTypeAlreadyReplaced, acme.ProblemTypeMalformed, acme.ProblemTypeUnauthorized,
	}, p.Type)) {
		j.alone = true // it may have been replaced already, or be of another account
		return j.make(ctx)
	}
	if err != nil && j.tooLong(err) {
		return j.make(ctx)
	}
	if err != nil {
		return err
	}
	j.is = made
	return j.save("")
}

// tooLong reports whether an order may have failed because it says when the certificate
// is to expire: a server need not let it (RFC 8555, section 7.4), and step-ca has an
// internal error where that is later than it signs for. The next one does not say so.
func (j *job) tooLong(err error) bool {
	kind := problemOf(err)
	if !j.dated || kind != acme.ProblemTypeMalformed && kind != acme.ProblemTypeServerInternal {
		return false
	}
	j.dated, j.longer = false, j.undated.Swap(int64(j.order.Lifetime))
	return true
}

// limited is a rate limit, until the server wants to be asked again; other errors stay.
func (i *Issuer) limited(ctx context.Context, err error) error {
	p, ok := asProblem(err)
	if !ok || p.Type != acme.ProblemTypeRateLimited {
		return err
	}
	_, hint, pause := i.judgeProblem(p)
	return later(cmp.Or(asked(ctx), pause), hint, "%s: %s", i.cfg.Directory, words(p))
}

// hasProfile refuses a profile that the server does not have, before it is asked for.
func (i *Issuer) hasProfile(d acme.Directory) error {
	if i.cfg.Profile == "" {
		return nil
	}
	if d.Meta == nil || len(d.Meta.Profiles) == 0 {
		return misconfigured("remove profile", "the ACME server has no profiles, but profile is %s", i.cfg.Profile)
	}
	if _, ok := d.Meta.Profiles[i.cfg.Profile]; !ok {
		return misconfigured(profileHint, "the ACME server has no profile %s, only %s", i.cfg.Profile, clean(strings.Join(slices.Sorted(maps.Keys(d.Meta.Profiles)), ", ")))
	}
	return nil
}

// finalize hands in the CSR. The key is noted first: should the answer be lost, it is
// known for which key the certificate was made.
func (j *job) finalize(ctx context.Context) error {
	csr, err := csr(j.order, j.names)
	if err != nil {
		return refused("", "make the CSR: %w", err)
	}
	if err := j.save(j.key); err != nil {
		return err
	}
	is, err := j.s.client.FinalizeOrder(ctx, j.s.account, j.is, csr)
	is.Location = cmp.Or(is.Location, j.is.Location)
	problem, isProblem := asProblem(err)
	switch class, _, _ := j.judgeProblem(problem); {
	case err == nil, is.Status == acme.StatusProcessing, is.Status == acme.StatusInvalid:
		j.is = is
		return nil
	case isProblem && class == renewer.ClassRefused:
		return errors.Join(err, j.drop())
	case isProblem || is.Status != acme.StatusReady:
		return err
	}
	// It is being finalized already: for a call that was cut off.
	if err := new(patience).pause(ctx, "the order is being finalized"); err != nil {
		return err
	}
	if j.is, err = j.s.client.GetOrder(ctx, j.s.account, is); err == nil && j.is.Status == acme.StatusReady {
		err = errors.New("the server does not finalize the order, and gives no reason")
	}
	return err
}

// csr has the names and, where it is one of them, the common name: a server refuses any
// other, and a public one leaves it out of the certificate.
func csr(o renewer.Order, names []string) ([]byte, error) {
	tmpl := &x509.CertificateRequest{}
	if slices.Contains(names, strings.ToLower(o.CommonName)) && len(o.CommonName) <= 64 && net.ParseIP(o.CommonName) == nil {
		tmpl.Subject = pkix.Name{CommonName: strings.ToLower(o.CommonName)}
	}
	tmpl.DNSNames, tmpl.IPAddresses = renewer.SplitSANs(names)
	return x509.CreateCertificateRequest(rand.Reader, tmpl, o.Key)
}

// leave asks how the order is until it has left a state.
func (j *job) leave(ctx context.Context, state string) error {
	for p := new(patience); ; {
		is, err := j.s.client.GetOrder(ctx, j.s.account, j.is)
		if err != nil {
			return err
		}
		if is.Status != state {
			is.Location = j.is.Location
			j.is = is
			return nil
		}
		if err := p.pause(ctx, "the order is "+state); err != nil {
			return err
		}
	}
}

// patience waits between questions.
type patience struct{ last time.Duration }

// pause waits until the server wants to be asked again. Where that is beyond the
// deadline, the order is left for a later call.
func (p *patience) pause(ctx context.Context, why string) error {
	p.last = min(max(2*p.last, firstPoll), longestPoll)
	wait := cmp.Or(asked(ctx), p.last)
	if end, ok := ctx.Deadline(); ok && time.Until(end) < wait+time.Second {
		return later(wait, "", "%s", why)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// invalid is an order that the server gave up. The next call begins another.
func (j *job) invalid() error {
	j.over = true
	if err := j.drop(); err != nil {
		return err
	}
	if j.is.Error != nil {
		return *j.is.Error
	}
	return retry(validationPause, j.solver.hint(challenge{}), "the order is invalid; the server gives no reason")
}
