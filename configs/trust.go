package configs

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"renewer/renewer"
	"renewer/renewer/pki"
)

var trustFileSchema = schema{"file": pathOf(true)}

// readTrust reads whose roots are trusted: the name of an issuer, or a file of
// roots under the name that renewer.TrustFile gives it.
func readTrust(l *loader, at pos, n *yaml.Node) (any, bool) {
	const expected = "the name of an issuer, or {file: FILE}"
	if n.Kind != yaml.MappingNode {
		v, ok := text(expected)(l, at, n)
		if file, is := renewer.IsTrustFile(n.Value); ok && is {
			l.fault(at, l.what()+" is "+quote(n.Value), "expected {file: "+file+"}")
			ok = false
		}
		return v, ok
	}
	s, ok := l.object(at, n, "an entry of trust", trustFileSchema)
	if ok && !s.has("file") {
		l.fault(at, "an entry of trust has no file", "expected "+expected)
	}
	file := get[string](s, "file")
	return renewer.TrustFile(file), file != ""
}

// written shows names of trust as they stand in the fleet file.
func written(names []string) string {
	out := slices.Clone(names)
	for i, name := range out {
		if file, ok := renewer.IsTrustFile(name); ok {
			out[i] = "{file: " + file + "}"
		}
	}
	return strings.Join(out, ", ")
}

// trustFile reports whether a name of trust is a file of roots, and notes where it is
// named first. What is in it is no matter of the fleet file: see Unusable.
func (r *resolver) trustFile(at pos, name string) bool {
	file, ok := renewer.IsTrustFile(name)
	if ok && !slices.ContainsFunc(r.fleet.roots, func(f rootFile) bool { return f.path == file }) {
		r.fleet.roots = append(r.fleet.roots, rootFile{file, r.faultAt(at, "", "")})
	}
	return ok
}

// rootFile is a file of roots that trust: names, and where.
type rootFile struct {
	path  string
	named Fault
}

// HasRootFiles reports whether any trust: names a file of roots.
func (f *Fleet) HasRootFiles() bool { return len(f.roots) > 0 }

// Unusable says what is wrong now with the files of roots that trust: names, and which
// entries it concerns: what those have in place stays until it is fixed. A
// command that only reads need not be allowed to read them.
func (f *Fleet) Unusable() Faults { return f.unusable(disk{}) }

func (f *Fleet) unusable(disk fs.FS) (out Faults) {
	for _, file := range f.roots {
		if strings.HasPrefix(file.path, credentials) {
			continue
		}
		_, err := readRoots(disk, file.path)
		if err == nil || f.reading && errors.Is(err, fs.ErrPermission) {
			continue
		}
		var entries []string
		for i := range f.Certificates {
			c := &f.Certificates[i]
			if slices.Contains(c.Trust, renewer.TrustFile(file.path)) && !slices.Contains(entries, c.Entry) {
				entries = append(entries, c.Entry)
			}
		}
		if len(entries) == 0 {
			continue // all their hosts are retired
		}
		if more := len(entries) - 3; more > 0 {
			entries = append(entries[:3], fmt.Sprintf("%d more", more))
		}
		bad := file.named
		bad.What, bad.Expected, bad.err = "trust of "+strings.Join(entries, ", ")+": "+err.Error(), renewer.Hint(err), err
		out = append(out, bad)
	}
	return out.sort()
}

// ReadRoots reads a file of roots that trust: names. An error has a hint.
func ReadRoots(file string) ([]*x509.Certificate, error) { return readRoots(disk{}, file) }

// maxRoots is many times what the roots of a system take.
const maxRoots = 4 << 20

func readRoots(disk fs.FS, file string) ([]*x509.Certificate, error) {
	const should = "put CA certificates into it, in PEM"
	text, err := readFile(disk, file, maxRoots)
	if err != nil {
		return nil, renewer.WithHint(fmt.Errorf("the roots in %s cannot be read: %w", file, reason(err)), should+", readable for renewer")
	}
	if len(text) > maxRoots {
		return nil, renewer.WithHint(fmt.Errorf("%s is larger than 4 MiB", file), should)
	}
	certs, err := pki.DecodeCertificates(text)
	if err != nil {
		return nil, renewer.WithHint(fmt.Errorf("%s has no roots: %w", file, err), should+": -----BEGIN CERTIFICATE-----")
	}
	certs = slices.DeleteFunc(certs, func(c *x509.Certificate) bool { return !isCA(c) })
	if len(certs) == 0 {
		return nil, renewer.WithHint(fmt.Errorf("%s has certificates, but none of a CA", file), "put the certificate of the CA that signed them into it")
	}
	return certs, nil
}

// isCA accepts the self-signed ones of the time before basicConstraints too.
func isCA(c *x509.Certificate) bool {
	return c.BasicConstraintsValid && c.IsCA || c.Version < 3 && bytes.Equal(c.RawIssuer, c.RawSubject)
}
