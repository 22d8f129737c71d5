package daemon

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/renewer"
)

// scenario is a change that ends with other roots in the ca files.
type scenario struct {
	name    string
	entries string // default: mutualTLS
	start   func(w *world)
	steps   []func(w *world) // after each, passes are made until nothing is left to do
	svc     string           // the CAs whose roots are at the end the only ones in the ca file of svc
	cli     string           // and in that of cli
	alone   bool             // it is no peer group: check refuses that
	running bool             // they talk before renewer has placed anything
	rocky   bool             // a request may be refused, and a pass fail, on the way
}

// under is an edit of the whole fleet: the issuers there are, and what svc and
// cli say of theirs.
func under(issuers []string, svc, cli string) func(*world) {
	return func(w *world) { w.want(w.local(issuers...), svc, cli) }
}

// everyone is a fleet under one CA.
func everyone(issuer string) func(*world) {
	return under([]string{issuer}, "issuer: "+issuer, "issuer: "+issuer)
}

// replaced puts another CA of the same name into the files of issuer a.
func replaced(w *world) { w.replaceCA("a", rootCA(w.t, "a")) }

// first is a first pass that does not do all: the certificate that a probe
// presents is not there before it.
func first(w *world) {
	w.rocky = true
	w.pass("the very first pass")
	w.rocky = false
}

// tampered adds a root to both ca files by hand.
func tampered(w *world) {
	for _, name := range []string{"svc", "cli"} {
		w.add(evil(w.t), name, "ca.crt")
	}
}

// lost takes the inventory away.
func lost(w *world) { must(w.t, os.Remove(w.in("state", "inventory.db"))) }

// whileRunning makes a change under a process that goes on afterwards.
func whileRunning(change func(*world)) func(*world) {
	return func(w *world) {
		w.with("a process that runs on", func(ctx context.Context, a *App) {
			_, err := a.RunOnce(ctx, nil)
			must(w.t, err)
			change(w)
			for _, name := range []string{"svc", "cli", "svc"} {
				req := renewer.RenewRequest{Names: []string{name}}
				res, err := a.Renew(ctx, req, nil)
				if err != nil { // a push of roots is running on the host: run the command again after it
					_, rest := a.RunOnce(ctx, nil)
					must(w.t, rest)
					res, err = a.Renew(ctx, req, nil)
				}
				if err != nil || res.Failed() {
					w.t.Errorf("renew %s: %+v, %v", name, res, err)
				}
			}
		})
	}
}

func then(steps ...func(*world)) []func(*world) { return steps }

func all(steps ...func(*world)) func(*world) {
	return func(w *world) {
		for _, step := range steps {
			step(w)
		}
	}
}

