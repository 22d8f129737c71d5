package local_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/issuers/local"
	"renewer/renewer"
)

// typed runs the command of a hint in a shell, up to the import at its end, which it
// then makes into cfg. Passphrases that openssl would ask for are given.
func typed(t *testing.T, dir, hint string, cfg local.Config) (*local.Authority, error) {
	t.Helper()
	_, command, _ := strings.Cut(hint, ": ")
	command, arguments, ok := strings.Cut(command, "; renewer ca import fleet-ca ")
	var certFile, keyFile string
	if fields := strings.Fields(arguments); ok && len(fields) == 4 {
		certFile, keyFile = fields[1], fields[3]
	} else {
		t.Fatalf("no import at the end of %q", hint)
	}
	for _, what := range []string{"openssl pkcs12 ", "openssl pkey ", "openssl rsa "} {
		command = strings.ReplaceAll(command, what, what+"-passin pass:"+passphrase+" ")
	}
	sh := exec.CommandContext(t.Context(), "sh", "-ec", command)
	sh.Dir = dir
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	in := func(file string) string {
		if filepath.IsAbs(file) {
			return file
		}
		return filepath.Join(dir, file)
	}
	return local.Import(cfg, in(certFile), in(keyFile), ask(passphrase))
}

// What TLS peers do not understand is named as what it is, in whatever form the key is,
// and the command of the hint, as it stands there, makes of it what is imported.
func TestImportNamesWhatCannotBeUsed(t *testing.T) {
	t.Parallel()
	curve := func(name string, more ...string) []string {
		return append([]string{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:" + name, "-out", "key.pem"}, more...)
	}
	explicit := []string{"-pkeyopt", "ec_param_enc:explicit"}
	for name, tc := range map[string]struct {
		key   []string
		says  string
		mends bool // else only another CA helps
	}{
		"explicit parameters":               {curve("P-256", explicit...), "is ECDSA with explicit curve parameters, those of P-256,", true},
		"explicit parameters of P-384":      {curve("P-384", explicit...), "is ECDSA with explicit curve parameters, those of P-384,", true},
		"explicit parameters of none of Go": {curve("brainpoolP256r1", explicit...), "those of another curve than P-256, P-384 and P-521,", false},
		"secp256k1":                         {curve("secp256k1"), "is ECDSA on secp256k1,", false},
		"brainpool":                         {curve("brainpoolP384t1"), "is ECDSA on brainpoolP384t1,", false},
		"Ed448":                             {[]string{"genpkey", "-algorithm", "ED448", "-out", "key.pem"}, "is Ed448,", false},
		"an RSA-PSS key":                    {[]string{"genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "key.pem"}, "is RSA-PSS,", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made := t.TempDir()
			openssl(t, made, tc.key...)
			openssl(t, made, "req", "-x509", "-key", "key.pem", "-subj", "/CN=Odd CA", "-days", "10", "-out", "ca.pem", "-addext", "keyUsage=critical,keyCertSign")
			forms := map[string][]string{ // the last argument is the file with the key
				"PKCS #8":             {"pkey", "-in", "key.pem", "-out", "form.pem"},
				"DER":                 {"pkey", "-in", "key.pem", "-outform", "DER", "-out", "form.der"},
				"PKCS #8, encrypted":  {"pkcs8", "-topk8", "-in", "key.pem", "-passout", "pass:" + passphrase, "-out", "form.pem"},
				"PKCS #12":            {"pkcs12", "-export", "-inkey", "key.pem", "-in", "ca.pem", "-passout", "pass:" + passphrase, "-out", "form.p12"},
				"PKCS #12, its own":   {"pkcs12", "-export", "-inkey", "key.pem", "-in", "ca.pem", "-passout", "pass:Own-Phrase-3", "-out", "form.p12"},
				"PKCS #12, unsealed":  {"pkcs12", "-export", "-inkey", "key.pem", "-in", "ca.pem", "-keypbe", "NONE", "-certpbe", "NONE", "-nomac", "-passout", "pass:", "-out", "form.p12"},
				"PKCS #12, no phrase": {"pkcs12", "-export", "-inkey", "key.pem", "-in", "ca.pem", "-passout", "pass:", "-out", "form.p12"},
			}
			if name != "explicit parameters" && name != "secp256k1" { // the forms are the same for every kind
				forms = map[string][]string{"PKCS #8": forms["PKCS #8"], "PKCS #12": forms["PKCS #12"]}
			} else {
				forms["SEC 1 with parameters"] = []string{"sh"}
				forms["SEC 1, DER"] = []string{"ec", "-in", "key.pem", "-outform", "DER", "-out", "form.der"}
				forms["SEC 1, encrypted"] = []string{"ec", "-in", "key.pem", "-aes256", "-passout", "pass:" + passphrase, "-out", "form.pem"}
			}
			for form, command := range forms {
				dir := t.TempDir()
				for _, file := range []string{"key.pem", "ca.pem"} {
					data, err := os.ReadFile(filepath.Join(made, file))
					if err != nil {
						t.Fatal(err)
					}
					testpki.WriteFile(t, filepath.Join(dir, file), data, 0o600)
				}
				certFile, keyFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "form.pem")
				if form == "SEC 1 with parameters" { // as openssl ecparam -genkey writes it
					ec := openssl(t, dir, "ec", "-in", "key.pem", "-param_out") + openssl(t, dir, "ec", "-in", "key.pem")
					testpki.WriteFile(t, keyFile, []byte(strings.ReplaceAll(ec, "read EC key\nwriting EC key\n", "")), 0o600)
				} else {
					openssl(t, dir, command...)
					keyFile = filepath.Join(dir, command[len(command)-1])
				}
				if strings.HasSuffix(keyFile, ".p12") {
					certFile, keyFile = keyFile, ""
				}
				_, err := local.Import(config(t, "Own-Phrase-3"), certFile, keyFile, ask(passphrase))
				if err == nil || !strings.Contains(err.Error(), tc.says) {
					t.Fatalf("%s: got %v; hint %s", form, err, renewer.Hint(err))
				}
				if hint := renewer.Hint(err); !tc.mends {
					if !strings.HasSuffix(hint, "renewer ca init fleet-ca") {
						t.Errorf("%s: hint %s", form, hint)
					}
				} else if strings.Contains(form, "its own") || strings.Contains(form, "no phrase") {
					continue // the passphrase is another one than typed gives
				} else if a, err := typed(t, dir, hint, config(t, "")); err != nil || a.Info().Subject != "CN=Odd CA" {
					t.Errorf("%s, as the hint says, %s: %v", form, hint, err)
				}
			}
		})
	}
}

// A CA that lacks what makes it one, or has what peers do not know, is signed again by the
// command of the hint, with the same name and key.
func TestHintSignsACAAgain(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		options []string
		says    string
	}{
		"signed with RSA-PSS parameters": {[]string{"-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:20"}, "is signed by RSA-PSS with parameters, which Go programs such as dockerd do not support"},
		"no CA":                          {[]string{"-addext", "basicConstraints=critical,CA:FALSE"}, "basicConstraints has no CA:TRUE"},
		"no keyCertSign":                 {[]string{"-addext", "keyUsage=critical,digitalSignature"}, "keyUsage has no keyCertSign"},
		"an unknown critical extension":  {[]string{"-addext", "1.2.3.4=critical,ASN1:UTF8String:x"}, "has a critical extension (1.2.3.4) that peers would refuse"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			openssl(t, dir, "genrsa", "-out", "key.pem", "2048")
			openssl(t, dir, append([]string{"req", "-x509", "-key", "key.pem", "-subj", "/O=My Org, Inc/CN=Odd CA", "-days", "10", "-out", "ca.pem"}, tc.options...)...)
			_, err := local.Import(config(t, ""), filepath.Join(dir, "ca.pem"), filepath.Join(dir, "key.pem"), nil)
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Fatalf("got %v; hint %s", err, renewer.Hint(err))
			}
			hint := strings.Replace(renewer.Hint(err), ", as a CA", "", 1)
			if a, err := typed(t, dir, hint, config(t, "")); err != nil || a.Info().Subject != `CN=Odd CA,O=My Org\, Inc` {
				t.Errorf("as the hint says, %s: %v", hint, err)
			}
		})
	}
}

