//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"renewer/internal/testhosts"
)

// proxyPort is where a proxy stands in front of a host's sshd.
const proxyPort = 2222

// proxy passes connections on to a host's sshd and can cut them.
type proxy struct {
	listener net.Listener
	to       string
	work     sync.WaitGroup

	mu      sync.Mutex
	open    map[net.Conn]bool
	sent    [2]int // bytes to the host and from it, since the last arm
	cut     int    // when sent[way] would pass this; 0: never
	way     int
	swallow bool // the bytes over the limit are not passed on
	cuts    int
}

// Which way the bytes go.
const (
	toHost = iota
	fromHost
)

// newProxy listens on a port of the host's own address, and returns the host as
// it is reached that way.
func newProxy(t *testing.T, h *testhosts.Host) (*proxy, *testhosts.Host) {
	t.Helper()
	listener, err := h.Listen(proxyPort)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, to: net.JoinHostPort(h.Address, "22"), open: map[net.Conn]bool{}}
	p.work.Go(p.accept)
	t.Cleanup(func() {
		listener.Close()
		p.mu.Lock()
		p.closeAll()
		p.mu.Unlock()
		p.work.Wait()
	})
	return p, via(t, h)
}

func via(t *testing.T, h *testhosts.Host) *testhosts.Host {
	t.Helper()
	known, err := os.ReadFile(h.KnownHosts)
	if err != nil {
		t.Fatal(err)
	}
	login := h.Login
	login.KnownHosts = filepath.Join(t.TempDir(), "known_hosts")
	write(t, login.KnownHosts, strings.ReplaceAll(string(known), h.Address+" ", fmt.Sprintf("[%s]:%d ", h.Address, proxyPort)))
	return &testhosts.Host{Name: h.Name, Login: login}
}

// arm counts again and cuts all connections once, when so many bytes went one
// way; 0: only counts.
func (p *proxy) arm(way, after int, swallow bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent, p.way, p.cut, p.swallow, p.cuts = [2]int{}, way, after, swallow, 0
}

// seen returns what was counted, and how often it cut.
func (p *proxy) seen() (sent [2]int, cuts int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent, p.cuts
}

func (p *proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", p.to)
		if err != nil {
			near.Close()
			continue
		}
		p.mu.Lock()
		p.open[near], p.open[far] = true, true
		p.mu.Unlock()
		p.work.Go(func() { p.pass(far, near, toHost) })
		p.work.Go(func() { p.pass(near, far, fromHost) })
	}
}

func (p *proxy) pass(to, from net.Conn, way int) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && p.count(way, n) {
			if _, werr := to.Write(buffer[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
		p.mu.Lock()
		p.snap(way)
		p.mu.Unlock()
	}
}

// count reports whether the bytes are to be passed on.
func (p *proxy) count(way, n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent[way] += n
	if p.swallow {
		return !p.snap(way)
	}
	return true
}

func (p *proxy) snap(way int) bool {
	if p.cut == 0 || way != p.way || p.sent[way] < p.cut {
		return false
	}
	p.cut = 0
	p.cuts++
	p.closeAll()
	return true
}

func (p *proxy) closeAll() {
	for c := range p.open {
		c.Close()
		delete(p.open, c)
	}
}
