package probes

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"renewer/internal/testpki"
	"renewer/renewer"
)

// dockerd serves what Docker's API does, behind mutual TLS.
func dockerd(t *testing.T, config *tls.Config, handler http.Handler) (address string) {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return ln.Addr().String()
}

func api() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_ping", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "OK") })
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"Version":"20.10.24+dfsg1","ApiVersion":"1.41","MinAPIVersion":"1.12","Os":"linux"}`)
	})
	return mux
}

func TestDocker(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, max := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, mutual := range []bool{true, false} {
			config := f.ca.Server(f.server)
			config.MaxVersion = max
			if !mutual {
				config.ClientAuth = tls.NoClientCert
			}
			r := f.request(renewer.ProbeDocker, dockerd(t, config, api()), mutual)
			obs, err := New().Probe(t.Context(), r)
			if err != nil || obs.Served != r.Expect.Leaf || mutual != (len(obs.NotChecked) == 1) {
				t.Errorf("%s, mutual %v: saw %+v, %v", tls.VersionName(max), mutual, obs, err)
			}
		}
	}
}

func TestDockerThatIsNone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	version := func(body string) *http.ServeMux {
		mux := http.NewServeMux()
		mux.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "OK") })
		mux.HandleFunc("/version", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
		return mux
	}
	for says, handler := range map[string]http.Handler{
		"/_ping answers 404 Not Found":              http.NotFoundHandler(),
		"/_ping answers 302 Found":                  http.RedirectHandler("https://127.0.0.1:1/", http.StatusFound),
		"/version does not name":                    version(`<html>`),
		"the answer of /version has more than 6553": version(strings.Repeat("x", 100<<10)),
	} {
		r := f.request(renewer.ProbeDocker, dockerd(t, f.ca.Server(f.server), handler), true)
		obs, err := New().Probe(t.Context(), r)
		wants(t, err, renewer.ProbeRejected, "not a healthy Docker daemon", says)
		if obs.Served != r.Expect.Leaf {
			t.Errorf("saw %+v", obs)
		}
	}
}

func TestDockerRefusesOurClient(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.client = newFixture(t).client
	for _, max := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := f.ca.Server(f.server)
		config.MaxVersion = max
		r := f.request(renewer.ProbeDocker, dockerd(t, config, api()), true)
		_, err := New().Probe(t.Context(), r)
		wants(t, err, renewer.ProbeRejected, "refused the connection", "remote error: tls: ")
	}
}

func TestDockerRefusesAServersCertificate(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	wrong := f.ca.Leaf(t, testpki.Options{Usages: testpki.ServerUsage, SANs: []string{"renewer.invalid"}})
	r := f.request(renewer.ProbeDocker, dockerd(t, f.ca.Server(f.server), api()), true)
	r.Wrong = &wrong.TLS
	obs, err := New().Probe(t.Context(), r)
	if err != nil || len(obs.NotChecked) != 0 {
		t.Errorf("saw %+v, %v", obs, err)
	}
	config := f.ca.Server(f.server)
	config.ClientAuth = tls.RequireAnyClientCert // whatever it is for
	r.Placement.Probe.Address = dockerd(t, config, api())
	_, err = New().Probe(t.Context(), r)
	wants(t, err, renewer.ProbeLax, "not have the usage clientAuth")
}

func TestDockerThatIsLaxOrMute(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	config := f.ca.Server(f.server)
	config.ClientAuth = tls.VerifyClientCertIfGiven
	r := f.request(renewer.ProbeDocker, dockerd(t, config, api()), true)
	_, err := New().Probe(t.Context(), r)
	wants(t, err, renewer.ProbeLax, "finished the handshake")

	r = f.request(renewer.ProbeDocker, listen(t, silent(f.ca.Server(f.server))), true)
	p := New()
	p.step = 200 * time.Millisecond
	_, err = p.Probe(t.Context(), r)
	wants(t, err, renewer.ProbeUnreachable, "no answer within 200ms")
}

// coordinator is a gRPC server with the health service, behind mutual TLS.
func coordinator(t *testing.T, config *tls.Config, state healthpb.HealthCheckResponse_ServingStatus) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)))
	if state != healthpb.HealthCheckResponse_UNKNOWN {
		h := health.NewServer()
		h.SetServingStatus("", state)
		healthpb.RegisterHealthServer(srv, h)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	t.Cleanup(func() { srv.Stop(); <-done })
	return ln.Addr().String()
}

func TestGRPCHealth(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, max := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, mutual := range []bool{true, false} {
			config := f.ca.Server(f.server)
			config.MaxVersion = max
			if !mutual {
				config.ClientAuth = tls.NoClientCert
			}
			r := f.request(renewer.ProbeGRPCHealth, coordinator(t, config, healthpb.HealthCheckResponse_SERVING), mutual)
			obs, err := New().Probe(t.Context(), r)
			if err != nil || obs.Served != r.Expect.Leaf || mutual != (len(obs.NotChecked) == 1) {
				t.Errorf("%s, mutual %v: saw %+v, %v", tls.VersionName(max), mutual, obs, err)
			}
		}
	}
}

func TestGRPCHealthOfTheUnhealthy(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for says, state := range map[string]healthpb.HealthCheckResponse_ServingStatus{
		"the service says NOT_SERVING":  healthpb.HealthCheckResponse_NOT_SERVING,
		"it has no gRPC health service": healthpb.HealthCheckResponse_UNKNOWN,
	} {
		r := f.request(renewer.ProbeGRPCHealth, coordinator(t, f.ca.Server(f.server), state), true)
		obs, err := New().Probe(t.Context(), r)
		wants(t, err, renewer.ProbeRejected, says)
		if renewer.Hint(err) == "" || obs.Served != r.Expect.Leaf {
			t.Errorf("saw %+v, %v", obs, err)
		}
	}
}

func TestGRPCHealthRefusesOurClient(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.client = newFixture(t).client
	for _, max := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := f.ca.Server(f.server)
		config.MaxVersion = max
		r := f.request(renewer.ProbeGRPCHealth, coordinator(t, config, healthpb.HealthCheckResponse_SERVING), true)
		_, err := New().Probe(t.Context(), r)
		wants(t, err, renewer.ProbeRejected, "refused the connection", "remote error: tls: ")
	}
}

func TestGRPCHealthThatIsLaxOrNotGRPC(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	config := f.ca.Server(f.server)
	config.ClientAuth = tls.VerifyClientCertIfGiven
	r := f.request(renewer.ProbeGRPCHealth, coordinator(t, config, healthpb.HealthCheckResponse_SERVING), true)
	_, err := New().Probe(t.Context(), r)
	wants(t, err, renewer.ProbeLax, "finished the handshake")

	r = f.request(renewer.ProbeGRPCHealth, dockerd(t, f.ca.Server(f.server), api()), true)
	p := New()
	p.step = time.Second
	_, err = p.Probe(t.Context(), r)
	wants(t, err, renewer.ProbeUnreachable, r.Placement.Probe.Address)
}
