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
	noRootHint = "import the root: {cli} write {mount}/issuers/import/cert pem_bundle=@root.pem; or set root_file: of issuer {issuer} to it"
	tokenHint  = "put a valid one into {token_file}: {cli} token create -policy=renewer -period=24h" //nolint:gosec // a command, and no credential
	wrapHint   = "a wrapping token can be used once, and renewer does not store the secret id: " +
		"put a new token into {secret_id_file} ({cli} write -wrap-ttl=5m -f auth/{auth}/role/ROLE/secret-id) before each start of renewer; " +
		"if renewer had not used this one, another client has its secret id: revoke it"
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
	{anyOp, 503, "sealed", retry, "{server} is sealed, or not initialized", "run on the {server} server: {cli} operator unseal"},
	{anyOp, 500, "local node not active", retry, "", "the cluster is electing an active node; renewer retries"},
	{anyOp, 429, "", retry, "", "set a lower rate for issuer {issuer}, or raise the quota: {cli} list sys/quotas/rate-limit"},
	{anyOp, 412, "", retry, "", ""},

	{opUnwrap, 400, "wrapping token", misconfigured, "the wrapping token in {secret_id_file} was used already or has expired", wrapHint},
	{opUnwrap, 403, "", misconfigured, "the wrapping token in {secret_id_file} was used already or has expired", wrapHint},
	{
		opLogIn, 400, "invalid role or secret id", misconfigured, "{server} does not accept the role id and secret id; the secret id may be used up or expired",
		"{cli} read auth/{auth}/role/ROLE/role-id and {cli} write -f auth/{auth}/role/ROLE/secret-id print the values for {role_id_file} and {secret_id_file}{in_namespace}",
	},
	{opLogIn, 400, "constraints", misconfigured, "{server} does not allow the certificate {cert}", "{cli} list auth/{auth}/certs shows the allowed CAs, names and roles"},
	{opLogIn, 400, "client certificate must be supplied", misconfigured, "", "{server} did not receive {cert}: its listener must request client certificates, and no proxy may terminate TLS"},
	{opLogIn, 500, "failed to verify client's certificate", misconfigured, "{server} does not accept the certificate {cert}", "renew {cert}, then run renewer check --online"},
	{
		opLogIn, 403, "", misconfigured, "login at auth/{auth} failed",
		"{cli} auth list shows whether auth/{auth} exists; {refusal}{in_namespace}",
	},
	{anyOp, 404, "namespace not found", misconfigured, "no such namespace: {namespace}", "{cli} namespace list shows them; check namespace of issuer {issuer}"},
	{opLogIn, 404, "", misconfigured, "", "{cli} auth list shows whether auth/{auth} exists; check namespace and address of issuer {issuer}"},
	{opLogIn, 400, "", misconfigured, "", "check auth of issuer {issuer}; {refusal}"},
	{opLookUp, 403, "invalid token", misconfigured, "the token in {token_file} has expired, was revoked, or is from another server", tokenHint},
	{opRotate, 403, "", misconfigured, "the policy does not allow it", "allow update on it in the policy of the AppRole's tokens, or remove rotate_secret_id"},

	{anyOp, 403, "invalid token", renewer.ClassReauthenticate, "the token has expired or was revoked", ""},
	{opSign, 403, "", misconfigured, "the policy does not allow it", signPolicy},
	{opRevoke, 403, "", misconfigured, "the policy does not allow it", `the token's policy needs: path "{mount}/revoke" { capabilities = ["update"] }`},
	{opRoots, 0, "issuer", misconfigured, "the mount {mount} has no {ca}", noCAHint},
	{opRoots, 403, "", misconfigured, "no such PKI mount: {mount}", noCAHint},
	{opRoots, 400, "", misconfigured, "no such PKI mount: {mount}", noCAHint},
	{opLookUp, 403, "", retry, "", ""},

	{anyOp, 404, "no handler for route", misconfigured, "no such mount: {mount}", noCAHint},
	{anyOp, 404, "unsupported path", misconfigured, "the mount {mount} is not a PKI engine", noCAHint},
	{anyOp, 405, "", misconfigured, "the mount {mount} is not a PKI engine", noCAHint},
	{opSign, 500, "issuer", misconfigured, "the mount {mount} has no {ca} that is allowed to sign", "{cli} list {mount}/issuers; the default one ({cli} read {mount}/config/issuers) needs the usage issuing-certificates"},
	{opSign, 500, "ca certificate", misconfigured, "the mount {mount} has no {ca} that is allowed to sign", "{cli} list {mount}/issuers; the default one ({cli} read {mount}/config/issuers) needs the usage issuing-certificates"},

	{opSign, 400, "unknown role", misconfigured, "the mount {mount} has no role {role}", roleHint},
	{opSign, 400, "notafter before notbefore", misconfigured, "the CA of the mount {mount} has expired", "give the mount a new CA: {cli} read {mount}/cert/ca"},
	{opSign, 400, "beyond the expiration of the ca", refused, "the certificate would outlive the CA of the mount {mount}", "set a shorter lifetime, or give the mount a CA that expires later"},
	{opSign, 400, "ip subject alternative", refused, "", "set allow_ip_sans=true on the role {role}, or default_sans: false and sans without addresses"},
	{opSign, 400, "common_name field is required", refused, "", "set common_name, or require_cn=false on the role {role}"},
	{opSign, 400, "not allowed by this role", refused, "", "{cli} read {mount}/roles/{role}: its allowed_domains, allow_subdomains and allow_bare_domains have to cover the names; or change sans"},
	{opSign, 400, "key", refused, "", "set key: to a type that the role allows (key_type and key_bits of {cli} read {mount}/roles/{role})"},
	{opSign, 400, "", refused, "", "{cli} read {mount}/roles/{role} shows what the role allows"},
	{opRevoke, 400, "not found", refused, "{server} never issued it, or has removed it", "it cannot be revoked there; replace the certificate"},
	{opRevoke, 400, "", refused, "", "check the message of {server}; a replaced certificate needs no revocation if peers do not check it"},
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
		return retry, "", i.fill("check the log of {server}")
	}
	return misconfigured, "", i.fill("check mount, role, namespace and auth of issuer {issuer}")
}

// refusals say why a login whose method is there may be refused.
var refusals = map[string]string{
	"approle":    "after five wrong secret ids {server} locks out for 15 minutes, even with the right one ({cli} list sys/locked-users)",
	"cert":       "{cli} list auth/{auth}/certs shows who is allowed",
	"kubernetes": "{cli} read auth/{auth}/role/{auth_role} shows the allowed service accounts, {cli} read auth/{auth}/config the cluster",
	"jwt":        "{cli} read auth/{auth}/role/{auth_role} shows the allowed subject, audience and claims; check that the JWT in {jwt_file} is not expired",
}
