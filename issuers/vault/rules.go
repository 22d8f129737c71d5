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
	opRotate op = "rotate"
	opHealth op = "health"
)

// Hints that more than one place gives; see fill.
const (
	signPolicy = `the token's policy needs: path "{sign}" { capabilities = ["update"] }; a mistyped role reads the same`
	roleHint   = "{cli} list {mount}/roles shows the roles; check role of issuer {issuer}"
	noCAHint   = "{cli} secrets list shows the mounts, {cli} list {mount}/issuers their CAs; check mount and issuer_ref of issuer {issuer}{in_namespace}"
	noRootHint = "put the root beside it: {cli} write {mount}/issuers/import/cert pem_bundle=@root.pem; or set root_file: of issuer {issuer} to it"
	tokenHint  = "put a valid one into {token_file}: {cli} token create -policy=renewer -period=24h" //nolint:gosec // a command, and no credential
	wrapHint   = "a wrapping token works once, and renewer forgets what it gave when it ends: " +
		"put a new one into {secret_id_file} ({cli} write -wrap-ttl=5m -f auth/{auth}/role/ROLE/secret-id) whenever renewer starts; " +
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

// rules are tried in order. The texts are those of Vault 1.21 and OpenBao 2.6;
// what a version words differently falls to the last ones of its status.
var rules = []rule{
	{anyOp, 503, "sealed", retry, "{server} is sealed, or not initialized", "{cli} operator unseal, on the {server} server"},
	{anyOp, 500, "local node not active", retry, "", "the cluster is changing its active node; renewer asks again"},
	{anyOp, 429, "", retry, "", "set a lower rate for issuer {issuer}, or raise the quota: {cli} list sys/quotas/rate-limit"},
	{anyOp, 412, "", retry, "", ""},

	{opUnwrap, 400, "wrapping token", misconfigured, "the wrapping token in {secret_id_file} was used already or has expired", wrapHint},
	{opUnwrap, 403, "", misconfigured, "the wrapping token in {secret_id_file} was used already or has expired", wrapHint},
	{
		opLogIn, 400, "invalid role or secret id", misconfigured, "{server} knows no such pair of role id and secret id, or the secret id was used up or has expired",
		"{cli} read auth/{auth}/role/ROLE/role-id and {cli} write -f auth/{auth}/role/ROLE/secret-id give what belongs into {role_id_file} and {secret_id_file}{in_namespace}",
	},
	{opLogIn, 400, "constraints", misconfigured, "the certificate {cert} is not one that {server} lets in", "{cli} list auth/{auth}/certs shows who is let in: the CA, the names, the role"},
	{opLogIn, 400, "client certificate must be supplied", misconfigured, "", "{server} did not see {cert}: its listener must ask for client certificates, and no proxy may end TLS in between"},
	{opLogIn, 500, "failed to verify client's certificate", misconfigured, "{server} does not accept the certificate {cert}", "renew {cert}, then renewer check --online"},
	{
		opLogIn, 403, "", misconfigured, "the login at auth/{auth} is refused",
		"{cli} auth list shows whether auth/{auth} is there; {refusal}{in_namespace}",
	},
	{anyOp, 404, "namespace not found", misconfigured, "there is no namespace {namespace}", "{cli} namespace list shows them; check namespace of issuer {issuer}"},
	{opLogIn, 404, "", misconfigured, "", "{cli} auth list shows whether auth/{auth} is there; check namespace and address of issuer {issuer}"},
	{opLogIn, 400, "", misconfigured, "", "check auth of issuer {issuer}; {refusal}"},
	{opLookUp, 403, "invalid token", misconfigured, "the token in {token_file} has expired, was revoked, or is another server's", tokenHint},
	{opRotate, 403, "", misconfigured, "the policy does not allow it", "allow update on it in the policy of the AppRole's tokens, or leave rotate_secret_id out"},

	{anyOp, 403, "invalid token", renewer.ClassReauthenticate, "the token has expired or was revoked", ""},
	{opSign, 403, "", misconfigured, "the policy does not allow it", signPolicy},
	{opRevoke, 403, "", misconfigured, "the policy does not allow it", `the token's policy needs: path "{mount}/revoke" { capabilities = ["update"] }`},
	{opRoots, 0, "issuer", misconfigured, "the mount {mount} has no {ca}", noCAHint},
	{opRoots, 403, "", misconfigured, "there is no PKI mount {mount}", noCAHint},
	{opRoots, 400, "", misconfigured, "there is no PKI mount {mount}", noCAHint},
	{opLookUp, 403, "", retry, "", ""},

	{anyOp, 404, "no handler for route", misconfigured, "there is no mount {mount}", noCAHint},
	{anyOp, 404, "unsupported path", misconfigured, "the mount {mount} is not a PKI engine", noCAHint},
	{anyOp, 405, "", misconfigured, "the mount {mount} is not a PKI engine", noCAHint},
	{opSign, 500, "issuer", misconfigured, "the mount {mount} has no {ca} that may sign", "{cli} list {mount}/issuers; the default one ({cli} read {mount}/config/issuers) needs the usage issuing-certificates"},
	{opSign, 500, "ca certificate", misconfigured, "the mount {mount} has no {ca} that may sign", "{cli} list {mount}/issuers; the default one ({cli} read {mount}/config/issuers) needs the usage issuing-certificates"},

	{opSign, 400, "unknown role", misconfigured, "the mount {mount} has no role {role}", roleHint},
	{opSign, 400, "notafter before notbefore", misconfigured, "the CA of the mount {mount} has expired", "give the mount a new CA: {cli} read {mount}/cert/ca"},
	{opSign, 400, "beyond the expiration of the ca", refused, "the certificate would outlive the CA of the mount {mount}", "set a shorter lifetime, or give the mount a CA that lives longer"},
	{opSign, 400, "ip subject alternative", refused, "", "set allow_ip_sans=true on the role {role}, or default_sans: false and sans without addresses"},
	{opSign, 400, "common_name field is required", refused, "", "set common_name, or require_cn=false on the role {role}"},
	{opSign, 400, "not allowed by this role", refused, "", "{cli} read {mount}/roles/{role}: its allowed_domains, allow_subdomains and allow_bare_domains have to cover the names; or change sans"},
	{opSign, 400, "key", refused, "", "set key: to a type that the role allows (key_type and key_bits of {cli} read {mount}/roles/{role})"},
	{opSign, 400, "", refused, "", "{cli} read {mount}/roles/{role} shows what the role allows"},
	{opRevoke, 400, "not found", refused, "{server} never issued it, or has forgotten it", "nothing is left to revoke there; replace the certificate"},
	{opRevoke, 400, "", refused, "", "look at the words of {server}; a replaced certificate needs no revocation where peers look at none"},
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
		return retry, "", i.fill("{server}'s own log says more")
	}
	return misconfigured, "", i.fill("check mount, role, namespace and auth of issuer {issuer}")
}

// refusals say why a login whose method is there may be refused.
var refusals = map[string]string{
	"approle":    "after five wrong secret ids {server} locks out for 15 minutes, even with the right one ({cli} list sys/locked-users)",
	"cert":       "{cli} list auth/{auth}/certs shows who is let in",
	"kubernetes": "{cli} read auth/{auth}/role/{auth_role} shows which service accounts are let in, {cli} read auth/{auth}/config which cluster is asked",
	"jwt":        "{cli} read auth/{auth}/role/{auth_role} shows which subject, audience and claims are let in; is the JWT in {jwt_file} a current one?",
}
