package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"renewer/renewer"
	"renewer/renewer/pki"
)

// On a terminal what is to be signed is shown and asked about; no answer but yes signs.
func TestSigningRequestsAsksOnATerminal(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	fleet := filepath.Join(u.dir, "ca.yaml")
	orders := filepath.Join(u.dir, "orders")
	key, err := pki.NewKey(renewer.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	request, err := pki.EncodeRequest(renewer.Order{Certificate: "docker@host-b", Key: key, Request: renewer.Request{
		CommonName: "host-b", SANs: []string{"host-b"}, Usages: []renewer.Usage{renewer.UsageServer}, Lifetime: 30 * 24 * time.Hour,
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.WriteFile(fleet, fmt.Appendf(nil, "state_dir: %s/state\nissuers: {fleet-ca: {type: local}}\n", u.dir), 0o600),
		os.Mkdir(orders, 0o700), os.WriteFile(filepath.Join(orders, "docker@host-b.csr"), request, 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		answer, want string
		signed       bool
	}{
		{"n\n", "nothing was done", false}, {"\n", "nothing was done", false}, {"y\n", "signed", true},
	} {
		ours, theirs := terminal(t)
		cmd := u.command("--config", fleet, "ca", "sign-requests", orders)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		theirs.Close()
		if _, err := io.WriteString(ours, c.answer); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if _, err := io.Copy(&out, ours); err != nil && !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		if err := cmd.Wait(); (err == nil) != c.signed {
			t.Errorf("answer %q: %v\n%s", c.answer, err, &out)
		}
		for _, want := range []string{"to sign", "sign 1 certificate with the CA of issuer fleet-ca? [y/N]", c.want} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("answer %q: no %q in\n%s", c.answer, want, &out)
			}
		}
		if _, err := os.Stat(filepath.Join(orders, "docker@host-b.crt")); (err == nil) != c.signed {
			t.Errorf("answer %q: %v", c.answer, err)
		}
	}
}
