package remote

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// noiseLimit bounds what an account's shell may print while it starts.
const noiseLimit = 64 << 10

var errNoise = fmt.Errorf("the account's shell prints more than %d bytes while it starts", noiseLimit)

// marked passes on what comes after the line that ends with mark, and keeps
// the end of what came before.
type marked struct {
	mark  string
	to    io.Writer
	found bool
	noise *tail
}

func newMarked(mark string, to io.Writer) *marked {
	return &marked{mark: mark + "\n", to: to, noise: &tail{limit: outputKept}}
}

// Write is used by one goroutine.
func (m *marked) Write(p []byte) (int, error) {
	if m.found {
		return m.to.Write(p)
	}
	before, after, ok := bytes.Cut(append(m.noise.bytes(), p...), []byte(m.mark))
	if !ok {
		return m.noise.Write(p)
	}
	m.found = true
	m.noise.buf = before
	if _, err := m.to.Write(after); err != nil {
		return 0, err
	}
	return len(p), nil
}

// unmarked is a stream from behind its mark on.
type unmarked struct {
	mark  string
	r     *bufio.Reader
	found bool
	noise tail
}

func newUnmarked(mark string, r io.Reader) *unmarked {
	return &unmarked{mark: mark + "\n", r: bufio.NewReaderSize(r, 256), noise: tail{limit: outputKept}}
}

// Read is used by one goroutine.
func (u *unmarked) Read(p []byte) (int, error) {
	for seen := 0; !u.found; {
		line, err := u.r.ReadSlice('\n')
		if u.found = bytes.HasSuffix(line, []byte(u.mark)); u.found {
			break
		}
		_, _ = u.noise.Write(line)
		if seen += len(line); seen > noiseLimit {
			return 0, errNoise
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return 0, err
		}
	}
	return u.r.Read(p)
}
