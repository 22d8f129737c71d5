package notify

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"renewer/inventory"
	"renewer/renewer"
)

// ledger is a receiver that keeps each message on disk before it says yes.
type ledger string

func (ledger) Check(context.Context, bool) error { return nil }

func (l ledger) Send(_ context.Context, m Message) error {
	f, err := os.OpenFile(string(l), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(json.NewEncoder(f).Encode(m), f.Sync(), f.Close())
}

func (l ledger) read(t *testing.T) (out []Message) {
	t.Helper()
	f, err := os.Open(string(l))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var m Message
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

// dying kills its process at one of its saves, before or after it.
type dying struct {
	*inventory.Inventory
	left  int
	after bool
}

func (d *dying) SaveChannel(name string, state []byte) error {
	d.left--
	if d.left == 0 && !d.after {
		die()
	}
	err := d.Inventory.SaveChannel(name, state)
	if d.left == 0 {
		die()
	}
	return err
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// mortal is the process that sends what the log has, and dies at save N ("N"
// before it, "-N" after it; 0: never).
func mortal(dir, at string) {
	n, _ := strconv.Atoi(at)
	inv, err := inventory.Open(filepath.Join(dir, "inventory.db"), inventory.Options{})
	if err == nil {
		notifier := New(Config{Store: &dying{Inventory: inv, left: max(n, -n), after: n < 0}})
		notifier.Know([]Channel{{Name: "ops", Sender: ledger(filepath.Join(dir, "ledger"))}})
		notifier.Once()
		err = inv.Close()
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
	os.Exit(0)
}

// A kill -9 around every save, the one between delivery and cursor among them:
// each problem arrives at least once, a message that arrives twice has the
// same ID both times, and no two IDs tell of one opening.
func TestKillAtEverySave(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	twice := false
	for _, sign := range []string{"", "-"} {
		for n := 1; ; n++ {
			dir := t.TempDir()
			inv, err := inventory.Open(filepath.Join(dir, "inventory.db"), inventory.Options{})
			if err != nil {
				t.Fatal(err)
			}
			notifier := New(Config{Store: inv})
			notifier.Know([]Channel{{Name: "ops", Sender: ledger(filepath.Join(dir, "ledger"))}})
			begin := notifier.Begin()
			_, err = inv.Commit(t.Context(), renewer.Change{Events: []renewer.Event{event(renewer.EventRolloutBlocked, "a", ""), event(renewer.EventDrifted, "b", "h")}})
			if err := errors.Join(begin, err, inv.Close()); err != nil {
				t.Fatal(err)
			}
			first := exec.Command(self, "mortal", dir, sign+strconv.Itoa(n))
			out, err := first.CombinedOutput()
			if err == nil {
				if n < 3 {
					t.Errorf("a message took only %d saves", n-1)
				}
				break // there is no nth save
			}
			if !first.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
				t.Fatalf("save %s%d: %v\n%s", sign, n, err, out)
			}
			if out, err := exec.Command(self, "mortal", dir, "0").CombinedOutput(); err != nil {
				t.Fatalf("after save %s%d: %v\n%s", sign, n, err, out)
			}
			got := ledger(filepath.Join(dir, "ledger")).read(t)
			if len(got) == 0 || len(got) > 2 || len(got[0].Open) != 2 {
				t.Fatalf("killed at save %s%d: %+v", sign, n, got)
			}
			if len(got) == 2 {
				twice = true
				if got[0].ID != got[1].ID {
					t.Errorf("killed at save %s%d: one message under two IDs", sign, n)
				}
			}
		}
	}
	if !twice {
		t.Error("no kill fell between delivery and cursor")
	}
}
