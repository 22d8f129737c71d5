package vault

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.step.sm/crypto/jose"
	"go.uber.org/goleak"

	"renewer/internal/testpki"
	"renewer/internal/testvault"
	"renewer/issuers/issuertest"
	"renewer/renewer"
	"renewer/renewer/engine"
	"renewer/renewer/pki"
)

var (
	_ engine.Issuer  = (*Issuer)(nil)
	_ engine.Revoker = (*Issuer)(nil)
	_ engine.LogIn   = (*Issuer)(nil)
	_ engine.Clocked = (*Issuer)(nil)
	_ engine.Limited = (*Issuer)(nil)
	_ engine.Upkeep  = (*Issuer)(nil)
)

func TestMain(m *testing.M) {
	if os.Getenv(serveEnv) != "" {
		os.Exit(serveRecordings())
	}
	goleak.VerifyTestMain(m)
}

func TestSuite(t *testing.T) {
	t.Parallel()
	suite(t, standIn(t))
}

func TestSuiteOnOpenBao(t *testing.T) {
	t.Parallel()
	suite(t, on(t, testvault.StartBao(t, recordings)))
}

// suite is what every Vault passes, the stand-in and a real one.
func suite(t *testing.T, g *ground) {
	faults := g.faults()
	issuertest.Run(t, issuertest.Harness{
		New:  func(t *testing.T) issuertest.Issuer { return g.issuer(g.t, nil) },
		Keys: []renewer.KeyType{renewer.ECDSAP256, renewer.ECDSAP384, renewer.Ed25519, renewer.RSA2048},
		Adds: true, Secrets: g.secrets, Faults: faults,
	})
	t.Run("ways in", func(t *testing.T) { g.waysIn(t) })
	t.Run("names are the order's", func(t *testing.T) { g.exactNames(t) })
	t.Run("the ttl is held to the role", func(t *testing.T) { g.shortened(t) })
	t.Run("revoke", func(t *testing.T) { g.revokes(t) })
	t.Run("token revoked while in use", func(t *testing.T) { g.losesToken(t) })
	t.Run("log in finds", func(t *testing.T) { g.logInFinds(t) })
	t.Run("one of several issuers", func(t *testing.T) { g.namesIssuer(t) })
	t.Run("root that stays offline", func(t *testing.T) { g.offlineRoot(t) })
	t.Run("secret id replaced", func(t *testing.T) { g.rotates(t) })
	t.Run("longest lifetime", func(t *testing.T) { g.knowsLongest(t) })
}

// ordered is a fault that an order meets.
func (g *ground) ordered(class renewer.Class, cfg func(c *Config), spoil func(o *renewer.Order), contains ...string) issuertest.Fault {
	return issuertest.Fault{Class: class, Contains: contains, Provoke: func(t *testing.T) error {
		_, err := g.issuer(t, cfg).Sign(t.Context(), order(t, spoil))
		return err
	}}
}

