package remote

import (
	"context"
	"crypto/x509"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
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

// BenchmarkDistance is a renewal on one host that is 20 ms away, over
// OpenSSH's server: connect, stage, flip, look, prune, close.
func BenchmarkDistance(b *testing.B) {
	const roundTrip = 20 * time.Millisecond
	cfg := sshd(b)
	f := farAway(b, net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.Port)), roundTrip)
	known, err := os.ReadFile(cfg.KnownHostsFile)
	must(b, err)
	write(b, cfg.KnownHostsFile, string(known)+"[127.0.0.1]:"+strconv.Itoa(f.port)+string(known[len("[127.0.0.1]:"+strconv.Itoa(cfg.Port)):]))
	near := cfg
	cfg.Port = f.port
	ca, cl := testpki.New(b), client(b)
	content := func() map[renewer.FileKind][]byte {
		pair := ca.Leaf(b, testpki.Options{SANs: []string{"127.0.0.1"}})
		c, err := pki.Content(benchFiles, renewer.Chain{Leaf: pair.Cert}, pair.Key, []*x509.Certificate{ca.Root})
		must(b, err)
		return c
	}
	took := map[string]time.Duration{}
	var handshake, ours, floor time.Duration
	n := 0
	for b.Loop() {
		n++
		p := benchPlacement
		p.Dir = filepath.Join(b.TempDir(), "tls")
		prepare(b, cl.Transport(near), p, content())
		next := content()
		ctx := context.Background()

		start := time.Now()
		before := cpuTime(b)
		far := cfg
		bareHandshake(b, far)
		handshake += time.Since(start)
		floor += cpuTime(b) - before
		f.packets.Store(0)
		f.bytes.Store(0)

		tr := cl.Transport(cfg)
		h := hosts.New(renewer.Host{Name: "host-b"}, tr)
		var st renewer.Staged
		before = cpuTime(b)
		for _, step := range []struct {
			name string
			do   func() error
		}{
			{"connect", func() error { _, err := tr.acquire(ctx); return err }},
			{"stage", func() (err error) { st, err = h.Stage(ctx, p, next); return err }},
			{"flip", func() error { return h.Flip(ctx, p, st.Revision) }},
			{"look", func() error { _, err := h.Inspect(ctx, p); return err }},
			{"prune", func() error { return h.Prune(ctx, p, nil) }},
			{"close", tr.Close},
		} {
			start := time.Now()
			must(b, step.do())
			took[step.name] += time.Since(start)
		}
		ours += cpuTime(b) - before
	}
	whole := 0.0
	for name, d := range took {
		trips := float64(d) / float64(n) / float64(roundTrip)
		whole += trips
		b.ReportMetric(trips, name+"-trips")
	}
	b.ReportMetric(whole, "trips")
	b.ReportMetric(float64(f.packets.Load()), "packets")
	b.ReportMetric(float64(f.bytes.Load())/1000, "kB")
	b.ReportMetric(float64(handshake)/float64(n)/float64(roundTrip), "handshake-trips")
	b.ReportMetric(float64(ours)/float64(floor), "x-floor")
}
