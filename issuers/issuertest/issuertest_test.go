package issuertest

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/renewer"
)

// issuer signs with an intermediate and can be made to misbehave.
type issuer struct {
	t       *testing.T
	ca      *testpki.CA
	options func(o renewer.Order, leaf *testpki.Options)
	chain   func(c *renewer.Chain)
	deaf    bool // to the context
}

func newIssuer(t *testing.T) *issuer {
	return &issuer{t: t, ca: testpki.New(t).Intermediate(t, testpki.Options{CommonName: "Intermediate"})}
}

func (i *issuer) Sign(ctx context.Context, o renewer.Order) (renewer.Chain, error) {
	if !i.deaf && ctx.Err() != nil {
		return renewer.Chain{}, ctx.Err()
	}
	opts := testpki.Options{CommonName: o.CommonName, SANs: o.SANs, Key: o.Key, NotAfter: time.Now().Add(o.Lifetime)}
	for _, u := range o.Usages {
		if u == renewer.UsageServer {
			opts.Usages = append(opts.Usages, testpki.ServerUsage...)
		} else {
			opts.Usages = append(opts.Usages, testpki.ClientUsage...)
		}
	}
	if i.options != nil {
		i.options(o, &opts)
	}
	chain := renewer.Chain{Leaf: i.ca.Leaf(i.t, opts).Cert, Intermediates: slices.Clone(i.ca.Chain)}
	if i.chain != nil {
		i.chain(&chain)
	}
	return chain, nil
}

func (i *issuer) Roots(ctx context.Context) ([]*x509.Certificate, error) {
	if !i.deaf && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return []*x509.Certificate{i.ca.Root}, nil
}

func (i *issuer) Intermediates() []*x509.Certificate { return i.ca.Chain }

func (i *issuer) Health(ctx context.Context) error {
	if i.deaf {
		return nil
	}
	return ctx.Err()
}

func TestAnHonestIssuerPasses(t *testing.T) {
	t.Parallel()
	Run(t, Harness{
		New:  func(t *testing.T) Issuer { return newIssuer(t) },
		Keys: []renewer.KeyType{renewer.ECDSAP256, renewer.ECDSAP384, renewer.Ed25519},
		Faults: map[string]Fault{"down": {
			Provoke: func(*testing.T) error { return errors.New("dial 10.0.0.1: refused") },
			Class:   renewer.ClassRetry, Contains: []string{"10.0.0.1"},
		}},
	})
}

// Each way of misbehaving is found by the check that is named.
func TestMisbehaviourIsFound(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		spoil func(i *issuer)
		check string
		want  string
	}{
		"another key": {func(i *issuer) {
			i.options = func(_ renewer.Order, l *testpki.Options) { l.Key = nil }
		}, "server", "another key"},
		"SAN missing": {func(i *issuer) {
			i.options = func(_ renewer.Order, l *testpki.Options) { l.SANs = l.SANs[1:] }
		}, "server", "SAN 10.0.1.2 is missing"},
		"SAN added": {func(i *issuer) {
			i.options = func(_ renewer.Order, l *testpki.Options) { l.SANs = []string{"more"} }
		}, "client", "SAN more was not asked for"},
		"usage missing": {func(i *issuer) {
			i.options = func(_ renewer.Order, l *testpki.Options) { l.Usages = l.Usages[1:] }
		}, "both", "usage server is missing"},
		"usage added": {func(i *issuer) {
			i.options = func(_ renewer.Order, l *testpki.Options) { l.Usages = nil }
		}, "server", "usage client was not asked for"},
		"longer": {func(i *issuer) {
			i.options = func(_ renewer.Order, l *testpki.Options) { l.NotAfter = l.NotAfter.Add(time.Hour) }
		}, "client for minutes", "more than 5m0s from now"},
		"in the future": {func(i *issuer) {
			i.options = func(_ renewer.Order, l *testpki.Options) { l.NotBefore = time.Now().Add(time.Minute) }
		}, "server", "begins at"},
		"chain cut": {func(i *issuer) {
			i.chain = func(c *renewer.Chain) { c.Intermediates = nil }
		}, "server", "a peer would refuse it as server"},
		"chain with root": {func(i *issuer) {
			i.chain = func(c *renewer.Chain) { c.Intermediates = append(c.Intermediates, i.ca.Root) }
		}, "server", "is in the chain"},
		"chain upside down": {func(i *issuer) {
			below := i.ca.Intermediate(i.t, testpki.Options{CommonName: "Below"})
			i.ca = below
			i.chain = func(c *renewer.Chain) { slices.Reverse(c.Intermediates) }
		}, "server", "not signed by the next"},
		"claims another signer": {func(i *issuer) {
			i.chain = func(c *renewer.Chain) { c.SignedBy = i.ca.Root }
		}, "server", "says that it verified"},
		"deaf":        {func(i *issuer) { i.deaf = true }, "cancelled", "cancelled context gave <nil>"},
		"same serial": {func(i *issuer) { i.chain = repeat() }, "many at once", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t)
			c.spoil(i)
			for _, k := range checks {
				if k.name != c.check {
					continue
				}
				err := k.check(t.Context(), i, Harness{}.withDefaults())
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s gave %v, want %q", k.name, err, c.want)
				}
				return
			}
			t.Fatalf("no check is named %s", c.check)
		})
	}
}

