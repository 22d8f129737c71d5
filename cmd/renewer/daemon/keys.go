package daemon

import (
	"path/filepath"
	"sync"

	"renewer/configs"
	"renewer/inventory/seal"
	"renewer/renewer"
)

// lazyKeys opens the seal when the first key needs it, so that a command that
// only reads needs no identity.
type lazyKeys struct {
	fleet *configs.Fleet
	store seal.Store
	mu    sync.Mutex
	keys  *seal.Keys
}

// sealOf is the identity that seals: made if it is missing, unless it is the operator's.
func sealOf(fleet *configs.Fleet) seal.Options {
	own := filepath.Join(fleet.StateDir, "seal.key")
	return seal.Options{IdentityFile: fleet.SealIdentityFile, Create: fleet.SealIdentityFile == own}
}

func (l *lazyKeys) open() (*seal.Keys, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.keys != nil {
		return l.keys, nil
	}
	o := sealOf(l.fleet)
	o.Former = filepath.Join(l.fleet.StateDir, "keys")
	keys, err := seal.Open(l.store, o)
	if err == nil {
		l.keys = keys
	}
	return keys, err
}

func (l *lazyKeys) Seal(certificate string, generation int, pem []byte) (renewer.SealedKey, error) {
	k, err := l.open()
	if err != nil {
		return renewer.SealedKey{}, err
	}
	return k.Seal(certificate, generation, pem)
}

func (l *lazyKeys) Open(certificate string, generation int, sealed []byte) ([]byte, bool, error) {
	k, err := l.open()
	if err != nil {
		return nil, false, err
	}
	return k.Open(certificate, generation, sealed)
}
