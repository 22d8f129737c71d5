package acme

import (
	"testing"
	"time"
)

func FuzzTSIGAnswer(f *testing.F) {
	k, _ := parseTSIG("hmac-sha256:key:c2VjcmV0")
	signed, mac := k.sign([]byte{0, 1, 0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0}, time.Unix(1e9, 0))
	f.Add(signed)
	f.Add(append(signed, 0))
	f.Fuzz(func(t *testing.T, answer []byte) {
		_, err := k.verify(answer, mac)
		if err == nil { // only the key can sign one that answers this request
			t.Errorf("%x is taken", answer)
		}
	})
}

func FuzzTSIGFile(f *testing.F) {
	f.Add("key \"a\" {\n algorithm hmac-sha256;\n secret \"c2VjcmV0\";\n};\n")
	f.Add("hmac-sha512:a.b.:c2VjcmV0")
	f.Fuzz(func(t *testing.T, text string) {
		k, ok := parseTSIG(text)
		if !ok {
			return
		}
		if signed, _ := k.sign(make([]byte, 12), time.Unix(1e9, 0)); len(signed) < 12+20 {
			t.Errorf("%q signs nothing", text)
		}
	})
}
