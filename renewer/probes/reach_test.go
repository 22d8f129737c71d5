package probes

import (
	"net"
	"testing"
)

func TestReach(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := New().Reach(t.Context(), l.Addr().String()); err != nil {
		t.Error(err)
	}
	_ = l.Close()
	if err := New().Reach(t.Context(), l.Addr().String()); err == nil {
		t.Error("reached where nobody listens")
	}
}
