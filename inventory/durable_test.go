package inventory

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"renewer/renewer"
)

// A process that commits is killed again and again. Whatever it acknowledged
// is there, with its event, and the indexes fit.
func TestKilledProcessLosesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inventory.db")
	type ack struct {
		seq    uint64
		name   string
		number int
	}
	var acked []ack
	for round := range 4 {
		cmd := child(t, "commit", path)
		out, end := started(t, cmd)
		for n := 0; out.Scan(); n++ {
			var a ack
			if _, err := fmt.Sscanf(out.Text(), "ack %d %s %d", &a.seq, &a.name, &a.number); err != nil {
				t.Errorf("child: %s", out.Text())
				continue
			}
			acked = append(acked, a)
			if n == 20+7*round {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		end()

		i, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		sound(t, i)
		events, err := i.Events(renewer.EventFilter{})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range acked {
			if _, ok, err := i.Generation(a.name, a.number); !ok || err != nil {
				t.Errorf("round %d: generation %d of %s is lost: %v", round, a.number, a.name, err)
			}
			if rec, _, _ := i.Record(a.name); rec.Latest < a.number {
				t.Errorf("round %d: record of %s is at %d, acknowledged %d", round, a.name, rec.Latest, a.number)
			}
			found := slices.ContainsFunc(events, func(e renewer.Event) bool {
				return e.Seq == a.seq && e.Certificate == a.name && e.Generation == a.number
			})
			if !found {
				t.Errorf("round %d: event %d is lost", round, a.seq)
			}
		}
		if err := i.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(acked) < 4*20 {
		t.Errorf("only %d commits were acknowledged", len(acked))
	}
}

// whenFull is what a child says that met a full disk and behaved.
const whenFull = "space: true, hint: true\nlost: 0 <nil>\ngoes on: true <nil>\n"

func TestFileSizeLimit(t *testing.T) {
	t.Parallel()
	out, err := child(t, "limit", filepath.Join(t.TempDir(), "inventory.db")).Output()
	if err != nil || string(out) != whenFull {
		t.Errorf("%v:\n%s", err, out)
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	cmd := child(t, "full", filepath.Join(t.TempDir(), "inventory.db"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) || strings.HasPrefix(string(out), "skip") {
		t.Skipf("no file system of its own for the test: %v %s", err, out)
	}
	if err != nil || string(out) != whenFull {
		t.Errorf("%v:\n%s", err, out)
	}
}

func TestDirectoryWithoutRights(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := openAt(t, filepath.Join(dir, "there.db")).Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "there.db"), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	cmd := child(t, "missing", "")
	cmd.Dir = dir
	out, err := cmd.Output()
	if want := strings.Repeat("permission: true, hint: true\n", 2); err != nil || string(out) != want {
		t.Errorf("%v:\n%s", err, out)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}
