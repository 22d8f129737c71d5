package probes

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"renewer/internal/testpki"
	"renewer/renewer"
	"renewer/renewer/engine"
)

var _ engine.Prober = (*Prober)(nil)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// disk is a host with one placement in place.
type disk struct {
	renewer.OnDisk
	err error
	run func(argv []string) error
}

func (d disk) Inspect(context.Context, renewer.Placement) (renewer.OnDisk, error) {
	return d.OnDisk, d.err
}

func (d disk) Run(_ context.Context, argv []string) error { return d.run(argv) }

// fixture is a CA, a server's pair and a client's.
type fixture struct {
	ca             *testpki.CA
	server, client testpki.Pair
}

func newFixture(t *testing.T) fixture {
	ca := testpki.New(t)
	return fixture{
		ca:     ca,
		server: ca.Leaf(t, testpki.Options{SANs: []string{"host-b", "127.0.0.1"}, Usages: testpki.ServerUsage}),
		client: ca.Leaf(t, testpki.Options{CommonName: "probe", Usages: testpki.ClientUsage}),
	}
}

// request asks for f.server to be served at address.
func (f fixture) request(kind renewer.ProbeKind, address string, mutual bool) renewer.ProbeRequest {
	r := renewer.ProbeRequest{
		Placement: renewer.Placement{
			Certificate: "docker", Host: "host-b", Dir: "/etc/docker/tls",
			Files: map[renewer.FileKind]string{renewer.FileCA: "ca.pem"},
			Probe: renewer.Probe{Kind: kind, Address: address, Mutual: mutual},
		},
		Expect: renewer.Expected{Leaf: renewer.Fingerprint(f.server.Cert.Raw), Roots: renewer.RootSetOf([]*x509.Certificate{f.ca.Root}), Origin: renewer.OriginIssued},
		Roots:  []*x509.Certificate{f.ca.Root},
	}
	r.Host = disk{OnDisk: renewer.OnDisk{Leaf: r.Expect.Leaf, Trusts: r.Expect.Roots, NotAfter: f.server.Cert.NotAfter}}
	if mutual {
		r.Client = &f.client.TLS
	}
	return r
}

// quick is a prober that does not wait long for what never comes.
func quick() *Prober {
	p := New()
	p.quiet = 150 * time.Millisecond
	return p
}

// listen serves each connection with serve until the test ends.
func listen(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var conns []net.Conn
		ends := make(chan struct{})
		for {
			c, err := ln.Accept()
			if err != nil {
				break
			}
			conns = append(conns, c)
			go func() { serve(c); c.Close(); ends <- struct{}{} }()
		}
		for _, c := range conns {
			c.Close()
		}
		for range conns {
			<-ends
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}

// silent is a TLS server that shakes hands and waits for the client to speak.
func silent(config *tls.Config) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.Copy(io.Discard, tls.Server(c, config)) }
}

// wants checks an error's kind, text and, for all but odd cases, its hint.
func wants(t *testing.T, err error, kind renewer.ProbeErrorKind, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %s with %q", kind, parts)
	}
	var pe *renewer.ProbeError
	if !errors.As(err, &pe) || pe.Kind != kind {
		t.Errorf("error %v is %q, want %q", err, renewer.ProbeErrorKindOf(err), kind)
	}
	for _, part := range append(parts, "probe: ") {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.request(renewer.ProbeFile, "", false)
	obs, err := New().Probe(t.Context(), r)
	if err != nil || obs.Served != r.Expect.Leaf || !obs.NotAfter.Equal(f.server.Cert.NotAfter) {
		t.Errorf("saw %+v, %v", obs, err)
	}
	for what, d := range map[string]disk{
		"certificate 0123456789abcdef… instead of": {OnDisk: renewer.OnDisk{Leaf: "0123456789abcdef0123", Trusts: r.Expect.Roots}},
		"no certificate instead of":                {OnDisk: renewer.OnDisk{Trusts: r.Expect.Roots}},
		"ca.pem holds other roots":                 {OnDisk: renewer.OnDisk{Leaf: r.Expect.Leaf, Trusts: renewer.NewRootSet("other")}},
		"server-key.pem has mode 0644":             {OnDisk: renewer.OnDisk{Leaf: r.Expect.Leaf, Trusts: r.Expect.Roots, Deviations: []renewer.Deviation{{Kind: renewer.DeviationMode, Text: "server-key.pem has mode 0644"}}}},
	} {
		r.Host = d
		obs, err := New().Probe(t.Context(), r)
		wants(t, err, renewer.ProbeMismatch, "on disk in /etc/docker/tls", what)
		if obs.Served != d.Leaf {
			t.Errorf("%s: served %q", what, obs.Served)
		}
	}
	// A host that cannot be looked at says nothing about its certificate.
	lost := errors.New("connection lost")
	r.Host = disk{err: lost}
	_, err = New().Probe(t.Context(), r)
	var looked *renewer.ProbeError
	if !errors.Is(err, lost) || errors.As(err, &looked) {
		t.Errorf("error %v", err)
	}
}

