// Package sftp is the client's side of SFTP version 3 (draft-ietf-secsh-
// filexfer-02) with what OpenSSH adds (its file PROTOCOL, section 4), as far as
// certificates need it. It knows nothing of renewer.
//
// The server is not trusted: a packet, a listing, a name and what is read are
// bounded, an answer that no one asked for ends the session, and nothing is
// taken for more than it says. Every request ends with its context; one that was
// given up may still be done.
//
// What stands in one [Batch] is sent at once, in its order, and costs one journey.
// The server does it in that order where it is OpenSSH's, and what failed holds up
// nothing that stands behind it. Several goroutines may have batches under way.
package sftp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
)

// Bounds of what a server may answer.
const (
	packetLimit  = 256 << 10 // as OpenSSH has it
	EntriesLimit = 20_000    // names in a directory
	listingLimit = 4 << 20   // bytes of them
	nameLimit    = 4096      // PATH_MAX
)

// Types of packets.
const (
	typeInit     = 1
	typeVersion  = 2
	typeOpen     = 3
	typeClose    = 4
	typeRead     = 5
	typeWrite    = 6
	typeLstat    = 7
	typeFstat    = 8
	typeSetstat  = 9
	typeFsetstat = 10
	typeOpendir  = 11
	typeReaddir  = 12
	typeRemove   = 13
	typeMkdir    = 14
	typeRmdir    = 15
	typeRealpath = 16
	typeStat     = 17
	typeReadlink = 19
	typeSymlink  = 20
	typeStatus   = 101
	typeHandle   = 102
	typeData     = 103
	typeName     = 104
	typeAttrs    = 105
	typeExtended = 200
	typeReply    = 201
)

// Codes of a status.
const (
	CodeOK          = 0
	CodeEOF         = 1
	CodeNoSuchFile  = 2
	CodePermission  = 3
	CodeFailure     = 4
	CodeUnsupported = 8
)

// StatusError is a refusal. The message is the server's, as it came.
type StatusError struct {
	Code    uint32
	Message string
}

func (e *StatusError) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("SFTP status %d", e.Code)
	}
	return e.Message
}

// Is has the codes that mean what package fs has a word for.
func (e *StatusError) Is(target error) bool {
	return e.Code == CodeNoSuchFile && target == fs.ErrNotExist || e.Code == CodePermission && target == fs.ErrPermission
}

// ErrProtocol is wrapped by errors of a server that does not keep to the
// protocol, or to the bounds. The session has ended.
var ErrProtocol = errors.New("the server violates the SFTP protocol")

// ErrEnded is wrapped by errors of a session that has ended.
var ErrEnded = errors.New("the SFTP session was closed")

// Client is a session.
type Client struct {
	w          io.WriteCloser
	extensions map[string]string
	over       chan struct{} // closed when the session has ended

	mu   sync.Mutex // guards what follows
	next uint32
	due  map[uint32]due
	why  error
}

// due is who waits for an answer: the nth request of a batch.
type due struct {
	b *Batch
	n int
}

type answer struct {
	come bool
	kind byte
	body []byte // behind the number of the request
	err  error
}

// is notes an answer; the client's lock is held.
func (d due) is(a answer) {
	a.come = true
	d.b.answers[d.n] = a
	select {
	case d.b.news <- struct{}{}:
	default: // there are some already
	}
}

// New shakes hands. A goroutine reads from r until it ends, which closing w has
// to bring about. first, if there is one, are requests that are sent with the
// greeting; they must not write.
func New(r io.Reader, w io.WriteCloser, first func(*Batch)) (*Client, error) {
	c := &Client{w: w, extensions: map[string]string{}, over: make(chan struct{}), due: map[uint32]due{}}
	b := c.Batch()
	b.packets = []byte{0, 0, 0, 5, typeInit, 0, 0, 0, 3}
	if first != nil {
		first(b)
	}
	if err := b.Send(); err != nil {
		return nil, err
	}
	kind, body, err := readPacket(r)
	if err == nil {
		err = c.greeted(kind, body)
	}
	if err != nil {
		c.end(err) // for those who asked first
		return nil, err
	}
	go c.read(r)
	return c, nil
}

func (c *Client) greeted(kind byte, body []byte) error {
	b := reader{body}
	if version := b.uint32(); kind != typeVersion || version != 3 || b.bad() {
		return fmt.Errorf("%w: it begins with packet %d", ErrProtocol, kind)
	}
	for len(b.rest) > 0 && !b.bad() {
		name := b.text(nameLimit)
		c.extensions[name] = b.text(nameLimit)
	}
	return nil
}

// Extension is the version of an extension that the server has; empty for none.
func (c *Client) Extension(name string) string { return c.extensions[name] }

// Over is closed when the session has ended.
func (c *Client) Over() <-chan struct{} { return c.over }

// Close ends the session.
func (c *Client) Close() error {
	c.end(ErrEnded)
	return c.w.Close()
}

func (c *Client) end(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why == nil {
		c.why = why
		close(c.over)
	}
	for id, d := range c.due {
		d.is(answer{err: c.why})
		delete(c.due, id)
	}
}

func (c *Client) read(r io.Reader) {
	for {
		kind, body, err := readPacket(r)
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				err = fmt.Errorf("%w: %w", ErrEnded, err)
			}
			c.end(err)
			_ = c.w.Close()
			return
		}
		if !c.answered(kind, body) {
			c.end(fmt.Errorf("%w: a response without a request", ErrProtocol))
			_ = c.w.Close()
			return
		}
	}
}

// answered hands an answer to who waits for it; false: that is no one.
func (c *Client) answered(kind byte, body []byte) bool {
	if len(body) < 4 {
		return false
	}
	id := binary.BigEndian.Uint32(body)
	c.mu.Lock()
	defer c.mu.Unlock()
	d, ok := c.due[id]
	if ok {
		delete(c.due, id)
		d.is(answer{kind: kind, body: body[4:]})
	}
	return ok
}

func readPacket(r io.Reader) (kind byte, body []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > packetLimit {
		return 0, nil, fmt.Errorf("%w: a packet of %d bytes", ErrProtocol, n)
	}
	body = make([]byte, n-1)
	_, err = io.ReadFull(r, body)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return head[4], body, err
}

// broke ends the session of a server that does not keep to the protocol.
func (c *Client) broke(format string, args ...any) error {
	err := fmt.Errorf("%w: "+format, append([]any{ErrProtocol}, args...)...)
	c.end(err)
	_ = c.w.Close()
	return err
}
