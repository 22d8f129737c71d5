package remote

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// noiseLimit bounds what an account's shell may print while it starts, on both streams.
const noiseLimit = 64 << 10

// noise is what an account's shell prints before it comes to the mark.
type noise struct {
	cut func(error) // ends the session, with the reason; called once

	mark  chan struct{} // closed when the mark comes
	mu    sync.Mutex
	over  bool // the mark came
	size  int
	first []byte
	err   error
}

func newNoise(cut func(error)) *noise { return &noise{cut: cut, mark: make(chan struct{})} }

// markGrace is how long standard error waits for the mark where it has too much.
const markGrace = 300 * time.Millisecond

// await gives standard output time to come to its mark, which may have been sent before
// what is on standard error already: the two streams are read beside each other.
func (n *noise) await(more int) {
	n.mu.Lock()
	late := !n.over && n.err == nil && n.size+more > noiseLimit
	n.mu.Unlock()
	if !late {
		return
	}
	select {
	case <-n.mark:
	case <-time.After(markGrace):
	}
}

// add counts, until the mark has come. Where it is too much, the session is cut.
func (n *noise) add(p []byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.over || n.err != nil {
		return n.err
	}
	const kept = 40 // fit for an error
	n.first = append(n.first, p[:min(len(p), kept-len(n.first))]...)
	if n.size += len(p); n.size > noiseLimit {
		n.err = &endlessError{lineOf(n.first)}
		n.cut(n.err)
	}
	return n.err
}

// ended says that the mark came: what is printed from here on is the command's.
func (n *noise) ended() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.over {
		n.over = true
		close(n.mark)
	}
}

// before reports whether the mark has not come yet.
func (n *noise) before() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.over
}

// tooMuch is the reason why the session was cut; nil if it was not.
func (n *noise) tooMuch() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

// endlessError: a shell printed more than noiseLimit without coming to the mark.
type endlessError struct{ first string }

func (e *endlessError) Error() string {
	return fmt.Sprintf("prints endless output while it starts: %q and more, over %d KiB", e.first, noiseLimit>>10)
}

// aside is the standard error of a session: noise as well before the mark.
type aside struct {
	noise *noise
	to    *tail
}

func (a aside) Write(p []byte) (int, error) {
	a.noise.await(len(p))
	if err := a.noise.add(p); err != nil {
		return 0, err
	}
	return a.to.Write(p)
}

// ReadFrom: see tail.ReadFrom.
func (a aside) ReadFrom(r io.Reader) (int64, error) { return readSmall(a, r) }

// marked passes on what comes after the line that ends with mark, and keeps
// the end of what came before.
type marked struct {
	mark  string
	to    io.Writer
	found bool
	noise *noise
	last  *tail
}

func newMarked(mark string, to io.Writer, n *noise) *marked {
	return &marked{mark: mark + "\n", to: to, noise: n, last: &tail{limit: outputKept}}
}

// Write is used by one goroutine.
func (m *marked) Write(p []byte) (int, error) {
	if m.found {
		return m.to.Write(p)
	}
	before, after, ok := bytes.Cut(append(m.last.bytes(), p...), []byte(m.mark))
	if !ok {
		if err := m.noise.add(p); err != nil {
			return 0, err
		}
		return m.last.Write(p)
	}
	m.noise.ended()
	m.found = true
	m.last.buf = before
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
	noise *noise
	last  tail
}

func newUnmarked(mark string, r io.Reader, n *noise) *unmarked {
	return &unmarked{mark: mark + "\n", r: bufio.NewReaderSize(r, 256), noise: n, last: tail{limit: outputKept}}
}

// errSpeaksSFTP: where a command was to run, an SFTP server answers. It is what sshd says
// where ForceCommand is internal-sftp.
var errSpeaksSFTP = errors.New("this service allows sftp connections only")

// speaksSFTP looks for a packet SSH_FXP_VERSION of version 3.
func (u *unmarked) speaksSFTP() bool {
	begin, _ := u.r.Peek(9) // an error comes again
	return len(begin) == 9 && begin[0] == 0 && string(begin[4:]) == "\x02\x00\x00\x00\x03"
}

// Read is used by one goroutine.
func (u *unmarked) Read(p []byte) (int, error) {
	if !u.found && u.speaksSFTP() {
		return 0, errSpeaksSFTP
	}
	for !u.found {
		line, err := u.r.ReadSlice('\n')
		if u.found = bytes.HasSuffix(line, []byte(u.mark)); u.found {
			u.noise.ended()
			break
		}
		_, _ = u.last.Write(line)
		if err := u.noise.add(line); err != nil {
			return 0, err
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return 0, err
		}
	}
	return u.r.Read(p)
}
