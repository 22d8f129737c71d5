package configs

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"renewer/internal/pattern"
	"renewer/renewer"
)

const aURL = "an https:// URL without user, query or fragment"

const anAllowedName = "a DNS name, such as *.example.com or host-*, an IP address or a prefix such as 10.0.0.0/8"

// isAllowedName: an asterisk stands for any part of a label.
func isAllowedName(s string) bool {
	if _, err := netip.ParsePrefix(s); err == nil {
		return true
	}
	return isIP(s) || isDNSName(strings.ReplaceAll(s, "*", "x"))
}

var rateForm = pattern.New(`^([1-9][0-9]{0,5})/([smh])$`)

// issuerVariants are the keys of each type of issuer.
var issuerVariants = newVariants("an issuer", "type", "", map[string]schema{
	"local": {
		"passphrase_file": pathOf(true), "ca_cert": pathOf(true), "ca_key": pathOf(true),
		"rotate_at": share(1, 99), "standby_root": boolean,
		"max_lifetime": duration(time.Minute, mostLifetime), "allowed_names": set("names", 1, textLike(anAllowedName, isAllowedName)),
	},
	"step-ca": {
		"url": urlReader, "root_fingerprint": named(fingerprintForm, "the SHA-256 of the root: 64 hex digits"),
		"provisioner": text("the name of a provisioner"), "password_file": pathOf(true),
		"x5c": object("x5c", schema{"cert": pathOf(true), "key": pathOf(true)}), "rate": rateReader,
	},
	"vault": {
		"address": urlReader, "namespace": text("a namespace"), "ca_cert": pathOf(true),
		"mount": text("the path of a PKI mount"), "role": text("the name of a role"),
		"auth": readVaultAuth, "rate": rateReader,
		"rotate_secret_id": duration(time.Minute, mostLifetime),
		"issuer_ref":       text("the name of an issuer of the mount"), "root_file": pathOf(true),
	},
	"acme":    acmeSchema,
	"command": {"sign": argv, "revoke": argv, "root_file": pathOf(true), "timeout": timeoutReader},
	"files":   {"dir": pathOf(false), "root_file": pathOf(true)},
})

// required are the keys that an issuer or a way to log in cannot do without.
var required = map[string][]string{
	"an issuer of type step-ca": {"url", "root_fingerprint", "provisioner"},
	"an issuer of type vault":   {"address", "mount", "role", "auth"},
	"an issuer of type acme":    {"directory"},
	"an issuer of type command": {"sign", "root_file"},
	"an issuer of type files":   {"dir", "root_file"},
	"auth of method approle":    {"role_id_file", "secret_id_file"},
	"auth of method token":      {"token_file"},
	"auth of method cert":       {"cert", "key"},
	"auth of method kubernetes": {"role", "jwt_file"},
	"auth of method jwt":        {"role", "jwt_file"},
}

// authVariants are the keys of each method of auth.
var authVariants = newVariants("auth", "method", "", map[string]schema{
	"approle":    {"mount": authMount, "role_id_file": pathOf(true), "secret_id_file": pathOf(true), "wrapped": boolean},
	"token":      {"token_file": pathOf(true)},
	"cert":       {"mount": authMount, "role": text("the name of a role"), "cert": pathOf(true), "key": pathOf(true)},
	"kubernetes": jwtSchema,
	"jwt":        jwtSchema,
})

var jwtSchema = schema{"mount": authMount, "role": text("the name of a role"), "jwt_file": pathOf(true)}

var authMount = text("the path of the auth method, without auth/")

func urlReader(l *loader, at pos, n *yaml.Node) (any, bool) {
	s, ok := l.scalar(at, n, aURL, "!!str")
	if !ok {
		return nil, false
	}
	u, err := url.Parse(s)
	if err == nil && u.Scheme == "http" && u.User == nil && isAddress(u.Hostname()) {
		l.fault(at, l.what()+" is plain HTTP, which can be read and changed in transit", "expected https://"+u.Host+", served with TLS")
		return nil, false
	}
	if err != nil || u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || !isAddress(u.Hostname()) ||
		u.Port() != "" && !isHostPort("host:"+u.Port(), 1) {
		l.fault(at, l.what()+" is not a usable URL", "expected "+aURL) // not shown: it may hold a password
		return nil, false
	}
	return strings.TrimSuffix(s, "/"), true
}

// rateReader returns orders a second.
func rateReader(l *loader, at pos, n *yaml.Node) (any, bool) {
	const expected = "a rate such as 20/s, 100/m or 500/h"
	s, ok := l.scalar(at, n, expected, "!!str")
	if !ok {
		return nil, false
	}
	m := rateForm.FindStringSubmatch(s)
	if m == nil {
		l.fault(at, l.what()+" is "+quote(s), "expected "+expected)
		return nil, false
	}
	count, _ := strconv.ParseFloat(m[1], 64)
	return count / unit[m[2]].Seconds(), true
}

// variants are mappings whose keys depend on the word under one of them.
type variants struct {
	what, by, fallback string
	words              []string
	of                 map[string]variant
	all                schema // where the word is none of them
}

type variant struct {
	what string
	keys schema
}

func newVariants(what, by, fallback string, of map[string]schema) variants {
	v := variants{what: what, by: by, fallback: fallback, words: slices.Sorted(maps.Keys(of)), of: map[string]variant{}, all: schema{}}
	word := schema{by: enum(v.words...)}
	for w, keys := range of {
		v.of[w] = variant{fmt.Sprintf("%s of %s %s", what, by, w), keys.with(word)}
		v.all = v.all.with(keys)
	}
	v.all = v.all.with(word)
	return v
}

