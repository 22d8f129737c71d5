package inventory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// Options of Open. The zero value is what a daemon wants.
type Options struct {
	// Timeout is how long to wait for another process to let go of the file;
	// 0 means one second, less than 0 not at all.
	Timeout time.Duration
	// ReadOnly opens without the right to change anything, together with
	// other readers. The file must be there and of this schema.
	ReadOnly bool
	// NoSync leaves out every fsync. For tests alone: a power cut then
	// damages the file.
	NoSync bool
	// Machine says which machine this is, so that a copy of the inventory that is
	// opened on another one is noticed; empty: that is not known.
	Machine string
	// Now is the clock for events without a time; nil means time.Now.
	Now func() time.Time
}

// Inventory is an open inventory. It implements Store of package engine and is
// safe for many goroutines.
type Inventory struct {
	path  string
	here  origin
	file  *os.File // of db, and closed by it
	db    *bolt.DB
	now   func() time.Time
	group group
	torn  bool                       // a meta page was damaged when it was opened
	rows  atomic.Pointer[[]*indexed] // of the last walk over all of them

	reading sync.RWMutex // held while a read transaction is open
	erasure erasure
	noSync  bool
}

// Open opens the inventory at path, and creates it with mode 0600 where none
// is; the directory must be there. A new file appears whole or not at all.
// A file of an older schema is migrated in one transaction. Only schema and page
// numbers are checked, for which a hundredth of the file is read.
//
// Errors are, with a hint, *LockedError, *DamagedError,
// *SchemaError, or those of the file system.
func Open(path string, o Options) (*Inventory, error) {
	if o.Timeout == 0 {
		o.Timeout = time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	f, err := openFile(path, o)
	if err != nil {
		return nil, err
	}
	whole, err := checkHeader(path, f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := checkPages(path, f, false); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	i := &Inventory{path: path, here: origin{o.Machine, fileIDOf(f)}, file: f, now: o.Now, noSync: o.NoSync, torn: !whole}
	if i.db, err = openBolt(f, path, o.ReadOnly, o.NoSync); err != nil {
		return nil, err
	}
	if err := i.checkSchema(); err != nil {
		return nil, errors.Join(err, i.db.Close())
	}
	if i.torn {
		slog.Warn("the inventory has a damaged meta page: its last transaction may be missing", "file", path, "hint", "renewer doctor checks the rest")
	}
	return i, nil
}

// Close lets go of the file, after the transactions that are under way.
// Further calls do nothing.
func (i *Inventory) Close() error {
	i.erase(true)
	i.erasure.remains.Store(false)
	if err := i.db.Close(); err != nil {
		return fmt.Errorf("close inventory %s: %w", i.path, err)
	}
	return nil
}

// Path returns where the file is.
func (i *Inventory) Path() string { return i.path }

func (i *Inventory) checkSchema() error {
	from, late := schema, false
	err := i.view(func(tx *bolt.Tx) (err error) {
		if from, err = fileSchema(tx, i.path); err != nil || from < schema {
			return err
		}
		late = lacks(tx)
		return checkBuckets(tx, i.path)
	})
	if err == nil && late && !i.db.IsReadOnly() {
		err = i.update(func(tx *bolt.Tx) error { return errors.Join(makeBuckets(tx), stamp(tx)) })
	}
	if err != nil || from == schema {
		return i.takeUp(err)
	}
	if i.db.IsReadOnly() {
		return renewer.WithHint(&SchemaError{Path: i.path, File: from, Known: schema},
			"it has an older schema: the daemon, or any renewer command that writes to it, upgrades it")
	}
	if err := i.update(func(tx *bolt.Tx) error { return migrate(tx, from) }); err != nil {
		return fmt.Errorf("migrate inventory %s: %w; nothing was changed", i.path, err)
	}
	return i.takeUp(nil)
}

// takeUp makes the inventory of a backup, or a copy, which time has gone on since: see
// renewer.Record.Restored. After a crash it begins again.
func (i *Inventory) takeUp(err error) error {
	if err != nil || i.db.IsReadOnly() {
		return err
	}
	copied, backup, whole := false, false, false
	err = i.view(func(tx *bolt.Tx) error {
		id, err := identityOf(tx)
		whole = id.Fleet != "" && !id.lacks(i.here)
		backup = bMeta.of(tx).Get(keyCopied) != nil
		copied = backup || id.copied(i.here)
		i.erasure.remains.Store(hasRemains(tx))
		return err
	})
	if err != nil || !copied && whole {
		return err
	}
	if copied && !backup {
		slog.Warn("the inventory is a copy: its hosts are checked first, and directories that the original owns are not written to",
			"file", i.path, "hint", "if the original renewer is stopped, run renewer adopt --take-over --all")
	}
	if !copied {
		return i.update(func(tx *bolt.Tx) error { return settle(tx, i.here, false) })
	}
	names, err := i.Names()
	if err != nil {
		return err
	}
	removed, err := i.Departed()
	if err != nil {
		return err
	}
	names = slices.AppendSeq(names, maps.Keys(removed))
	rows := map[string]renewer.Row{}
	if err := i.Rows(time.Time{}, func(row renewer.Row) bool { rows[row.Name] = row; return true }); err != nil {
		return err
	}
	for batch := range slices.Chunk(names, takeUpAtOnce) {
		changes := make([]renewer.Change, 0, len(batch))
		for _, name := range batch {
			rec, _, err := i.Record(name)
			if err != nil {
				return err
			}
			rec.Restored()
			change := renewer.Change{Record: &rec}
			if _, gone := removed[name]; gone {
				change.Remove = name
			}
			if row, listed := rows[name]; listed {
				row = row.Restored(rec)
				change.Row = &row
			}
			changes = append(changes, change)
		}
		if _, err := i.Commit(context.Background(), changes...); err != nil {
			return err
		}
	}
	return i.update(func(tx *bolt.Tx) error {
		return errors.Join(settle(tx, i.here, true), bMeta.of(tx).Delete(keyCopied))
	})
}

// takeUpAtOnce is how many records of a backup are changed in one transaction.
const takeUpAtOnce = 1000

// openFile opens and locks the file, and creates it first where none is.
func openFile(path string, o Options) (*os.File, error) {
	for {
		f, err := openRegular(path, o)
		if err != nil {
			return nil, err
		}
		if err := lock(f, path, o.ReadOnly, o.Timeout); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		// Who waited for the lock may have the file that a restore has
		// replaced meanwhile.
		mine, err1 := f.Stat()
		there, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(mine, there) {
			return f, nil
		}
		if err := errors.Join(err1, f.Close()); err != nil {
			return nil, fmt.Errorf("open inventory %s: %w", path, err)
		}
	}
}

func openRegular(path string, o Options) (*os.File, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) && !o.ReadOnly {
		if err := createFile(path, o); err != nil {
			return nil, medium(path, fmt.Errorf("create inventory %s: %w", path, err))
		}
		info, err = os.Stat(path)
	}
	switch {
	case err != nil:
		return nil, medium(path, fmt.Errorf("open inventory: %w", err))
	case info.IsDir():
		return nil, renewer.WithHint(fmt.Errorf("inventory %s is a directory", path), "set the path of the file: "+filepath.Join(path, "inventory.db"))
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("inventory %s is not a regular file (%s)", path, info.Mode().Type())
	case info.Mode().Perm()&0o077 != 0:
		return nil, renewer.WithHint(fmt.Errorf("inventory %s has mode %04o: other users can access it", path, info.Mode().Perm()),
			"chmod 600 "+path)
	}
	flag := os.O_RDWR
	if o.ReadOnly {
		flag = os.O_RDONLY
	}
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, medium(path, fmt.Errorf("open inventory: %w", err))
	}
	return f, nil
}

