package vault

import (
	"os"
	"strings"
	"sync"

	"github.com/hashicorp/vault/api"
)

// hiding is held while variables are away, so that each is put back.
var hiding sync.Mutex

// withoutEnvironment makes a client while no VAULT_* variable is set. Vault's
// client reads all of them however it is configured, and fails over one that
// it cannot use: a VAULT_CACERT that leads nowhere, say. They come back
// afterwards, for the commands that renewer runs.
func withoutEnvironment(create func() (*api.Client, error)) (*api.Client, error) {
	hiding.Lock()
	defer hiding.Unlock()
	for _, entry := range os.Environ() {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "VAULT_") {
			continue
		}
		if err := os.Unsetenv(name); err != nil {
			return nil, err
		}
		defer func() { _ = os.Setenv(name, value) }() // it was one a moment ago
	}
	return create()
}
