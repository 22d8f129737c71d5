package seal

import (
	"bytes"
	"errors"
	"io"

	"filippo.io/age"
)

// Box seals what is kept outside of the inventory, such as the key of an ACME account,
// to the identity itself: it can be opened whatever becomes of the inventory.
type Box struct{ Options }

const maxBoxed = 1 << 20

// Seal seals to the first identity.
func (b Box) Seal(plain []byte) ([]byte, error) {
	identities, _, err := open(b.Options)
	if err != nil {
		return nil, err
	}
	to, err := recipient(identities, b.IdentityFile)
	if err != nil {
		return nil, err
	}
	return encrypt(plain, to)
}

// Open opens what was sealed to any of the identities.
func (b Box) Open(sealed []byte) ([]byte, error) {
	identities, _, err := open(b.Options)
	if err != nil {
		return nil, err
	}
	plain, err := age.Decrypt(bytes.NewReader(sealed), identities...)
	var other *age.NoIdentityMatchError
	if errors.As(err, &other) {
		return nil, misconfigured("add the former identity to "+b.IdentityFile, "it was sealed with an identity that is not in %s", b.IdentityFile)
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(plain, maxBoxed))
}
