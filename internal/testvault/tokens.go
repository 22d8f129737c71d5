package testvault

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// token is one that was given; the zero end is none.
type token struct {
	policies  []string
	born, end time.Time
	ttl, max  time.Duration
	renewable bool
}

// auth is an auth method that was enabled.
type auth struct {
	kind  string // approle, cert, kubernetes, jwt
	roles map[string]*authRole
	wrong int // logins in a row that were refused
}

type authRole struct {
	policies   []string
	ttl, max   time.Duration
	roleID     string
	secretIDs  []string
	secretUses int
	secretTTL  time.Duration
	jwt        string // kubernetes, jwt: the one that is let in
	trusted    []byte // cert: DER of the CA
}

// grant is one path of a policy.
type grant struct {
	path string
	may  []string
}

var (
	grants        = regexp.MustCompile(`path "([^"]+)"\s*\{\s*capabilities\s*=\s*\[([^\]]*)\]`)
	defaultPolicy = []grant{
		{path: "auth/token/lookup-self", may: []string{"read"}},
		{path: "auth/token/renew-self", may: []string{"update"}},
		{path: "auth/token/revoke-self", may: []string{"update"}},
		{path: "sys/capabilities-self", may: []string{"update"}},
	}
)

func parsePolicy(text string) (out []grant) {
	for _, m := range grants.FindAllStringSubmatch(text, -1) {
		g := grant{path: m[1]}
		for word := range strings.SplitSeq(m[2], ",") {
			g.may = append(g.may, strings.Trim(strings.TrimSpace(word), `"`))
		}
		out = append(out, g)
	}
	return out
}

func (g grant) covers(path string) bool {
	if prefix, ok := strings.CutSuffix(g.path, "*"); ok {
		return strings.HasPrefix(path, prefix)
	}
	want, got := strings.Split(g.path, "/"), strings.Split(path, "/")
	return len(want) == len(got) &&
		slices.EqualFunc(want, got, func(w, g string) bool { return w == "+" || w == g })
}

func (s *Server) mayDo(t *token, path string) []string {
	if slices.Contains(t.policies, "root") {
		return []string{"root"}
	}
	for _, p := range t.policies {
		for _, g := range s.policy[p] {
			if g.covers(path) {
				return g.may
			}
		}
	}
	return []string{"deny"}
}

// allowed checks the token, and refuses as Vault does.
func (c *exchange) allowed() bool {
	name := c.r.Header.Get("X-Vault-Token")
	t := c.tokens[name]
	if name == "" {
		c.replay("error-no-token")
		return false
	}
	if t == nil || !t.end.IsZero() && !c.now().Before(t.end) {
		delete(c.tokens, name)
		c.replay("token-expired-sign")
		return false
	}
	need := map[string]string{"GET": "read", "LIST": "list", "DELETE": "delete"}[c.r.Method]
	if need == "" {
		need = "update"
	}
	if may := c.mayDo(t, c.path); !slices.Contains(may, need) && !slices.Contains(may, "root") {
		c.replay("sign-denied")
		return false
	}
	c.as = t
	return true
}

// AddToken makes a token with the given policies, of no end if ttl is 0.
func (s *Server) AddToken(name string, ttl time.Duration, policies ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addToken(name, &authRole{policies: policies, ttl: ttl})
}

func (s *Server) addToken(name string, r *authRole) *token {
	t := &token{policies: append([]string{"default"}, r.policies...), born: s.now(), ttl: r.ttl, max: r.max, renewable: r.ttl > 0}
	if t.ttl > 0 {
		t.end = t.born.Add(t.ttl)
	}
	s.tokens[name] = t
	return t
}

func (c *exchange) logIn(path string) {
	a := c.auths[path]
	if a == nil {
		c.replay("auth-approle-login-mount-not-enabled")
		return
	}
	roleName, role, recording := a.find(c)
	if role == nil {
		if a.wrong++; a.kind == "approle" && a.wrong > 5 {
			recording = "auth-approle-login-locked-out"
		}
		c.replay(recording)
		return
	}
	if a.wrong > 5 {
		c.replay("auth-approle-login-locked-out")
		return
	}
	a.wrong = 0
	c.last["token"]++
	name := fmt.Sprintf("hvs.SECRET-token-%d", c.last["token"])
	t := c.addToken(name, role)
	c.edit(c.w, recording, func(body map[string]any) {
		auth := body["auth"].(map[string]any)
		auth["client_token"], auth["lease_duration"] = name, int(t.ttl/time.Second)
		auth["policies"], auth["token_policies"] = t.policies, t.policies
		auth["metadata"] = map[string]any{"role_name": roleName}
	})
}

// find returns who logs in and the recording of that, or of the refusal.
func (a *auth) find(c *exchange) (string, *authRole, string) {
	switch a.kind {
	case "approle":
		if c.text("secret_id") == "" {
			return "", nil, "auth-approle-login-missing-secret-id"
		}
		for name, r := range a.roles {
			if r.roleID == c.text("role_id") && slices.Contains(r.secretIDs, c.text("secret_id")) {
				return name, r, "auth-approle-login-ok"
			}
		}
		return "", nil, "auth-approle-login-bad-secret-id"
	case "cert":
		if c.r.TLS == nil || len(c.r.TLS.PeerCertificates) == 0 {
			return "", nil, "auth-cert-login-no-client-cert"
		}
		leaf := c.r.TLS.PeerCertificates[0]
		if leaf.NotAfter.Before(c.now()) {
			return "", nil, "auth-cert-login-expired-client-cert"
		}
		for name, r := range a.roles {
			block, _ := pem.Decode(r.trusted)
			if ca := parse(block.Bytes); (c.text("name") == "" || c.text("name") == name) && bytes.Equal(ca.RawSubject, leaf.RawIssuer) && leaf.CheckSignatureFrom(ca) == nil {
				return name, r, "auth-cert-login-ok"
			}
		}
		return "", nil, "auth-cert-login-unknown-ca"
	default:
		if r := a.roles[c.text("role")]; r != nil && r.jwt == c.text("jwt") {
			return c.text("role"), r, "auth-approle-login-ok"
		}
		return "", nil, "auth-approle-login-mount-not-enabled"
	}
}

