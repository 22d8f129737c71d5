package remote

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"renewer/internal/testssh"
	"renewer/renewer"
	"renewer/renewer/hosts"
)

func TestRun(t *testing.T) {
	t.Parallel()
	s, tr := host(t, testssh.Options{})
	awkward := "a b;\n$(touch /nowhere) `x` \\ ' \" * ~ é \x1b %s"
	out, err := tr.Run(t.Context(), []string{"printf", "%s|", "", awkward, "-n"})
	must(t, err)
	equal(t, "words", string(out), "|"+awkward+"|-n|")

	out, err = tr.Run(t.Context(), []string{"sh", "-c", "echo out; echo err >&2; exit 7"})
	if err == nil || err.Error() != "run sh: exit status 7" {
		t.Errorf("error %v", err)
	}
	for _, part := range []string{"out\n", "err\n"} {
		if !strings.Contains(string(out), part) {
			t.Errorf("output %q lacks %q", out, part)
		}
	}
	_, err = tr.Run(t.Context(), []string{"renewer-no-such-program"})
	if err == nil || renewer.Hint(err) == "" {
		t.Errorf("error %v, hint %q", err, renewer.Hint(err))
	}
	_, err = tr.Run(t.Context(), []string{"sh", "-c", "kill -9 $$"})
	if err == nil || err.Error() != "run sh: signal: kill" && err.Error() != "run sh: exit status 137" { // as the outer shell has it
		t.Errorf("error %v", err)
	}
	for _, argv := range [][]string{nil, {""}, {"A=b", "id"}, {"-i"}, {"id", "a\x00b"}, {"echo", strings.Repeat("x", lineLimit)}} {
		if _, err := tr.Run(t.Context(), argv); err == nil {
			t.Errorf("ran %.40q", argv)
		}
	}
	equal(t, "connections", s.Connections(), 1)
}

// A flood is read to its end and only its end is kept.
func TestOutputFlood(t *testing.T) {
	t.Parallel()
	_, tr := host(t, testssh.Options{})
	out, err := tr.Run(t.Context(), []string{"sh", "-c", "yes 0123456789 | head -c 3000000; echo the end"})
	must(t, err)
	equal(t, "kept", len(out), outputKept)
	if !strings.HasSuffix(string(out), "the end\n") {
		t.Errorf("the end is %q", out[len(out)-20:])
	}
}

// What is given up is ended, with all that it started, and holds up no one.
func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	_, tr := host(t, testssh.Options{})
	givenUp(t, tr)
}

func givenUp(t *testing.T, tr *Transport) {
	t.Helper()
	pids := filepath.Join(t.TempDir(), "pids")
	must(t, exec.Command("mkfifo", pids).Run())
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("timed out")
	read := make(chan int)
	go func() {
		f, err := os.Open(pids)
		if err != nil {
			t.Error(err)
		}
		defer f.Close()
		var pid int
		_, _ = fmt.Fscan(f, &pid)
		cancel(why)
		read <- pid
	}()
	_, err := tr.Run(ctx, []string{"sh", "-c", `sleep 1000 & echo $! > "$1"; wait`, "sh", pids})
	pid := <-read
	if !errors.Is(err, why) {
		t.Errorf("error %v", err)
	}
	for deadline := time.Now().Add(5 * time.Second); alive(pid); {
		if time.Now().After(deadline) {
			t.Fatalf("process %d still runs", pid)
		}
	}
	must(t, oneRun(t, tr))
}

// alive: neither gone nor a zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func oneRun(t *testing.T, tr *Transport) error {
	t.Helper()
	_, err := tr.Run(t.Context(), []string{"true"})
	return err
}

func TestSudo(t *testing.T) {
	t.Parallel()
	with := func(c *Config) { c.Sudo = true }
	_, tr := host(t, testssh.Options{}, with)
	out, err := tr.Run(t.Context(), []string{"echo", "as root"})
	must(t, err)
	equal(t, "output", string(out), "as root\n")
	o, err := tr.Owner(t.Context(), "", "", "/")
	must(t, err)
	equal(t, "owner", o, hosts.Owner{})

	for _, says := range []string{"sudo: a password is required", "Sorry, user renewer is not allowed to execute true as root on b."} {
		_, tr = host(t, testssh.Options{SudoSays: says}, with)
		_, err = tr.Run(t.Context(), []string{"systemctl", "restart", "docker.service"})
		refused(t, err, "sudo does not allow renewer", "renewer ALL=(root) NOPASSWD: /usr/lib/openssh/sftp-server, /usr/bin/systemctl")
		_, err = tr.OpenDir(t.Context(), "/", false)
		refused(t, err, "sudo does not allow renewer", "/etc/sudoers.d/renewer")
	}
}

func TestSudoThatWantsATerminal(t *testing.T) {
	t.Parallel()
	_, tr := host(t, testssh.Options{SudoSays: "sudo: sorry, you must have a tty to run sudo"}, func(c *Config) { c.Sudo = true })
	_, err := tr.Run(t.Context(), []string{"true"})
	refused(t, err, "requiretty", "(visudo -f): Defaults:renewer !requiretty")
	equal(t, "terminal", as[SudoError](t, err).Terminal, true)
	_, err = tr.OpenDir(t.Context(), "/", false)
	refused(t, err, "requiretty", "(visudo -f): Defaults:renewer !requiretty")
}

