package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"renewer/renewer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestChildIsStopped(t *testing.T) {
	t.Parallel()
	c, err := startChild("sleeper", filepath.Join(t.TempDir(), "log"), "sleep", "600")
	if err != nil {
		t.Fatal(err)
	}
	if err := anyDead([]*child{c}); err != nil {
		t.Errorf("it runs, but: %v", err)
	}
	if err := c.stop(); err != nil {
		t.Error(err)
	}
	if err := syscall.Kill(c.cmd.Process.Pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("it is still there: %v", err)
	}
	if err := c.stop(); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

func TestChildThatDies(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "log")
	c, err := startChild("daemon", log, "ls", "/no/such/directory")
	if err != nil {
		t.Fatal(err)
	}
	<-c.gone
	err = anyDead([]*child{c})
	for _, want := range []string{"the daemon exited (exit status 2)", log, "/no/such/directory"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
}

func TestChildThatIsNotThere(t *testing.T) {
	t.Parallel()
	_, err := startChild("daemon", filepath.Join(t.TempDir(), "log"), "/no/such/binary")
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "start the daemon") {
		t.Errorf("error %v", err)
	}
}

func TestWatchEndsWithItsChild(t *testing.T) {
	t.Parallel()
	c, err := startChild("service", filepath.Join(t.TempDir(), "log"), "true")
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{source: &recorded{}, out: &bytes.Buffer{}}
	if err := watch(t.Context(), time.Minute, w, c); err == nil || !strings.Contains(err.Error(), "the service exited") {
		t.Errorf("error %v", err)
	}
}

// recorded is a daemon that answers from memory.
type recorded struct {
	events []renewer.Event
	rows   []renewer.Row
}

func (r *recorded) Events(_ context.Context, f renewer.EventFilter) (list []renewer.Event, err error) {
	for _, e := range r.events {
		if e.Seq > f.After && !e.Time.Before(f.Since) {
			list = append(list, e)
		}
	}
	return list, nil
}

func (r *recorded) Show(_ context.Context, name string) (renewer.Detail, error) {
	for _, row := range r.rows {
		if row.Name == name {
			return renewer.Detail{Row: row}, nil
		}
	}
	return renewer.Detail{}, errors.New("no such certificate")
}

func (r *recorded) List(_ context.Context, _ renewer.ListFilter, yield func(renewer.Row) error) error {
	for _, row := range r.rows {
		if err := yield(row); err != nil {
			return err
		}
	}
	return nil
}

func TestWatcherSaysEachThingOnce(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 22, 10, 0, 0, 0, time.Local)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	r := &recorded{
		rows: []renewer.Row{
			{Name: "server", Generation: 7, Serial: "0a", NotBefore: at(-100), NotAfter: at(80), RenewAt: at(20)},
			{Name: "client", Generation: 0},
			{Name: "new", Generation: 1, NotBefore: at(-60)},
		},
		events: []renewer.Event{
			{Seq: 1, Time: at(-5), Type: renewer.EventRolloutDone, Certificate: "server", Generation: 7},
			{Seq: 2, Time: at(1), Type: renewer.EventIssued, Certificate: "server", Generation: 8},
			{Seq: 3, Time: at(2), Type: renewer.EventStaged, Certificate: "server", Generation: 8},
			{Seq: 4, Time: at(3), Type: renewer.EventRolloutDone, Certificate: "server", Generation: 8},
			{Seq: 5, Time: at(4), Type: renewer.EventProbeFailed, Certificate: "client", Host: "here", Error: "connection refused", Hint: "start it"},
		},
	}
	var out strings.Builder
	w := &watcher{source: r, out: &out, since: start}
	if err := w.standing(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.poll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	want := `          server  continues with generation 7: serial 0a, valid until 10:01:20, renewed at about 10:00:20
10:00:01  server  generation 8 issued
10:00:03  server  generation 8 in place and verified: serial 0a, valid until 10:01:20, renewed at about 10:00:20
10:00:04  client  probe_failed on here: connection refused (hint: start it)
`
	if out.String() != want {
		t.Errorf("printed\n%swant\n%s", &out, want)
	}
	if got := w.summary(); got != "0 first certificates and 1 renewals verified, 1 problems" {
		t.Error(got)
	}
}

func TestLooksAreCommandsToCopy(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	s := setup{http: "127.0.0.1:9925", service: renewer.Placement{Probe: renewer.Probe{Address: "127.0.0.1:8443"}}}
	s.client.Files = map[renewer.FileKind]string{renewer.FileCA: "ca.crt", renewer.FileCert: "tls.crt", renewer.FileKey: "tls.key"}
	if err := printLooks(&out, "bin/renewer", "var/quickstart", s); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"bin/renewer --config var/quickstart/renewer.yaml list\n",
		"curl --cacert var/quickstart/client/ca.crt --cert var/quickstart/client/tls.crt --key var/quickstart/client/tls.key https://127.0.0.1:8443/\n",
		"curl http://127.0.0.1:9925/metrics\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, &out)
		}
	}
}
