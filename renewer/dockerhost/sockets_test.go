package dockerhost

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
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

// As docker ps prints it: names, then volumes and paths of the host.
func TestMountsAsDockerSaysThem(t *testing.T) {
	t.Parallel()
	got := inspectMounts(t.Context(), said{out: "WARNING: x\nrenewer: web /etc/docker/tls/ca.pem,data,/srv\nrenewer: bare \nrenewer: db pgdata\n"})
	want := []Mounted{{"web", "/etc/docker/tls/ca.pem"}, {"web", "/srv"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
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
