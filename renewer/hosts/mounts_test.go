package hosts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"renewer/renewer"
)

const mounts = `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
98 22 8:1 /srv/tls/tls.key /srv/tls/tls.key rw,relatime shared:1 - ext4 /dev/sda1 rw
99 22 8:1 /srv/tls /srv/with\040space/tls.key rw,relatime - ext4 /dev/sda1 rw
100 22 8:1 /srv/other /srv/other rw,relatime - ext4 /dev/sda1 rw
short line
`

// A file that is a mount of its own cannot be replaced by a rename: that is said
// while staging, and for good. A mounted directory is as good as any.
func TestStageRefusesAFileThatIsAMountOfItsOwn(t *testing.T) {
	t.Parallel()
	for dir, refused := range map[string]bool{"/srv/tls": true, "/srv/with space": true, "/srv/other": false, "/srv": false} {
		root := t.TempDir()
		for _, d := range []string{dir, "/proc/self"} {
			must(t, os.MkdirAll(filepath.Join(root, d), 0o755))
		}
		must(t, os.WriteFile(filepath.Join(root, "proc/self/mountinfo"), []byte(mounts), 0o600))
		must(t, os.WriteFile(filepath.Join(root, dir, "tls.key"), []byte("old"), 0o600))
		h := New(renewer.Host{Name: "host-a"}, Local(root))
		p := renewer.Placement{
			Certificate: "web", Host: "host-a", Dir: dir, Files: map[renewer.FileKind]string{renewer.FileKey: "tls.key"},
			Modes: map[renewer.FileKind]os.FileMode{renewer.FileKey: 0o400},
		}
		_, err := h.Stage(t.Context(), p, map[renewer.FileKind][]byte{renewer.FileKey: []byte("new")})
		if !refused {
			must(t, err)
			continue
		}
		if err == nil || renewer.EndingOf(err) != renewer.EndRefused || !strings.Contains(err.Error(), dir+"/tls.key is a mount point") ||
			!strings.Contains(renewer.Hint(err), "mount the directory "+dir) {
			t.Errorf("%s: %v; hint %s", dir, err, renewer.Hint(err))
		}
		text, err := os.ReadFile(filepath.Join(root, dir, "tls.key"))
		must(t, err)
		equal(t, "in place", string(text), "old")
	}
}
