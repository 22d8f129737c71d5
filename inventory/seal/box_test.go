package seal

import (
	"bytes"
	"path/filepath"
	"testing"

	"renewer/renewer"
)

// What is boxed is opened with the identity alone, and with no other.
func TestABoxNeedsTheIdentityAlone(t *testing.T) {
	t.Parallel()
	b := Box{Options{IdentityFile: filepath.Join(t.TempDir(), "seal.key"), Create: true}}
	sealed, err := b.Seal([]byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("secret")) {
		t.Error("it is not sealed")
	}
	if plain, err := b.Open(sealed); err != nil || string(plain) != "secret" {
		t.Errorf("opened: %q, %v", plain, err)
	}
	other := Box{Options{IdentityFile: filepath.Join(t.TempDir(), "seal.key"), Create: true}}
	if plain, err := other.Open(sealed); err == nil || renewer.Hint(err) == "" || plain != nil {
		t.Errorf("with another identity: %q, %v", plain, err)
	}
	missing := Box{Options{IdentityFile: filepath.Join(t.TempDir(), "seal.key")}}
	if _, err := missing.Seal([]byte("secret")); err == nil || renewer.Hint(err) == "" {
		t.Errorf("without an identity: %v", err)
	}
}
