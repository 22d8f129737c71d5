package hosts

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"

	"renewer/renewer"
	"renewer/renewer/pki"
)

// Inspect looks at the live files. What differs from the placement is a
// problem of the result, not an error: an error says that the host could not
// be looked at.
func (h *Host) Inspect(ctx context.Context, p renewer.Placement) (renewer.OnDisk, error) {
	got, err := h.inspect(ctx, p)
	return got, h.doing("inspect", p, err)
}

func (h *Host) inspect(ctx context.Context, p renewer.Placement) (renewer.OnDisk, error) {
	owner, err := h.owner(ctx, p)
	if err != nil {
		return renewer.OnDisk{}, err
	}
	pl, err := h.open(ctx, p, false, h.toLook(p))
	if errors.Is(err, fs.ErrNotExist) {
		return renewer.OnDisk{Deviations: []renewer.Deviation{{Kind: renewer.DeviationMissing, Text: "directory " + p.Dir + " is missing"}}}, nil
	}
	if err != nil {
		return renewer.OnDisk{}, err
	}
	defer pl.close()
	claim, _, err := pl.mine()
	if err != nil {
		return renewer.OnDisk{}, err
	}
	in := inspection{pl: pl, p: p, owner: owner, linked: true}
	for _, kind := range renewer.FileKinds {
		if name, ok := p.Files[kind]; ok {
			if err := in.file(kind, name); err != nil {
				return renewer.OnDisk{}, err
			}
		}
	}
	in.pair()
	if in.linked {
		if err := in.revision(); err != nil {
			return renewer.OnDisk{}, err
		}
	}
	in.out.Unmarked = claim == renewer.ClaimFree && in.out.Revision != ""
	return in.out, nil
}

// inspection gathers what the live names of one placement hold.
type inspection struct {
	pl     *place
	p      renewer.Placement
	owner  Owner
	out    renewer.OnDisk
	linked bool // every name is a link of ours
	files  []File

	leaf     *x509.Certificate
	leafName string
	keys     map[string]crypto.Signer // by file name
}

func (in *inspection) problem(kind renewer.DeviationKind, format string, args ...any) {
	in.out.Deviations = append(in.out.Deviations, renewer.Deviation{Kind: kind, Text: fmt.Sprintf(format, args...)})
}

func (in *inspection) file(kind renewer.FileKind, name string) error {
	s, err := in.pl.look(name)
	if errors.Is(err, renewer.ErrUnreachable) {
		return err
	}
	if err != nil {
		in.linked = false
		in.problem(renewer.DeviationUnreadable, "%v", err)
		return nil
	}
	switch {
	case !s.exists:
		in.linked = false
		in.problem(renewer.DeviationMissing, "%s is missing", name)
		return nil
	case s.path == "":
		in.linked = false
		in.problem(renewer.DeviationMissing, "%s points to %s, which is missing", name, s.target)
		return nil
	case !s.ours && s.target != "":
		in.linked = false
		in.problem(renewer.DeviationForeign, "%s points to %s: not a link that renewer made", name, s.target)
	case !s.ours:
		in.linked = false
		in.problem(renewer.DeviationForeign, "%s is a regular file, not a link that renewer made", name)
	}
	f, err := readFile(in.pl.dir, s.path)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, errDamaged) {
		in.problem(renewer.DeviationUnreadable, "%s cannot be read: %v", name, err)
		return nil
	}
	if err != nil {
		return err
	}
	in.files = append(in.files, f)
	if kind == renewer.FileKey {
		in.out.Key = &renewer.KeyFile{UID: f.Owner.UID, GID: f.Owner.GID, Mode: f.Mode}
	}
	if want := in.p.Modes[kind].Perm(); f.Mode != want {
		in.problem(renewer.DeviationMode, "%s has mode %04o instead of %04o", name, f.Mode, want)
		problem := &in.out.Deviations[len(in.out.Deviations)-1]
		problem.Harmless = (f.Mode^want)&0o077 == 0 && f.Mode&0o400 != 0
		problem.Readable = !kind.Secret() && f.Mode&0o022 == 0 && want&^f.Mode == 0
	}
	if f.Owner != in.owner {
		in.problem(renewer.DeviationOwner, "%s belongs to %d:%d instead of %d:%d", name, f.Owner.UID, f.Owner.GID, in.owner.UID, in.owner.GID)
	}
	in.content(kind, name, f.Data)
	return nil
}

func (in *inspection) content(kind renewer.FileKind, name string, data []byte) {
	if kind == renewer.FileCA {
		roots, err := pki.DecodeCertificates(data)
		if err != nil {
			in.problem(renewer.DeviationContent, "%s: %v", name, err)
		}
		in.out.Roots, in.out.Trusts = roots, renewer.RootSetOf(roots)
		in.secret(name, data)
		return
	}
	if kind.Secret() {
		if key, err := pki.DecodeKey(data); err != nil {
			in.problem(renewer.DeviationKey, "%s: %v", name, err)
		} else {
			if in.keys == nil {
				in.keys = map[string]crypto.Signer{}
			}
			in.keys[name] = key
		}
	}
	if kind == renewer.FileKey {
		return
	}
	if !kind.Secret() {
		in.secret(name, data)
	}
	certs, err := pki.DecodeCertificates(data)
	switch {
	case err != nil:
		in.problem(renewer.DeviationContent, "%s: %v", name, err)
	case in.leaf == nil:
		in.leaf, in.leafName = certs[0], name
		in.out.Leaf, in.out.NotAfter = renewer.Fingerprint(certs[0].Raw), certs[0].NotAfter.UTC()
		in.out.Chain = renewer.Chain{Leaf: certs[0], Intermediates: certs[1:]}
	case !certs[0].Equal(in.leaf):
		in.problem(renewer.DeviationContent, "%s contains another certificate than %s", name, in.leafName)
	}
}

