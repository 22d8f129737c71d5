// Package seal keeps the private keys of rollouts under way: one file a
// rollout, sealed with age (https://age-encryption.org/v1, X25519), mode 0600
// in a directory of mode 0700, named after the rollout: docker@host-b%233.age
// for docker@host-b#3. `age -d -i IDENTITY FILE` opens one by hand.
//
// With the identity beside the keys, sealing only protects copies of the
// directory; an identity that systemd hands over as a credential protects the
// disk as well. A removed key may come back after a power cut, until the
// directory's next write: List shows it.
package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"

	"renewer/internal/atomicfile"
	"renewer/renewer"
)

const (
	suffix      = ".age"
	maxIdentity = 16 << 10
	maxKey      = 64 << 10 // an RSA-4096 key is 3.2 KiB
)

// Keys is a directory of sealed keys. It is safe for many goroutines and
// processes.
type Keys struct {
	dir          string
	identityFile string
	identities   []age.Identity // any of them opens a file
	recipient    age.Recipient  // of the first, which seals
}

// Open opens the directory, and makes it if it is missing. The identity file
// is in the format of age-keygen; with several identities the first one seals
// and all of them open. With create, a missing identity file is made (mode
// 0600). What a crash left half written is removed.
func Open(dir, identityFile string, create bool) (*Keys, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, misconfigured(fmt.Sprintf("%s must be writable to the user that renewer runs as", filepath.Dir(dir)),
			"make the directory of sealed keys: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("open the directory of sealed keys: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, misconfigured("chmod 0700 "+dir, "the directory of sealed keys %s has mode %04o: others have access to it", dir, mode)
	}
	if err := atomicfile.Clean(dir); err != nil {
		return nil, err
	}
	identities, err := readIdentities(identityFile)
	if errors.Is(err, fs.ErrNotExist) && create {
		if err := newIdentity(identityFile); err != nil {
			return nil, err
		}
		identities, err = readIdentities(identityFile)
	}
	if err != nil {
		return nil, err
	}
	first, ok := identities[0].(*age.X25519Identity)
	if !ok {
		return nil, misconfigured("make one with: age-keygen -o "+identityFile, "the first identity in %s is not an X25519 one", identityFile)
	}
	return &Keys{dir: dir, identityFile: identityFile, identities: identities, recipient: first.Recipient()}, nil
}

// newIdentity leaves alone what another process made meanwhile.
func newIdentity(path string) error {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return fmt.Errorf("make an age identity: %w", err)
	}
	text := fmt.Sprintf("# seals the keys of rollouts under way\n# public key: %s\n%s\n", id.Recipient(), id)
	if err := atomicfile.WriteNew(path, []byte(text), 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the seal's identity file: %w", err)
	}
	return nil
}

func readIdentities(path string) ([]age.Identity, error) {
	data, err := atomicfile.ReadSecret(path, maxIdentity)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, misconfigured("put the file back, or make a new one with: age-keygen -o "+path,
			"open the seal's identity file: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("open the seal's identity file: %w", err)
	}
	identities, err := age.ParseIdentities(bytes.NewReader(data))
	if err != nil {
		// The parser's own words may quote the line, which is a secret.
		return nil, misconfigured("it should be what age-keygen writes: a line that begins with AGE-SECRET-KEY-1",
			"the seal's identity file %s holds no usable age identity", path)
	}
	return identities, nil
}

// Save seals and writes the PEM key of a rollout, durably. An earlier one is
// replaced.
func (k *Keys) Save(rollout string, pem []byte) error {
	path, err := k.path(rollout)
	if err != nil {
		return err
	}
	if len(pem) > maxKey {
		return fmt.Errorf("save the key of %s: larger than %d bytes", rollout, maxKey)
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, k.recipient)
	if err == nil {
		_, err = w.Write(pem)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return fmt.Errorf("seal the key of %s: %w", rollout, err)
	}
	if err := atomicfile.Write(path, sealed.Bytes(), 0o600); err != nil {
		return fmt.Errorf("save the key of %s: %w", rollout, err)
	}
	return nil
}

// Load returns the PEM key of a rollout; ok is false if there is none.
func (k *Keys) Load(rollout string) (pem []byte, ok bool, err error) {
	path, err := k.path(rollout)
	if err != nil {
		return nil, false, err
	}
	sealed, err := atomicfile.ReadLimited(path, 2*maxKey)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("load the key of %s: %w", rollout, err)
	}
	plain, err := age.Decrypt(bytes.NewReader(sealed), k.identities...)
	if err == nil {
		pem, err = io.ReadAll(io.LimitReader(plain, maxKey+1))
	}
	var other *age.NoIdentityMatchError
	switch {
	case errors.As(err, &other):
		return nil, false, misconfigured(
			fmt.Sprintf("add the former identity to %s, or remove the file: the rollout then begins with a new key", k.identityFile),
			"load the key of %s: %s was sealed with another identity", rollout, path)
	case err != nil, len(pem) > maxKey:
		return nil, false, misconfigured("remove the file: the rollout then begins with a new key",
			"load the key of %s: %s is damaged", rollout, path)
	}
	return pem, true, nil
}

// Remove unlinks the key of a rollout; it is no error if there is none.
func (k *Keys) Remove(rollout string) error {
	path, err := k.path(rollout)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the key of %s: %w", rollout, err)
	}
	return nil
}

// List returns the rollouts that have a key, sorted by file name. Files that
// Save did not name are left out.
func (k *Keys) List() ([]string, error) {
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		return nil, fmt.Errorf("list sealed keys: %w", err)
	}
	var out []string
	for _, e := range entries {
		if rollout, ok := rolloutOf(e.Name()); ok && e.Type().IsRegular() {
			out = append(out, rollout)
		}
	}
	return out, nil
}

func (k *Keys) path(rollout string) (string, error) {
	name := fileOf(rollout)
	if rollout == "" || len(name) > 255 {
		return "", fmt.Errorf("%q cannot name a sealed key: its file name would be empty or longer than 255 bytes", rollout)
	}
	return filepath.Join(k.dir, name), nil
}

// fileOf is one to one: PathEscape leaves no slash, and the suffix makes "."
// and ".." plain names.
func fileOf(rollout string) string { return url.PathEscape(rollout) + suffix }

func rolloutOf(name string) (string, bool) {
	escaped, ok := strings.CutSuffix(name, suffix)
	if !ok {
		return "", false
	}
	rollout, err := url.PathUnescape(escaped)
	return rollout, err == nil && rollout != "" && fileOf(rollout) == name
}

func misconfigured(hint, format string, args ...any) error {
	return &renewer.Error{Class: renewer.ClassMisconfigured, Hint: hint, Err: fmt.Errorf(format, args...)}
}
