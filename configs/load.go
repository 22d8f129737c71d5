package configs

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"renewer/internal/atomicfile"
	"renewer/internal/pattern"
	"renewer/renewer"
)

// MaxSize is the largest file that is read, in bytes. There is no limit to
// what several files have together.
const MaxSize = 64 << 20

// Load reads a fleet file and what it includes. The error is Faults where the
// content is at fault, and says otherwise why the file could not be read.
func Load(path string) (*Fleet, error) { return load(path, false) }

// LoadForReading is Load for commands that do not act by themselves, and are
// started by an operator rather than by systemd: where CREDENTIALS_DIRECTORY is
// not set, the paths that use it stay as they are written.
func LoadForReading(path string) (*Fleet, error) { return load(path, true) }

func load(path string, reading bool) (*Fleet, error) {
	data, err := readFile(disk{}, path, MaxSize)
	if err != nil {
		return nil, notOpened(path, err)
	}
	l := &loader{file: path, disk: disk{}, later: notYet, getenv: os.LookupEnv, reading: reading}
	fleet, err := parse(l, data)
	if err == nil {
		fleet.Digest = digest(slices.Insert(l.sums, 0, sha256.Sum256(data))...)
	}
	return fleet, err
}

// disk is the file system of this machine, by the paths that people write.
type disk struct{}

// Open waits for no other end of a pipe.
func (disk) Open(name string) (fs.File, error) {
	return os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// Stat implements fs.StatFS.
func (disk) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

// Lstat and ReadLink implement fs.ReadLinkFS.
func (disk) Lstat(name string) (fs.FileInfo, error) { return os.Lstat(name) }
func (disk) ReadLink(name string) (string, error)   { return os.Readlink(name) }

// readFile reads a regular file, and one byte more than most of one that is larger. A pipe
// or a device would keep its reader waiting.
func readFile(disk fs.FS, name string, most int) ([]byte, error) {
	f, err := disk.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil {
		err = atomicfile.Regular(info)
	}
	if err != nil {
		return nil, err
	}
	var data bytes.Buffer
	data.Grow(int(min(info.Size(), int64(most))) + bytes.MinRead)
	_, err = data.ReadFrom(io.LimitReader(f, int64(most)+1))
	return data.Bytes(), err
}

// reason is what is wrong with a file whose name was said.
func reason(err error) error {
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return at.Err
	}
	return err
}

func notOpened(path string, err error) error {
	hint := ""
	switch err = reason(err); {
	case errors.Is(err, os.ErrNotExist):
		hint = "write a fleet file to start from: renewer init; --config names another one, and --socket a running daemon"
	case errors.Is(err, os.ErrPermission):
		hint = "where a daemon runs, --socket SOCKET or $RENEWER_SOCKET names its socket, and no fleet file is needed"
	}
	return renewer.WithHint(fmt.Errorf("read the fleet file %s: %w", path, err), hint)
}

// Parse reads the content of a fleet file; path is for messages, and where what
// it includes is looked for. The error is always Faults.
func Parse(path string, data []byte) (*Fleet, error) {
	return parse(&loader{file: path, disk: disk{}, later: notYet, getenv: os.LookupEnv}, data)
}

func parse(l *loader, data []byte) (*Fleet, error) {
	root := l.document(data)
	var fleet *Fleet
	if root != nil {
		fleet = l.fleet(root)
	}
	if len(l.faults) > 0 {
		return nil, l.faults.sort()
	}
	return fleet, nil
}