func (g *ground) faults() map[string]issuertest.Fault {
	const mis = renewer.ClassMisconfigured
	_, edKey, err := ed25519.GenerateKey(nil)
	g.must(err)
	narrow := func(c *Config) { c.Role = "narrow" }
	good := func(o *renewer.Order) {
		o.CommonName, o.SANs = "a.hosts.example.test", []string{"a.hosts.example.test"}
	}
	poor, wrong := g.appRoleAuth("poor"), g.cfg.Auth
	wrong.SecretIDFile = g.file("secret-id", "00000000-0000-0000-0000-000000000000")
	gone := g.token("renewer")
	g.revoke(gone)
	spent := g.appRoleAuth("renewer")
	spent.Wrapped, spent.SecretIDFile = true, g.file("secret-id", g.secretID("renewer", "5m"))
	if err := g.issuer(g.t, func(c *Config) { c.Auth = spent }).LogIn(g.t.Context()); err != nil {
		g.t.Fatalf("log in with a wrapped secret id: %v", err)
	}
	m := map[string]issuertest.Fault{
		"role unknown":            g.ordered(mis, func(c *Config) { c.Role = "nope" }, nil, "corp-vault", "docker@host-b", "nope", "unknown role"),
		"mount unknown":           g.ordered(mis, func(c *Config) { c.Mount += "-typo" }, nil, g.cfg.Mount+"-typo"),
		"mount without CA":        g.ordered(mis, func(c *Config) { c.Mount = g.id + "-empty" }, nil, g.id+"-empty"),
		"root not imported":       g.ordered(mis, func(c *Config) { c.Mount = g.id + "-nochain" }, nil, g.id+"-nochain", "renewer Test Root CA", "not in the mount"),
		"policy":                  g.ordered(mis, func(c *Config) { c.Auth = poor }, nil, "policy does not allow it"),
		"leases":                  g.ordered(mis, func(c *Config) { c.Role = "lease" }, nil, "generate_lease"),
		"wrong secret id":         g.ordered(mis, func(c *Config) { c.Auth = wrong }, nil, "log in", "secret id"),
		"no auth method":          g.ordered(mis, func(c *Config) { c.Auth.Mount = g.id + "-other" }, nil, "auth/"+g.id+"-other"),
		"wrapping token used":     g.ordered(mis, func(c *Config) { c.Auth = spent }, nil, "unwrap", spent.SecretIDFile, "used already"),
		"issuer_ref unknown":      g.ordered(mis, func(c *Config) { c.IssuerRef = "nope" }, nil, "has no issuer nope"),
		"root_file missing":       g.ordered(mis, func(c *Config) { c.RootFile = "/nonexistent/root.pem" }, nil, "root_file", "/nonexistent/root.pem"),
		"root_file of another CA": g.ordered(mis, func(c *Config) { c.RootFile = g.file("root.pem", string(testpki.New(g.t).PEM())) }, nil, "root_file", "does not hold that root"),
		"token revoked":           g.ordered(mis, func(c *Config) { c.Auth = Auth{Method: "token", TokenFile: g.file("token", gone)} }, nil, "expired, was revoked"),
		"secret id file missing":  g.ordered(mis, func(c *Config) { c.Auth.SecretIDFile = "/nonexistent/secret-id" }, nil, "secret_id_file", "/nonexistent/secret-id"),
		"secret id file empty":    g.ordered(mis, func(c *Config) { c.Auth.SecretIDFile = g.file("secret-id", "") }, nil, "is empty"),
		"ca_cert missing":         g.ordered(mis, func(c *Config) { c.CACert = "/nonexistent/ca.pem" }, nil, "ca_cert", "/nonexistent/ca.pem"),
		"ca_cert is no PEM":       g.ordered(mis, func(c *Config) { c.CACert = g.file("ca.pem", "junk") }, nil, "no certificate"),

		"common name":          g.ordered(refused, narrow, func(o *renewer.Order) { o.SANs = nil }, "host-b.example.com", "not allowed"),
		"name":                 g.ordered(refused, narrow, func(o *renewer.Order) { good(o); o.SANs = append(o.SANs, "evil.test") }, "evil.test", "not allowed"),
		"address":              g.ordered(refused, narrow, func(o *renewer.Order) { good(o); o.SANs = append(o.SANs, "10.0.0.1") }, "IP Subject Alternative Names"),
		"no common name":       g.ordered(refused, nil, func(o *renewer.Order) { o.CommonName = "" }, "common_name"),
		"key type":             g.ordered(refused, narrow, func(o *renewer.Order) { good(o); o.Key = edKey }, "keys of type ec"),
		"lifetime past the CA": g.ordered(refused, nil, func(o *renewer.Order) { o.Lifetime = 87000 * time.Hour }, "outlive the CA"),
		"no lifetime":          g.ordered(refused, nil, func(o *renewer.Order) { o.Lifetime = 0 }, "lifetime 0s"),
		"no name":              g.ordered(refused, nil, func(o *renewer.Order) { o.CommonName, o.SANs = "", nil }, "neither"),
	}
	if strings.HasPrefix(g.cfg.Address, "https:") {
		m["ca_cert of another CA"] = g.ordered(mis, func(c *Config) { c.CACert = g.file("ca.pem", string(testpki.New(g.t).PEM())) }, nil, "TLS with https://", "unknown authority")
	}
	return m
}

func (g *ground) signs(t *testing.T, i *Issuer) renewer.Chain {
	t.Helper()
	chain, err := i.Sign(t.Context(), order(t, nil))
	if err != nil {
		t.Fatalf("sign: %v", err)
	}
	return chain
}

