package server

import (
	"bytes"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"renewer/internal/testfleet"
	"renewer/internal/testpki"
	"renewer/renewer"
)

// webConfig writes a web_config file and returns its path.
func webConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "web.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func users(t *testing.T, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return "basic_auth_users:\n  ops: " + string(hash) + "\n"
}

func serverFiles(t *testing.T, ca *testpki.CA) (text string) {
	t.Helper()
	cert, key := ca.Leaf(t, testpki.Options{SANs: []string{"127.0.0.1"}}).Write(t, t.TempDir())
	return "tls_server_config:\n  cert_file: " + cert + "\n  key_file: " + key + "\n"
}

// everyRoute is one path of each route of the port.
var everyRoute = []string{
	"/", "/certificates/docker@host-b", "/certificates/none", "/hosts", "/hosts/host-b", "/issuers", "/trust", "/events",
	"/certificates.csv", "/certificates.json", "/assets/page.css", "/assets/page.js", "/assets/icon.svg", "/metrics", "/healthz", "/readyz", "/crl/fleet-ca", "/nothing",
}

func TestWebConfigGuardsEveryRoute(t *testing.T) {
	t.Parallel()
	ca := testpki.New(t)
	st := &fakeState{}
	s, _ := served(t, Options{
		Service: &fakeService{}, State: st, Metrics: NewMetrics("1", st), Pages: testfleet.EveryState(start), CRL: lists,
		Port: Port{Listen: "127.0.0.1:0", WebConfig: webConfig(t, serverFiles(t, ca)+users(t, "hunter2"))},
	})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}}}
	defer client.CloseIdleConnections()
	ask := func(path, password string) (int, http.Header) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if password != "" {
			req.SetBasicAuth("ops", password)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode, resp.Header
	}
	for _, path := range everyRoute {
		for _, password := range []string{"", "wrong"} {
			if status, _ := ask(path, password); status != http.StatusUnauthorized {
				t.Errorf("%s with password %q: %d", path, password, status)
			}
		}
		status, head := ask(path, "hunter2")
		want := map[string]int{"/certificates/none": 404, "/nothing": 404, "/readyz": 503}[path]
		if want == 0 {
			want = 200
		}
		if status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
		secured(t, path, head)
	}
	if status, _, _ := plain(t, s, "/"); status != http.StatusBadRequest { // http to an https port
		t.Errorf("in clear: %d", status)
	}
}

func plain(t *testing.T, s *Server, path string) (int, string, http.Header) {
	t.Helper()
	return ask(t, s, http.MethodGet, path)
}

func TestOtherMachinesAreNotLetInByAccident(t *testing.T) {
	t.Parallel()
	ca := testpki.New(t)
	root := filepath.Join(t.TempDir(), "ca.pem")
	testpki.WriteFile(t, root, ca.PEM(), 0o600)
	mutual := func(policy string) string {
		return serverFiles(t, ca) + "  client_auth_type: " + policy + "\n  client_ca_file: " + root + "\n"
	}
	for name, x := range map[string]struct {
		port    Port
		refused bool
		warns   string
	}{
		"loopback":                    {Port{Listen: "127.0.0.1:0"}, false, ""},
		"every address":               {Port{Listen: "0.0.0.0:0"}, true, ""},
		"said twice":                  {Port{Listen: "0.0.0.0:0", AllowUnauthenticated: true}, false, "anyone who reaches"},
		"passwords over TLS":          {Port{Listen: "0.0.0.0:0", WebConfig: webConfig(t, serverFiles(t, ca)+users(t, "x"))}, false, ""},
		"passwords in clear":          {Port{Listen: "0.0.0.0:0", WebConfig: webConfig(t, users(t, "x"))}, false, "in clear"},
		"TLS alone":                   {Port{Listen: "0.0.0.0:0", WebConfig: webConfig(t, serverFiles(t, ca))}, true, ""},
		"client certificates":         {Port{Listen: "0.0.0.0:0", WebConfig: webConfig(t, mutual("RequireAndVerifyClientCert"))}, false, ""},
		"any client certificate":      {Port{Listen: "0.0.0.0:0", WebConfig: webConfig(t, mutual("RequireAnyClientCert"))}, true, ""},
		"a client certificate if any": {Port{Listen: "0.0.0.0:0", WebConfig: webConfig(t, mutual("VerifyClientCertIfGiven"))}, true, ""},
	} {
		var log bytes.Buffer
		l, err := x.port.listen(slog.New(slog.NewTextHandler(&log, nil)))
		if err == nil {
			_ = l.Close()
		}
		if refused := err != nil; refused != x.refused {
			t.Errorf("%s: %v", name, err)
		}
		if x.refused && !strings.Contains(renewer.Hint(err), "allow_unauthenticated: true") {
			t.Errorf("%s: the hint is %q", name, renewer.Hint(err))
		}
		if !strings.Contains(log.String(), x.warns) || x.warns == "" && log.Len() > 0 {
			t.Errorf("%s: the log says %q", name, log.String())
		}
	}
}

func TestBadWebConfigIsNamedWithoutItsSecrets(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "web.yaml")
	for text, want := range map[string]string{
		"basic_auth_users: hunter2\n":                                  "cannot unmarshal",
		"basic_auth_users: {ops: hunter2}\n":                           "bcrypt",
		"basic_auth_user: {ops: hunter2}\n":                            "basic_auth_user not found",
		"tls_server_config: {cert_file: /nowhere.pem, key_file: /k}\n": "/nowhere.pem",
		"tls_server_config: {client_auth_type: NoClientCert}\n":        "cert_file",
		"http_server_config: {headers: {Set-Cookie: hunter2}}\n":       "Set-Cookie",
		strings.Repeat("# hunter2\n", maxWebConfig/10+1):               "larger than 1 MiB",
		"\tnot: yaml\n": "yaml",
	} {
		path := webConfig(t, text)
		err := Port{WebConfig: path}.Check()
		if err == nil || !strings.Contains(err.Error(), "web_config "+path+": ") || !strings.Contains(err.Error(), want) || renewer.Hint(err) == "" {
			t.Errorf("%.40q: %v", text, err)
		} else if strings.Contains(err.Error()+renewer.Hint(err), "hunter2") {
			t.Errorf("%.40q: a secret is shown: %v", text, err)
		}
		if _, err := New(Options{Socket: filepath.Join(t.TempDir(), "s"), Port: Port{Listen: "127.0.0.1:0", WebConfig: path}, State: &fakeState{}, Metrics: NewMetrics("", &fakeState{}), Log: quiet}); err == nil {
			t.Errorf("%.40q: the server starts", text)
		}
	}
	if err := (Port{WebConfig: missing}).Check(); err == nil || !strings.Contains(err.Error(), missing+": no such file") {
		t.Errorf("a missing file: %v", err)
	}
	if err := (Port{}).Check(); err != nil {
		t.Errorf("no file: %v", err)
	}
}
