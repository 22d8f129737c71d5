package local

import (
	"crypto/x509"
	"encoding/hex"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"renewer/internal/testpki"
	"renewer/renewer"
)

// Whatever the clock does and whenever the CA is opened again: the list is
// signed by the CA, holds exactly what was revoked, its number never falls and
// grows with its content, and it never ends before half of its time.
func TestCRLOverTime(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	if _, err := Create(cfg, CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	key := testpki.Key(t)
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		cfg.CRLDir = dir
		now := start
		var last *x509.RevocationList
		want := map[string]bool{}
		for range rapid.IntRange(1, 6).Draw(rt, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(-int64(2*time.Hour), int64(9*24*time.Hour)).Draw(rt, "passes")))
			if now.Before(start) {
				now = start
			}
			a, err := Open(cfg)
			if err != nil {
				rt.Fatal(err)
			}
			a.clock = func() time.Time { return now }
			if rapid.Bool().Draw(rt, "revoke") {
				chain, err := a.Sign(t.Context(), testOrder(key, time.Hour))
				if err != nil {
					rt.Fatal(err)
				}
				r := renewer.Revocation{Serial: renewer.SerialHex(chain.Leaf), Chain: chain, Reason: renewer.RevokedSuperseded}
				if err := a.Revoke(t.Context(), r); err != nil {
					rt.Fatal(err)
				}
				want[r.Serial] = true
			}
			der, err := a.CRL(t.Context())
			if err != nil {
				rt.Fatal(err)
			}
			list, err := x509.ParseRevocationList(der)
			if err != nil {
				rt.Fatal(err)
			}
			if err := list.CheckSignatureFrom(a.chain[0]); err != nil {
				rt.Fatal(err)
			}
			if len(list.RevokedCertificateEntries) != len(want) {
				rt.Fatalf("%d listed, want %d", len(list.RevokedCertificateEntries), len(want))
			}
			for _, e := range list.RevokedCertificateEntries {
				if serial := hex.EncodeToString(e.SerialNumber.Bytes()); !want[serial] || e.ReasonCode != 4 {
					rt.Fatalf("%s for reason %d", serial, e.ReasonCode)
				}
			}
			// A clock that went back by less than the backdating leaves the list as it is.
			if left := list.NextUpdate.Sub(now); list.ThisUpdate.After(now) || left < crlLifetime/2-time.Second || left > crlLifetime+backdate+time.Second {
				rt.Fatalf("from %s to %s at %s", list.ThisUpdate, list.NextUpdate, now)
			}
			if last != nil {
				if grew := list.Number.Cmp(last.Number); grew < 0 || grew == 0 && string(list.Raw) != string(last.Raw) {
					rt.Fatalf("number %v after %v", list.Number, last.Number)
				}
			}
			last = list
		}
	})
}

// A list that cannot be read is never overwritten: it would forget.
func TestADamagedCRLIsKept(t *testing.T) {
	t.Parallel()
	a := testAuthority(t)
	der, err := a.CRL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bad := append([]byte{}, der...)
	bad[len(bad)-1] ^= 1
	for name, content := range map[string][]byte{"cut": der[:len(der)/2], "empty": {}, "a wrong signature": bad} {
		testpki.WriteFile(t, a.crlFile, content, 0o600)
		_, err := a.CRL(t.Context())
		if renewer.ClassOf(err) != renewer.ClassMisconfigured || renewer.Hint(err) == "" || !strings.Contains(err.Error(), a.crlFile) {
			t.Errorf("%s: %v", name, err)
		}
		if err := a.Revoke(t.Context(), renewer.Revocation{Serial: "01"}); err == nil {
			t.Errorf("%s: revoked on top of it", name)
		}
		if got, err := os.ReadFile(a.crlFile); err != nil || string(got) != string(content) {
			t.Errorf("%s: it was changed, %v", name, err)
		}
	}
}

// A CA that took the place of another begins its own list.
func TestCRLOfAReplacedCA(t *testing.T) {
	t.Parallel()
	a := testAuthority(t)
	if err := a.Revoke(t.Context(), renewer.Revocation{Serial: "0a"}); err != nil {
		t.Fatal(err)
	}
	b := testAuthority(t)
	b.crlFile = crlFile(Config{CertFile: a.crlFile}, b.authority)
	der, err := b.CRL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if list, err := x509.ParseRevocationList(der); err != nil || len(list.RevokedCertificateEntries) > 0 {
		t.Errorf("%v, %v", list, err)
	}
}
