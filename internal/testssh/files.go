package testssh

import (
	"encoding/binary"
	"io"
	"net"
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
	answers := &answers{Writer: ch, s: s, conn: conn}
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
			a.expect(r, f)
		}
		if _, err := to.Write(packet); err != nil {
			return err
		}
	}
}

// answers are written to the client, which asks for one thing at a time.
type answers struct {
	io.Writer
	s    *Server
	conn net.Conn

	mu    sync.Mutex
	due   bool
	to    Request
	fault Fault
}

func (a *answers) expect(r Request, f Fault) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.due, a.to, a.fault = true, r, f
}

func (a *answers) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.due {
		a.due = false
		a.s.mu.Lock()
		look := a.s.look
		a.s.mu.Unlock()
		if look != nil {
			look(a.to)
		}
		if a.fault == CutAfter {
			_ = a.conn.Close()
			return 0, io.ErrClosedPipe
		}
	}
	return a.Writer.Write(p)
}

func (a *answers) Close() error { return nil }
