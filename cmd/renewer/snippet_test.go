package main

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"renewer/renewer"
)

// The lines of Dagu's page, for each of its modes, and of Dagster's file.
func TestSnippets(t *testing.T) {
	t.Parallel()
	const plaintext = "# Without any of this Dagu talks plaintext (h2c): then no certificate is used, and there is nothing to renew.\n"
	for name, c := range map[string]struct {
		profile string
		files   map[renewer.FileKind]string
		want    string
	}{
		"TLS, coordinator": {"dagu-coordinator", map[renewer.FileKind]string{renewer.FileCert: "coordinator.crt", renewer.FileKey: "coordinator.key"}, plaintext + `# config.yaml
peer:
  insecure: false
  cert_file: /etc/dagu/tls/coordinator.crt
  key_file: /etc/dagu/tls/coordinator.key
# or in the environment
DAGU_PEER_INSECURE=false
DAGU_PEER_CERT_FILE=/etc/dagu/tls/coordinator.crt
DAGU_PEER_KEY_FILE=/etc/dagu/tls/coordinator.key
# or as flags
dagu coordinator --coordinator.host=0.0.0.0 --coordinator.advertise=COORDINATOR --peer.insecure=false --peer.cert-file=/etc/dagu/tls/coordinator.crt --peer.key-file=/etc/dagu/tls/coordinator.key
# no client_ca_file: clients send no certificate, and need the CA of this one alone (profile ca-bundle)
`},
		"TLS, client": {"ca-bundle", map[renewer.FileKind]string{renewer.FileCA: "ca.crt"}, `# the trust bundle
ca: /etc/dagu/tls/ca.crt
# For a Dagu worker, scheduler or web UI where the coordinator asks for no client certificates:
` + plaintext + `# config.yaml
peer:
  insecure: false
  client_ca_file: /etc/dagu/tls/ca.crt
# or in the environment
DAGU_PEER_INSECURE=false
DAGU_PEER_CLIENT_CA_FILE=/etc/dagu/tls/ca.crt
# or as flags
dagu worker --worker.coordinators=COORDINATOR:50055 --peer.insecure=false --peer.client-ca-file=/etc/dagu/tls/ca.crt
`},
		"mTLS, worker": {"dagu-worker", map[renewer.FileKind]string{renewer.FileCA: "server-ca.crt", renewer.FileCert: "worker.crt", renewer.FileKey: "worker.key"}, plaintext + `# config.yaml
peer:
  insecure: false
  cert_file: /etc/dagu/tls/worker.crt
  key_file: /etc/dagu/tls/worker.key
  client_ca_file: /etc/dagu/tls/server-ca.crt
# or in the environment
DAGU_PEER_INSECURE=false
DAGU_PEER_CERT_FILE=/etc/dagu/tls/worker.crt
DAGU_PEER_KEY_FILE=/etc/dagu/tls/worker.key
DAGU_PEER_CLIENT_CA_FILE=/etc/dagu/tls/server-ca.crt
# or as flags
dagu worker --worker.coordinators=COORDINATOR:50055 --peer.insecure=false --peer.cert-file=/etc/dagu/tls/worker.crt --peer.key-file=/etc/dagu/tls/worker.key --peer.client-ca-file=/etc/dagu/tls/server-ca.crt
`},
		"only a bundle of both": {"dagu-coordinator", map[renewer.FileKind]string{renewer.FileBundle: "both.pem"}, "# the files, by what they hold\nbundle: /etc/dagu/tls/both.pem\n"},
	} {
		got, err := snippet(renewer.Detail{Row: renewer.Row{Name: "x"}, Profile: c.profile, Placements: []renewer.PlacementView{{Dir: "/etc/dagu/tls", Files: c.files}}}, allFormats)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.Split(c.want, "\n"), strings.Split(got, "\n")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	docker := map[renewer.FileKind]string{renewer.FileCA: "ca.pem", renewer.FileCert: "client-cert.pem", renewer.FileKey: "client-key.pem"}
	got, err := snippet(renewer.Detail{Profile: "docker-client", Placements: []renewer.PlacementView{{Dir: "/certs", Files: docker}}}, allFormats)
	const dagster = "tls:\n  ca_cert: \"/certs/ca.pem\"\n  client_cert: \"/certs/client-cert.pem\"\n  client_key: \"/certs/client-key.pem\"\n  verify: true\n"
	if err != nil || !strings.Contains(got, dagster) {
		t.Errorf("no lines for dagster.yaml: %v\n%s", err, got)
	}
	mutual := map[renewer.FileKind]string{renewer.FileCA: "client-ca.crt", renewer.FileCert: "coordinator.crt", renewer.FileKey: "coordinator.key"}
	for _, profile := range []string{"dagu-coordinator", "dagu-client", "dagu-all-in-one"} {
		got, err := snippet(renewer.Detail{Profile: profile, Placements: []renewer.PlacementView{{Dir: "/etc/dagu/tls", Files: mutual}}}, allFormats)
		if err != nil || !strings.Contains(got, "  client_ca_file: /etc/dagu/tls/client-ca.crt\n") || !strings.Contains(got, "DAGU_PEER_CLIENT_CA_FILE=/etc/dagu/tls/client-ca.crt\n") {
			t.Errorf("%s: %v\n%s", profile, err, got)
		}
	}
	for profile, line := range map[string]string{
		"dagu-coordinator": "\ndagu coordinator --coordinator.host=0.0.0.0 --coordinator.advertise=coordinator.example.com --peer.insecure=false ",
		"dagu-worker":      "\ndagu worker --worker.coordinators=c1:50055,c2:50055 --peer.insecure=false ",
		"dagu-client":      "\n# what they connect to: c1:50055,c2:50055\n",
		"dagu-all-in-one":  "\ndagu start-all --coordinator.host=0.0.0.0 --coordinator.advertise=coordinator.example.com --peer.insecure=false --peer.cert-file=/etc/dagu/tls/coordinator.crt --peer.key-file=/etc/dagu/tls/coordinator.key --peer.client-ca-file=/etc/dagu/tls/client-ca.crt\n",
	} {
		got, err := snippet(renewer.Detail{
			Row: renewer.Row{SANs: []string{"coordinator.example.com", "10.0.1.2"}}, Profile: profile, Dials: []string{"c1:50055", "c2:50055"},
			Placements: []renewer.PlacementView{{Dir: "/etc/dagu/tls", Files: mutual}},
		}, allFormats)
		if err != nil || !strings.Contains(got, line) || strings.Contains(got, "COORDINATOR") {
			t.Errorf("%s: %v\n%s", profile, err, got)
		}
	}
}

// One format is what a file may hold as a whole, and another one than there is is a
// usage error.
func TestSnippetsOfOneFormat(t *testing.T) {
	t.Parallel()
	mutual := map[renewer.FileKind]string{renewer.FileCA: "ca.crt", renewer.FileCert: "peer.crt", renewer.FileKey: "peer.key"}
	of := func(profile, format string) (string, error) {
		return snippet(renewer.Detail{Row: renewer.Row{Name: "x", SANs: []string{"dagu-1"}}, Profile: profile, Dials: []string{"c1:50055"}, Placements: []renewer.PlacementView{{Dir: "/t", Files: mutual}}}, format)
	}
	for _, profile := range []string{"dagu-coordinator", "dagu-worker", "dagu-client", "dagu-all-in-one"} {
		text, err := of(profile, "yaml")
		var config struct{ Peer map[string]any }
		if err == nil {
			err = yaml.Unmarshal([]byte(text), &config)
		}
		if want := (map[string]any{"insecure": false, "cert_file": "/t/peer.crt", "key_file": "/t/peer.key", "client_ca_file": "/t/ca.crt"}); err != nil || !maps.Equal(config.Peer, want) {
			t.Errorf("%s: %v, %v", profile, config, err)
		}
		text, err = of(profile, "env")
		for line := range strings.Lines(text) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); !ok || !strings.HasPrefix(name, "DAGU_PEER_") || value == "" || strings.ContainsAny(line, " #") {
				t.Errorf("%s: %q is no line of an environment file", profile, line)
			}
		}
		if err != nil || strings.Count(text, "\n") != 4 {
			t.Errorf("%s: %q, %v", profile, text, err)
		}
		text, err = of(profile, "flags")
		if one := strings.Count(text, "\n") == 1 && strings.HasPrefix(text, "dagu "); one != (profile != "dagu-client") || (err == nil) != one {
			t.Errorf("%s: %q, %v", profile, text, err)
		}
	}
	for _, c := range [][2]string{{"dagu-client", "flags"}, {"docker-server", "env"}, {"dagu-worker", "toml"}, {"dagu-worker", "helm"}, {"own", "yaml"}} {
		if text, err := of(c[0], c[1]); err == nil {
			t.Errorf("%v: %s", c, text)
		}
	}
	if text, err := of("dagu-client", allFormats); err != nil || strings.Contains(text, "start-all") {
		t.Errorf("%s, %v", text, err)
	}
}