// secret reports a private key in a file that is not for one.
func (in *inspection) secret(name string, data []byte) {
	if pki.KeyBlock(data) != nil {
		in.problem(renewer.DeviationKey, "%s contains a private key: everyone who can read the file has the key", name)
	}
}

// pair holds the keys against the leaf.
func (in *inspection) pair() {
	for _, kind := range renewer.FileKinds {
		name := in.p.Files[kind]
		if key, ok := in.keys[name]; ok && in.leaf != nil && !pki.Belongs(key, in.leaf) {
			in.problem(renewer.DeviationKey, "%s is not the key of %s", name, in.leafName)
		}
	}
}

// revision looks whether the live revision is as it was written, in what the
// checks of its files do not see: a line added to a certificate, a file more.
func (in *inspection) revision() error {
	live, err := in.pl.live()
	in.out.Revision = live
	if err == nil && live != "" && len(in.out.Deviations) == 0 {
		_, err = in.pl.whole(live, in.files...) // they lie there: each name leads through what is live
	}
	if errors.Is(err, renewer.ErrUnreachable) {
		return err
	}
	if err != nil {
		in.problem(renewer.DeviationContent, "%v", err)
	}
	return nil
}

// Whole reports whether a revision is there as it was written.
func (h *Host) Whole(ctx context.Context, p renewer.Placement, revision string) (bool, error) {
	whole, err := h.whole(ctx, p, revision)
	return whole, h.doing("look at "+revision+" of", p, err)
}

func (h *Host) whole(ctx context.Context, p renewer.Placement, revision string) (bool, error) {
	pl, err := h.open(ctx, p, false, Ahead{})
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer pl.close()
	_, err = pl.whole(revision)
	if errors.Is(err, renewer.ErrNoRevision) {
		return false, nil
	}
	return err == nil, err
}

// Locate returns the newest revision whose leaf has the fingerprint, with the
// leaf's key where it holds one. One that is as it was written comes before a
// newer one in which somebody changed something else, such as a mode: from
// that the key can still be read, but Flip refuses it.
func (h *Host) Locate(ctx context.Context, p renewer.Placement, fingerprint string) (string, bool, error) {
	name, err := h.locate(ctx, p, fingerprint)
	return name, name != "", h.doing("find a revision of", p, err)
}

func (h *Host) locate(ctx context.Context, p renewer.Placement, fingerprint string) (string, error) {
	pl, err := h.open(ctx, p, false, Ahead{})
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer pl.close()
	revs, err := pl.revisions()
	if err != nil {
		return "", err
	}
	changed := ""
	for _, r := range revs {
		files, err := pl.read(r.String())
		if err != nil {
			if errors.Is(err, errDamaged) || errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return "", fmt.Errorf("revision %s: %w", r, err)
		}
		switch {
		case !usable(files, fingerprint):
		case digest(files)[:hashLen] == r.hash:
			return r.String(), nil
		case changed == "":
			changed = r.String()
		}
	}
	return changed, nil
}

// usable reports whether files hold the leaf with the fingerprint and, where
// they hold keys at all, the leaf's.
func usable(files []File, fingerprint string) bool {
	keys := false
	for _, f := range files {
		keys = keys || pki.KeyBlock(f.Data) != nil
	}
	for _, leaf := range leaves(files) {
		if renewer.Fingerprint(leaf.Raw) == fingerprint {
			return !keys || keyOf(files, leaf) != nil
		}
	}
	return false
}

// leaves returns the first certificate of each file.
func leaves(files []File) (out []*x509.Certificate) {
	for _, f := range files {
		if certs, err := pki.DecodeCertificates(f.Data); err == nil {
			out = append(out, certs[0])
		}
	}
	return out
}

// keyOf returns the private key of a leaf among files that may hold others, as
// one PEM block; nil if there is none.
func keyOf(files []File, leaf *x509.Certificate) []byte {
	for _, f := range files {
		block := pki.KeyBlock(f.Data)
		if block == nil {
			continue
		}
		text := pem.EncodeToMemory(block)
		if key, err := pki.DecodeKey(text); err == nil && pki.Belongs(key, leaf) {
			return text
		}
	}
	return nil
}

// ReadKey returns the private key of a revision as one PEM block.
func (h *Host) ReadKey(ctx context.Context, p renewer.Placement, revision string) ([]byte, error) {
	key, err := h.readKey(ctx, p, revision)
	return key, h.doing("read the key of "+revision+" of", p, err)
}

func (h *Host) readKey(ctx context.Context, p renewer.Placement, revision string) ([]byte, error) {
	if _, ok := parseRevision(revision); !ok {
		return nil, fmt.Errorf("%q is not the name of a revision", revision)
	}
	pl, err := h.open(ctx, p, false, Ahead{})
	if err != nil {
		return nil, err
	}
	defer pl.close()
	files, err := pl.read(revision)
	if err != nil {
		return nil, err
	}
	for _, leaf := range leaves(files) {
		if key := keyOf(files, leaf); key != nil && !leaf.IsCA { // a ca file may hold a CA with its key
			return key, nil
		}
	}
	return nil, errors.New("no private key in the file")
}
