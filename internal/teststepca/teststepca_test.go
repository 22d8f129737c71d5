package teststepca_test

import (
	"net"
	"testing"

	"go.uber.org/goleak"

	"renewer/internal/teststepca"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, teststepca.Leftovers()...) }

// A CA that was stopped is the same one when it runs again.
func TestStopAndStart(t *testing.T) {
	t.Parallel()
	ca, err := teststepca.Start(t.TempDir(), teststepca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	answers := func() bool {
		conn, err := net.Dial("tcp", ca.Address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}
	for range 2 {
		if err := ca.Start(); err != nil || !answers() {
			t.Fatalf("after a start: %v", err)
		}
		for range 2 {
			if err := ca.Stop(); err != nil || answers() {
				t.Fatalf("after a stop: %v", err)
			}
		}
	}
	if err := ca.Intermediate.CheckSignatureFrom(ca.Root); err != nil {
		t.Error(err)
	}
}
