package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"renewer/renewer"
)

// writerFunc is an io.Writer.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	i := open(t)
	for n := range 200 {
		commit(t, i, issued(fmt.Sprintf("c%03d", n), 1, day(n)))
	}
	var copied bytes.Buffer
	more := 200
	err := i.Backup(writerFunc(func(b []byte) (int, error) {
		// A slow reader of the backup does not stop commits that grow the
		// file, and they are not in the copy.
		commit(t, i, issued(fmt.Sprintf("c%03d", more), 1, day(more)))
		more++
		return copied.Write(b)
	}))
	if err != nil {
		t.Fatal(err)
	}
	if more == 200 {
		t.Fatal("nothing was written")
	}
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "backup"), filepath.Join(dir, "state", "inventory.db")
	if err := errors.Join(os.WriteFile(src, copied.Bytes(), 0o644), os.Mkdir(filepath.Dir(dst), 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := Restore(src, dst); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dst); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	r := openAt(t, dst)
	names, err := r.Names()
	if err != nil || len(names) != 200 {
		t.Errorf("%d names, %v", len(names), err)
	}
	sound(t, r)
	got := commit(t, r, issued("after", 1, day(1)))
	if got[0].Seq != 201 {
		t.Errorf("the log goes on at %d", got[0].Seq)
	}
	if files, _ := os.ReadDir(filepath.Dir(dst)); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
	if files, _ := os.ReadDir(filepath.Dir(i.Path())); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
}

func TestBackupToABrokenWriter(t *testing.T) {
	t.Parallel()
	i := open(t)
	gone := errors.New("the client went away")
	if err := i.Backup(writerFunc(func([]byte) (int, error) { return 0, gone })); !errors.Is(err, gone) {
		t.Error(err)
	}
	commit(t, i, issued("a", 1, day(1)))
}

func TestRestoreOverwritesNothing(t *testing.T) {
	t.Parallel()
	src, dst := filepath.Join(t.TempDir(), "backup"), open(t).Path()
	if err := os.WriteFile(src, full(t), 0o600); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(dst)
	err := Restore(src, dst)
	if !errors.Is(err, ErrExists) || !strings.Contains(renewer.Hint(err), "mv "+dst) {
		t.Errorf("%v (%s)", err, renewer.Hint(err))
	}
	if after, _ := os.ReadFile(dst); !bytes.Equal(before, after) {
		t.Error("the inventory was changed")
	}
}

func TestRestoreRefusesDamage(t *testing.T) {
	t.Parallel()
	whole, page := full(t), os.Getpagesize()
	wrongIndex := open(t)
	commit(t, wrongIndex, issued("a", 1, day(1)))
	spoil(t, wrongIndex, bDue, atKey(timeKey(day(3)), "ghost"), nil)
	var spoiled bytes.Buffer
	if err := wrongIndex.Backup(&spoiled); err != nil {
		t.Fatal(err)
	}
	for what, content := range map[string][]byte{
		"empty": nil, "text": []byte("hello"), "cut": whole[:9*page], "index": spoiled.Bytes(),
	} {
		dir := t.TempDir()
		src, dst := filepath.Join(dir, "backup"), filepath.Join(dir, "inventory.db")
		if err := os.WriteFile(src, content, 0o600); err != nil {
			t.Fatal(err)
		}
		err := Restore(src, dst)
		if err == nil || !strings.Contains(err.Error(), src) || renewer.Hint(err) == "" {
			t.Errorf("%s: %v (%s)", what, err, renewer.Hint(err))
		}
		if files, _ := os.ReadDir(dir); len(files) != 1 {
			t.Errorf("%s: left behind: %v", what, files)
		}
	}
	if err := Restore(filepath.Join(t.TempDir(), "none"), filepath.Join(t.TempDir(), "x")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestPrune(t *testing.T) {
	t.Parallel()
	i := open(t)
	var changes []renewer.Change
	for n := range 3000 {
		name := fmt.Sprintf("c%d", n%3)
		changes = append(changes, renewer.Change{
			Events: []renewer.Event{{Type: renewer.EventRolloutDone, Certificate: name, Time: epoch.Add(time.Duration(n) * time.Minute)}},
			Closed: &renewer.Rollout{ID: renewer.RolloutID(name, n/3), Certificate: name, Phase: renewer.PhaseDone, EndedAt: epoch.Add(time.Duration(n) * time.Minute)},
		})
	}
	commit(t, i, changes...)
	done, err := i.Prune(t.Context(), epoch.Add(2990*time.Minute), 100)
	if err != nil {
		t.Fatal(err)
	}
	// 2,900 events are neither among the last hundred nor too young; of each
	// certificate's 1,000 rollouts the last ten stay.
	equal(t, "pruned", done, Pruned{Events: 2900, Rollouts: 2970})
	events, err := i.Events(renewer.EventFilter{})
	if err != nil || len(events) != 100 || events[0].Seq != 2901 {
		t.Errorf("%d events, %v", len(events), err)
	}
	if of, _ := i.Events(renewer.EventFilter{Certificate: "c0"}); len(of) != 33 && len(of) != 34 {
		t.Errorf("%d events of c0", len(of))
	}
	rollouts, err := i.Rollouts("c1", 0)
	if err != nil || len(rollouts) != 10 || rollouts[0].ID != "c1#999" {
		t.Errorf("%d rollouts, %v", len(rollouts), err)
	}
	if done, err = i.Prune(t.Context(), epoch.Add(2950*time.Minute), 0); err != nil || done.Events != 50 {
		t.Errorf("by time: %+v %v", done, err)
	}
	if got := commit(t, i, renewer.Change{Events: []renewer.Event{{Type: renewer.EventExpired}}}); got[0].Seq != 3001 {
		t.Errorf("the log goes on at %d", got[0].Seq)
	}
	sound(t, i)
}