func TestOfWhatWasPutBackOnlyTheLeafCounts(t *testing.T) {
	t.Parallel()
	r := renewer.ProbeRequest{
		Expect:    renewer.Expected{Leaf: "0123456789abcdef0123", Origin: renewer.OriginForeign},
		Placement: renewer.Placement{Certificate: "web", Host: "a", Dir: "/etc/web", Probe: renewer.Probe{Kind: renewer.ProbeFile}},
		Host:      disk{OnDisk: renewer.OnDisk{Leaf: "0123456789abcdef0123", Deviations: []renewer.Deviation{{Kind: renewer.DeviationMode, Text: "tls.key has mode 0600"}}}},
	}
	if _, err := New().Probe(t.Context(), r); err != nil {
		t.Error(err)
	}
	r.Expect.Leaf = "another"
	if _, err := New().Probe(t.Context(), r); err == nil {
		t.Error("another leaf is there, and no one minds")
	}
}

func TestNoneLooksAtNothing(t *testing.T) {
	t.Parallel()
	obs, err := New().Probe(t.Context(), renewer.ProbeRequest{Placement: renewer.Placement{Probe: renewer.Probe{Kind: renewer.ProbeNone}}})
	if err != nil || obs.Served != "" {
		t.Errorf("saw %+v, %v", obs, err)
	}
}

func TestCommand(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.request(renewer.ProbeCommand, "", false)
	r.Placement.Probe.Command = []string{"check", "it"}
	d := r.Host.(disk)
	d.run = func(argv []string) error {
		if len(argv) != 2 || argv[1] != "it" {
			return fmt.Errorf("ran %q", argv)
		}
		return nil
	}
	r.Host = d
	if obs, err := New().Probe(t.Context(), r); err != nil || obs.Served != "" {
		t.Errorf("saw %+v, %v", obs, err)
	}
	d.run = func([]string) error { return errors.New("exit status 3") }
	r.Host = d
	_, err := New().Probe(t.Context(), r)
	wants(t, err, renewer.ProbeRejected, "exit status 3")
}

func TestServed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, max := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, tickets := range []bool{true, false} {
			for _, mutual := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, tickets %v, mutual %v", tls.VersionName(max), tickets, mutual), func(t *testing.T) {
					t.Parallel()
					config := f.ca.Server(f.server)
					config.MaxVersion, config.SessionTicketsDisabled = max, !tickets
					if !mutual {
						config.ClientAuth = tls.NoClientCert
					}
					r := f.request(renewer.ProbeTLS, listen(t, silent(config)), mutual)
					obs, err := quick().Probe(t.Context(), r)
					if err != nil || obs.Served != r.Expect.Leaf || !obs.NotAfter.Equal(f.server.Cert.NotAfter) {
						t.Errorf("saw %+v, %v", obs, err)
					}
					if len(obs.NotChecked) != 0 {
						t.Errorf("not checked: %q", obs.NotChecked)
					}
				})
			}
		}
	}
}

func TestIntermediatesAndServerName(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	inter := f.ca.Intermediate(t, testpki.Options{CommonName: "Test Intermediate"})
	f.server = inter.Leaf(t, testpki.Options{SANs: []string{"host-b"}})
	r := f.request(renewer.ProbeTLS, listen(t, silent(f.ca.Server(f.server))), true)
	r.Placement.Probe.ServerName = "host-b"
	if obs, err := New().Probe(t.Context(), r); err != nil || obs.Served != r.Expect.Leaf {
		t.Errorf("saw %+v, %v", obs, err)
	}
	f.server.TLS.Certificate = f.server.TLS.Certificate[:1]
	r.Placement.Probe.Address = listen(t, silent(f.ca.Server(f.server)))
	_, err := New().Probe(t.Context(), r)
	wants(t, err, renewer.ProbeRejected, "Test Intermediate", "none of the trusted roots")
}

