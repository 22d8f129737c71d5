package remote

import (
	"io"
	"sync"
)

// gathered is how much may wait to be sent, in bytes, before a writer waits
// too.
const gathered = 256 << 10

// gather is the way to the SFTP server. Who writes does not wait for a host that
// takes nothing: its request ends with its context. What is written in the meantime
// goes in one piece. The order stays. A Write that returns was not sent yet; after
// one that failed, every Write fails.
type gather struct {
	to io.WriteCloser

	mu      sync.Mutex
	change  sync.Cond // of what follows
	waiting []byte
	sending bool // a goroutine is at it
	err     error
}

func newGather(to io.WriteCloser) *gather {
	g := &gather{to: to}
	g.change.L = &g.mu
	return g
}

func (g *gather) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.waiting) >= gathered && g.err == nil {
		g.change.Wait()
	}
	if g.err != nil {
		return 0, g.err
	}
	g.waiting = append(g.waiting, p...)
	g.begin()
	return len(p), nil
}

func (g *gather) begin() {
	if !g.sending {
		g.sending = true
		go g.send()
	}
}

// send ends when there is nothing to send.
func (g *gather) send() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.waiting) > 0 && g.err == nil {
		now := g.waiting
		g.waiting = nil
		g.change.Broadcast()
		g.mu.Unlock()
		_, err := g.to.Write(now)
		g.mu.Lock()
		if err != nil && g.err == nil {
			g.err = err
			g.change.Broadcast()
		}
	}
	if g.err != nil { // sending stays: the stream is closed once
		g.mu.Unlock()
		_ = g.to.Close()
		g.mu.Lock()
		return
	}
	g.sending = false
}

// Close gives up what was not sent. The stream is closed by who writes to it.
func (g *gather) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		g.err = io.ErrClosedPipe
		g.change.Broadcast()
		g.begin()
	}
	return nil
}
