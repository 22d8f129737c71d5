package acme_test

import (
	"testing"

	"renewer/internal/testacme"
)

func TestSignsWithHTTP01(t *testing.T) {
	t.Parallel()
	s := testacme.Start(t, testacme.Options{})
	i := open(t, configOf(t, s))
	chain := sign(t, i, orderFor(t))
	if len(chain.Intermediates) != 1 {
		t.Errorf("%d intermediates", len(chain.Intermediates))
	}
	sign(t, i, orderFor(t))
	must(t, i.LogIn(t.Context()))
	must(t, i.Health(t.Context()))
}
