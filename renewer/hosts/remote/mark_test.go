package remote

import (
	"os"
	"path/filepath"
	"testing"

	"renewer/renewer"
	"renewer/renewer/hosts"
)

// OpenSSH's server says of what is no directory that there is none. A damaged mark is
// one all the same, and stays as it is.
func TestADamagedMarkOverOpenSSH(t *testing.T) {
	t.Parallel()
	realServer(t)
	h := hosts.New(renewer.Host{Name: "host-b"}, reach(t, client(t), sshd(t)))
	for name, damage := range map[string]func(at string) error{
		"a file":                 func(at string) error { return os.WriteFile(at, []byte("x"), 0o644) },
		"a link to nothing":      func(at string) error { return os.Symlink("gone", at) },
		"a link to itself":       func(at string) error { return os.Symlink(".owner", at) },
		"a link to a directory":  func(at string) error { return os.Symlink("/etc", at) },
		"a link to an empty one": func(at string) error { return os.Symlink(t.TempDir(), at) },
	} {
		p := benchPlacement
		p.Dir = t.TempDir()
		at := filepath.Join(p.Dir, ".renewer", ".owner")
		must(t, os.Mkdir(filepath.Dir(at), 0o755))
		must(t, damage(at))
		before, err := os.Lstat(at)
		must(t, err)
		err = h.Keep(t.Context(), p)
		if err == nil {
			t.Errorf("%s: taken for no mark", name)
			continue
		}
		refused(t, err, "so renewer cannot tell which renewer owns the directory", "rm -r "+at)
		if after, err := os.Lstat(at); err != nil || !os.SameFile(before, after) {
			t.Errorf("%s: replaced, %v", name, err)
		}
	}
}