// waysIn logs in by each method, with the very files that the fleet file names.
func (g *ground) waysIn(t *testing.T) {
	wrapped := g.appRoleAuth("renewer")
	wrapped.Wrapped, wrapped.SecretIDFile = true, g.file("secret-id", g.secretID("renewer", "5m"))
	ways := map[string]Auth{
		"approle": g.appRoleAuth("renewer"), "wrapped": wrapped,
		"token": {Method: "token", TokenFile: g.file("token", g.token("renewer"))},
	}
	if strings.HasPrefix(g.cfg.Address, "https:") {
		ca := testpki.New(g.t)
		path := g.id + "-cert"
		g.enable(path, "cert")
		g.write("auth/"+path+"/certs/renewer", map[string]any{
			"certificate": string(ca.PEM()), "allowed_common_names": "node-01.hosts.example.test",
			"token_policies": g.id, "token_ttl": "20m", "token_max_ttl": "1h",
		})
		cert, key := ca.Leaf(g.t, testpki.Options{CommonName: "node-01.hosts.example.test"}).Write(g.t, g.t.TempDir())
		ways["cert"] = Auth{Method: "cert", Mount: path, Cert: cert, Key: key}
		ways["cert by role"] = Auth{Method: "cert", Mount: path, Role: "renewer", Cert: cert, Key: key}
	}
	ways["jwt"] = g.jwtAuth()
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			i := g.issuer(t, func(c *Config) { c.Auth = way })
			g.signs(t, i)
			if err := i.LogIn(t.Context()); err != nil {
				t.Errorf("log in again: %v", err)
			}
			g.signs(t, i)
			s := i.session.Load()
			if s.lease <= 0 || s.lease > 20*time.Minute || !s.renewable {
				t.Errorf("the token lasts %s, renewable %v", s.lease, s.renewable)
			}
			if renewed, err := i.renew(t.Context(), s); err != nil || renewed.lease <= 0 {
				t.Errorf("renew: %+v, %v", renewed, err)
			}
		})
	}
}