// A passphrase that protects a key is asked back for: neither PEM nor PKCS #12 becomes
// a plain file by itself, and the command of the hint decrypts it.
func TestImportNeverStoresAnEncryptedKeyInTheClear(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile := guideCA(t, dir, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-aes256", "-pass", "pass:"+passphrase)
	openssl(t, dir, "pkcs12", "-export", "-inkey", keyFile, "-passin", "pass:"+passphrase, "-in", certFile, "-passout", "pass:"+passphrase, "-out", "ca.p12")
	both := filepath.Join(dir, "both.pem")
	testpki.WriteFile(t, both, nil, 0o600)
	appendFile(t, both, certFile)
	appendFile(t, both, keyFile)
	if err := os.Chmod(both, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, files := range map[string][2]string{
		"PEM": {certFile, keyFile}, "PEM in one file": {both, ""}, "PKCS #12": {filepath.Join(dir, "ca.p12"), ""},
		"PKCS #12 as key": {certFile, filepath.Join(dir, "ca.p12")},
	} {
		cfg := config(t, "")
		_, err := local.Import(cfg, files[0], files[1], ask(passphrase))
		if err == nil || !strings.Contains(err.Error(), "has no passphrase_file") {
			t.Errorf("%s: got %v", name, err)
			continue
		}
		nothingAt(t, cfg)
		_, plain, _ := strings.Cut(renewer.Hint(err), "; or, ")
		if _, err := typed(t, dir, plain, cfg); err != nil {
			t.Errorf("%s, as the hint says, %s: %v", name, plain, err)
		}
	}
}

// An expired CA is replaced by what is possible where it is.
func TestHintForAnExpiredCA(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "key.pem")
	old := testpki.NewWith(t, testpki.Options{CommonName: "Old", NotAfter: time.Now().Add(-time.Hour)})
	testpki.WriteFile(t, certFile, old.PEM(), 0o644)
	testpki.WriteFile(t, keyFile, testpki.KeyPEM(t, old.Key), 0o600)

	_, err := local.Import(config(t, ""), certFile, keyFile, nil)
	if hint := renewer.Hint(err); err == nil || !strings.HasSuffix(hint, ": renewer ca init fleet-ca") {
		t.Errorf("without a CA: %v; hint %s", err, hint)
	}
	_, cfg := create(t)
	_, err = local.ImportNext(cfg, certFile, keyFile, nil, func(*local.Authority) error { return nil })
	if hint := renewer.Hint(err); err == nil || !strings.Contains(hint, "renewer ca rotate fleet-ca") {
		t.Errorf("as the next one: %v; hint %s", err, hint)
	}
	a, err := local.Open(local.Config{Name: "fleet-ca", CertFile: certFile, KeyFile: keyFile})
	if err == nil {
		err = a.Health(t.Context())
	}
	if hint := renewer.Hint(err); err == nil || !strings.Contains(hint, "renewer ca rotate fleet-ca") {
		t.Errorf("in place: %v; hint %s", err, hint)
	}
}

// PKCS #12 that is encrypted as before RFC 8018 is written as PEM by the command of the hint,
// and that is named as what it is.
func TestImportOfPKCS12ThatIsEncryptedAsBefore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	openssl(t, dir, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1", "-out", "key.pem")
	openssl(t, dir, "req", "-x509", "-key", "key.pem", "-subj", "/CN=Odd CA", "-days", "10", "-out", "ca.pem")
	openssl(t, dir, "pkcs12", "-export", "-legacy", "-inkey", "key.pem", "-in", "ca.pem", "-passout", "pass:"+passphrase, "-out", "ca.p12")
	_, err := local.Import(config(t, ""), filepath.Join(dir, "ca.p12"), "", ask(passphrase))
	if err == nil || !strings.Contains(err.Error(), "is PKCS #12 that cannot be read") {
		t.Fatalf("got %v", err)
	}
	if _, err := typed(t, dir, renewer.Hint(err), config(t, "")); err == nil || !strings.Contains(err.Error(), "is ECDSA on secp256k1,") {
		t.Errorf("as the hint says, %s: %v", renewer.Hint(err), err)
	}
}
