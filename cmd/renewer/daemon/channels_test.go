package daemon

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"renewer/notify"
	"renewer/renewer"
	"renewer/renewer/server"
)

// receiver is a webhook that keeps what it gets.
type receiver struct {
	mu  sync.Mutex
	got []notify.Message
	new chan struct{}
	url string
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{new: make(chan struct{}, 100)}
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		var m notify.Message
		if err := json.NewDecoder(req.Body).Decode(&m); err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		r.got = append(r.got, m)
		r.mu.Unlock()
		r.new <- struct{}{}
	}))
	t.Cleanup(srv.Close)
	r.url = srv.URL
	return r
}

// said lists what arrived, in order.
func (r *receiver) said() (out []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.got {
		for _, x := range m.Open {
			out = append(out, "open "+string(x.Kind)+" "+x.Certificate+x.Issuer)
		}
		for _, x := range slices.Concat(m.Resolved, m.Notices) { // a notice came and went between two messages
			out = append(out, "over "+string(x.Kind)+" "+x.Certificate+x.Issuer)
		}
	}
	return out
}

// hears waits until all of that arrived.
func (r *receiver) hears(t *testing.T, want ...string) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		said := r.said()
		if !slices.ContainsFunc(want, func(w string) bool { return !slices.Contains(said, w) }) {
			return
		}
		select {
		case <-r.new:
		case <-deadline:
			t.Fatalf("notifications %q, want %q", said, want)
		}
	}
}

// An issuer that was down for a moment only, with one order in it: what waits for its
// next try does not wait for that when the issuer works again.
func TestAnOrderThatFailedIsTriedWhenItsIssuerWorksAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "  - {name: web, profile: files, issuer: ca, hosts: [here], dir: DIR/out, lifetime: 1h}\n  - {name: api, profile: files, issuer: ca, hosts: [here], dir: DIR/api, lifetime: 1h}\n")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, h.file, Options{issuerNews: 500 * time.Millisecond}, make(chan os.Signal)) }()
	defer func() {
		cancel()
		must(t, <-done)
	}()
	svc := h.reach(t)
	has := func(name string, generation int) func() bool {
		return func() bool {
			st, err := svc.Show(ctx, name)
			return err == nil && st.Status == renewer.StatusValid && st.Generation == generation
		}
	}
	until(t, has("web", 1))
	ca := filepath.Join(h.dir, "state", "issuers", "ca", "ca.pem")
	must(t, os.Rename(ca, ca+".away"))
	res, err := svc.Renew(ctx, renewer.RenewRequest{Names: []string{"web"}}, nil)
	must(t, err)
	if !res.Failed() {
		t.Fatalf("without its CA: %+v", res)
	}
	must(t, os.Rename(ca+".away", ca))
	_, err = svc.Renew(ctx, renewer.RenewRequest{Names: []string{"api"}}, nil)
	must(t, err)
	begin := time.Now()
	until(t, has("web", 2))
	if took := time.Since(begin); took > renewer.BackoffFirst/2 {
		t.Errorf("it waited for its backoff: %s", took)
	}
}

// The daemon, an issuer whose key is taken away, a certificate that is replaced
// by hand, and a reload meanwhile: each is opened, and each is resolved.
func TestDaemonSendsProblemsAndTheirEnd(t *testing.T) {
	t.Parallel()
	hook := newReceiver(t)
	h := newHouse(t, "")
	must(t, os.WriteFile(filepath.Join(h.dir, "url"), []byte(hook.url), 0o600))
	text := `  - {name: web, profile: files, issuer: ca, hosts: [here], dir: DIR/out, lifetime: 1h}
notify:
  - {name: hook, webhook: {url_file: DIR/url}}
  - {name: broken, webhook: {url_file: DIR/nosuch}}
`
	h.write(text)
	ctx, cancel := context.WithCancel(context.Background())
	reload, done := make(chan os.Signal), make(chan error, 1)
	go func() {
		done <- Run(ctx, h.file, Options{issuerNews: 10 * time.Millisecond, pace: notify.Pace{Quiet: time.Millisecond, Patience: time.Second, Interval: time.Millisecond, PerHour: 1000, Settle: time.Millisecond}}, reload)
	}()
	defer func() {
		cancel()
		must(t, <-done)
	}()
	svc := h.reach(t)
	until(t, func() bool {
		st, err := svc.Show(ctx, "web")
		return err == nil && st.Status == renewer.StatusValid
	})
	crt := filepath.Join(h.dir, "out", "tls.crt")
	must(t, os.Remove(crt))
	must(t, os.WriteFile(crt, []byte("by hand\n"), 0o600))
	_, err := svc.Verify(ctx, nil)
	must(t, err)
	hook.hears(t, "over drifted web")

	key := filepath.Join(h.dir, "state", "issuers", "ca", "ca-key.pem")
	must(t, os.Rename(key, key+".away"))
	reload <- os.Interrupt // which asks the issuers afresh
	hook.hears(t, "open issuer_down ca")
	must(t, os.Rename(key+".away", key))
	h.write(strings.Replace(text, "{name: broken, webhook: {url_file: DIR/nosuch}}", "{name: other, exec: [cat]}", 1))
	reload <- os.Interrupt
	hook.hears(t, "over issuer_down ca")

	st, err := svc.Status(ctx)
	must(t, err)
	if len(st.Channels) != 2 || st.Channels[0].Name != "hook" || st.Channels[0].LastSuccess.IsZero() || st.Channels[0].Open != 0 || st.Channels[1].Name != "other" {
		t.Errorf("%+v", st.Channels)
	}
	must(t, svc.NotifyTest(ctx, "other"))
	if err := svc.NotifyTest(ctx, "broken"); err == nil || renewer.Hint(err) == "" {
		t.Errorf("a channel that is gone: %v", err)
	}
	counts := map[string]int{}
	for _, s := range hook.said() {
		counts[s]++
	}
	for s, n := range counts {
		if n != 1 {
			t.Errorf("%s was sent %d times", s, n)
		}
	}
}

