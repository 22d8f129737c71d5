package engine

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"renewer/inventory"
	"renewer/inventory/seal"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/pki"
)

// machine is a host in memory: revisions, what is live, and a service that
// serves what was live when it was last activated. It can fail at every call.
type machine struct {
	name string

	mu        sync.Mutex
	places    map[string]*place // by certificate
	calls     []string
	activated map[string]int
	down      bool                                 // the host cannot be reached
	stopped   bool                                 // the service does not run
	elsewhere bool                                 // and yet something answers on its port, with what was loaded last
	fail      func(call, certificate string) error // nil: nothing fails
	work      renewer.Work
	docker    renewer.DockerState
	doubts    []renewer.Doubt // whether the service would start again
	blind     error           // that cannot be known
	stops     time.Duration   // what its unit has to stop
	takes     time.Duration   // for an activation; 0: no time at all
	gaveUp    bool            // systemd has
	words     string          // of its journal
	slow      func(ctx context.Context, call string)
	after     func() // an activation, with nothing locked
	kept      error  // another renewer keeps its directories
	only      string // the one fingerprint that the service can serve; empty: any
}

type place struct {
	revisions map[string]map[renewer.FileKind][]byte
	order     []string
	live      string
	served    string
	loaded    map[renewer.FileKind][]byte
}

func newMachine(name string) *machine {
	return &machine{name: name, places: map[string]*place{}, activated: map[string]int{}}
}

var errDown = fmt.Errorf("%w: no route to host", renewer.ErrUnreachable)

func (m *machine) enter(call, certificate string) (unlock func(), err error) {
	m.mu.Lock()
	m.calls = append(m.calls, call+" "+certificate)
	if m.down {
		return m.mu.Unlock, errDown
	}
	if m.fail != nil {
		defer func() {
			if bug := recover(); bug != nil {
				m.mu.Unlock()
				panic(bug)
			}
		}()
		err = m.fail(call, certificate)
	}
	return m.mu.Unlock, err
}

func (m *machine) place(name string) *place {
	if m.places[name] == nil {
		m.places[name] = &place{revisions: map[string]map[renewer.FileKind][]byte{}}
	}
	return m.places[name]
}

func (m *machine) Stage(ctx context.Context, p renewer.Placement, content map[renewer.FileKind][]byte) (Staged, error) {
	if m.slow != nil {
		m.slow(ctx, "stage")
	}
	unlock, err := m.enter("stage", p.Certificate)
	defer unlock()
	if err != nil {
		return Staged{}, err
	}
	pl := m.place(p.Certificate)
	for name, have := range pl.revisions {
		if maps.EqualFunc(have, content, slices.Equal) {
			return Staged{Revision: name, Previous: pl.live, Live: pl.live == name}, nil
		}
	}
	name := fmt.Sprintf("r%d-%s", len(pl.order)+1, leafOf(content)[:min(8, len(leafOf(content)))])
	pl.revisions[name], pl.order = content, append(pl.order, name)
	return Staged{Revision: name, Previous: pl.live}, nil
}

func leafOf(content map[renewer.FileKind][]byte) string {
	block, _ := pem.Decode(content[renewer.FileCert])
	if block == nil {
		return ""
	}
	return renewer.Fingerprint(block.Bytes)
}

func (m *machine) Flip(_ context.Context, p renewer.Placement, revision string) error {
	unlock, err := m.enter("flip", p.Certificate)
	defer unlock()
	if err != nil {
		return err
	}
	pl := m.place(p.Certificate)
	if pl.revisions[revision] == nil {
		return fmt.Errorf("%w: %s", renewer.ErrNoRevision, revision)
	}
	pl.live = revision
	return nil
}

func (m *machine) Activate(ctx context.Context, a renewer.Activation) (Activated, error) {
	m.mu.Lock()
	takes := m.takes
	m.mu.Unlock()
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return Activated{}, context.Cause(ctx)
		}
	}
	did, err := m.activate(a)
	m.mu.Lock()
	after := m.after
	m.mu.Unlock()
	if after != nil {
		after()
	}
	return did, err
}

// then has something done after each activation, from now on.
func (m *machine) then(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.after = f
}

func (m *machine) activate(a renewer.Activation) (Activated, error) {
	unlock, err := m.enter("activate", a.Key())
	defer unlock()
	if err != nil {
		return Activated{}, err
	}
	if m.stopped = m.stopped && !a.Bring; m.stopped {
		return Activated{NotRunning: "the service"}, nil
	}
	m.activated[a.Key()]++
	for _, pl := range m.places {
		pl.loaded = pl.revisions[pl.live]
		pl.served = leafOf(pl.loaded)
	}
	return Activated{}, nil
}

