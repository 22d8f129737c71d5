package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"renewer/internal/plaintext"
	"renewer/renewer"
)

// screen is standard error: whole writes, one after another, and on a terminal a line of
// progress after them that is written over.
type screen struct {
	mu   sync.Mutex
	to   io.Writer
	line int // width of the line of progress
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	return s.to.Write(p)
}

func (s *screen) clear() {
	if f, ok := fileOf(s.to); ok && s.line > 0 {
		fmt.Fprintf(f, "\r%*s\r", s.line, "")
	}
	s.line = 0
}

// show writes the line of progress; an empty one ends it.
func (s *screen) show(line string) {
	f, ok := fileOf(s.to)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	line = text.Snip(plaintext.Text(strings.ReplaceAll(line, "\n", " ")), max(widthOf(f)-1, 20), "…")
	s.line = text.StringWidth(line)
	_, _ = io.WriteString(f, line)
}

// turnEvery is how often the progress line is redrawn.
const turnEvery = 200 * time.Millisecond

// progress shows how a request goes on: one line on a terminal, and a line an event
// elsewhere and with -v.
type progress struct {
	c     *cli
	what  string // what is done, until there is an event
	began time.Time

	mu     sync.Mutex
	last   string
	known  map[string]ending // of certificates
	counts [3]int
}

// ending is the result of a certificate's renewal; toGo while it runs.
type ending int

const (
	toGo ending = iota
	verified
	failed
)

// endings maps the events that finish a renewal to their results.
var endings = map[renewer.EventType]ending{
	renewer.EventRolloutDone: verified, renewer.EventRolloutBlocked: failed, renewer.EventRolledBack: failed, renewer.EventRenewalFailed: failed,
	renewer.EventStageFailed: failed, renewer.EventActivateFailed: failed, renewer.EventProbeFailed: failed, renewer.EventRestoreFailed: failed,
}

// watched runs a request and shows its progress; what says what is done, and names are
// the certificates that it is known to be about.
func watched[T any](c *cli, what string, names []string, do func(tell func(renewer.Event)) (T, error)) (T, error) {
	p := &progress{c: c, what: what, began: time.Now(), known: map[string]ending{}}
	for _, name := range names {
		p.know(name, toGo)
	}
	s, ok := c.errOut.(*screen)
	if !ok || c.quiet || c.verbose || !isTerminal(c.errOut) || os.Getenv("TERM") == "dumb" {
		return do(p.line)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(turnEvery)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-stop:
				s.show("")
				return
			case <-tick.C:
				s.show(`|/-\`[n%4:n%4+1] + " " + p.String())
			}
		}
	}()
	defer func() {
		close(stop)
		<-stopped
	}()
	return do(p.take)
}

func (p *progress) know(name string, how ending) {
	was, known := p.known[name]
	if known {
		p.counts[was]--
	}
	if how == toGo {
		how = was
	}
	p.known[name] = how
	p.counts[how]++
}

// take counts an event; the line of progress shows it.
func (p *progress) take(e renewer.Event) {
	if foretold(e) {
		p.line(e)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = eventLine(e)
	if e.Certificate != "" {
		p.know(e.Certificate, endings[e.Type])
	}
}

// line writes a line for an event.
func (p *progress) line(e renewer.Event) {
	switch {
	case p.c.quiet:
	case foretold(e):
		fmt.Fprintf(p.c.errOut, "warning: %s: %s\n", e.Certificate, e.Message)
	default:
		p.take(e)
		end := ""
		if endings[e.Type] != toGo && len(p.known) > 1 {
			end = " (" + p.count() + ")"
		}
		if p.inResult(e) {
			e.Error = ""
		}
		fmt.Fprintf(p.c.errOut, "%s%s\n", eventLine(e), end)
	}
}

// inResult reports whether the result says the error of an event again. On standard error
// alone it says no more of a host that is waited for.
func (p *progress) inResult(e renewer.Event) bool {
	switch {
	case p.c.verbose, endings[e.Type] != failed, e.Type == renewer.EventRestoreFailed:
		return false
	default:
		return e.Type != renewer.EventStageFailed || p.c.seen()
	}
}

// foretold reports whether an event says who will refuse a certificate, before its rollout.
func foretold(e renewer.Event) bool { return e.Type == renewer.EventRefused && e.Rollout == "" }

func (p *progress) count() string {
	out := fmt.Sprintf("%d of %d certificates verified", p.counts[verified], len(p.known))
	if n := p.counts[failed]; n > 0 {
		out += fmt.Sprintf(", %d failed", n)
	}
	if n := p.counts[toGo]; n > 0 {
		out += fmt.Sprintf(", %d to go", n)
	}
	return out
}

// String is the line of progress.
func (p *progress) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	said := []string{}
	if len(p.known) > 0 {
		said = append(said, p.count())
	}
	if p.last != "" {
		said = append(said, p.last)
	} else {
		said = append(said, p.what+", "+time.Since(p.began).Round(time.Second).String())
	}
	return strings.Join(said, "; ")
}

// eventLine says what happened to which certificate, and where.
func eventLine(e renewer.Event) string {
	about := e.Certificate
	if e.Host != "" {
		about = strings.TrimPrefix(about+" on "+e.Host, " on ")
	}
	if about == "" && e.Issuer != "" {
		about = "issuer " + e.Issuer
	}
	parts := []string{about, strings.ReplaceAll(string(e.Type), "_", " ")}
	for _, text := range []string{e.Message, e.Error} {
		text = strings.TrimPrefix(strings.TrimPrefix(text, about+": "), "host "+e.Host+": ")
		if text != about { // said once
			parts = append(parts, text)
		}
	}
	return strings.Join(strings.FieldsFunc(strings.Join(parts, "\n"), func(r rune) bool { return r == '\n' }), ": ")
}

// due are the certificates that a pass or a request is about; none where that is not
// known yet.
func due(ctx context.Context, s reader, wanted func(renewer.Row) bool) (names []string) {
	_ = s.List(ctx, renewer.ListFilter{}, func(r renewer.Row) error {
		if wanted(r) {
			names = append(names, r.Name)
		}
		return nil
	})
	return names
}
