package daemon

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"renewer/renewer"
	"renewer/renewer/engine"
)

// healthTimeout bounds one question to one issuer or host.
const healthTimeout = 10 * time.Second

// askDownEvery is how often those are asked again that did not answer.
const askDownEvery = time.Minute

// health is the last known state of issuers and hosts: a scrape contacts none of them.
type health struct {
	mu      sync.Mutex
	issuers map[string]renewer.IssuerStatus
	hosts   map[string]renewer.HostStatus
	failed  map[string]bool // issuers that were down at any time since recovered
}

// found takes over how an issuer is. It is called with mu held.
func (h *health) found(st renewer.IssuerStatus) {
	if h.issuers[st.Name] = st; !st.Up {
		h.wasDown(st.Name)
	}
}

func (h *health) wasDown(issuer string) {
	if h.failed == nil {
		h.failed = map[string]bool{}
	}
	h.failed[issuer] = true
}

// wereDown takes in which issuers were down when the last daemon ended.
func (h *health) wereDown(down map[string]bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for issuer, was := range down {
		if was {
			h.wasDown(issuer)
		}
	}
}

// recovered returns the issuers that were down since it was last asked, however
// short, and are up.
func (h *health) recovered() (names []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name := range h.failed {
		if h.issuers[name].Up {
			names = append(names, name)
			delete(h.failed, name)
		}
	}
	return names
}

// ask asks every issuer and every host of a fleet.
func (h *health) ask(ctx context.Context, p *parts) { h.askWith(ctx, p, askHealth) }

// askWith is ask with another question to the issuers.
func (h *health) askWith(ctx context.Context, p *parts, question func(context.Context, engine.Issuer) error) {
	issuers, hosts := map[string]renewer.IssuerStatus{}, map[string]renewer.HostStatus{}
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(8)
	for name, is := range p.issuers {
		g.Go(func() error {
			st := askIssuer(ctx, name, p.typeOf(name), is, question)
			mu.Lock()
			defer mu.Unlock()
			issuers[name] = st
			return nil
		})
	}
	for _, host := range p.fleet.Hosts {
		if host.Retired {
			continue
		}
		g.Go(func() error {
			st := askHost(ctx, host.Name, host.Type, p.hosts[host.Name])
			mu.Lock()
			defer mu.Unlock()
			hosts[host.Name] = st
			return nil
		})
	}
	_ = g.Wait() // the answers carry their errors
	if ctx.Err() != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, st := range hosts {
		if was, ok := h.hosts[name]; ok && was.Up == st.Up {
			st.Since = was.Since
			hosts[name] = st
		}
	}
	were := h.issuers
	h.issuers, h.hosts = issuers, hosts
	for name, st := range issuers {
		if was, ok := were[name]; ok && was.Up == st.Up {
			st.Since = was.Since
		}
		h.found(st)
	}
}

// askAgain is how long after its first bad answer an issuer that was up is
// asked a second time: one that restarts is not down.
const askAgain = 5 * time.Second

// askIssuers checks every issuer, so that the outage of one without orders is
// noticed as well.
func (h *health) askIssuers(ctx context.Context, p *parts) {
	var g errgroup.Group
	g.SetLimit(8)
	for name := range p.issuers {
		g.Go(func() error {
			h.askAnew(ctx, p, name)
			return nil
		})
	}
	_ = g.Wait() // the answers carry their errors
}

