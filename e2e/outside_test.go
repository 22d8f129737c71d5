//go:build e2e

package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"strings"
	"testing"

	"renewer/internal/testhosts"
)

// What is seen of a host without renewer.

// served is the fingerprint of the certificate that dockerd shows to openssl.
func served(t *testing.T, h *testhosts.Host) string {
	t.Helper()
	out, err := testhosts.Client(t.Context(), "sh", "-c", `openssl s_client -connect "$1" </dev/null 2>&1`, "sh", h.Address+":2376").CombinedOutput()
	block, _ := pem.Decode(out[max(0, strings.Index(string(out), "-----BEGIN CERTIFICATE")):])
	if block == nil {
		t.Fatalf("openssl s_client %s: %v: %s", h.Address, err, out)
	}
	sum := sha256.Sum256(block.Bytes)
	return hex.EncodeToString(sum[:])
}

// pairOnDisk checks by openssl that the live key is that of the live
// certificate, and that nothing of a broken push is left; it returns the
// certificate's fingerprint.
func pairOnDisk(t *testing.T, h *testhosts.Host, dir, cert, key string) string {
	t.Helper()
	ofCert := run(t, h, "openssl", "x509", "-in", dir+"/"+cert, "-noout", "-pubkey")
	if ofKey := run(t, h, "openssl", "pkey", "-in", dir+"/"+key, "-pubout"); ofKey != ofCert {
		t.Errorf("%s on %s: the key does not match the certificate", dir, h.Name)
	}
	if left := run(t, h, "find", dir, "-name", ".tmp-*"); left != "" {
		t.Errorf("left in %s: %s", dir, left)
	}
	line := run(t, h, "openssl", "x509", "-in", dir+"/"+cert, "-noout", "-fingerprint", "-sha256")
	_, print, _ := strings.Cut(line, "=")
	return strings.ToLower(strings.ReplaceAll(print, ":", ""))
}

// lastStart tells one start of dockerd from another.
func lastStart(t *testing.T, h *testhosts.Host) string {
	t.Helper()
	return run(t, h, "systemctl", "show", "-p", "ActiveEnterTimestampMonotonic", "docker.service")
}
