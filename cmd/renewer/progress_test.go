package main

import (
	"bytes"
	"strings"
	"testing"

	"renewer/renewer"
)

// Elsewhere than on a terminal there is a line for each event, and none with --quiet.
func TestProgressIsALineAnEvent(t *testing.T) {
	t.Parallel()
	for _, quiet := range []bool{false, true} {
		var out bytes.Buffer
		c := &cli{out: &out, errOut: &out, quiet: quiet}
		_, err := watched(c, "renewing", []string{"a", "b", "c"}, func(tell func(renewer.Event)) (int, error) {
			tell(renewer.Event{Type: renewer.EventRefused, Certificate: "a", Message: "web will refuse it"})
			tell(renewer.Event{Type: renewer.EventStaged, Certificate: "a", Host: "h", Message: "r1"})
			tell(renewer.Event{Type: renewer.EventRolloutDone, Certificate: "a"})
			tell(renewer.Event{Type: renewer.EventStageFailed, Certificate: "b", Host: "h", Error: "host h: no space"})
			tell(renewer.Event{Type: renewer.EventStaged, Certificate: "b", Host: "h"})
			tell(renewer.Event{Type: renewer.EventRolloutDone, Certificate: "b"})
			tell(renewer.Event{Type: renewer.EventIssuerDown, Issuer: "ca", Message: "issuer ca", Error: "issuer ca: refused"})
			return 0, nil
		})
		const want = `warning: a: web will refuse it
a on h: staged: r1
a: rollout done (1 of 3 certificates verified, 2 to go)
b on h: stage failed: no space (1 of 3 certificates verified, 1 failed, 1 to go)
b on h: staged
b: rollout done (2 of 3 certificates verified, 1 to go)
issuer ca: issuer down: refused
`
		if got := out.String(); err != nil || !quiet && got != want || quiet && got != "" {
			t.Errorf("quiet %t: %v, got\n%swant\n%s", quiet, err, got, want)
		}
	}
}

// On a terminal one line counts, what is printed meanwhile stands above it, and nothing of
// it is left at the end.
func TestProgressOnATerminalCounts(t *testing.T) {
	keyboard, terminal := terminal(t)
	t.Setenv("TERM", "xterm")
	c := &cli{out: terminal, errOut: &screen{to: terminal}}
	seen := make(chan string)
	got := make(chan string)
	go func() { // reads until what is waited for is on the screen
		var all strings.Builder
		buf := make([]byte, 4096)
		for want := range seen {
			for !strings.Contains(all.String(), want) {
				n, err := keyboard.Read(buf)
				if err != nil {
					break
				}
				all.Write(buf[:n])
			}
			got <- all.String()
		}
	}()
	_, err := watched(c, "renewing", []string{"a", "b"}, func(tell func(renewer.Event)) (int, error) {
		seen <- "0 of 2 certificates verified, 2 to go; renewing, "
		<-got
		tell(renewer.Event{Type: renewer.EventRolloutDone, Certificate: "a"})
		seen <- "1 of 2 certificates verified, 1 to go; a: rollout done"
		<-got
		c.say("warning: a warning")
		return 0, nil
	})
	c.say("the end")
	seen <- "the end\r\n"
	all := <-got
	close(seen)
	lines := strings.Split(strings.TrimSuffix(all, "\r\n"), "\r\n")
	if err != nil || len(lines) != 2 || !strings.HasSuffix(lines[0], "\rwarning: a warning") || !strings.HasSuffix(lines[1], "the end") {
		t.Errorf("%v: %q", err, lines)
	}
}
