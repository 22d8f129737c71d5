package remote

import (
	"context"
	"crypto/x509"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/renewer"
	"renewer/renewer/hosts"
	"renewer/renewer/pki"
)

// far puts a host at a distance: what goes there and what comes back is under
// way for half a round trip each.
type far struct {
	port           int
	packets, bytes atomic.Int64
}

func farAway(t testing.TB, to string, roundTrip time.Duration) *far {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	f := &far{port: l.Addr().(*net.TCPAddr).Port}
	var work sync.WaitGroup
	t.Cleanup(func() { l.Close(); work.Wait() })
	work.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			other, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			time.Sleep(roundTrip) //nolint:forbidigo // the distance, of TCP's own handshake
			work.Go(func() { f.carry(near, other, roundTrip/2) })
			work.Go(func() { f.carry(other, near, roundTrip/2) })
		}
	})
	return f
}

// config reaches a host over that distance.
func (f *far) config(t testing.TB, cfg Config) Config {
	t.Helper()
	known, err := os.ReadFile(cfg.KnownHostsFile)
	must(t, err)
	name := func(port int) string { return "[127.0.0.1]:" + strconv.Itoa(port) }
	key, _ := strings.CutPrefix(string(known), name(cfg.Port))
	cfg.Port, cfg.KnownHostsFile = f.port, filepath.Join(t.TempDir(), "known_hosts")
	write(t, cfg.KnownHostsFile, name(f.port)+key)
	return cfg
}

// carry copies, each piece at its time.
func (f *far) carry(to io.WriteCloser, from io.Reader, under time.Duration) {
	type piece struct {
		data []byte
		due  time.Time
	}
	way := make(chan piece, 1024)
	go func() {
		defer close(way)
		for {
			room := make([]byte, 32<<10)
			n, err := from.Read(room)
			if n > 0 {
				f.packets.Add(1)
				f.bytes.Add(int64(n))
				way <- piece{room[:n], time.Now().Add(under)}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range way {
		time.Sleep(time.Until(p.due)) //nolint:forbidigo // the distance
		if _, err := to.Write(p.data); err != nil {
			break
		}
	}
	to.Close()
	for range way { // what is left has nowhere to go
	}
}

// renewal is what is measured: a renewal over a connection of its own.
type renewal struct {
	cl      *Client
	p       renewer.Placement
	content map[renewer.FileKind][]byte
}

// steps do it, and tell of each how long it took.
func (r renewal) steps(b testing.TB, cfg Config, done func(step string, took time.Duration)) {
	b.Helper()
	ctx, tr := context.Background(), r.cl.Transport(cfg)
	h := hosts.New(renewer.Host{Name: "host-b"}, tr)
	var st renewer.Staged
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"keep", func() error { return h.Keep(ctx, r.p) }}, // before the order
		{"stage", func() (err error) { st, err = h.Stage(ctx, r.p, r.content); return err }},
		{"flip", func() error { return h.Flip(ctx, r.p, st.Revision) }},
		{"look", func() error { _, err := h.Inspect(ctx, r.p); return err }},
		{"prune", func() error { return h.Prune(ctx, r.p, nil) }},
		{"close", tr.Close},
	} {
		start := time.Now()
		must(b, step.do())
		done(step.name, time.Since(start))
	}
}

// shortDir is about as long as /etc/docker/tls: paths are a good part of what is sent.
func shortDir(b testing.TB) string {
	at, err := os.MkdirTemp("/tmp", "")
	must(b, err)
	must(b, os.Chmod(at, 0o755))
	b.Cleanup(func() { os.RemoveAll(at) })
	return at
}

// BenchmarkDistance is a renewal on one host that is 20 ms away, over
// OpenSSH's server: connect and see whose the directory is, stage, flip, look, prune,
// close. How many
// journeys it makes one after the other follows from how much longer it takes
// where the host is farther away. The floor, turn by turn in the same run, is a
// bare SSH handshake and login, in CPU time of this process.
func BenchmarkDistance(b *testing.B) {
	const near, away = 20 * time.Millisecond, 120 * time.Millisecond
	cfg := sshd(b)
	ca, cl := testpki.New(b), client(b)
	content := func() map[renewer.FileKind][]byte {
		pair := ca.Leaf(b, testpki.Options{SANs: []string{"127.0.0.1"}})
		c, err := pki.Content(benchFiles, renewer.Chain{Leaf: pair.Cert}, pair.Key, []*x509.Certificate{ca.Root})
		must(b, err)
		return c
	}
	trips := map[string]float64{}
	var whole, ours, floor time.Duration
	var packets, bytes int64
	n := 0
	for b.Loop() {
		n++
		for _, distance := range []time.Duration{near, away} {
			f := farAway(b, net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.Port)), distance)
			far := f.config(b, cfg)
			p := benchPlacement
			p.Dir = shortDir(b)
			prepare(b, cl.Transport(cfg), p, content())
			r := renewal{cl, p, content()}
			add := func(step string, took time.Duration) {
				if distance == near {
					trips[step] -= float64(took) / float64(away-near)
				} else {
					trips[step] += float64(took) / float64(away-near)
				}
			}

			before, start := cpuTime(b), time.Now()
			bareHandshake(b, far)
			add("handshake", time.Since(start))
			middle := cpuTime(b)
			f.packets.Store(0)
			f.bytes.Store(0)
			start = time.Now()
			r.steps(b, far, add)
			if distance == near {
				whole += time.Since(start)
			}
			floor += middle - before
			ours += cpuTime(b) - middle
			packets += f.packets.Load()
			bytes += f.bytes.Load()
		}
	}
	all := 0.0
	for step, t := range trips {
		if step != "handshake" {
			all += t
		}
		b.ReportMetric(t/float64(n), step+"-trips")
	}
	b.ReportMetric(math.Round(all/float64(n)), "trips") // a whole number, but for the clock's noise
	b.ReportMetric(float64(packets)/float64(2*n), "packets")
	b.ReportMetric(float64(bytes)/float64(2*n)/1000, "kB")
	b.ReportMetric(float64(whole.Milliseconds())/float64(n), "ms")
	b.ReportMetric(float64(ours.Microseconds())/float64(2*n), "cpu-µs/host")
	b.ReportMetric(float64(ours)/float64(floor), "x-floor")
}
