package vault

import (
	"encoding/json"
	"strings"
	"testing"

	"renewer/renewer/pki"
)

// FuzzParseAnswer: whatever a server says, what is taken from it is whole.
func FuzzParseAnswer(f *testing.F) {
	for _, name := range []string{"sign-ok", "sign-ok-der", "sign-ok-pem-bundle", "sign-ok-root-issuer", "sign-ok-intermediate-without-root", "sign-ok-remove-roots-from-chain"} {
		f.Add(string(recorded(name)))
	}
	f.Add(`{"data":{"certificate":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----","ca_chain":[1]}}`)
	f.Fuzz(func(t *testing.T, body string) {
		var answer struct{ Data map[string]any }
		if json.Unmarshal([]byte(body), &answer) != nil {
			return
		}
		i := &Issuer{}
		chain, err := i.parseAnswer(answer.Data)
		if err != nil {
			return
		}
		if chain.Leaf == nil || len(chain.Intermediates) > maxChain {
			t.Fatalf("%+v", chain)
		}
		child := chain.Leaf
		for _, c := range chain.Intermediates {
			if child.CheckSignatureFrom(c) != nil || pki.SelfSigned(c) {
				t.Fatalf("%s is not above %s", c.Subject, child.Subject)
			}
			child = c
		}
		again, err := i.parseAnswer(answer.Data) // from what is known
		if err != nil || len(again.Intermediates) != len(chain.Intermediates) {
			t.Fatalf("%+v, %v", again, err)
		}
	})
}

// The chain of each recorded success, in the order in which peers want it.
func TestRecordedChains(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"sign-ok":                           "Example Test Docker Intermediate CA",
		"sign-ok-remove-roots-from-chain":   "Example Test Docker Intermediate CA",
		"sign-ok-generate-lease":            "Example Test Docker Intermediate CA",
		"sign-ok-root-issuer":               "",
		"sign-ok-intermediate-without-root": "Example Test Lone Intermediate CA",
	} {
		var answer struct{ Data map[string]any }
		if err := json.Unmarshal(recorded(name), &answer); err != nil {
			t.Fatal(err)
		}
		chain, err := (&Issuer{}).parseAnswer(answer.Data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, c := range chain.Intermediates {
			got = append(got, c.Subject.CommonName)
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s: above the leaf stand %q, want %q", name, got, want)
		}
	}
}
