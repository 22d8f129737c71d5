package vault

import (
	"strings"
	"testing"

	"renewer/internal/testvault"
	"renewer/renewer"
)

// A namespace that was left out looks like a mount or a login that is not
// there: the hint names it where the server has namespaces, and only there.
func TestNamespaceLeftOutIsNamed(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(c *Config){
		"mount": func(c *Config) { c.Mount += "-in-a-namespace" },
		"login": func(c *Config) { c.Auth.Mount += "-in-a-namespace" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := on(t, testvault.StartBao(t, recordings))
			err := signError(t, g.issuer(t, spoil))
			check(t, g, err, misconfigured, "set namespace: of issuer corp-vault (bao namespace list shows them)")

			g = standIn(t)
			if err := signError(t, g.issuer(t, spoil)); strings.Contains(renewer.Hint(err), "namespace:") {
				t.Errorf("Vault's community edition has none; hint %q", renewer.Hint(err))
			}
		})
	}
}

func TestNamespaceThatIsNotThere(t *testing.T) {
	t.Parallel()
	g := on(t, testvault.StartBao(t, recordings))
	i := g.issuer(t, func(c *Config) { c.Namespace = "team-a" })
	check(t, g, i.LogIn(t.Context()), misconfigured, "no such namespace: team-a", "bao namespace list")
}

// Hints are commands of the server that answers, before the first login too.
func TestHintsNameTheServersOwnCommand(t *testing.T) {
	t.Parallel()
	for cli, s := range map[string]*testvault.Server{"vault": testvault.Start(t, recordings), "bao": testvault.StartBao(t, recordings)} {
		g := on(t, s)
		err := signError(t, g.issuer(t, func(c *Config) { c.Role = "nope" }))
		check(t, g, err, misconfigured, cli+" list "+g.cfg.Mount+"/roles")
		g.server.Seal(true)
		check(t, g, g.issuer(t, nil).Health(t.Context()), retry, cli+" operator unseal")
		g.server.Seal(false)
	}
}

// A 403 means the policy or the token. One more login tells them apart, and
// orders that a policy forbids do not log in again for each.
func TestADeniedOrderLogsInOnceMore(t *testing.T) {
	t.Parallel()
	g := on(t, testvault.StartBao(t, recordings))
	i := g.issuer(t, nil)
	g.signs(t, i)
	g.write("sys/policies/acl/"+g.id, map[string]any{"policy": `path "other" { capabilities = ["update"] }`})
	logins := g.server.Count("/login")
	for range 5 {
		check(t, g, signError(t, i), misconfigured, "policy does not allow it", "capabilities")
	}
	if n := g.server.Count("/login") - logins; n != 1 {
		t.Errorf("%d logins for five orders", n)
	}
}

// A secret id that logs in once is not lost to a request that is not allowed.
func TestADeniedRequestKeepsItsToken(t *testing.T) {
	t.Parallel()
	g := on(t, testvault.StartBao(t, recordings))
	i := g.issuer(t, nil)
	g.signs(t, i)
	g.server.Replay("/login", "auth-approle-login-secret-id-used-up")
	if err := i.Revoke(t.Context(), renewer.Revocation{Certificate: "docker@host-b", Serial: "0a"}); err == nil {
		t.Fatal("revoked what was never issued")
	}
	g.write("sys/policies/acl/"+g.id, map[string]any{"policy": `path "` + g.cfg.Mount + `/sign/docker" { capabilities = ["update"] }`})
	check(t, g, i.Revoke(t.Context(), renewer.Revocation{Certificate: "docker@host-b", Serial: "0a"}), misconfigured, "secret id")
	g.signs(t, i)
}