func (g *ground) exactNames(t *testing.T) {
	o := order(t, func(o *renewer.Order) { o.CommonName, o.SANs = "somebody", []string{"b.example.com", "a.example.com"} })
	chain, err := g.issuer(t, nil).Sign(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	got := renewer.SANs(chain.Leaf)
	slices.Sort(got) // Vault does so itself, OpenBao keeps the order of the CSR
	if !slices.Equal(got, []string{"a.example.com", "b.example.com"}) {
		t.Errorf("the names are %s", got)
	}
}

func (g *ground) shortened(t *testing.T) {
	o := order(t, func(o *renewer.Order) {
		o.CommonName, o.SANs, o.Lifetime = "a.hosts.example.test", []string{"a.hosts.example.test"}, 2000*time.Hour
	})
	i := g.issuer(t, func(c *Config) { c.Role = "narrow" })
	chain, err := i.Sign(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(chain.Leaf.NotAfter).Round(time.Hour); left != 720*time.Hour {
		t.Errorf("it lasts %s; the role gives 720h", left)
	}
	roots, err := i.Roots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = pki.CheckIssued(o, false, chain, roots, time.Now())
	warnings := renewer.NewGeneration(o.Certificate, 1, o.Request, chain, renewer.Renewal{}, time.Now()).Warnings(nil)
	if err != nil || !strings.Contains(strings.Join(warnings, "\n"), "shortened") {
		t.Errorf("warnings %q, %v", warnings, err)
	}
}

func (g *ground) revokes(t *testing.T) {
	i := g.issuer(t, nil)
	ask := func(c *x509.Certificate, whole bool) renewer.Revocation {
		r := renewer.Revocation{Certificate: "docker@host-b", Serial: renewer.SerialHex(c), Reason: renewer.RevokedSuperseded}
		if whole {
			r.Chain.Leaf = c
		}
		return r
	}
	stored := g.signs(t, i).Leaf
	for range 2 { // again is no error
		if err := i.Revoke(t.Context(), ask(stored, false)); err != nil {
			t.Fatal(err)
		}
	}
	forgotten := g.signs(t, g.issuer(t, func(c *Config) { c.Role = "nostore" })).Leaf
	err := i.Revoke(t.Context(), ask(forgotten, false))
	if renewer.ClassOf(err) != refused || !strings.Contains(err.Error(), "never issued it") || renewer.Hint(err) == "" {
		t.Errorf("no_store by serial: %v", err)
	}
	if err := i.Revoke(t.Context(), ask(forgotten, true)); err != nil {
		t.Errorf("no_store by certificate: %v", err)
	}
	poor := g.appRoleAuth("poor")
	err = g.issuer(t, func(c *Config) { c.Auth = poor }).Revoke(t.Context(), ask(stored, true))
	if renewer.ClassOf(err) != misconfigured || !strings.Contains(renewer.Hint(err), g.cfg.Mount+"/revoke") {
		t.Errorf("without the right: %v, hint %q", err, renewer.Hint(err))
	}
	if g.server != nil && (!g.server.Revoked(stored) || !g.server.Revoked(forgotten)) {
		t.Error("Vault knows nothing of it")
	}
}

// losesToken ends the token behind the issuer's back.
func (g *ground) losesToken(t *testing.T) {
	i := g.issuer(t, nil)
	g.signs(t, i)
	first := i.session.Load().client.Token()
	g.revoke(first)
	g.signs(t, i)
	if second := i.session.Load().client.Token(); second == first {
		t.Error("it did not log in again")
	}
}

// logInFinds is what can be said without an order.
func (g *ground) logInFinds(t *testing.T) {
	poor := g.appRoleAuth("poor")
	gone := g.token("renewer")
	g.revoke(gone)
	dead := Auth{Method: "token", TokenFile: g.file("token", gone)}
	for name, c := range map[string]struct {
		cfg  func(c *Config)
		want string
		hint string
	}{
		"dead token": {func(c *Config) { c.Auth = dead }, "has expired, was revoked", dead.TokenFile},
		"policy":     {func(c *Config) { c.Auth = poor }, "policy does not allow it", `path "` + g.cfg.Mount + `/sign/docker"`},
		"root":       {func(c *Config) { c.Mount = g.id + "-nochain" }, "not in the mount", "issuers/import"},
		"mount":      {func(c *Config) { c.Mount += "-typo" }, g.cfg.Mount + "-typo", "secrets list"},
	} {
		t.Run(name, func(t *testing.T) {
			err := g.issuer(t, c.cfg).LogIn(t.Context())
			if renewer.ClassOf(err) != misconfigured || !strings.Contains(err.Error(), c.want) || !strings.Contains(renewer.Hint(err), c.hint) {
				t.Errorf("%v; hint %q", err, renewer.Hint(err))
			}
		})
	}
}

// jwtAuth is a login with a JWT of a key that the server knows.
func (g *ground) jwtAuth() Auth {
	key := testpki.Key(g.t)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	g.must(err)
	now := time.Now()
	jwt, err := jose.Signed(signer).Claims(jose.Claims{
		Issuer: "https://ci.example.test", Subject: "renewer", Audience: jose.Audience{"vault"},
		IssuedAt: jose.NewNumericDate(now), NotBefore: jose.NewNumericDate(now.Add(-time.Minute)), Expiry: jose.NewNumericDate(now.Add(time.Hour)),
	}).CompactSerialize()
	g.must(err)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	g.must(err)
	path := g.id + "-jwt"
	g.enable(path, "jwt")
	g.write("auth/"+path+"/config", map[string]any{"jwt_validation_pubkeys": []string{string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))}})
	role := map[string]any{
		"role_type": "jwt", "bound_audiences": []string{"vault"}, "bound_subject": "renewer", "user_claim": "sub",
		"token_policies": g.id, "token_ttl": "20m", "token_max_ttl": "1h",
	}
	if g.server != nil {
		role["test_jwt"] = jwt
	}
	g.write("auth/"+path+"/role/renewer", role)
	g.secrets = append(g.secrets, jwt)
	return Auth{Method: "jwt", Mount: path, Role: "renewer", JWTFile: g.file("jwt", jwt)}
}

// namesIssuer signs with another issuer than the mount's default.
func (g *ground) namesIssuer(t *testing.T) {
	i := g.issuer(t, func(c *Config) { c.IssuerRef = "second" })
	if err := i.LogIn(t.Context()); err != nil {
		t.Fatal(err)
	}
	chain, roots := g.valid(t, i)
	others, err := g.issuer(t, nil).Roots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(roots) != 1 || roots[0].Equal(others[0]) {
		t.Errorf("the leaf is of %s, the root is %s", chain.Leaf.Issuer, roots[0].Subject)
	}
}

