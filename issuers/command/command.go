// Package command is the issuer that a program of the operator is. It is run once an
// order, with the CSR in PEM on its standard input; the names and usages asked for are in
// it as requested extensions. The answer is on its standard output: the certificate and
// what is above it, in PEM. It may end with
//
//	0    the certificate is on standard output
//	75   later: it is run again in a minute, with the very same CSR, for days if need be
//	else it failed, and is run again with growing pauses
//
// and says why on standard error. What is above the certificate is looked for in the
// answer, and the roots are those of root_file.
//
// Its environment has RENEWER_CERTIFICATE, the name of the certificate, and
// RENEWER_LIFETIME, the seconds that it is to live, and nothing else: no credential of
// renewer, no PATH. It has a process group of its own, which is killed when its time is
// up, and what it prints has a limit.
//
// Every error is the context's or a *renewer.Error: retry for a program that failed,
// refused for an answer that must never be used, misconfigured for what somebody can fix
// here, and renewer.ErrLater.
package command

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"renewer/issuers/keptroots"
	"renewer/renewer"
	"renewer/renewer/pki"
)

// defaultTimeout of one run.
const defaultTimeout = time.Minute

// Config says what is run.
type Config struct {
	Name     string // of the issuer
	Sign     []string
	Revoke   []string // empty: it cannot revoke
	RootFile string
	Timeout  time.Duration // of one run; 0: a minute
}

// Issuer runs the program. It is safe for many goroutines.
type Issuer struct {
	cfg   Config
	above atomic.Pointer[[]*x509.Certificate] // the CAs of the last answer
	down  atomic.Pointer[failure]             // how the last run ended; nil: well
}

// failure is a run that failed.
type failure struct {
	at  time.Time
	err error
}

// New runs nothing.
func New(cfg Config) *Issuer {
	cfg.Timeout = cmp.Or(cfg.Timeout, defaultTimeout)
	return &Issuer{cfg: cfg}
}

// OrderTimeout serves engine.Deferred.
func (i *Issuer) OrderTimeout() time.Duration { return i.cfg.Timeout + 2*grace }

// Sign runs the program with the CSR.
func (i *Issuer) Sign(ctx context.Context, o renewer.Order) (renewer.Chain, error) {
	doing := "sign " + o.Certificate
	if err := ctx.Err(); err != nil {
		return renewer.Chain{}, err
	}
	if o.CommonName == "" && len(o.SANs) == 0 {
		return renewer.Chain{}, i.refused(doing, "set common_name or sans", errors.New("the order has neither a common name nor a SAN"))
	}
	csr, err := o.RequestPEM()
	if err != nil {
		return renewer.Chain{}, i.refused(doing, "", err)
	}
	out, err := i.run(ctx, doing, i.cfg.Sign, []string{
		"RENEWER_CERTIFICATE=" + o.Certificate, "RENEWER_LIFETIME=" + strconv.FormatInt(int64(o.Lifetime/time.Second), 10),
	}, csr)
	if errors.Is(err, errLater) {
		return renewer.Chain{}, &renewer.Error{
			Class: renewer.ClassRetry, Hint: "renewer runs it again until it has signed, or fails",
			Err: fmt.Errorf("issuer %s: %s is %w%s", i.cfg.Name, o.Certificate, renewer.ErrLater, lastWords(out)),
		}
	}
	if err != nil {
		i.note(err)
		return renewer.Chain{}, err
	}
	chain, err := i.read(o, doing, out)
	i.note(err)
	return chain, err
}

// read takes the chain out of what the program printed.
func (i *Issuer) read(o renewer.Order, doing string, out []byte) (renewer.Chain, error) {
	chain, err := pki.DecodeChain(out, o.Key.Public())
	what := i.cfg.Sign[0]
	switch {
	case errors.Is(err, pki.ErrPrivateKey):
		return chain, i.refused(doing, "a private key never leaves renewer: change "+what+" so that it signs the CSR that it gets, and prints only certificates",
			fmt.Errorf("%s printed a private key, which renewer rejects", what))
	case errors.Is(err, pki.ErrOtherKey):
		return chain, i.refused(doing, "have "+what+" sign the CSR on its standard input",
			fmt.Errorf("%s signed another key than the one of the CSR", what))
	case err != nil:
		return chain, i.misconfigured(doing, "it must print only the certificate and its intermediates to standard output, in PEM, and messages to standard error",
			fmt.Errorf("the output of %s cannot be parsed: %w%s", what, err, lastWords(out)))
	}
	i.above.Store(&chain.Intermediates)
	return chain, nil
}

// Roots returns those of root_file.
func (i *Issuer) Roots(ctx context.Context) ([]*x509.Certificate, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return keptroots.Given(i.cfg.Name, i.cfg.RootFile)
}

// Intermediates returns the CAs below the root, as the last answer had them.
func (i *Issuer) Intermediates() []*x509.Certificate {
	if above := i.above.Load(); above != nil {
		return slices.Clone(*above)
	}
	return nil
}

// LogIn looks for what can be found without an order: the programs and the roots.
func (i *Issuer) LogIn(ctx context.Context) error {
	if _, err := i.Roots(ctx); err != nil {
		return err
	}
	for _, argv := range [][]string{i.cfg.Sign, i.cfg.Revoke} {
		if err := i.find(argv); err != nil {
			return err
		}
	}
	return nil
}

// downFor is how long a run that failed stands for how the issuer is, without another one.
const downFor = time.Hour

// Health is LogIn, and how the last run ended: there is nothing to ask but an order.
func (i *Issuer) Health(ctx context.Context) error {
	if err := i.LogIn(ctx); err != nil {
		return err
	}
	if f := i.down.Load(); f != nil && time.Since(f.at) < downFor {
		return f.err
	}
	return nil
}

// note keeps how a run ended for Health. What is refused is about one order.
func (i *Issuer) note(err error) {
	switch {
	case err == nil:
		i.down.Store(nil)
	case renewer.ClassOf(err) == renewer.ClassRetry && !errors.Is(err, context.Canceled):
		i.down.Store(&failure{at: time.Now(), err: err})
	}
}

// Revoke runs the other program with the certificate in PEM on its standard input.
func (i *Issuer) Revoke(ctx context.Context, r renewer.Revocation) error {
	doing := "revoke " + r.Certificate
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(i.cfg.Revoke) == 0 {
		return i.refused(doing, "set revoke: [PROGRAM, ARGUMENT] of issuer "+i.cfg.Name+", or revoke it at the CA", errors.New("it has no program for revocation"))
	}
	var text []byte
	if r.Chain.Leaf != nil {
		text = pki.PEM(r.Chain.Leaf)
	}
	_, err := i.run(ctx, doing, i.cfg.Revoke, []string{
		"RENEWER_CERTIFICATE=" + r.Certificate, "RENEWER_SERIAL=" + r.Serial, "RENEWER_REASON=" + string(r.Reason),
	}, text)
	if errors.Is(err, errLater) {
		return i.failed(doing, "run the command again", fmt.Errorf("%s asks to be run again later", i.cfg.Revoke[0]))
	}
	return err
}
