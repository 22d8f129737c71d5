package remote

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"renewer/internal/testssh"
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
	for _, noise := range []string{"", "noise", "noise\n", strings.Repeat("noise\n", 7<<10), "mar", "mark"} {
		text := noise + "mark\n" + answer
		for _, size := range []int{1, 7, 4096, 32 << 10, 1 << 20} {
			var out bytes.Buffer
			w := newMarked("mark", &out)
			for rest := text; rest != ""; {
				n := min(size, len(rest))
				m, err := w.Write([]byte(rest[:n]))
				must(t, err)
				equal(t, "written", m, n)
				rest = rest[n:]
			}
			if !w.found || out.String() != answer {
				t.Errorf("noise of %d in parts of %d: found %v, %d bytes behind", len(noise), size, w.found, out.Len())
			}
			if size > 4096 { // one reader is like the other
				got, err := io.ReadAll(newUnmarked("mark", strings.NewReader(text)))
				must(t, err)
				equal(t, "read", string(got) == answer, true)
			}
		}
	}
}

// A shell that never comes to the command is no flood of memory.
func TestEndlessNoise(t *testing.T) {
	t.Parallel()
	_, tr := host(t, testssh.Options{Noise: strings.Repeat("noise\n", noiseLimit)}, func(c *Config) { c.SFTPServer = "/usr/lib/openssh/sftp-server" })
	_, err := tr.OpenDir(t.Context(), "/", false)
	refused(t, err, "prints more than", "set sftp_server")
}

// Accounts that may not run commands: what the host says is shown, with the way
// out.
func TestAccountsWithoutCommands(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ config, err, hint string }{
		"nologin":       {"ForceCommand /usr/sbin/nologin", "This account is currently not available", "usermod -s"},
		"false":         {"ForceCommand /bin/false", "runs no commands", "usermod -s"},
		"a greeting":    {instead(t, "echo 'Please use the portal \033[31m.'"), "Please use the portal", "usermod -s"},
		"forced SFTP":   {"ForceCommand internal-sftp", "sftp connections only", "ForceCommand internal-sftp"},
		"exits quietly": {"ForceCommand /bin/true", "runs no commands", "usermod -s"},
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

// OpenSSH with a second factor, which is a password here.
func TestSecondFactorOfOpenSSH(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/etc/pam.d/sshd"); err != nil || os.Geteuid() != 0 {
		t.Skip("sshd has no PAM here, or may not use it")
	}
	tr := reach(t, client(t), sshd(t, "UsePAM yes", "PermitRootLogin yes", "KbdInteractiveAuthentication yes", "AuthenticationMethods publickey,keyboard-interactive"))
	refused(t, oneRun(t, tr), "asks for more: keyboard-interactive (Password:", "AuthenticationMethods publickey")
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
		"MaxSessions 1":              {"no further session", "MaxSessions"},
		"ForceCommand internal-sftp": {"runs no commands", "ForceCommand internal-sftp"},
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