var scenarios = []scenario{
	{
		name:  "another issuer, whose entry takes the place of the old one's",
		start: everyone("a"), steps: then(everyone("b")), svc: "b", cli: "b",
	},
	{
		name:  "another issuer, the old one's entry stays",
		start: everyone("a"), steps: then(under([]string{"a", "b"}, "issuer: b", "issuer: b")), svc: "b", cli: "b",
	},
	{
		name:  "the issuer's name stands for other files",
		start: everyone("a"), steps: then(func(w *world) {
			w.local("b")
			w.want("a: {type: local, ca_cert: DIR/state/issuers/b/ca.pem, ca_key: DIR/state/issuers/b/ca-key.pem}", "issuer: a", "issuer: a")
		}), svc: "b", cli: "b",
	},
	{
		name:  "other files in the place of the CA's",
		start: everyone("a"), steps: then(replaced), svc: "a", cli: "a",
	},
	{
		name:  "other files in the place of the CA's, twice before a pass",
		start: everyone("a"), steps: then(all(replaced, replaced)), svc: "a", cli: "a",
	},
	{
		name:  "an intermediate under another root in the place of the CA's files",
		start: everyone("a"), steps: then(func(w *world) {
			w.replaceCA("a", rootCA(w.t, "top").Intermediate(w.t, testpki.Options{CommonName: "a CA", NotAfter: time.Now().AddDate(5, 0, 0)}))
		}), svc: "a", cli: "a",
	},
	{
		name:  "the CA's certificate is made again for the same key",
		start: everyone("a"), steps: then(func(w *world) {
			w.replaceCA("a", testpki.NewWith(w.t, testpki.Options{CommonName: "a CA", NotAfter: time.Now().AddDate(20, 0, 0), Key: w.cas["a"].Key}))
		}), svc: "a", cli: "a",
	},
	{
		name:  "a root added to trust, then removed",
		start: everyone("a"), steps: then(
			under([]string{"a", "b"}, "issuer: a, trust: [a, b]", "issuer: a, trust: [a, b]"),
			under([]string{"a", "b"}, "issuer: a, trust: [a]", "issuer: a, trust: [a]"),
		), svc: "a", cli: "a",
	},
	{
		name: "a root removed from trust while the client is under it", alone: true,
		start: under([]string{"a", "b"}, "issuer: a, trust: [b]", "issuer: b, trust: [a]"), steps: then(
			under([]string{"a", "b"}, "issuer: a, trust: [a]", "issuer: b, trust: [a]"),
			under([]string{"a", "b"}, "issuer: a, trust: [a]", "issuer: a, trust: [a]"),
		), svc: "a", cli: "a",
	},
	{
		name:  "two issuers swapped at once",
		start: under([]string{"a", "b"}, "issuer: a, trust: [b]", "issuer: b, trust: [a]"),
		steps: then(under([]string{"a", "b"}, "issuer: b, trust: [a]", "issuer: a, trust: [b]")), svc: "a", cli: "b",
	},
	{
		name:  "from a CA for each side to one for both",
		start: under([]string{"a", "b"}, "issuer: a, trust: [b]", "issuer: b, trust: [a]"), steps: then(everyone("c")), svc: "c", cli: "c",
	},
	{
		name: "a trust bundle for clients without a certificate", entries: trustBundle,
		start: under([]string{"a"}, "issuer: a", "trust: [a]"), steps: then(under([]string{"b"}, "issuer: b", "trust: [b]")), svc: "b", cli: "b",
	},
	{
		name: "a trust bundle, other files in the place of the CA's", entries: trustBundle,
		start: under([]string{"a"}, "issuer: a", "trust: [a]"), steps: then(replaced), svc: "a", cli: "a",
	},
	{
		name: "services that are each other's clients", entries: bothInOne,
		start: everyone("a"), steps: then(everyone("b"), renew("svc", "cli")), svc: "b", cli: "b", // the old root goes with the next renewal
	},
	{
		name:  "the change is taken back before it is through",
		start: everyone("a"), steps: then(all(everyone("b"), onePass, under([]string{"a", "b"}, "issuer: a", "issuer: a"))), svc: "a", cli: "a",
	},
	{
		name:  "the same files under another issuer's name",
		start: everyone("a"), steps: then(func(w *world) {
			w.want("z: {type: local, ca_cert: DIR/state/issuers/a/ca.pem, ca_key: DIR/state/issuers/a/ca-key.pem}", "issuer: z", "issuer: z")
		}), svc: "a", cli: "a",
	},
	{
		name:  "another change in the midst of the change",
		start: everyone("a"), steps: then(all(everyone("b"), onePass, everyone("c"), onePass, everyone("d"))), svc: "d", cli: "d",
	},
	{
		name:  "two changes before a pass",
		start: everyone("a"), steps: then(all(everyone("b"), everyone("c"))), svc: "c", cli: "c",
	},
	{
		name: "a probe that presents the client's certificate", entries: probedAsClient,
		start: all(everyone("a"), first), steps: then(everyone("b")), svc: "b", cli: "b",
	},
	{
		name:  "a root added by hand before the change and in the midst of it",
		start: everyone("a"), steps: then(all(tampered, everyone("b"), onePass, tampered)), svc: "b", cli: "b",
	},
	{
		name:  "the inventory is lost before the change", // and with it who wrote what is in place
		start: everyone("a"), steps: then(all(lost, everyone("b"))), svc: "a b", cli: "a b",
	},
	{
		name:  "the inventory is lost",
		start: everyone("a"), steps: then(lost), svc: "a", cli: "a",
	},
	{
		name:  "other files in the place of the CA's while renewer runs",
		start: everyone("a"), steps: then(whileRunning(replaced)), svc: "a", cli: "a",
	},
	{
		name:  "a rollback of the service after the change",
		start: everyone("a"), steps: then(everyone("b"), rollback("svc"), all(shows("svc", "a"), renew("svc"))), svc: "b", cli: "b",
	},
	{
		name:  "a rollback of the client after the change",
		start: everyone("a"), steps: then(everyone("b"), rollback("cli"), all(shows("cli", "a"), renew("cli"))), svc: "b", cli: "b",
	},
	{
		name: "rollbacks of services that are each other's clients", entries: bothInOne,
		start: everyone("a"), steps: then(
			everyone("b"), under([]string{"a", "b"}, "issuer: b", "issuer: b"), rollback("svc"), all(shows("svc", "a"), rollback("cli")), all(shows("cli", "a"), renew("svc", "cli")), renew("svc", "cli"),
		), svc: "b", cli: "b",
	},
	{
		name: "rollbacks in the midst of the change", rocky: true,
		start: everyone("a"), steps: then(all(everyone("b"), onePass, rollback("svc"), onePass, rollback("cli")), renew("svc", "cli")), svc: "b", cli: "b",
	},
	{
		name:  "renewals in the midst of the change",
		start: everyone("a"), steps: then(all(everyone("b"), renew("svc"), renew("cli"), onePass, renew("cli"), renew("svc"))), svc: "b", cli: "b",
	},
	{
		name:  "the client is renewed first",
		start: everyone("a"), steps: then(all(everyone("b"), renew("cli"), renew("svc"))), svc: "b", cli: "b",
	},
	{
		name:  "a forced renewal where everybody has the new root",
		start: under([]string{"a", "b"}, "issuer: a, trust: [a, b]", "issuer: a, trust: [a, b]"),
		steps: then(all(everyone("b"), force("svc"), force("cli"))), svc: "b", cli: "b",
	},
	{
		name:  "a backup from before the change is restored after it",
		start: everyone("a"), steps: then(func(w *world) {
			file := w.backup()
			everyone("b")(w)
			w.settle()
			w.restore(file)
		}), svc: "b", cli: "b",
	},
	{
		name:  "a backup from before the change is restored in the midst of it",
		start: everyone("a"), steps: then(func(w *world) {
			file := w.backup()
			all(everyone("b"), onePass)(w)
			w.restore(file)
		}), svc: "b", cli: "b",
	},
	{
		name:  "a backup and the fleet file from before the change are restored",
		start: everyone("a"), steps: then(func(w *world) {
			file := w.backup()
			everyone("b")(w)
			w.settle()
			w.restore(file)
			under([]string{"a", "b"}, "issuer: a", "issuer: a")(w)
		}), svc: "a", cli: "a",
	},
	{
		name:  "adopted, then another issuer",
		start: adopted, steps: then(everyone("b")), svc: "b", cli: "b",
	},
	{
		name:  "the root of another CA was there before renewer",
		start: foreign, steps: then(everyone("b")), svc: "b corp", cli: "b",
	},
	{
		name: "files of another CA are in place and were not adopted", running: true,
		start: notAdopted, steps: then(everyone("b")), svc: "b corp", cli: "b corp",
	},
	{
		name:  "adopted, then other files in the place of the CA's",
		start: adopted, steps: then(replaced), svc: "a", cli: "a",
	},
}