// What a peer would refuse. The certificate is seen and named all the same.
func TestRefusedByAPeer(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, c := range []struct {
		name    string
		options testpki.Options
		says    []string
	}{
		{"wrong name", testpki.Options{SANs: []string{"host-b", "10.0.1.2"}}, []string{"not for 127.0.0.1", "only host-b, 10.0.1.2"}},
		{"no name", testpki.Options{CommonName: "host-b"}, []string{"covers no name"}},
		{"expired", testpki.Options{SANs: []string{"127.0.0.1"}, NotAfter: now.Add(-time.Hour)}, []string{"expired at", now.Add(-time.Hour).UTC().Format("2006-01-02T15:04")}},
		{"not yet valid", testpki.Options{SANs: []string{"127.0.0.1"}, NotBefore: now.Add(time.Hour), NotAfter: now.Add(2 * time.Hour)}, []string{"not valid before"}},
		{"client only", testpki.Options{SANs: []string{"127.0.0.1"}, Usages: testpki.ClientUsage}, []string{"serverAuth"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.server = f.ca.Leaf(t, c.options)
			for _, mutual := range []bool{true, false} {
				config := f.ca.Server(f.server)
				if !mutual {
					config.ClientAuth = tls.NoClientCert
				}
				r := f.request(renewer.ProbeTLS, listen(t, silent(config)), mutual)
				obs, err := New().Probe(t.Context(), r)
				wants(t, err, renewer.ProbeRejected, append(c.says, r.Placement.Probe.Address)...)
				if renewer.Hint(err) == "" {
					t.Errorf("no hint: %v", err)
				}
				if obs.Served != r.Expect.Leaf {
					t.Errorf("served %q", obs.Served)
				}
			}
		})
	}
	t.Run("another CA", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		r := f.request(renewer.ProbeTLS, listen(t, silent(f.ca.Server(f.server))), true)
		r.Roots = []*x509.Certificate{testpki.New(t).Root}
		_, err := New().Probe(t.Context(), r)
		wants(t, err, renewer.ProbeRejected, "Test Root", "none of the trusted roots")
	})
}

func TestStaleCertificate(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	stale := f.ca.Leaf(t, testpki.Options{SANs: []string{"127.0.0.1"}, NotAfter: time.Now().Add(-time.Hour)})
	r := f.request(renewer.ProbeTLS, listen(t, silent(f.ca.Server(stale))), true)
	obs, err := New().Probe(t.Context(), r)
	want := renewer.Fingerprint(stale.Cert.Raw)
	wants(t, err, renewer.ProbeMismatch, "serves certificate "+want[:16], "instead of certificate "+r.Expect.Leaf[:16])
	if obs.Served != want || !obs.NotAfter.Equal(stale.Cert.NotAfter) {
		t.Errorf("saw %+v", obs)
	}
	// Wrong files on disk come first, but what is served is seen too.
	r.Host = disk{OnDisk: renewer.OnDisk{Leaf: want, Trusts: r.Expect.Roots}}
	obs, err = New().Probe(t.Context(), r)
	wants(t, err, renewer.ProbeMismatch, "on disk", "serves certificate")
	if obs.Served != want {
		t.Errorf("saw %+v", obs)
	}
}

func TestOurClientCertificateIsRefused(t *testing.T) {
	t.Parallel()
	for _, max := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, tickets := range []bool{true, false} {
			for name, client := range map[string]func(*testing.T, fixture) testpki.Pair{
				"another CA": func(t *testing.T, _ fixture) testpki.Pair { return testpki.New(t).Leaf(t, testpki.Options{}) },
				"server only": func(t *testing.T, f fixture) testpki.Pair {
					return f.ca.Leaf(t, testpki.Options{Usages: testpki.ServerUsage})
				},
				"expired": func(t *testing.T, f fixture) testpki.Pair {
					return f.ca.Leaf(t, testpki.Options{NotAfter: time.Now().Add(-time.Hour)})
				},
			} {
				t.Run(fmt.Sprintf("%s, tickets %v, %s", tls.VersionName(max), tickets, name), func(t *testing.T) {
					t.Parallel()
					f := newFixture(t)
					f.client = client(t, f)
					config := f.ca.Server(f.server)
					config.MaxVersion, config.SessionTicketsDisabled = max, !tickets
					r := f.request(renewer.ProbeTLS, listen(t, silent(config)), true)
					obs, err := New().Probe(t.Context(), r)
					wants(t, err, renewer.ProbeRejected, "refused the connection", "remote error: tls: ")
					if renewer.Hint(err) == "" || obs.Served != r.Expect.Leaf {
						t.Errorf("saw %+v, %v", obs, err)
					}
				})
			}
		}
	}
}

// A server that drops a client without an alert.
func TestAbruptEndIsARefusal(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.client = testpki.New(t).Leaf(t, testpki.Options{})
	r := f.request(renewer.ProbeTLS, listen(t, func(c net.Conn) {
		// The alert of a failed handshake is held back.
		_ = tls.Server(muted{c}, f.ca.Server(f.server)).Handshake()
	}), true)
	_, err := New().Probe(t.Context(), r)
	wants(t, err, renewer.ProbeRejected, "refused the connection") // EOF, or a reset where the server had not read all

	r.Client = nil
	_, err = New().Probe(t.Context(), r)
	wants(t, err, renewer.ProbeUnreachable, "no client certificate to present")

	// Only the client without a certificate is dropped like that.
	g := newFixture(t)
	r = g.request(renewer.ProbeTLS, listen(t, func(c net.Conn) {
		s := tls.Server(muted{c}, g.ca.Server(g.server))
		if s.Handshake() == nil {
			_, _ = io.Copy(io.Discard, s)
		}
	}), true)
	if _, err := New().Probe(t.Context(), r); err != nil {
		t.Error(err)
	}
}

