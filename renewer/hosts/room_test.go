package hosts

import (
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
	"testing"

	"renewer/renewer"
)

func TestRoomOfThisMachine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := New(renewer.Host{Name: "here"}, Local(""))
	room, err := h.Room(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	all := (s.Blocks - s.Bfree + s.Bavail) * uint64(s.Frsize)
	if got := room.Free + room.Used; room.Free == 0 || got > all+all/10 || got < all-all/10 {
		t.Errorf("%+v of %d", room, all)
	}
	if _, err := h.Room(t.Context(), filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}
