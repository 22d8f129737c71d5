package remote

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"renewer/renewer"
	"renewer/renewer/hosts"
)

// instead has sshd run a script in place of the account's shell. What the
// client asked for is in $SSH_ORIGINAL_COMMAND.
func instead(t *testing.T, script string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "shell")
	must(t, os.WriteFile(file, []byte("#!/bin/sh\n"+script), 0o700))
	return "ForceCommand " + file
}

// Shells that print while they start, on either stream, change no answer.
func TestNoisyShells(t *testing.T) {
	t.Parallel()
	obey := `[ "$SSH_ORIGINAL_COMMAND" != internal-sftp ] || exec ` + realServer(t) + "\n" + `eval "$SSH_ORIGINAL_COMMAND"`
	for name, noise := range map[string]string{
		"standard error":       `echo "-bash: warning: setlocale: LC_ALL: cannot change locale (xx_XX.UTF-8)" >&2`,
		"standard output":      "echo uid=7 gid=7; echo Welcome",
		"no line break":        "printf 'uid=7 gid=7'",
		"both":                 "echo uid=7 gid=7 >&2; echo uid=7 gid=7",
		"much":                 "yes uid=7 gid=7 | head -c 40000",
		"bytes that mean more": `printf '\000\377\033[31m\r\n'`,
	} {
		for _, server := range []string{"", realServer(t)} {
			t.Run(name+", server "+server, func(t *testing.T) {
				t.Parallel()
				cfg := sshd(t, instead(t, noise+"\n"+obey))
				cfg.SFTPServer = server
				tr := reach(t, client(t), cfg)
				o, err := tr.Owner(t.Context(), "", "", "/")
				must(t, err)
				equal(t, "who", o, hosts.Owner{UID: os.Geteuid(), GID: os.Getegid()})
				out, err := tr.Run(t.Context(), []string{"sh", "-c", "echo answer; echo aside >&2"})
				must(t, err)
				equal(t, "answer", string(out), "answer\n")
				placeOverOpenSSH(t, tr)
			})
		}
	}
}

// The mark is found however what is printed arrives, and all that is behind it
// counts.
func TestMark(t *testing.T) {
	t.Parallel()
	answer := strings.Repeat("0123456789", 8<<10)
	for _, before := range []string{"", "noise", "noise\n", strings.Repeat("noise\n", 7<<10), "mar", "mark"} {
		text := before + "mark\n" + answer
		for _, size := range []int{1, 7, 4096, 32 << 10, 1 << 20} {
			var out bytes.Buffer
			w := newMarked("mark", &out, newNoise(nil))
			for rest := text; rest != ""; {
				n := min(size, len(rest))
				m, err := w.Write([]byte(rest[:n]))
				must(t, err)
				equal(t, "written", m, n)
				rest = rest[n:]
			}
			if !w.found || out.String() != answer {
				t.Errorf("noise of %d in parts of %d: found %v, %d bytes behind", len(before), size, w.found, out.Len())
			}
			if size > 4096 { // one reader is like the other
				got, err := io.ReadAll(newUnmarked("mark", strings.NewReader(text), newNoise(nil)))
				must(t, err)
				equal(t, "read", string(got) == answer, true)
			}
		}
	}
}

// A shell that never comes to the command is cut at the bound, whatever is wanted of it, and
// what it prints is shown with the files to look at. Nothing else is tried, and the command
// is not run later.
func TestEndlessShells(t *testing.T) {
	t.Parallel()
	for stream, prints := range map[string]string{
		"out": "yes 'no end'", "err": "yes 'no end' >&2", "no lines": `yes 'no end' | tr -d '\n'`, "both": "yes 'no end' & yes 'no end' >&2",
	} {
		for wanted, ask := range map[string]func(*Transport, string) error{
			"command": func(tr *Transport, file string) error {
				_, err := tr.Run(t.Context(), []string{"touch", file})
				return err
			},
			"files": func(tr *Transport, _ string) error { _, err := tr.OpenDir(t.Context(), "/", false); return err },
			"server": func(tr *Transport, _ string) error {
				tr.cfg.SFTPServer = realServer(t)
				_, err := tr.OpenDir(t.Context(), "/", false)
				return err
			},
			"docker": func(tr *Transport, _ string) error {
				c, err := tr.DialDocker(t.Context(), "/run/docker.sock")
				must(t, err)
				defer c.Close()
				_, err = c.Read(make([]byte, 1))
				return err
			},
		} {
			if stream+wanted == "errfiles" { // sshd passes nothing on of what a subsystem prints there
				continue
			}
			t.Run(stream+" "+wanted, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				write(t, dir+"/shell", prints+"\neval \"$SSH_ORIGINAL_COMMAND\"\n")
				config := instead(t, "echo started >>"+dir+"/log\nsh "+dir+"/shell\necho ended >>"+dir+"/log")
				err := ask(reach(t, client(t), sshd(t, config)), dir+"/done")
				refused(t, err, "prints endless output while it starts: \"", ".bashrc") // an account may have words of its own before
				if text := err.Error(); len(text) > 400 || strings.Contains(text, "no SFTP server") {
					t.Errorf("error %q", text)
				}
				for deadline := time.Now().Add(10 * time.Second); ; {
					data, err := os.ReadFile(dir + "/log")
					must(t, err)
					started := strings.Count(string(data), "started")
					if most := map[bool]int{true: 2, false: 1}[wanted == "files"]; started > most { // the subsystem, and a command
						t.Fatalf("%d shells were started", started)
					}
					if strings.Count(string(data), "ended") == started {
						break
					}
					if time.Now().After(deadline) {
						t.Fatalf("they have not ended: %q", data)
					}
				}
				if _, err := os.Stat(dir + "/done"); err == nil {
					t.Error("the command was run after it was given up")
				}
			})
		}
	}
}

