package files_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"renewer/internal/testpki"
	"renewer/issuers/files"
	"renewer/issuers/issuertest"
	"renewer/renewer"
	"renewer/renewer/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const day = 24 * time.Hour

// offline is a CA that openssl is, and the directory that files are carried over.
type offline struct {
	dir  string
	cfg  files.Config
	most int // days
}

func newOffline(t *testing.T) *offline {
	t.Helper()
	dir := t.TempDir()
	o := &offline{dir: dir, cfg: files.Config{Name: "offline", Dir: filepath.Join(dir, "share", "orders"), RootFile: filepath.Join(dir, "root.pem")}, most: 3650}
	must(t, os.Mkdir(filepath.Dir(o.cfg.Dir), 0o700))
	o.newCA(t)
	return o
}

func (o *offline) newCA(t *testing.T) {
	t.Helper()
	openssl(t, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", o.dir+"/ca-key.pem", "-out", o.dir+"/root.pem",
		"-subj", "/CN=Offline Root", "-days", "3650", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
}

func openssl(t *testing.T, argv ...string) {
	t.Helper()
	if out, err := exec.Command("openssl", argv...).CombinedOutput(); err != nil {
		t.Fatalf("openssl %s: %v\n%s", argv[0], err, out)
	}
}

// sign does what the one with the key does: sign what was carried to it, for as long as
// the file says.
func (o *offline) sign(certificate string) error {
	asked := filepath.Join(o.cfg.Dir, certificate+".csr")
	text, err := os.ReadFile(asked)
	if err != nil {
		return err
	}
	wish, err := pki.DecodeRequest(text)
	if err != nil {
		return err
	}
	out, err := exec.Command("openssl", "x509", "-req", "-in", asked, "-CA", o.dir+"/root.pem", "-CAkey", o.dir+"/ca-key.pem", "-copy_extensions", "copyall",
		"-days", strconv.Itoa(min(o.most, int(wish.Lifetime/day))), "-out", filepath.Join(o.cfg.Dir, certificate+".crt")).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// carried is an issuer whose orders are carried to the CA and back at once. Each order has
// a name of its own, as each certificate has.
type carried struct {
	*files.Issuer
	ca *offline
}

func (c carried) Sign(ctx context.Context, o renewer.Order) (renewer.Chain, error) {
	if der, err := x509.MarshalPKIXPublicKey(o.Key.Public()); err == nil {
		o.Certificate += fmt.Sprintf(".%x", sha256.Sum256(der))
	}
	chain, err := c.Issuer.Sign(ctx, o)
	if !errors.Is(err, renewer.ErrLater) {
		return chain, err
	}
	if err := c.ca.sign(o.Certificate); err != nil {
		return renewer.Chain{}, err
	}
	return c.Issuer.Sign(ctx, o)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	issuertest.Run(t, issuertest.Harness{
		New:      func(t *testing.T) issuertest.Issuer { o := newOffline(t); return carried{files.New(o.cfg), o} },
		Keys:     []renewer.KeyType{renewer.ECDSAP256, renewer.ECDSAP384, renewer.Ed25519, renewer.RSA2048},
		Lifetime: day,
		Shortest: day, // openssl counts in days
		Secrets:  []string{"SECRET-BYTES"},
		Faults:   faults(),
		Outage: func(t *testing.T) (issuertest.Issuer, func(), func()) {
			o := newOffline(t)
			share := filepath.Dir(o.cfg.Dir)
			return carried{files.New(o.cfg), o}, func() { must(t, os.Rename(share, share+"-away")) }, func() { must(t, os.Rename(share+"-away", share)) }
		},
		Replace: func(t *testing.T) (issuertest.Issuer, func()) {
			o := newOffline(t)
			return carried{files.New(o.cfg), o}, func() { o.newCA(t) }
		},
		Later: func(t *testing.T) (func() issuertest.Issuer, func(string)) {
			o := newOffline(t)
			return func() issuertest.Issuer { return files.New(o.cfg) }, func(certificate string) { must(t, o.sign(certificate)) }
		},
		Limited: func(t *testing.T) (issuertest.Issuer, time.Duration) {
			o := newOffline(t)
			o.most = 2
			return carried{files.New(o.cfg), o}, 2 * day
		},
	})
}

func order(t *testing.T) renewer.Order {
	t.Helper()
	key, err := pki.NewKey(renewer.ECDSAP256)
	must(t, err)
	return renewer.Order{Certificate: "docker@host-b", Key: key, Request: renewer.Request{
		Issuer: "offline", CommonName: "host-b", SANs: []string{"host-b", "10.0.0.2"}, Usages: []renewer.Usage{renewer.UsageServer}, Lifetime: 90 * day,
	}}
}

// faults are of what lies in the directory: the wait goes on in each of them, and ends
// when the right certificate is there.
func faults() map[string]issuertest.Fault {
	const mis = renewer.ClassMisconfigured
	lies := func(spoil func(t *testing.T, o *offline, order renewer.Order, crt string), contains ...string) issuertest.Fault {
		return issuertest.Fault{Class: mis, Contains: append(contains, "docker@host-b.crt"), Provoke: func(t *testing.T) error {
			o, ordered := newOffline(t), order(t)
			i := files.New(o.cfg)
			if _, err := i.Sign(t.Context(), ordered); !errors.Is(err, renewer.ErrLater) {
				t.Fatalf("at first: %v", err)
			}
			spoil(t, o, ordered, filepath.Join(o.cfg.Dir, "docker@host-b.crt"))
			_, err := i.Sign(t.Context(), ordered)
			if !errors.Is(err, renewer.ErrLater) {
				t.Errorf("the wait does not go on: %v", err)
			}
			must(t, os.Remove(filepath.Join(o.cfg.Dir, "docker@host-b.crt")))
			must(t, o.sign("docker@host-b"))
			if chain, fault := i.Sign(t.Context(), ordered); fault != nil || chain.Leaf == nil {
				t.Errorf("when it is right: %v", fault)
			}
			return err
		}}
	}
	holds := func(text string) func(t *testing.T, _ *offline, _ renewer.Order, crt string) {
		return func(t *testing.T, _ *offline, _ renewer.Order, crt string) {
			testpki.WriteFile(t, crt, []byte(text), 0o644)
		}
	}
	signed := func(ca func(t *testing.T, o *offline) *testpki.CA, spoil func(o *testpki.Options)) func(t *testing.T, o *offline, order renewer.Order, crt string) {
		return func(t *testing.T, o *offline, order renewer.Order, crt string) {
			options := testpki.Options{CommonName: "host-b", SANs: order.SANs, Usages: testpki.ServerUsage, NotAfter: time.Now().Add(89 * day), Key: order.Key}
			spoil(&options)
			testpki.WriteFile(t, crt, ca(t, o).Leaf(t, options).CertPEM, 0o644)
		}
	}
	ours := func(t *testing.T, o *offline) *testpki.CA {
		text, err := os.ReadFile(o.dir + "/ca-key.pem")
		must(t, err)
		key, err := pki.DecodeKey(text)
		must(t, err)
		text, err = os.ReadFile(o.dir + "/root.pem")
		must(t, err)
		certs, err := pki.DecodeCertificates(text)
		must(t, err)
		return &testpki.CA{Cert: certs[0], Key: key, Root: certs[0]}
	}
	another := func(t *testing.T, _ *offline) *testpki.CA { return testpki.New(t) }
	given := func(class renewer.Class, spoil func(t *testing.T, o *offline), contains ...string) issuertest.Fault {
		return issuertest.Fault{Class: class, Contains: append(contains, "issuer offline"), Provoke: func(t *testing.T) error {
			o := newOffline(t)
			spoil(t, o)
			return files.New(o.cfg).Health(t.Context())
		}}
	}
	return map[string]issuertest.Fault{
		"nothing there yet": {Class: renewer.ClassRetry, Contains: []string{"docker@host-b is not signed yet", "docker@host-b.csr needs docker@host-b.crt"}, Provoke: func(t *testing.T) error {
			_, err := files.New(newOffline(t).cfg).Sign(t.Context(), order(t))
			return err
		}},
		"empty":   lies(holds(""), "no certificate in PEM"),
		"garbage": lies(holds("to be signed on Monday"), "no certificate in PEM"),
		"half-written": lies(func(t *testing.T, o *offline, _ renewer.Order, crt string) {
			must(t, o.sign("docker@host-b"))
			whole, err := os.ReadFile(crt)
			must(t, err)
			testpki.WriteFile(t, crt, whole[:len(whole)/2], 0o644)
		}, "truncated"),
		"a key": lies(holds("-----BEGIN PRIVATE KEY-----\nSECRET-BYTES\n-----END PRIVATE KEY-----\n"), "private key"),
		"a directory": lies(func(t *testing.T, _ *offline, _ renewer.Order, crt string) {
			must(t, os.Mkdir(crt, 0o700))
		}, "not a regular file"),
		"too large":                      lies(holds(strings.Repeat("x", 300<<10)), "larger than 262144 bytes"),
		"does not belong to the request": lies(signed(ours, func(o *testpki.Options) { o.Key = nil }), "does not belong to the request docker@host-b.csr"),
		"from another CA":                lies(signed(another, func(*testpki.Options) {}), "issuer offline"),
		"lacks a name":                   lies(signed(ours, func(o *testpki.Options) { o.SANs = o.SANs[:1] }), "lacks the SANs 10.0.0.2"),
		"lacks a usage":                  lies(signed(ours, func(o *testpki.Options) { o.Usages = testpki.ClientUsage }), "lacks the usages server"),
		"too short":                      lies(signed(ours, func(o *testpki.Options) { o.NotAfter = time.Now().Add(time.Hour) }), "less than a tenth"),
		"for minutes": {Class: mis, Contains: []string{"for 5m0s"}, Provoke: func(t *testing.T) error {
			o := order(t)
			o.Lifetime = 5 * time.Minute
			_, err := files.New(newOffline(t).cfg).Sign(t.Context(), o)
			return err
		}},
		"no name": {Class: renewer.ClassRefused, Contains: []string{"neither a common name nor a SAN"}, Provoke: func(t *testing.T) error {
			o := order(t)
			o.CommonName, o.SANs = "", nil
			_, err := files.New(newOffline(t).cfg).Sign(t.Context(), o)
			return err
		}},
		"no root file":       given(mis, func(t *testing.T, o *offline) { must(t, os.Remove(o.cfg.RootFile)) }, "root_file", "root.pem"),
		"no share":           given(renewer.ClassRetry, func(t *testing.T, o *offline) { must(t, os.Remove(filepath.Dir(o.cfg.Dir))) }, "share/orders"),
		"a file for the dir": given(renewer.ClassRetry, func(t *testing.T, o *offline) { testpki.WriteFile(t, o.cfg.Dir, nil, 0o600) }, "share/orders"),
		"a root that is a leaf": given(mis, func(t *testing.T, o *offline) {
			testpki.WriteFile(t, o.cfg.RootFile, testpki.New(t).Leaf(t, testpki.Options{}).CertPEM, 0o600)
		}, "is not a root"),
	}
}

// Each fault of what lies there has the hint that fixes it.
func TestWhatLiesThereIsFixedByItsHint(t *testing.T) {
	t.Parallel()
	another := testpki.New(t)
	for name, c := range map[string]struct {
		spoil func(t *testing.T, order renewer.Order, crt string)
		hint  string
	}{
		"a directory": {func(t *testing.T, _ renewer.Order, crt string) { must(t, os.Mkdir(crt, 0o700)) }, "plain file of at most 256 KiB"},
		"a FIFO":      {func(t *testing.T, _ renewer.Order, crt string) { must(t, syscall.Mkfifo(crt, 0o600)) }, "plain file of at most 256 KiB"},
		"too large": {func(t *testing.T, _ renewer.Order, crt string) {
			testpki.WriteFile(t, crt, make([]byte, 300<<10), 0o644)
		}, "plain file of at most 256 KiB"},
		"a key": {func(t *testing.T, _ renewer.Order, crt string) {
			testpki.WriteFile(t, crt, []byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"), 0o644)
		}, "remove the private key from "},
		"from another CA": {func(t *testing.T, order renewer.Order, crt string) {
			leaf := another.Leaf(t, testpki.Options{CommonName: "host-b", SANs: order.SANs, Usages: testpki.ServerUsage, NotAfter: time.Now().Add(89 * day), Key: order.Key})
			testpki.WriteFile(t, crt, leaf.CertPEM, 0o644)
		}, "set root_file: or roots: of issuer offline"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, ordered := newOffline(t), order(t)
			i := files.New(o.cfg)
			if _, err := i.Sign(t.Context(), ordered); !errors.Is(err, renewer.ErrLater) {
				t.Fatalf("at first: %v", err)
			}
			c.spoil(t, ordered, filepath.Join(o.cfg.Dir, "docker@host-b.crt"))
			if _, err := i.Sign(t.Context(), ordered); !errors.Is(err, renewer.ErrLater) || !strings.Contains(renewer.Hint(err), c.hint) {
				t.Errorf("error %v, hint %q", err, renewer.Hint(err))
			}
		})
	}
}

// The same order is the same file, whatever of it a crash left; another one puts away what
// was signed for the one before.
func TestTheSameOrderIsTheSameFile(t *testing.T) {
	t.Parallel()
	o, ordered := newOffline(t), order(t)
	csr, crt := filepath.Join(o.cfg.Dir, "docker@host-b.csr"), filepath.Join(o.cfg.Dir, "docker@host-b.crt")
	ask := func() string {
		t.Helper()
		if _, err := files.New(o.cfg).Sign(t.Context(), ordered); !errors.Is(err, renewer.ErrLater) {
			t.Fatalf("got %v", err)
		}
		text, err := os.ReadFile(csr)
		must(t, err)
		return string(text)
	}
	first := ask()
	must(t, os.Remove(csr))
	if ask() != first {
		t.Error("written again it is another one")
	}
	testpki.WriteFile(t, csr, []byte(first[:100]), 0o644)
	if ask() != first {
		t.Error("a half one is left")
	}
	must(t, o.sign("docker@host-b"))
	if chain, err := files.New(o.cfg).Sign(t.Context(), ordered); err != nil || chain.Leaf == nil {
		t.Errorf("signed: %v", err)
	}
	before, err := os.ReadFile(crt)
	must(t, err)
	ordered.Generation++ // with rekey: false
	if ask() == first {
		t.Error("the next order is the same file")
	}
	if _, err := os.Stat(crt); !os.IsNotExist(err) {
		t.Error("what was signed before lies there still")
	}
	if old, err := os.ReadFile(crt + ".old"); err != nil || string(old) != string(before) {
		t.Errorf("it was not put away: %v", err)
	}
}

// openssl reads the request with everything that was asked for.
func TestTheRequestSaysAllThatIsAskedFor(t *testing.T) {
	t.Parallel()
	o, ordered := newOffline(t), order(t)
	ordered.Usages = append(ordered.Usages, renewer.UsageClient)
	_, err := files.New(o.cfg).Sign(t.Context(), ordered)
	if !errors.Is(err, renewer.ErrLater) {
		t.Fatal(err)
	}
	out, err := exec.Command("openssl", "req", "-in", filepath.Join(o.cfg.Dir, "docker@host-b.csr"), "-noout", "-text", "-verify").CombinedOutput()
	must(t, err)
	for _, want := range []string{"DNS:host-b, IP Address:10.0.0.2", "Key Usage: critical", "Digital Signature", "TLS Web Server Authentication, TLS Web Client Authentication", "verify OK"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not in %s", want, out)
		}
	}
}
