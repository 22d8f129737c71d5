package daemon

import (
	"os"
	"strings"
	"testing"

	"renewer/configs"
	"renewer/internal/testpki"
	"renewer/issuers/local"
)

// A CA that lacks extensions is reissued: a root by itself, an intermediate by its
// parent or, if the parent is not a local issuer, where it was signed.
func TestStrictFix(t *testing.T) {
	t.Parallel()
	h := twoIssuers(t)
	_, err := CAInitBelow(h, "root-ca", "", 1)
	must(t, err)
	_, err = CAInitBelow(h, "corp", "root-ca", 0)
	must(t, err)
	corp := issuerNamed(h, "corp")
	if got := StrictFix(h, corp); got != "" {
		t.Errorf("there is nothing to fix: %s", got)
	}
	path, err := local.Certificates(localConfig(corp))
	must(t, err)
	bent := *path[0]
	bent.AuthorityKeyId = nil
	path[0] = &bent
	if got := strictFixBelow(h, "corp", path); !strings.Contains(got, "renewer ca init corp-next --intermediate-of root-ca; ") || !strings.Contains(got, "renewer ca import corp --as-next --cert corp-next.pem --key corp-next.pem") {
		t.Errorf("below a local issuer: %s", got)
	}
	stranger := testpki.New(t)
	path[1] = stranger.Root
	if got := strictFixBelow(h, "corp", path); !strings.HasPrefix(got, "only CN=renewer root-ca CA can reissue it") || !strings.Contains(got, "renewer ca import corp --as-next --cert FILE --key FILE") {
		t.Errorf("below another CA: %s", got)
	}
	for fault, want := range map[string]string{
		"of the intermediate CN=Sub, signed by CN=Top, it has no keyUsage":         "and put it in place at the vault issuer pki; then: renewer renew --all",
		"of the certificate, signed by CN=Sub, it has no authority key identifier": "change role docker of mount pki so that",
	} {
		if got := strictFixElsewhere(configs.Issuer{Type: "vault", Mount: "pki", Role: "docker"}, fault); !strings.Contains(got, want) {
			t.Errorf("%s: %s", fault, got)
		}
	}
	_ = os.Remove(corp.CACert)
	if got := StrictFix(h, corp); got != "" {
		t.Errorf("without a CA: %s", got)
	}
}

func issuerNamed(f *configs.Fleet, name string) configs.Issuer {
	for _, is := range f.Issuers {
		if is.Name == name {
			return is
		}
	}
	return configs.Issuer{}
}

func twoIssuers(t *testing.T) *configs.Fleet {
	t.Helper()
	h := &house{t: t, dir: t.TempDir()}
	h.file = h.dir + "/renewer.yaml"
	must(t, os.WriteFile(h.file, []byte(`state_dir: `+h.dir+`/state
issuers: {corp: {type: local}, root-ca: {type: local}}
hosts: {here: {type: local, address: 127.0.0.1}}
certificates:
  - {name: web, profile: files, issuer: corp, hosts: [here], dir: `+h.dir+`/out, lifetime: 1d}
`), 0o600))
	return h.load()
}
