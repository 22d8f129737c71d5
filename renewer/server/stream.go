package server

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"renewer/renewer"
)

// trailed streams an answer and ends it with endTrailer, so that the client
// can tell a whole answer from a cut one. The head is sent with the first
// flush: an error before it is answered as an error.
type trailed struct {
	w       http.ResponseWriter
	buf     *bufio.Writer
	started bool
}

func newTrailed(w http.ResponseWriter, contentType string) *trailed {
	w.Header().Set("Content-Type", contentType)
	t := &trailed{w: w}
	t.buf = bufio.NewWriterSize(flushed{t}, 64<<10)
	return t
}

func (t *trailed) Write(p []byte) (int, error) { return t.buf.Write(p) }

// end sends what is left and how it ended; it returns what went wrong.
func (t *trailed) end(err error) error {
	if err == nil {
		err = t.buf.Flush()
	}
	switch {
	case err != nil && !t.started:
		fail(t.w, http.StatusInternalServerError, err)
	case err != nil:
		wire := toWire(err)
		wire.Detail, wire.Hint = cutText(wire.Detail), cutText(wire.Hint)
		b, _ := json.Marshal(wire) // strings do not fail
		t.w.Header().Set(endTrailer, string(b))
	default:
		t.w.Header().Set(endTrailer, endOK)
	}
	return err
}

// cutText keeps a trailer well within the buffer that its reader looks for the
// end of it in (4 KiB in net/http).
func cutText(s string) string {
	if len(s) > 300 { // six times as long in JSON, at worst
		return strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}

// flushed is the far side of a trailed stream's buffer.
type flushed struct{ *trailed }

func (f flushed) Write(p []byte) (int, error) {
	if !f.started {
		f.started = true
		f.w.Header().Set("Trailer", endTrailer)
		f.w.WriteHeader(http.StatusOK)
	}
	extend(f.w)
	return f.w.Write(p)
}

// streamEvents sends the events of do as lines while it runs, blank lines
// while nothing happens, and how it ended as the last. A client that leaves
// ends the wait alone: do goes on.
func streamEvents[T any](a *api, w http.ResponseWriter, r *http.Request, do func(progress func(renewer.Event)) (T, error)) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	events := &queue{wake: make(chan struct{}, 1)}
	ended := make(chan line[T], 1)
	a.begun.Go(func() { ended <- run(a, events.add, do) })
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	var err error
	for err == nil {
		select {
		case <-events.wake:
			err = send(w, lines[T](events.take())...)
		case <-tick.C:
			err = send[line[T]](w)
		case last := <-ended:
			_ = send(w, append(lines[T](events.take()), last)...) // the client has gone if it fails
			return
		case <-r.Context().Done():
			err = r.Context().Err()
		}
	}
	a.log.Debug("socket: client left", "path", r.URL.Path, "err", err)
}

func run[T any](a *api, progress func(renewer.Event), do func(func(renewer.Event)) (T, error)) (last line[T]) {
	defer func() {
		if p := recover(); p != nil {
			a.log.Error("socket: panic", "panic", p)
			last = line[T]{Error: toWire(fmt.Errorf("internal error: %v", p))}
		}
	}()
	result, err := do(progress)
	if err != nil && a.acts.Err() != nil {
		err = errStopping
	}
	return line[T]{Result: &result, Error: toWire(err)}
}

func lines[T any](events []renewer.Event) []line[T] {
	out := make([]line[T], 0, len(events)+1)
	for i := range events {
		out = append(out, line[T]{Event: &events[i]})
	}
	return out
}

// send writes each value as a line, or a blank one if there is none.
func send[T any](w http.ResponseWriter, values ...T) error {
	extend(w)
	if len(values) == 0 {
		if _, err := w.Write([]byte("\n")); err != nil {
			return err
		}
	}
	enc := json.NewEncoder(w)
	for _, v := range values {
		if err := enc.Encode(v); err != nil {
			return err
		}
	}
	return http.NewResponseController(w).Flush()
}

// queue takes events without ever making the rollout wait for a slow client.
type queue struct {
	wake   chan struct{} // holds one while there is something to take
	mu     sync.Mutex
	events []renewer.Event
}

func (q *queue) add(e renewer.Event) {
	q.mu.Lock()
	q.events = append(q.events, e)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) take() []renewer.Event {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := q.events
	q.events = nil
	return out
}