// A pass without a daemon sends messages at its end.
func TestPassWithoutDaemonSendsMessages(t *testing.T) {
	t.Parallel()
	hook := newReceiver(t)
	h := newHouse(t, "")
	must(t, os.WriteFile(filepath.Join(h.dir, "url"), []byte(hook.url), 0o600))
	h.write(`  - {name: web, profile: files, issuer: ca, hosts: [here], dir: DIR/out, lifetime: 1h, probe: {command: [test, -e, DIR/well]}}
notify:
  - {name: hook, webhook: {url_file: DIR/url}}
`)
	must(t, os.WriteFile(filepath.Join(h.dir, "well"), nil, 0o600))
	a := h.open()
	res, err := a.RunOnce(context.Background(), nil)
	must(t, err)
	if res.Failed() || len(hook.said()) != 0 {
		t.Fatalf("%+v, notifications %q", res, hook.said())
	}
	must(t, os.Remove(filepath.Join(h.dir, "well")))
	_, err = a.RunOnce(context.Background(), nil)
	must(t, err)
	if said := hook.said(); len(said) == 0 || !strings.HasPrefix(said[0], "open ") || !strings.HasSuffix(said[0], " web") {
		t.Errorf("notifications %q", said)
	}
}

// What the log has of issuers holds through a restart.
func TestIssuersThatWereDownAreKnown(t *testing.T) {
	t.Parallel()
	now := time.Now()
	up := func(name string) renewer.IssuerStatus { return renewer.IssuerStatus{Name: name, Up: true} }
	down := func(name string) renewer.IssuerStatus {
		return renewer.IssuerStatus{Name: name, Error: "no answer", Hint: "start it"}
	}
	known := map[string]bool{"a": true, "b": true}
	var got []string
	for _, e := range issuerEvents(known, []renewer.IssuerStatus{up("a"), down("b"), up("c"), down("d")}, now) {
		got = append(got, string(e.Type)+" "+e.Issuer+" "+e.Error+e.Hint)
	}
	if want := []string{"issuer_up a ", "issuer_down d no answerstart it"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	h := newHouse(t, "  - {name: web, profile: files, issuer: ca, hosts: [here], dir: DIR/out, lifetime: 1h}\n")
	a := h.open()
	for _, typ := range []renewer.EventType{renewer.EventIssuerDown, renewer.EventIssuerUp, renewer.EventIssuerDown} {
		_, err := a.store.Commit(context.Background(), renewer.Change{Events: []renewer.Event{{Type: typ, Issuer: "ca"}, {Type: renewer.EventDrifted, Certificate: "web"}}})
		must(t, err)
	}
	a = h.again(a)
	if was, err := a.knownDown(); err != nil || len(was) != 1 || !was["ca"] {
		t.Error(was, err)
	}
}

// reach returns the daemon, once it listens.
func (h *house) reach(t *testing.T) server.Service {
	t.Helper()
	var c *server.Client
	until(t, func() (ok bool) {
		var err error
		c, err = server.Dial(filepath.Join(h.dir, "state", "renewer.sock"), nil)
		return err == nil
	})
	return c
}

// until asks until the answer is yes.
func until(t *testing.T, yes func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !yes() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("not within a minute")
		}
	}
}
