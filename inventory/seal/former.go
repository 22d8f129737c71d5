package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"

	"renewer/internal/atomicfile"
	"renewer/renewer"
)

// Earlier versions kept the keys of rollouts under way in a directory: one file
// a rollout, sealed with age and named after it, docker@host-b%233.age for
// docker@host-b#3.

const (
	formerSuffix = ".age"
	maxFormer    = 128 << 10
)

// takeOver seals the keys that are still needed into the inventory, and then
// removes the directory.
func (k *Keys) takeOver(store Store, dir string, identities []age.Identity) error {
	entries, err := os.ReadDir(dir)
	if dir == "" || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("import the keys of an earlier version: %w", err)
	}
	for _, e := range entries {
		escaped, ok := strings.CutSuffix(e.Name(), formerSuffix)
		if !ok || !e.Type().IsRegular() {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if rollout, err := url.PathUnescape(escaped); err == nil {
			if err := k.takeOverOne(store, rollout, path, identities); err != nil {
				return fmt.Errorf("import the key %s of an earlier version: %w", path, err)
			}
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("remove the key of an earlier version: %w", err)
		}
	}
	if err := errors.Join(atomicfile.Clean(dir), os.Remove(dir)); err != nil {
		slog.Warn("cannot remove the key directory of an earlier version", "error", err)
	}
	return nil
}

// takeOverOne seals the key of a rollout under its generation. One that has
// none yet gets a new key with its order.
func (k *Keys) takeOverOne(store Store, rollout, path string, identities []age.Identity) error {
	name := rollout[:max(strings.LastIndexByte(rollout, '#'), 0)]
	rec, ok, err := store.Record(name)
	if err != nil || !ok || rec.Rollout == nil || rec.Rollout.ID != rollout || !rec.NeedsKey(rec.Rollout.Generation) {
		return err
	}
	file, err := atomicfile.ReadLimited(path, maxFormer)
	if err != nil {
		return err
	}
	var pem []byte
	plain, err := age.Decrypt(bytes.NewReader(file), identities...)
	if err == nil {
		pem, err = io.ReadAll(io.LimitReader(plain, maxFormer))
	}
	var other *age.NoIdentityMatchError
	switch {
	case errors.As(err, &other):
		return misconfigured("add the former identity to the identity file of seal:, or remove the key: the rollout then starts with a new key", "it was sealed with another identity")
	case err != nil:
		slog.Warn("the key of a rollout is damaged and is removed; renewer makes a new one if no host has it", "rollout", rollout, "file", path, "error", err)
		return nil
	}
	sealed, err := k.Seal(name, rec.Rollout.Generation, pem)
	if err != nil {
		return err
	}
	_, err = store.Commit(context.Background(), renewer.Change{Key: &sealed})
	return err
}