// valid signs an order, and checks the answer as the engine does.
func (g *ground) valid(t *testing.T, i *Issuer) (renewer.Chain, []*x509.Certificate) {
	t.Helper()
	o := order(t, nil)
	chain, err := i.Sign(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	roots, err := i.Roots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pki.CheckIssued(o, false, chain, roots, time.Now()); err != nil {
		t.Error(err)
	}
	return chain, roots
}

// offlineRoot has the root in a file, and another one beside it.
func (g *ground) offlineRoot(t *testing.T) {
	root, err := os.ReadFile(g.root)
	g.must(err)
	next := testpki.New(g.t)
	i := g.issuer(t, func(c *Config) {
		c.Mount, c.RootFile = g.id+"-nochain", g.file("root.pem", string(next.PEM())+string(root))
	})
	if err := i.LogIn(t.Context()); err != nil {
		t.Fatal(err)
	}
	chain, roots := g.valid(t, i)
	if len(roots) != 2 || !roots[1].Equal(next.Root) {
		t.Fatalf("%d roots", len(roots))
	}
	if n := len(chain.Intermediates); n != 1 || chain.Intermediates[0].CheckSignatureFrom(roots[0]) != nil {
		t.Errorf("%d intermediates", n)
	}
}

// rotates replaces a secret id that is old enough.
func (g *ground) rotates(t *testing.T) {
	auth := g.appRoleAuth("renewer")
	read := func() string {
		text, err := os.ReadFile(auth.SecretIDFile)
		g.must(err)
		return strings.TrimSpace(string(text))
	}
	i := g.issuer(t, func(c *Config) { c.Auth, c.RotateSecretID = auth, 30*24*time.Hour })
	if err := i.LogIn(t.Context()); err != nil {
		t.Fatal(err)
	}
	old := read()
	g.must(i.Upkeep(t.Context()))
	if read() != old {
		t.Fatal("a secret id of today was replaced")
	}
	past := time.Now().Add(-31 * 24 * time.Hour)
	g.must(os.Chtimes(auth.SecretIDFile, past, past))
	g.must(i.Upkeep(t.Context()))
	if read() == old {
		t.Fatal("an old secret id was kept")
	}
	g.signs(t, i)
	if err := g.issuer(t, func(c *Config) { c.Auth = auth }).LogIn(t.Context()); err != nil {
		t.Errorf("with the new secret id: %v", err)
	}
	auth.SecretIDFile = g.file("secret-id", old)
	if err := g.issuer(t, func(c *Config) { c.Auth = auth }).LogIn(t.Context()); err == nil {
		t.Error("the old secret id logs in still")
	}

	poor := g.appRoleAuth("poor")
	g.must(os.Chtimes(poor.SecretIDFile, past, past))
	old, err := func() (string, error) { b, err := os.ReadFile(poor.SecretIDFile); return string(b), err }()
	g.must(err)
	i = g.issuer(t, func(c *Config) { c.Auth, c.RotateSecretID = poor, 30*24*time.Hour })
	err = i.Upkeep(t.Context())
	if renewer.ClassOf(err) != misconfigured || !strings.Contains(err.Error(), "policy does not allow it") || renewer.Hint(err) == "" {
		t.Errorf("without the right: %v", err)
	}
	if now, _ := os.ReadFile(poor.SecretIDFile); string(now) != old {
		t.Error("the secret id was replaced without a right to a new one")
	}
	if err := i.Upkeep(t.Context()); err != nil {
		t.Errorf("it is tried again at once: %v", err)
	}
}

func (g *ground) knowsLongest(t *testing.T) {
	i := g.issuer(t, nil)
	if _, _, known := i.Longest(); known {
		t.Error("known before it was asked")
	}
	g.must(i.LogIn(t.Context()))
	if _, _, known := i.Longest(); known {
		t.Error("the role has no limit of its own")
	}
	g.role(g.cfg.Mount, "docker", map[string]any{"allow_any_name": true, "key_type": "any", "max_ttl": "720h"})
	defer g.role(g.cfg.Mount, "docker", map[string]any{"allow_any_name": true, "key_type": "any"})
	g.must(i.LogIn(t.Context()))
	if longest, raise, _ := i.Longest(); longest != 720*time.Hour || !strings.Contains(raise, "/roles/docker max_ttl=") {
		t.Errorf("it gives %s; %s", longest, raise)
	}
}
