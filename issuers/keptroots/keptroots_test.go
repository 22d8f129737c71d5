package keptroots_test

import (
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"renewer/internal/testpki"
	"renewer/issuers/keptroots"
	"renewer/renewer"
)

func TestSaveAndLoad(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "roots", "corp.pem")
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

func TestRootsOfAnIssuerThatIsAway(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	root := testpki.New(t).Root
	pinned := renewer.Fingerprint(root.Raw)
	answer := func(err error) func(context.Context) ([]*x509.Certificate, error) {
		return func(context.Context) ([]*x509.Certificate, error) {
			if err != nil {
				return nil, err
			}
			return []*x509.Certificate{root}, nil
		}
	}
	lost, refused := errors.New("connection refused"), &renewer.Error{Class: renewer.ClassMisconfigured, Err: errors.New("no such mount")}
	file := keptroots.File{Issuer: "corp", Path: filepath.Join(state, "roots", "corp.pem"), Pinned: pinned}
	if _, err := file.Roots(t.Context(), answer(lost), nil); !errors.Is(err, lost) {
		t.Errorf("nothing kept yet: %v", err)
	}
	if roots, err := file.Roots(t.Context(), answer(nil), nil); err != nil || len(roots) != 1 {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	other := file
	other.Pinned = renewer.Fingerprint(testpki.New(t).Root.Raw)
	for name, c := range map[string]struct {
		file keptroots.File
		ctx  context.Context
		err  error
		away func(error) bool
		kept bool
	}{
		"away":                   {file, t.Context(), lost, nil, true},
		"wrong, not away":        {file, t.Context(), refused, nil, false},
		"its files are gone":     {file, t.Context(), refused, func(error) bool { return true }, true},
		"no one waits any more":  {file, ended, lost, nil, false},
		"another CA was pinned":  {other, t.Context(), lost, nil, false},
		"nothing is to be kept":  {keptroots.File{Issuer: "corp"}, t.Context(), lost, nil, false},
		"nothing of it was kept": {keptroots.File{Issuer: "corp", Path: file.Path + ".none"}, t.Context(), lost, nil, false},
	} {
		roots, err := c.file.Roots(c.ctx, answer(c.err), c.away)
		if c.kept != (err == nil && len(roots) == 1 && roots[0].Equal(root)) || !c.kept && !errors.Is(err, c.err) {
			t.Errorf("%s: %d roots, %v", name, len(roots), err)
		}
	}
	nowhere := keptroots.File{Issuer: "corp", Path: filepath.Join(state, "none", "roots", "corp.pem")}
	if _, err := nowhere.Roots(t.Context(), answer(nil), nil); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(state, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a state directory was made: %v", err)
	}
}