// repeat answers every order with the first one's certificate.
func repeat() func(*renewer.Chain) {
	first := make(chan renewer.Chain, 1)
	return func(c *renewer.Chain) {
		select {
		case first <- *c:
		default:
			*c = <-first
			first <- *c
		}
	}
}

func TestFaultsAreJudged(t *testing.T) {
	t.Parallel()
	h := Harness{Secrets: []string{"hunter2"}}
	refused := func(hint, text string) error {
		return &renewer.Error{Class: renewer.ClassRefused, Hint: hint, Err: errors.New(text)}
	}
	f := Fault{Class: renewer.ClassRefused, Contains: []string{"host-b"}}
	if err := h.checkFault(f, refused("fix", "host-b is unknown")); err != nil {
		t.Errorf("a good error: %v", err)
	}
	for want, err := range map[string]error{
		"nothing went wrong":    nil,
		"class retry":           errors.New("host-b is unknown"),
		"no fix":                refused("", "host-b is unknown"),
		`"host-b" is not named`: refused("fix", "unknown"),
		"secret 0":              refused("fix with hunter2", "host-b is unknown"),
		"secret 0 stands":       fmt.Errorf("host-b: %w", refused("fix", "hunter2")),
	} {
		if got := h.checkFault(f, err); got == nil || !strings.Contains(got.Error(), want) {
			t.Errorf("%v: got %v, want %q", err, got, want)
		}
	}
}

// A text that cannot be read in a log is found.
func TestTextsAreJudged(t *testing.T) {
	t.Parallel()
	if err := checkText(renewer.WithHint(errors.New("issuer a: sign b: no such name"), "set sans: to ...")); err != nil {
		t.Errorf("a good text: %v", err)
	}
	for name, err := range map[string]error{
		"two lines":     errors.New("issuer a: first\nsecond"),
		"a bad verb":    errors.New("issuer a: %!d(string=x)"),
		"a sentence":    fmt.Errorf("issuer a: %s", "refused."),
		"said twice":    errors.New("issuer a: sign b: sign b: refused"),
		"a broken hint": renewer.WithHint(errors.New("issuer a: refused"), "do this\nand that"),
	} {
		if checkText(err) == nil {
			t.Errorf("%s was not found", name)
		}
	}
}

// switchable is an honest issuer that can be away, and of another root.
type switchable struct {
	*issuer
	away   error
	most   time.Duration
	forget bool // its roots, while it is away
	stuck  bool // it stays away
	waits  error
	hasty  bool // it does not say that it may sign later
	calls  func()
}

func (s *switchable) Sign(ctx context.Context, o renewer.Order) (renewer.Chain, error) {
	if s.calls != nil { // a server answers in a goroutine of its own
		answered := make(chan struct{})
		go func() { s.calls(); close(answered) }()
		select {
		case <-ctx.Done():
		case <-answered:
		}
	}
	if s.away != nil {
		return renewer.Chain{}, s.away
	}
	if s.most > 0 {
		o.Lifetime = min(o.Lifetime, s.most)
	}
	return s.issuer.Sign(ctx, o)
}

func (s *switchable) Roots(ctx context.Context) ([]*x509.Certificate, error) {
	if s.away != nil && s.forget {
		return nil, s.away
	}
	return s.issuer.Roots(ctx)
}

func (s *switchable) Health(ctx context.Context) error {
	if s.away != nil {
		return s.away
	}
	return s.issuer.Health(ctx)
}