func (m *machine) Running(_ context.Context, a renewer.Activation) (string, error) {
	unlock, err := m.enter("running", a.Key())
	defer unlock()
	if m.stopped && a.Key() != "" {
		return "the service", err
	}
	return "", err
}

func (m *machine) Adopt(_ context.Context, p renewer.Placement, check func(map[renewer.FileKind][]byte) error) (string, error) {
	unlock, err := m.enter("adopt", p.Certificate)
	defer unlock()
	if err != nil {
		return "", err
	}
	pl := m.place(p.Certificate)
	if pl.live == "" {
		return "", errors.New("nothing is in place")
	}
	return pl.live, check(pl.revisions[pl.live])
}

func (m *machine) Locate(ctx context.Context, p renewer.Placement, fingerprint string) (string, bool, error) {
	if m.slow != nil {
		m.slow(ctx, "locate")
	}
	if err := ctx.Err(); err != nil {
		return "", false, err
	}
	unlock, err := m.enter("locate", p.Certificate)
	defer unlock()
	if err != nil {
		return "", false, err
	}
	pl := m.place(p.Certificate)
	for _, name := range slices.Backward(pl.order) {
		if content := pl.revisions[name]; content != nil && leafOf(content) == fingerprint {
			return name, true, nil
		}
	}
	return "", false, nil
}

func (m *machine) Whole(_ context.Context, p renewer.Placement, revision string) (bool, error) {
	unlock, err := m.enter("whole", p.Certificate)
	defer unlock()
	return m.place(p.Certificate).revisions[revision] != nil, err
}

func (m *machine) ReadKey(_ context.Context, p renewer.Placement, revision string) ([]byte, error) {
	unlock, err := m.enter("readkey", p.Certificate)
	defer unlock()
	return m.place(p.Certificate).revisions[revision][renewer.FileKey], err
}

func (m *machine) Inspect(_ context.Context, p renewer.Placement) (OnDisk, error) {
	unlock, err := m.enter("inspect", p.Certificate)
	defer unlock()
	if err != nil {
		return OnDisk{}, err
	}
	return m.disk(p)
}

func (m *machine) disk(p renewer.Placement) (OnDisk, error) {
	pl := m.place(p.Certificate)
	d := OnDisk{Revision: pl.live, Leaf: leafOf(pl.revisions[pl.live])}
	if rest := pl.revisions[pl.live][renewer.FileCA]; rest != nil {
		var roots []*x509.Certificate
		for block, rest := pem.Decode(rest); block != nil; block, rest = pem.Decode(rest) {
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return d, err
			}
			roots = append(roots, c)
		}
		d.Roots, d.Trusts = roots, renewer.RootSetOf(roots)
	}
	return d, nil
}

func (m *machine) Keep(context.Context, renewer.Placement) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return errDown
	}
	return m.kept
}

func (m *machine) Prune(_ context.Context, p renewer.Placement, keep []string) error {
	unlock, err := m.enter("prune", p.Certificate)
	defer unlock()
	pl := m.place(p.Certificate)
	for name := range pl.revisions {
		if name != pl.live && !slices.Contains(keep, name) {
			delete(pl.revisions, name)
		}
	}
	return err
}

func (m *machine) Run(context.Context, []string) error      { return nil }
func (m *machine) Clock(context.Context) (time.Time, error) { return time.Now(), nil }

func (m *machine) Work(context.Context, renewer.Placement) (renewer.Work, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.work, nil
}

func (m *machine) Docker(context.Context, string) (renewer.DockerState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.docker, nil
}
func (m *machine) Check(context.Context) error { return nil }

// look is the prober's side of a machine.
func (m *machine) look(r ProbeRequest) (Observation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, "probe "+r.Placement.Certificate)
	if m.down {
		return Observation{}, errDown
	}
	pl := m.place(r.Placement.Certificate)
	disk, err := m.disk(r.Placement)
	if err != nil {
		return Observation{}, err
	}
	seen := disk.Leaf
	if r.Placement.Probe.Kind == renewer.ProbeTLS {
		if m.stopped && !m.elsewhere || m.only != "" && pl.served != m.only {
			return Observation{}, &renewer.ProbeError{Kind: renewer.ProbeUnreachable, Err: errors.New("connection refused")}
		}
		seen = pl.served
		if err := handshake(pl.loaded, r); err != nil {
			return Observation{Served: seen}, &renewer.ProbeError{Kind: renewer.ProbeRejected, Err: err}
		}
	}
	if r.Expect.Leaf != "" && seen != r.Expect.Leaf {
		return Observation{Served: seen, Disk: disk}, &renewer.ProbeError{Kind: renewer.ProbeMismatch, Err: fmt.Errorf("%s is there, not %s", seen, r.Expect.Leaf)}
	}
	if differs := r.Expect.Differs(r.Placement, disk); len(differs) > 0 {
		return Observation{Served: seen, Disk: disk}, &renewer.ProbeError{Kind: renewer.ProbeMismatch, Err: errors.New(strings.Join(differs, "; "))}
	}
	return Observation{Served: seen, Disk: disk}, nil
}

