package probes

import (
	"net"
	"testing"

	"renewer/renewer"
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
		t.Error("reached where no one listens")
	}
}

// A service that cuts every connection gives the same answer each time: one
// with our own port in it would be news at every look.
func TestTheSameAnswerReadsTheSame(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.(*net.TCPConn).SetLinger(0) // a reset
			_ = conn.Close()
		}
	}()
	f := newFixture(t)
	seen := map[string]bool{}
	for range 3 {
		_, err := New().Probe(t.Context(), f.request(renewer.ProbeTLS, l.Addr().String(), false))
		if err == nil {
			t.Fatal("no error")
		}
		seen[err.Error()] = true
	}
	if len(seen) != 1 {
		t.Errorf("%v", seen)
	}
}
