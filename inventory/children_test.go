package inventory

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"renewer/renewer"
)

// children are what the test binary does as a process of its own. A child says
// what it finds on its standard output.
var children = map[string]func(path string){
	"hold":    childHold,
	"commit":  childCommit,
	"limit":   childLimit,
	"full":    childFull,
	"missing": childNobody,
}

// child prepares this test binary as the child of that name.
func child(t *testing.T, name, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "INVENTORY_TEST_CHILD="+name, "INVENTORY_TEST_PATH="+path)
	cmd.Stderr = os.Stderr
	return cmd
}

// started starts a child and returns its output and a way to end it by closing
// its standard input.
func started(t *testing.T, cmd *exec.Cmd) (out *bufio.Scanner, end func()) {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	t.Cleanup(end)
	return bufio.NewScanner(pipe), end
}

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// childHold has the inventory until its standard input ends.
func childHold(path string) {
	i, err := Open(path, Options{})
	if err != nil {
		say("%v", err)
		return
	}
	defer func() { _ = i.Close() }()
	say("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// childCommit commits new generations from several goroutines for as long as
// it lives, and says each one that was acknowledged.
func childCommit(path string) {
	i, err := Open(path, Options{})
	if err != nil {
		say("%v", err)
		return
	}
	var wg sync.WaitGroup
	for w := range 4 {
		name := fmt.Sprintf("worker-%d", w)
		rec, _, err := i.Record(name)
		if err != nil {
			say("%v", err)
			return
		}
		wg.Go(func() {
			for n := rec.Latest + 1; ; n++ {
				events, err := i.Commit(context.Background(), issued(name, n, day(n)))
				if err != nil {
					say("%v", err)
					return
				}
				say("ack %d %s %d", events[0].Seq, name, n)
			}
		})
	}
	wg.Wait()
}

// fill commits until the disk refuses, and says whether all is as it should
// be: the error, what was acknowledged, the file, and a commit that fits
// once there is space again.
func fill(path string, again func()) {
	i, err := Open(path, Options{})
	if err != nil {
		say("open: %v", err)
		return
	}
	acked := 0
	for ; err == nil; acked++ {
		c := issued(fmt.Sprintf("c%06d", acked), 1, day(acked))
		c.Generation.Chain = append(c.Generation.Chain, make([]byte, 64<<10))
		_, err = i.Commit(context.Background(), c)
	}
	acked--
	say("space: %t, hint: %t", errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EFBIG), renewer.Hint(err) != "")
	names, err := i.Names()
	say("lost: %d %v", acked-len(names), err)
	for _, err := range i.CheckFull(context.Background()) {
		say("check: %v", err)
	}
	again()
	if _, err := i.Commit(context.Background(), issued("after", 1, day(1))); err != nil {
		say("after: %v", err)
	}
	if err := i.Close(); err != nil {
		say("close: %v", err)
	}
	if i, err = Open(path, Options{}); err != nil {
		say("reopen: %v", err)
		return
	}
	for _, err := range i.CheckFull(context.Background()) {
		say("check: %v", err)
	}
	_, ok, err := i.Record("after")
	say("goes on: %t %v", ok, err)
	_ = i.Close()
}

// childLimit fills up to the largest file that the process may write.
func childLimit(path string) {
	signal.Ignore(syscall.SIGXFSZ)
	limit := func(n uint64) {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: 1 << 40}); err != nil {
			say("limit: %v", err)
		}
	}
	limit(1 << 20)
	fill(path, func() { limit(1 << 40) })
}

// childFull fills a small file system of its own; it runs in a mount namespace.
func childFull(path string) {
	dir := filepath.Dir(path)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		say("skip: %v", err)
		return
	}
	fill(path, func() {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
			say("remount: %v", err)
		}
	})
}

// childNobody tries to open an inventory in its working directory as a user
// without rights.
func childNobody(string) {
	if os.Getuid() == 0 {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(65534), syscall.Setuid(65534)); err != nil {
			say("%v", err)
			return
		}
	}
	for _, path := range []string{"new.db", "there.db"} {
		_, err := Open(path, Options{})
		say("permission: %t, hint: %t", errors.Is(err, os.ErrPermission), renewer.Hint(err) != "")
	}
}
