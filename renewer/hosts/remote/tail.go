package remote

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
)

// outputKept is what is kept of what a command prints: its end.
const outputKept = 16 << 10

// tail keeps the end of what is written to it, by several at once.
type tail struct {
	limit int
	mu    sync.Mutex
	buf   []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p[max(0, len(p)-t.limit):]...)
	if extra := len(t.buf) - t.limit; extra > 0 {
		t.buf = slices.Delete(t.buf, 0, extra)
	}
	return len(p), nil
}

// ReadFrom reads with little room, as mostly nothing comes: io.Copy would hold
// 32 KiB for each session.
func (t *tail) ReadFrom(r io.Reader) (int64, error) { return readSmall(t, r) }

func readSmall(to io.Writer, r io.Reader) (all int64, err error) {
	var room [512]byte
	for {
		n, err := r.Read(room[:])
		all += int64(n)
		if _, werr := to.Write(room[:n]); werr != nil {
			return all, werr
		}
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

func (t *tail) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Clone(t.buf)
}

// line is the end of what was written, fit for an error.
func (t *tail) line() string { return lineOf(t.bytes()) }

func lineOf(b []byte) string {
	const limit = 512
	s := strings.ToValidUTF8(string(b[max(0, len(b)-limit):]), "")
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }), " ")
}
