package testvault

import (
	"crypto/x509"
	"fmt"
	"time"
)

// Ready sets up what a test of others needs: a PKI mount with a root and an
// intermediate, a role that signs any name, and an AppRole renewer, whose role
// id and secret id it returns.
func (s *Server) Ready(pki, role string) (roleID, secretID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &exchange{Server: s}
	root := &mount{key: newKey()}
	root.ca = c.certify(authority("Stand-in Root CA"), root.key.Public(), nil, root.key, 10*365*24*time.Hour)
	m := &mount{key: newKey(), above: []*x509.Certificate{root.ca}, roles: map[string]map[string]any{}, issued: map[string]*issued{}}
	m.ca = c.certify(authority("Stand-in Intermediate CA"), m.key.Public(), root.ca, root.key, 5*365*24*time.Hour)
	m.roles[role] = map[string]any{"allow_any_name": true, "key_type": "any"}
	s.mounts[pki] = m
	s.policy["renewer"] = parsePolicy(fmt.Sprintf(`path "%s/sign/%s" { capabilities = ["update"] } path "%s/revoke" { capabilities = ["update"] }`, pki, role, pki))
	r := &authRole{policies: []string{"renewer"}, ttl: 20 * time.Minute, max: time.Hour, roleID: "role-id-renewer", secretIDs: []string{"SECRET-id-renewer"}}
	s.auths["approle"] = &auth{kind: "approle", roles: map[string]*authRole{"renewer": r}}
	return r.roleID, r.secretIDs[0]
}

// Wrap returns a wrapping token that holds a new secret id of an AppRole.
func (s *Server) Wrap(role string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wrap(s.auths["approle"].roles[role])
}

func (s *Server) wrap(r *authRole) string {
	s.last["secret"]++
	id, name := fmt.Sprintf("SECRET-id-%d", s.last["secret"]), fmt.Sprintf("hvs.SECRET-wrapping-%d", s.last["secret"])
	r.secretIDs = append(r.secretIDs, id)
	s.wrapped[name] = map[string]any{"secret_id": id, "secret_id_accessor": "a", "secret_id_num_uses": 0, "secret_id_ttl": 3600}
	return name
}
