// Package seal seals private keys for the inventory. Each is sealed with one
// data key (AES-256-GCM, bound to the certificate and the number of its
// generation), and that with age (https://age-encryption.org/v1, X25519) to the
// identity in a file: sealing a key costs microseconds, and the identity is
// needed once a start.
//
// With the identity beside the inventory, sealing only protects copies of the
// inventory; an identity that systemd hands over as a credential protects the
// disk as well. A copy of a deleted key may stay in a free page of the file,
// sealed, until that page is used again.
package seal

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strconv"

	"filippo.io/age"

	"renewer/internal/atomicfile"
	"renewer/renewer"
)

const (
	maxIdentity = 16 << 10
	dataKeySize = 32
)

// Store is the inventory.
type Store interface {
	// DataKey returns what SetDataKey stored; nil if nothing.
	DataKey() (wrapped []byte, err error)
	SetDataKey(wrapped []byte) error
	Record(name string) (rec renewer.Record, ok bool, err error)
	Commit(ctx context.Context, changes ...renewer.Change) ([]renewer.Event, error)
}

// Keys seals and opens private keys. It is safe for many goroutines.
type Keys struct{ aead cipher.AEAD }

// Options of Open.
type Options struct {
	// IdentityFile is in the format of age-keygen. With several identities the
	// first one seals and all of them open.
	IdentityFile string
	Create       bool // make a missing identity file, with mode 0600
	// Former is where earlier versions kept the keys of rollouts, one file
	// each: what is still needed is taken over, and the directory removed.
	Former string
}

// Open opens the data key of an inventory, and makes it where there is none.
func Open(store Store, o Options) (*Keys, error) {
	identities, fresh, err := open(o)
	if err != nil {
		return nil, err
	}
	first, err := recipient(identities, o.IdentityFile)
	if err != nil {
		return nil, err
	}
	wrapped, err := store.DataKey()
	if err != nil {
		return nil, fmt.Errorf("read the sealed data key: %w", err)
	}
	var key []byte
	stored := wrapped != nil
	if stored {
		key, stored, err = unwrap(wrapped, identities)
		var other *age.NoIdentityMatchError
		switch {
		case errors.As(err, &other) && fresh:
			slog.Warn("the identity file of seal: is new: private keys that were sealed before are lost; renewer reads needed keys back from hosts, or makes new ones", "file", o.IdentityFile)
		case errors.As(err, &other):
			return nil, misconfigured("add the former identity to "+o.IdentityFile+"; if it is lost, run `renewer backup FILE` and `renewer restore FILE`: this makes a new data key",
				"the data key of the inventory was sealed with an identity that is not in %s", o.IdentityFile)
		case err != nil:
			return nil, fmt.Errorf("open the sealed data key: %w", err)
		}
	}
	if key == nil {
		key = make([]byte, dataKeySize)
		_, _ = rand.Read(key) // never fails
	}
	if !stored {
		if err := wrap(store, key, first); err != nil {
			return nil, err
		}
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("could not open the sealed private keys: %w", err)
	}
	k := &Keys{}
	if k.aead, err = cipher.NewGCMWithRandomNonce(block); err != nil {
		return nil, fmt.Errorf("could not open the sealed private keys: %w", err)
	}
	return k, k.takeOver(store, o.Former, identities)
}

// recipient is that of the first identity, which seals.
func recipient(identities []age.Identity, file string) (age.Recipient, error) {
	first, ok := identities[0].(*age.X25519Identity)
	if !ok {
		return nil, misconfigured("make one with: age-keygen -o "+file, "the first identity in %s is not an X25519 one", file)
	}
	return first.Recipient(), nil
}

// unwrap opens the data key; asFirst is false if another identity than the
// first did, so that it has to be sealed again.
func unwrap(wrapped []byte, identities []age.Identity) (key []byte, asFirst bool, err error) {
	asFirst = true
	plain, err := age.Decrypt(bytes.NewReader(wrapped), identities[0])
	if err != nil {
		asFirst = false
		plain, err = age.Decrypt(bytes.NewReader(wrapped), identities...)
	}
	if err != nil {
		return nil, false, err
	}
	key, err = io.ReadAll(io.LimitReader(plain, dataKeySize+1))
	if err == nil && len(key) != dataKeySize {
		err = fmt.Errorf("it has %d bytes", len(key))
	}
	return key, asFirst, err
}

func wrap(store Store, key []byte, to age.Recipient) error {
	sealed, err := encrypt(key, to)
	if err != nil {
		return fmt.Errorf("seal the data key: %w", err)
	}
	return store.SetDataKey(sealed)
}

func encrypt(plain []byte, to age.Recipient) ([]byte, error) {
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, to)
	if err == nil {
		_, err = w.Write(plain)
	}
	if err == nil {
		err = w.Close()
	}
	return sealed.Bytes(), err
}

// Seal seals the PEM key of a generation.
func (k *Keys) Seal(certificate string, generation int, pem []byte) (renewer.SealedKey, error) {
	return renewer.SealedKey{
		Certificate: certificate, Generation: generation,
		Sealed: k.aead.Seal(nil, nil, pem, bound(certificate, generation)), //nolint:gosec // this AEAD makes a random nonce itself
	}, nil
}

// Open returns the PEM key that was sealed for a generation; ok is false if it
// cannot be opened: it is damaged, of another generation, or was sealed with a
// data key that is lost.
func (k *Keys) Open(certificate string, generation int, sealed []byte) (pem []byte, ok bool, err error) {
	pem, err = k.aead.Open(nil, nil, sealed, bound(certificate, generation))
	return pem, err == nil, nil
}

func bound(certificate string, generation int) []byte {
	return strconv.AppendInt(append([]byte(certificate), 0), int64(generation), 10)
}

// open reads the identities; fresh is true if the file was made just now.
func open(o Options) (identities []age.Identity, fresh bool, err error) {
	identities, err = readIdentities(o.IdentityFile)
	if errors.Is(err, fs.ErrNotExist) && o.Create {
		if err := newIdentity(o.IdentityFile); err != nil {
			return nil, false, err
		}
		fresh = true
		identities, err = readIdentities(o.IdentityFile)
	}
	return identities, fresh, err
}

// newIdentity leaves alone what another process made meanwhile.
func newIdentity(path string) error {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return fmt.Errorf("make an age identity: %w", err)
	}
	text := fmt.Sprintf("# seals private keys in the inventory\n# public key: %s\n%s\n", id.Recipient(), id)
	if err := atomicfile.WriteNew(path, []byte(text), 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the identity file of seal:: %w", err)
	}
	return nil
}

func readIdentities(path string) ([]age.Identity, error) {
	data, err := atomicfile.ReadSecret(path, maxIdentity)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, misconfigured("restore the file, or make a new one with: age-keygen -o "+path,
			"open the identity file of seal:: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("open the identity file of seal:: %w", err)
	}
	identities, err := age.ParseIdentities(bytes.NewReader(data))
	if err != nil {
		// The parser's own words may quote the line, which is a secret.
		return nil, misconfigured("the file must have the output of age-keygen: a line that begins with AGE-SECRET-KEY-1",
			"the identity file of seal: %s has no usable age identity", path)
	}
	return identities, nil
}

func misconfigured(hint, format string, args ...any) error {
	return &renewer.Error{Class: renewer.ClassMisconfigured, Hint: hint, Err: fmt.Errorf(format, args...)}
}
