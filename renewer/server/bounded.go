package server

import (
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// mostConnections is how many connections the port has at once. A browser has
// six, Prometheus one.
const mostConnections = 500

// toAsk is how long a new connection may take to ask something while another one
// waits for its place.
const toAsk = time.Second

// bounded is a listener that bounds how many connections are open. Where all are
// taken, one that is idle is closed for the next; where each is being answered,
// the next waits for one to end, which the server's timeouts see to. So clients
// that hold connections open without a request lock no one out.
type bounded struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once

	mu      sync.Mutex
	idle    []idle // longest first
	waiting bool   // a connection waits for a slot
}

// idle is a connection on which nothing is being answered.
type idle struct {
	net.Conn
	new   bool // nothing was asked yet
	since time.Time
}

func newBounded(l net.Listener, most int) *bounded {
	return &bounded{Listener: l, slots: make(chan struct{}, most), closed: make(chan struct{})}
}

// Accept returns the next connection once there is room for it.
func (b *bounded) Accept() (net.Conn, error) {
	c, err := b.Listener.Accept()
	if err != nil {
		return nil, err
	}
	select {
	case b.slots <- struct{}{}:
		return c, nil
	default:
	}
	defer b.wait(false)
	for {
		again := time.NewTimer(b.wait(true))
		select {
		case b.slots <- struct{}{}:
			again.Stop()
			return c, nil
		case <-again.C:
		case <-b.closed:
			again.Stop()
			_ = c.Close() // it was answered nothing
			return nil, net.ErrClosed
		}
	}
}

// Close also ends an Accept that waits for room.
func (b *bounded) Close() error {
	b.once.Do(func() { close(b.closed) })
	return b.Listener.Close()
}

// wait notes whether a connection waits, makes room for it if it can, and returns
// after what time it can again.
func (b *bounded) wait(waits bool) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting = waits; !waits {
		return 0
	}
	return b.giveWay()
}

// turned is the server's ConnState hook.
func (b *bounded) turned(c net.Conn, state http.ConnState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.idle = slices.DeleteFunc(b.idle, func(has idle) bool { return has.Conn == c })
	switch state {
	case http.StateNew, http.StateIdle:
		b.idle = append(b.idle, idle{c, state == http.StateNew, time.Now()})
		if b.waiting {
			b.giveWay()
		}
	case http.StateClosed, http.StateHijacked:
		<-b.slots
	case http.StateActive:
	}
}

// giveWay closes the connection that is idle longest, those first that were
// answered something. The caller holds mu.
func (b *bounded) giveWay() (again time.Duration) {
	i := slices.IndexFunc(b.idle, func(c idle) bool { return !c.new })
	if i < 0 && len(b.idle) > 0 {
		if left := toAsk - time.Since(b.idle[0].since); left > 0 {
			return left
		}
		i = 0
	}
	if i >= 0 {
		c := b.idle[i].Conn
		if over, ok := c.(*tls.Conn); ok {
			c = over.NetConn() // to end TLS properly may wait for the client
		}
		_ = c.Close() // the server ends it, and says so
		b.idle = slices.Delete(b.idle, i, i+1)
	}
	return time.Minute
}
