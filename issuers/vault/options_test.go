package vault

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.step.sm/crypto/jose"

	"renewer/internal/testpki"
	"renewer/renewer"
	"renewer/renewer/pki"
)

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
	i := g.issuer(t, func(c *Config) { c.Auth, c.RotateSecretID = auth, 29*24*time.Hour })
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

	linked := g.appRoleAuth("renewer")
	link := filepath.Join(t.TempDir(), "secret-id")
	g.must(os.Symlink(linked.SecretIDFile, link))
	linked.SecretIDFile = link
	i = g.issuer(t, func(c *Config) { c.Auth, c.RotateSecretID = linked, 29*24*time.Hour })
	for _, err := range []error{i.LogIn(t.Context()), i.Upkeep(t.Context())} {
		if renewer.ClassOf(err) != misconfigured || !strings.Contains(err.Error(), link+" is not a regular file") {
			t.Errorf("a link: %v", err)
		}
	}

	poor := g.appRoleAuth("poor")
	g.must(os.Chtimes(poor.SecretIDFile, past, past))
	old, err := func() (string, error) { b, err := os.ReadFile(poor.SecretIDFile); return string(b), err }()
	g.must(err)
	i = g.issuer(t, func(c *Config) { c.Auth, c.RotateSecretID = poor, 29*24*time.Hour })
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

// rotatesOnlyWhatLasts: a secret id that logs in once cannot be proven and kept, and
// one that expires before its time is said.
func (g *ground) rotatesOnlyWhatLasts(t *testing.T) {
	past := time.Now().Add(-31 * 24 * time.Hour)
	for name, c := range map[string]struct {
		field, value, want string
		kept               bool
	}{
		"once":     {"secret_id_num_uses", "1", "are valid for one login only", true},
		"too late": {"secret_id_ttl", "24h", "before rotate_secret_id", false},
	} {
		t.Run(name, func(t *testing.T) {
			auth := g.appRoleAuth("renewer")
			g.must(os.Chtimes(auth.SecretIDFile, past, past))
			old, err := os.ReadFile(auth.SecretIDFile)
			g.must(err)
			g.write("auth/"+g.appRole+"/role/renewer", map[string]any{c.field: c.value})
			defer g.write("auth/"+g.appRole+"/role/renewer", map[string]any{c.field: "0"})
			i := g.issuer(t, func(cfg *Config) { cfg.Auth, cfg.RotateSecretID = auth, 29*24*time.Hour })
			err = i.Upkeep(t.Context())
			if renewer.ClassOf(err) != misconfigured || !strings.Contains(err.Error(), c.want) || !strings.Contains(renewer.Hint(err), c.field) {
				t.Errorf("%v; hint %q", err, renewer.Hint(err))
			}
			if now, err := os.ReadFile(auth.SecretIDFile); err != nil || (string(now) == string(old)) != c.kept {
				t.Errorf("the secret id was kept: %v, want %v (%v)", string(now) == string(old), c.kept, err)
			}
			g.signs(t, i)
		})
	}
}

func (g *ground) knowsLongest(t *testing.T) {
	i := g.issuer(t, nil)
	if _, known := i.Longest(); known {
		t.Error("known before it was asked")
	}
	g.must(i.LogIn(t.Context()))
	if l, _ := i.Longest(); l.Longest != 87600*time.Hour || !strings.Contains(l.Raise, "secrets tune -max-lease-ttl=LIFETIME "+g.cfg.Mount) {
		t.Errorf("the mount gives %+v", l)
	}
	g.role(g.cfg.Mount, "docker", map[string]any{"allow_any_name": true, "key_type": "any", "max_ttl": "720h"})
	defer g.role(g.cfg.Mount, "docker", map[string]any{"allow_any_name": true, "key_type": "any"})
	g.must(i.LogIn(t.Context()))
	if l, _ := i.Longest(); l.Longest != 720*time.Hour || !strings.Contains(l.Raise, "/roles/docker max_ttl=") {
		t.Errorf("it gives %+v", l)
	}
}
