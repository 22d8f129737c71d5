package inventory

import (
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"renewer/renewer"
)

// TestMain runs one of the children that a test needs as a process of its own,
// or the tests.
func TestMain(m *testing.M) {
	if child, ok := children[os.Getenv("INVENTORY_TEST_CHILD")]; ok {
		child(os.Getenv("INVENTORY_TEST_PATH"))
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

var epoch = time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)

func day(n int) time.Time { return epoch.AddDate(0, 0, n) }

// open opens a new inventory without fsync.
func open(t testing.TB) *Inventory {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "inventory.db"))
}

func openAt(t testing.TB, path string) *Inventory {
	t.Helper()
	i, err := Open(path, Options{NoSync: true, Now: func() time.Time { return epoch }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.Close() })
	return i
}

func commit(t testing.TB, i *Inventory, changes ...renewer.Change) []renewer.Event {
	t.Helper()
	events, err := i.Commit(t.Context(), changes...)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// sound fails the test if the full check finds anything.
func sound(t testing.TB, i *Inventory) {
	t.Helper()
	for _, err := range i.CheckFull(t.Context()) {
		t.Error(err)
	}
}

func gen(name string, number int, notAfter time.Time) *renewer.Generation {
	der := []byte(fmt.Sprintf("certificate %d of %s", number, name))
	return &renewer.Generation{
		Certificate: name, Number: number, Serial: fmt.Sprintf("%016x", big.NewInt(0).SetBytes(der[len(der)/2:]).Uint64()),
		Fingerprint: renewer.Fingerprint(der), Chain: [][]byte{der}, CommonName: name, SANs: []string{name + ".example.com", "10.0.0.1"},
		Usages: []renewer.Usage{renewer.UsageServer}, Request: renewer.Request{Issuer: "fleet-ca", Key: renewer.ECDSAP256},
		NotBefore: notAfter.AddDate(0, 0, -90), NotAfter: notAfter, IssuedAt: notAfter.AddDate(0, 0, -90), RenewAt: notAfter.AddDate(0, 0, -30),
		Rollout: renewer.RolloutID(name, number),
	}
}

func rowOf(g *renewer.Generation, hosts ...string) *renewer.Row {
	r := &renewer.Row{
		Name: g.Certificate, Issuer: g.Request.Issuer, Generation: g.Number, Status: renewer.StatusValid, Serial: g.Serial,
		Fingerprint: g.Fingerprint, CommonName: g.CommonName, SANs: g.SANs, Key: g.Request.Key,
		NotBefore: g.NotBefore, NotAfter: g.NotAfter, RenewAt: g.RenewAt, Hosts: []renewer.HostRow{},
	}
	for _, h := range hosts {
		r.Hosts = append(r.Hosts, renewer.HostRow{
			Name: h, State: renewer.HostVerified, Generation: g.Number, Served: g.Fingerprint,
			ServedEnd: g.NotAfter, Matches: true, VerifiedAt: g.IssuedAt.Add(time.Minute),
		})
	}
	return r
}

// issued is the change that makes generation number of a name current.
func issued(name string, number int, notAfter time.Time) renewer.Change {
	g := gen(name, number, notAfter)
	return renewer.Change{
		Record:     &renewer.Record{Name: name, Entry: name, Issuer: "fleet-ca", Current: number, Latest: number, Rollouts: number, NextAt: g.RenewAt},
		Row:        rowOf(g, "host-a"),
		Generation: g,
		Events:     []renewer.Event{{Time: g.IssuedAt, Type: renewer.EventIssued, Certificate: name, Generation: number, Rollout: g.Rollout}},
	}
}

func rowNames(t testing.TB, i *Inventory, until time.Time) (names []string) {
	t.Helper()
	err := i.Rows(until, func(r renewer.Row) bool {
		names = append(names, r.Name)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