// Where sudo lets the user run some programs alone, timeout(1) is not among
// them: commands run without it.
func TestSudoForSomePrograms(t *testing.T) {
	t.Parallel()
	s, tr := host(t, testssh.Options{}, func(c *Config) { c.Sudo = true })
	script := "#!/bin/sh\nshift 2\n[ \"$1\" = echo ] || { echo 'Sorry, user renewer is not allowed to execute it as root on b.' >&2; exit 1; }\nexec \"$@\"\n"
	must(t, os.WriteFile(filepath.Join(s.Bin, "sudo"), []byte(script), 0o700))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 2 {
		out, err := tr.Run(ctx, []string{"echo", "done"})
		must(t, err)
		equal(t, "output", string(out), "done\n")
	}
	_, err := tr.Run(ctx, []string{"true"})
	refused(t, err, "sudo does not allow renewer", "NOPASSWD")
}

func TestSignal(t *testing.T) {
	t.Parallel()
	_, tr := host(t, testssh.Options{})
	cmd := exec.Command("sleep", "1000")
	must(t, cmd.Start())
	pid := cmd.Process.Pid
	must(t, tr.Signal(t.Context(), pid, "sigterm", 0))
	if err := cmd.Wait(); err == nil || err.Error() != "signal: terminated" {
		t.Errorf("ended with %v", err)
	}
	if err := tr.Signal(t.Context(), pid, "HUP", 0); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("error %v", err)
	}
	for _, bad := range []struct {
		pid  int
		name string
	}{{1, "HUP"}, {-5, "HUP"}, {pid, "NOSUCH"}, {pid, "9; id"}} {
		if err := tr.Signal(t.Context(), bad.pid, bad.name, 0); err == nil {
			t.Errorf("signalled %v", bad)
		}
	}
}

func TestOwner(t *testing.T) {
	t.Parallel()
	_, tr := host(t, testssh.Options{})
	for _, c := range []struct {
		user, group string
		want        hosts.Owner
	}{
		{"", "", hosts.Owner{UID: os.Geteuid(), GID: os.Getegid()}},
		{"daemon", "", hosts.Owner{UID: 1, GID: 1}},
		{"daemon", "tty", hosts.Owner{UID: 1, GID: 5}},
		{"0", "", hosts.Owner{}},
		{"", "7", hosts.Owner{UID: os.Geteuid(), GID: 7}},
		{"54321", "12345", hosts.Owner{UID: 54321, GID: 12345}},
	} {
		for range 2 { // the second from memory
			got, err := tr.Owner(t.Context(), c.user, c.group, "/")
			must(t, err)
			equal(t, c.user+":"+c.group, got, c.want)
		}
	}
	for _, c := range [][2]string{{"no-such-user", ""}, {"", "no-such-group"}, {"54321", ""}} {
		if _, err := tr.Owner(t.Context(), c[0], c[1], "/"); err == nil || renewer.Hint(err) == "" {
			t.Errorf("%q: error %v, hint %q", c, err, renewer.Hint(err))
		}
	}
	if _, err := tr.Owner(t.Context(), "-x", "", "/"); err == nil {
		t.Error("looked up an option")
	}
}

// Who files are written as is asked once, also where connections come and go.
func TestTheAccountIsAskedOnce(t *testing.T) {
	t.Parallel()
	s, tr := host(t, testssh.Options{})
	asked := filepath.Join(t.TempDir(), "asked")
	must(t, os.WriteFile(filepath.Join(s.Bin, "id"), []byte("#!/bin/sh\necho >>"+asked+"\nexec /usr/bin/id\n"), 0o755))
	for range 3 {
		for range 2 {
			got, err := tr.Owner(t.Context(), "", "", "/")
			must(t, err)
			equal(t, "owner", got, hosts.Owner{UID: os.Geteuid(), GID: os.Getegid()})
		}
		c, err := tr.acquire(t.Context())
		must(t, err)
		c.fail(errIdle)
		<-c.over
		c.release()
	}
	times, err := os.ReadFile(asked)
	must(t, err)
	equal(t, "times that it was asked", len(times), 1)
	equal(t, "connections", s.Connections(), 3)
}

// Whatever the words are, the shell gives them back.
func FuzzCommandLine(f *testing.F) {
	for _, s := range []string{"", "plain", "it's", `\`, `'\''`, "a\nb", "$(id) `id` $HOME * ? [a] ~ ! # & | ; < > ( ) { }", "\xff\xfe", "-n", "é\u2028"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		line, err := commandLine("mark", []string{"printf", `%s\0`, a, b})
		if strings.ContainsRune(a+b, 0) || len(a)+len(b) > lineLimit/5 {
			if err == nil && strings.ContainsRune(a+b, 0) {
				t.Fatal("a zero byte got through")
			}
			return
		}
		must(t, err)
		out, err := exec.Command("/bin/sh", "-c", line).Output()
		must(t, err)
		if want := "mark\n" + a + "\x00" + b + "\x00"; string(out) != want {
			t.Errorf("%q came back as %q", want, out)
		}
	})
}
