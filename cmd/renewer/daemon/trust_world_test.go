package daemon

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/internal/teststepca"
	"renewer/internal/testvault"
	"renewer/renewer"
	"renewer/renewer/engine"
)

// The entries of a world: what a service and its client are.
const (
	// mutualTLS is a service and a client that authenticate each other.
	mutualTLS = `
  - {name: svc, usages: [server], common_name: localhost, dir: DIR/svc, activate: ACTIVATE-SVC, probe: {tls: {address: "ADDRESS-SVC", server_name: localhost, mutual: true, timeout: 20s}}, SVC}
  - {name: cli, usages: [client], default_sans: false, dir: DIR/cli, CLI}
`
	// trustBundle is a service for clients without a certificate: they have
	// a trust bundle alone.
	trustBundle = `
  - {name: svc, usages: [server], common_name: localhost, dir: DIR/svc, activate: ACTIVATE-SVC, probe: {tls: {address: "ADDRESS-SVC", server_name: localhost, mutual: false, timeout: 20s}}, SVC}
  - {name: cli, profile: ca-bundle, dir: DIR/cli, CLI}
`
	// probedAsClient is mutualTLS, proven with the certificate of the client.
	probedAsClient = `
  - {name: svc, usages: [server], common_name: localhost, dir: DIR/svc, activate: ACTIVATE-SVC, probe: {tls: {address: "ADDRESS-SVC", server_name: localhost, mutual: true, client: cli, timeout: 20s}}, SVC}
  - {name: cli, usages: [client], default_sans: false, dir: DIR/cli, CLI}
`
	// bothInOne are two services that are each other's clients.
	bothInOne = `
  - {name: svc, usages: [server, client], common_name: localhost, dir: DIR/svc, activate: ACTIVATE-SVC, probe: {tls: {address: "ADDRESS-SVC", server_name: localhost, mutual: true, timeout: 20s}}, SVC}
  - {name: cli, usages: [server, client], common_name: localhost, dir: DIR/cli, activate: ACTIVATE-CLI, probe: {tls: {address: "ADDRESS-CLI", server_name: localhost, mutual: true, timeout: 20s}}, CLI}
`
)

// maxPasses is how many passes (`run --once`) a change of a CA may take from
// the edit until the new root is the only one.
const maxPasses = 6

// world is a fleet whose certificates svc and cli talk to each other.
type world struct {
	*house
	conversation
	entries  string
	grouped  bool
	hosts    string // further ones
	services map[string]*service
	cas      map[string]*testpki.CA
	guests   []client // whose files are not renewer's
	step     *teststepca.CA
	vault    *testvault.Server
	top      *testpki.CA // above an intermediate
	settle   func()      // makes passes until nothing is left to do
	between  func()      // before each pass or kill of settle; nil for nothing
	rocky    bool        // a request may be refused, and a pass fail
}

// newWorld starts the services of some entries; nothing is placed yet.
func newWorld(t *testing.T, entries string, grouped bool) *world {
	t.Helper()
	if entries == "" {
		entries = mutualTLS
	}
	w := &world{house: &house{t: t, dir: shortDir(t)}, entries: entries, grouped: grouped, services: map[string]*service{}, cas: map[string]*testpki.CA{}}
	w.file, w.settle = filepath.Join(w.dir, "renewer.yaml"), w.passes
	must(t, os.Mkdir(filepath.Join(w.dir, "state"), 0o700))
	w.serve("svc")
	if strings.Contains(entries, "ADDRESS-CLI") {
		w.serve("cli")
	}
	return w
}

func (w *world) in(parts ...string) string {
	return filepath.Join(append([]string{w.dir}, parts...)...)
}

