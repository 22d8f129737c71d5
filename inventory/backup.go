package inventory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"

	"renewer/internal/atomicfile"
	"renewer/renewer"
)

// Backup writes a consistent copy of the inventory while it is in use, without
// private keys and without what sealed them. The copy is made beside the
// inventory first, in a file without a name, and needs as much space there: a
// slow w would otherwise keep a transaction open, and in the end stop every
// commit.
func (i *Inventory) Backup(w io.Writer) error {
	copied, err := i.compact()
	if err != nil {
		return medium(i.path, fmt.Errorf("back up inventory %s: %w", i.path, err))
	}
	defer func() { _ = copied.Close() }()
	if _, err := io.Copy(w, copied); err != nil {
		return fmt.Errorf("write the backup of inventory %s: %w", i.path, err)
	}
	return nil
}

// compact returns a copy without free pages, in a file without a name.
func (i *Inventory) compact() (_ *os.File, err error) {
	tmp, err := os.CreateTemp(filepath.Dir(i.path), filepath.Base(i.path)+".backup-*") // 0600
	if err != nil {
		return nil, err
	}
	copied, err := os.Open(tmp.Name())
	if err := errors.Join(err, os.Remove(tmp.Name())); err != nil {
		return nil, errors.Join(err, tmp.Close())
	}
	defer func() {
		if err != nil {
			_ = copied.Close()
		}
	}()
	db, err := openBolt(tmp, tmp.Name(), false, true)
	if err != nil {
		return nil, err
	}
	err = i.view(func(tx *bolt.Tx) error { return copyAll(tx, db) })
	return copied, errors.Join(err, db.Close())
}

// copyStep is how many entries are copied in one transaction.
const copyStep = 20_000

// copyAll copies every bucket to an empty file, in the order of its keys, and
// leaves out what Backup does.
func copyAll(from *bolt.Tx, db *bolt.DB) error {
	for _, b := range buckets {
		c := b.of(from).Cursor()
		k, v := c.First()
		for first := true; first || k != nil; first = false {
			err := db.Update(func(tx *bolt.Tx) error {
				to, err := tx.CreateBucketIfNotExists([]byte(b.name))
				if err != nil {
					return err
				}
				to.FillPercent = 1
				for n := 0; k != nil && n < copyStep; n++ {
					if b != bKeys && b != bSeal {
						if err := to.Put(k, v); err != nil {
							return err
						}
					}
					k, v = c.Next()
				}
				return to.SetSequence(b.of(from).Sequence())
			})
			if err != nil {
				return err
			}
		}
	}
	return db.Update(func(tx *bolt.Tx) error {
		return errors.Join(bMeta.of(tx).Put(keyCopied, []byte{1}), bMeta.of(tx).Delete(keyFleet))
	})
}

// Restore makes the inventory dst from the backup src. A copy of src is
// migrated if it is older, checked whole, and only then given its name, at
// once; src stays as it is. Where dst is already it returns ErrExists and
// changes nothing: who wants to go back moves it away first.
func Restore(src, dst string) error {
	if _, err := os.Lstat(dst); err == nil {
		return exists(src, dst)
	}
	tmp, err := copyLocked(src, dst)
	if err != nil {
		return medium(dst, fmt.Errorf("restore %s: %w", src, ofBackup(err, src)))
	}
	defer func() { _ = os.Remove(tmp) }()
	if err := checkCopy(tmp); err != nil {
		return fmt.Errorf("restore %s: %w", src, ofBackup(err, src))
	}
	switch err := publish(tmp, dst); {
	case errors.Is(err, fs.ErrExist):
		return exists(src, dst)
	case err != nil:
		return medium(dst, fmt.Errorf("restore %s to %s: %w", src, dst, err))
	}
	return nil
}

func exists(src, dst string) error {
	return renewer.WithHint(fmt.Errorf("restore %s: %w: %s", src, ErrExists, dst),
		fmt.Sprintf("stop the daemon, move the inventory away (mv %s %s.old), and repeat the command", dst, dst))
}

// copyLocked copies src beside dst and returns the name of the copy. The lock
// on src keeps out other writers meanwhile.
func copyLocked(src, dst string) (tmp string, err error) {
	in, err := atomicfile.Open(src)
	if err != nil {
		return "", err
	}
	defer func() { _ = in.Close() }()
	if err := lock(in, src, true, time.Second); err != nil {
		return "", err
	}
	if _, err := checkHeader(src, in); err != nil {
		return "", err
	}
	out, err := os.CreateTemp(filepath.Dir(dst), filepath.Base(dst)+".restore-*") // 0600
	if err != nil {
		return "", err
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		return "", errors.Join(err, os.Remove(out.Name()))
	}
	return out.Name(), nil
}

// checkCopy opens the copy, which migrates it, and checks everything.
func checkCopy(tmp string) error {
	i, err := Open(tmp, Options{})
	if err != nil {
		return err
	}
	found := i.CheckFull(context.Background())
	if err := i.Close(); err != nil {
		return err
	}
	if len(found) > 0 {
		return renewer.WithHint(fmt.Errorf("the backup is damaged: %w", errors.Join(found...)), "use an earlier backup")
	}
	return nil
}

// ofBackup makes an error about a backup, or about the copy of it, one that goes on after
// its name, and never advises to move the backup away.
func ofBackup(err error, src string) error {
	var schema *SchemaError
	var bad *DamagedError
	switch at, ok := errors.AsType[*fs.PathError](err); {
	case ok && at.Path == src:
		return at.Err
	case errors.As(err, &schema):
		schema.Path = ""
	case errors.As(err, &bad):
		return renewer.WithHint(&DamagedError{What: bad.What}, "name a backup that is whole: renewer backup FILE wrote it")
	}
	return err
}
