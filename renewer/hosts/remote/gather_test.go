package remote

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
)

// packets is where a gather writes to: nothing passes until somebody takes it.
type packets struct {
	sent   chan string
	result chan error
}

func newPackets() *packets { return &packets{make(chan string), make(chan error, 1)} }

func (p *packets) Write(b []byte) (int, error) {
	p.sent <- string(b)
	return len(b), <-p.result
}

func (p *packets) Close() error { return nil }

// What is written while a packet is under way goes together in the next one,
// in its order.
func TestGather(t *testing.T) {
	t.Parallel()
	to := newPackets()
	g := newGather(to)
	defer g.Close()
	put := func(s string) {
		n, err := io.WriteString(g, s)
		must(t, err)
		equal(t, "written", n, len(s))
	}
	put("first")
	for taken := false; !taken; runtime.Gosched() {
		g.mu.Lock()
		taken = len(g.waiting) == 0
		g.mu.Unlock()
	}
	var want strings.Builder
	for i := range 100 {
		put(fmt.Sprint(i, " "))
		fmt.Fprint(&want, i, " ")
	}
	equal(t, "first packet", <-to.sent, "first")
	to.result <- nil
	equal(t, "second packet", <-to.sent, want.String())
	to.result <- nil
	put("last")
	equal(t, "third packet", <-to.sent, "last")
	to.result <- nil
}

// A writer waits while too much is waiting, and an error of the stream, or
// Close, ends that and every later Write.
func TestGatherEnds(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, end := range map[string]struct {
		do   func(g *gather, to *packets)
		want error
	}{
		"error": {func(_ *gather, to *packets) { <-to.sent; to.result <- broken }, broken},
		"close": {func(g *gather, to *packets) { <-to.sent; _ = g.Close(); to.result <- nil }, io.ErrClosedPipe},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := newPackets()
			g := newGather(to)
			failed := make(chan error)
			go func() {
				for {
					if _, err := g.Write(make([]byte, gathered)); err != nil {
						failed <- err
						return
					}
				}
			}()
			end.do(g, to)
			if err := <-failed; !errors.Is(err, end.want) {
				t.Errorf("error %v", err)
			}
			if _, err := g.Write([]byte("x")); !errors.Is(err, end.want) {
				t.Errorf("later: error %v", err)
			}
			g.mu.Lock()
			defer g.mu.Unlock()
			if n := len(g.waiting); n > 2*gathered {
				t.Errorf("%d bytes are waiting", n)
			}
		})
	}
}