func (c *exchange) unwrap() {
	name := c.r.Header.Get("X-Vault-Token")
	if t := c.text("token"); t != "" {
		name = t
	}
	data, ok := c.wrapped[name]
	if !ok {
		c.replay("auth-unwrap-used-token")
		return
	}
	delete(c.wrapped, name)
	c.edit(c.w, "auth-unwrap-secret-id-ok", func(body map[string]any) { body["data"] = data })
}

func (c *exchange) lookUp() {
	c.edit(c.w, "token-lookup-self-ok", func(body map[string]any) {
		data := body["data"].(map[string]any)
		data["id"], data["ttl"], data["renewable"], data["policies"] = c.r.Header.Get("X-Vault-Token"), 0, c.as.renewable, c.as.policies
		if !c.as.end.IsZero() {
			data["ttl"] = int(c.as.end.Sub(c.now()) / time.Second)
		}
	})
}

func (c *exchange) renew() {
	if !c.as.renewable {
		c.replay("token-renew-self-batch-not-renewable")
		return
	}
	left := c.as.ttl
	if c.as.max > 0 {
		left = min(left, c.as.born.Add(c.as.max).Sub(c.now()))
	}
	c.as.end = c.now().Add(left)
	c.edit(c.w, "token-renew-self-ok", func(body map[string]any) {
		auth := body["auth"].(map[string]any)
		auth["client_token"], auth["lease_duration"] = c.r.Header.Get("X-Vault-Token"), int(left/time.Second)
	})
}

func (c *exchange) capabilities() {
	path := c.text("path")
	c.edit(c.w, "token-capabilities-self", func(body map[string]any) {
		may := c.mayDo(c.as, path)
		for _, m := range []map[string]any{body, body["data"].(map[string]any)} {
			delete(m, "pki/sign/docker")
			m[path], m["capabilities"] = may, may
		}
	})
}

// admitAuth sets an auth method up.
func (c *exchange) admitAuth(parts []string) {
	n := len(parts)
	for k := 2; k < n; k++ {
		a := c.auths[strings.Join(parts[1:k], "/")]
		if a != nil && parts[k] == "config" {
			c.replay("setup-11-approle-role-renewer")
			return
		}
		if a == nil || parts[k] != "role" && parts[k] != "certs" {
			continue
		}
		r := a.roles[parts[k+1]]
		switch rest := strings.Join(parts[k+2:], "/"); {
		case rest == "" && r != nil && c.body["token_policies"] == nil: // what is not said stays
			r.secret(c.body)
			c.replay("setup-11-approle-role-renewer")
		case rest == "" && c.r.Method == http.MethodPut:
			c.last["role"]++
			r = &authRole{roleID: fmt.Sprintf("role-id-%d", c.last["role"]), jwt: c.text("test_jwt"), trusted: []byte(c.text("certificate"))}
			r.policies = list(c.body["token_policies"])
			r.ttl, r.max = duration(c.body["token_ttl"]), duration(c.body["token_max_ttl"])
			if r.ttl == 0 {
				r.ttl = 768 * time.Hour
			}
			r.secret(c.body)
			a.roles[parts[k+1]] = r
			c.replay("setup-11-approle-role-renewer")
		case rest == "role-id" && r != nil:
			c.edit(c.w, "setup-12-approle-role-id-read", func(body map[string]any) { body["data"] = map[string]any{"role_id": r.roleID} })
		case rest == "secret-id" && r != nil:
			c.secretID(r)
		case rest == "secret-id/destroy" && r != nil:
			r.secretIDs = slices.DeleteFunc(r.secretIDs, func(id string) bool { return id == c.text("secret_id") })
			c.replay("setup-11-approle-role-renewer")
		default:
			c.replay("error-path-unknown")
		}
		return
	}
	c.replay("error-path-unknown")
}

// secret sets how long secret ids last, as far as the body says so. They are not held
// to it here.
func (r *authRole) secret(body map[string]any) {
	if n, ok := body["secret_id_num_uses"].(string); ok {
		r.secretUses, _ = strconv.Atoi(n)
	}
	if _, ok := body["secret_id_ttl"]; ok {
		r.secretTTL = duration(body["secret_id_ttl"])
	}
}

func (c *exchange) secretID(r *authRole) {
	if c.r.Header.Get("X-Vault-Wrap-TTL") == "" {
		c.last["secret"]++
		id := fmt.Sprintf("SECRET-id-%d", c.last["secret"])
		r.secretIDs = append(r.secretIDs, id)
		c.edit(c.w, "setup-13-approle-secret-id-generate", func(body map[string]any) {
			data := body["data"].(map[string]any)
			data["secret_id"], data["secret_id_num_uses"], data["secret_id_ttl"] = id, r.secretUses, int(r.secretTTL/time.Second)
		})
		return
	}
	name := c.wrap(r)
	c.edit(c.w, "auth-secret-id-wrapped", func(body map[string]any) { body["wrap_info"].(map[string]any)["token"] = name })
}

func list(v any) (out []string) {
	switch v := v.(type) {
	case string:
		return strings.Split(v, ",")
	case []any:
		for _, x := range v {
			s, _ := x.(string)
			out = append(out, s)
		}
	}
	return out
}

func duration(v any) time.Duration {
	s, _ := v.(string)
	d, _ := time.ParseDuration(s)
	return d
}
