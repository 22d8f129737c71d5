package configs

import (
	_ "embed"
	"encoding/json"
	"path/filepath"
	"strings"
)

//go:embed example.yaml
var exampleYAML string

// Example returns the commented fleet file that renewer init writes: state
// and socket in dir, a local CA and a local host. It loads as it is, and its
// examples load once their comment signs are taken away.
func Example(dir string) []byte {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	at := func(name string) string {
		quoted, _ := json.Marshal(filepath.Join(dir, name)) // a string always marshals; JSON's are YAML's too
		return string(quoted)
	}
	return []byte(strings.NewReplacer("@STATE@", at("state"), "@SOCKET@", at("state/renewer.sock"), "@TLS@", at("tls")).Replace(exampleYAML))
}
