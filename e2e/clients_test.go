//go:build e2e

package e2e

import (
	"bufio"
	"context"
	_ "embed"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"renewer/internal/testhosts"
)

//go:embed poll.py
var pollProgram string

// span is from when to when, in microseconds of CLOCK_MONOTONIC, which the
// hosts share.
type span struct{ begin, end int64 }

func (s span) meets(o span) bool { return s.begin <= o.end && o.begin <= s.end }

// call is one that a client made.
type call struct {
	span
	failed string
}

// calls are those of a client that goes on and on.
type calls struct {
	mu   sync.Mutex
	made []call
}

func (c *calls) add(one call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made = append(c.made, one)
}

// await waits for n further calls that went well.
func (c *calls) await(t *testing.T, n int) {
	t.Helper()
	c.mu.Lock()
	from := len(c.made)
	c.mu.Unlock()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(30 * time.Second); ; {
		good := 0
		c.mu.Lock()
		for _, one := range c.made[from:] {
			if one.failed == "" {
				good++
			}
		}
		last := c.made[max(0, len(c.made)-1):]
		c.mu.Unlock()
		if good >= n {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%d good calls in 30 s; the last: %+v", good, last)
		}
	}
}

// check lets no call fail but while dockerd was down.
func (c *calls) check(t *testing.T, who string, down []span) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	excused := 0
	for _, one := range c.made {
		if one.failed == "" {
			continue
		}
		met := false
		for _, d := range down {
			met = met || one.meets(d)
		}
		if !met {
			t.Errorf("%s: a call from %d to %d failed, and dockerd was only down in %+v: %s", who, one.begin, one.end, down, one.failed)
		}
		excused++
	}
	t.Logf("%s: %d calls, %d of them failed while dockerd restarted", who, len(c.made), excused)
}

// python starts the program that polls with Debian's python3-docker.
// It ends when its input does.
func (o operator) python(h *testhosts.Host) *calls {
	o.t.Helper()
	program := filepath.Join(o.dir, "poll.py")
	write(o.t, program, pollProgram)
	cmd := testhosts.Client(context.Background(), "python3", program, h.Address+":2376", o.dir+"/client")
	in, err := cmd.StdinPipe()
	if err != nil {
		o.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		o.t.Fatal(err)
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	c, read := &calls{}, make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var one call
			words := strings.SplitN(lines.Text(), " ", 4)
			if len(words) < 4 {
				continue
			}
			one.begin, _ = strconv.ParseInt(words[0], 10, 64)
			one.end, _ = strconv.ParseInt(words[1], 10, 64)
			if words[2] != "ok" || words[3] != h.Name {
				one.failed = words[2] + " " + words[3]
			}
			c.add(one)
		}
		_, _ = io.Copy(io.Discard, out)
	}()
	o.t.Cleanup(func() {
		_ = in.Close()
		<-read
		if err := cmd.Wait(); err != nil {
			o.t.Errorf("the polling program: %v: %s", err, &said)
		}
	})
	return c
}

// cli calls the docker client again and again until the test has ended.
func (o operator) cli(h *testhosts.Host) *calls {
	c, stop, done := &calls{}, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			one := call{span: span{begin: monotonic()}}
			out, err := o.docker(h, true, "info", "--format", "{{.Name}}")
			one.end = monotonic()
			if err != nil || strings.TrimSpace(out) != h.Name {
				one.failed = fmt.Sprintf("%v: %s", err, out)
			}
			c.add(one)
		}
	}()
	o.t.Cleanup(func() { close(stop); <-done })
	return c
}

func monotonic() int64 {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return now.Nano() / 1000
}

// signalled is how long before the time that systemd notes for it a stop may
// have begun, in µs: it sends the signal first.
const signalled = 50_000

// restarted is when dockerd last went down and was up again.
func restarted(t *testing.T, h *testhosts.Host) span {
	t.Helper()
	var s span
	for line := range strings.Lines(run(t, h, "systemctl", "show", "-p", "ActiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic", "docker.service")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		at, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if name == "ActiveExitTimestampMonotonic" {
			s.begin = at - signalled
		} else {
			s.end = at
		}
	}
	return s
}

// clientsNeverNotice: the docker client and a long-running program with
// python3-docker, before, during and after renewals of the server's certificate
// and of their own. Only dockerd's own restart ends a call.
func clientsNeverNotice(t *testing.T, o operator, h *testhosts.Host) {
	server, own := o.row("docker@"+h.Name), o.row("dagster-client")
	shown := served(t, h)
	all := map[string]*calls{"python3-docker": o.python(h), "docker": o.cli(h)}
	some := func() {
		t.Helper()
		for _, c := range all {
			c.await(t, 5)
		}
	}
	some()
	o.must("renew", "dagster-client")
	some()
	o.must("renew", "docker@"+h.Name)
	down := []span{restarted(t, h)}
	some()
	o.must("renew", "docker@"+h.Name, "dagster-client")
	down = append(down, restarted(t, h))
	some()
	for who, c := range all {
		c.check(t, who, down)
	}
	now := o.row("docker@" + h.Name)
	if now.Generation != server.Generation+2 || served(t, h) == shown || served(t, h) != now.Fingerprint {
		t.Errorf("the server's certificate: %+v, before %+v; openssl sees %s", now, server, served(t, h))
	}
	if now := o.row("dagster-client"); now.Generation != own.Generation+2 || now.Status != "valid" {
		t.Errorf("the client's certificate: %+v, before %+v", now, own)
	}
}
