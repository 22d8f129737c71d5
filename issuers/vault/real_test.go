//go:build vault

package vault

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
)

// TestRealVault is the suite against the server of VAULT_ADDR, with VAULT_TOKEN
// to set it up: make test-vault. It mounts under random paths and takes all of
// it away again.
func TestRealVault(t *testing.T) {
	address, token := os.Getenv("VAULT_ADDR"), os.Getenv("VAULT_TOKEN")
	if address == "" || token == "" {
		t.Fatal("set VAULT_ADDR and VAULT_TOKEN: a server for tests, and a token that may mount, write policies and enable auth methods there (vault server -dev prints both)")
	}
	cfg := api.DefaultConfig()
	if cfg.Error != nil {
		t.Fatal(cfg.Error)
	}
	admin, err := api.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cfg.HttpClient.CloseIdleConnections)
	g := &ground{t: t, admin: admin, cfg: Config{
		Address: strings.TrimSuffix(address, "/"), CACert: os.Getenv("VAULT_CACERT"), Namespace: os.Getenv("VAULT_NAMESPACE"), plain: true,
	}}
	probe := g.cfg
	probe.Mount, probe.Role, probe.Auth = "pki", "docker", Auth{Method: "token"}
	if _, err := New(probe); err != nil {
		t.Fatalf("VAULT_ADDR has to be https://, or http:// on loopback: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	health, err := admin.WithNamespace("").Sys().HealthWithContext(ctx) // no namespace has it
	if err != nil {
		t.Fatalf("%s does not answer (VAULT_CACERT: the CA of its TLS): %v", address, err)
	}
	if !health.Initialized || health.Sealed {
		t.Fatalf("%s is sealed or not initialized", address)
	}
	t.Logf("%s %s at %s", productOf(health).name, health.Version, address)
	g.prepare()
	suite(t, g)
}
