package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"renewer/renewer"
	"renewer/renewer/hosts"
)

// webroot is a directory on a host that a web server serves, for answers to an ACME
// server.
type webroot struct {
	parts     *parts // its transports are made after its issuers
	host, dir string
}

// Where implements acme.Files.
func (w webroot) Where() string { return w.dir + " of host " + w.host }

func (w webroot) open(ctx context.Context) (hosts.Dir, hosts.Transport, error) {
	t, ok := w.parts.transports[w.host]
	if !ok {
		return nil, nil, fmt.Errorf("host %s is not in the fleet file", w.host)
	}
	d, err := t.OpenDir(ctx, w.dir, false)
	if errors.Is(err, fs.ErrNotExist) {
		err = renewer.WithHint(err, "make the directory, and have the web server serve it: location /.well-known/acme-challenge/ { root "+w.dir+"; }")
	}
	return d, t, err
}

// Put implements acme.Files.
func (w webroot) Put(ctx context.Context, name string, content []byte) (err error) {
	d, t, err := w.open(ctx)
	if err != nil {
		return fmt.Errorf("host %s: open %s: %w", w.host, w.dir, err)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	owner, err := t.Owner(ctx, "", "", w.dir)
	if err != nil {
		return fmt.Errorf("host %s: %w", w.host, err)
	}
	at := ""
	for _, part := range strings.Split(path.Dir(name), "/") {
		at = path.Join(at, part)
		if _, err := d.Lstat(at); err == nil {
			continue
		}
		if err := errors.Join(d.Mkdir(at), d.Chmod(at, 0o755)); err != nil {
			return fmt.Errorf("host %s: make %s: %w", w.host, path.Join(w.dir, at), err)
		}
	}
	if err := d.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("host %s: remove %s: %w", w.host, path.Join(w.dir, name), err)
	}
	if err := d.Create(hosts.File{Name: name, Mode: 0o444, Owner: owner, Data: content}); err != nil {
		return fmt.Errorf("host %s: write %s: %w", w.host, path.Join(w.dir, name), err)
	}
	return nil
}

// Remove implements acme.Files.
func (w webroot) Remove(ctx context.Context, name string) (err error) {
	d, _, err := w.open(ctx)
	if err != nil {
		return fmt.Errorf("host %s: open %s: %w", w.host, w.dir, err)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("host %s: remove %s: %w", w.host, path.Join(w.dir, name), err)
	}
	return nil
}
