// Package sftp is the client's side of SFTP version 3 (draft-ietf-secsh-
// filexfer-02) with what OpenSSH adds (its file PROTOCOL, section 4), as far as
// certificates need it. It knows nothing of renewer.
//
// The server is not trusted: a packet, a listing, a name and what is read are
// bounded, an answer that nobody asked for ends the session, and nothing is
// taken for more than it says. Every request ends with its context; one that was
// given up may still be done.
//
// Several goroutines may ask at the same time. What stands in one [Batch] is
// sent at once, in its order, and costs one journey.
package sftp

import (
	"context"
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
var ErrProtocol = errors.New("the server does not speak SFTP as agreed")

// ErrEnded is wrapped by errors of a session that has ended.
var ErrEnded = errors.New("the SFTP session has ended")

// Client is a session.
type Client struct {
	w          io.WriteCloser
	extensions map[string]string
	over       chan struct{} // closed when the session has ended

	mu   sync.Mutex // guards what follows
	next uint32
	due  map[uint32]chan<- answer
	why  error
}

type answer struct {
	kind byte
	body []byte // behind the number of the request
	err  error
}

// New shakes hands. A goroutine reads from r until it ends, which closing w has
// to bring about.
func New(r io.Reader, w io.WriteCloser) (*Client, error) {
	hello := []byte{0, 0, 0, 5, typeInit, 0, 0, 0, 3}
	if _, err := w.Write(hello); err != nil {
		return nil, err
	}
	kind, body, err := readPacket(r)
	if err != nil {
		return nil, err
	}
	b := reader{body}
	if version := b.uint32(); kind != typeVersion || version != 3 || b.bad() {
		return nil, fmt.Errorf("%w: it begins with packet %d", ErrProtocol, kind)
	}
	c := &Client{w: w, extensions: map[string]string{}, over: make(chan struct{}), due: map[uint32]chan<- answer{}}
	for len(b.rest) > 0 && !b.bad() {
		name := b.text(nameLimit)
		c.extensions[name] = b.text(nameLimit)
	}
	go c.read(r)
	return c, nil
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
	for id, to := range c.due {
		to <- answer{err: c.why}
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
		to := c.asked(body)
		if to == nil {
			c.end(fmt.Errorf("%w: it answers what nobody asked", ErrProtocol))
			_ = c.w.Close()
			return
		}
		to <- answer{kind: kind, body: body[4:]}
	}
}

// asked is who waits for an answer; nil for nobody.
func (c *Client) asked(body []byte) chan<- answer {
	if len(body) < 4 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	id := binary.BigEndian.Uint32(body)
	to := c.due[id]
	delete(c.due, id)
	return to
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

// Batch is a list of requests that are sent at once.
type Batch struct {
	c       *Client
	packets []byte
	waiting []chan answer
}

// Batch begins a list.
func (c *Client) Batch() *Batch { return &Batch{c: c} }

// add appends a request; its answer is had by the number that it has in the
// batch.
func (b *Batch) add(kind byte, body func(*writer)) int {
	to := make(chan answer, 1)
	c := b.c
	c.mu.Lock()
	id := c.next
	c.next++
	if c.why != nil {
		to <- answer{err: c.why}
	} else {
		c.due[id] = to
	}
	c.mu.Unlock()
	start := len(b.packets)
	w := writer{append(b.packets, 0, 0, 0, 0, kind)}
	w.uint32(id)
	body(&w)
	binary.BigEndian.PutUint32(w.b[start:], uint32(len(w.b)-start-4))
	b.packets = w.b
	b.waiting = append(b.waiting, to)
	return len(b.waiting) - 1
}

// Send sends what was added.
func (b *Batch) Send() error {
	_, err := b.c.w.Write(b.packets)
	b.packets = nil
	if err != nil {
		b.c.end(fmt.Errorf("%w: %w", ErrEnded, err))
	}
	return err
}

// wait returns an answer of a kind. A status that is none of CodeOK is an error.
func (b *Batch) wait(ctx context.Context, n int, kind byte) (*reader, error) {
	var a answer
	select {
	case a = <-b.waiting[n]:
	default:
		select {
		case a = <-b.waiting[n]:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if a.err != nil {
		return nil, a.err
	}
	r := &reader{a.body}
	switch a.kind {
	case typeStatus:
		code, message := r.uint32(), ""
		if len(r.rest) > 0 {
			message = r.text(nameLimit)
		}
		switch {
		case r.bad():
		case code != CodeOK:
			return nil, &StatusError{code, message}
		case kind == typeStatus:
			return r, nil
		}
	case kind:
		return r, nil
	}
	return nil, b.c.broke("an answer of type %d to a question of type %d", a.kind, kind)
}

// broke ends the session of a server that does not keep to the protocol.
func (c *Client) broke(format string, args ...any) error {
	err := fmt.Errorf("%w: "+format, append([]any{ErrProtocol}, args...)...)
	c.end(err)
	_ = c.w.Close()
	return err
}

// one sends one request and waits for its answer.
func (c *Client) one(ctx context.Context, kind, want byte, body func(*writer)) (*reader, error) {
	b := c.Batch()
	n := b.add(kind, body)
	_ = b.Send() // wait tells
	return b.wait(ctx, n, want)
}
