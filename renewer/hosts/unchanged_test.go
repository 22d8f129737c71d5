package hosts

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A look changes nothing on the host, not even the times of a directory.
func TestALookChangesNothing(t *testing.T) {
	overEach(t, func(t *testing.T, b *bench) {
		p, h := placement(), b.host()
		b.place(t, h, p, b.old)
		b.place(t, h, p, b.new)
		state := func() string {
			var out strings.Builder
			must(t, filepath.WalkDir(b.root, func(name string, _ fs.DirEntry, err error) error {
				must(t, err)
				info, err := os.Lstat(name)
				must(t, err)
				st := info.Sys().(*syscall.Stat_t)
				fmt.Fprintln(&out, name, info.Mode(), st.Ino, st.Nlink, st.Size, st.Ctim, st.Mtim)
				return nil
			}))
			return out.String()
		}
		before := state()
		for range 2 {
			got, err := h.Inspect(t.Context(), p)
			must(t, err)
			if len(got.Deviations) > 0 {
				t.Errorf("problems %+v", got.Deviations)
			}
			_, err = h.Keeper(t.Context(), p)
			must(t, err)
			must(t, h.Keep(t.Context(), p)) // it is this renewer's already
			_, _, err = h.Locate(t.Context(), p, print(b.old))
			must(t, err)
		}
		if now := state(); now != before {
			t.Errorf("afterwards:\n%s\nbefore:\n%s", now, before)
		}
	})
}