// handshake is what both ends check of each other's signatures.
func handshake(loaded map[renewer.FileKind][]byte, r ProbeRequest) error {
	served, err := pki.DecodeCertificates(loaded[renewer.FileCert])
	if err != nil {
		return nil // a test took the files away; what was loaded before is not known
	}
	signed := func(c, root *x509.Certificate) bool { return c.CheckSignatureFrom(root) == nil }
	if !slices.ContainsFunc(r.Roots, func(root *x509.Certificate) bool { return signed(served[0], root) }) {
		return errors.New("certificate signed by unknown authority")
	}
	if r.Client == nil {
		return nil
	}
	trusted, err := pki.DecodeCertificates(loaded[renewer.FileCA])
	if err != nil || !slices.ContainsFunc(trusted, func(root *x509.Certificate) bool { return signed(r.Client.Leaf, root) }) {
		return errors.New("remote error: tls: certificate required")
	}
	return nil
}

type eyes struct{}

func (eyes) Probe(_ context.Context, r ProbeRequest) (Observation, error) {
	return r.Host.(*machine).look(r)
}

// flaky is an issuer that can fail, in front of a real local CA.
type flaky struct {
	Issuer
	mu      sync.Mutex
	orders  int
	err     error
	after   func(orders int) error // nil: nothing fails
	revoked []renewer.Revocation
	revoker error // what Revoke returns
	last    renewer.Order
	asked   []time.Time
	bend    func(o *renewer.Order) // signs something else than was asked for
	again   *renewer.Chain         // what it signed before, and gives again
	logins  int
	cured   bool // logging in helps
}

func (f *flaky) Revoke(_ context.Context, r renewer.Revocation) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revoked = append(f.revoked, r)
	return f.revoker
}

func (f *flaky) Sign(ctx context.Context, o renewer.Order) (renewer.Chain, error) {
	f.mu.Lock()
	f.orders++
	f.last, f.asked = o, append(f.asked, time.Now())
	err, bend, again := f.err, f.bend, f.again
	if err == nil && f.after != nil {
		err = f.after(f.orders)
	}
	f.mu.Unlock()
	if err != nil {
		return renewer.Chain{}, err
	}
	if again != nil {
		return *again, nil
	}
	if bend != nil {
		bend(&o)
	}
	return f.Issuer.Sign(ctx, o)
}

func (f *flaky) LogIn(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.logins++
	if f.cured {
		f.err = nil
	}
	return nil
}

func (f *flaky) breakWith(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *flaky) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.orders
}

// bench is an engine over a real inventory, real keys, a real local CA and
// machines in memory.
type bench struct {
	t      *testing.T
	dir    string
	store  *inventory.Inventory
	fleet  Fleet
	ca     *flaky
	eng    *Engine
	stop   func()
	wrap   func(Store) Store // between the engine and the inventory
	prober Prober            // nil: eyes
	made   map[string]signer // keys that orders begin with
	seen   counts
	log    bytes.Buffer // of every engine, in JSON
}

// counts is what metrics would count.
type counts struct{ drifted, away atomic.Int64 }

func (c *counts) Issued(string, error, time.Duration)        {}
func (c *counts) RolloutEnded(renewer.Result, time.Duration) {}
func (c *counts) RolledBack()                                {}
func (c *counts) Drifted()                                   { c.drifted.Add(1) }
func (c *counts) Away(took, budget time.Duration)            { c.away.Add(1) }
func (c *counts) Checked(time.Time)                          {}

func newBench(t *testing.T, hosts ...string) *bench {
	t.Helper()
	dir := t.TempDir()
	cfg := local.Config{Name: "ca", CertFile: filepath.Join(dir, "ca", "ca.pem"), KeyFile: filepath.Join(dir, "ca", "ca-key.pem")}
	ca, err := local.Create(cfg, local.CreateOptions{})
	must(t, err)
	b := &bench{t: t, dir: dir, ca: &flaky{Issuer: ca}}
	b.fleet = Fleet{Issuers: map[string]Issuer{"ca": b.ca}, Hosts: map[string]Host{}, Windows: map[string]Window{}}
	for _, h := range hosts {
		b.fleet.Hosts[h] = newMachine(h)
	}
	return b
}

