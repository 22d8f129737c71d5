package daemon

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"renewer/renewer"
	"renewer/renewer/hosts"
)

// absent is a host that cannot be reached while err is set.
type absent struct {
	hosts.Transport
	err error
}

func (a *absent) Run(context.Context, []string, ...string) ([]byte, error) { return nil, a.err }

// Whether a host is up follows every contact, not the looks at its health alone.
func TestHostsAreUpByAnyContact(t *testing.T) {
	t.Parallel()
	h := &health{hosts: map[string]renewer.HostStatus{"host-b": {Name: "host-b", Up: true}}}
	a := &absent{Transport: hosts.Local("/")}
	host := hosts.New(renewer.Host{Name: "host-b"}, contacts{a, "host-b", h.met})
	for _, c := range []struct {
		err error
		up  bool
	}{
		{fmt.Errorf("connect: %w", renewer.ErrUnreachable), false},
		{nil, true},
		{fmt.Errorf("connect: %w", renewer.ErrUnreachable), false},
		{errors.New("exit status 1"), true},
	} {
		a.err = c.err
		_ = host.Run(t.Context(), []string{"true"})
		_, all := h.all()
		if len(all) != 1 || all[0].Up != c.up || (all[0].Error == "") != c.up {
			t.Errorf("after %v: %+v", c.err, all)
		}
	}
	a.err = renewer.ErrUnreachable
	given, cancel := context.WithCancel(t.Context())
	cancel()
	_ = host.Run(given, []string{"true"})
	if _, all := h.all(); !all[0].Up {
		t.Error("a contact that was given up says that the host is down")
	}
}