// A shell that waits is named where the time is up.
func TestShellsThatNeverComeToTheCommand(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		shell string
		ask   func(*Transport) error
	}{
		"command": {"exec sleep 100", func(tr *Transport) error {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			_, err := tr.Run(ctx, []string{"true"})
			return err
		}},
		"files": {"exec sleep 100", func(tr *Transport) error { _, err := tr.OpenDir(t.Context(), "/", false); return err }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := client(t, func(o *Options) { o.Timeout = 4 * time.Second })
			tr := reach(t, cl, sshd(t, instead(t, c.shell)))
			_, err := tr.acquire(t.Context()) // before any time counts
			must(t, err)
			if err := c.ask(tr); err == nil || !strings.Contains(renewer.Hint(err), ".bashrc") {
				t.Errorf("error %v, hint %q", err, renewer.Hint(err))
			}
		})
	}
}

// The two streams of a session are read beside each other: much on standard error may be
// read before the mark that was sent before it.
func TestErrorsReadBeforeTheMarkAreNoNoise(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNoise(func(err error) { t.Error(err) })
		go func() {
			time.Sleep(markGrace / 2) //nolint:forbidigo // of the bubble
			n.ended()
		}()
		a := aside{n, &tail{limit: outputKept}}
		for range 3 {
			if _, err := a.Write(make([]byte, noiseLimit/2+1)); err != nil {
				t.Error(err)
			}
		}
	})
}

// What a command prints is its own affair: more than the bound is no noise.
func TestMuchOutputOfACommand(t *testing.T) {
	t.Parallel()
	tr := reach(t, client(t), sshd(t))
	out, err := tr.Run(t.Context(), []string{"sh", "-c", "yes aside | head -c 300000 >&2; yes answer | head -c 300000; echo end"})
	must(t, err)
	if !strings.HasSuffix(string(out), "end\n") {
		t.Errorf("answer ends in %q", out[max(0, len(out)-20):])
	}
}

// Accounts that may not run commands: what the host says is shown, with a
// hint.
func TestAccountsWithoutCommands(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ config, err, hint string }{
		"nologin":         {"ForceCommand /usr/sbin/nologin", "This account is currently not available", "usermod -s"},
		"false":           {"ForceCommand /bin/false", "cannot run commands", "usermod -s"},
		"exit in .bashrc": {instead(t, "exit 0"), "cannot run commands", "exit, exec and logout in ~"},
		"a forced server": {"ForceCommand " + realServer(t), "cannot run commands", "ForceCommand"},
		"a greeting":      {instead(t, "echo 'Please use the portal \033[31m.'"), "Please use the portal", "usermod -s"},
		"forced SFTP":     {"ForceCommand internal-sftp", "sftp connections only", "ForceCommand internal-sftp"},
		"exits quietly":   {"ForceCommand /bin/true", "cannot run commands", "ForceCommand in its sshd_config"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := reach(t, client(t), sshd(t, c.config))
			_, err := tr.Run(t.Context(), []string{"systemctl", "restart", "docker"})
			refused(t, err, c.err, c.hint)
			as[*NoCommandsError](t, err)
			if strings.Contains(err.Error(), "\x1b") {
				t.Errorf("raw bytes of the host in %q", err)
			}
		})
	}
}

// The same where files are wanted: what is said is that, and not that a program is missing.
func TestAccountsWithoutCommandsAndFilesAsRoot(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ config, err, hint string }{
		"nologin":         {"ForceCommand /usr/sbin/nologin", "This account is currently not available", "usermod -s"},
		"exit in .bashrc": {instead(t, "exit 0"), "cannot run commands", "exit, exec and logout in ~"},
		"another command": {"ForceCommand /bin/date", "the host says: ", "sshd -T -C user="},
		"forced SFTP":     {"ForceCommand internal-sftp", "sftp connections only", "sudo: true needs commands"},
		"a forced server": {"ForceCommand " + realServer(t), "sftp connections only", "sudo: true needs commands"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := sshd(t, c.config)
			cfg.Sudo = true
			_, err := reach(t, client(t), cfg).OpenDir(t.Context(), "/", false)
			refused(t, err, c.err, c.hint)
			as[*NoCommandsError](t, err)
			if hint := renewer.Hint(err); strings.Contains(hint, "install") {
				t.Errorf("hint %q", hint)
			}
		})
	}
}