// ls lists a directory; one that is not there is empty.
func (w *world) ls(parts ...string) (names []string) {
	entries, _ := os.ReadDir(w.in(parts...))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (w *world) serve(name string) {
	dir := w.place(name, w.hostsOf(name)[0])
	must(w.t, os.MkdirAll(filepath.Dir(dir), 0o700))
	w.services[name] = serve(w.t, dir, !strings.Contains(w.entries, "mutual: false"), func() { w.ask("after " + name + " loaded") })
}

// talk has the clients ask from now on.
func (w *world) talk() {
	w.clients = w.guests
	for _, host := range w.hostsOf("cli") {
		w.clients = append(w.clients, client{"cli on " + host, w.place("cli", host), w.services["svc"]})
	}
	if other := w.services["cli"]; other != nil {
		w.clients = append(w.clients, client{"svc", w.in("svc"), other})
	}
	w.begin(w.t)
}

// want writes the fleet file: its issuers, and what the entries say besides.
func (w *world) want(issuers, svc, cli string) {
	w.t.Helper()
	group := ""
	if w.grouped {
		group = ", peer_group: g"
	}
	replace := []string{"SVC}", svc + "}", "CLI}", cli + "}"}
	for name, s := range w.services {
		replace = append(replace, "ACTIVATE-"+strings.ToUpper(name), activation(s.dir), "ADDRESS-"+strings.ToUpper(name), s.addr)
	}
	text := `state_dir: DIR/state
http: {listen: 127.0.0.1:0}
issuers: {` + issuers + `}
hosts: {here: {type: local, address: 127.0.0.1, names: [localhost]}` + w.hosts + `}
defaults: {profile: files, hosts: [here], lifetime: 1h` + group + `}
certificates:` + strings.NewReplacer(replace...).Replace(w.entries)
	must(w.t, os.WriteFile(w.file, []byte(strings.ReplaceAll(text, "DIR", w.dir)), 0o600))
}

// local names local issuers, and makes the CAs of those that have none yet.
func (w *world) local(names ...string) string {
	var text []string
	for _, name := range names {
		if w.cas[name] == nil {
			w.cas[name] = writeCA(w.t, w.in("state", "issuers", name), rootCA(w.t, name))
		}
		text = append(text, name+": {type: local}")
	}
	return strings.Join(text, ", ")
}

// replaceCA moves the files of a local CA away and puts another CA in their
// place.
func (w *world) replaceCA(name string, ca *testpki.CA) {
	w.t.Helper()
	old := fmt.Sprintf("%s before %d", name, len(w.cas))
	must(w.t, os.Rename(w.in("state", "issuers", name), w.in(old)))
	w.cas[old] = w.cas[name]
	w.cas[name] = writeCA(w.t, w.in("state", "issuers", name), ca)
}

// asking is a store at whose every commit the clients ask first: what the commit
// records has been done, and nothing further has begun.
type asking struct {
	engine.Store
	w *world
}

func (s asking) Commit(ctx context.Context, changes ...engine.Change) ([]renewer.Event, error) {
	var what []string
	for _, ch := range changes {
		for _, e := range ch.Events {
			what = append(what, string(e.Type)+" "+e.Certificate)
		}
	}
	s.w.ask("before [" + strings.Join(what, ", ") + "] is recorded")
	return s.Store.Commit(ctx, changes...)
}

// with opens the state as a command does, while the clients ask.
func (w *world) with(doing string, f func(ctx context.Context, a *App)) {
	w.t.Helper()
	w.now(doing)
	a, err := Open(context.Background(), w.load(), Options{store: func(s engine.Store) engine.Store { return asking{s, w} }})
	must(w.t, err)
	defer func() {
		must(w.t, a.Close())
		w.ask("at its end")
	}()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // nothing takes seconds
	defer cancel()
	f(ctx, a)
}

// pass is one `run --once`; what it returns is still to be done.
func (w *world) pass(doing string) (left []renewer.PlanStep) {
	w.t.Helper()
	w.with(doing, func(ctx context.Context, a *App) {
		res, err := a.RunOnce(ctx, nil)
		must(w.t, err)
		if res.Failed() && !w.rocky {
			w.t.Fatalf("%s exits 1: %+v", doing, res.Rollouts)
		}
		told := map[string]bool{}
		for _, r := range res.Rollouts {
			if told[r.Certificate] {
				w.t.Errorf("%s says twice how %s ended: %+v", doing, r.Certificate, res.Rollouts)
			}
			told[r.Certificate] = true
		}
		left, err = a.planned(ctx)
		must(w.t, err)
	})
	return left
}

var passNames = []string{"the 1st pass", "the 2nd pass", "the 3rd pass", "the 4th pass", "the 5th pass", "the 6th pass"}

// passes makes passes until nothing is left to do, but not too many.
func (w *world) passes() {
	w.t.Helper()
	var left []renewer.PlanStep
	for n := range maxPasses {
		w.carry()
		if left = w.pass(passNames[n]); len(left) == 0 {
			return
		}
	}
	w.t.Fatalf("after %d passes there is still to do: %+v", maxPasses, left)
}

func (w *world) carry() {
	if w.between != nil {
		w.between()
	}
}

// endsWith checks that the roots of the named CAs are the only ones in the ca
// files of a certificate.
func (w *world) endsWith(of, cas string) {
	w.t.Helper()
	for _, host := range w.hostsOf(of) {
		w.holds(of, host, cas)
	}
}

// holds checks whose roots are in a ca file, and in the memory of a service
// over it.
func (w *world) holds(of, host, cas string) {
	w.t.Helper()
	in, err := readPeer(w.place(of, host))
	must(w.t, err)
	if have := w.names(in); have != cas {
		w.t.Errorf("the ca file of %s on %s has the roots of %s, not of %s", of, host, have, cas)
	}
	if s := w.services[of]; s != nil && w.names(s.loaded()) != cas {
		w.t.Errorf("%s has loaded the roots of %s, not of %s", of, w.names(s.loaded()), cas)
	}
}

// names says whose roots a peer has.
func (w *world) names(p *peer) string {
	var out []string
	for _, root := range p.roots {
		name := "a stranger"
		for known, ca := range w.cas {
			if ca.Root.Equal(root) {
				name = known
			}
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// rests checks that the change is complete: one more pass changes nothing, every
// certificate is valid, and no rollout was restored.
func (w *world) rests() {
	w.t.Helper()
	was := w.rows()
	if left := w.pass("a pass afterwards"); len(left) > 0 {
		w.t.Errorf("a pass afterwards leaves %+v", left)
	}
	for name, row := range w.rows() {
		if row.Status != renewer.StatusValid || row.Generation != was[name].Generation {
			w.t.Errorf("at the end, before generation %d: %+v", was[name].Generation, row)
		}
	}
	w.with("history", func(ctx context.Context, a *App) {
		events, err := a.Events(ctx, renewer.EventFilter{})
		must(w.t, err)
		for _, e := range events {
			if bad := []renewer.EventType{renewer.EventProbeFailed, renewer.EventRolledBack, renewer.EventRolloutBlocked}; !w.rocky && slices.Contains(bad, e.Type) {
				w.t.Errorf("history: %+v", e)
			}
		}
	})
}

func (w *world) rows() map[string]renewer.Row {
	w.t.Helper()
	out := map[string]renewer.Row{}
	w.with("list", func(ctx context.Context, a *App) {
		must(w.t, a.List(ctx, renewer.ListFilter{}, func(r renewer.Row) error {
			out[r.Name] = r
			return nil
		}))
	})
	return out
}

// What an operator does.

func onePass(w *world) { w.pass("a pass in between") }

func renew(names ...string) func(*world) { return asked(renewer.RenewRequest{Names: names}) }
func force(names ...string) func(*world) {
	return asked(renewer.RenewRequest{Names: names, Force: true})
}

func asked(r renewer.RenewRequest) func(*world) {
	return func(w *world) {
		w.with(fmt.Sprintf("renew %v, force %t", r.Names, r.Force), func(ctx context.Context, a *App) {
			res, err := a.Renew(ctx, r, nil)
			if !w.rocky && (err != nil || res.Failed()) {
				w.t.Errorf("renew %v exits 1: %+v, %v", r.Names, res, err)
			}
		})
	}
}

func rollback(name string) func(*world) {
	return func(w *world) {
		w.with("rollback "+name, func(ctx context.Context, a *App) {
			res, err := a.Rollback(ctx, name, nil)
			if !w.rocky && (err != nil || res.Failed()) {
				w.t.Errorf("rollback %s exits 1: %+v, %v", name, res, err)
			}
		})
	}
}

// shows checks which CA signed what is in place.
func shows(of, ca string) func(*world) {
	return func(w *world) {
		p, err := readPeer(w.in(of))
		must(w.t, err)
		if err := p.pair.Leaf.CheckSignatureFrom(w.cas[ca].Cert); err != nil {
			w.t.Errorf("%s is not under the root of %s: %v", of, ca, err)
		}
	}
}

// openssl puts files in place that a CA has made without renewer; further roots
// go into the ca file.
func (w *world) openssl(name string, ca *testpki.CA, further ...*testpki.CA) {
	o := map[string]testpki.Options{
		"svc":   {CommonName: "localhost", SANs: []string{"here", "localhost", "127.0.0.1"}, Usages: testpki.ServerUsage},
		"cli":   {CommonName: "cli", Usages: testpki.ClientUsage},
		"guest": {CommonName: "guest", Usages: testpki.ClientUsage},
	}[name]
	pair, roots := ca.Leaf(w.t, o), ca.PEM()
	for _, other := range further {
		roots = append(roots, other.PEM()...)
	}
	testpki.WriteFile(w.t, w.in(name, "tls.crt"), pair.CertPEM, 0o444)
	testpki.WriteFile(w.t, w.in(name, "tls.key"), pair.KeyPEM, 0o400)
	testpki.WriteFile(w.t, w.in(name, "ca.crt"), roots, 0o444)
	if s := w.services[name]; s != nil {
		must(w.t, s.load())
	}
}

// corp is somebody else's CA.
func (w *world) corp() *testpki.CA {
	if w.cas["corp"] == nil {
		w.cas["corp"] = rootCA(w.t, "corp")
	}
	return w.cas["corp"]
}

// adopted is a fleet whose files openssl made, under a CA that it made too.
func adopted(w *world) {
	everyone("a")(w)
	for _, name := range []string{"svc", "cli"} {
		w.openssl(name, w.cas["a"])
	}
	w.with("adopt", func(ctx context.Context, a *App) {
		for _, name := range []string{"svc", "cli"} {
			got, err := a.Adopt(ctx, "here", name)
			must(w.t, err)
			if len(got.Warnings) > 0 {
				w.t.Errorf("adopt: %+v", got)
			}
		}
	})
}

// notAdopted is a fleet in whose place somebody else's files are.
func notAdopted(w *world) {
	for _, name := range []string{"svc", "cli"} {
		w.openssl(name, w.corp())
	}
}

// foreign is a fleet whose service somebody else's files were in place of, with
// a client that renewer does not know.
func foreign(w *world) {
	everyone("a")(w)
	w.local("b")
	w.openssl("svc", w.corp())
	w.openssl("guest", w.corp(), w.cas["a"], w.cas["b"])
	w.guests = []client{{"guest", w.in("guest"), w.services["svc"]}}
}

// backup writes a backup of the state and returns its path.
func (w *world) backup() string {
	w.t.Helper()
	var text bytes.Buffer
	w.with("a backup", func(ctx context.Context, a *App) { must(w.t, a.Backup(ctx, &text)) })
	file := w.in("backup")
	must(w.t, os.WriteFile(file, text.Bytes(), 0o600))
	return file
}

// restore puts a backup in the place of the state.
func (w *world) restore(file string) {
	w.t.Helper()
	_, err := Restore(w.load(), file)
	must(w.t, err)
}
