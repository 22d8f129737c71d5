package remote

import (
	"io"
	"runtime"
	"sync"
)

// gathered is how much may wait to be sent, in bytes, before a writer waits
// too.
const gathered = 256 << 10

// gather is the way to the SFTP server. What several goroutines write in the
// same moment goes as one packet: a packet costs more than a request. The order
// stays. A Write that returns was not sent yet; after one that failed, every
// Write fails.
type gather struct {
	to io.WriteCloser

	mu      sync.Mutex
	room    sync.Cond // something was sent, or failed
	waiting []byte
	sending bool
	err     error
}

func newGather(to io.WriteCloser) *gather {
	g := &gather{to: to}
	g.room.L = &g.mu
	return g
}

func (g *gather) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.waiting) >= gathered && g.err == nil {
		g.room.Wait()
	}
	if g.err != nil {
		return 0, g.err
	}
	g.waiting = append(g.waiting, p...)
	if !g.sending {
		g.sending = true
		go g.send()
	}
	return len(p), nil
}

// send ends when nothing is waiting.
func (g *gather) send() {
	var sent []byte
	for {
		runtime.Gosched() // whoever is about to write does so first
		g.mu.Lock()
		now := g.waiting
		if g.err != nil || len(now) == 0 {
			g.sending = false
			g.mu.Unlock()
			return
		}
		g.waiting = sent[:0]
		g.mu.Unlock()
		_, err := g.to.Write(now)
		g.mu.Lock()
		if g.err == nil {
			g.err = err
		}
		g.mu.Unlock()
		g.room.Broadcast()
		sent = now
	}
}

// Close gives up what was not sent.
func (g *gather) Close() error {
	g.mu.Lock()
	if g.err == nil {
		g.err = io.ErrClosedPipe
	}
	g.mu.Unlock()
	g.room.Broadcast()
	return g.to.Close()
}
