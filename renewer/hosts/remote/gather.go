package remote

import (
	"io"
	"sync"
)

// gathered is how much may wait to be sent, in bytes, before a writer waits
// too.
const gathered = 256 << 10

// gather is the way to the SFTP server. Who writes does not wait for a
// host that takes nothing: its request ends with its context. The order
// stays. A Write that returns was not sent yet; after one that failed, every
// Write fails.
type gather struct {
	to io.WriteCloser

	mu      sync.Mutex
	change  sync.Cond // of what follows
	waiting []byte
	err     error
}

// newGather starts a goroutine, which Close or an error of to ends.
func newGather(to io.WriteCloser) *gather {
	g := &gather{to: to}
	g.change.L = &g.mu
	go g.send()
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
	if len(g.waiting) == 0 {
		g.change.Broadcast()
	}
	g.waiting = append(g.waiting, p...)
	return len(p), nil
}

func (g *gather) send() {
	defer g.to.Close()
	var sent []byte
	for {
		g.mu.Lock()
		for len(g.waiting) == 0 && g.err == nil {
			g.change.Wait()
		}
		g.mu.Unlock()
		g.mu.Lock()
		now := g.waiting
		g.waiting = sent[:0]
		err := g.err
		g.mu.Unlock()
		if err != nil {
			return
		}
		g.change.Broadcast()
		if _, err = g.to.Write(now); err != nil {
			g.fail(err)
		}
		sent = now
	}
}

func (g *gather) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		g.err = err
	}
	g.change.Broadcast()
}

// Close gives up what was not sent. The stream is closed by who writes to it.
func (g *gather) Close() error {
	g.fail(io.ErrClosedPipe)
	return nil
}
