package vault

import (
	"strings"

	"renewer/renewer"
)

// op is a kind of request.
type op string

const (
	anyOp    op = ""
	opLogIn  op = "log in"
	opUnwrap op = "unwrap"
	opLookUp op = "look up"
	opRenew  op = "renew"
	opSign   op = "sign"
	opRevoke op = "revoke"
	opRoots  op = "roots"
	opRead   op = "read"
	opHealth op = "health"
)

// Hints that more than one place gives; see fill.
const (
	signPolicy = `the token's policy needs: path "{mount}/sign/{role}" { capabilities = ["update"] }; a mistyped mount or role reads the same`
	roleHint   = "vault list {mount}/roles shows the roles; check role of issuer {issuer}"
	noCAHint   = "vault secrets list shows the mounts, vault list {mount}/issuers their CAs; check mount of issuer {issuer}"
	noRootHint = "put the root beside it: vault write {mount}/issuers/import/cert pem_bundle=@root.pem"
	wrapHint   = "a wrapping token works once, and renewer forgets what it gave when it ends: " +
		"put a new one into {secret_id_file} (vault write -wrap-ttl=5m -f auth/{auth}/role/ROLE/secret-id) whenever renewer starts; " +
		"if renewer had not used this one, somebody else has its secret id: revoke that"
)

// rule says what an answer of Vault means. The status alone does not say who
// is at fault: an unknown role is a 400, a CA that is missing is a 500, and
// four kinds of 403 differ only in their text.
type rule struct {
	op     op
	status int    // 0: any
	says   string // part of the text, in lower case
	class  renewer.Class
	what   string // said before Vault's own words
	hint   string
}

const (
	retry         = renewer.ClassRetry
	misconfigured = renewer.ClassMisconfigured
	refused       = renewer.ClassRefused
)

