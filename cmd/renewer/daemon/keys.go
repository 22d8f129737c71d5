package daemon

import (
	"path/filepath"
	"sync"

	"renewer/configs"
	"renewer/internal/seal"
)

// lazyKeys opens the sealed keys when the first is needed, so that a command
// that only reads needs no identity.
type lazyKeys struct {
	fleet *configs.Fleet
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
	keys, err := seal.Open(filepath.Join(l.fleet.StateDir, "keys"), l.fleet.SealIdentityFile, l.fleet.SealIdentityFile == own)
	if err == nil {
		l.keys = keys
	}
	return keys, err
}

func (l *lazyKeys) Save(rollout string, pem []byte) error {
	k, err := l.open()
	if err != nil {
		return err
	}
	return k.Save(rollout, pem)
}

func (l *lazyKeys) Load(rollout string) ([]byte, bool, error) {
	k, err := l.open()
	if err != nil {
		return nil, false, err
	}
	return k.Load(rollout)
}

func (l *lazyKeys) Remove(rollout string) error {
	k, err := l.open()
	if err != nil {
		return err
	}
	return k.Remove(rollout)
}

func (l *lazyKeys) List() ([]string, error) {
	k, err := l.open()
	if err != nil {
		return nil, err
	}
	return k.List()
}