// OpenSSH with a second factor, which is a password here.
func TestSecondFactorOfOpenSSH(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/etc/pam.d/sshd"); err != nil || os.Geteuid() != 0 {
		t.Skip("sshd has no PAM here, or may not use it")
	}
	tr := reach(t, client(t), sshd(t, "UsePAM yes", "PermitRootLogin yes", "KbdInteractiveAuthentication yes", "AuthenticationMethods publickey,keyboard-interactive"))
	refused(t, oneRun(t, tr), "requires another factor: keyboard-interactive (Password:", "AuthenticationMethods publickey")
}

// A placement without activation needs files alone.
func TestPlacementOverForcedSFTP(t *testing.T) {
	t.Parallel()
	tr := reach(t, client(t), sshd(t, "ForceCommand internal-sftp", "MaxSessions 1"))
	placeOverOpenSSH(t, tr)
}

// A host that gives a connection one session, or runs no commands, cannot activate:
// that is found while staging, and files alone are placed there.
func TestWhatCannotActivateIsNotStaged(t *testing.T) {
	t.Parallel()
	for config, says := range map[string][2]string{
		"MaxSessions 1":              {"does not open another session", "MaxSessions"},
		"ForceCommand internal-sftp": {"cannot run commands", "ForceCommand internal-sftp"},
	} {
		t.Run(config, func(t *testing.T) {
			t.Parallel()
			tr := reach(t, client(t), sshd(t, config))
			placeOverOpenSSH(t, tr)
			p := benchPlacement
			p.Dir, p.Activate = t.TempDir(), renewer.Activation{Kind: renewer.ActivateCommand, Command: []string{"true"}}
			content := map[renewer.FileKind][]byte{renewer.FileCA: []byte("x"), renewer.FileCert: []byte("x"), renewer.FileKey: []byte("x")}
			_, err := hosts.New(renewer.Host{Name: "host-b"}, tr).Stage(t.Context(), p, content)
			refused(t, err, says[0], says[1])
			if left, err := os.ReadDir(p.Dir); err != nil || len(left) > 0 {
				t.Errorf("left %v, %v", left, err)
			}
		})
	}
}

// What the quoting promises holds in each shell that an account may have.
func TestWordsInOtherShells(t *testing.T) {
	t.Parallel()
	words := []string{
		"echo !x", "!", "!!", `\!`, `'!'`, "a!b!c", "", "a b", "it's", `\`, `\\`, "$HOME", "`id`", "$(id)", "*", "~", "# no comment", "a;b&c|d",
		"{a,b}", "%self", "[x]", "é", "line\nfeed", "\n", "!\n'\\", "tab\there", "-n", "^a^b", "=ls",
	}
	for _, shell := range []string{"sh", "dash", "bash", "busybox", "tcsh", "csh", "fish", "zsh", "ksh"} {
		file, err := exec.LookPath(shell)
		if err != nil {
			continue
		}
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			line, err := commandLine("mark", append([]string{"printf", `%s\0`}, words...))
			must(t, err)
			argv := []string{"-c", line}
			if shell == "busybox" {
				argv = append([]string{"sh"}, argv...)
			}
			cmd := exec.Command(file, argv...)
			cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			equal(t, "words", string(out), "mark\n"+strings.Join(words, "\x00")+"\x00")

			room := filepath.Join(t.TempDir(), "it's !ours", `r\oom $HOME`)
			for _, runs := range []bool{true, false, true} { // its parent cannot be seen; it is gone; it is there
				line, err := commandLine("mark", []string{"echo", "ran"}, room)
				must(t, err)
				argv[len(argv)-1] = line
				cmd := exec.Command(file, argv...)
				out, err := cmd.CombinedOutput()
				if got := err == nil && string(out) == "mark\nran\n"; got != runs || err != nil && string(out) != "mark\n" {
					t.Errorf("ran %v, want %v: %s, %v", got, runs, out, err)
				}
				if runs {
					must(t, os.MkdirAll(filepath.Dir(room), 0o755))
				} else {
					must(t, os.Mkdir(room, 0o755))
				}
			}
		})
	}
}

// A directory of a service's user takes sessions of its own: a host that gives too few is not
// asked until the time is up, and the error says how many.
func TestTooFewSessionsForAnOwnersDirectory(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 || exec.Command("sudo", "-n", "-u", "#65534", "true").Run() != nil {
		t.Skip("this needs root and sudo")
	}
	dir, err := os.MkdirTemp("", "renewer-sessions-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chown(dir, mal, mal))
	cfg := sshd(t, "MaxSessions 1")
	cfg.Sudo = true
	tr := reach(t, client(t, func(o *Options) { o.Timeout = time.Minute }), cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err = tr.OpenDir(ctx, dir, false)
	refused(t, err, "does not open another session", "MaxSessions in its sshd_config to 3 or more")
	must(t, ctx.Err())
}
