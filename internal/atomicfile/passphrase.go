package atomicfile

import (
	"bytes"
	"errors"
	"log/slog"
)

const maxPassphrase = 4 << 10

// ReadPassphrase reads a passphrase from a file, less one newline, which every
// editor leaves at the end. A file that others can read is used, with a
// warning: what it opens has a mode of its own.
func ReadPassphrase(file string) ([]byte, error) {
	data, err := ReadSecret(file, maxPassphrase)
	var exposed *ExposedError
	if errors.As(err, &exposed) {
		slog.Warn("a passphrase file can be read by other users", "file", file, "hint", exposed.Hint())
		data, err = ReadLimited(file, maxPassphrase)
	}
	if err != nil {
		return nil, err
	}
	if line, ok := bytes.CutSuffix(data, []byte("\n")); ok {
		data = bytes.TrimSuffix(line, []byte("\r"))
	}
	return data, nil
}
