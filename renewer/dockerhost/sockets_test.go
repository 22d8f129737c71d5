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
