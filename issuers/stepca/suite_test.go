package stepca_test

import (
	"testing"

	"renewer/internal/teststepca"
	"renewer/issuers/issuertest"
	"renewer/renewer"
)

func TestSuite(t *testing.T) {
	t.Parallel()
	issuertest.Run(t, issuertest.Harness{
		New:     func(t *testing.T) issuertest.Issuer { return open(t, configOf(shared)) },
		Keys:    []renewer.KeyType{renewer.ECDSAP256, renewer.ECDSAP384, renewer.Ed25519, renewer.RSA2048},
		Adds:    true, // its default template has both usages, and a name where there is none
		Secrets: []string{teststepca.Password, wrongPassword},
	})
}

func TestSuiteWithX5C(t *testing.T) {
	t.Parallel()
	issuertest.Run(t, issuertest.Harness{
		New:  func(t *testing.T) issuertest.Issuer { return open(t, x5cConfigOf(shared)) },
		Adds: true,
	})
}

const wrongPassword = "Wrong-Horse-9"
