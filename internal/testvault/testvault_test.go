package testvault

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"renewer/internal/testpki"
)

const recordings = "../../issuers/vault/testdata"

// ready is a server with all that the recorded requests speak of, under the
// names that they use.
func ready(t *testing.T) (*Server, *http.Client, testpki.Pair) {
	t.Helper()
	s := Start(t, recordings)
	s.Ready("pki", "docker")
	s.mu.Lock()
	role := s.mounts["pki"].roles["docker"]
	maps.Copy(role, map[string]any{"allow_any_name": false, "allowed_domains": []any{"hosts.example.test"}, "allow_subdomains": true, "key_type": "ec", "max_ttl": "720h", "ttl": "168h"})
	for name, change := range map[string]map[string]any{
		"docker-any": {"key_type": "any"}, "docker-rsa": {"key_type": "rsa"}, "docker-noip": {"allow_ip_sans": false, "key_type": "any"},
		"docker-nostore": {"no_store": true}, "docker-lease": {"generate_lease": true}, "docker-long": {"max_ttl": "87600h"},
	} {
		r := maps.Clone(role)
		maps.Copy(r, change)
		s.mounts["pki"].roles[name] = r
	}
	s.mounts["pki-empty"] = &mount{roles: map[string]map[string]any{"docker": role}, issued: map[string]*issued{}}
	s.policy["recorded"] = parsePolicy(`path "pki/sign/*" { capabilities = ["update"] }
path "pki/revoke" { capabilities = ["update"] }
path "pki/roles/docker" { capabilities = ["read"] }`)
	ca := testpki.New(t)
	approle := s.auths["approle"].roles["renewer"]
	approle.policies, approle.roleID, approle.secretIDs = []string{"renewer"}, "PLACEHOLDER-renewer-role-id-1", []string{"PLACEHOLDER-renewer-secret-id-1"}
	s.auths["cert"] = &auth{kind: "cert", roles: map[string]*authRole{"renewer": {policies: []string{"renewer"}, ttl: approle.ttl, trusted: ca.PEM()}}}
	s.wrapped["hvs.PLACEHOLDER-renewer-wrapping-token-1"] = map[string]any{"secret_id": "x", "secret_id_accessor": "a", "secret_id_num_uses": 0, "secret_id_ttl": 1}
	s.mu.Unlock()
	s.AddToken("hvs.PLACEHOLDER-renewer-token-1", approle.ttl, "recorded")
	s.AddToken("hvs.PLACEHOLDER-renewer-token-9", approle.ttl, "recorded")
	revoked := s.Load("token-revoke-self-ok").Request.Headers["X-Vault-Token"]
	s.AddToken(revoked, approle.ttl)
	s.AddToken("hvs.PLACEHOLDER-default-token-1", approle.ttl)
	s.mu.Lock()
	s.tokens["hvs.PLACEHOLDER-root-token"] = s.tokens[RootToken]
	s.tokens["hvb.PLACEHOLDER-renewer-batch-token-1"] = &token{policies: []string{"default"}}
	s.mu.Unlock()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.Trust)
	pair := ca.Leaf(t, testpki.Options{CommonName: "node-01.hosts.example.test"})
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	return s, &http.Client{Transport: transport}, pair
}

