package daemon

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"renewer/inventory"
	"renewer/renewer"
	"renewer/renewer/engine"
	"renewer/renewer/server"
	"renewer/renewer/server/page"
)

func rowsOf(t *testing.T, read func(time.Time, func(renewer.Row) bool) error) (rows []renewer.Row) {
	t.Helper()
	must(t, read(time.Time{}, func(r renewer.Row) bool { rows = append(rows, r); return true }))
	return rows
}

// unread returns the rows of a copy of the inventory, without any cache.
func (h *house) unread(a *App) []renewer.Row {
	h.t.Helper()
	path := filepath.Join(h.t.TempDir(), "inventory.db")
	var copied bytes.Buffer
	must(h.t, a.Backup(h.t.Context(), &copied))
	must(h.t, os.WriteFile(path, copied.Bytes(), 0o600))
	inv, err := inventory.Open(path, inventory.Options{ReadOnly: true})
	must(h.t, err)
	rows := rowsOf(h.t, inv.Rows)
	must(h.t, inv.Close())
	return rows
}

// TestListsShowTheLastCommit does at random what changes rows, and after each
// step compares the cached rows with those of a fresh read, and the
// metrics with both. Lists, pages and scrapes go on all the while, for the race
// detector.
func TestListsShowTheLastCommit(t *testing.T) {
	t.Parallel()
	all := []string{"web", "api", "db", "cache"}
	entries := func(names []string, lifetime string) (text string) {
		for _, name := range names {
			text += fmt.Sprintf("  - {name: %s, profile: files, issuer: ca, hosts: [here], dir: DIR/%s, lifetime: %s}\n", name, name, lifetime)
		}
		return text
	}
	h := newHouse(t, entries(all, "1h"))
	a := h.open()
	a.daemon.Store(&renewer.DaemonStatus{Running: true})
	must(t, a.eng.SetFleet(t.Context(), a.parts.Load().engineFleet(), engine.Alone))
	state := &lateState{}
	state.app.Store(a)
	metrics := server.NewMetrics("v1", state)
	web := http.NewServeMux()
	web.Handle("/metrics", metrics)
	web.Handle("/", page.Handler(page.Options{Source: newPages(a), Log: slog.New(slog.DiscardHandler)}))
	get := func(path string) string {
		rec := httptest.NewRecorder()
		web.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		if rec.Code != http.StatusOK {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
		}
		return rec.Body.String()
	}
	paths := []string{"/metrics", "/metrics", "/?q=web", "/hosts"}
	asked := make(chan string, 8*len(paths)) // so much is read beside each step
	var readers sync.WaitGroup
	defer func() { close(asked); readers.Wait() }()
	for range paths {
		readers.Go(func() {
			for path := range asked {
				get(path)
			}
		})
	}

	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	in := slices.Clone(all)
	reload := func(lifetime string) {
		h.write(entries(in, lifetime))
		must(t, a.reload(t.Context(), h.file))
	}
	steps := map[string]func(){ // some are refused now and then: nothing to go back to, a rollout at work
		"renew":     func() { _, _ = a.Renew(t.Context(), renewer.RenewRequest{Names: in[:1+r.IntN(len(in))]}, nil) },
		"start":     func() { _, _ = a.Renew(t.Context(), renewer.RenewRequest{Names: in[:1], NoWait: true}, nil) },
		"roll back": func() { _, _ = a.Rollback(t.Context(), in[r.IntN(len(in))], nil) },
		"revoke":    func() { _, _ = a.Revoke(t.Context(), renewer.RevokeRequest{Name: in[r.IntN(len(in))]}, nil) },
		"other entries": func() {
			in = nil
			for _, i := range r.Perm(len(all))[:1+r.IntN(len(all))] {
				in = append(in, all[i])
			}
			reload("1h")
		},
		"changed entries": func() { reload(fmt.Sprintf("%dm", 60+r.IntN(60))) },
		"look":            func() { _, err := a.Verify(t.Context(), nil); must(t, err) },
	}
	names := slices.Sorted(func(yield func(string) bool) {
		for name := range steps {
			if !yield(name) {
				return
			}
		}
	})
	for range 40 {
		step := names[r.IntN(len(names))]
		for n := range cap(asked) {
			asked <- paths[n%len(paths)]
		}
		steps[step]()
		h.sameRows(a, step, func() string { return get("/metrics") })
	}
}

// sameRows compares the cached rows with those of a fresh read, once no commit
// came in between.
func (h *house) sameRows(a *App, step string, scrape func() string) {
	h.t.Helper()
	for {
		kept, scraped, unread := rowsOf(h.t, a.store.Rows), scrape(), h.unread(a)
		var listed []renewer.Row
		must(h.t, a.List(h.t.Context(), renewer.ListFilter{}, func(row renewer.Row) error {
			listed = append(listed, row)
			return nil
		}))
		if !cmp.Equal(kept, rowsOf(h.t, a.store.Rows)) {
			continue
		}
		if d := cmp.Diff(unread, kept); d != "" {
			h.t.Fatalf("after %q (-fresh +cached):\n%s", step, d)
		}
		orphans, err := a.orphans()
		must(h.t, err)
		if want := len(a.parts.Load().fleet.Certificates) + len(orphans); len(listed) != want || strings.Count(scraped, "\nrenewer_certificate_status{") != want {
			h.t.Fatalf("after %q: %v are listed of %d, scraped:\n%s", step, listed, want, scraped)
		}
		for _, row := range listed {
			end := fmt.Sprintf("renewer_certificate_not_after_timestamp_seconds{certificate=%q,issuer=\"ca\"} %d\n", row.Name, row.NotAfter.Unix())
			if !row.NotAfter.IsZero() && !strings.Contains(scraped, end) {
				h.t.Fatalf("after %q the scrape lacks %s", step, end)
			}
		}
		return
	}
}
