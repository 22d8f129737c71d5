package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"renewer/configs"
	"renewer/internal/testacme"
	"renewer/renewer"
)

// acmeHouse is a fleet file whose issuer is an ACME server, with a TLS service.
func acmeHouse(t *testing.T, o testacme.Options, more string) (*house, *testacme.Server) {
	t.Helper()
	s := testacme.Start(t, o)
	h := &house{t: t, dir: t.TempDir()}
	h.file = filepath.Join(h.dir, "renewer.yaml")
	text := strings.NewReplacer("MORE", more).Replace(`state_dir: DIR/state
http: {listen: 127.0.0.1:0}
issuers:
  corp: {type: acme, directory: "URL", ca_cert: CACERT, roots: ROOTS, MORE}
hosts: {here: {type: local, address: 127.0.0.1}}
certificates:
  - {name: web, profile: files, usages: [server], issuer: corp, hosts: [here], default_sans: false, sans: [web.example.com], dir: DIR/out, files: {ca: null}, probe: {tls: {address: "SERVICE", server_name: web.example.com, mutual: false}}}
`)
	text = strings.NewReplacer("DIR", h.dir, "URL", s.Directory, "CACERT", s.CACert, "ROOTS", s.Roots, "SERVICE", serveTLS(t, filepath.Join(h.dir, "out")),
		"HTTP", s.HTTPPort, "ALPN", s.TLSPort).Replace(text)
	must(t, os.WriteFile(h.file, []byte(text), 0o600))
	return h, s
}

const byHTTP = `challenge: {http-01: {listen: "HTTP"}}`

func TestACMEGivesAVerifiedService(t *testing.T) {
	for name, challenge := range map[string]string{"http-01": byHTTP, "tls-alpn-01": `challenge: {tls-alpn-01: {listen: "ALPN"}}`} {
		t.Run(name, func(t *testing.T) {
			h, _ := acmeHouse(t, testacme.Options{}, challenge)
			a := h.open()
			res, err := a.RunOnce(context.Background(), nil)
			must(t, err)
			if res.Failed() {
				t.Fatalf("result %+v", res)
			}
			row := a.row(t, "web")
			if row.Status != renewer.StatusValid || row.Hosts[0].State != renewer.HostVerified || row.Hosts[0].Served != row.Fingerprint {
				t.Fatalf("row %+v", row)
			}
			text, err := os.ReadFile(filepath.Join(h.dir, "state", "issuers", "corp", "acme.json"))
			must(t, err)
			if strings.Contains(string(text), "PRIVATE KEY") {
				t.Error("the key of the account is not sealed")
			}
		})
	}
}

// A server that wants a certificate renewed at once gets an order at the next pass, and
// no more than one.
func TestARIBringsARenewalForward(t *testing.T) {
	h, s := acmeHouse(t, testacme.Options{}, byHTTP)
	a := h.open()
	pass := func(generation int) {
		t.Helper()
		res, err := a.RunOnce(context.Background(), nil)
		must(t, err)
		if row := a.row(t, "web"); res.Failed() || row.Generation != generation {
			t.Fatalf("result %+v, row %+v", res, row)
		}
	}
	suggest := func(generation int, in time.Duration, why string) {
		t.Helper()
		g, ok, err := a.store.Generation("web", generation)
		chain, parse := g.Parse()
		if must(t, errors.Join(err, parse)); !ok {
			t.Fatalf("no generation %d", generation)
		}
		s.Suggest(t, chain.Leaf, time.Now().Add(in-24*time.Hour), time.Now().Add(in), why)
		a = h.again(a)
	}
	pass(1)
	first := a.row(t, "web")
	suggest(1, 1000*24*time.Hour, "")
	pass(1) // nothing sooner suggested
	if row := a.row(t, "web"); !row.RenewAt.Equal(first.RenewAt) {
		t.Errorf("renew time %s, and it was %s", row.RenewAt, first.RenewAt)
	}
	suggest(1, -24*time.Hour, "https://ca.test/incident-7")
	pass(2)
	suggest(2, -24*time.Hour, "")
	pass(2)
	a = h.again(a)
	pass(2)
	if row, at := a.row(t, "web"), time.Now().Add(24*time.Hour); row.RenewAt.After(at) || row.RenewAt.Before(at.Add(-time.Hour)) {
		t.Errorf("renew time %s, want about %s", row.RenewAt, at)
	}
	events, err := a.Events(context.Background(), renewer.EventFilter{})
	must(t, err)
	if !slices.ContainsFunc(events, func(e renewer.Event) bool {
		return e.Type == renewer.EventRescheduled && strings.Contains(e.Message, "https://ca.test/incident-7")
	}) {
		t.Errorf("no event says so: %+v", events)
	}
}

