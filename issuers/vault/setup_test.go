package vault

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"renewer/internal/testpki"
	"renewer/internal/testvault"
	"renewer/renewer"
)

const recordings = "testdata"

// ground is a Vault that was set up for the tests, the stand-in or a real one:
// the calls are the same, in the order and form in which they were recorded.
// Every path has a random part, and all is taken away at the end.
type ground struct {
	t       testing.TB
	admin   *api.Client
	cfg     Config // works
	id      string // random
	appRole string // path of the auth method
	root    string // file of the root above the intermediates
	server  *testvault.Server
	secrets []string
}

// standIn sets a stand-in of Vault up.
func standIn(t testing.TB) *ground {
	t.Helper()
	return on(t, testvault.Start(t, recordings))
}

// on sets a stand-in up.
func on(t testing.TB, s *testvault.Server) *ground {
	t.Helper()
	trust := filepath.Join(t.TempDir(), "vault-ca.pem")
	testpki.WriteFile(t, trust, s.Trust, 0o644)
	cfg := api.DefaultConfig()
	if cfg.Error != nil {
		t.Fatal(cfg.Error)
	}
	cfg.Address, cfg.AgentAddress = s.URL, ""
	if err := cfg.ConfigureTLS(&api.TLSConfig{CACert: trust}); err != nil {
		t.Fatal(err)
	}
	admin, err := api.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	admin.SetToken(testvault.RootToken)
	admin.ClearNamespace()
	g := &ground{t: t, admin: admin, server: s, cfg: Config{Address: s.URL, CACert: trust}}
	t.Cleanup(cfg.HttpClient.CloseIdleConnections)
	g.prepare()
	return g
}

// prepare mounts and configures everything.
func (g *ground) prepare() {
	t := g.t
	t.Helper()
	random := make([]byte, 6)
	_, _ = rand.Read(random) // never fails
	g.id = "renewer-test-" + hex.EncodeToString(random)
	pki, root := g.id+"-pki", g.id+"-root"
	g.mount(root)
	g.mount(pki)
	g.mount(g.id + "-empty")
	g.mount(g.id + "-nochain")
	ca := g.write(root+"/root/generate/internal", map[string]any{
		"common_name": "renewer Test Root CA", "issuer_name": "root-2026", "key_bits": 256, "key_type": "ec", "ttl": "87600h",
	})
	rootPEM := ca["certificate"].(string)
	g.root = g.file("root.pem", rootPEM)
	g.intermediate(pki, root, rootPEM)
	g.intermediate(g.id+"-nochain", root, "")
	for _, m := range []string{pki, g.id + "-nochain", g.id + "-empty"} {
		g.role(m, "docker", map[string]any{"allow_any_name": true, "key_type": "any"})
	}
	g.role(pki, "narrow", map[string]any{
		"allow_ip_sans": false, "allow_subdomains": true, "allowed_domains": []string{"hosts.example.test"}, "key_bits": 256, "key_type": "ec", "max_ttl": "720h", "ttl": "168h",
	})
	g.second(pki)
	two := g.id + "-two"
	g.mount(two)
	g.intermediate(two, root, rootPEM)
	g.second(two)
	g.role(two, "docker", map[string]any{"allow_any_name": true, "key_type": "any"})
	g.role(pki, "limited", map[string]any{"allow_any_name": true, "key_type": "any", "max_ttl": "720h"})
	g.role(pki, "nostore", map[string]any{"allow_any_name": true, "key_type": "any", "no_store": true})
	g.role(pki, "lease", map[string]any{"allow_any_name": true, "key_type": "any", "generate_lease": true})

	policy := strings.NewReplacer("PKI", pki, "ID", g.id).Replace(`path "PKI/sign/*" { capabilities = ["update"] }
path "PKI/issuer/+/sign/docker" { capabilities = ["update"] }
path "PKI/revoke" { capabilities = ["update"] }
path "PKI/roles/docker" { capabilities = ["read"] }
path "sys/mounts/PKI/tune" { capabilities = ["read"] }
path "ID-nochain/sign/docker" { capabilities = ["update"] }
path "ID-two/sign/docker" { capabilities = ["update"] }
path "ID-empty/sign/docker" { capabilities = ["update"] }
path "auth/ID-approle/role/renewer/secret-id" { capabilities = ["update"] }
path "auth/ID-approle/role/renewer/secret-id/destroy" { capabilities = ["update"] }
`)
	g.write("sys/policies/acl/"+g.id, map[string]any{"policy": policy})
	g.cleanUp("sys/policies/acl/" + g.id)
	g.appRole = g.id + "-approle"
	g.enable(g.appRole, "approle")
	g.write("auth/"+g.appRole+"/role/renewer", map[string]any{
		"secret_id_ttl": "720h", "token_max_ttl": "1h", "token_policies": []string{g.id}, "token_ttl": "20m",
	})
	// One with the default policy alone.
	g.write("auth/"+g.appRole+"/role/poor", map[string]any{"secret_id_ttl": "720h", "token_max_ttl": "1h", "token_ttl": "20m"})
	g.cfg.Name, g.cfg.Mount, g.cfg.Role = "corp-vault", pki, "docker"
	g.cfg.Auth = g.appRoleAuth("renewer")
	if g.server != nil {
		t.Cleanup(func() { g.server.Fail(nil); g.server.Seal(false) }) // the admin's client waits and asks again
	}
}

func (g *ground) mount(path string) {
	g.t.Helper()
	ctx := context.Background()
	g.must(g.admin.Sys().MountWithContext(ctx, path, &api.MountInput{Type: "pki", Description: "renewer's tests", Config: api.MountConfigInput{MaxLeaseTTL: "87600h"}}))
	g.t.Cleanup(func() { g.clean(path, g.admin.Sys().UnmountWithContext(ctx, path)) })
}

