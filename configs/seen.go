package configs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
)

// filesOf returns the fleet file and what it includes, as far as that is
// known without reading the rest.
func filesOf(path string) []string {
	files := []string{path}
	l, s, err := top(path, schema{"include": readInclude}, func(settings) bool { return true })
	if err != nil {
		return files // Load says what is wrong
	}
	for _, m := range l.matches(s) {
		files = append(files, m.name)
	}
	return files
}

// Stamp tells one state of a fleet file and of what it includes from another
// without reading them. It is empty where there is no such file.
func Stamp(path string) string {
	var out []string
	for _, name := range filesOf(path) {
		info, err := os.Stat(name)
		if err == nil {
			out = append(out, fmt.Sprintf("%d bytes at %d", info.Size(), info.ModTime().UnixNano()))
		} else if name == path {
			return ""
		} else {
			out = append(out, reason(err).Error())
		}
	}
	return strings.Join(out, ", ")
}

// Digest returns what Fleet.Digest of the fleet file would be.
func Digest(path string) (string, error) {
	var sums []sum
	for _, name := range filesOf(path) {
		data, err := readFile(disk{}, name, MaxSize)
		if err != nil {
			return "", notOpened(path, err)
		}
		sums = append(sums, sha256.Sum256(data))
	}
	return digest(sums...), nil
}

type sum = [sha256.Size]byte

// digest is that of the one file, or of those of all files in their order.
func digest(sums ...sum) string {
	all := sums[0]
	if len(sums) > 1 {
		var text []byte
		for _, s := range sums {
			text = append(text, s[:]...)
		}
		all = sha256.Sum256(text)
	}
	return hex.EncodeToString(all[:])
}