// createFile makes a new inventory beside path and gives it its name when it
// is whole and on the disk. A crash before leaves path.new-*, which no one
// reads. It is no error if another process was faster.
func createFile(path string, o Options) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*") // 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	db, err := openBolt(tmp, tmp.Name(), false, o.NoSync)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error { return create(tx, o.Now()) })
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := publish(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// publish gives a finished file its name unless the name is taken.
func publish(tmp, path string) error {
	if err := os.Link(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// growStep is by how much the file grows when it is full.
const growStep = 1 << 20

// openBolt opens a file that is locked already; it is closed with the DB, or
// at once on an error.
func openBolt(f *os.File, path string, readOnly, noSync bool) (db *bolt.DB, err error) {
	err = guard(path, func() (err error) {
		db, err = bolt.Open(path, 0o600, &bolt.Options{
			Timeout: time.Second, ReadOnly: readOnly, NoSync: noSync, NoGrowSync: noSync, FreelistType: bolt.FreelistMapType,
			OpenFile: func(string, int, os.FileMode) (*os.File, error) { return f, nil },
		})
		return err
	})
	if err == nil {
		db.AllocSize = growStep
		return db, nil
	}
	_ = f.Close() // bbolt has mostly closed it before
	var bad *DamagedError
	if !errors.As(err, &bad) {
		err = medium(path, fmt.Errorf("open inventory %s: %w", path, err))
	}
	return nil, err
}

// guard turns a panic of bbolt over a damaged page, and the fault of a page
// that cannot be read, into an error.
func guard(path string, fn func() error) (err error) {
	was := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(was)
	defer func() {
		if p := recover(); p != nil {
			err = damaged(path, "is damaged: %v", p)
		}
	}()
	return fn()
}

func (i *Inventory) view(fn func(*bolt.Tx) error) error {
	i.reading.RLock()
	defer i.reading.RUnlock()
	return medium(i.path, guard(i.path, func() error { return i.db.View(fn) }))
}

func (i *Inventory) update(fn func(*bolt.Tx) error) error {
	return medium(i.path, guard(i.path, func() error { return i.db.Update(fn) }))
}
