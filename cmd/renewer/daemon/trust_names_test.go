package daemon

import (
	"strings"
	"testing"

	"renewer/renewer"
)

var namedRoots = []renewer.TrustRoot{
	{ID: strings.Repeat("ab", 16), Fingerprint: strings.Repeat("ab", 32), Subject: "CN=Old CA,O=Corp", Issuers: []string{"corp"}},
	{ID: "abcd" + strings.Repeat("0", 28), Fingerprint: "abcd" + strings.Repeat("0", 60), Subject: "CN=New CA,O=Corp", Issuers: []string{"fleet"}},
	{ID: strings.Repeat("12", 16), Fingerprint: strings.Repeat("12", 32), Subject: "O=Without a name", Issuers: []string{"fleet"}},
	{ID: strings.Repeat("34", 16), Fingerprint: strings.Repeat("34", 32), Subject: "CN=Old CA,O=Other", Issuers: []string{}},
}

func TestARootIsFoundByFingerprintOrSubject(t *testing.T) {
	t.Parallel()
	openssl := strings.TrimSuffix(strings.ToUpper(strings.Repeat("12:", 32)), ":")
	for text, want := range map[string]string{
		"abab": "CN=Old CA,O=Corp", "abcd": "CN=New CA,O=Corp", "ABCD0": "CN=New CA,O=Corp", openssl: "O=Without a name", strings.Repeat("34", 32): "CN=Old CA,O=Other",
		"new ca": "CN=New CA,O=Corp", "CN=Old CA,O=Other": "CN=Old CA,O=Other", "o=without a name": "O=Without a name", "corp": "CN=Old CA,O=Corp",
	} {
		if got, err := rootOf(namedRoots, text); err != nil || got.Subject != want {
			t.Errorf("%q: %q, %v; want %q", text, got.Subject, err, want)
		}
	}
	for text, why := range map[string]string{
		"ab": "no root is called", "": "no root is called", "Old CA": "stands for 2 roots", "fleet": "stands for 2 roots", strings.Repeat("ff", 32): "no root is called", "::::": "no root is called",
	} {
		if _, err := rootOf(namedRoots, text); err == nil || !strings.Contains(err.Error(), why) || renewer.Hint(err) == "" || renewer.ClassOf(err) != renewer.ClassUnknown {
			t.Errorf("%q: %v (hint %q); want %q", text, err, renewer.Hint(err), why)
		}
	}
}

// Whatever is typed finds a root that it names, or is refused with a hint.
func FuzzRootOf(f *testing.F) {
	for _, s := range []string{"abab", "AB:CD", "Old CA", "fleet", "", "root:", "\x00", strings.Repeat("a", 100)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := rootOf(namedRoots, text)
		if err != nil {
			if renewer.Hint(err) == "" {
				t.Errorf("%q: %v without a hint", text, err)
			}
			return
		}
		digits := strings.ToLower(strings.ReplaceAll(text, ":", ""))
		if !strings.HasPrefix(got.Fingerprint, digits) && !strings.EqualFold(got.Subject, text) && !strings.EqualFold(got.Name(), text) && len(got.Issuers) == 0 {
			t.Errorf("%q is %+v", text, got)
		}
	})
}