// rules are tried in order. The texts are those of Vault 1.21; what a version
// words differently falls to the last ones.
var rules = []rule{
	{anyOp, 503, "sealed", retry, "Vault is sealed, or not initialized", "vault operator unseal, on the Vault server"},
	{anyOp, 500, "local node not active", retry, "", "the cluster is changing its active node; renewer asks again"},
	{anyOp, 429, "", retry, "", "set a lower rate for issuer {issuer}, or raise the quota: vault list sys/quotas/rate-limit"},
	{anyOp, 412, "", retry, "", ""},

	{opUnwrap, 400, "wrapping token", misconfigured, "the wrapping token in {secret_id_file} was used already or has expired", wrapHint},
	{opUnwrap, 403, "", misconfigured, "the wrapping token in {secret_id_file} was used already or has expired", wrapHint},
	{
		opLogIn, 400, "invalid role or secret id", misconfigured, "Vault knows no such pair of role id and secret id, or the secret id was used up or has expired",
		"vault read auth/{auth}/role/ROLE/role-id and vault write -f auth/{auth}/role/ROLE/secret-id give what belongs into {role_id_file} and {secret_id_file}",
	},
	{opLogIn, 400, "constraints", misconfigured, "the certificate {cert} is not one that Vault lets in", "vault list auth/{auth}/certs shows who is let in: the CA, the names, the role"},
	{opLogIn, 400, "client certificate must be supplied", misconfigured, "", "Vault did not see {cert}: its listener must ask for client certificates, and no proxy may end TLS in between"},
	{opLogIn, 500, "failed to verify client's certificate", misconfigured, "Vault does not accept the certificate {cert}", "renew {cert}, then renewer check --online"},
	{
		opLogIn, 403, "", misconfigured, "the login at auth/{auth} is refused",
		"vault auth list shows whether auth/{auth} is there; {refusal}",
	},
	{opLogIn, 404, "", misconfigured, "", "vault auth list shows whether auth/{auth} is there; check namespace and address of issuer {issuer}"},
	{opLogIn, 400, "", misconfigured, "", "check auth of issuer {issuer}"},
	{opLookUp, 403, "invalid token", misconfigured, "the token in {token_file} has expired, was revoked, or is another Vault's", "put a valid one into {token_file}: vault token create -policy=renewer -period=24h"},

	{anyOp, 403, "invalid token", renewer.ClassReauthenticate, "the token has expired or was revoked", ""},
	{opSign, 403, "", misconfigured, "the policy does not allow it", signPolicy},
	{opRevoke, 403, "", misconfigured, "the policy does not allow it", `the token's policy needs: path "{mount}/revoke" { capabilities = ["update"] }`},
	{opRoots, 0, "issuer", misconfigured, "the mount {mount} has no CA", noCAHint},
	{opRoots, 403, "", misconfigured, "there is no PKI mount {mount}", noCAHint},
	{opRoots, 400, "", misconfigured, "there is no PKI mount {mount}", noCAHint},
	{opLookUp, 403, "", retry, "", ""},

	{anyOp, 404, "no handler for route", misconfigured, "there is no mount {mount}", noCAHint},
	{anyOp, 404, "unsupported path", misconfigured, "the mount {mount} is not a PKI engine", noCAHint},
	{anyOp, 405, "", misconfigured, "the mount {mount} is not a PKI engine", noCAHint},
	{opSign, 500, "issuer", misconfigured, "the mount {mount} has no CA that may sign", "vault list {mount}/issuers; the default one (vault read {mount}/config/issuers) needs the usage issuing-certificates"},
	{opSign, 500, "ca certificate", misconfigured, "the mount {mount} has no CA that may sign", "vault list {mount}/issuers; the default one (vault read {mount}/config/issuers) needs the usage issuing-certificates"},

	{opSign, 400, "unknown role", misconfigured, "the mount {mount} has no role {role}", roleHint},
	{opSign, 400, "notafter before notbefore", misconfigured, "the CA of the mount {mount} has expired", "give the mount a new CA: vault read {mount}/cert/ca"},
	{opSign, 400, "beyond the expiration of the ca", refused, "the certificate would outlive the CA of the mount {mount}", "set a shorter lifetime, or give the mount a CA that lives longer"},
	{opSign, 400, "ip subject alternative", refused, "", "set allow_ip_sans=true on the role {role}, or default_sans: false and sans without addresses"},
	{opSign, 400, "common_name field is required", refused, "", "set common_name, or require_cn=false on the role {role}"},
	{opSign, 400, "not allowed by this role", refused, "", "vault read {mount}/roles/{role}: its allowed_domains, allow_subdomains and allow_bare_domains have to cover the names; or change sans"},
	{opSign, 400, "key", refused, "", "set key: to a type that the role allows (key_type and key_bits of vault read {mount}/roles/{role})"},
	{opSign, 400, "", refused, "", "vault read {mount}/roles/{role} shows what the role allows"},
	{opRevoke, 400, "not found", refused, "Vault never issued it, or has forgotten it", "nothing is left to revoke there; replace the certificate"},
	{opRevoke, 400, "", refused, "", "look at the words of Vault; a replaced certificate needs no revocation where peers look at none"},
}

// judge finds the rule for an answer.
func (i *Issuer) judge(o op, said *answered) (class renewer.Class, what, hint string) {
	text := strings.ToLower(said.says)
	for _, r := range rules {
		if (r.op == anyOp || r.op == o) && (r.status == 0 || r.status == said.status) && strings.Contains(text, r.says) {
			return r.class, i.fill(r.what), i.fill(r.hint)
		}
	}
	if said.status >= 500 {
		return retry, "", "Vault's own log says more"
	}
	return misconfigured, "", "check mount, role, namespace and auth of issuer {issuer}"
}

// refusals say why a login whose method is there may be refused.
var refusals = map[string]string{
	"approle":    "after five wrong secret ids Vault locks out for 15 minutes, even with the right one (vault list sys/locked-users)",
	"cert":       "vault list auth/{auth}/certs shows who is let in",
	"kubernetes": "vault read auth/{auth}/role/{auth_role} shows which service accounts are let in, vault read auth/{auth}/config which cluster is asked",
}

// fill puts an issuer's own names into a text.
func (i *Issuer) fill(text string) string {
	c := i.cfg
	text = strings.ReplaceAll(text, "{refusal}", refusals[c.Auth.Method])
	return strings.NewReplacer(
		"{issuer}", c.Name, "{mount}", c.Mount, "{role}", c.Role, "{auth}", c.Auth.Mount, "{auth_role}", c.Auth.Role,
		"{role_id_file}", c.Auth.RoleIDFile, "{secret_id_file}", c.Auth.SecretIDFile, "{token_file}", c.Auth.TokenFile, "{cert}", c.Auth.Cert,
	).Replace(text)
}
