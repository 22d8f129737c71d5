package command_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"renewer/internal/testpki"
	"renewer/renewer/pki"
)

// The test binary is the program too: PROGRAM ca DIR MODE [ARGUMENT] signs with the CA in
// DIR.
func TestMain(m *testing.M) {
	if len(os.Args) > 3 && os.Args[1] == "ca" {
		code, err := program(os.Args[2], os.Args[3], os.Args[4:])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(code)
	}
	goleak.VerifyTestMain(m)
}

func program(dir, mode string, more []string) (code int, err error) {
	in, err := io.ReadAll(os.Stdin)
	if err != nil {
		return 1, err
	}
	switch mode {
	case "revoke":
		env := slices.Sorted(slices.Values(os.Environ()))
		return 0, os.WriteFile(filepath.Join(dir, "revoked"), append([]byte(strings.Join(env, "\n")+"\n"), in...), 0o600)
	case "environment":
		return 1, errors.New(strings.Join(slices.Sorted(slices.Values(os.Environ())), "|"))
	case "hang", "fails and leaves a child":
		child := exec.Command("/bin/sleep", "1000") // with the same output
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		if err := child.Start(); err != nil {
			return 1, err
		}
		fmt.Fprintln(os.Stderr, "waiting for the token")
		_ = os.WriteFile(filepath.Join(dir, "pid"), []byte(strconv.Itoa(child.Process.Pid)), 0o600)
		if mode == "fails and leaves a child" {
			return 1, nil
		}
		_ = child.Wait()
	case "fail":
		fmt.Fprint(os.Stderr, "\x1b[31mHTTP 503:\tthe CA\nis away\x1b[0m.\n")
		return 3, nil
	case "says a key":
		return 1, errors.New("-----BEGIN PRIVATE KEY-----SECRET-BYTES")
	case "later":
		fmt.Fprintln(os.Stderr, "waits for approval")
		return 75, nil
	case "approved":
		if _, err := os.Stat(filepath.Join(dir, os.Getenv("RENEWER_CERTIFICATE"))); err != nil {
			fmt.Fprintln(os.Stderr, "waits for approval")
			return 75, nil
		}
	case "junk":
		fmt.Println("<html>Please log in</html>")
		return 0, nil
	case "nothing":
		return 0, nil
	case "big":
		for {
			if _, err := os.Stdout.Write(make([]byte, 64<<10)); err != nil {
				return 1, err
			}
		}
	case "key":
		fmt.Print("-----BEGIN PRIVATE KEY-----\nSECRET-BYTES\n-----END PRIVATE KEY-----\n")
		mode = "sign"
	case "watched":
		res, err := http.Get(more[0])
		if err != nil {
			return 1, err
		}
		_ = res.Body.Close()
	case "away":
		if _, err := os.Stat(filepath.Join(dir, "away")); err == nil {
			return 1, errors.New("connection refused")
		}
	}
	seconds, err := strconv.Atoi(os.Getenv("RENEWER_LIFETIME"))
	if err != nil {
		return 1, err
	}
	chain, err := sign(dir, mode, time.Duration(seconds)*time.Second, in)
	if err != nil {
		return 1, err
	}
	if mode == "half" {
		chain = chain[:len(chain)/2]
	}
	_, err = os.Stdout.Write(chain)
	return 0, err
}

// sign signs a CSR as it asks, with the intermediate in DIR/ca.pem.
func sign(dir, mode string, life time.Duration, csrPEM []byte) ([]byte, error) {
	block, _ := pem.Decode(csrPEM)
	if block == nil {
		return nil, errors.New("no CSR")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return nil, err
	}
	above, err := pki.DecodeCertificates(text)
	if err != nil {
		return nil, err
	}
	if text, err = os.ReadFile(filepath.Join(dir, "ca-key.pem")); err != nil {
		return nil, err
	}
	key, err := pki.DecodeKey(text)
	if err != nil {
		return nil, err
	}
	if mode == "limited" {
		life = min(life, 24*time.Hour)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		return nil, err
	}
	var public crypto.PublicKey = csr.PublicKey
	if mode == "other" {
		public = key.Public()
	}
	leaf := &x509.Certificate{
		SerialNumber: serial, Subject: csr.Subject, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(life),
		ExtraExtensions: csr.Extensions, // names and usages, as they were asked for
	}
	id := sha256.Sum256(above[0].RawSubjectPublicKeyInfo)
	leaf.SubjectKeyId = id[:20]
	der, err := x509.CreateCertificate(rand.Reader, leaf, above[0], public, key)
	if err != nil {
		return nil, err
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	chain := append([]*x509.Certificate{signed}, above...)
	if mode == "backwards" {
		slices.Reverse(chain)
	}
	return append(bytes.TrimSpace(pki.PEM(chain...)), '\n'), nil
}

// authority writes a CA below a root; the root is the file that is returned, and stands
// in ca.pem too.
func authority(t *testing.T, dir string) (root string) {
	t.Helper()
	top := testpki.New(t)
	ca := top.Intermediate(t, testpki.Options{CommonName: "Corp Issuing CA", NotAfter: time.Now().AddDate(5, 0, 0)})
	testpki.WriteFile(t, filepath.Join(dir, "ca.pem"), append(pki.PEM(ca.Chain...), top.PEM()...), 0o600)
	testpki.WriteFile(t, filepath.Join(dir, "ca-key.pem"), testpki.KeyPEM(t, ca.Key), 0o600)
	root = filepath.Join(dir, "root.pem")
	testpki.WriteFile(t, root, top.PEM(), 0o600)
	return root
}
