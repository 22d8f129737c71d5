package configs

import (
	"io/fs"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// pos is a place in a file. Zero stands for the built-in data, which has
// no place in a user's file: its faults are shown where it is asked for.
type pos struct{ line, column, file int32 }

// or returns p, or another place if p is none.
func (p pos) or(other pos) pos {
	if p == (pos{}) {
		return other
	}
	return p
}

// loader carries the faults of one file, the fleet file's those of all.
type loader struct {
	file    string            // what is read
	index   int32             // 0: the fleet file, else its place in files and one
	main    string            // what includes it
	files   []string          // that are included
	sums    []sum             // of these
	disk    fs.FS             // where they are
	builtin bool              // reading profiles.yaml: keep no positions
	later   map[string]string // features that are refused, see notYet
	getenv  func(string) (string, bool)
	reading bool   // see LoadForReading
	subject string // the key that is being read, for messages
	inList  bool   // an entry of it
	faults  Faults
	refused int // how many of the faults are such features
}

// about notes which key is being read.
func (l *loader) about(key string) { l.subject, l.inList = key, false }

// what names what is being read.
func (l *loader) what() string {
	if l.inList {
		return "an entry of " + l.subject
	}
	return l.subject
}

// wrong counts the faults of values that no later version will accept either.
func (l *loader) wrong() int { return len(l.faults) - l.refused }

func (l *loader) fault(at pos, what, expected string) {
	l.faults = append(l.faults, l.faultAt(at, what, expected))
}

func (l *loader) faultAt(at pos, what, expected string) Fault {
	return Fault{File: l.nameOf(at), Line: int(at.line), Column: int(at.column), What: what, Expected: expected, file: at.file}
}

// nameOf returns the name of the file that a place is in.
func (l *loader) nameOf(at pos) string {
	switch at.file {
	case l.index:
		return l.file
	case 0:
		return l.main
	}
	return l.files[at.file-1]
}

// start is the beginning of the file.
func (l *loader) start() pos { return pos{1, 1, l.index} }

func (l *loader) locate(n *yaml.Node) pos { return pos{int32(n.Line), int32(n.Column), l.index} }

func (l *loader) place(n *yaml.Node) pos {
	if l.builtin {
		return pos{}
	}
	return l.locate(n)
}

// position writes a place as it stands in messages.
func (l *loader) position(at pos) string {
	name := l.nameOf(at)
	b := append(append(make([]byte, 0, len(name)+16), name...), ':')
	b = append(strconv.AppendInt(b, int64(at.line), 10), ':')
	return string(strconv.AppendInt(b, int64(at.column), 10))
}

// first says where the first of two is, for a message at the second.
func (l *loader) first(at, second pos) string {
	s := "the first is in line " + strconv.Itoa(int(at.line))
	if at.file != second.file {
		s += " of " + l.nameOf(at)
	}
	return s
}

// suggest is suggestion, as long as the faults are few enough to be read:
// looking through thousands of names for each of thousands takes minutes.
func (l *loader) suggest(word string, valid []string) string {
	if len(l.faults) > 100 {
		return ""
	}
	return suggestion(word, valid)
}

// refuse makes a fault of a feature whose machinery is not there yet.
func (l *loader) refuse(at pos, feature string) { l.refuseOf(at, feature, "") }

// refuseOf is refuse, for a feature that came with something else.
func (l *loader) refuseOf(at pos, feature, of string) {
	if wayOut, ok := l.later[feature]; ok {
		l.fault(at, feature+of+" is not supported yet", wayOut)
		l.refused++
	}
}
