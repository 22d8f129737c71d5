package main

import (
	"strings"
	"testing"

	"renewer/renewer"
)

// What was found is said with its host or certificate; what concerns neither says itself
// what it is about.
func TestWhatWasFoundIsSaidWithItsName(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	c := &cli{errOut: &out}
	err := c.down(checked{Findings: []renewer.Finding{
		{Level: renewer.FindingWarn, Text: "issuer iss needs a TXT record", Fix: "add it"},
		{Level: renewer.FindingWarn, Certificate: "web", Text: "asks for too much"},
		{Level: renewer.FindingFail, Host: "host-b", Certificate: "web", Text: "refuses"},
	}})
	const want = `warning: issuer iss needs a TXT record
hint: add it
warning: certificate web: asks for too much
error: host host-b: refuses
`
	if err == nil || out.String() != want {
		t.Errorf("error %v, got\n%swant\n%s", err, &out, want)
	}
}
