package keptroots_test

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"renewer/internal/keptroots"
	"renewer/internal/testpki"
)

func TestSaveAndLoad(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "issuers", "corp", "roots.pem")
	if _, err := keptroots.Load(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing kept: %v", err)
	}
	a, b := testpki.New(t).Root, testpki.New(t).Root
	if err := keptroots.Save(path, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := keptroots.Load(path); err == nil {
		t.Error("a file without a certificate was taken")
	}
	for range 2 {
		if err := keptroots.Save(path, []*x509.Certificate{a, b}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := keptroots.Load(path)
	if err != nil || len(got) != 2 || !got[0].Equal(a) || !got[1].Equal(b) {
		t.Errorf("%d roots, %v", len(got), err)
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("its directory: %v, %v", info.Mode(), err)
	}
}
