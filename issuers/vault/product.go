package vault

import (
	"context"
	"strings"

	"github.com/hashicorp/vault/api"
)

// product is what answers.
type product struct {
	name, cli  string
	namespaces bool // it can have some
}

// OpenBao forked from Vault 1.14 and counts its versions from 2.
func productOf(h *api.HealthResponse) product {
	if major, _, _ := strings.Cut(h.Version, "."); major != "0" && major != "1" && major != "" && !h.Enterprise {
		return product{name: "OpenBao", cli: "bao", namespaces: true}
	}
	return product{name: "Vault", cli: "vault", namespaces: h.Enterprise}
}

func (i *Issuer) learn(h *api.HealthResponse) {
	p := productOf(h)
	i.product.Store(&p)
}

// server is what answers; Vault until something did.
func (i *Issuer) server() product {
	if p := i.product.Load(); p != nil {
		return *p
	}
	return product{name: "Vault", cli: "vault"}
}

// identify asks what it is that answers, for the hints of a refusal.
func (i *Issuer) identify(ctx context.Context) {
	if i.product.Load() != nil {
		return
	}
	client, err := i.anonymous("")
	if err != nil {
		return
	}
	if h, err := client.Sys().HealthWithContext(ctx); err == nil {
		i.learn(h)
	}
}

// fill puts the names of an issuer and of its server into a text.
func (i *Issuer) fill(text string) string {
	if !strings.Contains(text, "{") {
		return text
	}
	c, p := i.cfg, i.server()
	ca, inNamespace := "CA", ""
	if c.IssuerRef != "" {
		ca = "issuer " + c.IssuerRef
	}
	switch {
	case c.Namespace != "":
		inNamespace = "; renewer uses the namespace " + c.Namespace + " (namespace: of issuer {issuer})"
	case p.namespaces:
		inNamespace = "; if it is in a namespace, set namespace: of issuer {issuer} ({cli} namespace list shows them)"
	}
	text = strings.NewReplacer("{refusal}", refusals[c.Auth.Method], "{in_namespace}", inNamespace).Replace(text)
	return strings.NewReplacer(
		"{cli}", p.cli, "{server}", p.name, "{sign}", i.signPath(), "{ca}", ca,
		"{issuer}", c.Name, "{namespace}", c.Namespace, "{mount}", c.Mount, "{role}", c.Role, "{auth}", c.Auth.Mount, "{auth_role}", c.Auth.Role, "{jwt_file}", c.Auth.JWTFile,
		"{role_id_file}", c.Auth.RoleIDFile, "{secret_id_file}", c.Auth.SecretIDFile, "{token_file}", c.Auth.TokenFile, "{cert}", c.Auth.Cert,
	).Replace(text)
}
