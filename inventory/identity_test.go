package inventory

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

func identityAt(t *testing.T, path, machine string) renewer.Mark {
	t.Helper()
	i, err := Open(path, Options{NoSync: true, Machine: machine})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	m, err := i.Identity()
	if err != nil {
		t.Fatal(err)
	}
	sound(t, i)
	return m
}

func TestIdentityTellsCopiesApart(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	here := identityAt(t, at("here"), "machine-1")
	if here.Fleet == "" || here.Incarnation == "" || here.Term != 0 {
		t.Fatalf("a new inventory is %+v", here)
	}
	if again := identityAt(t, at("here"), "machine-1"); again != here {
		t.Errorf("opened again it is %+v, before %+v", again, here)
	}
	again := identityAt(t, at("here"), "")
	if again.Place != "" {
		t.Errorf("where the machine is not known its place is %q", again.Place)
	}
	if again.Place = here.Place; again != here {
		t.Errorf("where the machine is not known it is %+v, before %+v", again, here)
	}
	if other := identityAt(t, at("other"), "machine-1"); other.Fleet == here.Fleet {
		t.Error("two inventories are of one fleet")
	}

	i, err := Open(at("here"), Options{NoSync: true, Machine: "machine-1"})
	if err != nil {
		t.Fatal(err)
	}
	rec := renewer.Record{Name: "web", Placements: map[string]renewer.PlacementState{"a": {Revision: "r1-00000000", Origin: renewer.OriginIssued}}}
	commit(t, i, renewer.Change{Record: &rec})
	for range 2 { // it is higher once
		if err := i.RaiseTerm(4); err != nil {
			t.Fatal(err)
		}
	}
	w, err := os.Create(at("backup"))
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Backup(w); err != nil {
		t.Fatal(err)
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(at("here"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at("clone"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Restore(at("backup"), at("restored")); err != nil {
		t.Fatal(err)
	}
	for name, machine := range map[string]string{"restored": "machine-1", "clone": "machine-2"} {
		m := identityAt(t, at(name), machine)
		if m.Fleet != here.Fleet || m.Incarnation == here.Incarnation || m.Term != 5 {
			t.Errorf("%s is %+v, the first %+v", name, m, here)
		}
		if again := identityAt(t, at(name), machine); again != m {
			t.Errorf("%s, opened again, is %+v, before %+v", name, again, m)
		}
		i := openAt(t, at(name))
		rec, _, err := i.Record("web")
		if err != nil || !rec.Unseen() {
			t.Errorf("%s is taken for what is in place: %+v, %v", name, rec.Placements, err)
		}
	}
}

func TestAnIdentityThatCannotBeReadIsSaid(t *testing.T) {
	i := open(t)
	if err := i.update(func(tx *bolt.Tx) error { return bMeta.of(tx).Put(keyIdentity, []byte("{")) }); err != nil {
		t.Fatal(err)
	}
	if _, err := i.Identity(); err == nil {
		t.Error("no error")
	}
}

func shell(t *testing.T, dir, line string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", line)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
}

// What binds an incarnation to a state directory is the inventory's file. Whatever
// makes another one of it makes another incarnation, and the original stays what it is.
func TestACopyOnTheSameMachineIsAnotherIncarnation(t *testing.T) {
	top := t.TempDir()
	const machine = "machine-1"
	at := func(name string) string { return filepath.Join(top, name, "inventory.db") }
	if err := os.Mkdir(filepath.Join(top, "here"), 0o700); err != nil {
		t.Fatal(err)
	}
	here := identityAt(t, at("here"), machine)
	i := openAt(t, at("here"))
	rec := renewer.Record{Name: "web", Placements: map[string]renewer.PlacementState{"a": {Revision: "r1-00000000", Origin: renewer.OriginIssued}}}
	commit(t, i, renewer.Change{Record: &rec})
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	shell(t, top, "mv here original")
	for name, line := range map[string]string{
		"cp":   "cp -a original cp",
		"tar":  "mkdir -m 700 tar; tar -c -C original . | tar -xp -C tar",
		"here": "cp -a original here", // where the original was
	} {
		shell(t, top, line)
		seen := identityReadOnly(t, at(name), machine)
		copied := identityAt(t, at(name), machine)
		if copied.Fleet != here.Fleet || copied.Incarnation == here.Incarnation || seen.Incarnation == here.Incarnation {
			t.Errorf("%s: the copy is %+v, read alone %+v, the original %+v", name, copied, seen, here)
		}
		if again := identityAt(t, at(name), machine); again != copied {
			t.Errorf("%s: opened again, the copy is %+v, before %+v", name, again, copied)
		}
		i := openAt(t, at(name))
		if rec, _, err := i.Record("web"); err != nil || !rec.Unseen() {
			t.Errorf("%s: it is taken for what is in place: %+v, %v", name, rec.Placements, err)
		}
	}
	moved := identityAt(t, at("original"), machine)
	if moved.Place = here.Place; moved != here {
		t.Errorf("after it was moved, the original is %+v, before %+v", moved, here)
	}
}

func identityReadOnly(t *testing.T, path, machine string) renewer.Mark {
	t.Helper()
	i, err := Open(path, Options{ReadOnly: true, Machine: machine})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	m, err := i.Identity()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Not every file system tells when a file was made, or tells inodes that stay.
func TestWhatIsNotKnownOfAFileIsNoDifference(t *testing.T) {
	known := fileID{Inode: 7, Born: 9}
	for _, c := range []struct {
		than  fileID
		other bool
	}{
		{known, false},
		{fileID{}, false},
		{fileID{Inode: 7}, false},
		{fileID{Born: 9}, false},
		{fileID{Inode: 8, Born: 9}, true},
		{fileID{Inode: 7, Born: 8}, true},
		{fileID{Inode: 8}, true},
	} {
		if known.other(c.than) != c.other || c.than.other(known) != c.other {
			t.Errorf("%+v is another file than %+v: %v", c.than, known, !c.other)
		}
	}
}
