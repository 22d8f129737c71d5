package daemon

import (
	"strings"
	"testing"

	"renewer/renewer/pki"
)

// What is missing is signed anew; a name that is empty would stay so.
func TestStrictFix(t *testing.T) {
	t.Parallel()
	for fault, fix := range map[string]string{
		"it has no keyUsage":        "renewer ca reissue fleet-ca ",
		"CA x: " + pki.EmptySubject: "renewer ca rotate fleet-ca ",
	} {
		if got := StrictFix("fleet-ca", fault); !strings.HasPrefix(got, fix) {
			t.Errorf("%s: %s", fault, got)
		}
	}
}
