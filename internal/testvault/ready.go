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
	m := &mount{signer: c.newSigner(), roles: map[string]map[string]any{}, issued: map[string]*issued{}}
	m.roles[role] = map[string]any{"allow_any_name": true, "key_type": "any"}
	s.mounts[pki] = m
	s.policy["renewer"] = parsePolicy(fmt.Sprintf(`path "%s/sign/%s" { capabilities = ["update"] } path "%s/revoke" { capabilities = ["update"] }
path "%s/roles/*" { capabilities = ["read"] } path "auth/approle/role/renewer/secret-id" { capabilities = ["update"] }
path "auth/approle/role/renewer/secret-id/destroy" { capabilities = ["update"] }`, pki, role, pki, pki))
	r := &authRole{policies: []string{"renewer"}, ttl: 20 * time.Minute, max: time.Hour, roleID: "role-id-renewer", secretIDs: []string{"SECRET-id-renewer"}}
	s.auths["approle"] = &auth{kind: "approle", roles: map[string]*authRole{"renewer": r}}
	return r.roleID, r.secretIDs[0]
}

// newSigner makes a root and an intermediate below it.
func (c *exchange) newSigner() signer {
	rootKey := newKey()
	root := c.certify(authority("Stand-in Root CA"), rootKey.Public(), nil, rootKey, 10*365*24*time.Hour)
	s := signer{key: newKey(), above: []*x509.Certificate{root}}
	s.ca = c.certify(authority("Stand-in Intermediate CA"), s.key.Public(), root, rootKey, 5*365*24*time.Hour)
	return s
}

// second is the issuer_ref of a mount's second issuer.
const second = "second"

// AddIssuer makes a second issuer in a mount, under a root of its own, as
// `vault write PKI/root/generate/internal issuer_name=second` would. Nothing is
// signed with it yet. It returns the root.
func (s *Server) AddIssuer(pki string) *x509.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.mounts[pki]
	m.second = (&exchange{Server: s}).newSigner()
	return m.second.above[0]
}

// SwitchDefault has a mount sign with its second issuer, but for roles that name
// another: `vault write PKI/config/issuers default=second`.
func (s *Server) SwitchDefault(pki string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.mounts[pki]
	m.signer, m.second = m.second, m.signer
	for _, role := range m.roles {
		delete(role, "issuer_ref")
	}
}

// SwitchRole has one role sign with the second issuer:
// `vault patch PKI/roles/ROLE issuer_ref=second`.
func (s *Server) SwitchRole(pki, role string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mounts[pki].roles[role]["issuer_ref"] = second
}

// Limit sets the max_ttl of a role.
func (s *Server) Limit(pki, role, ttl string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mounts[pki].roles[role]["max_ttl"] = ttl
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
