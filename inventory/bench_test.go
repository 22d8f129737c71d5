package inventory

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// The floor of a commit: one put of the same size and one fsync.
func floorCommit(b *testing.B, i *Inventory, n int) time.Duration {
	b.Helper()
	value := make([]byte, 1024)
	start := time.Now()
	const rounds = 20
	for r := range rounds {
		err := i.db.Update(func(tx *bolt.Tx) error {
			for k := range n {
				if err := bRemoved.of(tx).Put(fmt.Appendf(nil, "floor %d", k+r*n), value); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start) / rounds
}

func durable(b *testing.B) *Inventory {
	b.Helper()
	i, err := Open(filepath.Join(b.TempDir(), "inventory.db"), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = i.Close() })
	return i
}

func withChain(c renewer.Change) renewer.Change {
	der := append([]byte(c.Record.Name), make([]byte, 700)...)
	c.Generation.Chain, c.Generation.Fingerprint = [][]byte{der}, renewer.Fingerprint(der)
	return c
}

// BenchmarkCommit1 is one caller with one change, to the disk.
func BenchmarkCommit1(b *testing.B) {
	i := durable(b)
	floor := floorCommit(b, i, 1)
	n := 0
	for b.Loop() {
		commit(b, i, withChain(issued(fmt.Sprintf("c%07d", n), 1, day(n%90))))
		n++
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(floor), "x-floor")
}

// BenchmarkCommit100 is a hundred callers at once with one change each; an
// operation is all hundred.
func BenchmarkCommit100(b *testing.B) {
	i := durable(b)
	floor := floorCommit(b, i, 100)
	n := 0
	for b.Loop() {
		var wg sync.WaitGroup
		for range 100 {
			c := withChain(issued(fmt.Sprintf("c%07d", n), 1, day(n%90)))
			n++
			wg.Go(func() {
				if _, err := i.Commit(b.Context(), c); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(floor), "x-floor")
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "commits/s")
}

// fleet makes an inventory of n certificates that expire within ninety days.
func fleet(b *testing.B, n int) *Inventory {
	b.Helper()
	i := openAt(b, filepath.Join(b.TempDir(), "inventory.db"))
	r := rand.New(rand.NewPCG(1, 2))
	var changes []renewer.Change
	for k := range n {
		end := epoch.Add(time.Duration(r.Int64N(int64(90 * 24 * time.Hour))))
		changes = append(changes, withChain(issued(fmt.Sprintf("service-%d@host-%d", k%10, k/10), 1, end)))
		if len(changes) == 10_000 || k == n-1 {
			commit(b, i, changes...)
			changes = changes[:0]
		}
	}
	return i
}

// BenchmarkList is `list --expiring 30d`, against a bare walk of bbolt's
// cursor over the same entries.
func BenchmarkList(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			i, until := fleet(b, n), day(30)
			rows, walked, sum := 0, 0, 0
			start := time.Now()
			const rounds = 10
			for range rounds {
				walked = 0
				err := i.db.View(func(tx *bolt.Tx) error {
					last := string(timeKey(until))
					c := bExpiry.of(tx).Cursor()
					for k, v := c.First(); k != nil && string(k[:timeSize]) < last; k, v = c.Next() {
						walked++
						sum += len(v)
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			floor := time.Since(start) / rounds
			for b.Loop() {
				rows = 0
				if err := i.Rows(until, func(renewer.Row) bool { rows++; return true }); err != nil {
					b.Fatal(err)
				}
			}
			if rows != walked || rows < n/4 {
				b.Fatalf("%d rows, %d entries", rows, walked)
			}
			each := float64(b.Elapsed()) / float64(b.N)
			b.ReportMetric(each/float64(floor), "x-floor")
			b.ReportMetric(each/float64(rows), "ns/row")
			b.ReportMetric(float64(rows), "rows")
		})
	}
}

// BenchmarkOpen is opening a file of many certificates. It grows only with the
// list of free pages.
func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			i := fleet(b, n)
			if err := i.Close(); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := openAt(b, i.Path()).Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCheckFull(b *testing.B) {
	i := fleet(b, 100_000)
	for b.Loop() {
		sound(b, i)
	}
}