// askAnew asks an issuer that was asked before.
func (h *health) askAnew(ctx context.Context, p *parts, name string) {
	ask := func() renewer.IssuerStatus { return askIssuer(ctx, name, p.typeOf(name), p.issuers[name], askHealth) }
	st := ask()
	if !st.Up && h.up(name) {
		select {
		case <-ctx.Done():
		case <-time.After(askAgain):
			st = ask()
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	was, ok := h.issuers[name]
	if !ok || ctx.Err() != nil { // not asked at the start yet, or left with a reload
		return
	}
	if was.Up == st.Up {
		st.Since = was.Since
	}
	h.found(st)
}

func (h *health) up(issuer string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.issuers[issuer].Up
}

// askDown asks those again that did not answer last time, so that the end of a
// problem is known long before everybody is asked again.
func (h *health) askDown(ctx context.Context, p *parts) {
	issuers, hosts := h.all()
	for _, st := range issuers {
		if is, ok := p.issuers[st.Name]; ok && !st.Up {
			if st = askIssuer(ctx, st.Name, st.Type, is, askHealth); st.Up {
				h.mu.Lock()
				if _, ok := h.issuers[st.Name]; ok { // not after a reload without it
					h.found(st)
				}
				h.mu.Unlock()
			}
		}
	}
	for _, st := range hosts {
		if host, ok := p.hosts[st.Name]; ok && !st.Up {
			if st = askHost(ctx, st.Name, st.Type, host); st.Up {
				h.mu.Lock()
				if _, ok := h.hosts[st.Name]; ok { // not after a reload without it
					h.hosts[st.Name] = st
				}
				h.mu.Unlock()
			}
		}
	}
}

func askHost(ctx context.Context, name, typ string, host engine.Host) renewer.HostStatus {
	st := renewer.HostStatus{Name: name, Type: typ, Up: true, Since: time.Now().UTC()}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	if err := host.Check(ctx); err != nil {
		st.Up, st.Error, st.Hint = false, err.Error(), renewer.Hint(err)
	}
	return st
}

func askHealth(ctx context.Context, is engine.Issuer) error { return is.Health(ctx) }

// logIn logs in afresh, so that what is cached hides no fault.
func logIn(ctx context.Context, is engine.Issuer) error {
	if l, ok := engine.Can[engine.LogIn](is); ok {
		return l.LogIn(ctx)
	}
	return is.Health(ctx)
}

// askIssuer puts the question first: what it finds wrong says more than the
// roots that could not be had because of it.
func askIssuer(ctx context.Context, name, typ string, is engine.Issuer, question func(context.Context, engine.Issuer) error) renewer.IssuerStatus {
	st := renewer.IssuerStatus{Name: name, Type: typ, CAs: []renewer.CAStatus{}}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	err := question(ctx, is)
	cas, unknown := is.Roots(ctx)
	if signs, ok := engine.Can[engine.Intermediate](is); ok {
		cas = append(signs.Intermediates(), cas...)
	}
	if typ == typeFile {
		cas = nil // they sign nothing here
	}
	for _, c := range cas {
		st.CAs = append(st.CAs, renewer.CAStatus{Subject: c.Subject.String(), NotAfter: c.NotAfter.UTC()})
	}
	if err == nil {
		err = unknown
	}
	st.Found(err, time.Now())
	if c, ok := engine.Can[engine.Clocked](is); ok {
		if offset, known := c.ClockOffset(); known {
			seconds := offset.Seconds()
			st.ClockOffset = &seconds
		}
	}
	return st
}

// issued takes over what an order says of its issuer.
func (h *health) issued(issuer string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	st, ok := h.issuers[issuer]
	if !ok || renewer.ClassOf(err) == renewer.ClassRefused {
		return // refusing one order is no sign of ill health
	}
	st.Found(err, time.Now())
	h.found(st)
}

func (h *health) all() ([]renewer.IssuerStatus, []renewer.HostStatus) {
	h.mu.Lock()
	defer h.mu.Unlock()
	issuers, hosts := make([]renewer.IssuerStatus, 0, len(h.issuers)), make([]renewer.HostStatus, 0, len(h.hosts))
	for _, st := range h.issuers {
		issuers = append(issuers, st)
	}
	for _, st := range h.hosts {
		hosts = append(hosts, st)
	}
	slices.SortFunc(issuers, func(a, b renewer.IssuerStatus) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(hosts, func(a, b renewer.HostStatus) int { return cmp.Compare(a.Name, b.Name) })
	return issuers, hosts
}

// observer passes what the engine counts to the metrics, and what it says of
// issuers to the health.
type observer struct {
	engine.Observer
	health *health
}

func (o *observer) Issued(issuer string, err error, took time.Duration) {
	o.health.issued(issuer, err)
	o.Observer.Issued(issuer, err, took)
}