// muted holds alerts back: records of type 21, or what TLS 1.3 hides them in
// once it encrypts, which is short.
type muted struct{ net.Conn }

func (m muted) Write(b []byte) (int, error) {
	if len(b) < 32 {
		return len(b), nil
	}
	return m.Conn.Write(b)
}

// An orderly end comes from a server that finished its handshake.
func TestOrderlyEnd(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	config := f.ca.Server(f.server)
	config.SessionTicketsDisabled = true
	r := f.request(renewer.ProbeTLS, listen(t, func(c net.Conn) {
		s := tls.Server(c, config)
		if s.Handshake() == nil {
			_ = s.CloseWrite()
			_, _ = io.Copy(io.Discard, c)
		}
	}), true)
	p := New()
	p.quiet = time.Hour // not what decides
	if _, err := p.Probe(t.Context(), r); err != nil {
		t.Error(err)
	}
}

func TestLax(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for name, c := range map[string]struct {
		auth    tls.ClientAuthType
		max     uint16
		tickets bool
		says    string
	}{
		"does not request":   {tls.NoClientCert, tls.VersionTLS13, true, "does not request"},
		"does not ask, 1.2":  {tls.NoClientCert, tls.VersionTLS12, true, "does not request"},
		"optional":           {tls.VerifyClientCertIfGiven, tls.VersionTLS13, true, "finished the handshake"},
		"optional, 1.2":      {tls.VerifyClientCertIfGiven, tls.VersionTLS12, true, "finished the handshake"},
		"optional and quiet": {tls.RequestClientCert, tls.VersionTLS13, false, "kept the connection"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := f.ca.Server(f.server)
			config.ClientAuth, config.MaxVersion, config.SessionTicketsDisabled = c.auth, c.max, !c.tickets
			r := f.request(renewer.ProbeTLS, listen(t, silent(config)), true)
			obs, err := quick().Probe(t.Context(), r)
			wants(t, err, renewer.ProbeLax, "does not refuse a client without a certificate", c.says)
			if renewer.Hint(err) == "" || obs.Served != r.Expect.Leaf {
				t.Errorf("saw %+v, %v", obs, err)
			}
		})
	}
}

func TestNothingToSee(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	for name, c := range map[string]struct {
		address string
		says    string
	}{
		"refused":   {gone.Addr().String(), "connection refused"},
		"no port":   {"127.0.0.1", "missing port"},
		"closes":    {listen(t, func(net.Conn) {}), "cannot be reached"},
		"mute":      {listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), "no answer within 200ms"},
		"plain":     {listen(t, func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }), "does not speak TLS"},
		"endless":   {listen(t, func(c net.Conn) { _, _ = io.Copy(c, zeros{}) }), "does not speak TLS"},
		"endless 2": {listen(t, func(c net.Conn) { _, _ = io.Copy(c, records{}) }), "cannot be reached"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := New()
			p.step = 200 * time.Millisecond
			obs, err := p.Probe(t.Context(), f.request(renewer.ProbeTLS, c.address, true))
			wants(t, err, renewer.ProbeUnreachable, c.says)
			if obs.Served != "" {
				t.Errorf("served %q", obs.Served)
			}
		})
	}
}

// zeros and records never end; records look like handshake messages.
type (
	zeros   struct{}
	records struct{}
)

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func (records) Read(b []byte) (int, error) {
	record := []byte{22, 3, 3, 0, 4, 2, 0xff, 0xff, 0xff}
	n := 0
	for n+len(record) <= len(b) {
		n += copy(b[n:], record)
	}
	return n, nil
}

func TestEndlessDataAfterTheHandshake(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	config := f.ca.Server(f.server)
	config.SessionTicketsDisabled = true
	r := f.request(renewer.ProbeTLS, listen(t, func(c net.Conn) { _, _ = io.Copy(tls.Server(c, config), zeros{}) }), true)
	if _, err := New().Probe(t.Context(), r); err != nil {
		t.Error(err)
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	config := f.ca.Server(f.server)
	config.SessionTicketsDisabled = true
	ctx, cancel := context.WithCancel(t.Context())
	r := f.request(renewer.ProbeTLS, listen(t, func(c net.Conn) {
		s := tls.Server(c, config)
		_ = s.Handshake()
		cancel()
		_, _ = io.Copy(io.Discard, s)
	}), true)
	p := New()
	p.quiet = time.Hour
	_, err := p.Probe(ctx, r)
	wants(t, err, renewer.ProbeUnreachable, "canceled")
}