// A certificate of a profile lives as long as the server says, and its schedule follows
// that.
func TestAProfileOf160HoursIsScheduled(t *testing.T) {
	h, _ := acmeHouse(t, testacme.Options{ShortLived: true}, "profile: shortlived, "+byHTTP)
	a := h.open()
	res, err := a.RunOnce(context.Background(), nil)
	must(t, err)
	row := a.row(t, "web")
	if res.Failed() || row.Status != renewer.StatusValid {
		t.Fatalf("result %+v, row %+v", res, row)
	}
	life := row.NotAfter.Sub(row.NotBefore)
	if life < testacme.ShortLived-time.Minute || life > testacme.ShortLived+time.Minute {
		t.Errorf("it lives %s", life)
	}
	if share := float64(row.RenewAt.Sub(row.NotBefore)) / float64(life); share < 0.6 || share > 0.68 {
		t.Errorf("renewed at %.2f of its life", share)
	}
}

// What no public CA signs is said before it is ordered, each reason once.
func TestCheckNamesWhatPublicCAsDoNotSign(t *testing.T) {
	h, _ := acmeHouse(t, testacme.Options{}, byHTTP)
	text, err := os.ReadFile(h.file)
	must(t, err)
	text = []byte(strings.NewReplacer("roots: "+between(string(text), "roots: ", ","), "roots: system", "default_sans: false, ", "", "usages: [server]", "usages: [server, client]").Replace(string(text)))
	must(t, os.WriteFile(h.file, text, 0o600))
	fleet, err := configs.Load(h.file)
	must(t, err)
	refused := CheckRequests(fleet)
	if len(refused) != 1 {
		t.Fatalf("%d reasons: %v", len(refused), refused)
	}
	for _, want := range []string{"certificate web: ", "the usage client", "127.0.0.1, a loopback address", "here, a name without a domain"} {
		if !strings.Contains(refused[0].Error(), want) {
			t.Errorf("%q is not named: %v", want, refused[0])
		}
	}
	if hint := renewer.Hint(refused[0]); !strings.Contains(hint, "default_sans: false") || !strings.Contains(hint, "usages: [server]") {
		t.Errorf("hint %q", hint)
	}
}

func between(text, from, to string) string {
	_, text, _ = strings.Cut(text, from)
	text, _, _ = strings.Cut(text, to)
	return text
}

// check --online makes the account, and says which record it needs; an order is proven by
// that record alone.
func TestCheckNamesTheRecordOfDNSPersist(t *testing.T) {
	h, s := acmeHouse(t, testacme.Options{}, "challenge: {dns-persist-01: {}}")
	fleet := h.load()
	if records, err := NeededRecords(fleet); err != nil || len(records) > 0 {
		t.Errorf("without an account: %v %v", records, err)
	}
	_, _, found, err := CheckOnline(context.Background(), fleet)
	must(t, err)
	records, err := NeededRecords(fleet)
	must(t, err)
	if len(records["corp"]) != 1 || !slices.ContainsFunc(found, func(f renewer.Finding) bool { return strings.Contains(f.Fix, records["corp"][0]) }) {
		t.Fatalf("records %v, found %+v", records, found)
	}
	a := h.open()
	res, err := a.RunOnce(context.Background(), nil)
	must(t, err)
	if !res.Failed() || !strings.Contains(res.Rollouts[0].Hint, records["corp"][0]) {
		t.Errorf("without the record: %+v", res)
	}
	value, _ := strconv.Unquote(strings.SplitN(records["corp"][0], " IN TXT ", 2)[1])
	s.DNS.Set("_validation-persist.web.example.com.", value)
	a = h.again(a)
	_, err = a.Renew(context.Background(), renewer.RenewRequest{Names: []string{"web"}}, nil)
	must(t, err)
	if row := a.row(t, "web"); row.Status != renewer.StatusValid {
		t.Errorf("with the record: %+v", row)
	}
}

// The ACME CA publishes the revocation; renewer keeps no CRL for it.
func TestACMERevocationIsPublishedByTheCA(t *testing.T) {
	h, _ := acmeHouse(t, testacme.Options{}, byHTTP)
	a := h.open()
	_, err := a.RunOnce(context.Background(), nil)
	must(t, err)
	done, err := a.Revoke(context.Background(), renewer.RevokeRequest{Name: "web", Reason: renewer.RevokedKeyCompromise}, nil)
	must(t, err)
	if len(done) != 1 || done[0].Error != "" || len(done[0].Notes) == 0 || !strings.HasPrefix(done[0].Notes[0], "its CA revoked it") {
		t.Errorf("revoked %+v", done)
	}
}

