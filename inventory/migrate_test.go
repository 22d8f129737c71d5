package inventory

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// schema2 unpacks the file that the version with schema 2 made; see
// testdata/README.md.
func schema2(t *testing.T) string {
	t.Helper()
	packed, err := os.ReadFile("testdata/schema2.db.gz")
	if err != nil {
		t.Fatal(err)
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(r)
	path := filepath.Join(t.TempDir(), "inventory.db")
	if err := errors.Join(err, os.WriteFile(path, content, 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

// bare opens a file as bbolt does, for what no inventory may do.
func bare(t *testing.T, path string, fn func(tx *bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(fn), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// sameAs compares what was read with the JSON that it was made of.
func sameAs[T any](t *testing.T, what string, body []byte, got T) {
	t.Helper()
	var want T
	if err := json.Unmarshal(body, &want); err != nil {
		t.Fatal(err)
	}
	alike(t, what, want, got)
}

func alike(t *testing.T, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateApproxTime(0), cmpopts.EquateEmpty()); d != "" {
		t.Errorf("%s (-schema 2 +now):\n%s", what, d)
	}
}

// Everything in a file of the version before is there afterwards.
func TestMigrateFromSchema2(t *testing.T) {
	t.Parallel()
	path := schema2(t)
	was := map[string][]pair{}
	rows := map[string]*renewer.Row{}
	bare(t, path, func(tx *bolt.Tx) (err error) {
		for _, name := range []string{"records", "removed", "generations", "rollouts", "events"} {
			err = errors.Join(err, tx.Bucket([]byte(name)).ForEach(func(k, v []byte) error {
				was[name] = append(was[name], pair{bytes.Clone(k), bytes.Clone(v)})
				return nil
			}))
		}
		var err2 error
		rows, err2 = formerRows(tx)
		return errors.Join(err, err2)
	})
	for name, least := range map[string]int{"records": 8, "removed": 1, "generations": 12, "rollouts": 12, "events": 60} {
		if len(was[name]) < least {
			t.Fatalf("%s has %d entries", name, len(was[name]))
		}
	}

	i := openAt(t, path)
	sound(t, i)
	for _, e := range slices.Concat(was["records"], was["removed"]) {
		rec, ok, err := i.Record(string(e.k))
		if !ok || err != nil {
			t.Fatal(ok, err)
		}
		var want renewer.Record
		if err := json.Unmarshal(e.v, &want); err != nil {
			t.Fatal(err)
		}
		want.Upgrade()
		alike(t, "record "+rec.Name, want, rec)
	}
	for _, e := range was["generations"] {
		name, n, _ := splitNumberKey(e.k)
		g, ok, err := i.Generation(name, int(n))
		if !ok || err != nil {
			t.Fatal(name, n, ok, err)
		}
		sameAs(t, "generation of "+name, e.v, g)
		if found, ok, err := i.BySerial(g.Serial); !ok || err != nil || found.Fingerprint != g.Fingerprint {
			t.Error(name, n, ok, err)
		}
	}
	for _, e := range was["rollouts"] {
		name, n, _ := splitNumberKey(e.k)
		r, ok, err := i.Rollout(renewer.RolloutID(name, int(n)))
		if !ok || err != nil {
			t.Fatal(name, n, ok, err)
		}
		sameAs(t, "rollout "+r.ID, e.v[timeSize:], r)
	}
	events, err := i.Events(renewer.EventFilter{})
	if err != nil || len(events) != len(was["events"]) {
		t.Fatal(len(events), err)
	}
	for n, e := range was["events"] {
		events[n].Seq = 0 // it is in the key
		sameAs(t, "event", e.v[timeSize:], events[n])
	}
	err = i.Rows(time.Time{}, func(row renewer.Row) bool {
		if d := cmp.Diff(*rows[row.Name], row); d != "" {
			t.Errorf("row of %s (-schema 2 +now):\n%s", row.Name, d)
		}
		delete(rows, row.Name)
		return true
	})
	if err != nil || len(rows) > 0 {
		t.Errorf("rows are missing: %v, %v", rows, err)
	}
	if state, err := i.LoadChannel("ops"); string(state) != `{"cursor":12}` || err != nil {
		t.Errorf("%q %v", state, err)
	}
	open, err := i.Open()
	equal(t, "open", open, []string{"waiting"})
	if err != nil {
		t.Error(err)
	}
	if got := commit(t, i, renewer.Change{Events: []renewer.Event{{Type: renewer.EventExpired}}}); got[0].Seq != uint64(len(events))+1 {
		t.Errorf("the log goes on at %d", got[0].Seq)
	}
	if _, err := i.Commit(t.Context(), issued("gone", 0, day(5))); !errors.Is(err, ErrConflict) {
		t.Errorf("the numbers of a removed name began again: %v", err)
	}
	sound(t, i)
}

// Files of the first versions had no indexes, or no channels.
func TestMigrateFromSchema0And1(t *testing.T) {
	t.Parallel()
	for _, from := range []string{"0", "1"} {
		path := schema2(t)
		bare(t, path, func(tx *bolt.Tx) error {
			gone := []string{"channels"}
			if from == "0" {
				gone = append(gone, "places", "expiry", "due", "open", "by_serial", "by_fingerprint", "events_by_name")
			}
			var errs []error
			for _, name := range gone {
				errs = append(errs, tx.DeleteBucket([]byte(name)))
			}
			return errors.Join(append(errs, bMeta.of(tx).Put(keySchema, []byte(from)))...)
		})
		var schemaErr *SchemaError
		if _, err := Open(path, Options{ReadOnly: true}); !errors.As(err, &schemaErr) || schemaErr.File != int(from[0]-'0') || renewer.Hint(err) == "" {
			t.Errorf("read-only: %v", err)
		}
		i := openAt(t, path)
		sound(t, i)
		if names := rowNames(t, i, time.Time{}); len(names) != 8 || names[0] != "adopted" {
			t.Errorf("rows %v", names)
		}
		if due, err := i.Due(day(999), 0); err != nil || len(due) != 7 { // a trust bundle is never due
			t.Error(due, err)
		}
	}
}

// A migration that fails leaves the file as it was.
func TestFailedMigrationChangesNothing(t *testing.T) {
	t.Parallel()
	path := schema2(t)
	bare(t, path, func(tx *bolt.Tx) error { return bRecords.of(tx).Put([]byte("web"), []byte("{")) })
	before, _ := os.ReadFile(path)
	if _, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), "from schema 2 to 3") || !strings.Contains(err.Error(), "web") {
		t.Error(err)
	}
	after, _ := os.ReadFile(path)
	if !bytes.Equal(before, after) {
		t.Error("the file was changed")
	}
}

// A list shows the issuer that signed what is in place, from the start.
func TestMigratedRowsNameTheIssuerThatSigned(t *testing.T) {
	t.Parallel()
	path := schema2(t)
	bare(t, path, func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte("generations"))
		changed := map[string][]byte{}
		err := b.ForEach(func(k, v []byte) error {
			var g map[string]any
			if err := json.Unmarshal(v, &g); err != nil {
				return err
			}
			g["request"].(map[string]any)["issuer"] = "signer"
			text, err := json.Marshal(g)
			changed[string(k)] = text
			return err
		})
		for k, v := range changed {
			err = errors.Join(err, b.Put([]byte(k), v))
		}
		return err
	})
	i, rows := openAt(t, path), 0
	if err := i.Rows(time.Time{}, func(r renewer.Row) bool {
		if r.Fingerprint != "" {
			if rows++; r.Issuer != "signer" {
				t.Errorf("%s: %s", r.Name, r.Issuer)
			}
		}
		return true
	}); err != nil || rows == 0 {
		t.Fatal(rows, err)
	}
}