func (b *bench) machine(name string) *machine { return b.fleet.Hosts[name].(*machine) }

// cert is an entry with a TLS probe and a systemd activation on each host.
func (b *bench) cert(name string, lifetime time.Duration, hosts ...string) renewer.Certificate {
	c := renewer.Certificate{
		Name: name, Entry: name, Issuer: "ca", Profile: "files", CommonName: name, SANs: []string{name + ".test"},
		Usages: []renewer.Usage{renewer.UsageServer}, Key: renewer.ECDSAP256, Rekey: true, Lifetime: lifetime,
		Renewal: renewer.Renewal{At: 0.67, Jitter: 0.05}, Trust: []string{"ca"}, Pace: renewer.Pace{Canary: 1, MaxParallel: 5},
	}
	for _, h := range hosts {
		c.Placements = append(c.Placements, renewer.Placement{
			Certificate: name, Host: h, Dir: "/etc/" + name,
			Files:    map[renewer.FileKind]string{renewer.FileCA: "ca.pem", renewer.FileCert: "cert.pem", renewer.FileKey: "key.pem"},
			Modes:    map[renewer.FileKind]fs.FileMode{renewer.FileCA: 0o444, renewer.FileCert: 0o444, renewer.FileKey: 0o400},
			Activate: renewer.Activation{Kind: renewer.ActivateSystemd, Action: "restart", Units: []string{name + ".service"}, Timeout: time.Minute},
			Probe:    renewer.Probe{Kind: renewer.ProbeTLS, Address: h + ":1", Timeout: 5 * time.Second},
		})
	}
	return c
}

// start opens the state and runs an engine over it; stop parks it again.
func (b *bench) start(mode Mode) {
	b.t.Helper()
	store, err := inventory.Open(filepath.Join(b.dir, "inventory.db"), inventory.Options{NoSync: true})
	must(b.t, err)
	keys, err := seal.Open(store, seal.Options{IdentityFile: filepath.Join(b.dir, "seal.key"), Create: true})
	must(b.t, err)
	b.store = store
	var over Store = store
	if b.wrap != nil {
		over = b.wrap(store)
	}
	var prober Prober = eyes{}
	if b.prober != nil {
		prober = b.prober
	}
	b.eng = New(Config{Store: over, Keys: keys, Prober: prober, Observer: &b.seen, Log: slog.New(slog.NewJSONHandler(&b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	for rollout, key := range b.made {
		b.eng.made.put(rollout, key)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.eng.Run(ctx) }()
	b.stop = func() {
		b.t.Helper()
		b.settledIsRight()
		cancel()
		must(b.t, <-done)
		must(b.t, store.Close())
		b.stop = nil
	}
	must(b.t, b.eng.SetFleet(ctx, b.fleet, mode))
}

// settledIsRight fails the test if the next start would pass over a certificate
// for which there is something to do.
func (b *bench) settledIsRight() {
	b.t.Helper()
	must(b.t, b.eng.do(context.Background(), func() {
		unsettled := b.eng.unsettled()
		for _, c := range b.eng.fleet.Certificates {
			if slices.Contains(unsettled, c.Name) {
				continue
			}
			if p, ok, err := b.eng.planOne(c.Name); ok || err != nil {
				b.t.Errorf("%s passes for settled, but there is %+v to record (%v)", c.Name, p.change, err)
			}
		}
	}))
}

// pass does one pass over the fleet.
func (b *bench) pass() renewer.RunResult {
	b.t.Helper()
	res, err := b.eng.RunOnce(context.Background(), b.fleet, nil)
	must(b.t, err)
	return res
}

func (b *bench) row(name string) renewer.Row {
	b.t.Helper()
	var out renewer.Row
	must(b.t, b.store.Rows(time.Time{}, func(r renewer.Row) bool {
		if r.Name == name {
			out = r.At(time.Now())
		}
		return true
	}))
	return out
}

func (b *bench) events(types ...renewer.EventType) []renewer.Event {
	b.t.Helper()
	all, err := b.store.Events(renewer.EventFilter{})
	must(b.t, err)
	if len(types) == 0 {
		return all
	}
	return slices.DeleteFunc(all, func(e renewer.Event) bool { return !slices.Contains(types, e.Type) })
}

// noKeys fails the test if the inventory or the engine still has a key of any
// generation.
func (b *bench) noKeys(name string) {
	b.t.Helper()
	for number := range 100 {
		if _, ok, err := b.store.Key(name, number); ok || err != nil {
			b.t.Errorf("the key of generation %d is left behind (%v)", number, err)
		}
	}
	if n := len(b.eng.made.keys); n > 0 {
		b.t.Errorf("%d keys are left in memory", n)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
