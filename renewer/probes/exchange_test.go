package probes

import (
	"crypto/tls"
	"fmt"
	"testing"

	"renewer/renewer"
)

// A probe that says nothing begins with a key exchange that costs little. A server that
// wants another one is seen all the same, and not taken for one that refuses clients.
func TestServersThatWantAnotherKeyExchange(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, curve := range []tls.CurveID{tls.CurveP256, tls.X25519, tls.CurveP521, tls.X25519MLKEM768} {
			if curve == tls.X25519MLKEM768 && version == tls.VersionTLS12 {
				continue
			}
			for _, strict := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, %s, strict %v", tls.VersionName(version), curve, strict), func(t *testing.T) {
					t.Parallel()
					config := f.ca.Server(f.server)
					config.MinVersion, config.MaxVersion, config.CurvePreferences = version, version, []tls.CurveID{curve}
					config.ClientAuth = tls.VerifyClientCertIfGiven
					if strict {
						config.ClientAuth = tls.RequireAndVerifyClientCert
					}
					address := listen(t, silent(config))
					r := f.request(renewer.ProbeTLS, address, true)
					r.NoWrong = "it is not looked at"
					obs, err := quick().Probe(t.Context(), r)
					if !strict {
						wants(t, err, renewer.ProbeLax)
					} else if err != nil {
						t.Error(err)
					}
					if obs.Served != r.Expect.Leaf {
						t.Errorf("served %q", obs.Served)
					}
				})
			}
		}
	}
}