// What the stand-in answers to a recorded request has the recorded status,
// headers and shape; a refusal is the recorded one, letter for letter.
func TestAnswersAreAsRecorded(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"auth-approle-login-ok", "auth-approle-login-bad-secret-id", "auth-approle-login-bad-role-id", "auth-approle-login-missing-secret-id",
		"auth-approle-login-mount-not-enabled", "auth-approle-login-with-stale-token", "auth-unwrap-secret-id-ok", "auth-unwrap-expired-token",
		"auth-cert-login-ok", "auth-cert-login-no-client-cert", "auth-secret-id-wrapped",
		"token-lookup-self-ok", "token-renew-self-ok", "token-renew-self-batch-not-renewable", "token-capabilities-self", "token-capabilities-self-deny",
		"token-expired-sign", "token-expired-renew-self", "token-expired-lookup-self", "token-revoke-self-ok",
		"error-no-token", "error-bogus-token", "error-body-not-json", "error-method-not-supported", "error-mount-unknown-denied", "error-mount-unknown-root", "error-path-unknown",
		"sign-ok", "sign-ok-cn-added-to-sans", "sign-ok-role-default-ttl", "sign-ok-no-store", "sign-ok-generate-lease", "sign-ttl-above-max-shortened",
		"sign-denied", "sign-unknown-role", "sign-cn-not-allowed", "sign-dns-san-not-allowed", "sign-ip-san-not-allowed", "sign-bare-domain-not-allowed", "sign-localhost-not-allowed",
		"sign-key-type-not-allowed-ec", "sign-key-type-not-allowed-rsa", "sign-key-type-not-allowed-ed25519", "sign-key-bits-rsa-1024",
		"sign-csr-junk", "sign-csr-bad-signature", "sign-csr-truncated-der", "sign-mount-without-issuer",
		"revoke-unknown-serial", "revoke-malformed-serial", "revoke-no-serial", "revoke-denied",
		"read-cert-ca-chain-json", "read-issuer-json", "read-role-allowed", "read-role-denied",
		"sys-health-unsealed", "setup-01-mount-pki", "setup-02-tune-pki-max-lease", "setup-09-policy-renewer", "setup-10-auth-approle-enable",
		"setup-08-role-docker-write", "setup-11-approle-role-renewer", "setup-12-approle-role-id-read", "setup-13-approle-secret-id-generate", "cert-01-auth-enable", "cert-02-role-renewer",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, client, pair := ready(t)
			if name == "auth-cert-login-ok" {
				client.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{pair.TLS}
			}
			e := s.Load(name)
			status, header, body := send(t, s, client, e)
			if status != e.Response.Status {
				t.Fatalf("status %d, recorded %d: %s", status, e.Response.Status, body)
			}
			for k, v := range e.Response.Headers {
				if got := header.Get(k); k != "Date" && got != v || got == "" {
					t.Errorf("header %s is %q, recorded %q", k, got, v)
				}
			}
			var want, got any
			if err := json.Unmarshal(e.Response.Body, &want); err != nil {
				t.Fatal(err)
			}
			if want == nil {
				if len(body) > 0 {
					t.Errorf("a body where none was recorded: %s", body)
				}
				return
			}
			if err := json.Unmarshal(body, &got); err != nil {
				t.Fatalf("%v: %s", err, body)
			}
			if e.Response.Status >= 400 {
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("it says %s, recorded %s", got, want)
				}
				return
			}
			if g, w := shape("", got), shape("", want); !slices.Equal(g, w) {
				t.Errorf("shape\n%s\nrecorded\n%s", strings.Join(g, "\n"), strings.Join(w, "\n"))
			}
		})
	}
}

func send(t *testing.T, s *Server, client *http.Client, e Exchange) (status int, header http.Header, body []byte) {
	t.Helper()
	var sent io.Reader
	if string(e.Request.Body) != "null" || e.Request.Headers["Content-Length"] == "4" {
		data := []byte(e.Request.Body)
		var text string
		if json.Unmarshal(data, &text) == nil && text != "" {
			data = []byte(text) // what was sent was not JSON
		}
		sent = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(t.Context(), e.Request.Method, s.URL+e.Request.Path, sent)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range e.Request.Headers {
		if strings.HasPrefix(k, "X-Vault-") {
			req.Header.Set(k, v)
		}
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, data
}

// shape lists the paths of a value with the kinds of what is there. Lists
// count as one element, names that hold a path of the mount as one name.
func shape(at string, v any) (out []string) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if at == ".auth.metadata" {
				k = "*"
			}
			out = append(out, shape(at+"."+k, x)...)
		}
	case []any:
		for _, x := range v {
			out = append(out, shape(at+"[]", x)...)
		}
		if len(v) == 0 {
			out = append(out, at+"[]")
		}
	default:
		out = append(out, fmt.Sprintf("%s %T", at, v))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func TestShapeTellsApart(t *testing.T) {
	t.Parallel()
	a := map[string]any{"a": []any{"x", "y"}, "b": nil, "c": 1.0}
	for _, b := range []map[string]any{
		{"a": []any{"x"}, "b": "", "c": 1.0}, {"a": "x", "b": nil, "c": 1.0}, {"a": []any{"x"}, "b": nil}, {"a": []any{1.0}, "b": nil, "c": 1.0},
	} {
		if slices.Equal(shape("", a), shape("", b)) {
			t.Errorf("%v and %v have one shape", a, b)
		}
	}
}