// play goes through a scenario. The changes are made while the clients ask;
// what is done about them is up to w.settle.
func (s scenario) play(w *world) {
	w.t.Helper()
	w.rocky = s.rocky
	s.start(w)
	if !s.running {
		if left := w.pass("the first placement"); len(left) > 0 {
			w.t.Fatalf("the first placement leaves %+v", left)
		}
	}
	w.talk()
	defer func() {
		if refused := w.refusals(); len(refused) > 0 {
			w.t.Errorf("%d requests were refused, the first ones:\n%s", len(refused), strings.Join(refused[:min(5, len(refused))], "\n"))
		}
	}()
	for n, step := range s.steps {
		w.now(fmt.Sprintf("edit %d", n+1))
		step(w)
		w.settle()
	}
	w.endsWith("svc", s.svc)
	w.endsWith("cli", s.cli)
	w.rests()
}

// A forced renewal passes the gate, after it said who will refuse whom; the rest
// of the fleet then follows as fast as it can.
func TestAForcedRenewalSaysWhoWillRefuse(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"svc", "cli"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, mutualTLS, false)
			everyone("a")(w)
			w.passes()
			everyone("b")(w)
			force(name)(w)
			other := map[string]string{"svc": "cli@here", "cli": "svc@here"}[name]
			w.with("history", func(ctx context.Context, a *App) {
				events, err := a.Events(ctx, renewer.EventFilter{})
				must(t, err)
				if !slices.ContainsFunc(events, func(e renewer.Event) bool {
					return e.Certificate == name && strings.Contains(e.Message+e.Error, other) && strings.Contains(e.Message+e.Error, "refuse")
				}) {
					t.Errorf("nothing says that %s will refuse it", other)
				}
			})
			shows(name, "b")(w)
			w.passes()
			w.endsWith("svc", "b")
			w.endsWith("cli", "b")
			w.talk()
			w.rests()
			if refused := w.refusals(); len(refused) > 0 {
				t.Errorf("at the end: %q", refused)
			}
		})
	}
}
