package local

import (
	"crypto/rand"
	"encoding/asn1"
	"encoding/pem"
	"path/filepath"
	"testing"

	"renewer/internal/testpki"
	"renewer/renewer"
)

// FuzzOpen hands any two files to what Open does after reading them: it
// returns a CA or an error with a class, and never panics.
func FuzzOpen(f *testing.F) {
	ca := testpki.New(f)
	key := testpki.KeyPEM(f, ca.Key)
	passphrase := []byte("fuzz")
	f.Add(ca.PEM(), key)
	f.Add(testpki.PEM(ca.Intermediate(f, testpki.Options{}).Cert, ca.Cert), key)
	f.Add(append(ca.PEM(), ca.PEM()...), append(key, key...))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), []byte("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"))
	f.Add([]byte{}, []byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"))
	for _, block := range oddlyEncrypted(f) {
		f.Add(ca.PEM(), pem.EncodeToMemory(block))
	}
	f.Fuzz(func(t *testing.T, certPEM, keyPEM []byte) {
		if costly(keyPEM) {
			t.Skip("asks for more key derivation than a fuzz target has time for")
		}
		k, err := parseKey(Config{Name: "fleet-ca"}, keyPEM, "ca-key.pem", passphrase)
		if err == nil {
			_, err = newAuthority(Config{Name: "fleet-ca"}, certPEM, "ca.pem", k)
		} else if _, certErr := parseCertificates(Config{Name: "fleet-ca"}, certPEM, "ca.pem"); certErr != nil && renewer.ClassOf(certErr) != renewer.ClassMisconfigured {
			t.Errorf("class %s: %v", renewer.ClassOf(certErr), certErr)
		}
		if err != nil && renewer.ClassOf(err) != renewer.ClassMisconfigured {
			t.Errorf("class %s: %v", renewer.ClassOf(err), err)
		}
	})
}

func costly(keyPEM []byte) bool {
	block, err := keyBlock(keyPEM, "")
	if err != nil {
		return false
	}
	var k encryptedKey
	var scheme pbes2
	var kdf pbkdf2
	_, err = asn1.Unmarshal(block.Bytes, &k)
	if err == nil {
		_, err = asn1.Unmarshal(k.Algorithm.Parameters.FullBytes, &scheme)
	}
	if err == nil {
		_, err = asn1.Unmarshal(scheme.Derivation.Parameters.FullBytes, &kdf)
	}
	return err == nil && kdf.Iterations > 4096
}

// oddlyEncrypted makes PKCS #8 keys whose lengths would make a block cipher
// panic, and some that ask for too much.
func oddlyEncrypted(t testing.TB) []*pem.Block {
	t.Helper()
	marshal := func(v any) asn1.RawValue {
		der, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return asn1.RawValue{FullBytes: der}
	}
	aes256 := asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
	hmacSHA256 := algorithm{ID: asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}, Parameters: asn1.NullRawValue}
	var out []*pem.Block
	for _, c := range []struct{ iv, data, iterations int }{
		{16, 32, 1}, {15, 32, 1}, {0, 32, 1}, {16, 31, 1}, {16, 0, 1}, {16, 32, 0}, {16, 32, -1}, {16, 32, maxIterations + 1},
	} {
		iv, data := make([]byte, c.iv), make([]byte, c.data)
		_, _ = rand.Read(data)
		der := marshal(encryptedKey{Data: data, Algorithm: algorithm{ID: oidPBES2, Parameters: marshal(pbes2{
			Derivation: algorithm{ID: oidPBKDF2, Parameters: marshal(struct {
				Salt       []byte
				Iterations int
				PRF        algorithm
			}{[]byte("salt"), c.iterations, hmacSHA256})},
			Cipher: algorithm{ID: aes256, Parameters: marshal(iv)},
		})}})
		out = append(out, &pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der.FullBytes})
	}
	return out
}

func TestOddlyEncryptedKeys(t *testing.T) {
	t.Parallel()
	for i, block := range oddlyEncrypted(t) {
		_, err := parseKey(Config{Name: "fleet-ca"}, pem.EncodeToMemory(block), filepath.Join("dir", "ca-key.pem"), []byte("x"))
		if renewer.ClassOf(err) != renewer.ClassMisconfigured || renewer.Hint(err) == "" {
			t.Errorf("%d: %v", i, err)
		}
		if supported, unsupported := encryption(block); !supported || (unsupported != nil) != (i > 0) {
			t.Errorf("%d: %v, %v", i, supported, unsupported)
		}
	}
}
