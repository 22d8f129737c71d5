package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"renewer/configs"
	"renewer/inventory"
	"renewer/renewer"
	"renewer/renewer/server"
)

// load reads a fleet file. What is known of the reading is from before it, so
// that a change meanwhile is found afterwards.
func load(path string) (*configs.Fleet, *server.FleetFile, error) {
	f := fileNow(path)
	fleet, err := configs.Load(f.Path)
	return fleet, f, err
}

func fileNow(path string) *server.FleetFile {
	if abs, err := filepath.Abs(path); err == nil { // a client may run in another directory
		path = abs
	}
	return &server.FleetFile{Path: path, Read: map[string]string{path: configs.Stamp(path)}}
}

// firstFault is the first of the faults of a fleet file, with how many more
// there are.
func firstFault(err error) string {
	var faults configs.Faults
	if !errors.As(err, &faults) || len(faults) < 2 {
		return err.Error()
	}
	return fmt.Sprintf("%v (and %d more)", faults[0], len(faults)-1)
}

// FaultOnDisk says what is wrong with the fleet file that a command reads,
// beside a daemon that holds one; empty if nothing is. A file that the daemon
// has read as it is now is not read again.
func FaultOnDisk(path string, holds server.FleetFile) string {
	if same(path, holds.Path) {
		path = holds.Path
	}
	if was, ok := holds.Read[path]; ok && was == configs.Stamp(path) {
		return holds.Fault
	}
	if _, err := configs.LoadForReading(path); err != nil && !errors.Is(err, fs.ErrPermission) {
		return firstFault(err)
	}
	return ""
}

func same(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// FleetFile implements server.Service.
func (a *App) FleetFile(context.Context) (server.FleetFile, error) {
	f := *a.file.Load()
	for _, bad := range a.parts.Load().fleet.Unusable() {
		f.Unusable = append(f.Unusable, bad.Error())
	}
	return f, nil
}

// held is what the inventory says of a fleet file that it holds: the version of
// the program decides what the text means.
func held(version, digest string) string { return version + " " + digest }

// letGo makes the inventory hold no other fleet file any more, before its
// records change.
func (a *App) letGo(fleet *configs.Fleet) error {
	was, err := a.inv.Holds()
	if err != nil || was == held(a.opts.Version, fleet.Digest) {
		return err
	}
	return a.inv.SetHolds("")
}

// hold notes that the inventory has every certificate of the fleet file and no
// other, if it has: see Glimpse. What a file of roots is worth is seen by opening it.
func (a *App) hold() error {
	fleet := a.parts.Load().fleet
	names, err := a.store.Names()
	if err != nil || fleet.HasRootFiles() || len(names) != len(fleet.Certificates) {
		return err
	}
	for _, name := range names {
		if _, ok := fleet.Index(name); !ok {
			return nil
		}
	}
	return a.inv.SetHolds(held(a.opts.Version, fleet.Digest))
}

// Glimpse is a state that is looked at without the fleet file: only lists of
// everything, and the log.
type Glimpse struct{ inv *inventory.Inventory }

// OpenGlimpse opens the state of a fleet file whose every certificate the
// inventory has, as the last daemon or pass has found. It is nil where that is not
// known, or anything is unusual: Open says what.
func OpenGlimpse(path string, o Options) *Glimpse {
	dir, err := configs.StateDirOf(path)
	if err != nil {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm()&0o077 != 0 {
		return nil
	}
	digest, err := configs.Digest(path)
	if err != nil {
		return nil
	}
	inv, err := inventory.Open(filepath.Join(dir, "inventory.db"), inventory.Options{ReadOnly: true})
	if err != nil {
		return nil
	}
	if is, err := inv.Holds(); err != nil || is != held(o.Version, digest) {
		_ = inv.Close() // opened to read
		return nil
	}
	return &Glimpse{inv}
}

// Close closes the inventory.
func (g *Glimpse) Close() error { return g.inv.Close() }

// List is that of App for a filter that names neither a host nor an issuer.
func (g *Glimpse) List(_ context.Context, f renewer.ListFilter, yield func(renewer.Row) error) error {
	return list(withOrphans(g.inv, func(string) bool { return false }, g.inv.Rows), f, yield)
}

// Events is that of App.
func (g *Glimpse) Events(_ context.Context, f renewer.EventFilter) ([]renewer.Event, error) {
	return g.inv.Events(f)
}

func list(rows func(time.Time, func(renewer.Row) bool) error, f renewer.ListFilter, yield func(renewer.Row) error) error {
	now := time.Now()
	var until time.Time
	if f.ExpiringWithin > 0 {
		until = now.Add(f.ExpiringWithin)
	}
	var failed error
	err := rows(until, func(row renewer.Row) bool {
		if row = row.At(now); f.Matches(row) {
			failed = yield(row)
		}
		return failed == nil
	})
	return errors.Join(err, failed)
}