// document returns the one mapping that a fleet file is, or nil with a fault.
func (l *loader) document(data []byte) *yaml.Node {
	if len(data) > MaxSize {
		l.fault(l.start(), "the file is larger than 64 MiB", "expected a fleet file; it can include others")
		return nil
	}
	if at, what := unreadable(data); what != "" {
		at.file = l.index
		l.fault(at, what, "expected UTF-8 text")
		return nil
	}
	in := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	err := in.Decode(&doc)
	if errors.Is(err, io.EOF) || err == nil && isNull(doc.Content[0]) {
		if l.index > 0 {
			return &yaml.Node{Kind: yaml.MappingNode, Line: 1, Column: 1} // all of it is commented out
		}
		l.fault(l.start(), "the fleet file is empty", "expected state_dir, issuers, hosts and certificates; renewer init writes one to start from")
		return nil
	}
	if err == nil {
		switch err = in.Decode(&second); {
		case err == nil:
			l.fault(l.locate(&second), "a second document in the file", "expected one document")
		case errors.Is(err, io.EOF):
			err = nil
		}
	}
	if err != nil {
		l.fault(l.syntax(err, data), "not YAML: "+yamlLine.ReplaceAllString(strings.TrimPrefix(err.Error(), "yaml: "), ""),
			"expected correct YAML; the cause may be a few lines earlier")
		return nil
	}
	if !l.plain(doc.Content[0]) {
		return nil
	}
	return doc.Content[0]
}

// plain reports whether the document does without the parts of YAML that make
// one text stand for another: aliases, merge keys and tags of one's own.
func (l *loader) plain(n *yaml.Node) bool {
	ok := true
	switch {
	case n.Kind == yaml.AliasNode:
		l.fault(l.locate(n), "alias *"+n.Value+" is not allowed in a fleet file", "expected the value itself; what certificates share goes under defaults or profiles")
		return false
	case n.Kind == yaml.ScalarNode && n.Tag == "!!merge":
		l.fault(l.locate(n), "a merge key (<<) is not allowed in a fleet file", "expected the keys themselves; what certificates share goes under defaults or profiles")
		return false
	case n.Style&yaml.TaggedStyle != 0:
		l.fault(l.locate(n), "tag "+quote(n.Tag)+" is not allowed in a fleet file", "expected a value without a tag")
		ok = false
	}
	for _, c := range n.Content {
		ok = l.plain(c) && ok
	}
	return ok
}

// unreadable finds the first byte that is not text.
func unreadable(data []byte) (pos, string) {
	at := pos{line: 1, column: 1}
	for len(data) > 0 {
		if c := data[0]; ' ' <= c && c < 0x7f { // most of it
			at.column++
			data = data[1:]
			continue
		}
		r, size := utf8.DecodeRune(data)
		switch {
		case r == utf8.RuneError && size == 1:
			return at, "a byte that is not UTF-8"
		case r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f:
			return at, fmt.Sprintf("a control character (%U)", r)
		case r == '\r' && bytes.HasPrefix(data[size:], []byte("\n")):
			at.column--
		case r == '\n' || r == '\r' || r == '\u0085' || r == '\u2028' || r == '\u2029': // YAML 1.1, section 4.2
			at = pos{line: at.line + 1}
		}
		at.column++
		data = data[size:]
	}
	return at, ""
}

var (
	yamlLine   = pattern.New(`^line ([0-9]+): `)
	yamlAnchor = pattern.New(`^unknown anchor '(.+)' referenced`)
)

// parserProblem holds how the YAML library's parser, unlike its scanner,
// begins a problem: it counts the lines of these from 0.
var parserProblem = pattern.New(`^(did not find expected ('-'|key|',' or|node content|<)|found duplicate|found undefined|found incompatible|block sequence entries)`)

// syntax finds the line in the library's message; it knows no columns.
func (l *loader) syntax(err error, data []byte) pos {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if m := yamlAnchor.FindStringSubmatch(text); m != nil {
		if before, _, found := bytes.Cut(data, []byte("*"+m[1])); found {
			line = bytes.Count(before, []byte("\n")) + 1
		}
	}
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		if parserProblem.MatchString(text[len(m[0]):]) {
			line++
		}
	}
	last := bytes.Count(bytes.TrimSuffix(data, []byte("\n")), []byte("\n")) + 1
	return pos{int32(max(1, min(line, last))), 1, l.index}
}