// slowly is one that may sign later.
type slowly struct{ *switchable }

func (slowly) OrderTimeout() time.Duration { return 0 }

func (s slowly) Sign(ctx context.Context, o renewer.Order) (renewer.Chain, error) {
	if s.waits != nil {
		return renewer.Chain{}, s.waits
	}
	return s.switchable.Sign(ctx, o)
}

func TestScenariosFindMisbehaviour(t *testing.T) {
	t.Parallel()
	away := &renewer.Error{Class: renewer.ClassRetry, Hint: "look at it", Err: errors.New("connection refused")}
	cases := map[string]struct {
		scenario string
		spoil    func(s *switchable)
		away     error
		want     string // empty: it is healthy
	}{
		"an honest one, away":       {"renewal during an outage", nil, away, ""},
		"forgets its roots":         {"renewal during an outage", func(s *switchable) { s.forget = true }, away, "roots are not those"},
		"away for ever":             {"renewal during an outage", func(s *switchable) { s.stuck = true }, away, "after: "},
		"calls it a refusal":        {"renewal during an outage", nil, &renewer.Error{Class: renewer.ClassRefused, Hint: "no", Err: errors.New("no")}, "class refused"},
		"names no fix":              {"renewal during an outage", nil, &renewer.Error{Class: renewer.ClassRetry, Err: errors.New("gone")}, `hint ""`},
		"another root":              {"root change", nil, nil, ""},
		"the same root":             {"root change", func(s *switchable) { s.stuck = true }, nil, "same as before"},
		"within its limit":          {"lifetime limits", func(s *switchable) { s.most = 30 * 24 * time.Hour }, nil, ""},
		"less than its limit":       {"lifetime limits", func(s *switchable) { s.most = 24 * time.Hour }, nil, "of 720h0m0s it gives"},
		"no limit at all":           {"lifetime limits", nil, nil, "asked for 1440h0m0s it gives"},
		"signs when it may":         {"signed later", nil, nil, ""},
		"never signs":               {"signed later", func(s *switchable) { s.stuck = true }, nil, "when it is signed: a: not signed yet"},
		"calls waiting a failure":   {"signed later", func(s *switchable) { s.waits = errors.New("a: busy") }, nil, "asked 1 times"},
		"is in a hurry":             {"signed later", func(s *switchable) { s.hasty = true }, nil, "not engine.Deferred"},
		"heeds the context":         {"cancelled at each call", nil, nil, ""},
		"does not heed the context": {"cancelled at each call", func(s *switchable) { s.deaf = true }, nil, "cancelled, sign gave"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			make := func() *switchable {
				s := &switchable{issuer: newIssuer(t)}
				if c.spoil != nil {
					c.spoil(s)
				}
				return s
			}
			h := Harness{
				Outage: func(*testing.T) (Issuer, func(), func()) {
					s := make()
					return s, func() { s.away = c.away }, func() {
						if !s.stuck {
							s.away = nil
						}
					}
				},
				Replace: func(t *testing.T) (Issuer, func()) {
					s := make()
					return s, func() {
						if !s.stuck {
							s.ca = testpki.New(t).Intermediate(t, testpki.Options{CommonName: "Next"})
						}
					}
				},
				Limited: func(*testing.T) (Issuer, time.Duration) { return make(), 30 * 24 * time.Hour },
				Later: func(*testing.T) (func() Issuer, func(string)) {
					s := make()
					if s.waits == nil {
						s.waits = &renewer.Error{Class: renewer.ClassRetry, Hint: "wait", Err: fmt.Errorf("a: %w", renewer.ErrLater)}
					}
					open := func() Issuer {
						if s.hasty {
							return s
						}
						return slowly{s}
					}
					return open, func(string) {
						if !s.stuck {
							s.waits = nil
						}
					}
				},
				Watched: func(_ *testing.T, onCall func()) Issuer {
					s := make()
					s.calls = onCall
					return s
				},
			}.withDefaults()
			for _, s := range scenarios {
				if s.name != c.scenario {
					continue
				}
				switch err := s.check(t, h); {
				case c.want == "" && err != nil:
					t.Error(err)
				case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
					t.Errorf("gave %v, want %q", err, c.want)
				}
				return
			}
			t.Fatalf("no scenario is named %s", c.scenario)
		})
	}
}
