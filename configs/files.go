package configs

import (
	"fmt"
	"io/fs"
	"strconv"

	"go.yaml.in/yaml/v3"

	"renewer/internal/pattern"
	"renewer/renewer"
)

func keyTypes() []string {
	var out []string
	for _, k := range renewer.KeyTypes {
		out = append(out, string(k))
	}
	return out
}

// removed is the name of a file that null took away.
const removed = ""

// filesReader reads the names of files by kind; null removes one.
var filesReader = func() reader {
	s := schema{}
	name := textLike("the name of a file in dir, without a slash", isBaseName)
	for _, k := range renewer.FileKinds {
		s[string(k)] = func(l *loader, at pos, n *yaml.Node) (any, bool) {
			if isNull(n) {
				return removed, true
			}
			return name(l, at, n)
		}
	}
	s["pkcs12"], s["jks"] = soon("file pkcs12", keystore("pkcs12", name)), soon("file jks", keystore("jks", name))
	s["combined"], s["password_file"] = soon("file combined", name), soon("password_file", pathOf(true))
	return object("files", s)
}()

var modeForm = pattern.New(`^0[0-7]{3}$`)

func modesSchema() schema {
	s := schema{}
	for _, k := range renewer.FileKinds {
		s[string(k)] = func(l *loader, at pos, n *yaml.Node) (any, bool) { return readMode(l, at, n, k) }
	}
	return s
}

// readMode returns an fs.FileMode. Without its quotes 0400 is a number to
// YAML, but no one who writes it means 400 in decimal.
func readMode(l *loader, at pos, n *yaml.Node, kind renewer.FileKind) (any, bool) {
	const expected = `four octal digits such as "0400"`
	s, ok := l.scalar(at, n, expected, "!!str", "!!int", "!!float")
	if !ok {
		return nil, false
	}
	if !modeForm.MatchString(s) {
		l.fault(at, "the mode of the "+string(kind)+" file is "+quote(s), "expected "+expected+", without setuid, setgid or sticky bit")
		return nil, false
	}
	v, _ := strconv.ParseUint(s, 8, 32)
	mode := fs.FileMode(v)
	switch {
	case kind.Secret() && mode&0o007 != 0:
		l.fault(at, fmt.Sprintf("mode %s lets every user read the private key in the %s file", quote(s), kind), `expected no rights for others: "0400", or "0440" with a group`)
	case mode&0o022 != 0:
		l.fault(at, fmt.Sprintf("mode %s lets other users write the %s file", quote(s), kind), `expected "0444", or "0400" for a key`)
	case mode&0o400 == 0:
		l.fault(at, fmt.Sprintf("mode %s does not let the owner read the %s file", quote(s), kind), `expected "0444", or "0400" for a key`)
	default:
		return mode, true
	}
	return nil, false
}

func defaultMode(k renewer.FileKind) fs.FileMode {
	if k.Secret() {
		return 0o400
	}
	return 0o444
}
