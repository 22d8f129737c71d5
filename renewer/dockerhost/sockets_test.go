package dockerhost

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"renewer/renewer"
)

// As systemd 252 prints it.
const sockets = `Id=dbus.socket
Listen=/run/dbus/system_bus_socket (Stream)
Triggers=dbus.service
LoadState=loaded
ActiveState=active

Id=docker-tcp.socket
Listen=[::]:2376 (Stream)
Triggers=docker.service
LoadState=loaded
ActiveState=active

Id=gone.socket
Listen=2376 (Stream)
LoadState=not-found
ActiveState=inactive

Id=log.socket
Listen=/run/log (Datagram)
Listen=514 (Datagram)
Listen=[::]:6514 (Stream)
Triggers=log.service other.service
LoadState=loaded
ActiveState=inactive
`

type said struct {
	Machine
	out string
}

func (s said) Output(context.Context, []string) (string, error) { return s.out, nil }

func TestSocketsAsSystemdSaysThem(t *testing.T) {
	t.Parallel()
	got, err := inspectSockets(t.Context(), said{out: sockets})
	must(t, err)
	want := []Socket{
		{Unit: "dbus.socket", Address: "/run/dbus/system_bus_socket", Starts: []string{"dbus.service"}, Active: true},
		{Unit: "docker-tcp.socket", Address: "[::]:2376", Starts: []string{"docker.service"}, Active: true},
		{Unit: "log.socket", Address: "[::]:6514", Starts: []string{"log.service", "other.service"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// Who may read a key, as far as that is known from outside of a container.
func TestWhoMayReadAKey(t *testing.T) {
	t.Parallel()
	root, app := KeyFile{Mode: 0o400}, KeyFile{UID: 1000, GID: 7, Mode: 0o440}
	for _, tc := range []struct {
		key         KeyFile
		user        string
		reads, sure bool
	}{
		{root, "", true, true},
		{root, "root", true, true},
		{root, "0:5", true, true},
		{root, "1000", false, true},
		{root, "app:app", false, true},
		{app, "1000", true, true},
		{app, "2000", false, false}, // the image says which groups it is in
		{app, "2000:7", true, true},
		{app, "2000:8", false, true},
		{app, "app", false, false},
		{KeyFile{UID: 1000, Mode: 0o400}, "app", false, false},
		{KeyFile{UID: 1000, Mode: 0o400}, "2000", false, true},
		{KeyFile{Mode: 0o444}, "2000", true, true},
	} {
		if reads, sure := tc.key.readableBy(tc.user); sure != tc.sure || sure && reads != tc.reads {
			t.Errorf("%+v by %q: %t, %t", tc.key, tc.user, reads, sure)
		}
	}
}

type mounting struct {
	said
	boxes []renewer.Container
}

func (m mounting) Containers(context.Context, string) ([]renewer.Container, error) {
	return m.boxes, nil
}

func TestAKeyAsStatSeesIt(t *testing.T) {
	t.Parallel()
	boxes := []renewer.Container{{Name: "app"}}
	if _, key := inspectContainers(t.Context(), mounting{said{out: "1000 7 640\n"}, boxes}, placement()); key != (KeyFile{true, 1000, 7, 0o640}) {
		t.Errorf("%+v", key)
	}
	if _, key := inspectContainers(t.Context(), mounting{said{out: "stat: cannot statx\n"}, boxes}, placement()); key.Known {
		t.Errorf("%+v", key)
	}
}

func TestRoomAsDfSaysIt(t *testing.T) {
	t.Parallel()
	const head = "Filesystem     1024-blocks    Used Available Capacity Mounted on\n"
	for text, want := range map[string]Room{
		head + "/dev/sda1        41152736 8123456  31024896      21% /\n": {true, 31024896, 21},
		head + "tmpfs 1024 1024 0 100% /a b\n":                            {true, 0, 100},
		"df: /nowhere: No such file or directory\n":                       {},
		"": {},
	} {
		if got := inspectRoom(t.Context(), said{out: text}, placement()); got != want {
			t.Errorf("%q: %+v", text, got)
		}
	}
}