// second makes another issuer in a mount, with a root of its own.
func (g *ground) second(mount string) {
	g.t.Helper()
	g.write(mount+"/root/generate/internal", map[string]any{
		"common_name": "renewer Test Second CA", "issuer_name": "second", "key_bits": 256, "key_type": "ec", "ttl": "87600h",
	})
}

// intermediate makes a CA below root; above is imported with it.
func (g *ground) intermediate(mount, root, above string) {
	g.t.Helper()
	csr := g.write(mount+"/intermediate/generate/internal", map[string]any{"common_name": "renewer Test Intermediate CA " + mount, "key_bits": 256, "key_type": "ec"})
	signed := g.write(root+"/root/sign-intermediate", map[string]any{
		"common_name": "renewer Test Intermediate CA " + mount, "csr": csr["csr"], "format": "pem", "ttl": "43800h",
	})
	bundle := signed["certificate"].(string)
	if above != "" {
		bundle += "\n" + above
	}
	g.write(mount+"/intermediate/set-signed", map[string]any{"certificate": bundle})
}

func (g *ground) role(mount, name string, fields map[string]any) {
	g.t.Helper()
	g.write(mount+"/roles/"+name, fields)
}

func (g *ground) enable(path, kind string) {
	g.t.Helper()
	ctx := context.Background()
	g.must(g.admin.Sys().EnableAuthWithOptionsWithContext(ctx, path, &api.EnableAuthOptions{Type: kind}))
	g.t.Cleanup(func() { g.clean("auth/"+path, g.admin.Sys().DisableAuthWithContext(ctx, path)) })
}

// write is an admin's PUT; it returns the data of the answer.
func (g *ground) write(path string, body map[string]any) map[string]any {
	g.t.Helper()
	s, err := g.admin.Logical().WriteWithContext(context.Background(), path, body)
	if err != nil {
		g.t.Fatalf("set up %s: %v", path, err)
	}
	if s == nil {
		return nil
	}
	return s.Data
}

func (g *ground) cleanUp(path string) {
	g.t.Cleanup(func() {
		_, err := g.admin.Logical().DeleteWithContext(context.Background(), path)
		g.clean(path, err)
	})
}

// clean is no reason to fail, but what stays behind is named.
func (g *ground) clean(what string, err error) {
	if err != nil {
		g.t.Logf("cannot take %s away: %v", what, err)
	}
}

func (g *ground) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatalf("set up: %v", err)
	}
}

// secretID makes a secret id of a role of AppRole, wrapped if wrap is not empty.
func (g *ground) secretID(role, wrap string) string {
	g.t.Helper()
	client, err := g.admin.CloneWithHeaders()
	g.must(err)
	client.SetToken(g.admin.Token())
	client.SetWrappingLookupFunc(func(string, string) string { return wrap })
	s, err := client.Logical().WriteWithContext(context.Background(), "auth/"+g.appRole+"/role/"+role+"/secret-id", nil)
	g.must(err)
	var id string
	if wrap != "" {
		id = s.WrapInfo.Token
	} else {
		id = s.Data["secret_id"].(string)
	}
	g.secrets = append(g.secrets, id)
	return id
}

func (g *ground) roleID(role string) string {
	g.t.Helper()
	s, err := g.admin.Logical().ReadWithContext(context.Background(), "auth/"+g.appRole+"/role/"+role+"/role-id")
	g.must(err)
	return s.Data["role_id"].(string)
}

// appRoleAuth is a login that works, from files of its own.
func (g *ground) appRoleAuth(role string) Auth {
	g.t.Helper()
	return Auth{
		Method: "approle", Mount: g.appRole,
		RoleIDFile: g.file("role-id", g.roleID(role)), SecretIDFile: g.file("secret-id", g.secretID(role, "")),
	}
}

// token logs in by AppRole and returns the token.
func (g *ground) token(role string) string {
	g.t.Helper()
	s, err := g.admin.Logical().WriteWithContext(context.Background(), "auth/"+g.appRole+"/login",
		map[string]any{"role_id": g.roleID(role), "secret_id": g.secretID(role, "")})
	g.must(err)
	g.secrets = append(g.secrets, s.Auth.ClientToken)
	return s.Auth.ClientToken
}

// revoke ends a token, as itself.
func (g *ground) revoke(token string) {
	g.t.Helper()
	client, err := g.admin.CloneWithHeaders()
	g.must(err)
	client.SetToken(token)
	g.must(client.Auth().Token().RevokeSelfWithContext(context.Background(), ""))
}

// file writes a secret into a file of its own.
func (g *ground) file(name, content string) string {
	g.t.Helper()
	path := filepath.Join(g.t.TempDir(), name)
	testpki.WriteFile(g.t, path, []byte(content+"\n"), 0o600)
	return path
}

// issuer makes one from the configuration that works, changed by f.
func (g *ground) issuer(t testing.TB, f func(cfg *Config)) *Issuer {
	t.Helper()
	cfg := g.cfg
	if f != nil {
		f(&cfg)
	}
	i, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.Close() })
	return i
}

func order(t testing.TB, f func(o *renewer.Order)) renewer.Order {
	t.Helper()
	o := renewer.Order{Certificate: "docker@host-b", Key: testpki.Key(t), Request: renewer.Request{
		Issuer: "corp-vault", CommonName: "host-b.example.com", SANs: []string{"10.0.1.2", "host-b", "host-b.example.com"},
		Usages: []renewer.Usage{renewer.UsageServer}, Key: renewer.ECDSAP256, Lifetime: time.Hour,
	}}
	if f != nil {
		f(&o)
	}
	return o
}
