package hosts

import (
	"io/fs"
	"os"
	"testing"

	"renewer/internal/testpki"
	"renewer/renewer"
)

func TestOwnGroup(t *testing.T) {
	t.Parallel()
	const passwd = "root:x:0:0:root:/root:/bin/sh\nsvc:x:1001:1001::/srv:/bin/false\nother:x:1002:1002::/:/bin/sh\nguest:x:1003:1004::/:/bin/sh\ntwin:x:1001:1001::/:/bin/sh\n"
	for name, c := range map[string]struct {
		gid   int
		group string
		own   bool
	}{
		"the user's own":                    {1001, "svc:x:1001:", true},
		"named in it":                       {1001, "svc:x:1001:svc,root,twin\n", true},
		"somebody else in it":               {1001, "svc:x:1001:svc,other", false},
		"a name that is no user":            {1001, "svc:x:1001:gone", false},
		"another user's first group":        {1004, "staff:x:1004:", false},
		"another group":                     {1001, "other:x:1002:", false},
		"no entry":                          {1001, "", false},
		"a line that is none":               {1001, "svc:x:1001", false},
		"of a number that only starts so":   {1001, "svc:x:10011:", false},
		"a user who is in it and not known": {1001, "svc:x:1001:svc,", true},
	} {
		if got := OwnGroup(Owner{UID: 1001, GID: c.gid}, passwd, c.group); got != c.own {
			t.Errorf("%s: %v", name, got)
		}
	}
	if OwnGroup(Owner{UID: 1009, GID: 1001}, passwd, "svc:x:1001:") {
		t.Error("the group of a user who is not known")
	}
}

// What root goes by in a file is refused where others may write it.
func TestFilesThatOthersMayWrite(t *testing.T) {
	root(t)
	overEach(t, filesThatOthersMayWrite)
}

func filesThatOthersMayWrite(t *testing.T, b *bench) {
	h := b.host()
	for mode, open := range map[fs.FileMode]bool{0o644: false, 0o666: true, 0o646: true, 0o664: true} {
		for name, text := range map[string]string{"/run/x.pid": "4194303", "/etc/docker/daemon.json": "{}"} {
			testpki.WriteFile(t, b.path(name), []byte(text), 0o600)
			must(t, os.Chown(b.path(name), 0, 12)) // the group man
			must(t, os.Chmod(b.path(name), mode))
		}
		_, err := h.Activate(t.Context(), renewer.Activation{Kind: renewer.ActivateSignal, PIDFile: "/run/x.pid", Signal: "HUP"})
		if open {
			fails(t, err, "/run/x.pid of user 0, group 12", "other users can write it")
			equal(t, "class", renewer.ClassOf(err), renewer.ClassMisconfigured)
		} else {
			must(t, err)
		}
		if _, _, err = h.ReadFile(t.Context(), "/etc/docker/daemon.json"); open != (err != nil) {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
}

// A directory is as safe where the group that may write in it is its owner's alone.
func TestWayThroughAnOwnGroup(t *testing.T) {
	t.Parallel()
	for _, mode := range []fs.FileMode{0o775, 0o777} {
		for _, own := range []bool{true, false} {
			w := Way{Alone: func(o Owner) bool { return own && o == Owner{UID: 7, GID: 8} }}
			must(t, w.Through("/", Info{Mode: fs.ModeDir | 0o755}))
			err := w.Through("/srv", Info{Mode: fs.ModeDir | mode, Owner: Owner{UID: 7, GID: 8}})
			if safe := own && mode == 0o775; safe != (err == nil) {
				t.Errorf("mode %04o, own group %v: %v", mode, own, err)
			}
		}
	}
}
