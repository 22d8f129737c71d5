package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"renewer/internal/testpki"
	"renewer/internal/teststepca"
	"renewer/internal/testvault"
	"renewer/renewer/pki"
)

// remoteScenarios replace the root of a CA that is a server.
var remoteScenarios = []scenario{
	{name: "step-ca, a root that is not federated", start: underStepCA("a"), steps: then(underStepCA("b")), svc: "b", cli: "b"},
	{
		name:  "step-ca, a root that is federated with the old one for a while",
		start: underStepCA("a"), steps: then(underStepCA("b", "a"), federationEnds), svc: "b", cli: "b",
	},
	{name: "Vault, another root in the mount", start: underVault("a"), steps: then(underVault("b")), svc: "b", cli: "b"},
	{name: "Vault, another root while renewer runs", start: underVault("a"), steps: then(whileRunning(underVault("b"))), svc: "b", cli: "b"},
}

// underStepCA is a fleet under a step-ca whose root gets that name; the one before
// is gone. It vouches for the roots of those it federates with.
func underStepCA(name string, federated ...string) func(*world) {
	return func(w *world) {
		w.t.Helper()
		var o teststepca.Options
		for _, other := range federated {
			file := w.in(other + ".pem")
			testpki.WriteFile(w.t, file, w.cas[other].PEM(), 0o600)
			o.Federated = append(o.Federated, file)
		}
		must(w.t, os.Mkdir(w.in("step-"+name), 0o700))
		ca, err := teststepca.Start(w.in("step-"+name), o)
		must(w.t, err)
		if w.step != nil {
			must(w.t, w.step.Stop())
		}
		w.t.Cleanup(func() { must(w.t, ca.Stop()) })
		w.step, w.cas[name] = ca, &testpki.CA{Cert: ca.Intermediate, Root: ca.Root}
		w.want(strings.NewReplacer("URL", ca.URL, "FINGERPRINT", ca.Fingerprint, "PASSWORD", ca.PasswordFile).Replace(
			`corp: {type: step-ca, url: "URL", root_fingerprint: FINGERPRINT, provisioner: renewer, password_file: PASSWORD}`),
			"issuer: corp", "issuer: corp")
	}
}

// federationEnds has the step-ca vouch for its own root alone.
func federationEnds(w *world) {
	w.t.Helper()
	must(w.t, w.step.Stop())
	text, err := os.ReadFile(w.step.ConfigFile)
	must(w.t, err)
	var config map[string]any
	must(w.t, json.Unmarshal(text, &config))
	delete(config, "federatedRoots")
	text, err = json.Marshal(config)
	must(w.t, err)
	must(w.t, os.WriteFile(w.step.ConfigFile, text, 0o600))
	must(w.t, w.step.Start())
}

// underVault is a fleet under a Vault whose mount has a new root of that name.
func underVault(name string) func(*world) {
	return func(w *world) {
		w.t.Helper()
		first := w.vault == nil
		if first {
			w.vault = testvault.Start(w.t, "../../../issuers/vault/testdata")
		}
		id, secret := w.vault.Ready("pki", "docker") // makes another root and intermediate each time
		w.cas[name] = &testpki.CA{Root: vaultRoot(w.t, w.vault, "pki")}
		if !first {
			return
		}
		for file, text := range map[string]string{"role-id": id, "secret-id": secret, "vault-ca.pem": string(w.vault.Trust)} {
			testpki.WriteFile(w.t, filepath.Join(w.dir, file), []byte(text), 0o600)
		}
		w.want(`corp: {type: vault, address: "`+w.vault.URL+`", ca_cert: DIR/vault-ca.pem, mount: pki, role: docker, auth: {method: approle, role_id_file: DIR/role-id, secret_id_file: DIR/secret-id}}`,
			"issuer: corp", "issuer: corp")
	}
}

// vaultRoot asks a Vault for the root of its mount.
func vaultRoot(t *testing.T, s *testvault.Server, mount string) *x509.Certificate {
	t.Helper()
	trust := x509.NewCertPool()
	trust.AppendCertsFromPEM(s.Trust)
	c := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}}
	ask, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/v1/"+mount+"/cert/ca_chain", nil)
	must(t, err)
	ask.Header.Set("X-Vault-Request", "true")
	answer, err := c.Do(ask)
	must(t, err)
	defer answer.Body.Close()
	var chain struct{ Data struct{ Certificate string } }
	must(t, json.NewDecoder(answer.Body).Decode(&chain))
	certs, err := pki.DecodeCertificates([]byte(chain.Data.Certificate))
	must(t, err)
	return certs[len(certs)-1]
}