// variant reads such a mapping.
func (l *loader) variant(at pos, n *yaml.Node, v *variants) (word string, s settings, ok bool) {
	word = v.fallback
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if k, x := n.Content[i], n.Content[i+1]; k.Value == v.by && x.Kind == yaml.ScalarNode {
				word = x.Value
				break
			}
		}
	}
	before := l.wrong()
	if own, known := v.of[word]; known {
		if s, ok = l.object(at, n, own.what, own.keys); !ok {
			return "", nil, false
		}
		for _, k := range required[own.what] {
			if !s.has(k) {
				l.fault(at, own.what+" has no "+k, "expected "+k+" beside "+v.by)
			}
		}
		return word, s, l.wrong() == before
	}
	if s, ok = l.object(at, n, v.what, v.all); ok && !s.has(v.by) {
		l.fault(at, v.what+" has no "+v.by, "expected "+v.by+": "+oneOf(v.words))
	}
	return "", nil, false
}

// issuerReader returns an Issuer without its name.
func issuerReader(l *loader, at pos, n *yaml.Node) (any, bool) {
	kind, s, ok := l.variant(at, n, &issuerVariants)
	l.refuse(s["type"].at.or(at), "issuer type "+kind)
	if !ok {
		return nil, false
	}
	if kind == "step-ca" && s.has("password_file") == s.has("x5c") {
		l.fault(at, "an issuer of type step-ca logs in with one of password_file and x5c", "expected exactly one of them")
		return nil, false
	}
	auth := get[VaultAuth](s, "auth")
	if s.has("rotate_secret_id") && (auth.Method != "approle" || auth.Wrapped) {
		l.fault(s["rotate_secret_id"].at, "rotate_secret_id needs an AppRole with its secret id in a file",
			"expected auth: {method: approle, role_id_file: FILE, secret_id_file: FILE} without wrapped, or no rotate_secret_id")
		return nil, false
	}
	x5c := get[settings](s, "x5c")
	if s.has("x5c") && (!x5c.has("cert") || !x5c.has("key")) {
		l.fault(s["x5c"].at, "x5c is not complete", "expected {cert: FILE, key: FILE}")
		return nil, false
	}
	var acme *ACME
	if kind == "acme" {
		if acme = l.acme(at, s); acme == nil {
			return nil, false
		}
	}
	return Issuer{
		Type: kind, ACME: acme, PassphraseFile: get[string](s, "passphrase_file"), CACert: get[string](s, "ca_cert"), CAKey: get[string](s, "ca_key"),
		URL: get[string](s, "url"), RootFingerprint: strings.ToLower(get[string](s, "root_fingerprint")),
		Provisioner: get[string](s, "provisioner"), PasswordFile: get[string](s, "password_file"),
		X5CCert: get[string](x5c, "cert"), X5CKey: get[string](x5c, "key"),
		Address: get[string](s, "address"), Namespace: get[string](s, "namespace"),
		Mount: get[string](s, "mount"), Role: get[string](s, "role"), Auth: auth,
		Sign: texts(s, "sign"), RevokeWith: texts(s, "revoke"), Timeout: get[time.Duration](s, "timeout"), Dir: get[string](s, "dir"),
		IssuerRef: get[string](s, "issuer_ref"), RootFile: get[string](s, "root_file"), RotateSecretID: get[time.Duration](s, "rotate_secret_id"),
		Rate: get[float64](s, "rate"), RotateAt: get[renewer.Share](s, "rotate_at"), StandbyRoot: get[bool](s, "standby_root"),
		MaxLifetime: get[time.Duration](s, "max_lifetime"), AllowedNames: texts(s, "allowed_names"),
	}, true
}

func readVaultAuth(l *loader, at pos, n *yaml.Node) (any, bool) {
	method, s, ok := l.variant(at, n, &authVariants)
	return VaultAuth{
		Method: method, Mount: get[string](s, "mount"), RoleIDFile: get[string](s, "role_id_file"), SecretIDFile: get[string](s, "secret_id_file"),
		Wrapped: get[bool](s, "wrapped"), TokenFile: get[string](s, "token_file"), Cert: get[string](s, "cert"),
		Key: get[string](s, "key"), Role: get[string](s, "role"), JWTFile: get[string](s, "jwt_file"),
	}, ok
}

// locate fills in where an issuer's files are unless the fleet file says so.
func (i *Issuer) locate(stateDir string) {
	i.RootsFile = filepath.Join(stateDir, "roots", i.Name+".pem") // not beside a local CA: both would be gone together
	dir := filepath.Join(stateDir, "issuers", i.Name)
	if i.ACME != nil {
		i.ACME.StateFile = filepath.Join(dir, "acme.json")
	}
	if i.Type != "local" {
		return
	}
	i.CRLDir = dir
	if i.CACert == "" {
		i.CACert = filepath.Join(dir, "ca.pem")
	}
	if i.CAKey == "" {
		i.CAKey = filepath.Join(dir, "ca-key.pem")
	}
}

func (f *Fleet) issuerNames() []string {
	var out []string
	for i := range f.Issuers {
		out = append(out, f.Issuers[i].Name)
	}
	return slices.Clip(out)
}
