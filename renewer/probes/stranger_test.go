package probes

import (
	"crypto/tls"
	"strings"
	"testing"

	"renewer/internal/testpki"
	"renewer/renewer"
)

// Without a client certificate to present, what is served is judged all the
// same, strangers have to be refused, and the rest is said to be not checked.
func TestWithoutAClientCertificateToPresent(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	other := f.ca.Leaf(t, testpki.Options{SANs: []string{"127.0.0.1"}, Usages: testpki.ServerUsage})
	for _, max := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(max), func(t *testing.T) {
			t.Parallel()
			look := func(kind renewer.ProbeKind, served testpki.Pair, auth tls.ClientAuthType) (renewer.Observation, error) {
				config := f.ca.Server(served)
				config.MaxVersion, config.ClientAuth = max, auth
				address := listen(t, silent(config))
				if kind == renewer.ProbeDocker {
					address = dockerd(t, config, api())
				}
				r := f.request(kind, address, true)
				r.Client, r.NoClient = nil, "the CA's files are gone"
				return quick().Probe(t.Context(), r)
			}
			for _, kind := range []renewer.ProbeKind{renewer.ProbeTLS, renewer.ProbeDocker} {
				obs, err := look(kind, f.server, tls.RequireAndVerifyClientCert)
				if err != nil || obs.Served != renewer.Fingerprint(f.server.Cert.Raw) || obs.NotAfter.IsZero() ||
					len(obs.NotChecked) != 1 || !strings.Contains(obs.NotChecked[0], "is accepted: the CA's files are gone") {
					t.Errorf("%s: saw %+v, %v", kind, obs, err)
				}
				_, err = look(kind, other, tls.RequireAndVerifyClientCert)
				wants(t, err, renewer.ProbeMismatch, "instead of")
				_, err = look(kind, f.server, tls.NoClientCert)
				wants(t, err, renewer.ProbeLax, "does not refuse a client without a certificate")
			}
		})
	}
}
