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

func (l *lazyKeys) open() (*seal.Keys, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.keys != nil {
		return l.keys, nil
	}
	own := filepath.Join(l.fleet.StateDir, "seal.key") // made if it is missing; another one is the operator's
	keys, err := seal.Open(l.store, seal.Options{
		IdentityFile: l.fleet.SealIdentityFile, Create: l.fleet.SealIdentityFile == own, Former: filepath.Join(l.fleet.StateDir, "keys"),
	})
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
