package configs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"renewer/internal/atomicfile"
	"renewer/internal/pattern"
)

// longestSocket is the room that Linux has for the path of a unix socket
// (unix(7): 108 bytes with the final NUL).
const longestSocket = 107

// socketSchema are the keys of the fleet file that say where the socket is.
var socketSchema = schema{"state_dir": pathOf(false), "api": object("api", apiSchema)}

// socketOf returns the path of the socket, empty where nothing says it.
func socketOf(s settings) string {
	socket := get[string](get[settings](s, "api"), "socket")
	if dir := get[string](s, "state_dir"); socket == "" && dir != "" {
		socket = filepath.Join(dir, "renewer.sock")
	}
	return socket
}

func (l *loader) noStateDir(at pos) {
	l.fault(at, "the fleet file has no state_dir", "expected state_dir: the path of a directory for renewer alone, such as /var/lib/renewer")
}

// SocketOf returns the path of the socket that a fleet file names. It looks at
// state_dir and api alone: the rest may be large, or have faults.
func SocketOf(path string) (string, error) { return placeOf(path, socketOf) }

// StateDirOf returns the state directory that a fleet file names, as SocketOf
// does.
func StateDirOf(path string) (string, error) {
	return placeOf(path, func(s settings) string { return get[string](s, "state_dir") })
}

func placeOf(path string, of func(settings) string) (string, error) {
	l, s, err := top(path, socketSchema, func(s settings) bool { return of(s) != "" })
	if err != nil {
		return "", err
	}
	if place := of(s); place != "" {
		return place, nil
	}
	if len(l.faults) == 0 {
		l.noStateDir(l.start())
	}
	return "", l.faults.sort()
}

// top reads a few keys of a fleet file alone; the whole is decoded where they
// is not known from the lines, or are not enough.
func top(path string, keys schema, enough func(settings) bool) (*loader, settings, error) {
	f, err := atomicfile.Open(path)
	if err != nil {
		return nil, nil, notOpened(path, err)
	}
	defer f.Close()
	l := &loader{file: path, disk: disk{}}
	text, plain, err := topLevel(f, keys)
	if err != nil {
		return nil, nil, notOpened(path, err)
	}
	doc := yaml.Node{Content: []*yaml.Node{{Kind: yaml.MappingNode}}}
	if plain && (len(text) == 0 || yaml.Unmarshal(text, &doc) == nil) {
		if s := l.some(doc.Content[0], keys); enough(s) {
			return l, s, nil
		}
	}
	if text, err = os.ReadFile(path); err != nil {
		return nil, nil, notOpened(path, err)
	}
	l.faults = nil
	root := l.document(text)
	if root == nil {
		return nil, nil, l.faults.sort()
	}
	return l, l.some(root, keys), nil
}

// some reads the keys of a schema and passes over all others.
func (l *loader) some(root *yaml.Node, keys schema) settings {
	few := yaml.Node{Kind: root.Kind}
	for i := 0; i+1 < len(root.Content); i += 2 {
		if keys[root.Content[i].Value] != nil {
			few.Content = append(few.Content, root.Content[i], root.Content[i+1])
		}
	}
	s, _ := l.object(l.locate(root), &few, "the fleet file", keys)
	return s
}

var topKey = pattern.New(`^["']?([a-z_]+)["']? *:([ \t\r\n]|$)`)

// topLevel returns the text of some keys, by the lines that begin at column 1.
// It reports false where these are not plain keys.
func topLevel(f *os.File, keys schema) (text []byte, plain bool, err error) {
	starts, size, err := topLines(f)
	if err != nil {
		return nil, false, err
	}
	head := make([]byte, 64)
	for i, at := range starts {
		n, err := f.ReadAt(head, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, false, err
		}
		m := topKey.Regexp().FindSubmatch(bytes.TrimPrefix(head[:n], []byte(byteOrderMark)))
		if m == nil {
			return nil, false, nil
		}
		if keys[string(m[1])] == nil {
			continue
		}
		end := size
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		block := make([]byte, end-at)
		if _, err := f.ReadAt(block, at); err != nil {
			return nil, false, err
		}
		text = append(append(text, bytes.TrimPrefix(block, []byte(byteOrderMark))...), '\n')
	}
	return text, true, nil
}

const byteOrderMark = "\ufeff"

// topLines finds the lines that begin at column 1 and are neither comments nor
// entries of a list. More than a fleet file has keys are none.
func topLines(r io.Reader) (starts []int64, size int64, err error) {
	buf := make([]byte, 64<<10)
	fresh := true // the next byte begins a line
	for {
		n, err := r.Read(buf)
		for rest := buf[:n]; len(rest) > 0; {
			if c := rest[0]; fresh && c != ' ' && strings.IndexByte("\t\r\n#-", c) < 0 {
				starts = append(starts, size+int64(n-len(rest)))
			}
			i := bytes.IndexByte(rest, '\n')
			if fresh = i >= 0; !fresh {
				break
			}
			rest = rest[i+1:]
		}
		size += int64(n)
		if errors.Is(err, io.EOF) || len(starts) > 1000 {
			break
		}
		if err != nil {
			return nil, 0, err
		}
	}
	return starts, size, nil
}
