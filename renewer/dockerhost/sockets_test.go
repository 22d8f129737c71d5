package dockerhost

import (
	"context"
	"errors"
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

func TestTheKeyOfAPlacementIsAsItWasSeen(t *testing.T) {
	t.Parallel()
	boxes := []renewer.Container{{Name: "app"}}
	disk := renewer.OnDisk{Key: &renewer.KeyFile{UID: 1000, GID: 7, Mode: 0o640}}
	if _, key := inspectContainers(t.Context(), mounting{said{}, boxes}, placement(), disk); key != (KeyFile{true, 1000, 7, 0o640}) {
		t.Errorf("%+v", key)
	}
	if _, key := inspectContainers(t.Context(), mounting{said{}, boxes}, placement(), renewer.OnDisk{}); key.Known {
		t.Errorf("%+v", key)
	}
	if _, key := inspectContainers(t.Context(), mounting{said{}, nil}, placement(), disk); key.Known {
		t.Errorf("%+v", key)
	}
}

// roomy is a machine that knows how much is left.
type roomy struct {
	said
	room renewer.Room
	err  error
}

func (r roomy) Room(context.Context, string) (renewer.Room, error) { return r.room, r.err }

func TestRoomAsDfSaysIt(t *testing.T) {
	t.Parallel()
	for room, want := range map[renewer.Room]Room{
		{Free: 31024896 << 10, Used: 8123456 << 10}: {true, 31024896, 21},
		{Used: 1 << 20}:          {true, 0, 100},
		{}:                       {true, 0, 0},
		{Free: 1 << 40, Used: 1}: {true, 1 << 30, 1},
	} {
		if got := inspectRoom(t.Context(), roomy{room: room}, placement()); got != want {
			t.Errorf("%+v: %+v", room, got)
		}
	}
	if got := inspectRoom(t.Context(), roomy{err: errors.New("no such directory")}, placement()); got.Known {
		t.Errorf("%+v", got)
	}
}
