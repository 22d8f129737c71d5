package testssh

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// Request is one request of the SFTP session.
type Request struct {
	N      int // counted from the last SetFault
	Type   byte
	Writes bool // it changes something on disk
}

// Fault is what happens to a request.
type Fault int

// The faults.
const (
	None      Fault = iota
	CutBefore       // the connection breaks before the request arrives
	CutAfter        // it has its effect, and the connection breaks before the answer
	Swallow         // it never arrives, and the connection stays
)

// SetFault has every request of the SFTP sessions judged from now on. After
// one was answered, look is called, before the client sees the answer.
func (s *Server) SetFault(fault func(Request) Fault, look func(Request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault, s.look, s.serial = fault, look, 0
}

// looks reports whether somebody looks at each answer.
func (s *Server) looks() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.look != nil
}

func (s *Server) judge(packet []byte) (r Request, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	r = Request{N: s.serial, Type: packet[0], Writes: writes(packet)}
	if s.fault != nil {
		f = s.fault(r)
	}
	return r, f
}

// writes: draft-ietf-secsh-filexfer-02, section 3.
func writes(packet []byte) bool {
	const open, writeFlag = 3, 2
	switch packet[0] {
	case open: // id, name, flags
		if len(packet) < 9 {
			return false
		}
		at := 9 + int(binary.BigEndian.Uint32(packet[5:9]))
		return len(packet) >= at+4 && binary.BigEndian.Uint32(packet[at:])&writeFlag != 0
	case 6, 9, 10, 13, 14, 15, 18, 20: // write, setstat, fsetstat, remove, mkdir, rmdir, rename, symlink
		return true
	case 200: // extended; posix-rename among those used
		return true
	}
	return false
}

// serveFiles serves the files of this machine on a channel.
func (s *Server) serveFiles(conn net.Conn, ch ssh.Channel) {
	in, out := io.Pipe()
	answers := &answers{Writer: ch, s: s, conn: conn, due: map[uint32]judged{}}
	answers.came.L = &answers.mu
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { _ = out.CloseWithError(s.requests(ch, out, answers)) })
	server, err := sftp.NewServer(struct {
		io.Reader
		io.WriteCloser
	}{in, answers})
	if err != nil {
		return
	}
	_ = server.Serve()
	answers.end()
	_ = in.Close()
	_ = ch.Close()
}

// requests passes requests on, one packet after another.
func (s *Server) requests(from io.Reader, to io.Writer, a *answers) error {
	const init, most = 1, 256 << 10
	for {
		packet := make([]byte, 4)
		if _, err := io.ReadFull(from, packet); err != nil {
			return err
		}
		n := binary.BigEndian.Uint32(packet)
		if n == 0 || n > most {
			return io.ErrUnexpectedEOF
		}
		packet = append(packet, make([]byte, n)...)
		if _, err := io.ReadFull(from, packet[4:]); err != nil {
			return err
		}
		if packet[4] != init {
			r, f := s.judge(packet[4:])
			switch f {
			case CutBefore:
				_ = a.conn.Close()
				return io.EOF
			case Swallow:
				continue
			}
			a.expect(packet, r, f, s.looks())
			if answer := mkdir(packet); answer != nil {
				if _, err := a.Write(answer); err != nil {
					return err
				}
				continue
			}
		}
		if _, err := to.Write(packet); err != nil {
			return err
		}
	}
}

// mkdir makes a directory with the mode that it is asked for, as OpenSSH's
// server does and the library does not. nil: this is another request.
func mkdir(packet []byte) (answer []byte) {
	const mkdir, withMode, failure, status = 14, 4, 4, 101
	if packet[4] != mkdir || len(packet) < 13 {
		return nil
	}
	end := 13 + int(binary.BigEndian.Uint32(packet[9:]))
	if len(packet) != end+8 || binary.BigEndian.Uint32(packet[end:]) != withMode {
		return nil
	}
	code := uint32(0)
	switch err := os.Mkdir(string(packet[13:end]), os.FileMode(binary.BigEndian.Uint32(packet[end+4:])&0o777)); {
	case errors.Is(err, os.ErrNotExist):
		code = 2
	case errors.Is(err, os.ErrPermission):
		code = 3
	case err != nil:
		code = failure
	}
	answer = binary.BigEndian.AppendUint32(nil, 17)
	answer = append(append(answer, status), packet[5:9]...)
	answer = binary.BigEndian.AppendUint32(answer, code)
	return append(answer, make([]byte, 8)...) // no words
}

// answers are written to the client, whole ones only. It may have asked for
// several things: an answer belongs to the request whose number it has.
type answers struct {
	io.Writer
	s    *Server
	conn net.Conn

	mu   sync.Mutex
	came sync.Cond // an answer, or the end
	over bool
	due  map[uint32]judged
	part []byte // of an answer
}

type judged struct {
	Request
	fault Fault
}

// number is what a packet is known by: length, type, number. That of the
// version, which answers no request, is its version.
func number(packet []byte) (n uint32, ok bool) {
	if len(packet) < 9 {
		return 0, false
	}
	return binary.BigEndian.Uint32(packet[5:]), true
}

// expect notes who waits for an answer. alone: once all others have theirs, so that
// nothing is done while somebody looks at what was.
func (a *answers) expect(packet []byte, r Request, f Fault, alone bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for alone && len(a.due) > 0 && !a.over {
		a.came.Wait()
	}
	if n, ok := number(packet); ok {
		a.due[n] = judged{r, f}
	}
}

func (a *answers) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.part = append(a.part, p...)
	whole := 0
	for rest := a.part; len(rest) >= 4; rest = a.part[whole:] {
		n := 4 + int(binary.BigEndian.Uint32(rest))
		if len(rest) < n {
			break
		}
		if !a.passes(rest[:n]) {
			_ = a.conn.Close()
			return 0, io.ErrClosedPipe
		}
		whole += n
	}
	if whole > 0 {
		if _, err := a.Writer.Write(a.part[:whole]); err != nil {
			return 0, err
		}
		a.part = append(a.part[:0], a.part[whole:]...)
	}
	return len(p), nil
}

// passes has an answer looked at, and reports whether the client gets it.
func (a *answers) passes(packet []byte) bool {
	const version = 2
	n, ok := number(packet)
	to, due := a.due[n]
	if !ok || !due || packet[4] == version {
		return true
	}
	a.s.mu.Lock()
	look := a.s.look
	a.s.mu.Unlock()
	if look != nil {
		look(to.Request)
	}
	delete(a.due, n)
	a.came.Broadcast()
	return to.fault != CutAfter
}

// end wakes who waits for answers that do not come any more.
func (a *answers) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	a.came.Broadcast()
}

func (a *answers) Close() error { return nil }
