package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func connect(t *testing.T, to net.Addr) net.Conn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

func over(t *testing.T, c net.Conn, path string) string {
	t.Helper()
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(resp.StatusCode, " ", string(body))
}

// Connections that are held open without a request lock out no scrape.
func TestScrapeWorksBesideIdleConnections(t *testing.T) {
	t.Parallel()
	st := &fakeState{last: time.Now()}
	s, _ := served(t, Options{Service: &fakeService{}, Port: onLoopback, State: st, Metrics: NewMetrics("1", st), CheckWithin: time.Hour})
	var held []net.Conn
	for i := range mostConnections {
		c := connect(t, s.Addr())
		if i == 0 { // kept alive after an answer
			if got := over(t, c, "/healthz"); got != "200 ok\n" {
				t.Fatal(got)
			}
		}
		held = append(held, c)
	}
	for range 3 {
		if got := over(t, connect(t, s.Addr()), "/metrics"); !strings.HasPrefix(got, "200 ") || !strings.Contains(got, "renewer_build_info") {
			t.Fatalf("got %.200s", got)
		}
	}
	if _, err := held[0].Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the connection that was idle gave way with %v", err)
	}
}

// pipes is a listener of connections in memory.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{} }

// Where every connection is being answered, the next waits for one to end.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const most, all = 3, 5
		l := make(pipes, all)
		r := newBounded(l, most)
		var at, end atomic.Int32
		next := make(chan struct{})
		srv := &http.Server{ConnState: r.turned, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			at.Add(1)
			<-next
			at.Add(-1)
			_, _ = io.WriteString(w, "done")
		})}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(r) }()
		for range all {
			ours, theirs := net.Pipe()
			defer ours.Close()
			l <- theirs
			go func() {
				if got := over(t, ours, "/"); got != "200 done" {
					t.Errorf("got %q", got)
				}
				end.Add(1)
			}()
		}
		for answered := range all {
			synctest.Wait()
			if got, want := at.Load(), min(most, all-int32(answered)); got != want || end.Load() != int32(answered) {
				t.Errorf("%d are being answered after %d answers; want %d", got, end.Load(), want)
			}
			next <- struct{}{}
		}
		synctest.Wait()
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

// A new connection has a moment to ask something before it gives way.
func TestSilentConnectionsGiveWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := make(pipes, 3)
		r := newBounded(l, 2)
		srv := &http.Server{ConnState: r.turned, ReadHeaderTimeout: time.Minute, Handler: http.NotFoundHandler()}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(r) }()
		var ours [3]net.Conn
		for i := range ours {
			var theirs net.Conn
			ours[i], theirs = net.Pipe()
			defer ours[i].Close()
			l <- theirs
		}
		begin := time.Now()
		if got := over(t, ours[2], "/"); !strings.HasPrefix(got, "404 ") || time.Since(begin) != toAsk {
			t.Errorf("after %s: %s", time.Since(begin), got)
		}
		if _, err := ours[0].Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the first one gave way with %v", err)
		}
		_ = srv.Close()
		<-served
	})
}

// A server that stops while a connection waits for room stops at once.
func TestClosingEndsTheWaitForRoom(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := newBounded(l, 1)
	connect(t, l.Addr())
	first, err := r.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	r.turned(first, http.StateNew)
	r.turned(first, http.StateActive)
	connect(t, l.Addr())
	ended := make(chan error, 1)
	go func() { _, err := r.Accept(); ended <- err }()
	_ = r.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}
