package daemon

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"renewer/configs"
	"renewer/renewer"
)

const (
	oneEntry  = "  - {name: web, profile: files, issuer: ca, hosts: [here], dir: DIR/out, lifetime: 1h}\n"
	twoEntrys = oneEntry + "  - {name: api, profile: files, issuer: ca, hosts: [here], dir: DIR/api, lifetime: 1h}\n"
)

func (h *house) glimpse() *Glimpse { return OpenGlimpse(h.file, Options{}) }

func (h *house) noGlimpse(when string) {
	h.t.Helper()
	if g := h.glimpse(); g != nil {
		h.t.Errorf("%s: the inventory is taken for all of the fleet file", when)
		must(h.t, g.Close())
	}
}

func listed(t *testing.T, list func(context.Context, renewer.ListFilter, func(renewer.Row) error) error, f renewer.ListFilter) (rows []renewer.Row) {
	t.Helper()
	must(t, list(t.Context(), f, func(r renewer.Row) error { rows = append(rows, r); return nil }))
	return rows
}

// TestGlimpseShowsWhatTheStateShows: or there is none.
func TestGlimpseShowsWhatTheStateShows(t *testing.T) {
	t.Parallel()
	h := newHouse(t, twoEntrys)
	h.noGlimpse("without an inventory")
	a := h.open()
	_, err := a.RunOnce(t.Context(), nil)
	must(t, err)
	filters := []renewer.ListFilter{{}, {ExpiringWithin: renewer.BackoffMax}, {Status: renewer.StatusValid}, {Status: renewer.StatusDue}}
	var want [][]renewer.Row
	for _, f := range filters {
		want = append(want, listed(t, a.List, f))
	}
	events, err := a.Events(t.Context(), renewer.EventFilter{})
	must(t, err)
	h.noGlimpse("while another process has the inventory")
	must(t, a.Close())

	g := h.glimpse()
	if g == nil {
		t.Fatal("there is none after a pass over all")
	}
	for i, f := range filters {
		if d := cmp.Diff(want[i], listed(t, g.List, f)); d != "" {
			t.Errorf("%+v:\n%s", f, d)
		}
	}
	got, err := g.Events(t.Context(), renewer.EventFilter{})
	must(t, err)
	if d := cmp.Diff(events, got); d != "" {
		t.Error(d)
	}
	must(t, g.Close())
	if OpenGlimpse(h.file, Options{Version: "another"}) != nil {
		t.Error("another version may read the fleet file otherwise")
	}
}

// Whatever the fleet file says that no record is of, and whatever record is of
// no entry, is found by reading the file.
func TestGlimpseIsOfTheFleetFileThatTheRecordsAreOf(t *testing.T) {
	t.Parallel()
	h := newHouse(t, oneEntry)
	a := h.open()
	_, err := a.RunOnce(t.Context(), nil)
	must(t, err)
	must(t, a.Close())
	h.write(twoEntrys)
	h.noGlimpse("with a new entry")
	h.write(oneEntry + "nonsense: 1\n")
	h.noGlimpse("with a fault")
	h.write(oneEntry)
	must(t, h.glimpse().Close())

	// A record is made of the new entry alone, and then the entry is gone.
	h.write(twoEntrys)
	a = h.open()
	_, err = a.Renew(t.Context(), renewer.RenewRequest{Names: []string{"api"}}, nil)
	must(t, err)
	must(t, a.Close())
	h.noGlimpse("after a renewal by name")
	h.write(oneEntry)
	h.noGlimpse("back at the first file, with one record too many")

	// A daemon takes it over again, and then another one.
	a = h.open()
	a.daemon.Store(&renewer.DaemonStatus{Running: true})
	must(t, a.reload(t.Context(), h.file))
	h.write(twoEntrys)
	must(t, a.reload(t.Context(), h.file))
	must(t, a.Close())
	must(t, h.glimpse().Close())
	h.write(oneEntry)
	h.noGlimpse("at the file before the last reload")
	must(t, os.Chmod(h.load().StateDir, 0o755))
	h.write(twoEntrys)
	h.noGlimpse("with a state directory that others can access")
}

func TestFaultOnDiskReadsOnlyWhatTheDaemonHasNotRead(t *testing.T) {
	t.Parallel()
	h := newHouse(t, oneEntry)
	_, file, err := load(h.file)
	must(t, err)
	held := *file
	if got := FaultOnDisk(h.file, held); got != "" {
		t.Errorf("as it was read: %s", got)
	}
	held.Fault = "as the daemon says"
	if got := FaultOnDisk(h.file, held); got != held.Fault {
		t.Errorf("as it was read, with a fault: %q", got)
	}
	h.write(twoEntrys)
	if got := FaultOnDisk(h.file, held); got != "" {
		t.Errorf("the file was fixed, and the fault remains: %s", got)
	}
	h.write(oneEntry + "nonsense: 1\nmore: 2\n")
	want := configs.Faults{}
	_, err = configs.Load(h.file)
	_ = errors.As(err, &want)
	if got := FaultOnDisk(h.file, held); len(want) != 2 || got != want[0].Error()+" (and 1 more)" {
		t.Errorf("two faults since: %q", got)
	}
	other := newHouse(t, oneEntry)
	if got := FaultOnDisk(other.file, held); got != "" {
		t.Errorf("another file, without faults: %s", got)
	}
	must(t, os.Remove(h.file))
	if got := FaultOnDisk(h.file, held); got == "" {
		t.Error("nothing is said of a file that is gone")
	}
}

func TestFleetFileSaysWhyTheLastReloadFailed(t *testing.T) {
	t.Parallel()
	h := newHouse(t, oneEntry)
	a := h.open()
	a.daemon.Store(&renewer.DaemonStatus{Running: true})
	for name, text := range map[string]string{"a fault": oneEntry + "nonsense: 1\n", "another state_dir": "STATE"} {
		h.write(text)
		if text == "STATE" {
			h.write(oneEntry)
			was, err := os.ReadFile(h.file)
			must(t, err)
			must(t, os.WriteFile(h.file, bytes.Replace(was, []byte("/state\n"), []byte("/other\n"), 1), 0o600))
		}
		if err := a.reload(t.Context(), h.file); err == nil {
			t.Fatalf("%s was taken over", name)
		}
		file, err := a.FleetFile(t.Context())
		must(t, err)
		if file.Path != h.file || file.Fault == "" || FaultOnDisk(h.file, file) != file.Fault {
			t.Errorf("%s: %+v", name, file)
		}
	}
	h.write(oneEntry)
	must(t, a.reload(t.Context(), h.file))
	if file, err := a.FleetFile(t.Context()); err != nil || file.Fault != "" {
		t.Errorf("%+v, %v", file, err)
	}
}
