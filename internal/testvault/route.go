package testvault

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"
)

// ServeHTTP answers as Vault does.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.count[r.URL.Path]++
	faults := s.faults
	w.Header().Set("Date", s.now().UTC().Format(http.TimeFormat))
	s.mu.Unlock()
	for _, f := range faults {
		if f(w, r) {
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	path, ok := strings.CutPrefix(r.URL.Path, "/v1/")
	if !ok || r.Header.Get("X-Vault-Request") != "true" {
		http.NotFound(w, r)
		return
	}
	c := &exchange{Server: s, w: w, r: r, path: path}
	if path == "sys/health" {
		c.health()
		return
	}
	if s.seal {
		c.Write(w, "sealed-sign")
		return
	}
	if s.bao && r.Header.Get("X-Vault-Namespace") != "" {
		c.fails("error-mount-unknown-root", "namespace not found")
		return
	}
	data, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if len(data) > 0 && json.Unmarshal(data, &c.body) != nil {
		c.Write(w, "error-body-not-json")
		return
	}
	if !c.open() && c.allowed() {
		c.closed()
	}
}

// exchange is one request; Server.mu is held.
type exchange struct {
	*Server
	w    http.ResponseWriter
	r    *http.Request
	path string
	body map[string]any
	as   *token
}

func (c *exchange) replay(name string) { c.Write(c.w, name) }

// fails answers 400 with text, as the recording name does.
func (c *exchange) fails(name, text string) {
	c.edit(c.w, name, func(body map[string]any) { body["errors"] = []string{text} })
}

func (c *exchange) text(field string) string {
	s, _ := c.body[field].(string)
	return s
}

// health speaks of the states with the code that was asked for, as Vault does.
func (c *exchange) health() {
	state := "sys-health-unsealed"
	if c.seal {
		state = "sys-health-sealed"
	}
	c.edit(c.w, state, func(body map[string]any) {
		if c.bao {
			body["version"] = "2.6.2"
			delete(body, "enterprise")
		}
	})
}

// open serves what needs no token.
func (c *exchange) open() bool {
	parts := strings.Split(c.path, "/")
	last := parts[len(parts)-1]
	switch {
	case parts[0] == "auth" && last == "login" && c.r.Method == http.MethodPut:
		c.logIn(strings.Join(parts[1:len(parts)-1], "/"))
	case c.path == "sys/wrapping/unwrap":
		c.unwrap()
	default:
		m, rest := c.mountOf(c.path)
		ref, issuer := strings.CutPrefix(rest, "issuer/")
		ref, issuer2 := strings.CutSuffix(ref, "/json")
		switch {
		case m == nil || c.r.Method != http.MethodGet:
			return false
		case rest == "cert/ca_chain":
			c.chain(m)
		case issuer && issuer2:
			c.issuer(m, ref)
		default:
			return false
		}
	}
	return true
}

// closed serves what needs a token, which was let through.
func (c *exchange) closed() {
	parts := strings.Split(c.path, "/")
	tail := func(n int) string { return strings.Join(parts[n:], "/") }
	switch {
	case c.path == "auth/token/lookup-self":
		c.lookUp()
	case c.path == "auth/token/renew-self":
		c.renew()
	case c.path == "auth/token/revoke-self":
		delete(c.tokens, c.r.Header.Get("X-Vault-Token"))
		c.replay("token-revoke-self-ok")
	case c.path == "sys/capabilities-self":
		c.capabilities()
	case parts[0] == "sys" && parts[1] == "mounts" && parts[len(parts)-1] == "tune" && c.r.Method == http.MethodGet:
		m := c.mounts[strings.Join(parts[2:len(parts)-1], "/")]
		c.edit(c.w, "read-role-allowed", func(body map[string]any) { // not recorded
			body["data"] = map[string]any{"max_lease_ttl": int(m.longest / time.Second)}
		})
	case parts[0] == "sys" && parts[1] == "mounts" && parts[len(parts)-1] == "tune":
		c.replay("setup-02-tune-pki-max-lease")
	case parts[0] == "sys" && parts[1] == "mounts" && c.r.Method == http.MethodDelete:
		delete(c.mounts, tail(2))
		c.replay("setup-01-mount-pki")
	case parts[0] == "sys" && parts[1] == "mounts":
		config, _ := c.body["config"].(map[string]any)
		c.mounts[tail(2)] = &mount{longest: duration(config["max_lease_ttl"]), roles: map[string]map[string]any{}, issued: map[string]*issued{}}
		c.replay("setup-01-mount-pki")
	case parts[0] == "sys" && parts[1] == "auth" && c.r.Method == http.MethodDelete:
		delete(c.auths, tail(2))
		c.replay("setup-10-auth-approle-enable")
	case parts[0] == "sys" && parts[1] == "auth":
		c.auths[tail(2)] = &auth{kind: c.text("type"), roles: map[string]*authRole{}}
		c.replay("setup-10-auth-approle-enable")
	case strings.HasPrefix(c.path, "sys/policies/acl/") && c.r.Method == http.MethodDelete:
		delete(c.policy, tail(3))
		c.replay("setup-09-policy-renewer")
	case strings.HasPrefix(c.path, "sys/policies/acl/"):
		c.policy[tail(3)] = parsePolicy(c.text("policy"))
		c.replay("setup-09-policy-renewer")
	case parts[0] == "auth":
		c.admitAuth(parts)
	default:
		m, rest := c.mountOf(c.path)
		if m == nil {
			text := `no handler for route "` + c.path + `". route entry not found.`
			c.fails("error-mount-unknown-root", text)
			return
		}
		c.pki(m, rest)
	}
}

func (s *Server) mountOf(path string) (*mount, string) {
	for name, m := range s.mounts {
		if rest, ok := strings.CutPrefix(path, name+"/"); ok {
			return m, rest
		}
	}
	return nil, ""
}
