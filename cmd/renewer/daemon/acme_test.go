package daemon

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
