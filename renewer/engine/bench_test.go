package engine

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"renewer/inventory"
	"renewer/inventory/seal"
	"renewer/issuers/local"
	"renewer/renewer"
)

// BenchmarkIssueAndRecord is an order as the engine makes it, from key to
// durable record: key generated and sealed, signed by the local CA, checked, and
// committed in groups as the loop does. The floor, turn by turn in the same run,
// is key generation, CreateCertificate and PEM alone. Both in CPU time of the
// whole process.
func BenchmarkIssueAndRecord(b *testing.B) {
	dir := b.TempDir()
	ca, err := local.Create(local.Config{
		Name: "ca", CertFile: filepath.Join(dir, "ca", "ca.pem"), KeyFile: filepath.Join(dir, "ca", "ca-key.pem"),
	}, local.CreateOptions{})
	check(b, err)
	store, err := inventory.Open(filepath.Join(dir, "inventory.db"), inventory.Options{})
	check(b, err)
	defer func() { check(b, store.Close()) }()
	keys, err := seal.Open(store, seal.Options{IdentityFile: filepath.Join(dir, "seal.key"), Create: true})
	check(b, err)
	e := New(Config{Store: store, Keys: keys, Log: slog.New(slog.DiscardHandler)})
	fleet := fleetOf(dir, ca, 10000) // the memory of a daemon, for what collecting garbage costs
	roots := newRootCache()
	roots.refresh(context.Background(), fleet.Issuers)

	const group = 64
	var least, ours time.Duration
	n := 0
	for b.Loop() {
		planned := make([]*entry, group)
		for i := range planned {
			n++
			planned[i] = plannedOrder(n)
		}
		start := cpuTime(b)
		for range group {
			floor(b)
		}
		middle := cpuTime(b)
		batch := make([]pending, 0, group)
		for _, en := range planned {
			batch = append(batch, orderOne(b, e, fleet, roots, en))
		}
		check(b, e.record(batch))
		least += middle - start
		ours += cpuTime(b) - middle
	}
	b.ReportMetric(float64(ours)/float64(least), "x-floor")
	b.ReportMetric(float64(ours.Microseconds())/float64(b.N*group), "cpu-µs/order")
}

// plannedOrder is a certificate whose first order is to be made.
func plannedOrder(n int) *entry {
	name := fmt.Sprintf("web%d", n)
	c := renewer.Certificate{
		Name: name, Entry: "web", Issuer: "ca", CommonName: "web.test", SANs: []string{"web.test"},
		Usages: []renewer.Usage{renewer.UsageServer}, Key: renewer.ECDSAP256, Rekey: true, Lifetime: 90 * 24 * time.Hour,
		Renewal: renewer.Renewal{At: 0.67, Jitter: 0.05}, Trust: []string{"ca"},
		Placements: []renewer.Placement{{Certificate: name, Host: "a", Dir: "/x"}},
	}
	s := renewer.State{Certificate: c, Record: renewer.Record{Name: c.Name, Entry: c.Entry, Issuer: c.Issuer}}
	s, _ = renewer.Apply(s, time.Now(), renewer.Replaced{With: renewer.Issue(c, renewer.Reason{Code: renewer.ReasonFirst})})
	return entryOf(s)
}

func orderOne(b *testing.B, e *Engine, fleet Fleet, roots *rootCache, en *entry) pending {
	name := en.cert.Name
	a := renewer.Action{Certificate: name, Rollout: en.rec.Rollout.ID, Kind: renewer.ActOrder}
	e.entries[name] = en
	j := e.newJob(a)
	j.fleet, j.roots = &fleet, roots
	delete(e.entries, name)
	o := e.order(context.Background(), j)
	check(b, o.Err)
	o.At = time.Now()
	p, _ := e.apply(en, o)
	p.done = func() { e.made.drop(a.Rollout) }
	return p
}

var floorKey, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)

func floor(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(b, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "web.test"}, DNSNames: []string{"web.test"},
		NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, SubjectKeyId: []byte{1}, AuthorityKeyId: []byte{2},
	}
	parent := &x509.Certificate{Subject: pkix.Name{CommonName: "floor"}, SubjectKeyId: []byte{2}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), floorKey)
	check(b, err)
	_ = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	check(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