// The answer to http-01 is put on a host whose web server has port 80.
func TestAnAnswerIsServedByAHost(t *testing.T) {
	h, s := acmeHouse(t, testacme.Options{}, `challenge: {http-01: {host: here, dir: WEBROOT}}`)
	webroot := filepath.Join(h.dir, "www")
	text, err := os.ReadFile(h.file)
	must(t, err)
	must(t, os.WriteFile(h.file, []byte(strings.Replace(string(text), "WEBROOT", webroot, 1)), 0o600))
	a := h.open()
	res, err := a.RunOnce(context.Background(), nil)
	must(t, err)
	if !res.Failed() || !strings.Contains(res.Rollouts[0].Error, webroot) || !strings.Contains(res.Rollouts[0].Hint, "make the directory") {
		t.Errorf("without the directory: %+v", res)
	}
	must(t, os.Mkdir(webroot, 0o755))
	l, err := net.Listen("tcp", s.HTTPPort)
	must(t, err)
	web := &http.Server{Handler: http.FileServer(http.Dir(webroot))}
	go func() { _ = web.Serve(l) }()
	defer web.Close()
	a = h.again(a)
	_, err = a.Renew(context.Background(), renewer.RenewRequest{Names: []string{"web"}}, nil)
	must(t, err)
	if row := a.row(t, "web"); row.Status != renewer.StatusValid {
		t.Errorf("row %+v", row)
	}
	if left, err := os.ReadDir(filepath.Join(webroot, ".well-known/acme-challenge")); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

// A probe that would present a certificate of such an issuer proves what is served all the
// same, and nothing is ordered for it.
func TestAProbeMakesNoOrderAtAnACMEServer(t *testing.T) {
	var orders atomic.Int32
	h, _ := acmeHouse(t, testacme.Options{Front: func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/order-plz" {
			orders.Add(1)
		}
		return false
	}}, byHTTP)
	out := filepath.Join(h.dir, "out")
	strict := serveConfig(t, &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		pair, err := tls.LoadX509KeyPair(filepath.Join(out, "tls.crt"), filepath.Join(out, "tls.key"))
		text, failed := os.ReadFile(filepath.Join(out, "ca.crt"))
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(text)
		return &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}, errors.Join(err, failed)
	}})
	text, err := os.ReadFile(h.file)
	must(t, err)
	must(t, os.WriteFile(h.file, []byte(strings.NewReplacer(", mutual: false", "", ", files: {ca: null}", "", between(string(text), `address: "`, `"`), strict).Replace(string(text))), 0o600))
	if refused := CheckRequests(h.load()); len(refused) > 0 {
		t.Errorf("check: %v", refused)
	}
	a := h.open()
	res, err := a.RunOnce(context.Background(), nil)
	must(t, err)
	if row := a.row(t, "web"); res.Failed() || row.Status != renewer.StatusValid || row.Hosts[0].State != renewer.HostVerified {
		t.Errorf("result %+v, row %+v", res, row)
	}
	if n := orders.Load(); n != 1 {
		t.Errorf("%d orders", n)
	}
}

// Whatever an ACME server answers to a renewal, the certificate in place is served on; what
// it asks to be left alone for is no failure, and no try follows at once.
func TestAnACMEServerThatDoesNotSignCostsEvents(t *testing.T) {
	var answer atomic.Pointer[string]
	var orders atomic.Int32
	h, _ := acmeHouse(t, testacme.Options{Front: func(w http.ResponseWriter, r *http.Request) bool {
		body := answer.Load()
		if r.URL.Path != "/order-plz" || body == nil {
			return false
		}
		orders.Add(1)
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("Retry-After", "3600")
		w.Header().Set("Replay-Nonce", "bm9uY2U")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, *body)
		return true
	}}, byHTTP)
	a := h.open()
	_, err := a.RunOnce(context.Background(), nil)
	must(t, err)
	first := a.row(t, "web")
	text, err := os.ReadFile(h.file)
	must(t, err)
	must(t, os.WriteFile(h.file, []byte(strings.Replace(string(text), "sans: [web.example.com]", "sans: [web.example.com, more.example.com]", 1)), 0o600))
	for _, c := range []struct {
		problem string
		failed  bool
	}{{"rateLimited", false}, {"userActionRequired", true}, {"rejectedIdentifier", true}} {
		body := `{"type": "urn:ietf:params:acme:error:` + c.problem + `", "detail": "not today"}`
		answer.Store(&body)
		orders.Store(0)
		a = h.again(a)
		res, err := a.RunOnce(context.Background(), nil)
		must(t, err)
		if res.Failed() != c.failed || len(res.Rollouts) != 1 {
			t.Errorf("%s: %+v", c.problem, res)
		}
		if text := fmt.Sprintf("%+v", res); !strings.Contains(text, "not today ("+c.problem+")") {
			t.Errorf("%s is not said: %s", c.problem, text)
		}
		if n := orders.Load(); n != 1 {
			t.Errorf("%s: %d orders", c.problem, n)
		}
		if row := a.row(t, "web"); row.Generation != 1 || row.Hosts[0].Served != first.Fingerprint {
			t.Errorf("%s: %+v", c.problem, row)
		}
	}
}
