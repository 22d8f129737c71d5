package vault

import (
	"crypto/ed25519"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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
	h := issuertest.Harness{
		New:  func(t *testing.T) issuertest.Issuer { return g.issuer(g.t, nil) },
		Keys: []renewer.KeyType{renewer.ECDSAP256, renewer.ECDSAP384, renewer.Ed25519, renewer.RSA2048},
		Adds: true, Secrets: g.secrets, Faults: faults,
		Replace: func(t *testing.T) (issuertest.Issuer, func()) {
			return g.issuer(t, func(c *Config) { c.Mount = g.id + "-two" }), func() {
				g.write(g.id+"-two/config/issuers", map[string]any{"default": "second"})
			}
		},
		Limited: func(t *testing.T) (issuertest.Issuer, time.Duration) {
			return g.issuer(t, func(c *Config) { c.Role = "limited" }), 720 * time.Hour
		},
	}
	if g.server != nil {
		h.Outage = func(t *testing.T) (issuertest.Issuer, func(), func()) {
			g := standIn(t)
			i := g.issuer(t, func(c *Config) { c.RootsFile = filepath.Join(t.TempDir(), "roots", "corp-vault.pem") })
			return i, func() { g.server.Fail(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }) }, func() { g.server.Fail(nil) }
		}
		h.Watched = func(t *testing.T, onCall func()) issuertest.Issuer {
			g := standIn(t)
			g.server.Fail(func(http.ResponseWriter, *http.Request) bool { onCall(); return false })
			return g.issuer(t, nil)
		}
	}
	issuertest.Run(t, h)
	t.Run("ways in", func(t *testing.T) { g.waysIn(t) })
	t.Run("names are the order's", func(t *testing.T) { g.exactNames(t) })
	t.Run("the ttl is held to the role", func(t *testing.T) { g.shortened(t) })
	t.Run("revoke", func(t *testing.T) { g.revokes(t) })
	t.Run("token revoked while in use", func(t *testing.T) { g.losesToken(t) })
	t.Run("log in finds", func(t *testing.T) { g.logInFinds(t) })
	t.Run("one of several issuers", func(t *testing.T) { g.namesIssuer(t) })
	t.Run("root that stays offline", func(t *testing.T) { g.offlineRoot(t) })
	t.Run("secret id replaced", func(t *testing.T) { g.rotates(t) })
	t.Run("secret id that does not last", func(t *testing.T) { g.rotatesOnlyWhatLasts(t) })
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
		"root_file of another CA": g.ordered(mis, func(c *Config) { c.RootFile = g.file("root.pem", string(testpki.New(g.t).PEM())) }, nil, "root_file", "does not have that root"),
		"token revoked":           g.ordered(mis, func(c *Config) { c.Auth = Auth{Method: "token", TokenFile: g.file("token", gone)} }, nil, "expired, was revoked"),
		"secret id file missing":  g.ordered(mis, func(c *Config) { c.Auth.SecretIDFile = "/nonexistent/secret-id" }, nil, "secret_id_file", "/nonexistent/secret-id"),
		"token file is garbage":   g.ordered(mis, func(c *Config) { c.Auth = Auth{Method: "token", TokenFile: g.file("token", "\xd0\x8f\x01\xfe\x00")} }, nil, "token_file", "is not a text file"),
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
