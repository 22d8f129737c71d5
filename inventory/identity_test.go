package inventory

import (
	"os"
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
	if again := identityAt(t, at("here"), ""); again != here {
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
